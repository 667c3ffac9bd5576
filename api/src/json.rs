//! Decoding of request bodies: from JSON to a kind's type, with Kubernetes' field validation (KEP-2885); and the way back.
//!
//! Unknown fields come from the typed decoder itself; duplicate fields, which serde resolves in silence, from a pass over the text. Both
//! are errors, warnings or nothing, as the client's `fieldValidation` asks. Nesting is bounded by serde_json's limit of 128.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::ser::{CompactFormatter, Formatter};

use crate::kind::Kind;
use crate::status::{self, Status};

mod duplicates;
mod nulls;
pub mod syntax;
mod types;

pub use duplicates::duplicates;

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
pub(crate) const NAMED_FIELDS_LIMIT: usize = 50;

/// Decodes the bytes of a request; the second part are warnings.
///
/// # Errors
/// `BadRequest` where the text is not JSON, not an object of this kind, or has fields that `Strict` forbids.
pub fn decode<T: DeserializeOwned>(
    kind: &Kind,
    bytes: &[u8],
    strictness: Strictness,
) -> status::Result<(T, Vec<String>)> {
    let (decoded, unknown) = tracked(bytes)
        .or_else(|error| tracked_anew(kind, bytes).ok_or_else(|| undecodable_text(kind, bytes, &error)))?;
    let problems = if strictness == Strictness::Ignore { Vec::new() } else { duplicates::problems(bytes, &unknown) };
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
    let (decoded, unknown) = tracked(&bytes).or_else(|error| {
        tracked_anew(kind, &bytes).ok_or_else(|| undecodable(kind, types::complaint(kind, &value), &error))
    })?;
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

/// Decodes a text that was refused, if its nulls are what is wrong with it.
fn tracked_anew<T: DeserializeOwned>(kind: &Kind, bytes: &[u8]) -> Option<(T, Vec<String>)> {
    tracked(&nulls::filled(kind, bytes)?).ok()
}

/// Takes note of a field that nobody asked for.
type Notes<'a> = Box<dyn FnMut(serde_ignored::Path<'_>) + 'a>;

fn note_in(problems: &mut Vec<String>) -> Notes<'_> {
    Box::new(|path| unknown(problems, &path.to_string()))
}

/// Encodes an object as Go does: numbers without a fraction, which only schemas of definitions have, without `.0`.
///
/// # Errors
/// When the object has a map whose keys are no texts, which none of ours has.
pub fn encoded(object: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(ENCODED_BYTES);
    object.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Numbers))?;
    Ok(out)
}

/// How many bytes an encoded object is expected to have: most have less than twice as many.
const ENCODED_BYTES: usize = 1024;

/// From here on Go writes exponents.
const PLAIN_MAX: f64 = 1e15;

struct Numbers;

impl Formatter for Numbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        if value.fract() == 0.0 && value.abs() < PLAIN_MAX {
            return self.write_i64(writer, value as i64);
        }
        CompactFormatter.write_f64(writer, value)
    }
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
    fn nulls_in_maps_are_empty() {
        check(r#"{"metadata":{"labels":{"a":null}},"data":{"k":null}}"#, Strictness::Strict, Ok(&[]));
        check(r#"{"data":{"k":null},"x":1}"#, Strictness::Warn, Ok(&["unknown field \"x\""]));
        let start = "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: ";
        let text = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string";
        check(r#"{"data":{"k":null,"l":1}}"#, Strictness::Warn, Err(&format!("{start}{text}")));
        let kind = kinds::KINDS.iter().find(|it| it.kind == "ConfigMap").unwrap();
        let value = serde_json::json!({"data": {"k": null}});
        let (map, _) = decode_value::<ConfigMap>(kind, value, Strictness::Strict).unwrap();
        assert_eq!(map.data.unwrap()["k"], "");
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

    #[test]
    fn whole_numbers_have_no_fraction() {
        let json = |it: f64| String::from_utf8(encoded(&vec![it]).unwrap()).unwrap();
        for (number, expected) in [(1.0, "[1]"), (-3.0, "[-3]"), (0.5, "[0.5]"), (1e300, "[1e+300]")] {
            assert_eq!(json(number), expected);
        }
    }
}
