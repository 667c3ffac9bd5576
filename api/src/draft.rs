//! An object on its way into the store: decoded and defaulted, not yet prepared and checked.
//!
//! In: a [`Write`]. [`Kind::draft`] decodes it, fills in what the client left out, and settles its name and namespace. Then others may
//! look at the object and change it: field managers, admission. [`Draft::finish`] prepares its metadata and its parts, checks it and
//! encodes it. The object's Rust type is erased behind [`Object`], so that all of this exists once and not once a kind; who knows the
//! type gets it back with [`Draft::get`], and who does not works on a [`Value`]. It knows no verbs, no users and no store.

use std::any::Any;
use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::empty;
use crate::field::Errors;
use crate::json::Strictness;
use crate::kind::{Admitted, Body, Decoded, Edit, Kind, Part, Strategy, Write, edits_nothing};
use crate::managed::update::{Sent, Standing};
use crate::managed::{self, Subject, Writer};
use crate::meta::{self, MetaContext};
use crate::status::{self, Status};

/// An object whose type is not known: what [`Strategy`] says of a kind, said of one object. A custom resource implements it over a
/// [`Value`] and its schema. Where a method takes another object, that is one of the same kind.
pub trait Object: Any + Send + Sync {
    /// Another one like it.
    fn copy(&self) -> Box<dyn Object>;
    fn metadata(&self) -> &ObjectMeta;
    fn metadata_mut(&mut self) -> &mut ObjectMeta;
    /// See [`Strategy::default`].
    fn fill_in(&mut self);
    /// See [`Strategy::prepare`].
    fn prepare_for(&mut self, part: Part, old: Option<&dyn Object>);
    /// See [`Strategy::generation_rises`]; compared with itself where there is no old object, which tells whether there is a generation.
    fn rises_over(&self, old: Option<&dyn Object>) -> Option<bool>;
    /// See [`Strategy::validate`].
    fn check(&mut self, part: Part, old: Option<&dyn Object>, errors: &mut Errors);
    /// See [`Strategy::warnings`].
    fn warned(&self, old: Option<&dyn Object>) -> Vec<String>;
    /// See [`Strategy::held`].
    fn holds_itself(&self) -> bool;
    /// See [`Strategy::grace_period_seconds`].
    fn waits_seconds(&self) -> Option<i64>;
    /// The object as it is stored.
    ///
    /// # Errors
    /// Where it holds what JSON cannot.
    fn encode(&self) -> serde_json::Result<Vec<u8>>;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
}

impl<T: Strategy + Send + Sync> Object for T {
    fn copy(&self) -> Box<dyn Object> {
        Box::new(self.clone())
    }

    fn metadata(&self) -> &ObjectMeta {
        k8s_openapi::Metadata::metadata(self)
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        k8s_openapi::Metadata::metadata_mut(self)
    }

    fn fill_in(&mut self) {
        self.default();
    }

    fn prepare_for(&mut self, part: Part, old: Option<&dyn Object>) {
        self.prepare(part, typed(old));
    }

    fn rises_over(&self, old: Option<&dyn Object>) -> Option<bool> {
        self.generation_rises(typed(old).unwrap_or(self))
    }

    fn check(&mut self, part: Part, old: Option<&dyn Object>, errors: &mut Errors) {
        self.validate(part, typed(old), errors);
    }

    fn warned(&self, old: Option<&dyn Object>) -> Vec<String> {
        self.warnings(typed(old))
    }

    fn holds_itself(&self) -> bool {
        self.held()
    }

    fn waits_seconds(&self) -> Option<i64> {
        self.grace_period_seconds()
    }

    fn encode(&self) -> serde_json::Result<Vec<u8>> {
        crate::json::encoded(self)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

fn typed<T: 'static>(object: Option<&dyn Object>) -> Option<&T> {
    object.and_then(|it| it.as_any().downcast_ref())
}

/// One object between its decoding and its commit.
pub struct Draft<'a> {
    kind: &'a Kind,
    part: Part,
    object: Box<dyn Object>,
    old: Option<Box<dyn Object>>,
    /// The bytes that `old` was read from.
    old_json: Option<&'a [u8]>,
    /// The same without managed fields, and those: they are half of many an object, seldom change, and stay text.
    old_bare: Cow<'a, str>,
    old_managed: Option<&'a str>,
    /// The managed fields as the client sent them, and as they are to be stored.
    sent: Option<String>,
    managed: Option<String>,
    context: MetaContext<'a>,
    /// Whether the client sent a whole object: a replacement must name the state it means, a patch is of the object as it stands.
    replaces: bool,
    /// For the client, as `Warning` headers.
    pub warnings: Vec<String>,
}

