//! Resources that are embedded in a custom object: their `apiVersion`, `kind` and `metadata`.
//!
//! Source: `apiserver/schema/objectmeta/validation.go`. The object itself is not looked at: its metadata every kind has checked elsewhere.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::node::Node;
use super::trail::{Step, Trail};
use crate::field::{Errors, Path};
use crate::meta;
use crate::name;

/// Notes the mistakes in the heads of all embedded resources.
pub fn judge(node: &Node, value: &Value, trail: &Trail<'_>, errors: &mut Errors) {
    if !node.embeds {
        return;
    }
    match value {
        Value::Object(fields) => {
            if node.embedded {
                judge_head(fields, &trail.path(), errors);
            }
            for (name, value) in fields {
                let Some((of, is_entry)) = node.child(name) else { continue };
                let step = if is_entry { Step::Key(name) } else { Step::Field(name) };
                judge(of, value, &trail.down(step), errors);
            }
        }
        Value::Array(items) => {
            let Some(of) = &node.items else { return };
            for (index, item) in items.iter().enumerate() {
                judge(of, item, &trail.down(Step::Index(index)), errors);
            }
        }
        _ => {}
    }
}

fn judge_head(fields: &Map<String, Value>, path: &Path, errors: &mut Errors) {
    for name in ["apiVersion", "kind"] {
        let path = path.child(name);
        match fields.get(name) {
            None => errors.required(path, ""),
            Some(Value::String(text)) if text.is_empty() => errors.required(path, ""),
            Some(Value::String(text)) if name == "apiVersion" => {
                if text.matches('/').count() > 1 {
                    errors.invalid(path, text, format!("unexpected GroupVersion string: {text}"));
                }
            }
            Some(Value::String(text)) => {
                let complaints: Vec<String> =
                    name::dns1035_label(&text.to_lowercase()).into_iter().map(|it| it.to_string()).collect();
                if !complaints.is_empty() {
                    let detail = format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
                    errors.invalid(path, text, detail);
                }
            }
            Some(other) => errors.invalid(path, other, "must be a string"),
        }
    }
    let Some(metadata) = fields.get("metadata") else { return };
    let path = path.child("metadata");
    match serde_json::from_value::<ObjectMeta>(metadata.clone()) {
        Ok(meta) => judge_metadata(&meta, &path, errors),
        Err(error) => errors.invalid(path, metadata, error.to_string()),
    }
}

fn judge_metadata(meta: &ObjectMeta, path: &Path, errors: &mut Errors) {
    for (field, text, prefix) in [("generateName", &meta.generate_name, true), ("name", &meta.name, false)] {
        let Some(text) = text.as_deref().filter(|it| !it.is_empty()) else { continue };
        for complaint in name::path_segment(text, prefix) {
            errors.invalid(path.child(field), text, complaint);
        }
    }
    if let Some(namespace) = meta.namespace.as_deref().filter(|it| !it.is_empty()) {
        for complaint in name::dns1123_label(namespace) {
            errors.invalid(path.child("namespace"), namespace, complaint);
        }
    }
    meta::validate_labels(meta.labels.as_ref(), &path.child("labels"), errors);
    meta::validate_annotations(meta.annotations.as_ref(), &path.child("annotations"), errors);
}
