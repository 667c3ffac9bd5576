//! What Kubernetes refuses, kind by kind, with the type, the field and the text of every cause, in the order in which it tells them.
//!
//! Source: `pkg/apis/*/validation` and `k8s.io/apimachinery/pkg/api/validation`. A case writes `change` over the least valid object of its
//! kind, as a new object or as an update of the old one.

#![allow(clippy::unwrap_used)] // A test says what it expects by panicking.

mod cluster;
mod pods;

use orlop_api::json::Strictness;
use orlop_api::kind::{Body, Part, Scope, Write};
use orlop_api::kinds::KINDS;
use orlop_api::meta::MetaContext;
use serde_json::{Value, json};

/// The least that a kind's validation lets pass.
fn least(plural: &str) -> Value {
    let container = json!({"name": "a", "image": "nginx"});
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [container]}});
    let mut it = match plural {
        "pods" => json!({"spec": {"containers": [container]}}),
        "services" => json!({"spec": {"ports": [{"port": 80}], "clusterIP": "10.96.0.9"}}),
        "deployments" | "replicasets" => {
            json!({"spec": {"selector": {"matchLabels": {"app": "a"}}, "template": template}})
        }
        "events" => json!({
            "regarding": {"namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z", "type": "Normal",
            "reason": "Tried", "action": "Trying", "reportingController": "a.b/c", "reportingInstance": "c-0",
        }),
        "endpointslices" => json!({"addressType": "IPv4", "endpoints": []}),
        "rolebindings" | "clusterrolebindings" => json!({"roleRef": {"kind": "ClusterRole", "name": "view"}}),
        _ => json!({}),
    };
    it["metadata"] = json!({"name": "a"});
    it
}

fn merge(into: &mut Value, change: &Value) {
    match (into, change) {
        (Value::Object(into), Value::Object(change)) => {
            for (key, value) in change {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, change) => *into = change.clone(),
    }
}

fn causes(plural: &str, part: Part, new: Value, old: Option<&[u8]>) -> Result<Value, Vec<String>> {
    // Events are asked for in their newer form.
    let kind = KINDS.iter().rfind(|it| it.names.plural == plural).unwrap();
    let meta = MetaContext {
        name: None,
        namespace: if kind.scope == Scope::Namespaced { "default" } else { "" },
        now: "2026-01-01T00:00:00Z".parse().unwrap(),
        uid: "00000000-0000-4000-8000-000000000000",
        suffix: "abcde",
    };
    let write = Write { part, new: Body::Value(new), old, meta, strictness: Strictness::Strict };
    match kind.admit(write) {
        Ok(admitted) => Ok(serde_json::from_slice(&admitted.json).unwrap()),
        Err(status) => {
            let causes = status.details.map(|it| it.causes).unwrap_or_default();
            assert!(!causes.is_empty(), "{plural}: {}", status.message);
            let first_line = |text: &str| text.lines().next().unwrap_or_default().to_owned();
            Err(causes.iter().map(|it| format!("{} {}: {}", it.reason, it.field, first_line(&it.message))).collect())
        }
    }
}

/// Creates the least object with `change`.
#[track_caller]
fn create(plural: &str, change: Value, expected: &[&str]) {
    let mut new = least(plural);
    merge(&mut new, &change);
    let found = causes(plural, Part::Main, new, None).err().unwrap_or_default();
    compare(plural, &change, &found, expected);
}

/// Creates the least object with `before`, and changes it.
#[track_caller]
fn update(plural: &str, part: Part, before: Value, change: Value, expected: &[&str]) {
    let mut old = least(plural);
    merge(&mut old, &before);
    let mut old = causes(plural, Part::Main, old, None).unwrap();
    // Only subresources write statuses, but what is stored may have one.
    if let Some(status) = before.get("status") {
        merge(&mut old["status"], status);
    }
    let stored = serde_json::to_vec(&old).unwrap();
    merge(&mut old, &change);
    old["metadata"]["resourceVersion"] = "7".into();
    let found = causes(plural, part, old, Some(&stored)).err().unwrap_or_default();
    compare(plural, &change, &found, expected);
}

/// An expectation that ends with `…` is the start of what is told.
#[track_caller]
fn compare(plural: &str, change: &Value, found: &[String], expected: &[&str]) {
    let same = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| match expected.strip_suffix('…') {
            Some(start) => found.starts_with(start),
            None => found == expected,
        });
    assert!(same, "{plural} {change}\nfound    {found:#?}\nexpected {expected:#?}");
}
