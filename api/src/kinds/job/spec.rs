//! The rules for a job's specification, as jobs and the templates of cron jobs share it.
//!
//! Source: `k8s.io/kubernetes/pkg/apis/batch/validation`.

use k8s_openapi::api::batch::v1::JobSpec;
use k8s_openapi::api::core::v1::{Affinity, PodTemplateSpec};
use serde::Serialize;

use super::{not_negative, policies};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::kinds::pod_spec::{defaults, validation, warnings};

/// Above so many completions, a job with a back-off limit per index may have fewer pods at once and fewer failed indexes: all of
/// them stand in its status, as text.
const COMPLETIONS_SOFT_LIMIT: i32 = 100_000;
const PARALLELISM_LIMIT_ABOVE: i32 = 10_000;
const FAILED_INDEXES_LIMIT_ABOVE: i32 = 10_000;
/// How many pods of an indexed job may run at once, and how many of its indexes may fail.
const INDEXED_PARALLELISM_LIMIT: i32 = 100_000;
const FAILED_INDEXES_LIMIT: i32 = 100_000;
const MANAGER_LIMIT_BYTES: usize = 63;

/// Fills in what a job's template gets, also where the job is a cron job's.
pub fn default_template(spec: &mut JobSpec) {
    for pattern in
        spec.pod_failure_policy.iter_mut().flat_map(|it| &mut it.rules).flat_map(|it| &mut it.on_pod_conditions)
    {
        for condition in pattern {
            checks::fill(&mut condition.status, "True");
        }
    }
    defaults::default_spec(spec.template.spec.get_or_insert_with(Default::default));
}

/// Adds the warnings about a job, and about its template.
pub fn warn(spec: &JobSpec, path: &Path, out: &mut Vec<String>) {
    let indexed = spec.completion_mode.as_deref() == Some("Indexed");
    let many = spec.completions.unwrap_or(0) > COMPLETIONS_SOFT_LIMIT
        && spec.parallelism.unwrap_or(0) > PARALLELISM_LIMIT_ABOVE;
    if indexed && many {
        out.push(format!("{path}: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"));
    }
    out.extend(warnings::of_template(&spec.template, &path.child("template")));
}

/// Notes every mistake but those of the selector.
pub fn validate(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    not_negative(
        &[
            ("parallelism", spec.parallelism.map(i64::from)),
            ("completions", spec.completions.map(i64::from)),
            ("activeDeadlineSeconds", spec.active_deadline_seconds),
            ("backoffLimit", spec.backoff_limit.map(i64::from)),
            ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished.map(i64::from)),
            ("backoffLimitPerIndex", spec.backoff_limit_per_index.map(i64::from)),
            ("maxFailedIndexes", spec.max_failed_indexes.map(i64::from)),
        ],
        path,
        errors,
    );
    if spec.max_failed_indexes.is_some() && spec.backoff_limit_per_index.is_none() {
        errors.required(path.child("backoffLimitPerIndex"), "when maxFailedIndexes is specified");
    }
    if let Some(manager) = &spec.managed_by {
        checks::domain_prefixed_path(manager, || path.child("managedBy"), errors);
        if manager.len() > MANAGER_LIMIT_BYTES {
            errors.too_long(path.child("managedBy"), MANAGER_LIMIT_BYTES);
        }
    }
    checks::none_or_one_of(
        spec.completion_mode.as_deref(),
        &["NonIndexed", "Indexed"],
        || path.child("completionMode"),
        errors,
    );
    match spec.completion_mode.as_deref() {
        Some("Indexed") => validate_indexed(spec, path, errors),
        None | Some("NonIndexed") => {
            for (field, number) in
                [("backoffLimitPerIndex", spec.backoff_limit_per_index), ("maxFailedIndexes", spec.max_failed_indexes)]
            {
                if let Some(number) = number {
                    errors.invalid(path.child(field), number, "requires indexed completion mode");
                }
            }
        }
        Some(_) => {}
    }
    policies::validate(spec, path, errors);
    validation::validate_template(&spec.template, &path.child("template"), errors);
    validate_restarts(spec, path, errors);
}

