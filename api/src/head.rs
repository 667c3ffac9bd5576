//! The head of an encoded object: the little that the server must know of an object without giving it its Rust type.
//!
//! In: an object's JSON and the field paths its kind lets clients select by. Out: a [`Head`]. Store and cache keep the
//! bytes and the head; nothing here knows where they are kept. Heads are parsed once per stored revision.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::kind::Selectable;

/// Labels in key order; small, immutable and cheap to search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|at| &*self.0[at].1)
    }

    /// All pairs in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(k, v)| (&**k, &**v))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<Box<str>> + Ord, V: Into<Box<str>>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let sorted: BTreeMap<Box<str>, Box<str>> = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Labels(sorted.into_iter().collect())
    }
}

/// An owner reference, as garbage collection and the owner index need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: Box<str>,
    pub controller: bool,
}

/// What the server knows of an object without decoding it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub labels: Labels,
    /// Values of the kind's selectable fields, in the order of [`crate::kind::Kind::fields`].
    pub fields: Box<[Box<str>]>,
    pub owners: Box<[Owner]>,
    /// Whether `metadata.deletionTimestamp` is set.
    pub deleting: bool,
}

/// Why an object's bytes have no readable head.
#[derive(Debug, thiserror::Error)]
#[error("an object's head cannot be read: {0}")]
pub struct HeadError(#[from] serde_json::Error);

#[derive(Deserialize)]
struct RawMeta<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow, default)]
    labels: Option<BTreeMap<Cow<'a, str>, Cow<'a, str>>>,
    #[serde(borrow, default, rename = "ownerReferences")]
    owners: Option<Vec<RawOwner<'a>>>,
    #[serde(borrow, default, rename = "deletionTimestamp")]
    deletion: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawOwner<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(default)]
    controller: bool,
}

type RawFields<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

impl Head {
    /// Reads the head of `json`, one object, with the values of `fields`.
    ///
    /// # Errors
    /// When `json` is no object with readable metadata.
    pub fn parse(json: &[u8], fields: &[Selectable]) -> Result<Head, HeadError> {
        let top: RawFields<'_> = serde_json::from_slice(json)?;
        let meta: RawMeta<'_> = serde_json::from_str(top.get("metadata").map_or("{}", |it| it.get()))?;
        let mut parts: BTreeMap<&str, RawFields<'_>> = BTreeMap::new();
        let mut values = Vec::with_capacity(fields.len());
        for field in fields {
            values.push(field_value(&top, &mut parts, field)?.unwrap_or_else(|| field.absent.into()));
        }
        let owners = meta.owners.unwrap_or_default();
        Ok(Head {
            namespace: meta.namespace.into(),
            name: meta.name.into(),
            uid: meta.uid.into(),
            labels: meta.labels.unwrap_or_default().iter().map(|(k, v)| (&**k, &**v)).collect(),
            fields: values.into(),
            owners: owners.iter().map(|it| Owner { uid: (&*it.uid).into(), controller: it.controller }).collect(),
            deleting: meta.deletion.is_some(),
        })
    }
}

/// The text at a field's path, if anything is there.
fn field_value<'a>(
    top: &RawFields<'a>,
    parts: &mut BTreeMap<&'static str, RawFields<'a>>,
    field: &Selectable,
) -> Result<Option<Box<str>>, HeadError> {
    let Some((first, rest)) = field.path.split_once('.') else {
        return Ok(top.get(field.path).and_then(|it| scalar(it.get())));
    };
    if !parts.contains_key(first) {
        let part = match top.get(first) {
            Some(raw) if raw.get().starts_with('{') => serde_json::from_str(raw.get())?,
            _ => RawFields::new(),
        };
        parts.insert(first, part);
    }
    let Some(raw) = parts.get(first).and_then(|part| part.get(rest.split('.').next().unwrap_or(rest))) else {
        return Ok(None);
    };
    let Some((_, deeper)) = rest.split_once('.') else { return Ok(scalar(raw.get())) };
    let value: serde_json::Value = serde_json::from_str(raw.get())?;
    let pointer = format!("/{}", deeper.replace('.', "/"));
    Ok(value.pointer(&pointer).and_then(|it| scalar(&it.to_string())))
}

