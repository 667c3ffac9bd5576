//! What kinds share that keep so many pods of one template: the rules for selector, template and numbers.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/apps/validation`.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::kinds::pod_spec::{validation, warnings};
use crate::meta::{validate_annotations, validate_labels};
use crate::name;
use crate::selector::label::{self, Selector};

/// What becomes of the name of a workload in its pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOfPods {
    /// Their names are built from it, and Kubernetes warns of a name that is not good for a host.
    Built,
    /// Nothing that Kubernetes would warn of.
    Unread,
}

/// What whoever writes a workload is told of its name and of the template at `spec.template`: when it is created, and when an update
/// changes what is wanted.
pub fn warnings(
    template: Option<&PodTemplateSpec>,
    metadata: &ObjectMeta,
    old: Option<&ObjectMeta>,
    name: NameOfPods,
) -> Vec<String> {
    let told = name_warning(metadata, old).filter(|_| name == NameOfPods::Built);
    let template = template.filter(|_| old.is_none_or(|it| it.generation != metadata.generation));
    let path = || Path::new("spec").child("template");
    told.into_iter().chain(template.into_iter().flat_map(|it| warnings::of_template(it, &path()))).collect()
}

/// The warning about a new workload's name that its pods' hosts could not have.
pub fn name_warning(metadata: &ObjectMeta, old: Option<&ObjectMeta>) -> Option<String> {
    let complaints = name::dns1123_label(metadata.name.as_deref().unwrap_or_default());
    (old.is_none() && !complaints.is_empty()).then(|| {
        let why = "this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended";
        format!("metadata.name: {why}: [{}]", complaints.join(" "))
    })
}

/// Notes every mistake in the metadata of a template, which may have labels and annotations and nothing else.
pub fn validate_template_metadata(metadata: &ObjectMeta, path: &Path, errors: &mut Errors) {
    validate_annotations(metadata.annotations.as_ref(), &path.child("annotations"), errors);
    validate_labels(metadata.labels.as_ref(), &path.child("labels"), errors);
    let others = ObjectMeta { annotations: None, labels: None, ..metadata.clone() };
    if let Ok(Value::Object(fields)) = serde_json::to_value(&others) {
        fields.keys().for_each(|it| errors.forbidden(path.child(it), "cannot be set"));
    }
}

/// Notes every mistake in a selector and in the template whose pods it must find.
pub fn validate(selector: &LabelSelector, template: Option<&PodTemplateSpec>, path: &Path, errors: &mut Errors) {
    let is_empty = is_empty(selector);
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
    if is_empty || !parsed.matches_with(|key| labels.and_then(|it| it.get(key)).map(String::as_str)) {
        not_found(template, &path, errors);
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

/// A selector must find the pods of the template at `path`. One that cannot be read finds nothing, which has been noted already.
pub fn must_find(selector: &LabelSelector, template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    let labels = template.metadata.as_ref().and_then(|it| it.labels.as_ref());
    let found = Selector::from_label_selector(selector)
        .is_ok_and(|it| it.matches_with(|key| labels.and_then(|it| it.get(key)).map(String::as_str)));
    if !found {
        not_found(template, path, errors);
    }
}

/// The complaint that a template's pods are not among those selected.
pub fn not_found(template: &PodTemplateSpec, path: &Path, errors: &mut Errors) {
    let labels = template.metadata.as_ref().and_then(|it| it.labels.as_ref()).filter(|it| !it.is_empty());
    errors.invalid(path.child("metadata").child("labels"), labels, "`selector` does not match template `labels`");
}

/// Whether a selector says nothing.
pub fn is_empty(selector: &LabelSelector) -> bool {
    selector.match_labels.as_ref().is_none_or(|it| it.is_empty())
        && selector.match_expressions.as_ref().is_none_or(Vec::is_empty)
}

/// Notes what a pod of this template may not be where pods run for ever. `kind` is the owner's, as messages name it.
pub fn must_run_always(template: &PodTemplateSpec, kind: &str, path: &Path, errors: &mut Errors) {
    let Some(spec) = &template.spec else { return };
    let path = path.child("spec");
    if let Some(policy) = spec.restart_policy.as_deref().filter(|it| *it != "Always") {
        errors.not_supported(path.child("restartPolicy"), policy, &["Always"]);
    }
    if spec.active_deadline_seconds.is_some() {
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.forbidden(path.child("activeDeadlineSeconds"), why);
    }
}

/// A number of pods must be whole and not negative, or a percentage.
pub fn int_or_percent(value: &IntOrString, path: impl Fn() -> Path, errors: &mut Errors) {
    match value {
        IntOrString::Int(number) => checks::not_negative(Some((*number).into()), path, errors),
        IntOrString::String(text) => {
            for complaint in name::percent(text) {
                errors.invalid(path(), text, complaint);
            }
        }
    }
}

/// A percentage may not be of more pods than there are.
pub fn not_more_than_all(value: &IntOrString, path: impl Fn() -> Path, errors: &mut Errors) {
    if matches!(value, IntOrString::String(text) if name::percent(text).is_empty()) && amount(value) > 100 {
        errors.invalid(path(), value, "must not be greater than 100%");
    }
}

/// The number, whether of pods or of hundredths.
pub fn amount(value: &IntOrString) -> i64 {
    match value {
        IntOrString::Int(number) => (*number).into(),
        IntOrString::String(text) => text.trim_end_matches('%').parse().unwrap_or(0),
    }
}

/// Notes a count of collisions that goes back.
pub fn collisions_only_rise(new: Option<i32>, old: Option<i32>, errors: &mut Errors) {
    if old.is_some() && new.is_none_or(|it| Some(it) < old) {
        errors.invalid("status.collisionCount", new.unwrap_or(0), "cannot be decremented");
    }
}
