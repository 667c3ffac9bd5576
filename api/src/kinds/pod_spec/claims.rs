//! The rules for the claims on devices that a pod has, and for what its containers take of them.
//!
//! Source: `validatePodResourceClaims`, `validateResourceClaimNames` and `validatePodResourceClaimStatuses` in
//! `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::collections::{BTreeSet, HashSet};

use k8s_openapi::api::core::v1::{PodResourceClaim, PodResourceClaimStatus, PodSpec, ResourceClaim};

use crate::field::{Errors, Path};
use crate::name;

/// Notes every mistake in the claims of a pod, which stand at `path`.
pub(super) fn validate_all(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let mut names = HashSet::new();
    for (at, it) in spec.resource_claims.iter().flatten().enumerate() {
        let path = path.index(at);
        if it.name.is_empty() {
            errors.required(path.child("name"), "");
        } else if !names.insert(it.name.as_str()) {
            errors.duplicate(path.child("name"), &it.name);
        } else {
            for complaint in name::dns1123_label(&it.name) {
                errors.invalid(path.child("name"), &it.name, complaint);
            }
        }
        validate_origin(it, &path, errors);
    }
}

/// A claim is one that is there, or made of a template.
fn validate_origin(it: &PodResourceClaim, path: &Path, errors: &mut Errors) {
    let (claim, template) = (&it.resource_claim_name, &it.resource_claim_template_name);
    // Kubernetes shows the claim in its internal form.
    let shown = || {
        let text = |it: &Option<String>| serde_json::json!(it).to_string();
        let [name, claim, template] = [text(&Some(it.name.clone())), text(claim), text(template)];
        format!("{{\"Name\":{name},\"ResourceClaimName\":{claim},\"ResourceClaimTemplateName\":{template}}}")
    };
    if claim.is_some() && template.is_some() {
        let why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
        errors.invalid_text(path.clone(), shown(), why);
    }
    if claim.is_none() && template.is_none() {
        let why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
        errors.invalid_text(path.clone(), shown(), why);
    }
    for (field, text) in [("resourceClaimName", claim), ("resourceClaimTemplateName", template)] {
        if let Some(text) = text {
            for complaint in name::dns1123_subdomain(text) {
                errors.invalid(path.child(field), text, complaint);
            }
        }
    }
}

/// Notes every mistake in what a container, or a pod as a whole, takes of the claims of its pod.
pub(super) fn validate_taken(
    taken: Option<&[ResourceClaim]>,
    spec: &PodSpec,
    path: impl Fn() -> Path,
    errors: &mut Errors,
) {
    let known: BTreeSet<&str> =
        spec.resource_claims.iter().flatten().map(|it| it.name.as_str()).filter(|it| !it.is_empty()).collect();
    // A claim by its name, or one request of it.
    let mut seen: HashSet<(&str, &str)> = HashSet::new();
    for (at, it) in taken.unwrap_or_default().iter().enumerate() {
        let path = || path().index(at);
        let (name, request) = (it.name.as_str(), it.request.as_deref().unwrap_or_default());
        if name.is_empty() {
            errors.required(path(), "");
            continue;
        }
        if seen.contains(&(name, "")) {
            errors.duplicate(path(), name);
        } else {
            if !request.is_empty() {
                for complaint in name::dns1123_label(request) {
                    errors.invalid(path().child("request"), request, complaint);
                }
            }
            if seen.contains(&(name, request)) {
                errors.duplicate(path(), format!("{name}/{request}"));
            } else if request.is_empty() {
                // The whole overlaps with each part that was taken before.
                seen.iter().filter(|(of, _)| *of == name).for_each(|_| errors.duplicate(path(), name));
            }
            seen.insert((name, request));
        }
        if !known.contains(name) {
            let names: Vec<&str> = known.iter().copied().collect();
            let which = if names.is_empty() { " which is empty".to_owned() } else { format!(": {}", names.join(", ")) };
            let why = format!("must be one of the names in pod.spec.resourceClaims{which}");
            errors.not_found_explained(path(), name, why);
        }
    }
}

/// Notes every mistake in what is told of the claims of a pod.
pub fn validate_statuses(
    statuses: Option<&[PodResourceClaimStatus]>,
    spec: &PodSpec,
    path: &Path,
    errors: &mut Errors,
) {
    let mut seen = HashSet::new();
    for (at, it) in statuses.unwrap_or_default().iter().enumerate() {
        let path = || path.index(at).child("name");
        if !spec.resource_claims.iter().flatten().any(|claim| claim.name == it.name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.invalid(path(), &it.name, why);
        }
        if !seen.insert(it.name.as_str()) {
            errors.duplicate(path(), &it.name);
        }
        if let Some(claim) = &it.resource_claim_name {
            // Sic, in Kubernetes: at the name of the entry.
            for complaint in name::dns1123_subdomain(claim) {
                errors.invalid(path(), claim, complaint);
            }
        }
    }
}
