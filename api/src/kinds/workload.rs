//! What kinds share that keep so many pods of one template: the rules for selector, template and numbers.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/apps/validation`.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::kinds::pod_spec::validation;
use crate::selector::label::{self, Selector};

/// Notes every mistake in a selector and in the template whose pods it must find.
pub fn validate(selector: &LabelSelector, template: Option<&PodTemplateSpec>, path: &Path, errors: &mut Errors) {
    let is_empty = selector.match_labels.as_ref().is_none_or(|it| it.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty);
    if is_empty {
        errors.required(path.child("selector"), "");
    }
    label::validate(selector, &path.child("selector"), errors);
    let Ok(parsed) = Selector::from_label_selector(selector) else {
        // What cannot be read selects nothing, so that there is nothing to hold the template against.
        return errors.invalid(path.child("selector"), selector, "invalid label selector");
    };
    let path = path.child("template");
    let Some(template) = template else {
        errors.required(path, "");
        return;
    };
    let labels = template.metadata.as_ref().and_then(|it| it.labels.as_ref());
    let found = parsed.matches_with(|key| labels.and_then(|it| it.get(key)).map(String::as_str));
    if is_empty || !found {
        let shown = labels.filter(|it| !it.is_empty());
        errors.invalid(path.child("metadata").child("labels"), shown, "`selector` does not match template `labels`");
    }
    validation::validate_template(template, &path, errors);
    if let Some(spec) = &template.spec {
        // A pod that ends would be replaced for ever: only those fit here that never do.
        if let Some(policy) = spec.restart_policy.as_deref().filter(|it| *it != "Always") {
            errors.not_supported(path.child("spec").child("restartPolicy"), policy, &["Always"]);
        }
        if spec.active_deadline_seconds.is_some() {
            errors.forbidden(
                path.child("spec").child("activeDeadlineSeconds"),
                "activeDeadlineSeconds in ReplicaSet is not Supported",
            );
        }
    }
}

/// Notes which numbers of a status are negative, or more than what they are part of. All of `parts` but
/// `unavailableReplicas` are part of `total`; `availableReplicas` are part of `readyReplicas` too.
pub fn validate_counts(total: Option<i32>, parts: &[(&str, Option<i32>)], observed: Option<i64>, errors: &mut Errors) {
    let path = Path::new("status");
    checks::not_negative(total.map(i64::from), || path.child("replicas"), errors);
    for (field, number) in parts {
        checks::not_negative(number.map(i64::from), || path.child(field), errors);
    }
    checks::not_negative(observed, || path.child("observedGeneration"), errors);
    // Those that wait are not part of those that are there.
    for (field, number) in parts.iter().filter(|(field, _)| *field != "unavailableReplicas") {
        if number.unwrap_or(0) > total.unwrap_or(0) {
            errors.invalid(path.child(field), number, "cannot be greater than status.replicas");
        }
    }
    let of = |wanted: &str| parts.iter().find(|(field, _)| *field == wanted).and_then(|(_, it)| *it).unwrap_or(0);
    let available = of("availableReplicas");
    if available > of("readyReplicas") {
        errors.invalid(path.child("availableReplicas"), available, "cannot be greater than readyReplicas");
    }
}
