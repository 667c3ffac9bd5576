//! How long it takes to decode, default, validate and encode one object: `cargo run --release -p orlop-api --example admit_rate`.

use std::hint::black_box;
use std::time::Instant;

use orlop_api::json::Strictness;
use orlop_api::kind::{Body, Part, Write};
use orlop_api::kinds::KINDS;
use orlop_api::meta::MetaContext;
use serde_json::json;

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
    for object in [map, pod] {
        let kind =
            KINDS.iter().find(|it| it.group.is_empty() && object["kind"] == it.kind).expect("both kinds are built in");
        let bytes = serde_json::to_vec(&object).expect("a value is always JSON");
        let context = MetaContext {
            name: None,
            namespace: "default",
            now: jiff::Timestamp::UNIX_EPOCH,
            uid: "0-0",
            suffix: "abcde",
        };
        let mut stored = 0;
        let start = Instant::now();
        for _ in 0..ROUNDS {
            let write = Write {
                part: Part::Main,
                new: Body::Bytes(black_box(&bytes)),
                old: None,
                meta: context.clone(),
                strictness: Strictness::Warn,
            };
            stored = kind.admit(write).expect("the object is valid").json.len();
        }
        println!("{}: {} bytes in, {stored} bytes out, {:?} each", kind.kind, bytes.len(), start.elapsed() / ROUNDS);
    }
}