impl std::fmt::Debug for Draft<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("kind", self.kind).field("name", &self.name()).finish_non_exhaustive()
    }
}

impl<'a> Draft<'a> {
    /// See [`Kind::draft`].
    pub(crate) fn new(kind: &'a Kind, write: Write<'a>) -> status::Result<Self> {
        let Write { part, new, old: old_json, meta: context, strictness } = write;
        let replaces = matches!(new, Body::Bytes(_));
        let applied = matches!(new, Body::Applied(_));
        let (old_bare, old_managed) = old_json.map_or((Cow::Borrowed(""), None), split);
        let read_old = || old_json.map(|_| kind.read(old_bare.as_bytes())).transpose();
        let (mut object, old, sent, warnings) = if let Body::Edit(it) = new {
            let old = read_old()?;
            (edited(it, old.as_deref())?, old, None, Vec::new())
        } else {
            let (bare, mut sent) = take_managed(new);
            let (mut object, warnings) = bare.decode(kind, strictness)?;
            if let Some(left) = object.metadata_mut().managed_fields.take() {
                sent = sent.or_else(|| serde_json::to_string(&left).ok());
            }
            (object, read_old()?, sent, warnings)
        };
        object.fill_in();
        meta::settle(object.metadata_mut(), kind, &context, old.is_none())?;
        let managed = match Sent::of(sent.as_deref()) {
            Sent::Fields(text) => Some(text.to_owned()),
            Sent::Nothing if !applied => old_managed.map(str::to_owned),
            _ => None,
        };
        let mut draft = Draft {
            kind,
            part,
            object,
            old,
            old_json,
            old_bare,
            old_managed,
            sent,
            managed,
            context,
            replaces,
            warnings,
        };
        if applied {
            draft.keep_times()?;
        }
        Ok(draft)
    }

    /// Records who wrote the object, before anybody else changes it.
    ///
    /// # Errors
    /// Where the object holds what JSON cannot.
    pub fn record(&mut self, writer: &Writer<'_>) -> status::Result<()> {
        // What is not kept is nobody's, and changes nothing.
        let new = text(self.kept()?)?;
        let old = self.old_json.map(|_| Standing { bare: &self.old_bare, managed: self.old_managed });
        let subject = Subject::of(self.kind, self.part);
        self.managed = managed::update::record(&subject, old, &new, Sent::of(self.sent.as_deref()), writer);
        Ok(())
    }

    /// The object encoded, without the empty lists and maps that are not kept; nor has the draft them afterwards.
    fn kept(&mut self) -> status::Result<Vec<u8>> {
        let json = self.object.encode().map_err(Status::internal)?;
        // What a custom object holds, its schema has said.
        if self.kind.custom.is_some() || !empty::holds_any(&json) {
            return Ok(json);
        }
        let kept = empty::pruned(self.kind, serde_json::from_slice(&json).map_err(Status::internal)?);
        // Through the type again, so that the fields have their one order.
        self.object = self.kind.read(&serde_json::to_vec(&kept).map_err(Status::internal)?)?;
        self.object.encode().map_err(Status::internal)
    }

    /// An apply that changes nothing but the times of managed fields changes nothing.
    fn keep_times(&mut self) -> status::Result<()> {
        let (Some(old), Some(stood), Some(managed)) = (&mut self.old, self.old_managed, &self.managed) else {
            return Ok(());
        };
        if stood == managed || !managed::same_but_times(stood, managed) {
            return Ok(());
        }
        let bare = |object: &mut Box<dyn Object>| {
            let revision = object.metadata_mut().resource_version.take();
            let json = object.encode().map_err(Status::internal);
            object.metadata_mut().resource_version = revision;
            json
        };
        if bare(old)? == bare(&mut self.object)? {
            self.managed = Some(stood.to_owned());
        }
        Ok(())
    }

