//! Which field of which message is which field of JSON: a table, written by `scripts/protobuf-messages` from Kubernetes' own types.
//!
//! In: `messages.txt`, part of the program, of which a line is a message with the `apiVersion` of the kind that it is, if it is one, or one of
//! its fields: number, name in JSON, form. Out: messages by number. It is read when the first protobuf body comes, into some 80 kB;
//! a server that gets none keeps only the text, which is not even loaded from disk. The forms:
//!
//! | form | in JSON |
//! |---|---|
//! | `string`, `int`, `bool`, `bytes` | the same, bytes in base64; with `?` behind, left out when zero, as Go's `omitempty` does |
//! | `core.v1.Probe` | the object of that message; with the name `.`, its fields stand among the outer message's own |
//! | `quantity`, `int-or-string`, `time`, `micro-time` | texts and numbers, for which protobuf has messages |
//! | `raw` | any JSON, of which the message holds the text |
//! | `strings` | a list of strings, for which protobuf has a message (`ExtraValue`) |
//! | `double` | a number with a fraction |
//! | `bool\|M`, `list\|M`, `strings\|M` | an object of the message M, or a truth, a list of such objects, a list of strings |
//! | `[]form`, `{}form` | a list, a map from strings |

use std::collections::HashMap;
use std::sync::OnceLock;

/// The other parts have what only answers have, and definitions, which stand in no kubectl; they are written by hand, from `generated.proto` of
/// `k8s.io/apimachinery/pkg/apis/meta/v1` and of `k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1`.
const TEXT: &str = concat!(include_str!("messages.txt"), include_str!("answers.txt"), include_str!("extensions.txt"));

/// The `apiVersion` in the table of what is of the same kind in every version.
const ANY_VERSION: &str = "*";

/// What a field, or one item of it, holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    String,
    Int,
    Bool,
    Bytes,
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    Raw,
    Strings,
    Double,
    /// The message at this place in the table.
    Message(u16),
    /// That message, or `true` or `false` (`JSONSchemaPropsOrBool`).
    OrBool(u16),
    /// That message, or a list of it (`JSONSchemaPropsOrArray`).
    OrList(u16),
    /// That message, or a list of strings (`JSONSchemaPropsOrStringArray`).
    OrStrings(u16),
}

/// How often a field holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Once, if it is there at all.
    One,
    /// Once; zero means that it is not there.
    NonZero,
    /// Once, its fields being those of the outer object.
    Inline,
    List,
    Map,
}

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub number: u32,
    /// Its name in JSON.
    pub name: &'static str,
    pub count: Count,
    pub form: Form,
}

/// A message: its fields, by their numbers.
#[derive(Debug)]
pub struct Message {
    pub fields: Box<[Field]>,
}

impl Message {
    /// The field of this number.
    pub fn field(&self, number: u32) -> Option<&Field> {
        let at = self.fields.binary_search_by_key(&number, |it| it.number).ok()?;
        self.fields.get(at)
    }
}

struct Table {
    messages: Vec<Message>,
    /// By `kind` and `apiVersion`.
    kinds: HashMap<(&'static str, &'static str), u16>,
}

/// The message of a kind.
pub fn of_kind(kind: &str, api_version: &str) -> Option<&'static Message> {
    let kinds = &table().kinds;
    let place = kinds.get(&(kind, api_version)).or_else(|| kinds.get(&(kind, ANY_VERSION)))?;
    Some(at(*place))
}

/// The message at a place that a [`Form::Message`] gives.
pub fn at(place: u16) -> &'static Message {
    &table().messages[usize::from(place)]
}

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| parse(TEXT).expect("the tests have read the same table"))
}

