//! The rules for a container's environment: variables, and the references from which they take their values.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector};

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

/// The fields of a pod that a variable may take its value from.
const VARIABLE_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// The fields of a pod that a file of a downward API volume may take its content from.
pub(super) const FILE_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

pub(super) fn validate_variables(variables: &[EnvVar], path: &Path, errors: &mut Errors) {
    for (index, variable) in variables.iter().enumerate() {
        checks::named(&variable.name, relaxed_name, || path.index(index).child("name"), errors);
        if let Some(source) = &variable.value_from {
            let has_value = variable.value.as_deref().is_some_and(|it| !it.is_empty());
            validate_source(source, has_value, &path.index(index).child("valueFrom"), errors);
        }
    }
}

/// Since 1.34 any printable ASCII but `=` may name a variable.
fn relaxed_name(text: &str) -> name::Complaints {
    if text.bytes().all(|it| (b' '..=b'~').contains(&it) && it != b'=') {
        return Vec::new();
    }
    vec!["a valid environment variable name must consist only of printable ASCII characters other than '='".to_owned()]
}

fn validate_source(source: &EnvVarSource, has_value: bool, path: &Path, errors: &mut Errors) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        validate_field(field, VARIABLE_FIELDS, true, &path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        validate_resource(resource, &path.child("resourceFieldRef"), errors);
    }
    if let Some(it) = &source.config_map_key_ref {
        sources += 1;
        validate_key(&it.name, &it.key, &path.child("configMapKeyRef"), errors);
    }
    if let Some(it) = &source.secret_key_ref {
        sources += 1;
        validate_key(&it.name, &it.key, &path.child("secretKeyRef"), errors);
    }
    sources += usize::from(source.file_key_ref.is_some());
    if sources == 0 {
        errors.invalid(
            path.clone(),
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        );
    } else if has_value {
        errors.invalid(path.clone(), "", "may not be specified when `value` is not empty");
    } else if sources > 1 {
        errors.invalid(path.clone(), "", "may not have more than one field specified at a time");
    }
}

fn validate_key(name: &str, key: &str, path: &Path, errors: &mut Errors) {
    if name.is_empty() {
        errors.required(path.child("name"), "");
    }
    checks::named(key, name::config_key, || path.child("key"), errors);
}

/// A reference to one of the pod's own `fields`, or to one label or annotation of it by key where `by_key`.
pub(super) fn validate_field(
    it: &ObjectFieldSelector,
    fields: &[&str],
    by_key: bool,
    path: &Path,
    errors: &mut Errors,
) {
    if it.api_version.as_deref().unwrap_or_default().is_empty() {
        errors.required(path.child("apiVersion"), "");
    }
    let field = it.field_path.as_str();
    if field.is_empty() {
        errors.required(path.child("fieldPath"), "");
        return;
    }
    let keyed = field.strip_suffix("']").and_then(|it| it.split_once("['"));
    match keyed {
        Some(("metadata.labels" | "metadata.annotations", key)) if by_key => {
            let lowered = if field.starts_with("metadata.annotations") { key.to_lowercase() } else { key.to_owned() };
            for complaint in name::qualified_name(&lowered) {
                errors.invalid(path.clone(), key, complaint);
            }
        }
        _ if fields.contains(&field) => {}
        _ if VARIABLE_FIELDS.contains(&field) || FILE_FIELDS.contains(&field) => {
            errors.not_supported(path.child("fieldPath"), field, fields);
        }
        _ => errors.invalid(
            path.child("fieldPath"),
            field,
            format!("error converting fieldPath: field label not supported: {field}"),
        ),
    }
}

/// A reference to a container's own request or limit.
pub(super) fn validate_resource(it: &ResourceFieldSelector, path: &Path, errors: &mut Errors) {
    match it.resource.as_str() {
        "" => errors.required(path.child("resource"), ""),
        name if RESOURCES.contains(&name) => {}
        name if name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-") => {}
        name => errors.not_supported(path.child("resource"), name, RESOURCES),
    }
}

pub(super) fn validate_sources(sources: &[EnvFromSource], path: &Path, errors: &mut Errors) {
    for (index, source) in sources.iter().enumerate() {
        checks::none_or_named(source.prefix.as_deref(), relaxed_name, || path.index(index).child("prefix"), errors);
        let named = |name: &str, field: &str, errors: &mut Errors| {
            checks::named(name, name::dns1123_subdomain, || path.index(index).child(field).child("name"), errors);
        };
        if let Some(it) = &source.config_map_ref {
            named(&it.name, "configMapRef", errors);
        }
        if let Some(it) = &source.secret_ref {
            named(&it.name, "secretRef", errors);
        }
        match (&source.config_map_ref, &source.secret_ref) {
            (None, None) => {
                errors.invalid(path.index(index), "", "must specify one of: `configMapRef` or `secretRef`");
            }
            (Some(_), Some(_)) => {
                errors.invalid(path.index(index), "", "may not have more than one field specified at a time");
            }
            _ => {}
        }
    }
}
