//! The rules for what a `HorizontalPodAutoscaler` looks at.

use k8s_openapi::api::autoscaling::v2::{MetricIdentifier, MetricSpec, MetricTarget};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::{Versions, segment, validate_reference};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::kinds::pod_spec::resources;
use crate::name;
use crate::quantity::Quantity;

const TYPES: &[&str] = &["ContainerResource", "External", "Object", "Pods", "Resource"];

/// Notes every mistake in one metric, the object of which may have such API versions.
pub(super) fn validate(it: &MetricSpec, versions: Versions, path: &Path, errors: &mut Errors) {
    if it.type_.is_empty() {
        errors.required(path.child("type"), "must specify a metric source type");
    }
    if !TYPES.contains(&it.type_.as_str()) {
        errors.not_supported(path.child("type"), &it.type_, TYPES);
    }
    let sources = [
        ("object", "Object", it.object.is_some()),
        ("external", "External", it.external.is_some()),
        ("pods", "Pods", it.pods.is_some()),
        ("resource", "Resource", it.resource.is_some()),
        ("containerResource", "ContainerResource", it.container_resource.is_some()),
    ];
    // Only the first one is looked into.
    if let Some((field, _, _)) = sources.iter().find(|(_, _, is_set)| *is_set) {
        validate_source(it, field, versions, &path.child(field), errors);
    }
    let expected = sources.iter().find(|(_, kind, _)| *kind == it.type_);
    match expected {
        Some((field, _, false)) => {
            errors.required(path.child(field), "must populate information for the given metric source");
        }
        Some(_) => {}
        None => errors.not_supported(path.child("type"), &it.type_, TYPES),
    }
    if sources.iter().filter(|(_, _, is_set)| *is_set).count() != 1 {
        for (field, _, _) in sources.iter().filter(|it| it.2 && expected.is_none_or(|expected| expected.0 != it.0)) {
            errors.forbidden(path.child(field), "must populate the given metric source only");
        }
    }
}

fn validate_source(it: &MetricSpec, field: &str, versions: Versions, path: &Path, errors: &mut Errors) {
    match field {
        "object" => {
            let Some(it) = &it.object else { return };
            validate_reference(&it.described_object, versions, &path.child("describedObject"), errors);
            validate_identifier(&it.metric, path, errors);
            let path = validate_target(&it.target, path, errors);
            if it.target.value.is_none() && it.target.average_value.is_none() {
                errors.required(path.child("averageValue"), "must set either a target value or averageValue");
            }
        }
        "external" => {
            let Some(it) = &it.external else { return };
            validate_identifier(&it.metric, path, errors);
            let path = validate_target(&it.target, path, errors);
            match (&it.target.value, &it.target.average_value) {
                (None, None) => {
                    let why = "must set either a target value for metric or a per-pod target";
                    errors.required(path.child("averageValue"), why);
                }
                (Some(_), Some(_)) => {
                    let why = "may not set both a target value for metric and a per-pod target";
                    errors.forbidden(path.child("value"), why);
                }
                _ => {}
            }
        }
        "pods" => {
            let Some(it) = &it.pods else { return };
            validate_identifier(&it.metric, path, errors);
            let path = validate_target(&it.target, path, errors);
            if it.target.average_value.is_none() {
                errors.required(path.child("averageValue"), "must specify a positive target averageValue");
            }
        }
        "resource" => {
            let Some(it) = &it.resource else { return };
            if it.name.is_empty() {
                errors.required(path.child("name"), "must specify a resource name");
            }
            validate_resource_target(&it.target, path, errors);
        }
        _ => {
            let Some(it) = &it.container_resource else { return };
            if it.name.is_empty() {
                errors.required(path.child("name"), "must specify a resource name");
            } else {
                resources::validate_name(&it.name, &|| path.child("name"), errors);
            }
            if it.container.is_empty() {
                errors.required(path.child("container"), "must specify a container");
            }
            let named = Some(it.container.as_str());
            checks::none_or_named(named, name::dns1123_label, || path.child("container"), errors);
            validate_resource_target(&it.target, path, errors);
        }
    }
}

fn validate_resource_target(it: &MetricTarget, path: &Path, errors: &mut Errors) {
    let path = validate_target(it, path, errors);
    match (it.average_utilization, &it.average_value) {
        (None, None) => {
            let why = "must set either a target raw value or a target utilization";
            errors.required(path.child("averageUtilization"), why);
        }
        (Some(_), Some(_)) => {
            let why = "may not set both a target raw value and a target utilization";
            errors.forbidden(path.child("averageValue"), why);
        }
        _ => {}
    }
}

fn validate_identifier(it: &MetricIdentifier, path: &Path, errors: &mut Errors) {
    let path = || path.child("metric").child("name");
    if it.name.is_empty() {
        return errors.required(path(), "must specify a metric name");
    }
    checks::none_or_named(Some(&it.name), segment, path, errors);
}

/// Gives the target's path.
fn validate_target(it: &MetricTarget, path: &Path, errors: &mut Errors) -> Path {
    let path = path.child("target");
    if it.type_.is_empty() {
        errors.required(path.child("type"), "must specify a metric target type");
    }
    if !matches!(it.type_.as_str(), "Utilization" | "Value" | "AverageValue") {
        errors.invalid(path.child("type"), &it.type_, "must be either Utilization, Value, or AverageValue");
    }
    validate_positive(it.value.as_ref(), || path.child("value"), errors);
    validate_positive(it.average_value.as_ref(), || path.child("averageValue"), errors);
    if let Some(percent) = it.average_utilization.filter(|it| *it < 1) {
        errors.invalid(path.child("averageUtilization"), percent, "must be greater than 0");
    }
    path
}

fn validate_positive(text: Option<&Text>, path: impl FnOnce() -> Path, errors: &mut Errors) {
    match text.map(|it| (it, Quantity::of(it))) {
        Some((_, Ok(it))) if it.is_negative() || it.is_zero() => {
            errors.invalid(path(), it.to_string(), "must be positive");
        }
        Some((text, Err(error))) => errors.invalid(path(), &text.0, error.to_string()),
        _ => {}
    }
}
