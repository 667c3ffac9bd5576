//! Which failures of pods end a job, which successes suffice, and when a pod is replaced.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/batch/validation`.

use std::collections::HashSet;

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule, SuccessPolicy,
    SuccessPolicyRule,
};
use serde_json::{Value, json};

use super::indexes;
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

const RULES_LIMIT: usize = 20;
const CONDITIONS_LIMIT: usize = 20;
const EXIT_CODES_LIMIT: usize = 255;
/// 64 KiB: the longest text of indexes.
const INDEXES_LIMIT_BYTES: usize = 64 * 1024;

const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];

/// Notes every mistake in the policies of a job.
pub(super) fn validate(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    if let Some(policy) = &spec.pod_failure_policy {
        let path = path.child("podFailurePolicy").child("rules");
        if policy.rules.len() > RULES_LIMIT {
            errors.too_many(path.clone(), policy.rules.len(), RULES_LIMIT);
        }
        for (at, rule) in policy.rules.iter().enumerate() {
            validate_failure(spec, rule, &path.index(at), errors);
        }
    }
    if let Some(policy) = &spec.success_policy {
        let path = path.child("successPolicy");
        if spec.completion_mode.as_deref() == Some("Indexed") {
            let path = path.child("rules");
            if policy.rules.is_empty() {
                let why = "at least one rules must be specified when the successPolicy is specified";
                errors.required(path.clone(), why);
            }
            if policy.rules.len() > RULES_LIMIT {
                errors.too_many(path.clone(), policy.rules.len(), RULES_LIMIT);
            }
            for (at, rule) in policy.rules.iter().enumerate() {
                validate_success(spec.completions.unwrap_or(0), rule, &path.index(at), errors);
            }
        } else {
            errors.invalid_text(path, shown_success(policy), "requires indexed completion mode");
        }
    }
    // Pods that may yet be found to have failed for good must not be replaced while they end.
    let replaced: &[&str] =
        if spec.pod_failure_policy.is_some() { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    let policy = spec.pod_replacement_policy.as_deref();
    checks::none_or_one_of(policy, replaced, || path.child("podReplacementPolicy"), errors);
}

/// A success policy as Kubernetes shows it: its internal form.
pub(super) fn shown_success(policy: &SuccessPolicy) -> String {
    let rules = policy.rules.iter().map(|it| {
        let (indexes, count) = (json!(it.succeeded_indexes), json!(it.succeeded_count));
        format!("{{\"SucceededIndexes\":{indexes},\"SucceededCount\":{count}}}")
    });
    format!("{{\"Rules\":[{}]}}", rules.collect::<Vec<_>>().join(","))
}

/// A pod failure policy as Kubernetes shows it: its internal form.
pub(super) fn shown_failure(policy: &PodFailurePolicy) -> String {
    let codes = |it: &PodFailurePolicyOnExitCodesRequirement| {
        let (container, operator, values) = (json!(it.container_name), json!(it.operator), json!(it.values));
        format!("{{\"ContainerName\":{container},\"Operator\":{operator},\"Values\":{values}}}")
    };
    let rules = policy.rules.iter().map(|it| {
        let conditions = it.on_pod_conditions.as_ref().map(|it| {
            let pairs = it.iter().map(|it| format!("{{\"Type\":{},\"Status\":{}}}", json!(it.type_), json!(it.status)));
            format!("[{}]", pairs.collect::<Vec<_>>().join(","))
        });
        let null = || Value::Null.to_string();
        format!(
            "{{\"Action\":{},\"OnExitCodes\":{},\"OnPodConditions\":{}}}",
            json!(it.action),
            it.on_exit_codes.as_ref().map_or_else(null, codes),
            conditions.unwrap_or_else(null),
        )
    });
    format!("{{\"Rules\":[{}]}}", rules.collect::<Vec<_>>().join(","))
}

fn validate_failure(spec: &JobSpec, rule: &PodFailurePolicyRule, path: &Path, errors: &mut Errors) {
    match rule.action.as_str() {
        "" => errors.required(path.child("action"), "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]"),
        "FailIndex" if spec.backoff_limit_per_index.is_none() => {
            errors.invalid(path.child("action"), "FailIndex", "requires the backoffLimitPerIndex to be set");
        }
        action if ACTIONS.contains(&action) => {}
        other => errors.not_supported(path.child("action"), other, ACTIONS),
    }
    if let Some(codes) = &rule.on_exit_codes {
        validate_exit_codes(spec, codes, &path.child("onExitCodes"), errors);
    }
    let conditions = rule.on_pod_conditions.as_deref().unwrap_or_default();
    let conditions_path = path.child("onPodConditions");
    if conditions.len() > CONDITIONS_LIMIT {
        errors.too_many(conditions_path.clone(), conditions.len(), CONDITIONS_LIMIT);
    }
    for (at, pattern) in conditions.iter().enumerate() {
        let path = conditions_path.index(at);
        for complaint in name::qualified_name(&pattern.type_) {
            errors.invalid(path.child("type"), &pattern.type_, complaint);
        }
        let status = pattern.status.as_deref();
        checks::none_or_one_of(status, &["False", "True", "Unknown"], || path.child("status"), errors);
    }
    let both = "specifying both OnExitCodes and OnPodConditions is not supported";
    let none = "specifying one of OnExitCodes and OnPodConditions is required";
    match (rule.on_exit_codes.is_some(), conditions.is_empty()) {
        (true, false) => errors.invalid_whole(path.clone(), both),
        (false, true) => errors.invalid_whole(path.clone(), none),
        _ => {}
    }
}

fn validate_exit_codes(
    spec: &JobSpec,
    codes: &PodFailurePolicyOnExitCodesRequirement,
    path: &Path,
    errors: &mut Errors,
) {
    match codes.operator.as_str() {
        "" => errors.required(path.child("operator"), "valid values: [\"In\" \"NotIn\"]"),
        "In" | "NotIn" => {}
        other => errors.not_supported(path.child("operator"), other, &["In", "NotIn"]),
    }
    let pod = spec.template.spec.as_ref();
    let mut containers = pod.into_iter().flat_map(|it| it.containers.iter().chain(it.init_containers.iter().flatten()));
    if let Some(name) = &codes.container_name
        && !containers.any(|it| it.name == *name)
    {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.invalid(path.child("containerName"), name, why);
    }
    let path = path.child("values");
    match codes.values.len() {
        0 => errors.invalid(path.clone(), &codes.values, "at least one value is required"),
        many if many > EXIT_CODES_LIMIT => errors.too_many(path.clone(), many, EXIT_CODES_LIMIT),
        _ => {}
    }
    let mut seen = HashSet::new();
    for (at, value) in codes.values.iter().enumerate() {
        if codes.operator == "In" && *value == 0 {
            errors.invalid(path.index(at), value, "must not be 0 for the In operator");
        }
        if !seen.insert(*value) {
            errors.duplicate(path.index(at), value);
        }
    }
    if !codes.values.is_sorted() {
        errors.invalid(path, &codes.values, "must be ordered");
    }
}

fn validate_success(completions: i32, rule: &SuccessPolicyRule, path: &Path, errors: &mut Errors) {
    if rule.succeeded_count.is_none() && rule.succeeded_indexes.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.required(path.clone(), why);
    }
    let mut total = 0;
    if let Some(text) = &rule.succeeded_indexes {
        let path = path.child("succeededIndexes");
        if text.len() > INDEXES_LIMIT_BYTES {
            errors.too_long(path.clone(), INDEXES_LIMIT_BYTES);
        }
        match indexes::count(text, completions) {
            Ok(count) => total = count,
            Err(why) => errors.invalid(path, text, format!("error parsing succeededIndexes: {why}")),
        }
    }
    if let Some(count) = rule.succeeded_count {
        let path = path.child("succeededCount");
        checks::not_negative(Some(count.into()), || path.clone(), errors);
        if count > completions {
            let why = format!("must be less than or equal to {completions} (the number of specified completions)");
            errors.invalid(path.clone(), count, why);
        }
        if rule.succeeded_indexes.is_some() && i64::from(count) > total {
            let why = format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            );
            errors.invalid(path, count, why);
        }
    }
}