    /// What kind of object it is.
    pub fn kind(&self) -> &'a Kind {
        self.kind
    }

    /// Which part of the object the write may change.
    pub fn part(&self) -> Part {
        self.part
    }

    /// Its name; empty while a generated name is not yet drawn.
    pub fn name(&self) -> &str {
        self.object.metadata().name.as_deref().unwrap_or_default()
    }

    /// The object, if it is of this type.
    pub fn get<T: Object>(&self) -> Option<&T> {
        self.object.as_any().downcast_ref()
    }

    /// The object, if it is of this type, to be changed. Its kind's defaults are not applied again.
    pub fn get_mut<T: Object>(&mut self) -> Option<&mut T> {
        self.object.as_any_mut().downcast_mut()
    }

    /// The object as it stands, if there is one and it is of this type.
    pub fn old<T: Object>(&self) -> Option<&T> {
        typed(self.old.as_deref())
    }

    /// The bytes of the object as it stands.
    pub fn old_json(&self) -> Option<&'a [u8]> {
        self.old_json
    }

    /// The object's metadata.
    pub fn metadata(&self) -> &ObjectMeta {
        self.object.metadata()
    }

    /// The metadata of the object as it stands.
    pub fn old_metadata(&self) -> Option<&ObjectMeta> {
        self.old.as_deref().map(Object::metadata)
    }

    /// The object's metadata, to be changed.
    pub fn metadata_mut(&mut self) -> &mut ObjectMeta {
        self.object.metadata_mut()
    }

    /// The object as JSON.
    ///
    /// # Errors
    /// Where it holds what JSON cannot.
    pub fn json(&self) -> status::Result<Vec<u8>> {
        let json = self.object.encode().map_err(Status::internal)?;
        Ok(match &self.managed {
            Some(managed) => managed::text::join(&text(json)?, managed).into_bytes(),
            None => json,
        })
    }

    /// The object as a value.
    ///
    /// # Errors
    /// As [`Draft::json`].
    pub fn value(&self) -> status::Result<Value> {
        serde_json::from_slice(&self.json()?).map_err(Status::internal)
    }

    /// Puts another object in its place, and fills in what that one leaves out. Fields that the kind does not know are dropped.
    ///
    /// # Errors
    /// `BadRequest` where the value is no object of this kind.
    pub fn replace(&mut self, value: Value) -> status::Result<()> {
        let (bare, sent) = take_managed(Body::Value(value));
        let (object, _) = bare.decode(self.kind, Strictness::Ignore)?;
        self.object = object;
        self.object.fill_in();
        match managed::check(sent.as_deref()) {
            Ok(()) => self.managed = sent,
            Err(why) => self.warnings.push(format!(
                ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
            )),
        }
        Ok(())
    }

    /// Prepares the metadata and what this write may not change, checks the object and encodes it. The draft keeps the object as it is
    /// stored, so that others can look at it.
    ///
    /// # Errors
    /// `Invalid` with a cause per mistake, `BadRequest` where name or namespace have become others, `Conflict` for a uid that is another's.
    pub fn finish(&mut self) -> status::Result<Admitted> {
        let kind = self.kind;
        let (new, old) = (&mut *self.object, self.old.as_deref());
        let expected_revision = new.metadata_mut().resource_version.take().filter(|it| !it.is_empty());
        match old {
            None => meta::prepare_create(new.metadata_mut(), kind, &self.context, expected_revision.as_deref())?,
            Some(old) => meta::prepare_update(new.metadata_mut(), old.metadata(), kind, &self.context)?,
        }
        // Who means another state hears of that first, and not of what would be wrong with the object.
        let stands = old.and_then(|it| it.metadata().resource_version.as_deref());
        if let (Some(expected), Some(stands)) = (expected_revision.as_deref(), stands)
            && expected != stands
            && expected.parse::<u64>().is_ok()
        {
            let name = new.metadata().name.as_deref().unwrap_or_default();
            return Err(Status::modified(kind.group, kind.names.plural, name));
        }
        new.prepare_for(self.part, old);
        // Some kinds keep the old metadata where a subresource is written: what is stored has no version.
        new.metadata_mut().resource_version = None;
        let rises = new.rises_over(old);
        new.metadata_mut().generation = match old {
            None => rises.map(|_| 1),
            Some(old) if rises == Some(true) => Some(old.metadata().generation.unwrap_or(0) + 1),
            Some(old) => old.metadata().generation,
        };
        let mut errors = Errors::default();
        meta::validate(new.metadata(), old.map(Object::metadata), kind, kind.name_rule, &mut errors);
        let unpinned = expected_revision.is_none() && !kind.unconditional_update;
        if self.replaces && old.is_some() && unpinned && self.part == Part::Main {
            // Go shows the number that it reads from nothing in this way.
            errors.invalid_text("metadata.resourceVersion", "0x0".to_owned(), "must be specified for an update");
        }
        new.check(self.part, old, &mut errors);
        let meta = new.metadata();
        let name = meta.name.clone().unwrap_or_default();
        if !errors.is_empty() {
            return Err(Status::invalid(kind.group, kind.kind, &name, &errors));
        }
        let mut warnings = std::mem::take(&mut self.warnings);
        // Of what a subresource leaves alone the writer has been told.
        if self.part == Part::Main {
            warnings.extend(new.warned(old));
        }
        let releasable = meta.deletion_timestamp.is_some()
            && meta.finalizers.as_ref().is_none_or(Vec::is_empty)
            && meta.deletion_grace_period_seconds.unwrap_or(0) == 0
            && !new.holds_itself();
        let namespace = meta.namespace.clone().unwrap_or_default();
        let mut json = self.kept()?;
        if let Some(managed) = &self.managed {
            json = managed::text::join(&text(json)?, managed).into_bytes();
        }
        Ok(Admitted { name, namespace, releasable, json, expected_revision, warnings })
    }
}

