//! The printer columns of custom resources: what a JSONPath finds, shown as the column's type says.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/registry/customresource/tableconvertor`.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::json_path::JsonPath;
use crate::structural::format::Format;
use crate::structural::judge::go_float;
use crate::table::Cell;

/// One entry of `additionalPrinterColumns`.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: Box<str>,
    /// `string`, `integer`, `number`, `boolean` or `date`.
    pub of: Box<str>,
    pub format: Box<str>,
    pub description: Box<str>,
    pub priority: i32,
    /// None for a path that cannot be read, which validation excludes.
    pub path: Option<JsonPath>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    name: String,
    #[serde(rename = "type")]
    of: String,
    #[serde(default)]
    format: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    priority: i32,
    json_path: String,
}

impl<'de> Deserialize<'de> for Column {
    fn deserialize<D: serde::Deserializer<'de>>(decoder: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(decoder)?;
        let description = match raw.description.is_empty() {
            true => format!("Custom resource definition column (in JSONPath format): {}", raw.json_path),
            false => raw.description,
        };
        Ok(Column {
            path: JsonPath::parse(&raw.json_path).ok(),
            name: raw.name.into(),
            of: raw.of.into(),
            format: raw.format.into(),
            description: description.into(),
            priority: raw.priority,
        })
    }
}

impl Column {
    /// The columns of a version that names none: the age.
    pub fn age() -> Column {
        const DESCRIPTION: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
        Column {
            name: "Age".into(),
            of: "date".into(),
            format: "".into(),
            description: DESCRIPTION.into(),
            priority: 0,
            path: JsonPath::parse(".metadata.creationTimestamp").ok(),
        }
    }

    /// The column's cell in an object's row.
    pub fn cell(&self, object: &Value) -> Cell {
        let Some(value) = self.path.as_ref().and_then(|it| it.first(object)) else { return Cell::Empty };
        match (&*self.of, value) {
            ("string", value) => Cell::Text(printed(value)),
            ("integer", Value::Number(number)) => {
                let whole = number.as_i64().or_else(|| number.as_f64().map(|it| it as i64));
                whole.map_or(Cell::Empty, Cell::Number)
            }
            ("number", Value::Number(number)) => number.as_f64().map_or(Cell::Empty, Cell::Fraction),
            ("boolean", Value::Bool(flag)) => Cell::Flag(*flag),
            ("date", Value::String(text)) if matches!(&**text, "" | "null") => Cell::Since(None),
            ("date", Value::String(text)) => match text.parse::<Timestamp>() {
                // What is read here takes more forms of a time than Go does.
                Ok(then) if Format::DateTime.is_met(text) => Cell::Since(Some(then)),
                _ => Cell::Text("<invalid>".to_owned()),
            },
            _ => Cell::Empty,
        }
    }
}

/// A value as a template of Go prints it: lists and objects as JSON.
fn printed(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if !number.is_i64() => go_float(number.as_f64().unwrap_or_default()),
        Value::Array(_) | Value::Object(_) => {
            let mut text = String::new();
            encode(value, &mut text);
            text
        }
        other => other.to_string(),
    }
}

/// JSON as Go encodes it, in which nothing looks like a tag and no whole number has a fraction.
fn encode(value: &Value, out: &mut String) {
    let mut all = |brackets: [char; 2], entries: &mut dyn Iterator<Item = (Option<&String>, &Value)>| {
        out.push(brackets[0]);
        for (at, (key, value)) in entries.enumerate() {
            if at > 0 {
                out.push(',');
            }
            if let Some(key) = key {
                encode_text(key, out);
                out.push(':');
            }
            encode(value, out);
        }
        out.push(brackets[1]);
    };
    match value {
        Value::Array(list) => all(['[', ']'], &mut list.iter().map(|it| (None, it))),
        Value::Object(fields) => all(['{', '}'], &mut fields.iter().map(|(key, it)| (Some(key), it))),
        Value::String(text) => encode_text(text, out),
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            out.push_str(text.strip_suffix(".0").unwrap_or(&text));
        }
        other => out.push_str(&other.to_string()),
    }
}

fn encode_text(text: &str, out: &mut String) {
    for letter in Value::from(text).to_string().chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(of: &str, value: Value, expected: Cell) {
        let column: Column = serde_json::from_value(json!({"name": "X", "type": of, "jsonPath": ".x"})).unwrap();
        assert_eq!(column.cell(&json!({ "x": value })), expected, "{of}");
        assert_eq!(&*column.description, "Custom resource definition column (in JSONPath format): .x");
    }

    #[test]
    fn cells_are_of_their_columns_type() {
        check("string", json!("a"), Cell::Text("a".into()));
        check("string", json!(["a"]), Cell::Text("[\"a\"]".into()));
        check(
            "string",
            json!({"b": [1.0, 1.5, null], "a": "<&>"}),
            Cell::Text(r#"{"a":"\u003c\u0026\u003e","b":[1,1.5,null]}"#.into()),
        );
        check("string", json!(null), Cell::Text("<no value>".into()));
        check("string", json!(true), Cell::Text("true".into()));
        check("string", json!(7), Cell::Text("7".into()));
        check("string", json!(1.0), Cell::Text("1".into()));
        check("string", json!(1234567.5), Cell::Text("1.2345675e+06".into()));
        check("integer", json!(null), Cell::Empty);
        check("integer", json!(3.7), Cell::Number(3));
        check("integer", json!("3"), Cell::Empty);
        check("number", json!(3), Cell::Fraction(3.0));
        check("boolean", json!(true), Cell::Flag(true));
        check("date", json!("1970-01-01T00:00:00Z"), Cell::Since(Some(Timestamp::UNIX_EPOCH)));
        check("date", json!(""), Cell::Since(None));
        check("date", json!("1970-01-01T00:00Z"), Cell::Text("<invalid>".into()));
        check("date", json!("yesterday"), Cell::Text("<invalid>".into()));
        let column: Column = serde_json::from_value(json!({"name": "X", "type": "string", "jsonPath": ".y"})).unwrap();
        assert_eq!(column.cell(&json!({"x": 1})), Cell::Empty);
    }
}
