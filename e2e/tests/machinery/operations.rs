//! The life of an object through every operation of its kind, as the conformance tests called "should support … API operations" and "should run
//! through the lifecycle of …" ask for it: discovered, made, read, listed, watched, patched, replaced, its status told, deleted alone and among
//! others.
//!
//! [`walk`] is that life, the same for all; a [`Kind`] is what differs. Rows of kinds are in `core_kinds`, `networks`, `disks` and `devices`.

use anyhow::{Context, Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::watch::Watch;
use serde_json::{Value, json};

use super::plain::{Http, MERGE, STRATEGIC, count, meta, names};

const VERBS: [&str; 8] = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/// Of how many collisions with controllers that write the same object a replacement is tried again.
const ATTEMPTS: usize = 5;

/// A kind, and what is written of it.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Empty for the core.
    pub group: &'static str,
    pub kind: &'static str,
    pub plural: &'static str,
    pub namespaced: bool,
    /// What an object is beside its metadata.
    pub body: Value,
    /// What a replacement lays over the body; nothing where nothing of it may change.
    pub change: Value,
    /// For kinds that have one, what their status becomes by itself, what is patched into it, and what is laid over that.
    pub statuses: Option<[Value; 3]>,
    /// Those that the walk makes, where a name is not any text: three that are selected, and one beside them.
    pub names: Option<[&'static str; 4]>,
    /// Whether what is deleted stays for a while, so that its name is not free at once.
    pub lingers: bool,
}

impl Kind {
    /// A kind of a namespace, without a status.
    pub fn new(group: &'static str, kind: &'static str, plural: &'static str, body: Value, change: Value) -> Kind {
        Kind { group, kind, plural, namespaced: true, body, change, statuses: None, names: None, lingers: false }
    }

    /// The same of the whole cluster.
    pub fn of_cluster(self) -> Kind {
        Kind { namespaced: false, ..self }
    }

    /// The same with a status.
    pub fn told(self, by_itself: Value, patched: Value, replaced: Value) -> Kind {
        Kind { statuses: Some([by_itself, patched, replaced]), ..self }
    }

    fn version(&self) -> String {
        if self.group.is_empty() { "v1".to_owned() } else { format!("{}/v1", self.group) }
    }

    /// Where the kind's group is served.
    fn door(&self) -> String {
        if self.group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{}/v1", self.group) }
    }

    /// How messages call it: `ingresses.networking.k8s.io`.
    fn qualified(&self) -> String {
        if self.group.is_empty() { self.plural.to_owned() } else { format!("{}.{}", self.plural, self.group) }
    }
}

/// Walks all of these, one after the other.
pub fn walk_all(it: &Scene<'_>, kinds: &[Kind]) -> Result<()> {
    kinds.iter().try_for_each(|kind| walk(it, kind).with_context(|| format!("the life of {}", kind.qualified())))
}

fn walk(it: &Scene<'_>, kind: &Kind) -> Result<()> {
    let walk = Walk::new(it, kind);
    walk.is_discovered()?;
    let mut watch = Watch::open(it.api, &format!("{}?{}", walk.path, walk.selected))?;
    let made = walk.is_made()?;
    watch.sees("ADDED", &walk.names[0], |it| meta(it, "uid") == meta(&made, "uid"))?;
    walk.is_listed(&made)?;
    walk.is_patched(&made, &mut watch)?;
    walk.is_replaced(&made, &mut watch)?;
    if let Some(statuses) = &kind.statuses {
        walk.has_a_status(statuses, &mut watch)?;
    }
    walk.is_deleted(&made, &mut watch)?;
    walk.are_deleted_together(&mut watch)
}

struct Walk<'a> {
    it: &'a Scene<'a>,
    kind: &'a Kind,
    http: Http<'a>,
    /// The list; in the scenario's namespace, if the kind has namespaces.
    path: String,
    /// The query of the three that belong together.
    selected: String,
    names: [String; 4],
}