fn scalar(json: &str) -> Option<Box<str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<Cow<'_, str>>(json).ok().map(|it| it.as_ref().into()),
        b'{' | b'[' | b'n' => None,
        _ => Some(json.into()),
    }
}

const METADATA: &[u8] = b"\"metadata\":{";

/// The object with `metadata.resourceVersion` set to `revision`: what clients read. `stored` is an object as
/// [`crate::kind::Kind::admit`] encodes it: `apiVersion` and `kind` first, then `metadata`, without a resource version.
///
/// # Errors
/// When `stored` is no object with metadata.
pub fn with_revision(stored: &[u8], revision: u64) -> Result<Bytes, HeadError> {
    // Encoded by us, `metadata` begins within the first bytes; a nested "metadata" (a pod template's) comes later.
    let near = &stored[..stored.len().min(512)];
    let at = near.windows(METADATA.len()).position(|it| it == METADATA);
    if let Some(at) = at.map(|it| it + METADATA.len())
        && !near[..at - METADATA.len()].contains(&b'[')
        && depth(&near[..at]) == 2
    {
        let mut out = Vec::with_capacity(stored.len() + 48);
        out.extend_from_slice(&stored[..at]);
        out.extend_from_slice(b"\"resourceVersion\":\"");
        out.extend_from_slice(revision.to_string().as_bytes());
        out.extend_from_slice(if stored.get(at) == Some(&b'}') { b"\"" } else { b"\"," });
        out.extend_from_slice(&stored[at..]);
        return Ok(out.into());
    }
    // Written by another server in another order: the slow way, once per revision.
    let mut value: serde_json::Value = serde_json::from_slice(stored)?;
    value["metadata"]["resourceVersion"] = revision.to_string().into();
    Ok(serde_json::to_vec(&value)?.into())
}

fn depth(prefix: &[u8]) -> i32 {
    prefix.iter().fold(0, |deep, byte| match byte {
        b'{' => deep + 1,
        b'}' => deep - 1,
        _ => deep,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &[u8] = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a","namespace":"d","uid":"u","labels":{"b":"2","a":"1"},"ownerReferences":[{"uid":"o","controller":true}]},"spec":{"nodeName":"n1","hostNetwork":true},"status":{}}"#;

    #[test]
    fn reads_what_selectors_need() {
        let fields = [
            Selectable { path: "spec.nodeName", absent: "" },
            Selectable { path: "status.phase", absent: "" },
            Selectable { path: "spec.hostNetwork", absent: "false" },
        ];
        let head = Head::parse(POD, &fields).unwrap();
        assert_eq!((&*head.namespace, &*head.name, &*head.uid), ("d", "a", "u"));
        assert_eq!(head.labels.get("b"), Some("2"));
        assert_eq!(head.fields.iter().map(|it| &**it).collect::<Vec<_>>(), ["n1", "", "true"]);
        assert_eq!(*head.owners, [Owner { uid: "o".into(), controller: true }]);
    }

    #[test]
    fn splices_the_revision_in() {
        let spliced = with_revision(POD, 42).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&spliced).unwrap();
        assert_eq!(value["metadata"]["resourceVersion"], "42");
        assert_eq!(value["metadata"]["name"], "a");
        let late = br#"{"spec":{"template":{"metadata":{}}},"metadata":{"name":"x"}}"#;
        let value: serde_json::Value = serde_json::from_slice(&with_revision(late, 7).unwrap()).unwrap();
        assert_eq!(value["metadata"]["resourceVersion"], "7");
        assert!(value["spec"]["template"]["metadata"]["resourceVersion"].is_null());
    }
}
