//! Decoding of request bodies: from JSON to a kind's type, with Kubernetes' field validation (KEP-2885).
//!
//! Unknown fields come from the typed decoder itself; duplicate fields, which serde resolves in silence, from a pass over the text. Both
//! are errors, warnings or nothing, as the client's `fieldValidation` asks. Nesting is bounded by serde_json's limit of 128.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::kind::Kind;
use crate::status::{self, Status};

pub mod syntax;
mod types;

/// What becomes of unknown and duplicate fields: `fieldValidation`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are dropped in silence.
    Ignore,
    /// They are dropped, and the client is warned.
    #[default]
    Warn,
    /// The request fails.
    Strict,
}

impl Strictness {
    /// The words of the query parameter `fieldValidation`, as refusals list them; empty means `Warn`.
    pub const WORDS: &[&str] = &["", "Ignore", "Strict", "Warn"];

    /// Reads the query parameter `fieldValidation`; none for words that it does not know.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Warn" => Some(Strictness::Warn),
            "Ignore" => Some(Strictness::Ignore),
            "Strict" => Some(Strictness::Strict),
            _ => None,
        }
    }
}

/// How many unknown or duplicate fields are named before the rest is only counted.
const NAMED_FIELDS_LIMIT: usize = 50;

/// Decodes the bytes of a request; the second part are warnings.
///
/// # Errors
/// `BadRequest` where the text is not JSON, not an object of this kind, or has fields that `Strict` forbids.
pub fn decode<T: DeserializeOwned>(
    kind: &Kind,
    bytes: &[u8],
    strictness: Strictness,
) -> status::Result<(T, Vec<String>)> {
    let (decoded, unknown) = tracked(bytes).map_err(|error| undecodable_text(kind, bytes, &error))?;
    let problems = if strictness == Strictness::Ignore { Vec::new() } else { problems(bytes, &unknown) };
    Ok((decoded, judged(kind, problems, strictness)?))
}

/// Decodes a value that a patch has made, in which there can be no duplicates.
///
/// # Errors
/// As [`decode`].
pub fn decode_value<T: DeserializeOwned>(
    kind: &Kind,
    value: Value,
    strictness: Strictness,
) -> status::Result<(T, Vec<String>)> {
    // By its text: a decoder that reads values would be compiled for every kind once more, and that program text weighs more than the
    // microseconds that this takes.
    let bytes = serde_json::to_vec(&value).map_err(Status::internal)?;
    let (decoded, unknown) =
        tracked(&bytes).map_err(|error| undecodable(kind, types::complaint(kind, &value), &error))?;
    Ok((decoded, judged(kind, unknown.iter().map(|it| unknown_field(it)).collect(), strictness)?))
}

/// Decodes a text of which no type is known.
///
/// # Errors
/// `BadRequest` where it is not JSON.
pub(crate) fn value(kind: &Kind, bytes: &[u8]) -> status::Result<Value> {
    serde_json::from_slice(bytes).map_err(|error| undecodable_text(kind, bytes, &error))
}

/// Decodes a text; the second part are the paths of its unknown fields, each once. There is one decoder for all kinds: a closure of this generic function's own
/// would be another type for each of them, and all the types below would be compiled for each.
fn tracked<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, Vec<String>), serde_json::Error> {
    let mut problems = Vec::new();
    let mut decoder = serde_json::Deserializer::from_slice(bytes);
    let decoded = serde_ignored::deserialize::<_, Notes<'_>, T>(&mut decoder, note_in(&mut problems))?;
    decoder.end()?;
    Ok((decoded, problems))
}

/// Takes note of a field that nobody asked for.
type Notes<'a> = Box<dyn FnMut(serde_ignored::Path<'_>) + 'a>;

fn note_in(problems: &mut Vec<String>) -> Notes<'_> {
    Box::new(|path| unknown(problems, &path.to_string()))
}

/// What becomes of the unknown and duplicate fields that were found: warnings, or a refusal.
pub(crate) fn judged(kind: &Kind, problems: Vec<String>, strictness: Strictness) -> status::Result<Vec<String>> {
    match strictness {
        Strictness::Ignore => Ok(Vec::new()),
        Strictness::Warn => Ok(problems),
        Strictness::Strict if problems.is_empty() => Ok(problems),
        Strictness::Strict => Err(Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
            kind.kind,
            kind.version,
            kind.kind,
            problems.join(", ")
        ))),
    }
}

/// The refusal of a text, told in Go's words where they are known.
fn undecodable_text(kind: &Kind, text: &[u8], error: &serde_json::Error) -> Status {
    let found = syntax::complaint(text).or_else(|| types::complaint(kind, &serde_json::from_slice(text).ok()?));
    undecodable(kind, found, error)
}

fn undecodable(kind: &Kind, found: Option<String>, error: &serde_json::Error) -> Status {
    let found = found.unwrap_or_else(|| format!("json: {error}"));
    Status::bad_request(format!(
        "{} in version \"{}\" cannot be handled as a {}: {found}",
        kind.kind, kind.version, kind.kind
    ))
}

fn unknown(paths: &mut Vec<String>, path: &str) {
    let path = kubernetes_path(path);
    if paths.len() < NAMED_FIELDS_LIMIT && !paths.contains(&path) {
        paths.push(path);
    }
}

