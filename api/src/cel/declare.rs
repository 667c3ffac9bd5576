//! The types that schemas declare.
//!
//! In: a structural schema. Out: the type of its values for expressions, with the most that a request can hold of them. Source:
//! `k8s.io/apiserver/pkg/cel/common/schemas.go`. What has no schema (`x-kubernetes-preserve-unknown-fields` without a type) has no type
//! either, and expressions cannot see it.

use std::sync::Arc;

use super::types::{Field, ObjectType, REQUEST_LIMIT_BYTES, Type};
use crate::structural::format::Format;
use crate::structural::node::{Additional, Node, Type as Kind};

/// The longest texts of times in JSON, with quotes.
const DATE_BYTES: u64 = 12;
const DATE_TIME_BYTES: u64 = 22;
const DURATION_BYTES: u64 = 32;
/// A code point takes at most so many bytes.
const BYTES_PER_CHAR: u64 = 4;

/// The type of a schema's values, and the fewest bytes that one takes in JSON. `is_resource` where it is the schema of a whole object.
pub fn declare(node: &Node, is_resource: bool) -> Option<(Type, u64)> {
    let limits = node.limits.as_deref();
    match node.kind {
        Kind::IntOrString => Some((Type::Dyn, 1)),
        Kind::Any => None,
        Kind::Boolean => Some((Type::Bool, 4)),
        Kind::Integer => Some((Type::Int, 1)),
        Kind::Number => Some((Type::Double, 1)),
        Kind::Array => {
            let items = node.items.as_deref()?;
            let (of, fewest) = declare(items, items.embedded)?;
            let most = limits.and_then(|it| it.max_items).unwrap_or((REQUEST_LIMIT_BYTES - 2) / (fewest + 1));
            Some((Type::List(Arc::new(of), most), 2))
        }
        Kind::String => Some(declare_text(node)),
        Kind::Object => {
            if let Additional::Schema(values) = &node.additional {
                let (of, fewest) = declare(values, values.embedded)?;
                let most = limits.and_then(|it| it.max_properties).unwrap_or((REQUEST_LIMIT_BYTES - 2) / (fewest + 6));
                let key = Type::String(REQUEST_LIMIT_BYTES - 2);
                return Some((Type::Map(Arc::new((key, of)), most), 2));
            }
            Some(declare_object(node, is_resource))
        }
    }
}

fn declare_text(node: &Node) -> (Type, u64) {
    let limits = node.limits.as_deref();
    let max_length = limits.and_then(|it| it.max_length);
    let options = limits.map_or(&[] as &[_], |it| &it.options);
    match limits.and_then(|it| it.format.as_ref()).map(|it| it.0) {
        Some(Format::Byte) => return (Type::Bytes(max_length.unwrap_or(REQUEST_LIMIT_BYTES - 2)), 2),
        Some(Format::Duration) => return (Type::Duration, DURATION_BYTES.min(2)),
        Some(Format::Date) => return (Type::Timestamp, DATE_BYTES),
        Some(Format::DateTime) => return (Type::Timestamp, DATE_TIME_BYTES),
        _ => {}
    }
    let most = match max_length {
        Some(most) => most.saturating_mul(BYTES_PER_CHAR),
        None if !options.is_empty() => {
            options.iter().filter_map(|it| it.as_str()).map(|it| it.len() as u64).max().unwrap_or_default()
        }
        None => REQUEST_LIMIT_BYTES - 2,
    };
    (Type::String(most), 2)
}

fn declare_object(node: &Node, is_resource: bool) -> (Type, u64) {
    let mut fewest = 2;
    let mut fields = Vec::new();
    for (name, of) in &node.properties {
        if is_resource && &**name == "metadata" {
            continue;
        }
        let Some((field, least)) = declare(of, of.embedded) else { continue };
        let is_required = node.required.iter().any(|it| it == name);
        if is_required && of.default.is_none() {
            fewest += name.len() as u64 + least + 4;
        }
        if let Some(escaped) = escaped(name) {
            fields.push(Field { name: escaped.into(), key: name.clone(), of: field });
        }
    }
    if is_resource {
        for name in ["apiVersion", "kind"] {
            if !fields.iter().any(|it| *it.name == *name) {
                fields.push(Field { name: name.into(), key: name.into(), of: Type::String(REQUEST_LIMIT_BYTES - 2) });
            }
        }
        let text = |name: &str| {
            let most = node.property("metadata").and_then(|it| it.property(name)).map(declare_text);
            most.map_or(Type::String(REQUEST_LIMIT_BYTES - 2), |it| it.0)
        };
        let metadata = Type::object("metadata", &[("name", text("name")), ("generateName", text("generateName"))]);
        fields.push(Field { name: "metadata".into(), key: "metadata".into(), of: metadata });
    }
    (Type::Object(Arc::new(ObjectType::new("object", fields))), fewest)
}

/// Words of the language that cannot be names of fields as they are.
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// How expressions name a field; none where they cannot.
pub fn escaped(name: &str) -> Option<String> {
    if RESERVED.contains(&name) {
        return Some(format!("__{name}__"));
    }
    let begins_well = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    if !begins_well || !name.chars().all(|it| it.is_ascii_alphanumeric() || "_.-/".contains(it)) {
        return None;
    }
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(letter) = rest.chars().next() {
        let (word, taken) = match letter {
            '_' if rest.starts_with("__") => ("__underscores__", 2),
            '.' => ("__dot__", 1),
            '-' => ("__dash__", 1),
            '/' => ("__slash__", 1),
            _ => (&rest[..1], 1),
        };
        out.push_str(word);
        rest = &rest[taken..];
    }
    Some(out)
}