/// JSON as text, which it always is.
fn text(json: Vec<u8>) -> status::Result<String> {
    String::from_utf8(json).map_err(Status::internal)
}

/// A copy of the object as it stands, with the edit made on it. It means no state: who edits looks at the one that stands.
fn edited(edit: &dyn Edit, old: Option<&dyn Object>) -> status::Result<Box<dyn Object>> {
    let mut object = old.ok_or_else(edits_nothing)?.copy();
    object.metadata_mut().resource_version = None;
    edit.edit(&mut *object)?;
    Ok(object)
}

/// What the server has encoded, without its managed fields, and those.
fn split(json: &[u8]) -> (Cow<'_, str>, Option<&str>) {
    let Ok(text) = std::str::from_utf8(json) else { return (String::from_utf8_lossy(json), None) };
    match managed::text::split(text) {
        Some((bare, managed)) => (Cow::Owned(bare), Some(managed)),
        None => (Cow::Borrowed(text), None),
    }
}

/// A body without its managed fields.
enum Bare<'a> {
    Given(Body<'a>),
    Text(String),
}

impl Bare<'_> {
    fn decode(self, kind: &Kind, strictness: Strictness) -> Decoded {
        match self {
            Bare::Given(body) => kind.decode(body, strictness),
            Bare::Text(text) => kind.decode(Body::Bytes(text.as_bytes()), strictness),
        }
    }
}

