//! The head of an encoded object: the little that the server must know of an object without giving it its Rust type.
//!
//! In: an object's JSON and the field paths its kind lets clients select by. Out: a [`Head`]. Store and cache keep the
//! bytes and the head; nothing here knows where they are kept. Heads are parsed once per stored revision.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use smallvec::SmallVec;

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

#[derive(serde::Deserialize)]
struct RawMeta<'a> {
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(default)]
    labels: Option<Labels>,
    #[serde(borrow, default, rename = "ownerReferences")]
    owners: Option<Vec<RawOwner<'a>>>,
    #[serde(borrow, default, rename = "deletionTimestamp")]
    deletion: Option<Text<'a>>,
}

#[derive(serde::Deserialize)]
struct RawOwner<'a> {
    #[serde(borrow)]
    uid: Cow<'a, str>,
    #[serde(default)]
    controller: bool,
}

/// A text that is borrowed where it has no escapes, also as a key or within other types.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs: Vec<(Box<str>, Box<str>)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<Text<'de>, Text<'de>>()? {
                    pairs.push((key.0.into(), value.0.into()));
                }
                // We encode maps in key order; others may not, and then a key may even stand twice.
                if pairs.is_sorted_by(|a, b| a.0 < b.0) {
                    Ok(Labels(pairs.into()))
                } else {
                    Ok(pairs.into_iter().collect())
                }
            }
        }
        decoder.deserialize_map(Pairs)
    }
}

impl Head {
    /// Reads the head of `json`, one object, with the values of `fields`.
    ///
    /// # Errors
    /// When `json` is no object with readable metadata.
    pub fn parse(json: &[u8], fields: &[Selectable]) -> Result<Head, HeadError> {
        let wanted: Wanted<'_> = fields.iter().flat_map(places).enumerate().collect();
        let mut values: Vec<Option<Box<str>>> = vec![None; wanted.len()];
        let mut raw = None;
        let mut decoder = serde_json::Deserializer::from_slice(json);
        decoder.deserialize_map(Part { wanted: &wanted, values: &mut values, metadata: Some(&mut raw) })?;
        decoder.end()?;
        let raw = raw.map_or("{}", RawValue::get);
        let meta: RawMeta<'_> = serde_json::from_str(raw)?;
        let inner: Wanted<'_> =
            wanted.iter().filter_map(|(at, path)| Some((*at, path.strip_prefix("metadata.")?))).collect();
        if !inner.is_empty() {
            let part = Part { wanted: &inner, values: &mut values, metadata: None };
            part.deserialize(&mut serde_json::Deserializer::from_str(raw))?;
        }
        let owners = meta.owners.unwrap_or_default();
        let mut values = values.into_iter();
        let fields = fields.iter().map(|field| {
            let found = values.by_ref().take(field.from.len().max(1)).flatten();
            // The rest of the places must be passed over too, for the next field's begin behind them.
            let found =
                found.fold(None, |first: Option<Box<str>>, next| first.filter(|it| !it.is_empty()).or(Some(next)));
            found.unwrap_or_else(|| field.absent.into())
        });
        Ok(Head {
            namespace: meta.namespace.into(),
            name: meta.name.into(),
            uid: meta.uid.into(),
            labels: meta.labels.unwrap_or_default(),
            fields: fields.collect(),
            owners: owners.iter().map(|it| Owner { uid: (&*it.uid).into(), controller: it.controller }).collect(),
            deleting: meta.deletion.is_some(),
        })
    }
}

/// Where the value of a field may stand.
fn places(field: &Selectable) -> impl Iterator<Item = &'static str> {
    let own = field.from.is_empty().then_some(field.path);
    own.into_iter().chain(field.from.iter().copied())
}

/// Fields that lie in an object: which of the list, and the path from the object on.
type Wanted<'s> = SmallVec<[(usize, &'s str); 8]>;

