//! What may stand in the versions of a definition: schemas, subresources, columns, selectable fields.
//!
//! Source: `validateCustomResourceDefinitionVersion` and what it calls. The schema itself is judged by [`crate::structural`].

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceColumnDefinition, CustomResourceDefinitionSpec, CustomResourceDefinitionVersion,
    CustomResourceSubresources, SelectableField,
};
use serde_json::Value;

use super::rules::joined;
use crate::field::{Errors, Path};
use crate::name;
use crate::structural::{Schema, field_path};

/// How many fields a version may be selected by.
const SELECTABLE_FIELDS_MAX: usize = 8;
/// The longest deprecation warning, in bytes.
const WARNING_BYTES_MAX: usize = 256;

const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 8] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "password"];

/// Whether a part is there, and the same in all versions: then it is spoken of once.
fn is_common<T: PartialEq>(
    versions: &[CustomResourceDefinitionVersion],
    part: impl Fn(&CustomResourceDefinitionVersion) -> Option<&T>,
) -> bool {
    let Some(first) = versions.first().and_then(&part) else { return false };
    versions.iter().all(|it| part(it) == Some(first))
}

/// Notes every mistake in the versions.
pub fn validate(spec: &CustomResourceDefinitionSpec, old: Option<&CustomResourceDefinitionSpec>, errors: &mut Errors) {
    let common_schema = is_common(&spec.versions, |it| it.schema.as_ref());
    let common_subs = is_common(&spec.versions, |it| it.subresources.as_ref());
    let columns =
        |it: &CustomResourceDefinitionVersion| it.additional_printer_columns.as_ref().is_some_and(|it| !it.is_empty());
    let common_columns = is_common(&spec.versions, |it| it.additional_printer_columns.as_ref().filter(|_| columns(it)));
    let common_fields = is_common(&spec.versions, |it| it.selectable_fields.as_ref());
    let top = Path::new("spec");
    for (at, version) in spec.versions.iter().enumerate() {
        let path = Path::new("spec.versions").index(at);
        let place = |common: bool| if common { &top } else { &path };
        let first = at == 0;
        let complaints = name::dns1035_label(&version.name);
        if !complaints.is_empty() {
            errors.invalid(path.child("name"), &version.name, joined(complaints));
        }
        validate_warning(version, &path, errors);
        if first || !common_schema {
            let unchanged = old.is_some_and(|old| {
                old.versions.iter().any(|it| it.name == version.name && it.schema == version.schema)
            });
            let at = if common_schema { top.child("validation") } else { path.child("schema") };
            validate_schema(version, &at.child("openAPIV3Schema"), unchanged, errors);
        }
        if let Some(subs) = version.subresources.as_ref().filter(|_| first || !common_subs) {
            validate_subresources(subs, &place(common_subs).child("subresources"), errors);
        }
        if first || !common_columns {
            let path = place(common_columns).child("additionalPrinterColumns");
            for (at, column) in version.additional_printer_columns.iter().flatten().enumerate() {
                validate_column(column, &path.index(at), errors);
            }
        }
        if let Some(fields) =
            version.selectable_fields.as_ref().filter(|it| !it.is_empty() && (first || !common_fields))
        {
            validate_selectable(fields, version, &place(common_fields).child("selectableFields"), errors);
        }
    }
}

fn schema_of(version: &CustomResourceDefinitionVersion) -> Option<Value> {
    let schema = version.schema.as_ref()?.open_api_v3_schema.as_ref()?;
    serde_json::to_value(schema).ok()
}

fn validate_schema(version: &CustomResourceDefinitionVersion, path: &Path, unchanged: bool, errors: &mut Errors) {
    // What was let in once is not refused later: to check a large schema takes longer than the write.
    let Some(schema) = schema_of(version).filter(|_| !unchanged) else { return };
    let has_status = version.subresources.as_ref().is_some_and(|it| it.status.is_some());
    if let Err(mistakes) = Schema::parse(&schema, path, has_status) {
        errors.append(mistakes);
    }
}

