//! What is wrong with a JSON value that does not fit a kind's type, in the words of Go's `encoding/json`.
//!
//! In: a kind and a value that its decoder has refused. Out: `json: cannot unmarshal string into Go struct field
//! DeploymentSpec.spec.replicas of type int32`: the first field that does not fit, in the order of the text as far as that is known. Runs only
//! after a decoder has failed, and builds the kind's schema for it. Custom decoders (quantities, times, base64) have words of their own.

use serde_json::Value;

use crate::kind::Kind;
use crate::quantity::Quantity;

/// The complaint about a value, if it is the type that is wrong.
pub fn complaint(kind: &Kind, value: &Value) -> Option<String> {
    let schema = (kind.schema)();
    let walk = Walk { definitions: schema.as_value().get("$defs").unwrap_or(&Value::Null) };
    walk.value(schema.as_value(), value, &Place { structure: kind.kind, path: "" }).err()
}

/// Where a value stands: in which struct (its Go name), and at the end of which fields.
struct Place<'a> {
    structure: &'a str,
    path: &'a str,
}

struct Walk<'a> {
    definitions: &'a Value,
}

type Walked = Result<(), String>;

/// The schema that a schema refers to, with its full name.
pub(super) fn resolved<'s>(definitions: &'s Value, schema: &'s Value) -> (&'s str, &'s Value) {
    let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
    match reference.and_then(|it| it.rsplit('/').next()) {
        Some(name) => (name, definitions.get(name).unwrap_or(&Value::Null)),
        None => (schema.get("title").and_then(Value::as_str).unwrap_or_default(), schema),
    }
}

impl Walk<'_> {
    fn value(&self, schema: &Value, value: &Value, place: &Place<'_>) -> Walked {
        // Go leaves a field alone that is null.
        if value.is_null() {
            return Ok(());
        }
        let (name, schema) = resolved(self.definitions, schema);
        match name.rsplit('.').next().unwrap_or_default() {
            "Quantity" => return quantity(value),
            "IntOrString" => return int_or_string(value),
            "Time" | "MicroTime" => return time(value, name.ends_with("MicroTime")),
            _ => {}
        }
        let kind = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        match (kind, value) {
            ("object", Value::Object(fields)) => {
                let properties = schema.get("properties");
                let values = schema.get("additionalProperties").filter(|it| it.is_object());
                let structure = go_name(name);
                for (field, value) in fields {
                    let path = if place.path.is_empty() { field.clone() } else { format!("{}.{field}", place.path) };
                    match (properties.and_then(|it| it.get(field)), values) {
                        (Some(of), _) => {
                            let structure = if structure.is_empty() { place.structure } else { structure };
                            self.value(of, value, &Place { structure, path: &path })?;
                        }
                        // The keys of a map are no fields: its values stand where it stands.
                        (None, Some(of)) => self.value(of, value, place)?,
                        (None, None) => {}
                    }
                }
                Ok(())
            }
            ("array", Value::Array(items)) => {
                let of = schema.get("items").unwrap_or(&Value::Null);
                items.iter().try_for_each(|it| self.value(of, it, place))
            }
            ("string", Value::String(text)) => match schema.get("format").and_then(Value::as_str) {
                Some("byte") => base64(text),
                _ => Ok(()),
            },
            ("boolean", Value::Bool(_)) => Ok(()),
            ("integer", Value::Number(number)) => {
                let fits = match schema.get("format").and_then(Value::as_str) {
                    Some("int32") => number.as_i64().is_some_and(|it| i32::try_from(it).is_ok()),
                    _ => number.is_i64(),
                };
                if fits { Ok(()) } else { self.unfit(&format!("number {number}"), name, schema, place) }
            }
            ("number", Value::Number(_)) => Ok(()),
            // Nothing is said of what it must be.
            ("", _) => Ok(()),
            _ => self.unfit(word(value), name, schema, place),
        }
    }

    fn unfit(&self, what: &str, name: &str, schema: &Value, place: &Place<'_>) -> Walked {
        let of = self.go_type(name, schema);
        Err(match place.path {
            "" => format!("json: cannot unmarshal {what} into Go value of type {of}"),
            path => {
                format!("json: cannot unmarshal {what} into Go struct field {}.{path} of type {of}", place.structure)
            }
        })
    }

    /// A type as Go writes it: `[]v1.Container`, `map[string]string`.
    fn go_type(&self, name: &str, schema: &Value) -> String {
        let inner = |of: &Value| {
            let (name, schema) = resolved(self.definitions, of);
            self.go_type(name, schema)
        };
        match schema.get("type").and_then(Value::as_str).unwrap_or_default() {
            "array" => format!("[]{}", inner(schema.get("items").unwrap_or(&Value::Null))),
            "object" => match schema.get("additionalProperties").filter(|it| it.is_object()) {
                Some(of) if schema.get("properties").is_none() => format!("map[string]{}", inner(of)),
                _ => {
                    let mut segments = name.rsplit('.');
                    let kind = segments.next().unwrap_or_default();
                    format!("{}.{kind}", segments.next().unwrap_or("v1"))
                }
            },
            "integer" => schema.get("format").and_then(Value::as_str).unwrap_or("int64").to_owned(),
            "boolean" => "bool".to_owned(),
            "number" => "float64".to_owned(),
            _ if schema.get("format").and_then(Value::as_str) == Some("byte") => "[]uint8".to_owned(),
            _ => "string".to_owned(),
        }
    }
}