/// One object on the way to the selectable fields. The text is passed over once; what no field lies in is skipped.
struct Part<'s, 'v, 'de> {
    wanted: &'v [(usize, &'s str)],
    values: &'v mut [Option<Box<str>>],
    /// Where the metadata goes: of the outermost object only.
    metadata: Option<&'v mut Option<&'de RawValue>>,
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Part { wanted, values, mut metadata } = self;
        while let Some(Text(key)) = map.next_key::<Text<'de>>()? {
            if let Some(raw) = metadata.as_deref_mut()
                && key == "metadata"
            {
                *raw = Some(map.next_value()?);
                continue;
            }
            let mut inner: Wanted<'_> = SmallVec::new();
            let mut found = None;
            for (at, path) in wanted {
                match path.strip_prefix(&*key) {
                    Some("") => found = Some(*at),
                    Some(below) => inner.extend(below.strip_prefix('.').map(|it| (*at, it))),
                    None => {}
                }
            }
            if let Some(at) = found {
                values[at] = scalar(map.next_value::<&RawValue>()?.get());
            } else if inner.is_empty() {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value_seed(Part { wanted: &inner, values, metadata: None })?;
            }
        }
        Ok(())
    }

    // Where a path leads through something that is no object, nothing is at its end.
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

fn scalar(json: &str) -> Option<Box<str>> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str::<Text<'_>>(json).ok().map(|it| it.0.into()),
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
            Selectable { path: "spec.nodeName", absent: "", from: &[] },
            Selectable { path: "status.phase", absent: "", from: &[] },
            Selectable { path: "spec.hostNetwork", absent: "false", from: &[] },
        ];
        let head = Head::parse(POD, &fields).unwrap();
        assert_eq!((&*head.namespace, &*head.name, &*head.uid), ("d", "a", "u"));
        assert_eq!(head.labels.get("b"), Some("2"));
        assert_eq!(head.fields.iter().map(|it| &**it).collect::<Vec<_>>(), ["n1", "", "true"]);
        assert_eq!(*head.owners, [Owner { uid: "o".into(), controller: true }]);
    }

    #[test]
    fn takes_a_field_from_the_first_place_that_has_it() {
        let check = |json: &str, expected: [&str; 2]| {
            let from = &["source.component", "reportingComponent"];
            let fields =
                [Selectable { path: "source", absent: "", from }, Selectable { path: "reason", absent: "", from: &[] }];
            let head = Head::parse(json.as_bytes(), &fields).unwrap();
            assert_eq!(head.fields.iter().map(|it| &**it).collect::<Vec<_>>(), expected, "{json}");
        };
        check(r#"{"source":{"component":"kubelet"},"reportingComponent":"x","reason":"r"}"#, ["kubelet", "r"]);
        check(r#"{"source":{"component":""},"reportingComponent":"x","reason":"r"}"#, ["x", "r"]);
        check(r#"{"source":{},"reason":"r"}"#, ["", "r"]);
    }

    #[test]
    fn passes_over_what_it_does_not_need() {
        let check = |json: &str, path: &'static str, expected: Option<&str>| {
            let head = Head::parse(json.as_bytes(), &[Selectable { path, absent: "-", from: &[] }]).ok();
            assert_eq!(head.as_ref().map(|it| &*it.fields[0]), expected, "{path} of {json}");
        };
        check(r#"{"involvedObject":{"kind":"Pod","name":"a\"b"}}"#, "involvedObject.name", Some("a\"b"));
        check(r#"{"a":{"b":{"c":7}},"ab":{"b":{"c":8}}}"#, "a.b.c", Some("7"));
        check(r#"{"type":"Opaque"}"#, "type", Some("Opaque"));
        check(r#"{"spec":null}"#, "spec.nodeName", Some("-"));
        check(r#"{"spec":["x"],"status":{}}"#, "spec.nodeName", Some("-"));
        check(r#"{"spec":{"nodeName":{}}}"#, "spec.nodeName", Some("-"));
        check(r#"{"metadata":{"generateName":"x-"}}"#, "metadata.generateName", Some("x-"));
        check(r#"{"metadata":{"labels":{"b":"1","a":"2","b":"3"}}}"#, "x", Some("-"));
        check("[]", "x", None);
        check("{} {}", "x", None);
        check(r#"{"metadata":{"labels":{"b":1}}}"#, "x", None);
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
