//! A YAML node as the JSON value that Kubernetes' reader makes of it.
//!
//! In: what the parser has found in a scalar. Out: a [`Value`]. Differs from serde_json's own reading in two things: keys are scalars too,
//! so that the key `on` is `"true"` and `0644` is `"420"`, and a float without a fraction is an integer, as Go writes it in JSON.
//! Words in mixed case are dealt with in [`super::words`].
//! Source: `sigs.k8s.io/yaml` (`convertToJSONableObject`) over go-yaml v2 (`resolve.go`).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The value of a node. `ONCE`: a key that stands twice is refused here; else the decoder has its own way with them.
pub struct Node<const ONCE: bool>(pub Value);

/// Below this a float without a fraction is an integer of 64 bits, exactly.
const INTEGER_MAX: f64 = 9.0e18;

/// Up to here Go writes a float key without an exponent, and from there down to.
const PLAIN_MAX: f32 = 1e6;
const PLAIN_MIN: f32 = 1e-4;

impl<'de, const ONCE: bool> Deserialize<'de> for Node<ONCE> {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        decoder.deserialize_any(NodeVisitor::<ONCE>).map(Node)
    }
}

struct NodeVisitor<const ONCE: bool>;

impl<'de, const ONCE: bool> Visitor<'de> for NodeVisitor<ONCE> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML node")
    }

    fn visit_bool<E>(self, it: bool) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_i64<E>(self, it: i64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_u64<E>(self, it: u64) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_f64<E: Error>(self, it: f64) -> Result<Value, E> {
        if it.fract() == 0.0 && it.abs() < INTEGER_MAX {
            return Ok((it as i64).into());
        }
        Number::from_f64(it).map(Value::Number).ok_or_else(|| E::custom(format!("json: unsupported value: {it}")))
    }

    fn visit_str<E>(self, it: &str) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_string<E>(self, it: String) -> Result<Value, E> {
        Ok(it.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, decoder: D) -> Result<Value, D::Error> {
        decoder.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(Node::<ONCE>(item)) = list.next_element()? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(Key(key)) = map.next_key()? {
            let Node::<ONCE>(value) = map.next_value()?;
            if out.insert(key, value).is_some() && ONCE {
                return Err(A::Error::custom("a key stands twice"));
            }
        }
        Ok(Value::Object(out))
    }
}

/// A key, as text.
pub struct Key(pub String);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        decoder.deserialize_any(KeyVisitor).map(Key)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that JSON can have: a text, a number or a boolean")
    }

    fn visit_bool<E>(self, it: bool) -> Result<String, E> {
        Ok(it.to_string())
    }

    fn visit_i64<E>(self, it: i64) -> Result<String, E> {
        Ok(it.to_string())
    }

    fn visit_u64<E>(self, it: u64) -> Result<String, E> {
        Ok(it.to_string())
    }

    /// As Go's `strconv.FormatFloat(it, 'g', -1, 32)` has it.
    fn visit_f64<E>(self, it: f64) -> Result<String, E> {
        let it = it as f32;
        if it == 0.0 || (PLAIN_MIN..PLAIN_MAX).contains(&it.abs()) {
            return Ok(it.to_string());
        }
        let text = format!("{it:e}");
        Ok(match text.split_once('e') {
            Some((digits, exponent)) => {
                let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |it| ('-', it));
                format!("{digits}e{sign}{exponent:0>2}")
            }
            None => text,
        })
    }

    fn visit_str<E>(self, it: &str) -> Result<String, E> {
        Ok(it.to_owned())
    }

    fn visit_string<E>(self, it: String) -> Result<String, E> {
        Ok(it)
    }
}