/// Takes the managed fields out of a body. Of a text that is no JSON nothing is taken: its decoder refuses it.
fn take_managed(body: Body<'_>) -> (Bare<'_>, Option<String>) {
    match body {
        Body::Bytes(bytes) => {
            let text = std::str::from_utf8(bytes).ok();
            match text.and_then(managed::text::split) {
                Some((bare, managed)) => (Bare::Text(bare), Some(managed.to_owned())),
                None => (Bare::Given(Body::Bytes(bytes)), None),
            }
        }
        Body::Value(mut value) => {
            let sent = value.get_mut("metadata").and_then(Value::as_object_mut);
            let sent = sent.and_then(|it| it.remove("managedFields")).map(|it| it.to_string());
            (Bare::Given(Body::Value(value)), sent)
        }
        Body::Applied(mut it) => {
            let managed = it.managed.take();
            (Bare::Given(Body::Applied(it)), managed)
        }
        Body::Edit(it) => (Bare::Given(Body::Edit(it)), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
    use serde_json::json;

    fn write<'a>(value: Value, old: Option<&'a [u8]>) -> Write<'a> {
        let now = "2026-01-02T03:04:05Z".parse().unwrap();
        let meta = MetaContext { name: None, namespace: "d", now, uid: "u", suffix: "bcdfg" };
        Write { part: Part::Main, new: Body::Value(value), old, meta, strictness: Strictness::Strict }
    }

    fn kind(name: &str) -> &'static Kind {
        KINDS.iter().find(|it| it.kind == name).unwrap()
    }

    #[test]
    fn is_seen_by_its_type_and_as_a_value() {
        let pod = json!({"metadata": {"generateName": "a-", "uid": "forged"},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let mut draft = kind("Pod").draft(write(pod, None)).unwrap();
        assert_eq!((draft.name(), draft.metadata().namespace.as_deref()), ("", Some("d")));
        assert!(draft.metadata().uid.is_none() && draft.get::<ConfigMap>().is_none());
        assert_eq!(draft.value().unwrap()["spec"]["restartPolicy"], "Always");
        draft.get_mut::<Pod>().unwrap().spec.as_mut().unwrap().node_name = Some("n".to_owned());
        let admitted = draft.finish().unwrap();
        assert_eq!(admitted.name, "a-bcdfg");
        let stored: Value = serde_json::from_slice(&admitted.json).unwrap();
        assert_eq!((&stored["spec"]["nodeName"], &stored["metadata"]["uid"]), (&json!("n"), &json!("u")));
        assert_eq!(draft.name(), "a-bcdfg");
    }

    #[derive(Debug)]
    struct Named(&'static str);

    impl Edit for Named {
        fn edit(&self, object: &mut dyn Object) -> status::Result<()> {
            let pod = object.as_any_mut().downcast_mut::<Pod>().ok_or_else(|| Status::bad_request("no pod"))?;
            pod.spec.get_or_insert_default().node_name = Some(self.0.to_owned());
            Ok(())
        }
    }

    #[test]
    fn an_edit_is_made_on_a_copy_of_what_stands() {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let stored = kind("Pod").draft(write(pod, None)).unwrap().finish().unwrap().json;
        let edit = |of: &'static str, old| {
            let new = Body::Edit(&Named("n"));
            kind(of).draft(Write { part: Part::Binding, new, ..write(Value::Null, old) })
        };
        let draft = edit("Pod", Some(&stored)).unwrap();
        let node = |pod: &Pod| pod.spec.as_ref().unwrap().node_name.clone();
        assert_eq!(node(draft.get::<Pod>().unwrap()).as_deref(), Some("n"));
        assert_eq!(node(draft.old::<Pod>().unwrap()), None);
        assert_eq!(edit("Pod", None).unwrap_err().code(), 500);
        let map = kind("ConfigMap").draft(write(json!({"metadata": {"name": "a"}}), None)).unwrap().finish().unwrap();
        assert_eq!(edit("ConfigMap", Some(&map.json)).unwrap_err().code(), 400);
    }

    #[test]
    fn another_object_in_its_place_is_defaulted_and_checked() {
        let mut draft = kind("Secret").draft(write(json!({"metadata": {"name": "a"}}), None)).unwrap();
        draft.replace(json!({"metadata": {"name": "a", "namespace": "d"}, "unknown": 1})).unwrap();
        assert_eq!(draft.get::<Secret>().unwrap().type_.as_deref(), Some("Opaque"));
        assert!(draft.replace(json!({"data": 7})).is_err());
        let stored = draft.finish().unwrap().json;
        let mut update = kind("Secret").draft(write(json!({"metadata": {"name": "a"}}), Some(&stored))).unwrap();
        assert_eq!(update.old_metadata().unwrap().uid.as_deref(), Some("u"));
        assert!(update.old::<Secret>().is_some());
        update.replace(json!({"metadata": {"name": "a", "namespace": "elsewhere"}})).unwrap();
        assert_eq!(update.finish().unwrap_err().code(), 400);
    }
}
