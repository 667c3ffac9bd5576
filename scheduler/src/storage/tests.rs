//! What claims ask of nodes, and what is promised.

use serde_json::{Value, json};

use super::*;
use crate::decide::{Decision, decide};
use crate::filters::Happening;
use crate::snapshot::Cluster;

fn cluster() -> Cluster {
    let mut it = Cluster::default();
    for (name, zone) in [("n1", "a"), ("n2", "b")] {
        let node = json!({ "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name, "zone": zone } },
            "status": { "allocatable": { "cpu": "4", "memory": "8Gi", "pods": "110" } } });
        it.set_node(&serde_json::from_value(node).unwrap());
    }
    for (name, mode, provisioner, zones) in [
        ("now", "Immediate", "x/y", json!(null)),
        ("late", "WaitForFirstConsumer", "orlop.dev/local", json!([])),
        ("by-hand", "WaitForFirstConsumer", NO_PROVISIONER, json!([])),
        (
            "in-b",
            "WaitForFirstConsumer",
            "x/y",
            json!([{ "matchLabelExpressions": [{ "key": "zone", "values": ["b"] }] }]),
        ),
    ] {
        let mut class = json!({ "metadata": { "name": name }, "provisioner": provisioner, "volumeBindingMode": mode });
        if zones.is_array() {
            class["allowedTopologies"] = zones;
        }
        it.storage.classes.apply(serde_json::from_value(class).unwrap());
    }
    it
}

fn claim(cluster: &Cluster, name: &str, class: &str, volume: &str, modes: &[&str], annotations: Value) {
    let it = json!({ "metadata": { "namespace": "d", "name": name, "uid": name, "annotations": annotations },
        "spec": { "storageClassName": class, "volumeName": volume, "accessModes": modes,
            "resources": { "requests": { "storage": "1Gi" } } } });
    cluster.storage.claims.apply(serde_json::from_value(it).unwrap());
}

fn volume(cluster: &Cluster, name: &str, node: &str, size: &str, claim: Value) {
    let it = json!({ "metadata": { "name": name }, "spec": { "capacity": { "storage": size }, "storageClassName": "by-hand",
        "accessModes": ["ReadWriteOnce"], "claimRef": claim, "nodeAffinity": { "required": { "nodeSelectorTerms": [{
            "matchExpressions": [{ "key": "kubernetes.io/hostname", "operator": "In", "values": [node] }] }] } } },
        "status": { "phase": "Available" } });
    cluster.storage.volumes.apply(serde_json::from_value(it).unwrap());
}

fn pod(uid: &str, claims: &[&str]) -> Pod {
    let volumes: Vec<Value> =
        claims.iter().map(|it| json!({ "name": it, "persistentVolumeClaim": { "claimName": it } })).collect();
    let it = json!({ "metadata": { "namespace": "d", "name": uid, "uid": uid }, "spec": { "volumes": volumes } });
    Pod::new(&serde_json::from_value(it).unwrap())
}

fn completed() -> Value {
    json!({ "pv.kubernetes.io/bind-completed": "yes" })
}

const ONE: &[&str] = &["ReadWriteOnce"];

/// The node and the choices, or why there is none.
fn told(cluster: &Cluster, pod: &Pod) -> String {
    match decide(pod, cluster, 0, 0) {
        Decision::Bind { node, claims, .. } => format!("{node} {claims:?}"),
        Decision::Unschedulable(why) => {
            assert!(why.woken_by(Happening::Storage), "{why}");
            why.to_string()
        }
    }
}

