//! The objects that are created: of known size, and valid for any Kubernetes API server. Pure.

use bytes::Bytes;
use serde_json::{Value, json};

/// No scheduler answers to this name, so that a running cluster leaves the benchmark's pods alone.
pub const NO_SCHEDULER: &str = "orlop-bench-none";

/// The image of pods that are to run: one static program that sleeps. The benchmark of the agent makes it.
pub const IMAGE: &str = "orlop.local/bench:1";

/// The body of a ConfigMap that is `size_bytes` long. Another `turn` is another state of it: a PUT of what stands already would not be
/// written at all.
pub fn config_map(name: &str, turn: usize, size_bytes: usize) -> Bytes {
    padded(size_bytes, |padding| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app": "orlop-bench"}},
            "data": {"turn": turn.to_string(), "padding": padding},
        })
    })
}

/// The body of a pod that is `size_bytes` long, and some hundred bytes longer once defaults are filled in.
pub fn pod(name: &str, scheduler: &str, size_bytes: usize) -> Bytes {
    padded(size_bytes, |padding| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "orlop-bench"}, "annotations": {"orlop.dev/padding": padding}},
            "spec": {
                "schedulerName": scheduler,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                }],
            },
        })
    })
}

/// The smallest pod: what a scheduling benchmark creates.
pub fn small_pod(name: &str, scheduler: &str) -> Bytes {
    pod(name, scheduler, 0)
}

/// A pod that is bound from the beginning, so that its agent sees it at once.
pub fn bound_pod(name: &str, node: &str) -> Bytes {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}],
        },
    });
    Bytes::from(pod.to_string())
}

/// The body of a Deployment that is `size_bytes` long, of no pods, so that running controllers leave it alone.
pub fn deployment(name: &str, turn: usize, size_bytes: usize) -> Bytes {
    padded(size_bytes, |padding| {
        let labels = json!({"app": "orlop-bench", "deployment": name});
        let env: Vec<Value> = (0..20)
            .map(|it| json!({"name": format!("VARIABLE_{it}"), "value": format!("the value of variable {it}")}))
            .collect();
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": name, "labels": labels, "annotations": {"orlop.dev/padding": padding}},
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels, "annotations": {"orlop.dev/turn": turn.to_string()}},
                    "spec": {"containers": [
                        {
                            "name": "main", "image": format!("{IMAGE}-{turn}"), "env": env,
                            "ports": [{"name": "http", "containerPort": 8080}, {"name": "metrics", "containerPort": 9090}],
                            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
                            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "configuration", "mountPath": "/etc/main"}],
                        },
                        {"name": "side", "image": IMAGE, "args": ["--listen", "127.0.0.1:7000"]},
                    ],
                    "volumes": [{"name": "data", "emptyDir": {}}, {"name": "configuration", "configMap": {"name": "configuration"}}]},
                },
            },
        })
    })
}

/// The schema of a custom kind: 100 fields of the types that definitions have, in ten groups.
const CUSTOM_GROUPS: usize = 10;

/// The body of a CustomResourceDefinition `<plural>.bench.orlop.dev` whose kind has 100 fields, each described in a sentence.
pub fn definition(plural: &str, kind: &str) -> Bytes {
    let described = |what: &str, mut schema: Value| {
        schema["description"] =
            format!("What {what} is, said in as many words as definitions usually have for it.").into();
        schema
    };
    let group = |number: usize| {
        let properties = json!({
            "name": described("its name", json!({"type": "string", "minLength": 1, "maxLength": 63})),
            "size": described("its size", json!({"type": "integer", "format": "int32", "minimum": 0, "maximum": 1000})),
            "share": described("its share", json!({"type": "number"})),
            "mode": described("its mode", json!({"type": "string", "enum": ["Fast", "Safe"], "default": "Safe"})),
            "enabled": described("its switch", json!({"type": "boolean", "default": true})),
            "port": described("its port", json!({"x-kubernetes-int-or-string": true})),
            "labels": described("its labels", json!({"type": "object", "additionalProperties": {"type": "string"}})),
            "hosts": described("its hosts", json!({"type": "array", "maxItems": 64, "items": {"type": "string"}, "x-kubernetes-list-type": "set"})),
            "since": described("its start", json!({"type": "string", "format": "date-time", "nullable": true})),
        });
        (
            format!("group{number}"),
            described("the group", json!({"type": "object", "required": ["name"], "properties": properties})),
        )
    };
    let spec: serde_json::Map<String, Value> = (0..CUSTOM_GROUPS).map(group).collect();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.bench.orlop.dev")},
        "spec": {
            "group": "bench.orlop.dev", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    });
    Bytes::from(definition.to_string())
}

/// The body of an object of such a kind with every field set.
pub fn custom(kind: &str, name: &str, turn: usize) -> Bytes {
    let group = |number: usize| {
        let of = json!({
            "name": format!("group {number}"), "size": turn % 1000, "share": 0.5, "mode": "Fast", "enabled": false, "port": "http",
            "labels": {"app": "orlop-bench"}, "hosts": ["a.example", "b.example"], "since": "2026-01-01T00:00:00Z",
        });
        (format!("group{number}"), of)
    };
    let spec: serde_json::Map<String, Value> = (0..CUSTOM_GROUPS).map(group).collect();
    let object = json!({
        "apiVersion": "bench.orlop.dev/v1", "kind": kind,
        "metadata": {"name": name, "labels": {"app": "orlop-bench"}}, "spec": spec,
    });
    Bytes::from(object.to_string())
}

/// Makes the object as long as asked by a string of letters; as it is where it is longer already.
fn padded(size_bytes: usize, make: impl Fn(&str) -> Value) -> Bytes {
    let bare = make("").to_string().len();
    let padding = "x".repeat(size_bytes.saturating_sub(bare));
    Bytes::from(make(&padding).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_size_asked() {
        assert_eq!(config_map("a", 7, 1_024).len(), 1_024);
        assert_eq!(pod("a", NO_SCHEDULER, 3_000).len(), 3_000);
        assert_eq!(deployment("a", 3, 3_000).len(), 3_000);
        let small = small_pod("a", NO_SCHEDULER);
        assert!((300..600).contains(&small.len()), "{}", small.len());
    }
}
