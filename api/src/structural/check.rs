//! Whether a schema is structural (KEP-1693).
//!
//! In: the JSON of an `openAPIV3Schema`. Out: mistakes, in the order of their texts. Source: `apiserver/schema/validation.go`: every field
//! that is judged has a type outside of `allOf`, `anyOf`, `oneOf` and `not`, and these say nothing about the object's form.

use serde_json::Value;

use super::node::{entries, is_set, list, text};
use super::pattern;
use crate::field::{Errors, Path};

/// Where a schema stands, which its complaints about a missing type tell.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Notes where a schema is not structural.
pub fn check(schema: &Value, path: &Path) -> Errors {
    let mut errors = Errors::default();
    check_form(schema, Level::Root, path, &mut errors);
    check_covered(schema, path, &mut errors);
    errors.sort();
    errors
}

fn check_form(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let kind = text(schema, "type");
    let items = schema.get("items").filter(|it| it.is_object());
    if kind == "array" && items.is_none() {
        errors.required(path.child("items"), "must be specified");
    }
    if let Some(items) = items {
        check_form(items, Level::Item, &path.child("items"), errors);
    }
    for (name, of) in entries(schema, "properties") {
        check_form(of, Level::Field, &path.child("properties").key(name), errors);
    }
    let additional = schema.get("additionalProperties").filter(|it| !it.is_null());
    if let Some(additional) = additional {
        if level == Level::Root {
            errors.forbidden(path.child("additionalProperties"), "must not be used at the root");
        }
        if additional.is_object() {
            check_form(additional, Level::Field, &path.child("additionalProperties"), errors);
        }
    }
    let embedded = is_set(schema, "x-kubernetes-embedded-resource");
    let preserves = is_set(schema, "x-kubernetes-preserve-unknown-fields");
    let int_or_string = is_set(schema, "x-kubernetes-int-or-string");
    if int_or_string && preserves {
        let path = path.child("x-kubernetes-preserve-unknown-fields");
        errors.invalid(path, true, "must be false if x-kubernetes-int-or-string is true");
    }
    if int_or_string && embedded {
        let path = path.child("x-kubernetes-embedded-resource");
        errors.invalid(path, true, "must be false if x-kubernetes-int-or-string is true");
    }
    let skip_any_of = is_int_or_string_choice(schema);
    let skip_all_of = list(schema, "allOf").next().is_some_and(is_int_or_string_choice);
    check_values(schema, skip_any_of, skip_all_of, path, errors);
    check_type(schema, kind, level, path, errors);
    if embedded && additional.is_some() {
        errors
            .forbidden(path.child("additionalProperties"), "must not be used if x-kubernetes-embedded-resource is set");
    }
    check_metadata(schema, level, path, errors);
    if embedded && !preserves && entries(schema, "properties").next().is_none() {
        errors.required(
            path.child("properties"),
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
        );
    }
}

fn check_type(schema: &Value, kind: &str, level: Level, path: &Path, errors: &mut Errors) {
    let path = path.child("type");
    let open = is_set(schema, "x-kubernetes-int-or-string") || is_set(schema, "x-kubernetes-preserve-unknown-fields");
    if is_set(schema, "x-kubernetes-embedded-resource") && kind != "object" {
        const DETAIL: &str = "must be object if x-kubernetes-embedded-resource is true";
        if kind.is_empty() {
            errors.required(path.clone(), DETAIL);
        } else {
            errors.invalid(path.clone(), kind, DETAIL);
        }
    } else if kind.is_empty() && !open {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.required(path.clone(), detail);
    }
    if level == Level::Root && !kind.is_empty() && kind != "object" {
        errors.invalid(path, kind, "must be object at the root");
    }
}

/// What stands in `kind`, `apiVersion` and `metadata` of an object is Kubernetes' to say.
fn check_metadata(schema: &Value, level: Level, path: &Path, errors: &mut Errors) {
    let is_object = level == Level::Root || is_set(schema, "x-kubernetes-embedded-resource");
    let property = |name: &str| schema.get("properties").and_then(|it| it.get(name));
    let at = |name: &str| path.child("properties").key(name);
    if is_object {
        for name in ["kind", "apiVersion"] {
            if let Some(of) = property(name)
                && text(of, "type") != "string"
            {
                errors.invalid(at(name).child("type"), text(of, "type"), "must be string");
            }
        }
    }
    let Some(metadata) = property("metadata") else { return };
    if is_object && text(metadata, "type") != "object" {
        errors.invalid(at("metadata").child("type"), text(metadata, "type"), "must be object");
    }
    if level == Level::Root && !names_only(metadata) {
        errors.forbidden(
            at("metadata"),
            "must not specify anything other than name and generateName, but metadata is implicitly specified",
        );
    }
}

/// Whether the schema of metadata speaks of the two names only.
fn names_only(metadata: &Value) -> bool {
    let Some(fields) = metadata.as_object() else { return true };
    let properties = entries(metadata, "properties");
    let names = properties.into_iter().all(|(name, _)| name == "name" || name == "generateName");
    let is_plain = |key: &str, value: &Value| match key {
        // Examples and documentation are no part of a structural schema.
        "type" | "default" | "properties" | "example" | "externalDocs" => true,
        _ => is_empty(value),
    };
    names && fields.iter().all(|(key, value)| is_plain(key, value))
}

