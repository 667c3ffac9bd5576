//! Keys that stand twice in a mapping, with their lines.
//!
//! In: a text of which it is known that it can be read. Out: the repeated keys in the order in which they stand, as Kubernetes' reader would complain of
//! them (`sigs.k8s.io/yaml`, UnmarshalStrict). What the values are does not matter here.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::node::Key;

/// How many are told; a text may have as many as it has lines.
const TOLD_MAX: usize = 50;

/// The repeated keys within a node, the first of them: line and key.
pub struct Twice(pub Vec<(usize, String)>);

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        decoder.deserialize_any(Found).map(Twice)
    }
}

struct Found;

impl<'de> Visitor<'de> for Found {
    type Value = Vec<(usize, String)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_some<D: Deserializer<'de>>(self, decoder: D) -> Result<Self::Value, D::Error> {
        decoder.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Twice(item)) = list.next_element()? {
            out.extend(item);
            out.truncate(TOLD_MAX);
        }
        Ok(out)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut out, mut seen) = (Vec::new(), HashSet::new());
        while let Some(Spanned { value: Key(key), referenced, .. }) = map.next_key()? {
            let Twice(within) = map.next_value()?;
            out.extend(within);
            if seen.contains(&key) {
                out.push((referenced.line() as usize, key));
            } else {
                seen.insert(key);
            }
            out.truncate(TOLD_MAX);
        }
        Ok(out)
    }
}