impl<'a> Walk<'a> {
    fn new(it: &'a Scene<'a>, kind: &'a Kind) -> Walk<'a> {
        let place = if kind.namespaced { format!("/namespaces/{}", it.namespace) } else { String::new() };
        let names = match kind.names {
            Some(names) => names.map(str::to_owned),
            None => ["one", "two", "three", "other"].map(|name| format!("{}-{name}", kind.plural)),
        };
        let path = format!("{}{place}/{}", kind.door(), kind.plural);
        let selected = format!("labelSelector=of={}", it.namespace);
        Walk { it, kind, http: Http::of(it), path, selected, names }
    }

    fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.path)
    }

    fn make(&self, name: &str, of: &str) -> Result<Value> {
        let mut body = self.kind.body.clone();
        body["metadata"] = json!({ "name": name, "labels": { "of": of } });
        let made = self.http.post(&self.path, &body)?.is(201)?;
        ensure!(made["kind"] == self.kind.kind && made["apiVersion"] == self.kind.version(), "{made}");
        ensure!(made["metadata"]["creationTimestamp"].is_string() && !meta(&made, "uid").is_empty(), "{made}");
        let place = if self.kind.namespaced { &self.it.namespace } else { "" };
        ensure!(meta(&made, "name") == name && meta(&made, "namespace") == place, "{made}");
        held(&made, &body)?;
        Ok(made)
    }

    /// Its group, version and resource are told, with all that can be done.
    fn is_discovered(&self) -> Result<()> {
        let version = self.kind.version();
        if self.kind.group.is_empty() {
            let versions = self.http.get("/api")?.is(200)?;
            held(&versions["versions"], &json!(["v1"]))?;
        } else {
            let groups = self.http.get("/apis")?.is(200)?;
            let group = json!({ "name": self.kind.group, "versions": [{ "groupVersion": version, "version": "v1" }] });
            held(&groups["groups"], &json!([group]))?;
            held(&self.http.get(&format!("/apis/{}", self.kind.group))?.is(200)?, &group)?;
        }
        let resources = self.http.get(&self.kind.door())?.is(200)?;
        ensure!(resources["groupVersion"] == version.as_str(), "{resources}");
        let own = json!({ "name": self.kind.plural, "kind": self.kind.kind, "namespaced": self.kind.namespaced, "verbs": VERBS });
        held(&resources["resources"], &json!([own]))?;
        if self.kind.statuses.is_some() {
            let name = format!("{}/status", self.kind.plural);
            held(&resources["resources"], &json!([{ "name": name, "verbs": ["get", "patch", "update"] }]))?;
        }
        Ok(())
    }

    /// Three that belong together and one that does not; the first is given back.
    fn is_made(&self) -> Result<Value> {
        let [one, two, three, other] = &self.names;
        let made = self.make(one, &self.it.namespace)?;
        let mut again = self.kind.body.clone();
        again["metadata"] = json!({ "name": one });
        let words = format!("{} \"{one}\" already exists", self.kind.qualified());
        self.http.post(&self.path, &again)?.refuses(409, &words)?;
        for (name, of) in [(two, self.it.namespace.as_str()), (three, self.it.namespace.as_str()), (other, "others")] {
            self.make(name, of)?;
        }
        Ok(made)
    }

    fn is_listed(&self, made: &Value) -> Result<()> {
        let got = self.http.get(&self.at(&self.names[0]))?.is(200)?;
        ensure!(meta(&got, "uid") == meta(made, "uid"), "{got}");
        held(&got, &self.kind.body)?;
        let mut expected = self.names[..3].to_vec();
        expected.sort();
        let mut places = vec![self.path.clone()];
        if self.kind.namespaced {
            places.push(format!("{}/{}", self.kind.door(), self.kind.plural));
        }
        for place in places {
            let list = self.http.get(&format!("{place}?{}", self.selected))?.is(200)?;
            ensure!(list["kind"] == format!("{}List", self.kind.kind), "{list}");
            ensure!(list["apiVersion"] == self.kind.version() && !meta(&list, "resourceVersion").is_empty(), "{list}");
            let mut found = names(&list);
            found.sort();
            ensure!(found == expected, "{place}: {expected:?} expected, {found:?} found");
        }
        Ok(())
    }

    /// An annotation by one kind of patch, a label by another; it is found by that label then, and the watch has seen it.
    fn is_patched(&self, made: &Value, watch: &mut Watch) -> Result<()> {
        let at = self.at(&self.names[0]);
        let patch = json!({ "metadata": { "annotations": { "patched": "true" } } });
        let patched = self.http.patch(&at, MERGE, &patch)?.is(200)?;
        held(&patched, &patch)?;
        ensure!(meta(&patched, "resourceVersion") != meta(made, "resourceVersion"), "its version has risen: {patched}");
        held(&watch.sees("MODIFIED", "with the annotation", |it| holds(it, &patch))?, &self.kind.body)?;
        let patch = json!({ "metadata": { "labels": { "state": "patched" } } });
        held(&self.http.patch(&at, STRATEGIC, &patch)?.is(200)?, &patch)?;
        watch.sees("MODIFIED", "with the label", |it| holds(it, &patch))?;
        held(&self.http.get(&at)?.is(200)?, &patch)?;
        let list = self.http.get(&format!("{}?{},state=patched", self.path, self.selected))?.is(200)?;
        ensure!(names(&list) == self.names[..1], "it is found by the new label: {list}");
        if let Value::Object(_) = &self.kind.change {
            let other = self.http.patch(&self.at(&self.names[1]), STRATEGIC, &self.kind.change)?.is(200)?;
            held(&other, &self.kind.change)?;
        }
        // Whoever has not seen the patches may not overwrite them.
        let mut late = made.clone();
        late["metadata"]["labels"]["state"] = "late".into();
        self.http
            .put(&at, &late)?
            .refuses(409, "the object has been modified; please apply your changes to the latest version and try again")
    }

    fn is_replaced(&self, made: &Value, watch: &mut Watch) -> Result<()> {
        let mut change = self.kind.change.clone();
        lay(
            &mut change,
            &json!({ "metadata": { "annotations": { "updated": "true" }, "labels": { "state": "updated" } } }),
        );
        let updated = self.replace(&self.at(&self.names[0]), &change)?;
        held(&updated, &change)?;
        ensure!(meta(&updated, "uid") == meta(made, "uid"), "{updated}");
        ensure!(
            updated["metadata"]["annotations"]["patched"].is_null(),
            "what a replacement leaves out is gone: {updated}"
        );
        watch.sees("MODIFIED", "replaced", |it| holds(it, &change))?;
        held(&self.http.get(&self.at(&self.names[0]))?.is(200)?, &change)
    }

    /// Reads an object, lays `change` over it and puts it back without the first annotation; again when a controller has written meanwhile.
    fn replace(&self, path: &str, change: &Value) -> Result<Value> {
        for _ in 1..ATTEMPTS {
            let mut object = self.http.get(path)?.is(200)?;
            lay(&mut object, change);
            if let Some(annotations) = object["metadata"]["annotations"].as_object_mut() {
                annotations.remove("patched");
            }
            let answer = self.http.put(path, &object)?;
            if answer.code != 409 {
                return answer.is(200);
            }
        }
        anyhow::bail!("{path} is not replaced in {ATTEMPTS} attempts")
    }

    /// The status has a door of its own, by which nothing else changes.
    fn has_a_status(&self, [by_itself, first, second]: &[Value; 3], watch: &mut Watch) -> Result<()> {
        let at = self.at(&self.names[0]);
        let door = format!("{at}/status");
        let got = self.it.api.until(&door, "has a status", POD_LIMIT, |it| holds(&it["status"], by_itself))?;
        ensure!(!holds(&got["status"], first), "nobody has told it yet: {got}");
        ensure!(got["kind"] == self.kind.kind && got["apiVersion"] == self.kind.version(), "{got}");
        ensure!(meta(&got, "name") == self.names[0], "{got}");
        let mut patch = json!({ "status": first });
        held(&self.http.patch(&door, STRATEGIC, &patch)?.is(200)?, &patch)?;
        watch.sees("MODIFIED", "with the first status", |it| holds(it, &patch))?;
        held(&self.http.get(&at)?.is(200)?, &patch)?;

        patch["status"] = second.clone();
        let mut change = self.kind.body.clone();
        lay(&mut change, &patch);
        held(&self.replace(&door, &change)?, &patch)?;
        watch.sees("MODIFIED", "with the second status", |it| holds(it, &patch))?;
        let now = self.http.get(&at)?.is(200)?;
        held(&now, &patch)?;
        held(&now, &self.kind.change).context("a status changes nothing else")
    }

    /// Deleted, it is gone for everybody, and its name is free for another.
    fn is_deleted(&self, made: &Value, watch: &mut Watch) -> Result<()> {
        let (name, at) = (&self.names[0], self.at(&self.names[0]));
        let answer = self.http.delete(&at, &Value::Null)?.is(200)?;
        let uid = &made["metadata"]["uid"];
        if answer["kind"] == "Status" {
            let details = json!({ "name": name, "kind": self.kind.plural, "uid": uid });
            held(&answer, &json!({ "status": "Success", "details": details }))?;
        } else {
            ensure!(answer["kind"] == self.kind.kind && answer["metadata"]["uid"] == *uid, "{answer}");
        }
        if self.kind.lingers {
            let going = self.http.get(&at)?.is(200)?;
            ensure!(going["metadata"]["deletionTimestamp"].is_string(), "it is about to go: {going}");
            return Ok(());
        }
        watch.sees("DELETED", name, |it| it["metadata"]["uid"] == *uid)?;
        self.it.api.gone(&at, POD_LIMIT)?;
        self.http.get(&at)?.refuses(404, &format!("{} \"{name}\" not found", self.kind.qualified()))?;
        let left = names(&self.http.get(&format!("{}?{}", self.path, self.selected))?.is(200)?);
        ensure!(left.len() == 2 && !left.contains(name), "the two others are left: {left:?}");
        let anew = self.make(name, &self.it.namespace)?;
        ensure!(anew["metadata"]["uid"] != *uid, "it is another: {anew}");
        watch.sees("ADDED", "anew", |it| meta(it, "uid") == meta(&anew, "uid")).map(drop)
    }

    /// By a label, all that have it and nobody else; the watch tells of each.
    fn are_deleted_together(&self, watch: &mut Watch) -> Result<()> {
        let selection = format!("{}?{}", self.path, self.selected);
        let other = self.at(&self.names[3]);
        self.http.delete(&selection, &Value::Null)?.is(200)?;
        let stays = self.http.get(&other)?.is(200).context("who is not selected stays")?;
        ensure!(stays["metadata"]["deletionTimestamp"].is_null(), "{stays}");
        self.http.delete(&other, &Value::Null)?.is(200)?;
        let mut left = self.names[..3].to_vec();
        while !left.is_empty() {
            let gone = watch.sees("DELETED", &left.join(" or "), |_| true)?;
            left.retain(|it| it != meta(&gone, "name"));
        }
        let list = self.http.get(&selection)?.is(200)?;
        ensure!(count(&list) == 0, "nobody is left: {list}");
        self.it.api.gone(&other, POD_LIMIT)
    }
}