#[test]
fn a_claim_that_is_not_bound_has_a_reason() {
    let it = cluster();
    let of = |name: &str| told(&it, &pod("p", &[name]));
    assert_eq!(of("gone"), r#"0/2 nodes are available: persistentvolumeclaim "gone" not found."#);
    claim(&it, "now", "now", "", ONE, Value::Null);
    assert_eq!(of("now"), "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
    claim(&it, "lost", "late", "v", ONE, completed());
    assert_eq!(
        of("lost"),
        "0/2 nodes are available: 2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)."
    );
    let view = json!({ "metadata": { "namespace": "d", "name": "p", "uid": "p" }, "spec": { "volumes": [{ "name": "v", "ephemeral": {} }] } });
    let made = Pod::new(&serde_json::from_value(view).unwrap());
    assert!(
        told(&it, &made)
            .contains(r#"waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v""#)
    );
    claim(&it, "p-v", "late", "", ONE, Value::Null);
    assert!(told(&it, &made).contains("PVC d/p-v was not created for pod d/p (pod is not owner)"));
}

#[test]
fn a_pod_goes_where_its_volume_is() {
    let it = cluster();
    volume(&it, "v", "n2", "1Gi", json!({ "namespace": "d", "name": "data", "uid": "data" }));
    claim(&it, "data", "by-hand", "v", ONE, completed());
    assert_eq!(told(&it, &pod("p", &["data"])), "n2 []");
    volume(&it, "w", "n3", "1Gi", json!({ "namespace": "d", "name": "far", "uid": "far" }));
    claim(&it, "far", "by-hand", "w", ONE, completed());
    let why = told(&it, &pod("p", &["far"]));
    assert_eq!(why, "0/2 nodes are available: 2 node(s) had volume node affinity conflict.");
    assert!(told(&it, &pod("p", &["far", "data"])).contains("2 node(s) had volume node affinity conflict"));
}

#[test]
fn a_volume_is_found_or_made_with_the_node() {
    let it = cluster();
    claim(&it, "data", "by-hand", "", ONE, Value::Null);
    let none = "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind.";
    assert_eq!(told(&it, &pod("p", &["data"])), none);
    volume(&it, "small", "n2", "1Mi", Value::Null);
    assert_eq!(told(&it, &pod("p", &["data"])), none);
    volume(&it, "v", "n2", "2Gi", Value::Null);
    assert_eq!(told(&it, &pod("p", &["data"])), r#"n2 [(d/data, Volume("v"))]"#);
    claim(&it, "more", "by-hand", "", ONE, Value::Null);
    assert_eq!(told(&it, &pod("p", &["data", "more"])), none);
    volume(&it, "w", "n1", "2Gi", Value::Null);
    assert_eq!(told(&it, &pod("p", &["data", "more"])), none);
    volume(&it, "x", "n2", "2Gi", Value::Null);
    assert_eq!(told(&it, &pod("p", &["data", "more"])), r#"n2 [(d/data, Volume("v")), (d/more, Volume("x"))]"#);
    claim(&it, "topology", "in-b", "", ONE, Value::Null);
    assert_eq!(told(&it, &pod("p", &["topology"])), "n2 [(d/topology, Made)]");
    claim(&it, "chosen", "late", "", ONE, json!({ "volume.kubernetes.io/selected-node": "n1" }));
    assert_eq!(told(&it, &pod("p", &["chosen"])), "n1 [(d/chosen, Made)]");
}

#[test]
fn what_is_promised_is_nobody_elses() {
    let mut it = cluster();
    claim(&it, "one", "by-hand", "", ONE, Value::Null);
    claim(&it, "two", "by-hand", "", ONE, Value::Null);
    volume(&it, "v", "n1", "2Gi", Value::Null);
    it.storage.promise("p", "n1", &[(Key::new("d", "one"), Choice::Volume("v".into()))]);
    assert!(told(&it, &pod("q", &["two"])).contains("didn't find available persistent volumes"));
    // Who shares the claim goes with it.
    assert_eq!(told(&it, &pod("q", &["one"])), r#"n1 [(d/one, Volume("v"))]"#);
    it.storage.settle("p");
    assert_eq!(told(&it, &pod("q", &["two"])), r#"n1 [(d/two, Volume("v"))]"#);
    claim(&it, "made", "late", "", ONE, Value::Null);
    it.storage.promise("p", "n2", &[(Key::new("d", "made"), Choice::Made)]);
    assert_eq!(told(&it, &pod("q", &["made"])), "n2 [(d/made, Made)]");
}

#[test]
fn a_claim_for_one_pod_has_one() {
    let mut it = cluster();
    claim(&it, "data", "late", "", &["ReadWriteOncePod"], Value::Null);
    let (first, second) = (pod("p", &["data"]), pod("q", &["data"]));
    it.place(&first, "n1", true);
    let why = "0/2 nodes are available: 2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode.";
    assert_eq!(told(&it, &second), why);
    it.remove_pod("p");
    assert!(told(&it, &second).contains("Made"));
}