fn validate_indexed(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    if spec.completions.is_none() {
        errors.required(path.child("completions"), "when completion mode is Indexed");
    }
    if let Some(parallelism) = spec.parallelism.filter(|it| *it > INDEXED_PARALLELISM_LIMIT) {
        let why = format!("must be less than or equal to {INDEXED_PARALLELISM_LIMIT} when completion mode is Indexed");
        errors.invalid(path.child("parallelism"), parallelism, why);
    }
    let failed = spec.max_failed_indexes;
    if let (Some(failed), Some(completions)) = (failed, spec.completions)
        && failed > completions
    {
        errors.invalid(path.child("maxFailedIndexes"), failed, "must be less than or equal to completions");
    }
    if let Some(failed) = failed.filter(|it| *it > FAILED_INDEXES_LIMIT) {
        let why = format!("must be less than or equal to {FAILED_INDEXES_LIMIT}");
        errors.invalid(path.child("maxFailedIndexes"), failed, why);
    }
    if spec.completions.unwrap_or(0) <= COMPLETIONS_SOFT_LIMIT || spec.backoff_limit_per_index.is_none() {
        return;
    }
    if failed.is_none() {
        let why = format!("must be specified when completions is above {COMPLETIONS_SOFT_LIMIT}");
        errors.required(path.child("maxFailedIndexes"), why);
    }
    for (field, number, limit) in [
        ("parallelism", spec.parallelism, PARALLELISM_LIMIT_ABOVE),
        ("maxFailedIndexes", failed, FAILED_INDEXES_LIMIT_ABOVE),
    ] {
        if let Some(number) = number.filter(|it| *it > limit) {
            let why = format!(
                "must be less than or equal to {limit} when completions are above {COMPLETIONS_SOFT_LIMIT} and used with backoff limit per index"
            );
            errors.invalid(path.child(field), number, why);
        }
    }
}

/// Pods that run for ever would never complete.
fn validate_restarts(spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let policy = spec.template.spec.as_ref().and_then(|it| it.restart_policy.as_deref()).unwrap_or_default();
    let path = || path.child("template").child("spec").child("restartPolicy");
    match policy {
        "" | "Always" => errors.required(path(), "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if spec.pod_failure_policy.is_some() => {
            errors.invalid(path(), policy, "only \"Never\" is supported when podFailurePolicy is specified");
        }
        "OnFailure" | "Never" => {}
        other => errors.not_supported(path(), other, &["OnFailure", "Never"]),
    }
}

/// Notes what an update changes that it may not. A job that `waits` has not been started: where its pods go may change still.
pub fn validate_update(new: &JobSpec, old: &JobSpec, waits: bool, path: &Path, errors: &mut Errors) {
    if new.completions != old.completions {
        if new.completion_mode.as_deref() != Some("Indexed") {
            fixed(new.completions.as_ref(), old.completions.as_ref(), json, path.child("completions"), errors);
        } else if new.completions.is_some() && new.completions != new.parallelism {
            let why = "can only be modified in tandem with spec.parallelism";
            errors.invalid(path.child("completions"), new.completions, why);
        }
    }
    fixed(new.selector.as_ref(), old.selector.as_ref(), json, path.child("selector"), errors);
    let mut before = old.template.clone();
    if waits {
        take_directives(&mut before, &new.template);
    }
    checks::immutable(&new.template, &before, path.child("template"), errors);
    let mode = path.child("completionMode");
    fixed(new.completion_mode.as_ref(), old.completion_mode.as_ref(), json, mode, errors);
    let (now, then) = (new.pod_failure_policy.as_ref(), old.pod_failure_policy.as_ref());
    fixed(now, then, policies::shown_failure, path.child("podFailurePolicy"), errors);
    let (now, then) = (new.backoff_limit_per_index.as_ref(), old.backoff_limit_per_index.as_ref());
    fixed(now, then, json, path.child("backoffLimitPerIndex"), errors);
    fixed(new.managed_by.as_ref(), old.managed_by.as_ref(), json, path.child("managedBy"), errors);
    let (now, then) = (new.success_policy.as_ref(), old.success_policy.as_ref());
    fixed(now, then, policies::shown_success, path.child("successPolicy"), errors);
}

/// A field may not change that is a pointer in Kubernetes' type: one that is gone is shown as a word in quotes.
fn fixed<T: PartialEq>(now: Option<&T>, then: Option<&T>, shown: fn(&T) -> String, path: Path, errors: &mut Errors) {
    if now != then {
        errors.invalid_text(path, now.map_or_else(|| json(&"null"), shown), "field is immutable");
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::json!(value).to_string()
}

/// Makes `old` differ from `new` no more in what says where pods go.
fn take_directives(old: &mut PodTemplateSpec, new: &PodTemplateSpec) {
    let metadata = old.metadata.get_or_insert_with(Default::default);
    metadata.annotations = new.metadata.as_ref().and_then(|it| it.annotations.clone());
    metadata.labels = new.metadata.as_ref().and_then(|it| it.labels.clone());
    if new.metadata.is_none() && *metadata == Default::default() {
        old.metadata = None;
    }
    let (Some(old), Some(new)) = (&mut old.spec, &new.spec) else { return };
    let node = new.affinity.as_ref().and_then(|it| it.node_affinity.clone());
    old.affinity.get_or_insert_with(Affinity::default).node_affinity = node;
    if new.affinity.is_none() {
        old.affinity.take_if(|it| *it == Affinity::default());
    }
    old.node_selector.clone_from(&new.node_selector);
    old.tolerations.clone_from(&new.tolerations);
    old.scheduling_gates.clone_from(&new.scheduling_gates);
}
