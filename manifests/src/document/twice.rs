//! The keys that stand twice in one mapping of a YAML text, as Kubernetes tells of them: with the lines of their second place.
//!
//! In: a document that the parser reads when it lets the last of them win. Out: `line 10: key "paused" already set in map`, in the order in which
//! Kubernetes' reader finds them: what is within a value before the value itself. Source: `sigs.k8s.io/yaml/goyaml.v2` (`decode.go`).

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

/// How many are told; a text may have as many as it has lines.
const TOLD_MAX: usize = 50;

/// Looks through a node, and notes what it finds.
pub struct Twice<'a> {
    pub found: &'a mut Vec<String>,
    /// The line before the document's first.
    pub before: usize,
}

impl Twice<'_> {
    fn again(&mut self) -> Twice<'_> {
        Twice { found: self.found, before: self.before }
    }
}

impl<'de> DeserializeSeed<'de> for Twice<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Twice<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen: HashSet<String> = HashSet::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            map.next_value_seed(self.again())?;
            if seen.contains(&key.value) && self.found.len() < TOLD_MAX {
                let line = self.before + key.referenced.line() as usize;
                self.found.push(format!("line {line}: key {:?} already set in map", key.value));
            }
            seen.insert(key.value);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self.again())?.is_some() {}
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
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

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }
}
