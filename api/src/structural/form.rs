//! Whether a schema uses only what Kubernetes allows in the schema of a custom resource, and its extensions rightly.
//!
//! In: the JSON of an `openAPIV3Schema`. Out: mistakes. Source: `pkg/apis/apiextensions/validation/validation.go`,
//! `ValidateCustomResourceDefinitionOpenAPISchema`; whether the schema is structural is judged in [`super::check`].

use std::collections::HashSet;

use serde_json::Value;

use super::format::Format;
use super::node::{Type, entries, is_set, list, text};
use crate::field::{Errors, Path};

/// What the place of a schema forbids.
#[derive(Clone, Default)]
struct Place {
    /// Why no default may stand here, where none may.
    no_defaults: Option<String>,
    /// Within `apiVersion`, `kind` or `metadata` of a resource.
    in_meta: bool,
}

/// The fields that a schema may have at its root where the status is a subresource, by Go's names.
const ROOT_FIELDS: &[&str] = &[
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
];

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];

/// Notes what the root of a schema may not have; `has_status` where the status is a subresource.
pub fn check_root(schema: &Value, has_status: bool, path: &Path, errors: &mut Errors) {
    if has_status {
        check_status_root(schema, path, errors);
    }
    if is_set(schema, "nullable") {
        errors.forbidden(path.child("nullable"), "nullable cannot be true at the root");
    }
}

fn check_status_root(schema: &Value, path: &Path, errors: &mut Errors) {
    for (key, value) in schema.as_object().into_iter().flatten() {
        let says_nothing = match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(text) => text.is_empty(),
            _ => false,
        };
        if says_nothing {
            continue;
        }
        if key == "type" {
            if value != "object" {
                let detail = "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
                errors.invalid(path.child("type"), value, detail);
                break;
            }
            continue;
        }
        let name = match key.strip_prefix("x-kubernetes-") {
            Some("preserve-unknown-fields") => "XPreserveUnknownFields".to_owned(),
            Some("validations") => "XValidations".to_owned(),
            _ => {
                let mut letters = key.chars();
                letters.next().map(|it| it.to_ascii_uppercase()).into_iter().chain(letters).collect()
            }
        };
        if !ROOT_FIELDS.contains(&name.as_str()) {
            let detail = format!(
                "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
                ROOT_FIELDS.join(" ")
            );
            errors.invalid(path.clone(), schema, detail);
            break;
        }
    }
}

/// Notes every keyword and extension that is not allowed.
pub fn check(schema: &Value, path: &Path, errors: &mut Errors) {
    walk(schema, path, &Place::default(), true, errors);
}

fn walk(schema: &Value, path: &Path, place: &Place, is_root: bool, errors: &mut Errors) {
    check_keywords(schema, path, place, errors);
    if is_set(schema, "uniqueItems") {
        errors.forbidden(
            path.child("uniqueItems"),
            "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
        );
    }
    if let Some(additional) = schema.get("additionalProperties").filter(|it| !it.is_null()) {
        let path = path.child("additionalProperties");
        if entries(schema, "properties").next().is_some() && *additional != Value::Bool(true) {
            errors.forbidden(path.clone(), "additionalProperties and properties are mutual exclusive");
        }
        if additional.is_object() {
            let mut place = place.clone();
            if place.in_meta {
                place.no_defaults = Some("inside additionalProperties applying to object metadata".to_owned());
            }
            walk(additional, &path, &place, false, errors);
        }
    }
    let is_resource = is_root || is_set(schema, "x-kubernetes-embedded-resource");
    for (name, of) in entries(schema, "properties") {
        let mut place = place.clone();
        if is_resource && matches!(name.as_str(), "metadata" | "kind" | "apiVersion") {
            place.in_meta = true;
            if is_root {
                place.no_defaults = Some(format!("in top-level {name}"));
            }
        }
        walk(of, &path.child("properties").key(name), &place, false, errors);
    }
    if let Some(of) = schema.get("not").filter(|it| it.is_object()) {
        walk(of, &path.child("not"), place, false, errors);
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        for (index, of) in list(schema, key).enumerate() {
            walk(of, &path.child(key).index(index), place, false, errors);
        }
    }
    for (name, of) in entries(schema, "definitions") {
        walk(of, &path.child("definitions").key(name), place, false, errors);
    }
    match schema.get("items") {
        Some(items @ Value::Object(_)) => walk(items, &path.child("items"), place, false, errors),
        Some(Value::Array(items)) => {
            for (index, of) in items.iter().enumerate() {
                walk(of, &path.child("items").index(index), place, false, errors);
            }
        }
        _ => {}
    }
    for (name, of) in entries(schema, "dependencies").filter(|(_, it)| it.is_object()) {
        walk(of, &path.child("dependencies").key(name), place, false, errors);
    }
    check_extensions(schema, path, errors);
    check_rules(schema, path, errors);
}

