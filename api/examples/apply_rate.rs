//! What recording the managers costs, and a server-side apply beside a plain update:
//! `cargo run --release -p orlop-api --example apply_rate`. The ratios count, not the times.

use std::hint::black_box;
use std::time::{Duration, Instant};

use orlop_api::json::Strictness;
use orlop_api::kind::{Body, Kind, Part, Write};
use orlop_api::kinds::KINDS;
use orlop_api::managed::apply::apply;
use orlop_api::managed::update::Standing;
use orlop_api::managed::{Subject, Writer, text};
use orlop_api::meta::MetaContext;
use serde_json::{Value, json};

const ROUNDS: u32 = 10_000;

const WRITER: Writer<'static> =
    Writer { manager: "kubectl", subresource: "", now: "2026-01-02T03:04:05Z", unowned: None };

fn kind(name: &str) -> &'static Kind {
    KINDS.iter().find(|it| it.kind == name && it.group != "extensions").expect("the kind is built in")
}

fn write<'a>(new: Body<'a>, old: Option<&'a [u8]>) -> Write<'a> {
    let now = jiff::Timestamp::UNIX_EPOCH;
    let meta = MetaContext { name: Some("a"), namespace: "default", now, uid: "0-0", suffix: "abcde" };
    Write { part: Part::Main, new, old, meta, strictness: Strictness::Warn }
}

/// Admits one object, with its managers or without.
fn admitted(kind: &'static Kind, new: Body<'_>, old: Option<&[u8]>, recorded: bool) -> Vec<u8> {
    let mut draft = kind.draft(write(new, old)).expect("the object is one of its kind");
    if recorded {
        draft.record(&WRITER).expect("the object can be encoded");
    }
    draft.finish().expect("the object is valid").json
}

#[allow(clippy::disallowed_methods)] // An example measures wall-clock time; the crate itself never looks at a clock.
fn each(mut work: impl FnMut()) -> Duration {
    work();
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| work());
    start.elapsed() / ROUNDS
}

fn container(name: &str, image: &str) -> Value {
    json!({
        "name": name, "image": image, "args": ["--listen", "0.0.0.0:8080", "--log", "info"],
        "env": (0..8).map(|it| json!({"name": format!("VARIABLE_{it}"), "value": "some value of a variable"})).collect::<Vec<_>>(),
        "ports": [{"name": "http", "containerPort": 8080}],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
        "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/config"}, {"name": "data", "mountPath": "/data"}],
    })
}

fn spec(image: &str) -> Value {
    json!({
        "containers": [container("web", image), container("side", image)],
        "volumes": [{"name": "config", "configMap": {"name": "web"}}, {"name": "data", "emptyDir": {}}],
    })
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

fn main() {
    let labels = json!({"app": "web", "tier": "front"});
    let pod =
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": labels}, "spec": spec("web:1")});
    let bytes = pod.to_string();
    let create =
        |recorded| each(|| drop(black_box(admitted(kind("Pod"), Body::Bytes(bytes.as_bytes()), None, recorded))));
    let (bare, recorded) = (create(false), create(true));
    println!(
        "create, {} bytes: {bare:?} without managers, {recorded:?} with, x{:.2}",
        bytes.len(),
        ratio(recorded, bare)
    );

    let of = kind("Deployment");
    let deployment = |image: &str| {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": spec(image)}},
        })
    };
    let subject = Subject::of(of, Part::Main);
    let applied = |live: Option<&[u8]>, config: &str| {
        let config: Value = serde_json::from_str(config).expect("it is JSON");
        let whole = live.map(|it| std::str::from_utf8(it).expect("JSON is text"));
        let found = whole.and_then(text::split);
        let standing = found.as_ref().map(|(bare, managed)| Standing { bare, managed: Some(managed) });
        let made = apply(&subject, standing, &config, &WRITER, false).expect("nobody else owns anything");
        admitted(of, Body::Applied(made), live, false)
    };
    let (one, two) = (deployment("web:1").to_string(), deployment("web:2").to_string());
    let live = applied(None, &one);
    let other: Value = serde_json::from_slice(&live).expect("it is JSON");
    let replaced = other.to_string().replace("web:1", "web:2");
    let update = each(|| drop(black_box(admitted(of, Body::Bytes(replaced.as_bytes()), Some(&live), true))));
    let same = other.to_string();
    let unchanged = each(|| drop(black_box(admitted(of, Body::Bytes(same.as_bytes()), Some(&live), true))));
    let apply_new = each(|| drop(black_box(applied(Some(&live), &two))));
    let apply_same = each(|| drop(black_box(applied(Some(&live), &one))));
    println!("update, {} bytes stored: {update:?}; without a change {unchanged:?}", live.len());
    println!(
        "apply: {apply_new:?}, x{:.2} of the update; without a change {apply_same:?}, x{:.2}",
        ratio(apply_new, update),
        ratio(apply_same, unchanged)
    );
}