fn unknown_field(path: &str) -> String {
    format!("unknown field \"{path}\"")
}

/// `spec.containers.0.foo`, as serde_ignored writes paths, in Kubernetes' form: `spec.containers[0].foo`.
fn kubernetes_path(path: &str) -> String {
    let mut out = String::new();
    for segment in path.split('.').filter(|it| *it != "?") {
        if segment.bytes().all(|it| it.is_ascii_digit()) && !segment.is_empty() {
            out.push_str(&format!("[{segment}]"));
        } else {
            if !out.is_empty() {
                out.push('.');
            }
            out.push_str(segment);
        }
    }
    out
}

/// The fields that stand twice in one object of a JSON text, in the order of their second appearance. Text that is not JSON has none.
pub fn duplicates(json: &[u8]) -> Vec<String> {
    problems(json, &[])
}

/// Beside those that stand twice, the fields of which it is known that they are unknown, all in the order of the text. What is unknown is
/// told once, and nothing of what stands in it.
fn problems(json: &[u8], unknown: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut decoder = serde_json::Deserializer::from_slice(json);
    let mut path = String::new();
    // A text that breaks off was reported by the typed decoder already.
    let _ = Duplicates { path: &mut path, found: &mut found, unknown }.deserialize(&mut decoder);
    found
}

struct Duplicates<'a> {
    path: &'a mut String,
    found: &'a mut Vec<String>,
    unknown: &'a [String],
}

impl<'de> DeserializeSeed<'de> for Duplicates<'_> {
    type Value = ();
    fn deserialize<D: serde::Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        decoder.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Duplicates<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen: HashSet<String> = HashSet::new();
        let length = self.path.len();
        while let Some(name) = map.next_key::<String>()? {
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(&name);
            let is_twice = !seen.insert(name);
            let is_unknown = !self.unknown.is_empty() && self.unknown.contains(self.path);
            if is_unknown {
                if !is_twice {
                    self.found.push(unknown_field(self.path));
                }
                map.next_value::<IgnoredAny>()?;
            } else {
                if is_twice && self.found.len() < NAMED_FIELDS_LIMIT {
                    self.found.push(format!("duplicate field \"{}\"", self.path));
                }
                map.next_value_seed(Duplicates { path: self.path, found: self.found, unknown: self.unknown })?;
            }
            self.path.truncate(length);
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let length = self.path.len();
        let mut index = 0;
        loop {
            self.path.push_str(&format!("[{index}]"));
            let next =
                list.next_element_seed(Duplicates { path: self.path, found: self.found, unknown: self.unknown })?;
            self.path.truncate(length);
            if next.is_none() {
                return Ok(());
            }
            index += 1;
        }
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
    fn visit_newtype_struct<D: serde::Deserializer<'de>>(self, decoder: D) -> Result<(), D::Error> {
        serde::Deserialize::deserialize(decoder).map(|_: IgnoredAny| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn check(json: &str, strictness: Strictness, expected: Result<&[&str], &str>) {
        let kind = kinds::KINDS.iter().find(|it| it.kind == "ConfigMap").unwrap();
        let got = decode::<ConfigMap>(kind, json.as_bytes(), strictness);
        match expected {
            Ok(warnings) => assert_eq!(got.unwrap().1, warnings),
            Err(text) => assert_eq!(got.unwrap_err().message, text),
        }
    }

    #[test]
    fn complains_in_the_words_of_go() {
        let start = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: ";
        for (json, text) in [
            (r#"{"data":{"k":1}}"#, "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"),
            (r#"{"data":{"k":"1"}"#, "unexpected end of JSON input"),
            (
                r#"{"metadata":{"name":7}}"#,
                "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string",
            ),
        ] {
            check(json, Strictness::Warn, Err(&format!("{start}{text}")));
        }
        let kind = kinds::KINDS.iter().find(|it| it.kind == "ConfigMap").unwrap();
        let value = serde_json::json!({"immutable": "x"});
        let error = decode_value::<ConfigMap>(kind, value, Strictness::Warn).unwrap_err();
        let text = "json: cannot unmarshal string into Go struct field ConfigMap.immutable of type bool";
        assert_eq!(error.message, format!("{start}{text}"));
    }

    #[test]
    fn tells_unknown_and_duplicate_fields() {
        let json = r#"{"metadata":{"name":"a","nam":"b"},"data":{"k":"1","k":"2"}}"#;
        check(json, Strictness::Ignore, Ok(&[]));
        check(json, Strictness::Warn, Ok(&["unknown field \"metadata.nam\"", "duplicate field \"data.k\""]));
        check(
            json,
            Strictness::Strict,
            Err(
                "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \"metadata.nam\", duplicate field \"data.k\"",
            ),
        );
        // In the order of the text; what is unknown is no more than that.
        let json = r#"{"data":{"k":"1","k":"2"},"x":{"a":1,"a":2},"x":1,"metadata":{"name":"a","nam":"b","name":"c"}}"#;
        let expected = [
            "duplicate field \"data.k\"",
            "unknown field \"x\"",
            "unknown field \"metadata.nam\"",
            "duplicate field \"metadata.name\"",
        ];
        check(json, Strictness::Warn, Ok(&expected));
    }
}