fn check_keywords(schema: &Value, path: &Path, place: &Place, errors: &mut Errors) {
    let kind = text(schema, "type");
    let is_set_at_all = |key: &str| schema.get(key).is_some_and(|it| !it.is_null());
    let is_filled = |key: &str| schema.get(key).and_then(Value::as_object).is_some_and(|it| !it.is_empty());
    // `null` has a message of its own, below.
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.not_supported(path.child("type"), kind, TYPES);
    }
    if let Some(reason) = &place.no_defaults
        && is_set_at_all("default")
    {
        errors.forbidden(path.child("default"), format!("must not be set {reason}"));
    }
    let forbidden = [
        ("id", !text(schema, "id").is_empty()),
        ("additionalItems", is_set_at_all("additionalItems")),
        ("patternProperties", is_filled("patternProperties")),
        ("definitions", is_filled("definitions")),
        ("dependencies", is_set_at_all("dependencies")),
        ("$ref", is_set_at_all("$ref")),
    ];
    for (key, _) in forbidden.into_iter().filter(|(_, is_used)| *is_used) {
        errors.forbidden(path.child(key), format!("{key} is not supported"));
    }
    if kind == "null" {
        errors.forbidden(path.child("type"), "type cannot be set to null, use nullable as an alternative");
    }
    if schema.get("items").and_then(Value::as_array).is_some_and(|it| !it.is_empty()) {
        errors.forbidden(path.child("items"), "items must be a schema object and not an array");
    }
    if place.in_meta && is_set(schema, "x-kubernetes-embedded-resource") {
        errors.forbidden(path.child("x-kubernetes-embedded-resource"), "must not be used inside of resource meta");
    }
}

fn check_extensions(schema: &Value, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    let extension = |key: &str| schema.get(key).and_then(Value::as_str);
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        errors.invalid(path.child("x-kubernetes-preserve-unknown-fields"), false, "must be true or undefined");
    }
    let mut wrong_type = |wanted: &str, detail: &str| {
        if kind.is_empty() {
            errors.required(path.child("type"), detail);
        } else if kind != wanted {
            errors.invalid(path.child("type"), kind, detail);
        }
    };
    let map_type = extension("x-kubernetes-map-type");
    if map_type.is_some() {
        wrong_type("object", "must be object if x-kubernetes-map-type is specified");
    }
    let list_type = extension("x-kubernetes-list-type");
    if list_type.is_some() && kind != "array" {
        wrong_type("array", "must be array if x-kubernetes-list-type is specified");
    }
    if let Some(other) = map_type.filter(|it| !matches!(*it, "atomic" | "granular")) {
        errors.not_supported(path.child("x-kubernetes-map-type"), other, &["atomic", "granular"]);
    }
    let items = schema.get("items").filter(|it| it.is_object());
    if let Some(items) = items.filter(|_| kind == "array" && list_type == Some("set")) {
        check_set_items(items, &path.child("items"), errors);
    }
    if let Some(other) = list_type.filter(|it| !matches!(*it, "atomic" | "set" | "map")) {
        errors.not_supported(path.child("x-kubernetes-list-type"), other, &["atomic", "set", "map"]);
    }
    let keys: Vec<&str> = list(schema, "x-kubernetes-list-map-keys").filter_map(Value::as_str).collect();
    if !keys.is_empty() && list_type != Some("map") {
        const DETAIL: &str = "must be map if x-kubernetes-list-map-keys is non-empty";
        let path = path.child("x-kubernetes-list-type");
        match list_type {
            None => errors.required(path, DETAIL),
            Some(other) => errors.invalid(path, other, DETAIL),
        }
    }
    if list_type == Some("map") {
        check_map(schema, &keys, path, errors);
    }
    if let (Some(list_type @ ("set" | "map")), Some(items)) = (list_type, items) {
        check_keys(items, list_type, &keys, &path.child("items"), errors);
    }
}

/// The elements of a set are compared as a whole, so that they have to be changed as a whole.
fn check_set_items(items: &Value, path: &Path, errors: &mut Errors) {
    const DETAIL: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let list_type = items.get("x-kubernetes-list-type").filter(|it| !it.is_null());
    match text(items, "type") {
        "array" if list_type.is_some_and(|it| it != "atomic") => {
            errors.invalid(path.child("x-kubernetes-list-type"), list_type, DETAIL);
        }
        "object" if text(items, "x-kubernetes-map-type") != "atomic" => {
            // Kubernetes shows the list type here, too.
            errors.invalid(path.child("x-kubernetes-map-type"), list_type, DETAIL);
        }
        _ => {}
    }
}

