//! One revision of one object: its bytes, its head, and the other forms that somebody has asked for.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use orlop_api::custom::{self, Served};
use orlop_api::head::{self, Head, HeadError};
use orlop_api::kind::Kind;
use orlop_api::protobuf::answer;
use orlop_api::table::{self, Row};
use orlop_store::Key;
use serde_json::Value;

/// One revision of one object. Never changes; shared by the map, the ring and all readers.
#[derive(Debug)]
pub struct Object {
    /// The store's key.
    pub key: Key,
    pub revision: u64,
    /// As clients read it, the resource version in it.
    pub json: Bytes,
    pub head: Head,
    /// Made once somebody asks for any of them: most objects have none, and pay no more than this pointer.
    forms: OnceLock<Box<Forms>>,
}

/// The other forms of an object, each made when it is first asked for and then shared by all readers.
#[derive(Debug, Default)]
struct Forms {
    /// `PartialObjectMetadata`.
    partial: OnceLock<Bytes>,
    /// The table's row. The time of the look is no part of it.
    row: OnceLock<Option<Row>>,
    /// In the forms of other kinds that are stored in this table.
    other: OnceLock<Other>,
    /// The protobuf message, without envelope.
    message: OnceLock<Box<[u8]>>,
    /// The message of `PartialObjectMetadata`, where the whole one is not there.
    partial_message: OnceLock<Box<[u8]>>,
}

/// The forms of an object besides the stored one.
#[derive(Debug)]
enum Other {
    /// An event of the other group.
    One(Arc<Object>),
    /// A custom object in the versions of its definition.
    Versions(Box<[OnceLock<Form>]>),
}

/// A custom object in one version.
#[derive(Clone, Debug)]
enum Form {
    /// The stored bytes are right as they are.
    Stored,
    Made(Arc<Object>),
}

impl Object {
    /// Takes an object as it is stored, without a resource version.
    ///
    /// # Errors
    /// When the bytes have no readable head.
    pub fn stored(kind: &Kind, key: Key, revision: u64, stored: &[u8]) -> Result<Self, HeadError> {
        let json = head::with_revision(stored, revision)?;
        Self::served(kind, key, revision, json)
    }

    /// Takes an object as clients read it.
    ///
    /// # Errors
    /// When the bytes have no readable head.
    pub fn served(kind: &Kind, key: Key, revision: u64, json: Bytes) -> Result<Self, HeadError> {
        let head = kind.head(&json)?;
        Ok(Object { key, revision, json, head, forms: OnceLock::new() })
    }

    fn forms(&self) -> &Forms {
        self.forms.get_or_init(Box::default)
    }

    /// The object in the form of `kind`: itself, but for a kind that is stored in the form of another.
    pub fn served_as(self: &Arc<Self>, kind: &'static Kind) -> Arc<Object> {
        if let Some(custom) = kind.custom {
            return self.in_version(kind, &custom.now());
        }
        let Some(conversion) = kind.conversion else { return self.clone() };
        let made = self.forms().other.get_or_init(|| {
            let value = serde_json::from_slice(&self.json).unwrap_or_default();
            let json = kind_first((conversion.from_stored)(value));
            let made = Object::served(kind, self.key.clone(), self.revision, json.into());
            Other::One(made.map_or_else(|error| self.unserved(kind, &error), Arc::new))
        });
        match made {
            Other::One(made) => made.clone(),
            Other::Versions(_) => self.clone(),
        }
    }

    fn unserved(self: &Arc<Self>, kind: &Kind, error: &HeadError) -> Arc<Object> {
        tracing::error!(key = %self.key, %error, "a stored object cannot be served as {kind:?}");
        self.clone()
    }

    /// A custom object in the version of a kind: pruned and defaulted by the schema of the version it is stored in, as that is now, then
    /// converted. What a webhook converts has been put there before ([`Object::put_form`]).
    fn in_version(self: &Arc<Self>, kind: &'static Kind, served: &Served) -> Arc<Object> {
        let known = self.versions(served);
        let form = known.and_then(OnceLock::get).cloned().unwrap_or_else(|| {
            let form = match custom::read::served(&self.json, served) {
                None => Form::Stored,
                Some(json) => {
                    let made = Object::served(kind, self.key.clone(), self.revision, json.into());
                    Form::Made(made.map_or_else(|error| self.unserved(kind, &error), Arc::new))
                }
            };
            known.map_or_else(|| form.clone(), |it| it.get_or_init(|| form.clone()).clone())
        });
        match form {
            Form::Stored => self.clone(),
            Form::Made(made) => made,
        }
    }

    /// The place of a form. None where the definition has got another number of versions since.
    fn versions(&self, served: &Served) -> Option<&OnceLock<Form>> {
        let count = served.definition.versions.len();
        match self.forms().other.get_or_init(|| Other::Versions((0..count).map(|_| OnceLock::new()).collect())) {
            Other::Versions(all) if all.len() == count => all.get(served.at),
            _ => None,
        }
    }

    /// Whether it is known how a custom object looks in a version.
    pub fn has_form(&self, served: &Served) -> bool {
        self.versions(served).is_some_and(|it| it.get().is_some())
    }

    /// Keeps how a custom object looks in a version.
    ///
    /// # Errors
    /// When the bytes have no readable head.
    pub fn put_form(&self, kind: &Kind, served: &Served, json: Bytes) -> Result<(), HeadError> {
        let made = Arc::new(Object::served(kind, self.key.clone(), self.revision, json)?);
        if let Some(place) = self.versions(served) {
            // Who was faster had the same.
            let _ = place.set(Form::Made(made));
        }
        Ok(())
    }

