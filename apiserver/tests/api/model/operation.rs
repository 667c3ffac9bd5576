//! What clients do, as data: drawn at random, told in one line, sent as a request.
//!
//! An operation refers to what its client has last seen of an object ([`Op::pin`]) and not to a version, so that any part of a run is a
//! run of its own: that is how a failure gets shorter.

use http::Method;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::Key;

/// The kinds of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    ConfigMap,
    Namespace,
    ReplicaSet,
}

/// Which part of an object a write means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Main,
    Status,
    Finalize,
}

/// What becomes of dependents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Background,
    Foreground,
    Orphan,
}

/// A label selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    All,
    Is(&'static str, &'static str),
    IsNot(&'static str, &'static str),
    Has(&'static str),
    Lacks(&'static str),
    In(&'static str, &'static [&'static str]),
}

impl Select {
    pub fn matches(&self, doc: &Value) -> bool {
        let label = |key: &str| doc["metadata"]["labels"][key].as_str().map(str::to_owned);
        match self {
            Select::All => true,
            Select::Is(key, value) => label(key).as_deref() == Some(value),
            Select::IsNot(key, value) => label(key).as_deref() != Some(value),
            Select::Has(key) => label(key).is_some(),
            Select::Lacks(key) => label(key).is_none(),
            Select::In(key, values) => label(key).is_some_and(|it| values.contains(&it.as_str())),
        }
    }

    /// As a query, percent-encoded; empty for everything.
    pub fn query(&self) -> String {
        let text = match self {
            Select::All => return String::new(),
            Select::Is(key, value) => format!("{key}={value}"),
            Select::IsNot(key, value) => format!("{key}!={value}"),
            Select::Has(key) => (*key).to_owned(),
            Select::Lacks(key) => format!("!{key}"),
            Select::In(key, values) => format!("{key} in ({})", values.join(",")),
        };
        let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        format!("&labelSelector={encoded}")
    }
}

/// What is done.
#[derive(Clone, Debug)]
pub enum Act {
    Create {
        key: Key,
        generate: bool,
        doc: Value,
    },
    Get {
        key: Key,
    },
    /// `limit` 0 is the whole list. What a page leaves is the client's for [`Act::More`].
    List {
        kind: Kind,
        namespace: String,
        select: Select,
        limit: usize,
    },
    More,
    Put {
        key: Key,
        part: Part,
        doc: Value,
    },
    Merge {
        key: Key,
        part: Part,
        patch: Value,
    },
    /// A JSON patch; `test` puts a test of the version before it.
    Edit {
        key: Key,
        edits: Value,
        test: bool,
    },
    Delete {
        key: Key,
        policy: Option<Policy>,
    },
    DeleteMany {
        kind: Kind,
        namespace: String,
        select: Select,
    },
    Finalize {
        namespace: String,
    },
    /// `after` begins after what the client saw last, else with the state.
    Watch {
        kind: Kind,
        namespace: String,
        select: Select,
        after: bool,
    },
    /// Every watcher has to have told everything.
    Drain,
    Restart,
}

/// One operation of one client.
#[derive(Clone, Debug)]
pub struct Op {
    pub client: usize,
    pub dry: bool,
    /// Whether the version, and whether the uid, that the client saw last is made a condition.
    pub pin: (bool, bool),
    pub act: Act,
}

/// The conditions of an operation, as the model counts revisions.
#[derive(Clone, Debug, Default)]
pub struct Pins {
    pub revision: Option<u64>,
    pub uid: Option<String>,
}

/// How many clients there are.
pub const CLIENTS: usize = 4;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const ROOMS: [&str; 3] = ["one", "two", "three"];
const FINALIZERS: [&str; 2] = ["example.com/a", "example.com/b"];

fn one<T: Copy>(random: &mut StdRng, of: &[T]) -> T {
    *of.choose(random).unwrap()
}

fn kind(random: &mut StdRng) -> Kind {
    one(random, &[Kind::ConfigMap, Kind::ConfigMap, Kind::ReplicaSet])
}

fn key(random: &mut StdRng) -> Key {
    if random.random_ratio(1, 12) {
        return (Kind::Namespace, String::new(), one(random, &ROOMS).into());
    }
    (kind(random), one(random, &ROOMS).into(), one(random, &NAMES).into())
}

fn select(random: &mut StdRng) -> Select {
    match random.random_range(0..8) {
        0 => Select::Is("x", "1"),
        1 => Select::IsNot("x", "1"),
        2 => Select::Has("y"),
        3 => Select::Lacks("y"),
        4 => Select::In("x", &["1", "2"]),
        _ => Select::All,
    }
}

fn labels(random: &mut StdRng) -> Value {
    let mut out = json!({});
    for key in ["x", "y"] {
        if random.random_bool(0.5) {
            out[key] = one(random, &["1", "2"]).into();
        }
    }
    out
}

/// The own fields of an object of a kind.
fn content(random: &mut StdRng, of: Kind) -> (&'static str, Value) {
    match of {
        Kind::ConfigMap => ("data", json!({ one(random, &["k", "l"]): one(random, &["", "v", "w"]) })),
        _ => ("spec", json!({ "replicas": random.random_range(0..4) })),
    }
}

fn doc(random: &mut StdRng, (of, namespace, name): &Key) -> Value {
    let mut out = json!({ "metadata": { "name": name, "namespace": namespace, "labels": labels(random) } });
    if *of == Kind::Namespace {
        return out;
    }
    if random.random_ratio(1, 4) {
        out["metadata"]["finalizers"] = json!([one(random, &FINALIZERS)]);
    }
    let (field, value) = content(random, *of);
    out[field] = value;
    out
}

impl Op {
    /// Draws an operation. `restarts` allows those that stop the server.
    pub fn draw(random: &mut StdRng, restarts: bool) -> Op {
        let key = key(random);
        let room = key.0 == Kind::Namespace;
        let namespace = if random.random_bool(0.5) { String::new() } else { one(random, &ROOMS).to_owned() };
        let of = kind(random);
        let act = match random.random_range(0..1000) {
            0..220 => {
                let generate = !room && random.random_ratio(1, 10);
                let bad = random.random_ratio(1, 40);
                let mut doc = doc(random, &key);
                let mut key = key;
                if generate {
                    doc["metadata"]["generateName"] = "g-".into();
                } else if bad {
                    key.2 = "Not-A-Name".into();
                }
                Act::Create { key, generate, doc }
            }
            220..330 => Act::Get { key },
            330..390 => Act::List { kind: of, namespace, select: select(random), limit: one(random, &[0, 0, 1, 2, 5]) },
            390..420 => Act::More,
            420..560 if !room => {
                let status = key.0 == Kind::ReplicaSet && random.random_ratio(1, 3);
                let mut doc = doc(random, &key);
                if status {
                    doc["status"] = json!({ "replicas": random.random_range(0..4) });
                }
                Act::Put { doc, part: if status { Part::Status } else { Part::Main }, key }
            }
            420..720 => merge(random, key),
            720..800 if !room => edit(random, key),
            720..920 => {
                let policies =
                    [None, None, None, Some(Policy::Background), Some(Policy::Foreground), Some(Policy::Orphan)];
                let policy = if room { None } else { one(random, &policies) };
                Act::Delete { key, policy }
            }
            920..930 => {
                let namespace = one(random, &ROOMS).to_owned();
                Act::DeleteMany { kind: of, namespace, select: select(random) }
            }
            930..960 => Act::Finalize { namespace: one(random, &ROOMS).to_owned() },
            960..980 => Act::Watch {
                kind: one(random, &[of, of, Kind::Namespace]),
                namespace: String::new(),
                select: select(random),
                after: random.random_bool(0.7),
            },
            980..998 => Act::Drain,
            _ if restarts => Act::Restart,
            _ => Act::Drain,
        };
        let pin = (random.random_ratio(1, 3), random.random_ratio(1, 6));
        Op { client: random.random_range(0..CLIENTS), dry: random.random_ratio(1, 15), pin, act }
    }

    /// The object that is meant: of operations on one, of which the model knows the answer.
    pub fn key(&self) -> Option<&Key> {
        match &self.act {
            Act::Create { key, .. }
            | Act::Get { key }
            | Act::Put { key, .. }
            | Act::Merge { key, .. }
            | Act::Edit { key, .. }
            | Act::Delete { key, .. } => Some(key),
            _ => None,
        }
    }

    /// The same on another object, where it makes sense there.
    pub fn about(mut self, other: &Key) -> Option<Op> {
        match &mut self.act {
            Act::Create { key, generate: false, doc } | Act::Put { key, doc, .. } if key.0 == other.0 => {
                doc["metadata"]["namespace"] = other.1.as_str().into();
                doc["metadata"]["name"] = other.2.as_str().into();
                key.clone_from(other);
            }
            Act::Get { key } | Act::Merge { key, .. } | Act::Edit { key, .. } | Act::Delete { key, .. }
                if key.0 == other.0 =>
            {
                key.clone_from(other);
            }
            _ => return None,
        }
        Some(self)
    }
}

fn merge(random: &mut StdRng, key: Key) -> Act {
    if key.0 == Kind::Namespace {
        return Act::Merge { key, part: Part::Main, patch: json!({ "metadata": { "labels": labels(random) } }) };
    }
    if key.0 == Kind::ReplicaSet && random.random_ratio(1, 3) {
        let patch = json!({ "status": { "replicas": random.random_range(0..4) } });
        return Act::Merge { key, part: Part::Status, patch };
    }
    let (field, value) = content(random, key.0);
    let patch = match random.random_range(0..6) {
        0 => json!({ "metadata": { "labels": { "x": null } } }),
        1 => json!({ "metadata": { "labels": labels(random) } }),
        2 => json!({ "metadata": { "finalizers": null } }),
        3 => json!({ "metadata": { "finalizers": [one(random, &FINALIZERS)] } }),
        4 if key.0 == Kind::ConfigMap => json!({ "data": { "k": null } }),
        _ => json!({ field: value }),
    };
    Act::Merge { key, part: Part::Main, patch }
}

fn edit(random: &mut StdRng, key: Key) -> Act {
    let name = one(random, &["/metadata/labels/x", "/metadata/labels/y", "/data/k"]);
    let name = if key.0 == Kind::ReplicaSet && name == "/data/k" { "/spec/replicas" } else { name };
    let value =
        if name == "/spec/replicas" { json!(random.random_range(0..4)) } else { json!(one(random, &["1", "2"])) };
    let op = one(random, &["add", "replace", "remove", "test"]);
    let edits = match op {
        "remove" => json!([{ "op": op, "path": name }]),
        "test" => json!([
            { "op": op, "path": name, "value": value },
            { "op": "add", "path": "/metadata/labels/x", "value": "3" },
        ]),
        _ => json!([{ "op": op, "path": name, "value": value }]),
    };
    Act::Edit { key, edits, test: random.random_bool(0.3) }
}

/// The path of a kind's objects in a namespace, or of one of them.
pub fn path((kind, namespace, name): &Key) -> String {
    let mut out = match (kind, namespace.as_str()) {
        (Kind::Namespace, _) => "/api/v1/namespaces".to_owned(),
        (Kind::ConfigMap, "") => "/api/v1/configmaps".to_owned(),
        (Kind::ConfigMap, namespace) => format!("/api/v1/namespaces/{namespace}/configmaps"),
        (Kind::ReplicaSet, "") => "/apis/apps/v1/replicasets".to_owned(),
        (Kind::ReplicaSet, namespace) => format!("/apis/apps/v1/namespaces/{namespace}/replicasets"),
    };
    if !name.is_empty() {
        out = format!("{out}/{name}");
    }
    out
}

/// A request: method, path with query, content type, body.
pub type Sent = (Method, String, &'static str, String);

/// The operation as a request. `version` and `uid` are the server's own words for the conditions.
pub fn request(op: &Op, version: Option<&str>, uid: Option<&str>) -> Sent {
    const JSON: &str = "application/json";
    let dry = if op.dry { "?dryRun=All" } else { "" };
    let of = |key: &Key, part: Part| match part {
        Part::Main => format!("{}{dry}", path(key)),
        Part::Status => format!("{}/status{dry}", path(key)),
        Part::Finalize => format!("{}/finalize{dry}", path(key)),
    };
    let pinned = |mut doc: Value| {
        if let Some(version) = version {
            doc["metadata"]["resourceVersion"] = version.into();
        }
        if let Some(uid) = uid {
            doc["metadata"]["uid"] = uid.into();
        }
        doc
    };
    match &op.act {
        Act::Create { key: (kind, namespace, name), generate, doc } => {
            let mut doc = whole(*kind, doc);
            if *generate {
                doc["metadata"].as_object_mut().unwrap().remove("name");
            } else {
                doc["metadata"]["name"] = name.as_str().into();
            }
            let all = (*kind, namespace.clone(), String::new());
            (Method::POST, of(&all, Part::Main), JSON, doc.to_string())
        }
        Act::Get { key } => (Method::GET, path(key), JSON, String::new()),
        Act::Put { key, part, doc } => (Method::PUT, of(key, *part), JSON, pinned(whole(key.0, doc)).to_string()),
        Act::Merge { key, part, patch } => {
            let mut patch = patch.clone();
            if let Some(version) = version {
                patch["metadata"]["resourceVersion"] = version.into();
            }
            (Method::PATCH, of(key, *part), "application/merge-patch+json", patch.to_string())
        }
        Act::Edit { key, edits, test } => {
            let mut edits = edits.clone();
            if let (Some(version), true, Some(edits)) = (version, *test, edits.as_array_mut()) {
                edits.insert(0, json!({ "op": "test", "path": "/metadata/resourceVersion", "value": version }));
            }
            (Method::PATCH, of(key, Part::Main), "application/json-patch+json", edits.to_string())
        }
        Act::Delete { key, policy } => {
            let mut options = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
            if let Some(policy) = policy {
                options["propagationPolicy"] = format!("{policy:?}").into();
            }
            if let Some(version) = version {
                options["preconditions"]["resourceVersion"] = version.into();
            }
            if let Some(uid) = uid {
                options["preconditions"]["uid"] = uid.into();
            }
            if op.dry {
                options["dryRun"] = json!(["All"]);
            }
            (Method::DELETE, path(key), JSON, options.to_string())
        }
        Act::DeleteMany { kind, namespace, select } => {
            let all = (*kind, namespace.clone(), String::new());
            let dry = if op.dry { "dryRun=All" } else { "" };
            (Method::DELETE, format!("{}?{dry}{}", path(&all), select.query()), "", String::new())
        }
        Act::Finalize { namespace } => {
            let key = (Kind::Namespace, String::new(), namespace.clone());
            let body = json!({ "metadata": { "name": namespace }, "spec": { "finalizers": [] } });
            (Method::PUT, of(&key, Part::Finalize), JSON, body.to_string())
        }
        Act::List { .. } | Act::More | Act::Watch { .. } | Act::Drain | Act::Restart => {
            unreachable!("not one request, or one of another form")
        }
    }
}

/// A document with what its kind requires beside what the model knows.
fn whole(kind: Kind, doc: &Value) -> Value {
    let mut out = doc.clone();
    if kind == Kind::ReplicaSet {
        out["spec"]["selector"] = json!({ "matchLabels": { "app": "a" } });
        let template = json!({ "metadata": { "labels": { "app": "a" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
        out["spec"]["template"] = template;
    }
    out
}
