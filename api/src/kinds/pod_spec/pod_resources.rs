//! Resources that a pod has as a whole, beside those of its containers (KEP-2837).
//!
//! In: a pod's specification. Out: what it asks for where it leaves that out, and its mistakes. Source: `defaultPodRequests` in
//! `pkg/apis/core/v1/defaults.go`, `validatePodResources` in `pkg/apis/core/validation`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;

use super::claims;
use super::resources;
use crate::field::{Errors, Path};
use crate::quantity::Quantity;
use crate::quota;

/// The resources that a pod may have as a whole, as messages list them.
const SUPPORTED: &[&str] = &["cpu", "hugepages-", "memory"];

/// Whether a pod may have this resource as a whole.
fn is_supported(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || resources::is_pages(name)
}

/// The resources of a pod as a whole, if it has any.
pub fn of(spec: &PodSpec) -> Option<&ResourceRequirements> {
    let has = |it: &Option<BTreeMap<String, Text>>| it.as_ref().is_some_and(|it| !it.is_empty());
    spec.resources.as_ref().filter(|it| has(&it.limits) || has(&it.requests))
}

/// Fills in what a pod asks for as a whole: what its containers ask for together, or its limits where they ask for nothing.
pub fn default(spec: &mut PodSpec) {
    if of(spec).is_none() {
        return;
    }
    let together = quota::of_containers(spec).0;
    let Some(whole) = &mut spec.resources else { return };
    resources::canonicalize(whole.limits.as_mut());
    resources::canonicalize(whole.requests.as_mut());
    let mut asked = whole.requests.take().unwrap_or_default();
    for (name, amount) in together {
        // Huge pages are never promised twice: they are what the limit says.
        if is_supported(&name) && !resources::is_pages(&name) {
            asked.entry(name).or_insert_with(|| amount.to_text());
        }
    }
    for (name, limit) in whole.limits.iter().flatten() {
        if is_supported(name) {
            asked.entry(name.clone()).or_insert_with(|| limit.clone());
        }
    }
    whole.requests = (!asked.is_empty()).then_some(asked);
}

/// Notes every mistake in the resources of a pod as a whole, which stand at `path`.
pub(super) fn validate(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(whole) = &spec.resources else { return };
    if whole.claims.is_some() {
        errors.forbidden(path.child("claims"), "claims cannot be set for Resources at pod-level");
    }
    resources::validate_named(whole, validate_name, || path.clone(), errors);
    claims::validate_taken(whole.claims.as_deref(), spec, || path.child("claims"), errors);
    let amount = |list: &Option<BTreeMap<String, Text>>, name: &str| {
        list.as_ref().and_then(|it| it.get(name)).and_then(|it| Quantity::of(it).ok())
    };
    for (name, together) in quota::of_containers(spec).0 {
        let asked = amount(&whole.requests, &name).unwrap_or_default();
        if together > asked {
            let why = format!("must be greater than or equal to aggregate container requests of {together}");
            errors.invalid(path.child("requests").key(&name), asked.to_string(), why);
        }
    }
    for (at, container) in spec.containers.iter().enumerate() {
        let limits = container.resources.as_ref().and_then(|it| it.limits.as_ref());
        for (name, limit) in limits.into_iter().flatten() {
            let (Ok(limit), Some(most)) = (Quantity::of(limit), amount(&whole.limits, name)) else { continue };
            if limit > most {
                let path = path.child("containers").index(at).key(name).child("limits");
                errors.invalid(path, limit.to_string(), format!("must be less than or equal to pod limits of {most}"));
            }
        }
    }
}

fn validate_name(name: &str, path: &dyn Fn() -> Path, errors: &mut Errors) {
    let mistakes = errors.len();
    resources::validate_any_name(name, path, errors);
    if errors.len() == mistakes && !is_supported(name) {
        errors.not_supported(path(), name, SUPPORTED);
    }
}
