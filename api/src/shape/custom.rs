//! The shape of custom resources: how the schema of a CustomResourceDefinition says that its objects are merged.
//!
//! In: the JSON of an `openAPIV3Schema`. Out: a graph of types like that of the built-in kinds. Source: `x-kubernetes-list-type`,
//! `x-kubernetes-list-map-keys`, `x-kubernetes-map-type`, `x-kubernetes-preserve-unknown-fields`, `x-kubernetes-int-or-string` and
//! `x-kubernetes-embedded-resource`, read as `k8s.io/apimachinery/pkg/util/managedfields` reads them. A schema has been checked before it
//! comes here: what it says wrongly is left out.

use std::sync::Arc;

use serde_json::Value;

use super::table::Table;
use super::{Elements, Field, Key, Scalar, Shape, Shapes, Type, Types, UNTYPED};

/// The type of `metadata`, the same in every kind.
const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// The shape of a version's objects; without a schema, any object with metadata.
pub fn shapes(schema: Option<&Value>) -> Shapes {
    let mut types = Types::default();
    let empty = Value::Object(serde_json::Map::new());
    let root = resource(&mut types, schema.unwrap_or(&empty), schema.is_none());
    Shapes { types: Arc::new(types), root }
}

/// An object with `apiVersion`, `kind` and `metadata`, whatever its schema says of them.
fn resource(types: &mut Types, schema: &Value, open: bool) -> Field {
    let mut fields = declared(types, schema);
    fields.retain(|(name, _)| !matches!(&**name, "apiVersion" | "kind" | "metadata"));
    let metadata = Field::merged(Shape::Object(types.add(&Table::read(), METADATA)));
    for name in ["apiVersion", "kind"] {
        fields.push((name.into(), Field::leaf(Shape::Scalar(Scalar::Text))));
    }
    fields.push(("metadata".into(), metadata));
    object(types, fields, open || is(schema, "x-kubernetes-preserve-unknown-fields"))
}

fn object(types: &mut Types, mut fields: Vec<(Box<str>, Field)>, open: bool) -> Field {
    fields.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
    let id = types.push(Type { fields: fields.into(), required: Box::default(), open });
    Field::merged(Shape::Object(id))
}

fn declared(types: &mut Types, schema: &Value) -> Vec<(Box<str>, Field)> {
    let fields = schema.get("properties").and_then(Value::as_object);
    fields.into_iter().flatten().map(|(name, of)| (name.as_str().into(), field(types, of))).collect()
}

fn field(types: &mut Types, schema: &Value) -> Field {
    let whole = |field: Field, schema: &Value| {
        let atomic = text(schema, "x-kubernetes-map-type") == "atomic";
        Field { leaf: field.leaf || atomic, ..field }
    };
    let open = is(schema, "x-kubernetes-preserve-unknown-fields");
    if is(schema, "x-kubernetes-int-or-string") {
        return Field::leaf(Shape::Scalar(Scalar::Any));
    }
    if is(schema, "x-kubernetes-embedded-resource") {
        return whole(resource(types, schema, open), schema);
    }
    match text(schema, "type") {
        "array" => list(types, schema),
        "object" => {
            let values = schema.get("additionalProperties").filter(|it| it.is_object());
            if let Some(values) = values {
                let element = field(types, values);
                let shape = Shape::Map(types.push_element(element));
                return whole(Field::merged(shape), schema);
            }
            let fields = declared(types, schema);
            if fields.is_empty() && (open || schema.get("additionalProperties") == Some(&Value::Bool(true))) {
                return whole(UNTYPED.clone(), schema);
            }
            whole(object(types, fields, open), schema)
        }
        "string" => Field::leaf(Shape::Scalar(Scalar::Text)),
        "integer" | "number" => Field::leaf(Shape::Scalar(Scalar::Number)),
        "boolean" => Field::leaf(Shape::Scalar(Scalar::Boolean)),
        _ => UNTYPED.clone(),
    }
}

fn list(types: &mut Types, schema: &Value) -> Field {
    let empty = Value::Null;
    let items = schema.get("items").unwrap_or(&empty);
    let element = field(types, items);
    let shape = Shape::List(types.push_element(element));
    let elements = match text(schema, "x-kubernetes-list-type") {
        "set" => Elements::Set,
        "map" => {
            let names = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten();
            let mut keys: Vec<Key> = names
                .filter_map(Value::as_str)
                .map(|name| {
                    let default = items.pointer(&format!("/properties/{name}/default")).cloned();
                    Key { name: name.into(), default }
                })
                .collect();
            keys.sort_by(|one, other| one.name.cmp(&other.name));
            Elements::Keyed(keys.into())
        }
        _ => return Field::leaf(shape),
    };
    Field { elements, ..Field::merged(shape) }
}

fn is(schema: &Value, extension: &str) -> bool {
    schema.get(extension) == Some(&Value::Bool(true))
}

fn text<'a>(schema: &'a Value, field: &str) -> &'a str {
    schema.get(field).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_schema_says_how_its_objects_are_merged() {
        let schema = json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {
                "ports": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["protocol", "port"],
                    "items": {"type": "object", "properties": {"port": {"type": "integer"}, "protocol": {"type": "string", "default": "TCP"}}}},
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "plain": {"type": "array", "items": {"type": "string"}},
                "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": {"type": "string"}},
                "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "either": {"x-kubernetes-int-or-string": true},
            }},
        }});
        let Shapes { types, root } = shapes(Some(&schema));
        let spec = types.child(root.shape, "spec").unwrap().shape;
        let of = |name: &str| types.child(spec, name).unwrap();
        let Elements::Keyed(keys) = &of("ports").elements else { panic!("ports have keys") };
        assert_eq!((&*keys[0].name, &keys[1].default), ("port", &Some(json!("TCP"))));
        assert_eq!(of("tags").elements, Elements::Set);
        assert!(of("plain").leaf && of("whole").leaf && of("either").leaf && !of("free").leaf);
        assert_eq!(types.child(of("free").shape, "anything"), Some(&UNTYPED));
        assert!(types.child(spec, "unknown").is_none() && types.child(root.shape, "status").is_none());
        let labels = types.child(types.child(root.shape, "metadata").unwrap().shape, "labels").unwrap();
        assert!(matches!(labels.shape, Shape::Map(_)));
        let Shapes { types, root } = shapes(None);
        assert_eq!(types.child(root.shape, "spec"), Some(&UNTYPED));
    }
}
