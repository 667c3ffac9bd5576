//! Managers who write in different versions, and the laws that hold between them.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::apply::{Applied, apply};
use super::super::entries;
use super::super::update::{Sent, Standing, record};
use super::super::{Subject, Writer};
use crate::custom::{Definition, Interner};
use crate::kind::{Kind, Part};
use crate::kinds::KINDS;
use crate::status;

/// An object in one of its versions, with its managed fields.
#[derive(Clone, Debug, PartialEq)]
struct Object {
    bare: Value,
    managed: Option<String>,
}

fn scaler(version: &str) -> &'static Kind {
    KINDS.iter().find(|it| it.kind == "HorizontalPodAutoscaler" && it.version == version).unwrap()
}

/// Two versions of a custom kind: in the newer one items are told apart by name, in the older one they are a whole.
fn gadgets() -> [&'static Kind; 2] {
    let item = json!({"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}});
    let version = |name: &str, items: Value, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"items": items, "color": {"type": "string"}}}}}}})
    };
    let whole = json!({"type": "array", "items": item});
    let keyed = json!({"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]});
    let json = json!({
        "metadata": {"name": "gadgets.e.io", "uid": "u", "generation": 1},
        "spec": {"group": "e.io", "scope": "Namespaced", "versions": [version("v1", whole, false), version("v2", keyed, true)]},
        "status": {"acceptedNames": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"}},
    });
    let definition = Definition::parse(&Bytes::from(json.to_string())).unwrap().into();
    let kinds = Interner::default().kinds(&definition);
    [kinds[0], kinds[1]]
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: "2026-01-02T03:04:05Z", unowned: None }
}

/// The object as a client of another version sees it.
fn seen(object: &Object, from: &Kind, to: &Kind) -> Object {
    let mut bare = super::convert(from, to, object.bare.clone());
    bare["apiVersion"] = to.api_version().into();
    Object { bare, managed: object.managed.clone() }
}

fn applied(kind: &Kind, live: Option<&Object>, spec: &Value, manager: &str, force: bool) -> status::Result<Object> {
    let config = json!({"apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": "a"}, "spec": spec});
    let bare = live.map(|it| it.bare.to_string());
    let old = live.zip(bare.as_deref()).map(|(it, bare)| Standing { bare, managed: it.managed.as_deref() });
    let Applied { bare, managed } = apply(&Subject::of(kind, Part::Main), old, &config, &writer(manager), force)?;
    Ok(Object { bare: serde_json::from_str(&bare).unwrap(), managed })
}

fn updated(kind: &Kind, old: &Object, new: &Value, manager: &str) -> Object {
    let (before, after) = (old.bare.to_string(), new.to_string());
    let standing = Standing { bare: &before, managed: old.managed.as_deref() };
    let subject = Subject::of(kind, Part::Main);
    let managed = record(&subject, Some(standing), &after, Sent::Nothing, &writer(manager));
    Object { bare: new.clone(), managed }
}

/// What a manager owns, with the version in which it does.
fn owned(object: &Object, manager: &str) -> Vec<String> {
    let known = entries::read(object.managed.as_deref().unwrap_or("[]")).unwrap();
    let of = |it: &entries::Entry<'_>| {
        it.set().paths().into_iter().map(|path| format!("{} {path}", it.api_version)).collect::<Vec<_>>()
    };
    known.iter().filter(|it| it.manager == manager).flat_map(of).collect()
}

fn percent(of: i64) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": of}}})
}

#[test]
fn a_field_of_another_version_has_its_owner_there() {
    let (v1, v2) = (scaler("v1"), scaler("v2"));
    let first =
        applied(v1, None, &json!({"maxReplicas": 5, "targetCPUUtilizationPercentage": 50}), "a", false).unwrap();
    assert_eq!(
        owned(&first, "a"),
        ["autoscaling/v1 .spec.maxReplicas", "autoscaling/v1 .spec.targetCPUUtilizationPercentage"]
    );
    let live = seen(&first, v1, v2);
    // The same share in the other form changes nothing of what the first owns.
    let same = applied(v2, Some(&live), &json!({"metrics": [percent(50)]}), "b", false).unwrap();
    assert_eq!(owned(&same, "a"), owned(&first, "a"));
    // Another is a conflict, which names the field as its owner knows it.
    let refused = applied(v2, Some(&live), &json!({"metrics": [percent(70)]}), "b", false).unwrap_err();
    let causes = refused.details.unwrap().causes;
    let fields: Vec<&str> = causes.iter().map(|it| it.field.as_str()).collect();
    assert_eq!(fields, [".spec.targetCPUUtilizationPercentage"]);
    let forced = applied(v2, Some(&live), &json!({"metrics": [percent(70)]}), "b", true).unwrap();
    assert_eq!(owned(&forced, "a"), ["autoscaling/v1 .spec.maxReplicas"]);
    assert_eq!(owned(&forced, "b"), ["autoscaling/v2 .spec.metrics"]);
    // So do updates take what they change, and nothing else.
    let mut new = live.bare.clone();
    new["spec"]["maxReplicas"] = 9.into();
    let after = updated(v2, &live, &new, "c");
    assert_eq!(owned(&after, "a"), ["autoscaling/v1 .spec.targetCPUUtilizationPercentage"]);
    assert_eq!(owned(&after, "c"), ["autoscaling/v2 .spec.maxReplicas"]);
}

