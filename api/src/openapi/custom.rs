//! The schemas of custom kinds: what a definition says, with the fields that every object has.
//!
//! In: the text of a version's schema. Out: the same in the form of either OpenAPI version. Source:
//! `k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder`.

use serde_json::{Map, Value, json};

use super::schema::{Form, META, plain_reference};
use crate::kind::Kind;

const API_VERSION: &str = "APIVersion defines the versioned schema of this representation of an object. Servers should convert recognized schemas to the latest internal value, and may reject unrecognized values. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA: &str = "Standard object's metadata. More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// What version 2 cannot say.
const NOT_IN_V2: [&str; 5] = ["oneOf", "anyOf", "allOf", "not", "nullable"];

/// The name of a custom kind's schema: the group the other way round, version and kind.
pub fn name_of(kind: &Kind) -> String {
    let mut parts: Vec<&str> = kind.group.split('.').rev().collect();
    parts.extend([kind.version, kind.kind]);
    parts.join(".")
}

/// The schema of a custom kind.
pub fn schema_of(kind: &Kind, form: Form) -> Value {
    let now = kind.custom.map(|it| it.now());
    let text = now.as_ref().and_then(|it| it.version().schema.as_ref());
    let mut schema: Value = text.and_then(|it| serde_json::from_slice(it).ok()).unwrap_or_else(|| json!({}));
    let preserves = now.as_ref().is_some_and(|it| it.definition.preserve_unknown_fields)
        || schema["x-kubernetes-preserve-unknown-fields"] == true;
    if form == Form::V2 {
        reduce(&mut schema);
        if preserves {
            // Clients of version 2 would refuse the fields that are not named.
            schema = json!({"x-kubernetes-preserve-unknown-fields": true});
        }
    }
    embedded(&mut schema, form);
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("type".to_owned(), "object".into());
        let properties = fields.entry("properties").or_insert_with(|| json!({}));
        add_identity(properties, form);
    }
    schema
}

/// The fields that every object has.
fn add_identity(properties: &mut Value, form: Form) {
    if !properties.is_object() {
        *properties = Value::Object(Map::new());
    }
    let mut metadata = plain_reference(&format!("{META}ObjectMeta"), form);
    metadata["description"] = METADATA.into();
    properties["apiVersion"] = json!({"type": "string", "description": API_VERSION});
    properties["kind"] = json!({"type": "string", "description": KIND});
    properties["metadata"] = metadata;
}

/// Gives embedded resources the fields that every object has.
fn embedded(schema: &mut Value, form: Form) {
    each_below(schema, &mut |it| embedded(it, form));
    if schema["x-kubernetes-embedded-resource"] == true {
        let preserves = form == Form::V2 && schema["x-kubernetes-preserve-unknown-fields"] == true;
        if let (false, Some(fields)) = (preserves, schema.as_object_mut()) {
            add_identity(fields.entry("properties").or_insert_with(|| json!({})), form);
        }
    }
}

/// Takes away what version 2 cannot say; where a value may be anything, nothing is said of it.
fn reduce(schema: &mut Value) {
    let Some(fields) = schema.as_object_mut() else { return };
    let nullable = fields.get("nullable") == Some(&Value::Bool(true));
    let either = fields.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true));
    let anything = fields.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    for name in NOT_IN_V2 {
        fields.remove(name);
    }
    if nullable || either || anything {
        for name in ["type", "items", "properties", "additionalProperties"] {
            fields.remove(name);
        }
    }
    if nullable {
        fields.remove("enum");
    }
    each_below(schema, &mut reduce);
}

/// Visits the schemas directly below one.
fn each_below(schema: &mut Value, visit: &mut dyn FnMut(&mut Value)) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(&mut *visit);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below) = schema.get_mut(name).filter(|it| it.is_object()) {
            visit(below);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_two_says_less() {
        let mut schema = json!({"type": "object", "properties": {
            "a": {"type": "string", "nullable": true, "enum": ["x", null]},
            "b": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            "c": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"d": {"type": "string"}}},
            "e": {"type": "array", "items": {"type": "string", "not": {"enum": ["y"]}}},
        }});
        reduce(&mut schema);
        assert_eq!(
            schema["properties"],
            json!({
                "a": {}, "b": {"x-kubernetes-int-or-string": true}, "c": {"x-kubernetes-preserve-unknown-fields": true},
                "e": {"type": "array", "items": {"type": "string"}},
            })
        );
    }
}
