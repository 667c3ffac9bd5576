//! Strategic merge patch on the kinds it was made for.

use super::*;
use crate::kinds::KINDS;
use proptest::prelude::*;
use serde_json::json;

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|it| it.kind == name).unwrap()
}

fn check(of: &str, object: Value, patch: Value, expected: Result<Value, &str>) {
    let got = apply(kind(of), &object, patch);
    match expected {
        Ok(value) => assert_eq!(got.unwrap(), value),
        Err(text) => assert!(got.unwrap_err().message.contains(text)),
    }
}

fn pod(containers: Value) -> Value {
    json!({"spec": {"containers": containers}})
}

#[test]
fn merges_lists_by_key() {
    check(
        "Pod",
        pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1", "env": [{"name": "X", "value": "1"}]}])),
        pod(json!([{"name": "b", "image": "2", "env": [{"name": "Y", "value": "2"}]}, {"name": "c", "image": "3"}])),
        Ok(pod(json!([
            {"name": "a", "image": "1"},
            {"name": "b", "image": "2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}]},
            {"name": "c", "image": "3"}
        ]))),
    );
    check("Pod", pod(json!([])), pod(json!([{"image": "2"}])), Err("does not contain declared merge key: name"));
    check(
        "Deployment",
        json!({"spec": {"template": pod(json!([{"name": "a", "args": ["x"], "image": "1"}]))}}),
        json!({"spec": {"template": pod(json!([{"name": "a", "args": ["y"], "image": null}]))}}),
        Ok(json!({"spec": {"template": pod(json!([{"name": "a", "args": ["y"]}]))}})),
    );
}

#[test]
fn follows_directives() {
    let two = json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]);
    check(
        "Pod",
        pod(two.clone()),
        pod(json!([{"$patch": "delete", "name": "a"}])),
        Ok(pod(json!([{"name": "b", "image": "1"}]))),
    );
    check("Pod", pod(two.clone()), pod(json!([{"$patch": "replace"}, {"name": "c"}])), Ok(pod(json!([{"name": "c"}]))));
    check(
        "Pod",
        pod(two.clone()),
        json!({"spec": {"$patch": "replace", "nodeName": "n"}}),
        Ok(json!({"spec": {"nodeName": "n"}})),
    );
    check("Pod", pod(two.clone()), json!({"spec": {"$patch": "delete"}}), Ok(json!({"spec": {}})));
    check("Pod", pod(two.clone()), json!({"spec": {"$patch": "grow"}}), Err("unknown patch type 'grow'"));
    check(
        "Pod",
        pod(two),
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "a", "image": "2"}]}}),
        Ok(pod(json!([{"name": "b", "image": "1"}, {"name": "a", "image": "2"}]))),
    );
    check(
        "Pod",
        json!({"metadata": {"finalizers": ["a", "b"]}}),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c", "b"]}}),
        Ok(json!({"metadata": {"finalizers": ["c", "b"]}})),
    );
    check(
        "Deployment",
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        Ok(json!({"spec": {"strategy": {"type": "Recreate"}}})),
    );
    check(
        "Deployment",
        json!({"spec": {"strategy": {}}}),
        json!({"spec": {"strategy": {"$retainKeys": [], "type": "Recreate"}}}),
        Err("invalid patch format of retainKeys"),
    );
    check(
        "Pod",
        json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}}),
        json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "configMap"], "configMap": {"name": "c"}}]}}),
        Ok(json!({"spec": {"volumes": [{"name": "v", "configMap": {"name": "c"}}]}})),
    );
    check(
        "ConfigMap",
        json!({"data": {"a": "1"}}),
        json!({"data": {"a": null, "b": "2"}}),
        Ok(json!({"data": {"b": "2"}})),
    );
}

#[test]
fn tells_ports_apart_by_protocol() {
    let ports = |it: Value| json!({"spec": {"ports": it}});
    check(
        "Service",
        ports(
            json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]),
        ),
        ports(json!([{"port": 53, "protocol": "TCP", "targetPort": 5353}])),
        Ok(ports(
            json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 5353}]),
        )),
    );
    check(
        "Service",
        ports(json!([{"name": "dns", "port": 53}])),
        ports(
            json!([{"name": "dns-udp", "port": 53, "protocol": "UDP"}, {"name": "dns", "port": 53, "protocol": "TCP"}]),
        ),
        Ok(ports(
            json!([{"name": "dns-udp", "port": 53, "protocol": "UDP"}, {"name": "dns", "port": 53, "protocol": "TCP"}]),
        )),
    );
    check(
        "Service",
        ports(json!([{"port": 80}])),
        json!({"spec": {"$setElementOrder/ports": [{"port": 80}, {"port": 81}], "ports": [{"port": 81}]}}),
        Ok(ports(json!([{"port": 80}, {"port": 81}]))),
    );
}

proptest! {
    #[test]
    fn without_lists_it_is_a_merge_patch(
        object in prop::collection::btree_map("[a-c]", "[a-c]", 0..3),
        patch in prop::collection::btree_map("[a-c]", prop::option::of("[a-c]"), 0..3),
    ) {
        let (object, patch) = (json!({"data": object}), json!({"data": patch}));
        let strategic = apply(kind("ConfigMap"), &object, patch.clone()).unwrap();
        let mut merged = object;
        super::super::merge::apply(&mut merged, patch);
        prop_assert_eq!(strategic, merged);
    }

    #[test]
    fn twice_is_once(
        object in prop::collection::btree_map("[a-d]", "[a-c]", 0..4),
        patch in prop::collection::btree_map("[a-d]", "[a-c]", 0..4),
    ) {
        let list = |of: std::collections::BTreeMap<String, String>| {
            pod(of.into_iter().map(|(name, image)| json!({"name": name, "image": image})).collect())
        };
        let (object, patch) = (list(object), list(patch));
        let once = apply(kind("Pod"), &object, patch.clone()).unwrap();
        prop_assert_eq!(apply(kind("Pod"), &once, patch).unwrap(), once.clone());
        prop_assert_eq!(apply(kind("Pod"), &object, object.clone()).unwrap(), object);
    }
}
