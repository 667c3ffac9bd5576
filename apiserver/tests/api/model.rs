//! What Kubernetes' API does, as a map and a history: the model that the real server has to agree with.
//!
//! In: an [`Op`] whose references (the version or uid that a client has seen) are resolved. Out: what has to be [`Expected`] of the
//! answer, and one event of the history where something changed. The model counts revisions of its own (one a change); the
//! comparison knows which of the server's they are. What the server draws (uids, suffixes of generated names) it is told.
//!
//! Three kinds stand for all: ConfigMap (plain data), ReplicaSet (generation and status), Namespace (held by `spec.finalizers`). An
//! object is the part of its JSON that the model knows: no times, no managers, no templates. A namespace is finalized only when
//! it is empty, as its controller does.

mod agreement;
mod answer;
mod operation;
mod watcher;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use operation::{Act, Kind, Op, Part, Pins, Policy, Select};

/// What holds an object until the garbage collector has dealt with its dependents.
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// The revision of a state that nobody can read: it went with its last finalizer.
pub const GONE: u64 = u64::MAX;

/// Which object: kind, namespace (empty for a namespace itself) and name.
pub type Key = (Kind, String, String);

/// One state of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    pub doc: Value,
    /// The model's own revision at which it got this state.
    pub revision: u64,
}

impl Object {
    fn finalizers(&self) -> Vec<String> {
        texts(&self.doc["metadata"]["finalizers"])
    }

    fn deleting(&self) -> bool {
        self.doc["metadata"]["deletionTimestamp"] == true
    }

    /// Whether nothing but its mark keeps it.
    fn releasable(&self) -> bool {
        let room = &self.doc["spec"]["finalizers"];
        self.deleting() && self.finalizers().is_empty() && room.as_array().is_none_or(Vec::is_empty)
    }
}

/// One change: what stood there, and what stands there now.
#[derive(Debug)]
pub struct Change {
    pub revision: u64,
    pub key: Key,
    pub old: Option<Arc<Object>>,
    pub new: Option<Arc<Object>>,
}

/// What an answer has to be.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub code: u16,
    /// The `Status`'s reason; empty for success.
    pub reason: &'static str,
    pub object: Option<Arc<Object>>,
}

impl Expected {
    fn refused(code: u16, reason: &'static str) -> Self {
        Expected { code, reason, ..Expected::default() }
    }

    fn done(code: u16, object: Arc<Object>) -> Self {
        Expected { code, object: Some(object), ..Expected::default() }
    }
}

/// What the server draws for a new object.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    pub uid: String,
    pub name: String,
}

type Outcome<T> = Result<T, Expected>;

/// All objects, and how they came to be.
#[derive(Clone, Default)]
pub struct World {
    pub objects: BTreeMap<Key, Arc<Object>>,
    pub history: Vec<Arc<Change>>,
    pub revision: u64,
}

impl World {
    /// Takes in what stood there before the first operation. It is history too: a watch may begin after the first of these and before the last.
    pub fn learn(&mut self, key: Key, doc: Value) {
        let (revision, new) = (self.revision, Arc::new(Object { doc, revision: self.revision }));
        self.objects.insert(key.clone(), new.clone());
        self.history.push(Arc::new(Change { revision, key, old: None, new: Some(new) }));
    }

    /// Whether a namespace is going and nothing lives in it any more.
    pub fn is_over(&self, namespace: &str) -> bool {
        let room = self.objects.get(&(Kind::Namespace, String::new(), namespace.to_owned()));
        room.is_some_and(|it| it.deleting()) && !self.objects.keys().any(|(_, it, _)| it == namespace)
    }

    /// The objects that a list shows, in the order of their keys.
    pub fn list(&self, kind: Kind, namespace: &str, select: &Select) -> Vec<Arc<Object>> {
        let meant = self.objects.iter().filter(|((of, at, _), it)| {
            *of == kind && (namespace.is_empty() || at == namespace) && select.matches(&it.doc)
        });
        meant.map(|(_, it)| it.clone()).collect()
    }

    /// Does one operation.
    pub fn step(&mut self, op: &Op, pins: &Pins, drawn: &Drawn) -> Expected {
        let dry = op.dry;
        match &op.act {
            Act::Create { key, generate, doc } => self.create(key, *generate, doc, dry, drawn),
            Act::Get { key } => self.found(key).map(|it| Expected::done(200, it)),
            Act::Put { key, part, doc } => self.put(key, *part, doc, pins, dry),
            Act::Merge { key, part, patch } => self.update(key, *part, dry, |old| {
                if pins.revision.is_some_and(|it| it != old.revision) {
                    return Err(Expected::refused(409, "Conflict"));
                }
                Ok(merged(&old.doc, patch))
            }),
            Act::Edit { key, edits, test } => self.update(key, Part::Main, dry, |old| {
                let stale = *test && pins.revision.is_some_and(|it| it != old.revision);
                let edited = if stale { None } else { edited(&old.doc, edits) };
                edited.ok_or_else(|| Expected::refused(422, "Invalid"))
            }),
            Act::Delete { key, policy } => self.delete(key, *policy, pins, dry),
            Act::DeleteMany { kind, namespace, select } => {
                let keys: Vec<Key> =
                    self.list(*kind, namespace, select).iter().map(|it| key_of(*kind, &it.doc)).collect();
                for key in keys {
                    // Each is there: nothing comes between.
                    let _ = self.delete(&key, None, &Pins::default(), dry);
                }
                Ok(Expected { code: 200, ..Expected::default() })
            }
            Act::Finalize { namespace } => {
                let key = (Kind::Namespace, String::new(), namespace.clone());
                self.update(&key, Part::Finalize, dry, |_| Ok(json!({ "metadata": { "name": namespace } })))
            }
            Act::List { .. } | Act::More | Act::Watch { .. } | Act::Drain | Act::Restart => Ok(Expected::default()),
        }
        .unwrap_or_else(|it| it)
    }

