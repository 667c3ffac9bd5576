//! Managed fields as kubectl and controllers make them, and the laws of apply.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::apply::{Applied, apply};
use super::update::{Sent, Standing, record};
use super::*;
use crate::kind::Kind;
use crate::kinds::KINDS;
use crate::status;

const NOW: &str = "2026-01-02T03:04:05Z";

/// An object with its managed fields.
#[derive(Clone, Debug, PartialEq)]
struct Object {
    bare: Value,
    managed: Option<String>,
}

impl Object {
    fn owners(&self) -> Value {
        serde_json::from_str(self.managed.as_deref().unwrap_or("[]")).unwrap()
    }

    /// The fields of one manager, as `fieldsV1`.
    fn of(&self, manager: &str) -> Value {
        let owners = self.owners();
        let found = owners.as_array().unwrap().iter().find(|it| it["manager"] == manager);
        found.map_or(Value::Null, |it| it["fieldsV1"].clone())
    }
}

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|it| it.kind == name).unwrap()
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: NOW, unowned: None }
}

fn applied(of: &str, live: Option<&Object>, config: &Value, manager: &str, force: bool) -> status::Result<Object> {
    let kind = kind(of);
    let mut config = config.clone();
    config["apiVersion"] = kind.api_version().into();
    config["kind"] = kind.kind.into();
    apply_at(&Subject::of(kind, Part::Main), live, &config, &writer(manager), force)
}

fn apply_at(
    subject: &Subject,
    live: Option<&Object>,
    config: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> status::Result<Object> {
    let bare = live.map(|it| it.bare.to_string());
    let old = live.zip(bare.as_deref()).map(|(it, bare)| Standing { bare, managed: it.managed.as_deref() });
    let Applied { bare, managed } = apply(subject, old, config, writer, force)?;
    Ok(Object { bare: serde_json::from_str(&bare).unwrap(), managed })
}

fn updated(of: &str, old: Option<&Object>, new: &Value, manager: &str) -> Object {
    written(of, Part::Main, old, new, Sent::Nothing, &writer(manager))
}

fn written(of: &str, part: Part, old: Option<&Object>, new: &Value, sent: Sent<'_>, writer: &Writer<'_>) -> Object {
    let (before, after) = (old.map(|it| it.bare.to_string()), new.to_string());
    let standing = old.zip(before.as_deref()).map(|(it, bare)| Standing { bare, managed: it.managed.as_deref() });
    let managed = record(&Subject::of(kind(of), part), standing, &after, sent, writer);
    Object { bare: new.clone(), managed }
}

fn deployment(replicas: Value, containers: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "d", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}},
    })
}

#[test]
fn a_creation_belongs_to_its_writer() {
    let new = deployment(json!(2), json!([{"name": "a", "image": "x", "resources": {"limits": {"cpu": "1"}}}]));
    let object = updated("Deployment", None, &new, "kubectl-create");
    assert_eq!(
        object.managed.unwrap(),
        concat!(
            r#"[{"manager":"kubectl-create","operation":"Update","apiVersion":"apps/v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","#,
            r#""fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":"#,
            r#"{".":{},"k:{\"name\":\"a\"}":{".":{},"f:image":{},"f:name":{},"f:resources":{".":{},"f:limits":{".":{},"f:cpu":{}}}}}}}}}}]"#
        )
    );
}

#[test]
fn updates_take_what_they_change_and_nothing_else() {
    let created = updated("Deployment", None, &deployment(json!(1), json!([{"name": "a", "image": "x"}])), "a");
    let scaled =
        updated("Deployment", Some(&created), &deployment(json!(5), json!([{"name": "a", "image": "x"}])), "b");
    assert_eq!(scaled.of("b"), json!({"f:spec": {"f:replicas": {}}}));
    assert!(scaled.of("a")["f:spec"].get("f:replicas").is_none());
    let same = updated("Deployment", Some(&scaled), &scaled.bare, "c");
    assert_eq!(same, scaled, "a write that changes nothing records nothing");
    let mut less = scaled.bare.clone();
    less["spec"].as_object_mut().unwrap().remove("replicas");
    let removed = updated("Deployment", Some(&scaled), &less, "c");
    assert_eq!((removed.of("b"), removed.of("c")), (Value::Null, Value::Null));
}