#[test]
fn what_was_applied_in_one_version_is_removed_in_another() {
    let [v1, v2] = gadgets();
    let items = json!([{"name": "x", "size": 1}, {"name": "y", "size": 2}]);
    let first = applied(v1, None, &json!({"items": items, "color": "red"}), "a", false).unwrap();
    assert_eq!(owned(&first, "a"), ["e.io/v1 .spec.color", "e.io/v1 .spec.items"]);
    let live = seen(&first, v1, v2);
    let after = applied(v2, Some(&live), &json!({"items": [{"name": "x", "size": 1}]}), "a", false).unwrap();
    // What was owned as a whole is still there as long as anything of it is, as in Kubernetes.
    assert_eq!(after.bare["spec"], json!({ "items": items }), "{after:?}");
    let kept = applied(v2, Some(&live), &json!({"color": "red"}), "b", false).unwrap();
    let after = applied(v2, Some(&kept), &json!({"items": []}), "a", false).unwrap();
    assert_eq!(after.bare["spec"]["color"], "red", "{after:?}");
    let after = applied(v2, Some(&live), &json!({"items": [{"name": "x", "size": 1}]}), "a", false).unwrap();
    assert!(owned(&after, "a").iter().all(|it| it.starts_with("e.io/v2 .spec.items")), "{:?}", owned(&after, "a"));
}

#[test]
fn a_version_that_is_no_more_is_forgotten() {
    let [v1, _] = gadgets();
    let live = applied(v1, None, &json!({"color": "red"}), "a", false).unwrap();
    let gone = live.managed.unwrap().replace("e.io/v1", "e.io/v0");
    let live = Object { bare: live.bare, managed: Some(gone) };
    let after = applied(v1, Some(&live), &json!({"color": "blue"}), "b", false).unwrap();
    assert!(owned(&after, "a").is_empty() && owned(&after, "b") == ["e.io/v1 .spec.color"], "{after:?}");
}

/// A configuration of either version of the autoscaler: its bounds, and what share of the processors it aims at.
fn scalers() -> impl Strategy<Value = (&'static str, Value)> {
    (prop::bool::ANY, prop::option::of(1..4_u8), 5..8_u8, prop::option::of(1..4_u8)).prop_map(
        |(newer, least, most, share)| {
            let mut spec = json!({ "maxReplicas": most });
            if let Some(least) = least {
                spec["minReplicas"] = least.into();
            }
            match share {
                Some(it) if newer => spec["metrics"] = json!([percent(i64::from(it) * 10)]),
                Some(it) => spec["targetCPUUtilizationPercentage"] = (i64::from(it) * 10).into(),
                None => {}
            }
            (if newer { "v2" } else { "v1" }, spec)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn applying_twice_is_applying_once_in_any_version(
        (first_in, first) in scalers(), (then_in, then) in scalers(),
    ) {
        let (one, two) = (scaler(first_in), scaler(then_in));
        let live = seen(&applied(one, None, &first, "m", false).unwrap(), one, two);
        let once = applied(two, Some(&live), &then, "m", false).unwrap();
        let twice = applied(two, Some(&once), &then, "m", false).unwrap();
        prop_assert_eq!(&twice, &once);
        // It owns what it stated last, in the version in which it did.
        let alone = applied(two, None, &then, "m", false).unwrap();
        prop_assert_eq!(owned(&once, "m"), owned(&alone, "m"));
        // Bounds that it states no more are gone.
        for field in ["minReplicas", "maxReplicas"] {
            prop_assert_eq!(&once.bare["spec"][field], &then[field], "{}", field);
        }
    }

    #[test]
    fn nothing_is_lost_between_versions_without_a_conflict(
        (mine_in, mine) in scalers(), (theirs_in, theirs) in scalers(),
    ) {
        let (one, two) = (scaler(mine_in), scaler(theirs_in));
        let live = seen(&applied(one, None, &mine, "me", false).unwrap(), one, two);
        let forced = applied(two, Some(&live), &theirs, "they", true).unwrap();
        let left = owned(&forced, "me");
        let mut lost: Vec<String> = owned(&live, "me").into_iter().filter(|it| !left.contains(it)).collect();
        match applied(two, Some(&live), &theirs, "they", false) {
            Ok(_) => prop_assert!(lost.is_empty(), "{:?} were lost without a conflict", lost),
            Err(error) => {
                let version = one.api_version();
                let causes = error.details.unwrap().causes;
                let mut told: Vec<String> = causes.into_iter().map(|it| format!("{version} {}", it.field)).collect();
                told.sort();
                lost.sort();
                prop_assert_eq!(told, lost);
            }
        }
    }

    #[test]
    fn items_are_owned_by_name_only_where_they_have_names(
        sizes in prop::collection::btree_map("[a-d]", 0..3_u8, 1..4), changed in 0..4_usize,
    ) {
        let [v1, v2] = gadgets();
        let items: Vec<Value> = sizes.iter().map(|(name, size)| json!({"name": name, "size": size})).collect();
        let old = applied(v1, None, &json!({"items": items, "color": "red"}), "old", false).unwrap();
        let live = seen(&old, v1, v2);
        let mut new = live.bare.clone();
        let at = changed % items.len();
        new["spec"]["items"][at]["size"] = 7.into();
        let after = updated(v2, &live, &new, "new");
        let name = items[at]["name"].as_str().unwrap();
        prop_assert_eq!(owned(&after, "new"), vec![format!("e.io/v2 .spec.items[name={name:?}].size")]);
        prop_assert_eq!(owned(&after, "old"), vec!["e.io/v1 .spec.color".to_owned()]);
    }
}