/// The last part of a schema's name, which is the struct's.
fn go_name(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// What a value is, in Go's words.
fn word(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
    }
}

fn quantity(value: &Value) -> Walked {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if Quantity::parse(&text).is_ok() {
        return Ok(());
    }
    Err("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'".to_owned())
}

fn int_or_string(value: &Value) -> Walked {
    match value {
        Value::String(_) => Ok(()),
        Value::Number(number) if number.as_i64().is_some_and(|it| i32::try_from(it).is_ok()) => Ok(()),
        Value::Number(number) => Err(format!("json: cannot unmarshal number {number} into Go value of type int32")),
        other => Err(format!("json: cannot unmarshal {} into Go value of type int32", word(other))),
    }
}

fn time(value: &Value, micro: bool) -> Walked {
    let Value::String(text) = value else {
        return Err(format!("json: cannot unmarshal {} into Go value of type string", word(value)));
    };
    if text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(());
    }
    let layout = if micro { "2006-01-02T15:04:05.000000Z07:00" } else { "2006-01-02T15:04:05Z07:00" };
    // Go names the part of the layout at which it stopped; mostly, that is where the year should be.
    Err(format!("parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""))
}

fn base64(text: &str) -> Walked {
    use ::base64::DecodeError;
    use ::base64::engine::{Engine, general_purpose::STANDARD};
    let at = match STANDARD.decode(text) {
        Ok(_) => return Ok(()),
        Err(DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _)) => at,
        // Go points behind the last whole group of four.
        Err(DecodeError::InvalidLength(length)) => length / 4 * 4,
        Err(DecodeError::InvalidPadding) => text.len(),
    };
    Err(format!("illegal base64 data at input byte {at}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use serde_json::json;

    fn check(kind: &str, value: Value, expected: Option<&str>) {
        let kind = KINDS.iter().find(|it| it.kind == kind).unwrap();
        assert_eq!(complaint(kind, &value).as_deref(), expected, "{value}");
    }

    #[test]
    fn complains_as_go_does() {
        let unfit = |text: &str| Some(format!("json: cannot unmarshal {text}"));
        for (kind, value, expected) in [
            (
                "Deployment",
                json!({"spec": {"replicas": "3"}}),
                "string into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "Deployment",
                json!({"spec": {"replicas": 1.5}}),
                "number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "Deployment",
                json!({"spec": {"replicas": 4294967296_i64}}),
                "number 4294967296 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            ("Deployment", json!({"spec": []}), "array into Go struct field Deployment.spec of type v1.DeploymentSpec"),
            (
                "Pod",
                json!({"metadata": {"labels": {"a": 1}}}),
                "number into Go struct field ObjectMeta.metadata.labels of type string",
            ),
            (
                "Pod",
                json!({"metadata": {"labels": "x"}}),
                "string into Go struct field ObjectMeta.metadata.labels of type map[string]string",
            ),
            (
                "Pod",
                json!({"spec": {"containers": {}}}),
                "object into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                "Pod",
                json!({"spec": {"containers": [{"env": [{"name": "A", "value": true}]}]}}),
                "bool into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
            (
                "Pod",
                json!({"spec": {"hostNetwork": "yes"}}),
                "string into Go struct field PodSpec.spec.hostNetwork of type bool",
            ),
            ("Pod", json!([]), "array into Go value of type v1.Pod"),
            ("Service", json!({"spec": {"ports": [{"targetPort": {}}]}}), "object into Go value of type int32"),
        ] {
            check(kind, value, unfit(expected).as_deref());
        }
        check(
            "Pod",
            json!({"spec": {"containers": [{"resources": {"limits": {"cpu": "lots"}}}]}}),
            Some("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
        );
        check("Secret", json!({"data": {"a": "a?=="}}), Some("illegal base64 data at input byte 1"));
        check("Pod", json!({"spec": {"containers": [{"name": "a", "image": null}]}, "x": 1}), None);
    }
}