#[test]
fn parts_of_an_object_have_their_own_writers() {
    let created = updated("Deployment", None, &deployment(json!(1), json!([])), "a");
    let mut with_status = created.bare.clone();
    with_status["status"] = json!({"replicas": 1});
    with_status["metadata"]["labels"]["x"] = json!("y");
    let main = updated("Deployment", Some(&created), &with_status, "b");
    assert_eq!(main.of("b"), json!({"f:metadata": {"f:labels": {"f:x": {}}}}));
    let status = Writer { subresource: "status", ..writer("b") };
    let part = written("Deployment", Part::Status, Some(&created), &with_status, Sent::Reset, &status);
    assert_eq!(part.of("b"), json!({"f:status": {"f:replicas": {}}}), "labels are reset by a deployment's status");
    assert_eq!(part.owners()[1]["subresource"], "status");
    assert_eq!(part.of("a"), created.of("a"), "a subresource does not reset managed fields");
}

#[test]
fn clients_may_send_managed_fields() {
    let created = updated("ConfigMap", None, &json!({"data": {"a": "1"}}), "a");
    let new = json!({"data": {"a": "2"}});
    let put = |sent: Sent<'_>| written("ConfigMap", Part::Main, Some(&created), &new, sent, &writer("b"));
    assert_eq!(put(Sent::of(Some("[]"))).managed, None, "an empty list clears them");
    assert_eq!(put(Sent::of(Some("[{}]"))).managed, None);
    assert_eq!(put(Sent::of(None)).owners()[0]["manager"], "a");
    assert_eq!(put(Sent::of(Some(r#"[{"manager":"z"}]"#))), put(Sent::Nothing), "invalid ones are ignored");
    let theirs = created.managed.clone().unwrap().replace("\"a\"", "\"z\"");
    let renamed = put(Sent::Fields(&theirs));
    assert_eq!((renamed.of("z"), renamed.of("a")), (json!({"f:data": {}}), Value::Null));
    let untracked = Object { bare: json!({"data": {}}), managed: None };
    assert_eq!(updated("ConfigMap", Some(&untracked), &new, "b").managed, None, "until it is applied to");
}

#[test]
fn an_apply_creates_and_records() {
    let config = deployment(json!(2), json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]));
    let live = applied("Deployment", None, &config, "kubectl", false).unwrap();
    assert_eq!(live.bare, config);
    assert_eq!(
        live.owners(),
        json!([{
            "manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": NOW, "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                    ".": {}, "f:name": {}, "f:image": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}
                }}}}}
            }
        }])
    );
    let later = Writer { now: "2027-01-01T00:00:00Z", ..writer("kubectl") };
    let again = apply_at(&Subject::of(kind("Deployment"), Part::Main), Some(&live), &config, &later, false).unwrap();
    assert_eq!(again, live, "nothing to do");
    let joined = applied("Deployment", Some(&live), &config, "other", false).unwrap();
    assert_eq!((joined.of("other"), joined.owners()[0].get("time")), (live.of("kubectl"), None));
}

#[test]
fn removes_what_is_no_longer_applied() {
    let two = deployment(
        json!(2),
        json!([{"name": "a", "image": "x", "env": [{"name": "A", "value": "1"}]}, {"name": "b", "image": "y"}]),
    );
    let mut one = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    one["spec"].as_object_mut().unwrap().remove("replicas");
    let live = applied("Deployment", None, &two, "kubectl", false).unwrap();
    assert_eq!(applied("Deployment", Some(&live), &one, "kubectl", false).unwrap().bare, one);
}

