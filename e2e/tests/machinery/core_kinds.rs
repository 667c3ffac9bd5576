//! Kinds of the core, of nodes and of leases by every operation ("ConfigMap should run through a ConfigMap lifecycle", "Secrets should patch a
//! secret", "PodTemplates should run the lifecycle of PodTemplates", "… replace a pod template", "… delete a collection of pod templates",
//! "Lease lease API should be available", "RuntimeClass should support RuntimeClasses API operations", "Node Lifecycle should run through the
//! lifecycle of a node"), and what has no name in a ConfigMap or a Secret ("ConfigMap should fail to create ConfigMap with empty key", "Secrets
//! should fail to create secret due to empty secret key").

use anyhow::{Result, ensure};
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::operations::{Kind, holds, walk_all};
use super::plain::Http;

pub fn operations(it: &Scene<'_>) -> Result<()> {
    walk_all(it, &[maps(), secrets(), templates(), leases(), runtimes(), nodes()])
}

fn maps() -> Kind {
    let change = json!({ "data": { "valueName": "changed", "more": "yes" } });
    Kind::new("", "ConfigMap", "configmaps", json!({ "data": { "valueName": "value" } }), change)
}

fn secrets() -> Kind {
    let change = json!({ "data": { "key": "dmFsdWUx" } });
    Kind::new("", "Secret", "secrets", json!({ "type": "Opaque", "data": { "key": "dmFsdWU=" } }), change)
}

fn templates() -> Kind {
    let template = |container: &str| json!({ "template": { "spec": { "containers": [{ "name": container, "image": "registry.local/web:1" }] } } });
    Kind::new("", "PodTemplate", "podtemplates", template("one"), template("two"))
}

fn leases() -> Kind {
    let lease = |holder: &str, transitions: u32, time: &str| {
        json!({ "spec": { "holderIdentity": holder, "leaseDurationSeconds": 30, "leaseTransitions": transitions,
            "acquireTime": time, "renewTime": time } })
    };
    let body = lease("holder", 0, "2026-01-01T00:00:00.000001Z");
    Kind::new("coordination.k8s.io", "Lease", "leases", body, lease("holder2", 1, "2026-01-01T00:01:00.000002Z"))
}

fn runtimes() -> Kind {
    let change = json!({ "overhead": { "podFixed": { "cpu": "100m" } } });
    Kind::new("node.k8s.io", "RuntimeClass", "runtimeclasses", json!({ "handler": "some" }), change).of_cluster()
}

/// Machines that are not there; nothing is put on them.
fn nodes() -> Kind {
    let change = json!({ "spec": { "taints": [{ "key": "example.com/e2e", "effect": "NoSchedule" }] } });
    let told = |kind: &str| {
        let condition = json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set by a test",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z" });
        json!({ "conditions": [condition] })
    };
    Kind::new("", "Node", "nodes", json!({ "spec": { "unschedulable": true } }), change).of_cluster().told(
        Value::Null,
        told("StatusPatched"),
        told("StatusUpdated"),
    )
}

pub fn empty_keys(it: &Scene<'_>) -> Result<()> {
    const WHY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
        'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let http = Http::of(it);
    for (plural, kind, field, value) in [
        ("configmaps", "ConfigMap", "data", "value"),
        ("configmaps", "ConfigMap", "binaryData", "dmFsdWU="),
        ("secrets", "Secret", "data", "dmFsdWU="),
        ("secrets", "Secret", "stringData", "value"),
    ] {
        // What is written as a text is judged as what it becomes.
        let shown = if field == "stringData" { "data" } else { field };
        let mut body = json!({ "metadata": { "name": "nameless" } });
        body[field] = json!({ "": value });
        let words = format!("{kind} \"nameless\" is invalid: {shown}[]: Invalid value: \"\": {WHY}");
        http.post(&it.path(plural), &body)?.refuses(422, &words)?;
        http.get(&it.path(&format!("{plural}/nameless")))?.refuses(404, "not found")?;
        body[field] = json!({ "named": value });
        http.post(&it.path(plural), &body)?.is(201)?;
        http.delete(&it.path(&format!("{plural}/nameless")), &Value::Null)?.is(200)?;
    }
    Ok(())
}

/// What a template had nothing to say for is empty, and no mistake.
pub fn empty_values(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let all = it.path("configmaps");
    let body = json!({ "metadata": { "name": "unsaid", "labels": { "a": null } }, "data": { "key": null } });
    let empty = json!({ "metadata": { "labels": { "a": "" } }, "data": { "key": "" } });
    let mut made = http.post(&format!("{all}?fieldValidation=Strict"), &body)?.is(201)?;
    ensure!(holds(&made, &empty), "{made}");
    made["metadata"]["annotations"] = json!({ "b": null });
    let replaced = http.put(&format!("{all}/unsaid"), &made)?.is(200)?;
    ensure!(replaced["metadata"]["annotations"] == json!({ "b": "" }), "{replaced}");
    let read = http.get(&format!("{all}/unsaid"))?.is(200)?;
    ensure!(holds(&read, &empty) && holds(&read["metadata"]["annotations"], &json!({ "b": "" })), "{read}");
    Ok(())
}