/// Whether all that `wanted` says is in `found`, which may say more; entries of a list stand in any order.
pub fn holds(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(field, value)| found.get(field).is_some_and(|it| holds(it, value)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            wanted.iter().all(|value| found.iter().any(|it| holds(it, value)))
        }
        (_, Value::Null) => true,
        _ => found == wanted,
    }
}

fn held(found: &Value, wanted: &Value) -> Result<()> {
    ensure!(holds(found, wanted), "{wanted} is not in {found}");
    Ok(())
}

/// Lays one value over another: fields over fields, entries beside the entries that are there.
fn lay(under: &mut Value, over: &Value) {
    match (under, over) {
        (_, Value::Null) => {}
        (Value::Object(under), Value::Object(over)) => {
            over.iter().for_each(|(field, value)| lay(under.entry(field.clone()).or_insert(Value::Null), value));
        }
        (Value::Array(under), Value::Array(over)) => {
            let new: Vec<Value> = over.iter().filter(|it| !under.contains(it)).cloned().collect();
            under.extend(new);
        }
        (under, over) => *under = over.clone(),
    }
}

#[test]
fn what_is_there_is_told_from_what_is_not() {
    let found = json!({ "a": { "b": [{ "c": 1, "d": 2 }, { "c": 3 }] }, "e": "f" });
    for (wanted, expected) in [
        (json!({}), true),
        (json!({ "a": { "b": [{ "c": 3 }, { "c": 1 }] } }), true),
        (json!({ "a": { "b": [{ "c": 1, "d": 3 }] } }), false),
        (json!({ "a": { "b": [{ "c": 4 }] } }), false),
        (json!({ "e": "g" }), false),
        (json!({ "h": {} }), false),
    ] {
        assert_eq!(holds(&found, &wanted), expected, "{wanted}");
    }
    let mut object = found;
    lay(&mut object, &json!({ "a": { "b": [{ "c": 3 }, { "c": 4 }] }, "h": { "i": true } }));
    assert_eq!(
        object,
        json!({ "a": { "b": [{ "c": 1, "d": 2 }, { "c": 3 }, { "c": 4 }] }, "e": "f", "h": { "i": true } })
    );
}