    fn found(&self, key: &Key) -> Outcome<Arc<Object>> {
        self.objects.get(key).cloned().ok_or_else(|| Expected::refused(404, "NotFound"))
    }

    /// What the admission of namespaces says of a new object.
    fn admit(&self, key: &Key) -> Outcome<()> {
        if key.0 == Kind::Namespace {
            return Ok(());
        }
        let room = self.found(&(Kind::Namespace, String::new(), key.1.clone()))?;
        if room.deleting() { Err(Expected::refused(403, "Forbidden")) } else { Ok(()) }
    }

    fn create(&mut self, key: &Key, generate: bool, doc: &Value, dry: bool, drawn: &Drawn) -> Outcome<Expected> {
        let mut key = key.clone();
        self.admit(&key)?;
        if generate {
            key.2.clone_from(&drawn.name);
        }
        if key.2.bytes().any(|it| it.is_ascii_uppercase()) {
            return Err(Expected::refused(422, "Invalid"));
        }
        if self.objects.contains_key(&key) {
            return Err(Expected::refused(409, "AlreadyExists"));
        }
        let mut doc = doc.clone();
        doc["metadata"]["name"] = key.2.clone().into();
        doc["metadata"]["uid"] = drawn.uid.clone().into();
        prepare(key.0, Part::Main, &mut doc, None);
        Ok(Expected::done(201, self.commit(&key, Some(doc), dry)))
    }

    fn put(&mut self, key: &Key, part: Part, doc: &Value, pins: &Pins, dry: bool) -> Outcome<Expected> {
        let uid = self.objects.get(key).map_or(Value::Null, |it| it.doc["metadata"]["uid"].clone());
        // The precondition is looked at even where nothing stands.
        if pins.uid.as_ref().is_some_and(|it| uid != **it) {
            return Err(Expected::refused(409, "Conflict"));
        }
        self.update(key, part, dry, |old| {
            if pins.revision.is_some_and(|it| it != old.revision) {
                return Err(Expected::refused(409, "Conflict"));
            }
            Ok(doc.clone())
        })
    }

    fn update(
        &mut self,
        key: &Key,
        part: Part,
        dry: bool,
        make: impl FnOnce(&Object) -> Outcome<Value>,
    ) -> Outcome<Expected> {
        let old = self.found(key)?;
        let mut doc = make(&old)?;
        prepare(key.0, part, &mut doc, Some(&old.doc));
        let new = Object { doc, revision: old.revision };
        let held = old.finalizers();
        if old.deleting() && new.finalizers().iter().any(|it| !held.contains(it)) {
            return Err(Expected::refused(422, "Invalid"));
        }
        if new.releasable() {
            let shown = Arc::new(Object { revision: GONE, ..new });
            self.commit(key, None, dry);
            return Ok(Expected::done(200, shown));
        }
        if new.doc == old.doc {
            return Ok(Expected::done(200, old));
        }
        Ok(Expected::done(200, self.commit(key, Some(new.doc), dry)))
    }

    fn delete(&mut self, key: &Key, policy: Option<Policy>, pins: &Pins, dry: bool) -> Outcome<Expected> {
        let old = self.found(key)?;
        let other = pins.uid.as_ref().is_some_and(|it| old.doc["metadata"]["uid"] != **it);
        if other || pins.revision.is_some_and(|it| it != old.revision) {
            return Err(Expected::refused(409, "Conflict"));
        }
        let mut finalizers = old.finalizers();
        if policy.is_some() {
            finalizers.retain(|it| it != ORPHAN && it != FOREGROUND);
        }
        match policy {
            Some(Policy::Orphan) => finalizers.push(ORPHAN.into()),
            Some(Policy::Foreground) => finalizers.push(FOREGROUND.into()),
            _ => {}
        }
        let room = old.doc["spec"]["finalizers"].as_array().is_some_and(|it| !it.is_empty());
        if finalizers.is_empty() && !room {
            self.commit(key, None, dry);
            return Ok(Expected { code: 200, ..Expected::default() });
        }
        let mut doc = old.doc.clone();
        doc["metadata"]["finalizers"] = json!(finalizers);
        if !old.deleting() {
            doc["metadata"]["deletionTimestamp"] = true.into();
            if let Some(generation) = doc["metadata"]["generation"].as_u64() {
                doc["metadata"]["generation"] = (generation + 1).into();
            }
            if key.0 == Kind::Namespace {
                doc["status"] = json!({ "phase": "Terminating" });
            }
        }
        tidy(&mut doc);
        if doc == old.doc {
            return Ok(Expected::done(200, old));
        }
        Ok(Expected::done(200, self.commit(key, Some(doc), dry)))
    }