/// Reads the table; an error is the line that is wrong.
fn parse(text: &'static str) -> Result<Table, &'static str> {
    let is_field = |line: &str| line.starts_with(|it: char| it.is_ascii_digit());
    let names = text.lines().filter(|it| !is_field(it)).filter_map(|it| it.split(' ').next());
    let places: HashMap<&str, u16> = names.zip(0..).collect();
    let mut table = Table { messages: Vec::with_capacity(places.len()), kinds: HashMap::new() };
    let mut lines = text.lines().peekable();
    while let Some(head) = lines.next() {
        let place = u16::try_from(table.messages.len()).map_err(|_| head)?;
        if let Some((name, api_version)) = head.split_once(' ') {
            let kind = name.rsplit('.').next().ok_or(head)?;
            table.kinds.insert((kind, api_version), place);
        }
        let mut fields = Vec::new();
        while let Some(line) = lines.next_if(|it| is_field(it)) {
            fields.push(field(line, &places).ok_or(line)?);
        }
        table.messages.push(Message { fields: fields.into() });
    }
    Ok(table)
}

fn field(line: &'static str, places: &HashMap<&str, u16>) -> Option<Field> {
    let mut words = line.split(' ');
    let (number, name, form) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
    let (count, form) = match form {
        form if name == "." => (Count::Inline, form),
        form if form.ends_with('?') => (Count::NonZero, form.trim_end_matches('?')),
        form if form.starts_with("[]") => (Count::List, &form[2..]),
        form if form.starts_with("{}") => (Count::Map, &form[2..]),
        form => (Count::One, form),
    };
    let form = match form {
        "string" => Form::String,
        "int" => Form::Int,
        "bool" => Form::Bool,
        "bytes" => Form::Bytes,
        "quantity" => Form::Quantity,
        "int-or-string" => Form::IntOrString,
        "time" => Form::Time,
        "micro-time" => Form::MicroTime,
        "raw" => Form::Raw,
        "strings" => Form::Strings,
        "double" => Form::Double,
        message => match message.split_once('|') {
            None => Form::Message(*places.get(message)?),
            Some(("bool", message)) => Form::OrBool(*places.get(message)?),
            Some(("list", message)) => Form::OrList(*places.get(message)?),
            Some(("strings", message)) => Form::OrStrings(*places.get(message)?),
            Some(_) => return None,
        },
    };
    Some(Field { number, name, count, form })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::kinds::KINDS;
    use crate::openapi::schema;
    use crate::review::REVIEWS;

    /// The names of the table's messages in OpenAPI.
    fn named() -> BTreeMap<String, &'static Message> {
        let names = TEXT.lines().filter(|it| !it.starts_with(|it: char| it.is_ascii_digit()));
        let names = names.map(|it| it.split(' ').next().unwrap());
        names
            .zip(0..)
            .map(|(name, place)| {
                let package = match name.split('.').next() {
                    Some("meta") => "io.k8s.apimachinery.pkg.apis",
                    Some("apiextensions") => "io.k8s.apiextensions-apiserver.pkg.apis",
                    _ => "io.k8s.api",
                };
                (format!("{package}.{name}"), at(place))
            })
            .collect()
    }

    /// All fields that a message has in JSON.
    fn flattened(message: &Message) -> BTreeMap<&'static str, Field> {
        let mut out = BTreeMap::new();
        for field in &message.fields {
            match (field.count, field.form) {
                (Count::Inline, Form::Message(inner)) => out.extend(flattened(at(inner))),
                _ => assert!(out.insert(field.name, *field).is_none(), "{} stands twice", field.name),
            }
        }
        out
    }

    fn check(place: &str, of: &Value, form: Form, names: &BTreeMap<String, &'static Message>) {
        let reference = of["$ref"].as_str().and_then(|it| it.rsplit('/').next()).unwrap_or_default();
        let fits = match form {
            Form::String => of["type"] == "string" && of["format"].is_null(),
            Form::Bytes => of["type"] == "string" && of["format"] == "byte" || reference.ends_with(".ByteString"),
            Form::Int => of["type"] == "integer",
            Form::Bool => of["type"] == "boolean",
            Form::Quantity => reference.ends_with(".Quantity"),
            Form::IntOrString => reference.ends_with(".IntOrString"),
            Form::Time => reference.ends_with(".Time"),
            Form::MicroTime => reference.ends_with(".MicroTime"),
            Form::Raw => [".FieldsV1", ".RawExtension", ".JSON"].iter().any(|it| reference.ends_with(it)),
            Form::Double => of["type"] == "number",
            Form::OrBool(_) => reference.ends_with(".JSONSchemaPropsOrBool"),
            Form::OrList(_) => reference.ends_with(".JSONSchemaPropsOrArray"),
            Form::OrStrings(_) => reference.ends_with(".JSONSchemaPropsOrStringArray"),
            Form::Strings => of["type"] == "array" && of["items"]["type"] == "string",
            Form::Message(place) => names.get(reference).is_some_and(|it| std::ptr::eq(*it, at(place))),
        };
        assert!(fits, "{place}: {form:?} is not {of}");
    }

    #[test]
    fn the_table_says_what_the_schemas_say() {
        let names = named();
        let kinds: Vec<_> = KINDS.iter().collect();
        let mut seen = 0;
        for (name, schema) in schema::schemas(&kinds, &REVIEWS.iter().collect::<Vec<_>>(), schema::Form::V2) {
            let Some(properties) = schema["properties"].as_object() else { continue };
            // What only answers have.
            if name.ends_with("List") || name.ends_with("ListMeta") || name.contains(".Status") {
                continue;
            }
            let message = names.get(&name).unwrap_or_else(|| panic!("no message {name}"));
            let fields = flattened(message);
            let ours: BTreeSet<&str> = fields.keys().copied().collect();
            let mut theirs: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            // An object's kind stands in the envelope, not in its message.
            if !ours.contains("apiVersion") && theirs.contains("apiVersion") {
                theirs.retain(|it| !["kind", "apiVersion"].contains(it));
            }
            assert_eq!(ours, theirs, "{name}");
            for (field, of) in fields {
                let property = &properties[field];
                let inner = match of.count {
                    Count::One | Count::NonZero | Count::Inline => property,
                    Count::List => &property["items"],
                    Count::Map => &property["additionalProperties"],
                };
                check(&format!("{name}.{field}"), inner, of.form, &names);
                seen += 1;
            }
        }
        assert!(seen > 900, "{seen}");
    }

    #[test]
    fn every_kind_has_a_message() {
        for kind in KINDS {
            assert!(of_kind(kind.kind, &kind.api_version()).is_some(), "{kind:?}");
        }
        assert!(of_kind("DeleteOptions", "apps/v1").is_some());
        assert!(of_kind("Scale", "autoscaling/v1").is_some());
        assert!(of_kind("TokenRequest", "authentication.k8s.io/v1").is_some());
        assert!(of_kind("Pod", "v2").is_none());
    }

    #[test]
    fn numbers_rise() {
        for message in &table().messages {
            assert!(message.fields.is_sorted_by_key(|it| it.number));
        }
    }
}
