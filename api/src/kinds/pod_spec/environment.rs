//! The rules for a container's environment: variables, and the references from which they take their values.

use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector};

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name::{self, NameRule};
use crate::quantity::Quantity;

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

/// The fields of a pod that Kubernetes knows, but that nothing here may refer to.
const OTHER_FIELDS: &[&str] = &["spec.restartPolicy", "spec.schedulerName", "status.phase"];
/// What a container's own share may be divided by, where it is not CPU.
const DIVISORS: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];

pub(super) fn validate_variables(variables: &[EnvVar], path: &Path, errors: &mut Errors) {
    for (index, variable) in variables.iter().enumerate() {
        checks::named(&variable.name, name::environment_variable, || path.index(index).child("name"), errors);
        if let Some(source) = &variable.value_from {
            let has_value = variable.value.as_deref().is_some_and(|it| !it.is_empty());
            validate_source(source, has_value, &path.index(index).child("valueFrom"), errors);
        }
    }
}

fn validate_source(source: &EnvVarSource, has_value: bool, path: &Path, errors: &mut Errors) {
    let mut sources = 0;
    if let Some(field) = &source.field_ref {
        sources += 1;
        validate_field(field, VARIABLE_FIELDS, || path.child("fieldRef"), errors);
    }
    if let Some(resource) = &source.resource_field_ref {
        sources += 1;
        validate_resource(resource, false, || path.child("resourceFieldRef"), errors);
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
    for complaint in name::dns1123_subdomain(name) {
        errors.invalid(path.child("name"), name, complaint);
    }
    checks::named(key, name::config_key, || path.child("key"), errors);
}

/// A reference to one of the pod's own `fields`, or to one label or annotation of it by key.
pub(super) fn validate_field(it: &ObjectFieldSelector, fields: &[&str], path: impl Fn() -> Path, errors: &mut Errors) {
    let version = it.api_version.as_deref().unwrap_or_default();
    if version.is_empty() {
        return errors.required(path().child("apiVersion"), "");
    }
    // Clients of old say `spec.host`.
    let field = if it.field_path == "spec.host" { "spec.nodeName" } else { it.field_path.as_str() };
    if field.is_empty() {
        return errors.required(path().child("fieldPath"), "");
    }
    let mut unknown = |why: String| {
        errors.invalid(path().child("fieldPath"), field, format!("error converting fieldPath: {why}"));
    };
    if version != "v1" {
        return unknown(format!("unsupported pod version: {version}"));
    }
    let keyed = field.strip_suffix("']").and_then(|it| it.split_once("['")).filter(|(list, _)| !list.is_empty());
    match keyed {
        Some((list @ ("metadata.labels" | "metadata.annotations"), key)) => {
            let lowered = if list == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
            for complaint in name::qualified_name(&lowered) {
                errors.invalid(path(), &lowered, complaint);
            }
        }
        Some(_) => unknown(format!("field label does not support subscript: {field}")),
        None if fields.contains(&field) => {}
        None if [VARIABLE_FIELDS, FILE_FIELDS, OTHER_FIELDS].iter().any(|it| it.contains(&field)) => {
            errors.not_supported(path().child("fieldPath"), field, fields);
        }
        None => unknown(format!("field label not supported: {field}")),
    }
}

/// A reference to a container's request or limit: its own, or in a volume, which has none, that of one it must name.
pub(super) fn validate_resource(
    it: &ResourceFieldSelector,
    in_volume: bool,
    path: impl Fn() -> Path,
    errors: &mut Errors,
) {
    let resource = it.resource.as_str();
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if in_volume && it.container_name.as_deref().unwrap_or_default().is_empty() {
        errors.required(path().child("containerName"), "");
    } else if resource.is_empty() {
        errors.required(path().child("resource"), "");
    } else if !huge && !RESOURCES.contains(&resource) {
        errors.not_supported(path().child("resource"), resource, RESOURCES);
    }
    let Some(divisor) = it.divisor.as_ref().and_then(|it| Quantity::of(it).ok()).filter(|it| !it.is_zero()) else {
        return;
    };
    let divisor = divisor.to_string();
    let (is_good, kind) = match resource {
        "limits.cpu" | "requests.cpu" => (matches!(divisor.as_str(), "1m" | "1"), "cpu"),
        "limits.memory" | "requests.memory" => (DIVISORS.contains(&divisor.as_str()), "memory"),
        "limits.ephemeral-storage" | "requests.ephemeral-storage" => {
            (DIVISORS.contains(&divisor.as_str()), "local ephemeral storage")
        }
        _ if huge => (DIVISORS.contains(&divisor.as_str()), "hugepages"),
        _ => return,
    };
    if !is_good {
        let why = if kind == "cpu" {
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
        } else {
            format!("only divisor's values {} are supported with the {kind} resource", DIVISORS.join(", "))
        };
        errors.invalid(path().child("divisor"), resource, why);
    }
}

/// Whole ConfigMaps and Secrets as variables. That none or two are named is told at the list, as Kubernetes tells it.
pub(super) fn validate_sources(sources: &[EnvFromSource], path: &Path, errors: &mut Errors) {
    for (index, source) in sources.iter().enumerate() {
        let prefix = source.prefix.as_deref();
        checks::none_or_named(prefix, name::environment_variable, || path.index(index).child("prefix"), errors);
        let named = |name: &str, field: &str, errors: &mut Errors| {
            let rule = |it: &str| NameRule::Subdomain.check(it, true);
            checks::named(name, rule, || path.index(index).child(field).child("name"), errors);
        };
        if let Some(it) = &source.config_map_ref {
            named(&it.name, "configMapRef", errors);
        }
        if let Some(it) = &source.secret_ref {
            named(&it.name, "secretRef", errors);
        }
        match (&source.config_map_ref, &source.secret_ref) {
            (None, None) => {
                errors.invalid(path.clone(), "", "must specify one of: `configMapRef` or `secretRef`");
            }
            (Some(_), Some(_)) => {
                errors.invalid(path.clone(), "", "may not have more than one field specified at a time");
            }
            _ => {}
        }
    }
}