    fn commit(&mut self, key: &Key, doc: Option<Value>, dry: bool) -> Arc<Object> {
        let revision = self.revision + 1;
        let new = doc.map(|doc| Arc::new(Object { doc, revision }));
        if !dry {
            self.revision = revision;
            let old = match &new {
                Some(it) => self.objects.insert(key.clone(), it.clone()),
                None => self.objects.remove(key),
            };
            self.history.push(Arc::new(Change { revision, key: key.clone(), old, new: new.clone() }));
        }
        new.unwrap_or_else(|| Arc::new(Object { doc: Value::Null, revision }))
    }
}

/// The key under which an object stands.
pub fn key_of(kind: Kind, doc: &Value) -> Key {
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    (kind, text(&doc["metadata"]["namespace"]), text(&doc["metadata"]["name"]))
}

/// Sets what the server owns, keeps what this part of the object does not change, and counts generations.
fn prepare(kind: Kind, part: Part, doc: &mut Value, old: Option<&Value>) {
    let kept: &[&str] = match (kind, part) {
        (Kind::ReplicaSet, Part::Main) => &["status"],
        (Kind::ReplicaSet, _) => &["spec"],
        (Kind::Namespace, Part::Main) => &["spec", "status"],
        (Kind::Namespace, _) => &["status"],
        (Kind::ConfigMap, _) => &[],
    };
    for field in kept {
        doc[*field] = old.map_or(Value::Null, |it| it[*field].clone());
    }
    match kind {
        Kind::ReplicaSet => {
            if !doc["spec"]["replicas"].is_number() {
                doc["spec"]["replicas"] = 1.into();
            }
            if !doc["status"]["replicas"].is_number() {
                doc["status"]["replicas"] = 0.into();
            }
        }
        Kind::Namespace => {
            doc["metadata"]["labels"]["kubernetes.io/metadata.name"] = doc["metadata"]["name"].clone();
            if old.is_none() {
                doc["spec"]["finalizers"] = json!(["kubernetes"]);
                doc["status"] = json!({ "phase": "Active" });
            }
        }
        Kind::ConfigMap => {}
    }
    if let Some(old) = old {
        for field in ["name", "namespace", "uid", "generateName", "deletionTimestamp", "generation"] {
            doc["metadata"][field] = old["metadata"][field].clone();
        }
        if kind == Kind::ReplicaSet && doc["spec"] != old["spec"] {
            doc["metadata"]["generation"] = (old["metadata"]["generation"].as_u64().unwrap_or_default() + 1).into();
        }
    } else if kind == Kind::ReplicaSet {
        doc["metadata"]["generation"] = 1.into();
    }
    tidy(doc);
}

/// Leaves out what is empty, and orders finalizers, whose order says nothing.
pub fn tidy(value: &mut Value) {
    let Some(fields) = value.as_object_mut() else { return };
    if let Some(Value::Array(finalizers)) = fields.get_mut("finalizers") {
        finalizers.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        finalizers.dedup();
    }
    fields.values_mut().for_each(tidy);
    let empty = |it: &Value| match it {
        Value::Null => true,
        Value::Object(it) => it.is_empty(),
        Value::Array(it) => it.is_empty(),
        Value::String(it) => it.is_empty(),
        _ => false,
    };
    // A value of data may be empty; everything else that is empty is not there.
    fields.retain(|key, it| !empty(it) || (it.is_string() && key.len() == 1));
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|it| Some(it.as_str()?.to_owned())).collect()
}

/// RFC 7386.
fn merged(target: &Value, patch: &Value) -> Value {
    let Value::Object(patch) = patch else { return patch.clone() };
    let mut out = match target {
        Value::Object(it) => it.clone(),
        _ => Map::new(),
    };
    for (key, value) in patch {
        if value.is_null() {
            out.remove(key);
        } else {
            let old = out.get(key).cloned().unwrap_or_default();
            out.insert(key.clone(), merged(&old, value));
        }
    }
    Value::Object(out)
}

/// RFC 6902 on members of objects; none where an operation cannot be done.
fn edited(target: &Value, edits: &Value) -> Option<Value> {
    let mut out = target.clone();
    for edit in edits.as_array()? {
        let (parent, name) = edit["path"].as_str()?.rsplit_once('/')?;
        let fields = out.pointer_mut(parent)?.as_object_mut()?;
        match edit["op"].as_str()? {
            "add" => _ = fields.insert(name.into(), edit["value"].clone()),
            "replace" => *fields.get_mut(name)? = edit["value"].clone(),
            "remove" => _ = fields.remove(name)?,
            "test" if fields.get(name)? == &edit["value"] => {}
            _ => return None,
        }
    }
    Some(out)
}