#[test]
fn keeps_what_others_own() {
    let run = |of: &[(&str, Value)]| {
        let mut live = None;
        for (manager, config) in of {
            live = Some(applied("ConfigMap", live.as_ref(), config, manager, false).unwrap());
        }
        live.unwrap().bare["data"].clone()
    };
    let mine = json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}});
    let theirs = json!({"metadata": {"name": "c"}, "data": {"b": "2", "c": "3"}});
    let less = json!({"metadata": {"name": "c"}, "data": {"a": "1"}});
    let gone = json!({"metadata": {"name": "c"}});
    let both = [("me", mine.clone()), ("they", theirs.clone())];
    assert_eq!(run(&[&both[..], &[("me", less)]].concat()), json!({"a": "1", "b": "2", "c": "3"}));
    assert_eq!(run(&[&both[..], &[("me", gone)]].concat()), theirs["data"]);
}

#[test]
fn tells_conflicts_and_forces() {
    let mine = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    let theirs = deployment(json!(3), json!([{"name": "a", "image": "x"}]));
    let live = applied("Deployment", None, &mine, "kubectl", false).unwrap();
    let error = applied("Deployment", Some(&live), &theirs, "helm", false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas");
    let forced = applied("Deployment", Some(&live), &theirs, "helm", true).unwrap();
    assert_eq!(forced.bare["spec"]["replicas"], 3);
    assert!(forced.of("kubectl")["f:spec"].get("f:replicas").is_none());
    let both = deployment(json!(4), json!([{"name": "a", "image": "z"}]));
    let error = applied("Deployment", Some(&forced), &both, "third", false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 3 conflicts: conflicts with \"helm\":\n- .spec.replicas\n- .spec.template.spec.containers[name=\"a\"].image\n\
         conflicts with \"kubectl\":\n- .spec.template.spec.containers[name=\"a\"].image"
    );
    let causes = error.details.unwrap().causes;
    assert_eq!((causes.len(), &*causes[0].reason, &*causes[0].field), (3, "FieldManagerConflict", ".spec.replicas"));
    let updated = updated("Deployment", Some(&live), &theirs, "scaler");
    let error = applied("Deployment", Some(&updated), &mine, "kubectl", false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas");
}

#[test]
fn what_stood_before_belongs_to_somebody() {
    let stood = Object { bare: deployment(json!(1), json!([{"name": "a", "image": "x"}])), managed: None };
    let error = applied("Deployment", Some(&stood), &deployment(json!(2), json!([])), "kubectl", false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_from_the_clients_side() {
    let mut mine = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    mine["metadata"]["annotations"] =
        json!({"kubectl.kubernetes.io/last-applied-configuration": mine.to_string() + "\n"});
    let live = updated("Deployment", None, &mine, "kubectl-client-side-apply");
    let next = deployment(json!(3), json!([{"name": "a", "image": "x"}]));
    let taken = applied("Deployment", Some(&live), &next, "kubectl", false).unwrap();
    let recorded =
        taken.bare["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap();
    assert!(recorded.ends_with("}\n") && recorded.contains("\"replicas\":3"), "{recorded}");
    let error = applied("Deployment", Some(&live), &next, "helm", false).unwrap_err();
    assert!(error.message.contains("conflict with \"kubectl-client-side-apply\" using apps/v1"), "{}", error.message);
    let scaled = updated(
        "Deployment",
        Some(&live),
        &{
            let mut it = live.bare.clone();
            it["spec"]["replicas"] = json!(9);
            it
        },
        "scaler",
    );
    let error = applied("Deployment", Some(&scaled), &next, "kubectl", false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas");
}

#[test]
fn refuses_what_is_no_configuration_of_the_kind() {
    let error = |config: Value| applied("ConfigMap", None, &config, "m", false).unwrap_err().message;
    assert_eq!(
        error(json!({"metadata": {"name": "c", "namespace": "d"}, "dato": {}})),
        "failed to create typed patch object (d/c; /v1, Kind=ConfigMap): .dato: field not declared in schema"
    );
    assert_eq!(error(json!({"metadata": {"managedFields": []}})), "metadata.managedFields must be nil");
    let other = json!({"apiVersion": "apps/v1", "kind": "Deployment"});
    let subject = Subject::of(kind("ConfigMap"), Part::Main);
    let refused = apply_at(&subject, None, &other, &writer("m"), false).unwrap_err();
    assert_eq!(refused.message, "invalid object type: apps/v1, Kind=Deployment");
}

#[test]
fn wholes_have_one_owner_and_lists_of_ports_many() {
    let service = |ports: Value| json!({"metadata": {"name": "s"}, "spec": {"ports": ports, "selector": {"a": "b"}}});
    let udp = json!([{"name": "x", "port": 53, "protocol": "UDP"}]);
    let live = applied("Service", None, &service(udp), "one", false).unwrap();
    let both = applied("Service", Some(&live), &service(json!([{"name": "y", "port": 53}])), "two", false).unwrap();
    assert_eq!(both.bare["spec"]["ports"].as_array().unwrap().len(), 2);
    let rest = applied("Service", Some(&both), &json!({"metadata": {"name": "s"}}), "one", false).unwrap();
    assert_eq!(rest.bare["spec"]["ports"], json!([{"name": "y", "port": 53}]));
    assert_eq!(rest.bare["spec"]["selector"], json!({"a": "b"}));
    let more = json!({"spec": {"selector": {"c": "d"}}});
    let error = applied("Service", Some(&both), &more, "three", false).unwrap_err();
    assert!(error.message.contains("- .spec.selector"), "{}", error.message);
}

#[test]
fn names_of_managers_are_cut_from_user_agents() {
    assert_eq!(manager_of("kubectl/v1.35.0 (linux/amd64)"), "kubectl");
    assert_eq!(manager_of("a\u{7}b/c"), "ab");
    assert_eq!(manager_of(&"ä".repeat(100)).len(), MANAGER_LIMIT_BYTES);
    assert_eq!(updated("ConfigMap", None, &json!({"data": {"a": "b"}}), "").owners()[0]["manager"], "unknown");
}

/// A configuration of one of several kinds, drawn from few names so that two of them meet.
fn configs() -> impl Strategy<Value = (&'static str, Value, Value)> {
    let data = || prop::collection::btree_map("[a-d]", "[x-z]", 0..4);
    let map = (data(), data()).prop_map(|(one, two)| {
        let of = |data| json!({"metadata": {"name": "c", "labels": {"l": "1"}}, "data": data});
        ("ConfigMap", of(one), of(two))
    });
    let ports = || prop::collection::btree_map(1..4_u16, (prop::bool::ANY, 1..3_u16), 0..3);
    let services = (ports(), ports(), data()).prop_map(|(one, two, selector)| {
        let of = |ports: std::collections::BTreeMap<u16, (bool, u16)>| {
            let ports: Vec<Value> = ports
                .iter()
                .map(|(port, (udp, target))| {
                    let mut it = json!({"port": port, "targetPort": target});
                    if *udp {
                        it["protocol"] = "UDP".into();
                    }
                    it
                })
                .collect();
            let mut out = json!({"metadata": {"name": "s"}, "spec": {"selector": selector}});
            // An empty list states nothing, and is not kept.
            if !ports.is_empty() {
                out["spec"]["ports"] = ports.into();
            }
            out
        };
        ("Service", of(one), of(two))
    });
    let containers = || {
        let env = prop::collection::btree_map("[A-C]", "[x-z]", 0..3);
        prop::collection::btree_map("[a-c]", ("[x-z]", env), 1..3)
    };
    let deployments = (containers(), containers(), prop::option::of(0..3_u8)).prop_map(|(one, two, replicas)| {
        let of =
            |containers: std::collections::BTreeMap<String, (String, std::collections::BTreeMap<String, String>)>,
             count: Option<u8>| {
                let containers: Vec<Value> = containers
                    .iter()
                    .map(|(name, (image, env))| {
                        let env: Vec<Value> =
                            env.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
                        let mut out = json!({"name": name, "image": image});
                        if !env.is_empty() {
                            out["env"] = env.into();
                        }
                        out
                    })
                    .collect();
                let mut out = deployment(json!(1), json!(containers));
                match count {
                    Some(count) => out["spec"]["replicas"] = count.into(),
                    None => {
                        out["spec"].as_object_mut().unwrap().remove("replicas");
                    }
                }
                out
            };
        ("Deployment", of(one, replicas), of(two, None))
    });
    prop_oneof![map, services, deployments]
}

/// An object as its kind would store it: without nulls, and without empty lists and maps.
fn stored(mut object: Object) -> Object {
    fn tidy(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.values_mut().for_each(tidy);
                fields.retain(|_, it| {
                    !it.is_null()
                        && it.as_object().is_none_or(|it| !it.is_empty())
                        && it.as_array().is_none_or(|it| !it.is_empty())
                });
            }
            Value::Array(list) => list.iter_mut().for_each(tidy),
            _ => {}
        }
    }
    tidy(&mut object.bare);
    object
}

/// All fields that somebody owns.
fn owned(object: &Object) -> Vec<String> {
    let known = entries::read(object.managed.as_deref().unwrap_or("[]")).unwrap();
    known.iter().flat_map(|it| it.set().paths()).collect()
}

fn paths(object: &Object, manager: &str) -> Vec<String> {
    let known = entries::read(object.managed.as_deref().unwrap_or("[]")).unwrap();
    known.iter().filter(|it| it.manager == manager).flat_map(|it| it.set().paths()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn applying_twice_is_applying_once((of, first, second) in configs()) {
        let live = applied(of, None, &first, "m", false).unwrap();
        let once = stored(applied(of, Some(&stored(live)), &second, "m", false).unwrap());
        let twice = stored(applied(of, Some(&once), &second, "m", false).unwrap());
        prop_assert_eq!(&twice, &once);
        // What it owned alone and states no more is gone: what is left is the second configuration.
        let alone = applied(of, None, &second, "m", false).unwrap();
        prop_assert_eq!(paths(&once, "m"), paths(&alone, "m"));
        let named = |it: &Object| {
            let Shapes { types, root } = kind(of).shapes();
            let text = it.bare.to_string();
            walk::stated(&types, &root, &tree::Tree::read(&text, &types, &root).unwrap()).paths()
        };
        let (left, stated) = (named(&once), named(&alone));
        prop_assert!(left.iter().all(|it| stated.contains(it)), "{:?} beyond {:?}", left, stated);
    }

    #[test]
    fn disjoint_appliers_commute(
        one in prop::collection::btree_map("[a-d]", "[x-z]", 1..4),
        two in prop::collection::btree_map("[e-h]", "[x-z]", 1..4),
        ports in prop::collection::btree_set(1..50_u16, 1..5),
    ) {
        let (odd, even): (Vec<u16>, Vec<u16>) = ports.iter().partition(|it| **it % 2 == 1);
        let service = |ports: &[u16]| {
            let ports: Vec<Value> = ports.iter().map(|it| json!({"port": it})).collect();
            json!({"metadata": {"name": "s"}, "spec": {"ports": ports}})
        };
        let map = |data: &std::collections::BTreeMap<String, String>| json!({"metadata": {"name": "c"}, "data": data});
        for (of, a, b) in [("ConfigMap", map(&one), map(&two)), ("Service", service(&odd), service(&even))] {
            // Who states nothing owns nothing, and what stood before goes to nobody in particular.
            prop_assume!(!odd.is_empty() && !even.is_empty());
            let run = |first: (&str, &Value), second: (&str, &Value)| {
                let live = applied(of, None, first.1, first.0, false).unwrap();
                let mut out = applied(of, Some(&live), second.1, second.0, false).unwrap();
                if let Some(list) = out.bare.pointer_mut("/spec/ports").and_then(Value::as_array_mut) {
                    list.sort_by_key(|it| it["port"].as_u64());
                }
                out
            };
            let (ab, ba) = (run(("a", &a), ("b", &b)), run(("b", &b), ("a", &a)));
            prop_assert_eq!(&ab.bare, &ba.bare);
            prop_assert_eq!(owned(&ab), owned(&ba));
        }
    }

    #[test]
    fn a_conflict_names_every_field_and_manager((of, mine, theirs) in configs()) {
        let live = applied(of, None, &mine, "me", false).unwrap();
        let forced = applied(of, Some(&live), &theirs, "they", true).unwrap();
        // What changes hands is what I owned and own no more, though the field is still there.
        let lost: Vec<String> = paths(&live, "me").into_iter().filter(|it| !paths(&forced, "me").contains(it)).collect();
        match applied(of, Some(&live), &theirs, "they", false) {
            Ok(_) => prop_assert!(lost.is_empty(), "{:?} were lost without a conflict", lost),
            Err(error) => {
                let mut told: Vec<String> = error.details.unwrap().causes.into_iter().map(|it| it.field).collect();
                let mut lost = lost;
                told.sort();
                lost.sort();
                prop_assert_eq!(&told, &lost);
                prop_assert!(told.iter().all(|it| error.message.contains(it.as_str())) && error.message.contains("\"me\""));
            }
        }
    }

    #[test]
    fn what_is_the_same_text_is_not_looked_at((of, one, other) in configs()) {
        let Shapes { types, root } = kind(of).shapes();
        let (one, other) = (one.to_string(), other.to_string());
        for (old, new) in [(&one, &other), (&other, &one), (&one, &one)] {
            let read = |text| tree::Tree::read(text, &types, &root).unwrap();
            let (before, after) = tree::Tree::read_both(old, new, &types, &root).unwrap();
            let least = walk::compare(&types, &root, &before, &after, &[]);
            prop_assert_eq!(least, walk::compare(&types, &root, &read(old), &read(new), &[]), "{} {}", old, new);
        }
    }

    #[test]
    fn updates_never_lose_what_they_leave_as_it_is((of, mine, theirs) in configs()) {
        let live = applied(of, None, &mine, "me", false).unwrap();
        let mut both = live.bare.clone();
        crate::patch::merge::apply(&mut both, theirs);
        let after = updated(of, Some(&live), &both, "they");
        let Shapes { types, root } = kind(of).shapes();
        let (old, new) = (live.bare.to_string(), both.to_string());
        let read = |text: &'static str| tree::Tree::read(text, &types, &root).unwrap();
        let (old, new) = (read(Box::leak(old.into_boxed_str())), read(Box::leak(new.into_boxed_str())));
        let changes = walk::compare(&types, &root, &old, &new, &[&["status"]]);
        let touched: Vec<String> = changes.changed.paths().into_iter().chain(changes.removed.paths()).collect();
        for path in paths(&live, "me") {
            prop_assert_eq!(paths(&after, "me").contains(&path), !touched.contains(&path), "{}", path);
        }
        for path in changes.changed.outside_identity().paths() {
            prop_assert!(paths(&after, "they").contains(&path), "{} has no owner", path);
        }
    }

    #[test]
    fn custom_objects_keep_the_laws(
        keyed in prop::collection::btree_map("[a-d]", 0..3_u8, 0..4),
        tags in prop::collection::btree_set("[p-s]", 0..3),
        free in prop::collection::btree_map("[a-c]", "[x-z]", 0..3),
    ) {
        let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "items": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                "items": {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}},
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}}});
        let subject = Subject {
            shapes: crate::shape::custom::shapes(Some(&schema)),
            api_version: "e.io/v1".to_owned(), group_version: "e.io/v1".to_owned(), kind: "T".to_owned(), ignored: &[&["status"]],
            versions: Versions::One,
        };
        let items: Vec<Value> = keyed.iter().map(|(name, size)| json!({"name": name, "size": size})).collect();
        let full = json!({"apiVersion": "e.io/v1", "kind": "T", "metadata": {"name": "t"},
            "spec": {"items": items, "tags": tags, "free": free}});
        let bare = json!({"apiVersion": "e.io/v1", "kind": "T", "metadata": {"name": "t"}});
        let live = apply_at(&subject, None, &bare, &writer("other"), false).unwrap();
        let live = apply_at(&subject, Some(&live), &full, &writer("m"), false).unwrap();
        prop_assert_eq!(&apply_at(&subject, Some(&live), &full, &writer("m"), false).unwrap(), &live);
        let gone = apply_at(&subject, Some(&live), &bare, &writer("m"), false).unwrap();
        let stated = |it: &Object| {
            let text = it.bare.to_string();
            walk::stated(&subject.shapes.types, &subject.shapes.root, &tree::Tree::read(&text, &subject.shapes.types, &subject.shapes.root).unwrap()).outside_identity().paths()
        };
        prop_assert!(stated(&gone).is_empty(), "{:?}", gone.bare);
    }
}