fn validate_warning(version: &CustomResourceDefinitionVersion, path: &Path, errors: &mut Errors) {
    let Some(warning) = &version.deprecation_warning else { return };
    let path = path.child("deprecationWarning");
    if version.deprecated != Some(true) {
        errors.invalid(path, warning, "can only be set for deprecated versions");
        return;
    }
    if warning.len() > WARNING_BYTES_MAX {
        errors.invalid(path.clone(), warning, "must be <= 256 characters long");
    }
    if warning.is_empty() {
        errors.invalid(path.clone(), warning, "must not be an empty string");
    }
    if let Some((at, _)) = warning.char_indices().find(|(_, it)| it.is_control()) {
        let why = format!("must only contain printable UTF-8 characters; non-printable character found at index {at}");
        errors.invalid(path, warning, why);
    }
}

/// Notes a path that is no simple one, or not below a field.
fn validate_path(value: &str, below: &str, path: Path, errors: &mut Errors) {
    match value {
        "" => errors.required(path, ""),
        _ if !value.starts_with('.') => errors.invalid(path, value, "must be a simple json path starting with ."),
        _ if !value.starts_with(below) => {
            let what = below.trim_end_matches('.');
            errors.invalid(path, value, format!("should be a json path under {what}"));
        }
        _ => {}
    }
}

fn validate_subresources(subs: &CustomResourceSubresources, path: &Path, errors: &mut Errors) {
    let Some(scale) = &subs.scale else { return };
    validate_path(&scale.spec_replicas_path, ".spec.", path.child("scale.specReplicasPath"), errors);
    validate_path(&scale.status_replicas_path, ".status.", path.child("scale.statusReplicasPath"), errors);
    if let Some(selector) = scale.label_selector_path.as_deref().filter(|it| !it.is_empty()) {
        let path = path.child("scale.labelSelectorPath");
        match selector.starts_with('.') {
            false => errors.invalid(path, selector, "must be a simple json path starting with ."),
            true if !selector.starts_with(".status.") && !selector.starts_with(".spec.") => {
                errors.invalid(path, selector, "should be a json path under either .status or .spec");
            }
            true => {}
        }
    }
}

fn validate_column(column: &CustomResourceColumnDefinition, path: &Path, errors: &mut Errors) {
    if column.name.is_empty() {
        errors.required(path.child("name"), "");
    }
    let types = format!("must be one of {}", COLUMN_TYPES.join(","));
    match &*column.type_ {
        "" => errors.required(path.child("type"), types),
        given if !COLUMN_TYPES.contains(&given) => errors.invalid(path.child("type"), given, types),
        _ => {}
    }
    if let Some(format) = column.format.as_deref().filter(|it| !it.is_empty() && !COLUMN_FORMATS.contains(it)) {
        errors.invalid(path.child("format"), format, format!("must be one of {}", COLUMN_FORMATS.join(",")));
    }
    validate_path(&column.json_path, ".", path.child("JSONPath"), errors);
}

fn validate_selectable(
    fields: &[SelectableField],
    version: &CustomResourceDefinitionVersion,
    path: &Path,
    errors: &mut Errors,
) {
    let Some(schema) = schema_of(version) else {
        let why = "selectableFields may only be set when version.schema.openAPIV3Schema is not included";
        errors.invalid(path.clone(), "", why);
        return;
    };
    let mut seen = BTreeSet::new();
    for (at, field) in fields.iter().enumerate() {
        let (path, given) = (path.index(at).child("jsonPath"), &field.json_path);
        if given.is_empty() {
            errors.required(path, "");
            continue;
        }
        let (names, found) = match field_path::find(&schema, given) {
            Ok(found) => found,
            Err(why) => {
                errors.invalid(path, given, format!("is an invalid path: {why}"));
                continue;
            }
        };
        if names.first().is_some_and(|it| it == "metadata") {
            errors.invalid(path.clone(), given, "must not point to fields in metadata");
        }
        if !matches!(found["type"].as_str(), Some("string" | "boolean" | "integer")) {
            let why = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed.";
            errors.invalid(path.clone(), given, why);
        }
        if !seen.insert(names) {
            errors.duplicate(path, given);
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        errors.too_many(path.clone(), seen.len(), SELECTABLE_FIELDS_MAX);
    }
}
