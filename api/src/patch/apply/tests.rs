//! Server-side apply as kubectl uses it, and its laws.

use super::*;
use crate::kinds::KINDS;
use proptest::prelude::*;

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|it| it.kind == name).unwrap()
}

fn writer(manager: &str) -> Writer<'_> {
    Writer { manager, subresource: "", now: "2026-01-02T03:04:05Z" }
}

fn applied(of: &str, live: Option<&Value>, config: &Value, manager: &str, force: bool) -> status::Result<Value> {
    apply(kind(of), live, config, &writer(manager), force)
}

fn deployment(replicas: Value, containers: Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "d", "labels": {"app": "web"}},
        "spec": {"replicas": replicas, "template": {"spec": {"containers": containers}}},
    })
}

/// Applies the configurations one after the other and looks at what comes out, without the entries.
fn check(of: &str, steps: &[(&str, Value)], expected: Result<Value, &str>) -> Option<Value> {
    let mut live: Option<Value> = None;
    for (manager, config) in steps {
        match applied(of, live.as_ref(), config, manager, false) {
            Ok(next) => live = Some(next),
            Err(error) => {
                assert_eq!(Err(error.message.as_str()), expected);
                return live;
            }
        }
    }
    let live = live.unwrap();
    let mut bare = live.clone();
    bare["metadata"].as_object_mut().unwrap().remove("managedFields");
    assert_eq!(Ok(bare), expected.map_err(str::to_owned).map_err(|_| "no error"));
    Some(live)
}

#[test]
fn creates_and_records() {
    let config = deployment(json!(2), json!([{"name": "a", "image": "x", "ports": [{"containerPort": 80}]}]));
    let live = check("Deployment", &[("kubectl", config.clone())], Ok(config.clone())).unwrap();
    assert_eq!(
        live["metadata"]["managedFields"],
        json!([{
            "manager": "kubectl", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-02T03:04:05Z", "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {"f:labels": {"f:app": {}}},
                "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                    ".": {}, "f:name": {}, "f:image": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}
                }}}}}
            }
        }])
    );
    assert!(is_tracked(&serde_json::to_vec(&live).unwrap()));
    let later = Writer { now: "2027-01-01T00:00:00Z", ..writer("kubectl") };
    assert_eq!(apply(kind("Deployment"), Some(&live), &config, &later, false).unwrap(), live, "nothing to do");
}

#[test]
fn removes_what_is_no_longer_applied() {
    let two = deployment(
        json!(2),
        json!([{"name": "a", "image": "x", "env": [{"name": "A", "value": "1"}]}, {"name": "b", "image": "y"}]),
    );
    let mut one = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    one["spec"].as_object_mut().unwrap().remove("replicas");
    check("Deployment", &[("kubectl", two), ("kubectl", one.clone())], Ok(one));
}

#[test]
fn keeps_what_others_own() {
    let mine = json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "2"}});
    let theirs = json!({"metadata": {"name": "c"}, "data": {"b": "2", "c": "3"}});
    let less = json!({"metadata": {"name": "c"}, "data": {"a": "1"}});
    let steps = [("me", mine.clone()), ("they", theirs.clone()), ("me", less)];
    check("ConfigMap", &steps, Ok(json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "2", "c": "3"}})));
    let gone = json!({"metadata": {"name": "c"}});
    check("ConfigMap", &[("me", mine), ("they", theirs.clone()), ("me", gone)], Ok(theirs));
}

#[test]
fn tells_conflicts_and_forces() {
    let mine = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    let theirs = deployment(json!(3), json!([{"name": "a", "image": "x"}]));
    let live = check(
        "Deployment",
        &[("kubectl", mine.clone()), ("helm", theirs.clone())],
        Err("Apply failed with 1 conflict: conflict with \"kubectl\": .spec.replicas"),
    )
    .unwrap();
    let forced = applied("Deployment", Some(&live), &theirs, "helm", true).unwrap();
    assert_eq!(forced["spec"]["replicas"], 3);
    let error = applied(
        "Deployment",
        Some(&forced),
        &deployment(json!(4), json!([{"name": "a", "image": "z"}])),
        "kubectl",
        false,
    )
    .unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 2 conflicts: conflicts with \"helm\":\n- .spec.replicas\n- .spec.template.spec.containers[name=\"a\"].image"
    );
    assert_eq!(error.details.unwrap().causes[0].reason, "FieldManagerConflict");
}