    /// The value of a selectable field, by its path.
    pub fn field<'a>(&'a self, kind: &Kind, path: &str) -> Option<&'a str> {
        match path {
            "metadata.name" => Some(&self.head.name),
            "metadata.namespace" => Some(&self.head.namespace),
            _ => {
                let at = kind.fields.iter().position(|it| it.path == path)?;
                self.head.fields.get(at).map(|it| &**it)
            }
        }
    }

    /// Its row in tables of its kind; none if the bytes are no JSON, which the head's parser has excluded.
    pub fn row(&self, kind: &Kind) -> Option<&Row> {
        self.forms().row.get_or_init(|| Row::parse(kind, &self.json).ok()).as_ref()
    }

    /// Its metadata alone, as `PartialObjectMetadata`.
    pub fn partial(&self) -> &Bytes {
        self.forms().partial.get_or_init(|| table::partial(&self.json).unwrap_or_else(|_| Bytes::from_static(b"{}")))
    }

    /// Its protobuf message; empty for kinds that have none, which nobody can ask for.
    pub fn message(&self, kind: &Kind) -> &[u8] {
        self.forms().message.get_or_init(|| {
            let made = answer::message_of(kind.kind, &kind.api_version(), &self.json);
            made.unwrap_or_default().into()
        })
    }

    /// The protobuf message of its metadata alone.
    pub fn partial_message(&self) -> &[u8] {
        let forms = self.forms();
        if let Some(within) = forms.message.get().and_then(|it| answer::partial_within(it)) {
            return within;
        }
        forms.partial_message.get_or_init(|| answer::partial_of(&self.json).unwrap_or_default().into())
    }

    /// The same object as if last written at `revision`: what watchers see of one that was deleted then.
    pub fn at_revision(&self, revision: u64) -> Bytes {
        let field = format!("\"metadata\":{{\"resourceVersion\":\"{}\"", self.revision);
        let near = &self.json[..self.json.len().min(NEAR_BYTES)];
        if let Some(at) = near.windows(field.len()).position(|it| it == field.as_bytes()) {
            let mut out = Vec::with_capacity(self.json.len() + 8);
            out.extend_from_slice(&self.json[..at]);
            out.extend_from_slice(format!("\"metadata\":{{\"resourceVersion\":\"{revision}\"").as_bytes());
            out.extend_from_slice(&self.json[at + field.len()..]);
            return out.into();
        }
        let mut value: Value = serde_json::from_slice(&self.json).unwrap_or_default();
        value["metadata"]["resourceVersion"] = revision.to_string().into();
        serde_json::to_vec(&value).unwrap_or_default().into()
    }

    /// The object as text decoded into a value, for patches.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.json).unwrap_or_default()
    }
}

/// Where `metadata` begins in an object that we encoded: behind `apiVersion` and `kind`, whose names have at most 253 and 63 bytes.
const NEAR_BYTES: usize = 512;

/// The form in which an object that a kind has admitted is stored.
pub fn to_stored<'a>(kind: &Kind, json: &'a [u8]) -> Cow<'a, [u8]> {
    if let Some(custom) = kind.custom {
        return custom::read::to_stored(json, &custom.now());
    }
    match kind.conversion {
        None => Cow::Borrowed(json),
        Some(conversion) => {
            let value = serde_json::from_slice(json).unwrap_or_default();
            Cow::Owned(kind_first((conversion.to_stored)(value)))
        }
    }
}

/// Encodes an object as all of ours are: `apiVersion` and `kind` first, where lists can leave them out without a look at the rest.
fn kind_first(mut value: Value) -> Vec<u8> {
    let taken =
        |value: &mut Value, name: &str| value.as_object_mut().and_then(|it| it.remove(name)).unwrap_or_default();
    let (version, kind) = (taken(&mut value, "apiVersion"), taken(&mut value, "kind"));
    let rest = value.to_string();
    let comma = if rest == "{}" { "" } else { "," };
    format!("{{\"apiVersion\":{version},\"kind\":{kind}{comma}{}", rest.get(1..).unwrap_or("}")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn other_forms_are_made_from_the_bytes() {
        let kind = registry::named("", "ConfigMap").unwrap();
        let stored =
            br#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a","namespace":"d"},"data":{"k":"v"}}"#;
        let it = Arc::new(Object::stored(kind, "/registry/configmaps/d/a".into(), 41, stored).unwrap());
        let partial: Value = serde_json::from_slice(it.partial()).unwrap();
        assert_eq!(partial["kind"], "PartialObjectMetadata");
        assert_eq!(partial["metadata"]["resourceVersion"], "41");
        let deleted: Value = serde_json::from_slice(&it.at_revision(42)).unwrap();
        assert_eq!(deleted["metadata"]["resourceVersion"], "42");
        assert_eq!(deleted["data"]["k"], "v");
        let mut cells = Vec::new();
        it.row(kind).unwrap().write_cells(&mut cells, jiff::Timestamp::UNIX_EPOCH);
        assert!(cells.starts_with(b"[\"a\",1"));
        assert_eq!(it.field(kind, "metadata.name"), Some("a"));
        assert!(Arc::ptr_eq(&it.served_as(kind), &it));
        let alone = it.partial_message().to_vec();
        assert!(it.message(kind).starts_with(&alone) && alone.len() > 10);
        assert_eq!(it.partial_message(), alone);
    }
}