fn check_map(schema: &Value, keys: &[&str], path: &Path, errors: &mut Errors) {
    let path_of_items = path.child("items");
    let path_of_keys = path.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.required(path_of_keys.clone(), "must not be empty if x-kubernetes-list-type is map");
    }
    let items = match schema.get("items") {
        None | Some(Value::Null) => {
            errors.required(path_of_items, "must have a schema if x-kubernetes-list-type is map");
            return;
        }
        Some(items @ Value::Array(_)) => {
            errors.invalid(path_of_items, items, "must only have a single schema if x-kubernetes-list-type is map");
            return;
        }
        Some(items) => items,
    };
    let kind = text(items, "type");
    if kind != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.invalid(path_of_items.child("type"), kind, detail);
        return;
    }
    let mut seen = HashSet::new();
    for key in keys {
        match items.get("properties").and_then(|it| it.get(*key)) {
            Some(of) if matches!(text(of, "type"), "array" | "object") => {
                let path = path_of_items.child("properties").key(key).child("type");
                // Kubernetes shows the type of the element, not that of the key.
                errors.invalid(path, kind, "must be a scalar type if parent array's x-kubernetes-list-type is map");
            }
            Some(_) => {}
            None => errors.invalid(path_of_keys.clone(), keys, "entries must all be names of item properties"),
        }
        if !seen.insert(key) {
            errors.invalid(path_of_keys.clone(), keys, "must not contain duplicate entries");
        }
    }
}

/// Elements and keys have to be there, so that elements can be told apart.
fn check_keys(items: &Value, list_type: &str, keys: &[&str], path: &Path, errors: &mut Errors) {
    if is_set(items, "nullable") {
        errors.forbidden(
            path.child("nullable"),
            format!("cannot be nullable when x-kubernetes-list-type is {list_type}"),
        );
    }
    if list_type != "map" {
        return;
    }
    for key in keys {
        let Some(of) = items.get("properties").and_then(|it| it.get(*key)) else { continue };
        let path = path.child("properties").key(key);
        let is_required = list(items, "required").any(|it| it == key);
        if !is_required && of.get("default").is_none_or(Value::is_null) {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.required(path.child("default"), detail);
        }
        if is_set(of, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.forbidden(path.child("nullable"), detail);
        }
    }
}

/// Notes formats that mean nothing, each once.
pub fn note_formats(schema: &Value, out: &mut Vec<String>) {
    let format = text(schema, "format");
    if !format.is_empty() && Format::find(Type::of(schema), format).is_none() {
        let warning = format!("unrecognized format {format:?}");
        if !out.contains(&warning) {
            out.push(warning);
        }
    }
    for key in ["properties", "definitions"] {
        entries(schema, key).for_each(|(_, of)| note_formats(of, out));
    }
    for key in ["allOf", "oneOf", "anyOf"] {
        list(schema, key).for_each(|of| note_formats(of, out));
    }
    for key in ["items", "additionalProperties", "not"] {
        if let Some(of) = schema.get(key).filter(|it| it.is_object()) {
            note_formats(of, out);
        }
    }
}

/// The reasons that a rule may give for a refusal, in order.
const REASONS: &[&str] = &["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];

fn has_newlines(text: &str) -> bool {
    text.contains(['\n', '\r'])
}

fn check_rules(schema: &Value, path: &Path, errors: &mut Errors) {
    for (index, rule) in list(schema, "x-kubernetes-validations").enumerate() {
        let path = path.child("x-kubernetes-validations").index(index);
        let (expression, message) = (text(rule, "rule").trim(), text(rule, "message"));
        if expression.is_empty() {
            errors.required(path.child("rule"), "rule is not specified");
        } else if !message.is_empty() && message.trim().is_empty() {
            errors.invalid(path.child("message"), message, "message must be non-empty if specified");
        } else if has_newlines(message.trim()) {
            errors.invalid(path.child("message"), message, "message must not contain line breaks");
        } else if has_newlines(expression) && message.is_empty() {
            errors.required(path.child("message"), "message must be specified if rule contains line breaks");
        }
        let of_message = text(rule, "messageExpression");
        if !of_message.is_empty() && of_message.trim().is_empty() {
            errors.required(path.child("messageExpression"), "messageExpression must be non-empty if specified");
        }
        if let Some(reason) = rule.get("reason").and_then(Value::as_str)
            && !REASONS.contains(&reason)
        {
            errors.not_supported(path.child("reason"), reason, REASONS);
        }
        let field = text(rule, "fieldPath");
        let path = path.child("fieldPath");
        if !field.is_empty() && field.trim().is_empty() {
            errors.invalid(path.clone(), field, "fieldPath must be non-empty if specified");
        }
        if has_newlines(field) {
            errors.invalid(path.clone(), field, "fieldPath must not contain line breaks");
        }
        if !field.is_empty() && super::field_path::find(schema, field).is_err() {
            errors.invalid(path, field, "fieldPath must be a valid path");
        }
    }
}