/// Whether a keyword says nothing: Go's zero values.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

/// Whether a schema has the `anyOf` by which fields say that they are numbers or texts.
fn is_int_or_string_choice(schema: &Value) -> bool {
    let mut choices = list(schema, "anyOf");
    let is_type = |it: Option<&Value>, name: &str| {
        it.and_then(Value::as_object)
            .is_some_and(|it| it.iter().all(|(key, value)| if key == "type" { value == name } else { is_empty(value) }))
            && it.is_some_and(|it| text(it, "type") == name)
    };
    is_type(choices.next(), "integer") && is_type(choices.next(), "string") && choices.next().is_none()
}

fn check_values(schema: &Value, skip_any_of: bool, skip_all_of: bool, path: &Path, errors: &mut Errors) {
    if !skip_any_of {
        for (index, of) in list(schema, "anyOf").enumerate() {
            check_nested(of, false, &path.child("anyOf").index(index), errors);
        }
    }
    for (index, of) in list(schema, "allOf").enumerate() {
        check_nested(of, skip_all_of && index == 0, &path.child("allOf").index(index), errors);
    }
    for (index, of) in list(schema, "oneOf").enumerate() {
        check_nested(of, false, &path.child("oneOf").index(index), errors);
    }
    if let Some(of) = schema.get("not").filter(|it| it.is_object()) {
        check_nested(of, false, &path.child("not"), errors);
    }
    let written = text(schema, "pattern");
    if !written.is_empty()
        && let Err(why) = pattern::compile(written)
    {
        let detail = format!("must be a valid regular expression, but isn't: {why}");
        errors.invalid(path.child("pattern"), written, detail);
    }
}

fn check_nested(schema: &Value, skip_any_of: bool, path: &Path, errors: &mut Errors) {
    check_values(schema, skip_any_of, false, path, errors);
    if let Some(items) = schema.get("items").filter(|it| it.is_object()) {
        check_nested(items, false, &path.child("items"), errors);
    }
    for (name, of) in entries(schema, "properties") {
        check_nested(of, false, &path.child("properties").key(name), errors);
    }
    const FORBIDDEN: &[(&str, &str)] = &[
        ("type", "must be empty to be structural"),
        ("additionalProperties", "must be undefined to be structural"),
        ("default", "must be undefined to be structural"),
        ("title", "must be empty to be structural"),
        ("description", "must be empty to be structural"),
        ("nullable", "must be false to be structural"),
        ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
        ("x-kubernetes-embedded-resource", "must be false to be structural"),
        ("x-kubernetes-int-or-string", "must be false to be structural"),
        ("x-kubernetes-list-map-keys", "must be empty to be structural"),
        ("x-kubernetes-list-type", "must be undefined to be structural"),
        ("x-kubernetes-map-type", "must be undefined to be structural"),
        ("x-kubernetes-validations", "must be empty to be structural"),
    ];
    for (key, detail) in FORBIDDEN {
        let Some(value) = schema.get(*key) else { continue };
        let says_nothing = if detail.starts_with("must be undefined") { value.is_null() } else { is_empty(value) };
        if !says_nothing {
            errors.forbidden(path.child(key), *detail);
        }
    }
    if schema.get("properties").is_some_and(|it| it.get("metadata").is_some()) {
        errors.forbidden(path.child("properties").key("metadata"), "must not be specified in a nested context");
    }
}

/// Every field and list that the root's alternatives judge has to be specified in the structure as well; Kubernetes looks no deeper.
fn check_covered(schema: &Value, path: &Path, errors: &mut Errors) {
    check_junctors_covered(schema, schema, path, path, errors);
}

fn check_junctors_covered(schema: &Value, structure: &Value, path: &Path, place: &Path, errors: &mut Errors) {
    if let Some(of) = schema.get("not").filter(|it| it.is_object()) {
        check_nested_covered(of, Some(structure), &path.child("not"), place, errors);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for (index, of) in list(schema, key).enumerate() {
            check_nested_covered(of, Some(structure), &path.child(key).index(index), place, errors);
        }
    }
}

/// `path` is that of the nested schema, which is told where the structure at `place` lacks it.
fn check_nested_covered(schema: &Value, structure: Option<&Value>, path: &Path, place: &Path, errors: &mut Errors) {
    let Some(structure) = structure else {
        errors.required(place.clone(), format!("because it is defined in {path}"));
        return;
    };
    check_junctors_covered(schema, structure, path, place, errors);
    if let Some(items) = schema.get("items").filter(|it| it.is_object()) {
        let below = structure.get("items").filter(|it| it.is_object());
        check_nested_covered(items, below, &path.child("items"), &place.child("items"), errors);
    }
    for (name, of) in entries(schema, "properties") {
        let below = structure.get("properties").and_then(|it| it.get(name));
        let place = place.child("properties").key(name);
        check_nested_covered(of, below, &path.child("properties").key(name), &place, errors);
    }
}
