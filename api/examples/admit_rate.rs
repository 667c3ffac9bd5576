//! How long it takes to decode and default one object, to record its managed fields, and to validate and encode it: `cargo run --release -p orlop-api --example admit_rate`.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orlop_api::custom::Interner;
use orlop_api::custom::definition::Definition;
use orlop_api::json::Strictness;
use orlop_api::kind::{Body, Part, Write};
use orlop_api::kinds::KINDS;
use orlop_api::managed::Writer;
use orlop_api::meta::MetaContext;
use serde_json::{Value, json};

const ROUNDS: u32 = 20_000;

// An example measures wall-clock time; the crate itself never looks at a clock.
#[allow(clippy::disallowed_methods)]
fn main() {
    let value = "x".repeat(900);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}});
    let container = |name: &str| {
        json!({
            "name": name, "image": "registry.example/team/web:1.27.3", "args": ["--listen", "0.0.0.0:8080", "--log", "info"],
            "env": (0..8).map(|it| json!({"name": format!("VARIABLE_{it}"), "value": "some value of a variable"})).collect::<Vec<_>>(),
            "ports": [{"name": "http", "containerPort": 8080}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}},
            "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}, {"name": "data", "mountPath": "/data"}],
        })
    };
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"app": "web", "tier": "front"}},
        "spec": {
            "containers": [container("web"), container("side")],
            "volumes": [{"name": "config", "configMap": {"name": "web"}}, {"name": "data", "emptyDir": {}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}],
        },
    });
    let (definition, custom) = custom();
    let definition = Definition::parse(&Bytes::from(definition.to_string())).expect("the definition is valid");
    let made = Interner::default().kinds(&Arc::new(definition));
    let built_in =
        |name: &str| KINDS.iter().find(|it| it.group.is_empty() && it.kind == name).expect("both kinds are built in");
    for (kind, object) in [(built_in("ConfigMap"), map), (built_in("Pod"), pod), (made[0], custom)] {
        let bytes = serde_json::to_vec(&object).expect("a value is always JSON");
        let writer = Writer { manager: "bench", subresource: "", now: "2026-01-01T00:00:00Z", unowned: None };
        let (mut decoding, mut recording, mut finishing) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut stored = 0;
        for _ in 0..ROUNDS {
            let write = Write {
                part: Part::Main,
                new: Body::Bytes(black_box(&bytes)),
                old: None,
                meta: MetaContext {
                    name: None,
                    namespace: "default",
                    now: jiff::Timestamp::UNIX_EPOCH,
                    uid: "0-0",
                    suffix: "abcde",
                },
                strictness: Strictness::Warn,
            };
            let begun = Instant::now();
            let mut draft = kind.draft(write).expect("the object is valid");
            let decoded = Instant::now();
            draft.record(&writer).expect("the object can be recorded");
            let recorded = Instant::now();
            stored = draft.finish().expect("the object is valid").json.len();
            finishing += recorded.elapsed();
            recording += recorded - decoded;
            decoding += decoded - begun;
        }
        println!(
            "{}: {} bytes in, {stored} bytes out; decode {:?}, managed fields {:?}, prepare, check and encode {:?}",
            kind.kind,
            bytes.len(),
            decoding / ROUNDS,
            recording / ROUNDS,
            finishing / ROUNDS
        );
    }
}

/// A definition of ten groups of ten fields, and an object of it.
fn custom() -> (Value, Value) {
    let properties = json!({
        "name": {"type": "string", "minLength": 1, "maxLength": 63}, "size": {"type": "integer", "minimum": 0},
        "share": {"type": "number"}, "mode": {"type": "string", "enum": ["Fast", "Safe"], "default": "Safe"},
        "enabled": {"type": "boolean", "default": true}, "port": {"x-kubernetes-int-or-string": true},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "hosts": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
        "since": {"type": "string", "format": "date-time"},
    });
    let group = json!({"type": "object", "required": ["name"], "properties": properties});
    let groups: serde_json::Map<_, _> = (0..10).map(|it| (format!("group{it}"), group.clone())).collect();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": groups}}});
    let definition = json!({
        "metadata": {"name": "benches.bench.orlop.dev"},
        "spec": {
            "group": "bench.orlop.dev", "scope": "Namespaced", "names": {"plural": "benches", "singular": "bench", "kind": "Bench", "listKind": "BenchList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
        "status": {
            "acceptedNames": {"plural": "benches", "singular": "bench", "kind": "Bench", "listKind": "BenchList"},
            "conditions": [{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}],
        },
    });
    let group = json!({
        "name": "group", "size": 7, "share": 0.5, "mode": "Fast", "enabled": false, "port": "http",
        "labels": {"app": "orlop-bench"}, "hosts": ["a.example", "b.example"], "since": "2026-01-01T00:00:00Z",
    });
    let groups: serde_json::Map<_, _> = (0..10).map(|it| (format!("group{it}"), group.clone())).collect();
    let object = json!({"apiVersion": "bench.orlop.dev/v1", "kind": "Bench", "metadata": {"name": "a", "labels": {"app": "orlop-bench"}}, "spec": groups});
    (definition, object)
}