#[test]
fn plain_writes_take_ownership() {
    let mine = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    let live = applied("Deployment", None, &mine, "kubectl", false).unwrap();
    let mut scaled = live.clone();
    scaled["spec"]["replicas"] = json!(5);
    update(kind("Deployment"), &live, &mut scaled, &writer("scaler"));
    let error = applied("Deployment", Some(&scaled), &mine, "kubectl", false).unwrap_err();
    assert_eq!(error.message, "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas");
    let mut less = mine.clone();
    less["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(applied("Deployment", Some(&scaled), &less, "kubectl", false).unwrap()["spec"]["replicas"], 5);
    let mut emptied = scaled.clone();
    emptied["spec"].as_object_mut().unwrap().remove("replicas");
    update(kind("Deployment"), &scaled, &mut emptied, &writer("other"));
    assert_eq!(applied("Deployment", Some(&emptied), &mine, "kubectl", false).unwrap()["spec"]["replicas"], 2);
}

#[test]
fn what_stood_before_belongs_to_somebody() {
    let stood = deployment(json!(1), json!([{"name": "a", "image": "x"}]));
    let error = applied("Deployment", Some(&stood), &deployment(json!(2), json!([])), "kubectl", false).unwrap_err();
    assert_eq!(
        error.message,
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using apps/v1: .spec.replicas"
    );
    let plain = stood.clone();
    let mut written = stood.clone();
    written["spec"]["replicas"] = json!(9);
    update(kind("Deployment"), &plain, &mut written, &writer("x"));
    assert!(written["metadata"].get("managedFields").is_none());
}

#[test]
fn refuses_what_is_not_declared() {
    let error = |config: Value| applied("ConfigMap", None, &config, "m", false).unwrap_err().message;
    assert_eq!(
        error(json!({"metadata": {"name": "c", "namespace": "d"}, "dato": {}})),
        "failed to create typed patch object (d/c; v1, Kind=ConfigMap): .dato: field not declared in schema"
    );
    let twice = deployment(json!(1), json!([{"name": "a"}, {"name": "a"}]));
    assert!(
        applied("Deployment", None, &twice, "m", false)
            .unwrap_err()
            .message
            .ends_with("duplicate entries for key [name=\"a\"]")
    );
}

#[test]
fn merges_service_ports() {
    let service = |ports: Value| json!({"metadata": {"name": "s"}, "spec": {"ports": ports, "selector": {"a": "b"}}});
    let live = applied("Service", None, &service(json!([{"name": "x", "port": 53, "protocol": "UDP"}])), "one", false)
        .unwrap();
    let both = applied("Service", Some(&live), &service(json!([{"name": "y", "port": 53}])), "two", false).unwrap();
    assert_eq!(both["spec"]["ports"].as_array().unwrap().len(), 2);
    let gone = json!({"metadata": {"name": "s"}});
    let rest = applied("Service", Some(&both), &gone, "one", false).unwrap();
    assert_eq!(rest["spec"]["ports"], json!([{"name": "y", "port": 53}]));
    assert_eq!(rest["spec"]["selector"], json!({"a": "b"}));
}

type Data = std::collections::BTreeMap<String, String>;

fn config(data: &Data) -> Value {
    json!({"metadata": {"name": "c"}, "data": data})
}

proptest! {
    #[test]
    fn applying_twice_is_applying_once(first in prop::collection::btree_map("[a-d]", "[x-z]", 1..4), second in prop::collection::btree_map("[a-d]", "[x-z]", 1..4)) {
        let live = applied("ConfigMap", None, &config(&first), "m", false).unwrap();
        let once = applied("ConfigMap", Some(&live), &config(&second), "m", false).unwrap();
        let twice = applied("ConfigMap", Some(&once), &config(&second), "m", false).unwrap();
        prop_assert_eq!(&twice, &once);
        prop_assert_eq!(once["data"].clone(), json!(second));
    }

    #[test]
    fn disjoint_appliers_commute(one in prop::collection::btree_map("[a-d]", "[x-z]", 1..4), two in prop::collection::btree_map("[e-h]", "[x-z]", 1..4)) {
        let run = |first: (&str, &Data), second: (&str, &Data)| {
            let live = applied("ConfigMap", None, &config(first.1), first.0, false).unwrap();
            applied("ConfigMap", Some(&live), &config(second.1), second.0, false).unwrap()
        };
        prop_assert_eq!(run(("a", &one), ("b", &two)), run(("b", &two), ("a", &one)));
    }

    #[test]
    fn sets_of_fields_read_back(data in prop::collection::btree_map("[a-d]", "[x-z]", 0..4)) {
        let kind = kind("ConfigMap");
        let fields = Fields::of(Types::get(), &Types::get().root(kind), &config(&data)).unwrap().without_identity();
        prop_assert_eq!(Fields::read(&fields.write()), fields);
    }
}

#[test]
fn defaults_belong_to_nobody() {
    use crate::json::Strictness;
    use crate::kind::{Body, Part, Write};
    use crate::meta::MetaContext;
    let kind = kind("Deployment");
    let mut config = deployment(json!(2), json!([{"name": "a", "image": "x"}]));
    config["spec"]["selector"] = json!({"matchLabels": {"app": "web"}});
    config["spec"]["template"]["metadata"] = json!({"labels": {"app": "web"}});
    let admitted = |value: Value, old: Option<&[u8]>| {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let meta = MetaContext { name: Some("web"), namespace: "d", now, uid: "u", suffix: "bcdfg" };
        let write = Write { part: Part::Main, new: Body::Value(value), old, meta, strictness: Strictness::Strict };
        kind.admit(write).unwrap().json
    };
    let first = admitted(applied("Deployment", None, &config, "kubectl", false).unwrap(), None);
    let live: Value = serde_json::from_slice(&first).unwrap();
    assert!(is_tracked(&first));
    assert_eq!(live["spec"]["strategy"]["type"], "RollingUpdate", "the kind has filled in its defaults");
    let again = applied("Deployment", Some(&live), &config, "kubectl", false).unwrap();
    assert_eq!(admitted(again, Some(&first)), first, "an apply of the same changes nothing");
    let other = json!({"metadata": {"name": "web"}, "spec": {"strategy": {"type": "Recreate"}}});
    let taken = applied("Deployment", Some(&live), &other, "helm", false).unwrap();
    assert_eq!(taken["spec"]["strategy"]["type"], "Recreate");
}
