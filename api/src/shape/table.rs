//! The types of the built-in kinds: a table that is part of the program, and how it is made from the schemas.
//!
//! In: `types.txt`, written by `cargo run -p orlop-api --example shape_table > api/src/shape/types.txt`; a test holds it to the schemas. A line is
//! `= TYPE`, with the `GROUP/VERSION KIND` that it is, if it is one, or one of its fields: name, with `!` behind if it is always there, and
//! form. Out: types. The code that makes the schemas themselves is not loaded from disk before somebody asks for OpenAPI.
//!
//! | form | in JSON |
//! |---|---|
//! | `text`, `number`, `bool`, `any` | a scalar; `any` for quantities, times, numbers or texts |
//! | `untyped` | anything |
//! | `[]form`, `{}form` | a list, a map from strings |
//! | `.core.v1.Probe` | an object of that type; the dot stands for `io.k8s.api.` |

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::Value;

use crate::kind::Kind;

const TEXT: &str = include_str!("types.txt");

/// What names of most types begin with, and what stands for it.
const PACKAGE: (&str, &str) = ("io.k8s.api.", ".");

/// A type as the table has it.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its field lines.
    fields: &'static str,
}

/// A field as the table has it.
#[derive(Clone, Copy)]
pub struct Line {
    /// The name in JSON.
    pub name: &'static str,
    /// Whether every object of the type has it.
    pub required: bool,
    /// What it holds: see [the table](self).
    pub form: &'static str,
}

impl Entry {
    /// Its fields, in the order of their names.
    pub fn fields(self) -> impl Iterator<Item = Line> {
        self.fields.lines().filter_map(|line| {
            let (name, form) = line.split_once(' ')?;
            let required = name.ends_with('!');
            Some(Line { name: name.trim_end_matches('!'), required, form })
        })
    }
}

/// The table, to look types up in.
pub struct Table {
    types: HashMap<&'static str, Entry>,
    kinds: Vec<(&'static str, &'static str)>,
}

impl Table {
    /// Reads the heads of the types: some 450.
    pub fn read() -> Table {
        let mut table = Table { types: HashMap::new(), kinds: Vec::new() };
        for block in TEXT.split("= ").skip(1) {
            let (head, fields) = block.split_once('\n').unwrap_or((block, ""));
            let (name, kind) = head.split_once(' ').unwrap_or((head, ""));
            table.types.insert(name, Entry { fields });
            if !kind.is_empty() {
                table.kinds.push((kind, name));
            }
        }
        table
    }

    /// A type by its name in the table.
    pub fn entry(&self, name: &str) -> Option<Entry> {
        self.types.get(name).copied()
    }

    /// The name in the table of a kind's type.
    pub fn of_kind(&self, kind: &Kind) -> Option<&'static str> {
        let wanted = kind_line(kind);
        self.kinds.iter().find(|(it, _)| *it == wanted).map(|(_, name)| *name)
    }
}

/// The whole name of a type: `io.k8s.api.core.v1.Probe`.
pub fn whole(name: &str) -> String {
    match name.strip_prefix(PACKAGE.1) {
        Some(rest) => format!("{}{rest}", PACKAGE.0),
        None => name.to_owned(),
    }
}

fn short(name: &str) -> String {
    match name.strip_prefix(PACKAGE.0) {
        Some(rest) => format!("{}{rest}", PACKAGE.1),
        None => name.to_owned(),
    }
}

fn kind_line(kind: &Kind) -> String {
    format!("{}/{} {}", kind.group, kind.version, kind.kind)
}

/// The table as the schemas of these kinds say it.
pub fn written(kinds: &[Kind]) -> String {
    let mut types: std::collections::BTreeMap<String, String> = std::collections::BTreeMap::new();
    for kind in kinds {
        let schema = (kind.schema)().to_value();
        for (name, of) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
            if of.get("properties").is_some() {
                types.entry(short(name)).or_insert_with(|| lines(of, &schema));
            }
        }
        let title = schema.get("title").and_then(Value::as_str).unwrap_or(kind.kind);
        types.insert(format!("{} {}", short(title), kind_line(kind)), lines(&schema, &schema));
    }
    // A kind that is also a part of another is in the table once, as a kind.
    let parts: Vec<String> =
        types.keys().filter_map(|it| it.split_once(' ')).map(|(name, _)| name.to_owned()).collect();
    parts.iter().for_each(|it| drop(types.remove(it)));
    types.into_iter().fold(String::new(), |mut out, (head, lines)| {
        let _ = write!(out, "= {head}\n{lines}");
        out
    })
}

fn lines(schema: &Value, document: &Value) -> String {
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|it| it.iter().any(|it| it == name));
    let mut fields: Vec<_> = schema.get("properties").and_then(Value::as_object).into_iter().flatten().collect();
    fields.sort_unstable_by_key(|(name, _)| *name);
    fields.into_iter().fold(String::new(), |mut out, (name, of)| {
        let mark = if is_required(name) { "!" } else { "" };
        let _ = writeln!(out, "{name}{mark} {}", form(of, document));
        out
    })
}

fn form(schema: &Value, document: &Value) -> String {
    // A reference with a description of its own stands in `allOf`.
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    let kind = |of: &Value| of.get("type").and_then(Value::as_str).map(str::to_owned);
    if let Some(name) = reference.and_then(|it| it.rsplit('/').next()) {
        // What is not among the definitions is the document itself.
        let of = document.get("$defs").and_then(|it| it.get(name)).unwrap_or(document);
        return match (of.get("properties"), kind(of).as_deref()) {
            (Some(_), _) => short(name),
            (None, Some("object")) => "untyped".to_owned(),
            (None, _) => "any".to_owned(),
        };
    }
    if let Some(items) = schema.get("items") {
        return format!("[]{}", form(items, document));
    }
    if let Some(values) = schema.get("additionalProperties").filter(|it| it.is_object()) {
        return format!("{{}}{}", form(values, document));
    }
    let form = match kind(schema).as_deref() {
        Some("string") => "text",
        Some("integer" | "number") => "number",
        Some("boolean") => "bool",
        Some("object") => "untyped",
        _ => "any",
    };
    form.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    #[test]
    fn the_table_is_what_the_schemas_say() {
        let text = written(KINDS);
        let differs = text.lines().zip(TEXT.lines()).find(|(one, other)| one != other);
        assert!(text == TEXT, "write the table anew, as the head of this file says: {differs:?}");
    }

    #[test]
    fn every_type_that_is_named_is_there() {
        let table = Table::read();
        for line in table.types.values().flat_map(|it| it.fields()) {
            let of = line.form.trim_start_matches(['[', ']', '{', '}']);
            assert!(!of.contains('.') || table.entry(of).is_some(), "{of} is in no line");
        }
        for kind in KINDS {
            assert!(table.of_kind(kind).is_some(), "{kind:?}");
        }
    }
}
