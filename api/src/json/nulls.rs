//! What Go's `encoding/json` makes of a null in a map or a list: the zero value of what belongs there, where serde wants a value.
//!
//! In: a kind and a text that its decoder has refused. Out: the text with such nulls filled in, if there are any. A field that is null is left
//! alone by both. Manifests have such nulls where a template had nothing to say: `data: {KEY: }`. Runs only after a decoder has failed, and builds
//! the kind's schema for it.

use serde_json::{Value, json};

use super::types::resolved;
use crate::kind::Kind;

/// The text with the nulls of its maps and lists filled in; none where there is nothing to fill in.
pub fn filled(kind: &Kind, text: &[u8]) -> Option<Vec<u8>> {
    let mut value: Value = serde_json::from_slice(text).ok()?;
    let schema = (kind.schema)();
    let definitions = schema.as_value().get("$defs").unwrap_or(&Value::Null);
    fill(definitions, schema.as_value(), &mut value).then(|| serde_json::to_vec(&value).ok())?
}

/// Fills in what is below a value; whether there was anything.
fn fill(definitions: &Value, schema: &Value, value: &mut Value) -> bool {
    let (_, schema) = resolved(definitions, schema);
    let mut found = false;
    match value {
        Value::Object(fields) => {
            let properties = schema.get("properties");
            let values = schema.get("additionalProperties").filter(|it| it.is_object());
            for (field, value) in fields {
                found |= match (properties.and_then(|it| it.get(field)), values) {
                    (Some(of), _) => fill(definitions, of, value),
                    (None, Some(of)) => fill_entry(definitions, of, value),
                    (None, None) => false,
                };
            }
        }
        Value::Array(items) => {
            let of = schema.get("items").unwrap_or(&Value::Null);
            for item in items {
                found |= fill_entry(definitions, of, item);
            }
        }
        _ => {}
    }
    found
}

fn fill_entry(definitions: &Value, schema: &Value, value: &mut Value) -> bool {
    if !value.is_null() {
        return fill(definitions, schema, value);
    }
    *value = zero(definitions, schema);
    !value.is_null()
}

/// What Go has where nothing was said; null where nothing is known of what belongs there.
fn zero(definitions: &Value, schema: &Value) -> Value {
    let (name, schema) = resolved(definitions, schema);
    match name.rsplit('.').next().unwrap_or_default() {
        "Quantity" => return "0".into(),
        "IntOrString" => return 0.into(),
        "Time" | "MicroTime" => return Value::Null,
        _ => {}
    }
    match schema.get("type").and_then(Value::as_str).unwrap_or_default() {
        "string" => "".into(),
        "integer" | "number" => 0.into(),
        "boolean" => false.into(),
        "array" => json!([]),
        "object" => json!({}),
        _ => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    fn check(kind: &str, value: Value, expected: Value) {
        let kind = KINDS.iter().find(|it| it.kind == kind).unwrap();
        let text = filled(kind, value.to_string().as_bytes());
        let found = text.map_or(Value::Null, |it| serde_json::from_slice(&it).unwrap());
        assert_eq!(found, expected, "{value}");
    }

    #[test]
    fn nulls_are_what_they_are_in_go() {
        check("ConfigMap", json!({"data": {"a": null, "b": "c"}}), json!({"data": {"a": "", "b": "c"}}));
        check("Secret", json!({"data": {"a": null}}), json!({"data": {"a": ""}}));
        check("Pod", json!({"metadata": {"labels": {"a": null}}}), json!({"metadata": {"labels": {"a": ""}}}));
        check("Pod", json!({"spec": {"containers": [null]}}), json!({"spec": {"containers": [{}]}}));
        check(
            "Pod",
            json!({"spec": {"containers": [{"args": [null], "image": null, "resources": {"limits": {"cpu": null}}}]}}),
            json!({"spec": {"containers": [{"args": [""], "image": null, "resources": {"limits": {"cpu": "0"}}}]}}),
        );
        check(
            "Pod",
            json!({"spec": {"securityContext": {"supplementalGroups": [null]}}}),
            json!({"spec": {"securityContext": {"supplementalGroups": [0]}}}),
        );
        // A field that is null is no matter, nor is what nobody knows.
        check("Pod", json!({"metadata": {"labels": null}, "spec": {"containers": null}, "x": [null]}), Value::Null);
        check("ConfigMap", json!({"data": {"a": 1}}), Value::Null);
    }
}
