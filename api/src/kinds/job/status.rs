//! What the status of a job may say, and what it may not take back.
//!
//! Source: `validateJobStatus` in `k8s.io/kubernetes/pkg/apis/batch/validation`. As there, what an update leaves as it was is not
//! held against it.

use std::collections::HashSet;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};

use super::{indexes, not_negative};
use crate::field::{Errors, Path};

fn is(status: &JobStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|it| it.type_ == kind && it.status == "True")
}

/// Notes every mistake in a job's status.
pub(super) fn validate(job: &Job, old: Option<&Job>, errors: &mut Errors) {
    let (Some(status), Some(spec)) = (&job.status, &job.spec) else { return };
    let before = old.and_then(|it| it.status.clone()).unwrap_or_default();
    if *status == before {
        return;
    }
    let path = Path::new("status");
    not_negative(
        &[
            ("active", status.active.map(i64::from)),
            ("succeeded", status.succeeded.map(i64::from)),
            ("failed", status.failed.map(i64::from)),
            ("ready", status.ready.map(i64::from)),
            ("terminating", status.terminating.map(i64::from)),
        ],
        &path,
        errors,
    );
    validate_uncounted(status, &path, errors);
    validate_conditions(status, spec, &path, errors);
    validate_times(status, spec, &before, &path, errors);
    if is(status, "Complete") || is(status, "Failed") {
        validate_finished(status, &path, errors);
    }
    if status.ready.unwrap_or(0) > status.active.unwrap_or(0) {
        errors.invalid(path.child("ready"), status.ready, "cannot set more ready pods than active");
    }
    validate_indexes(status, spec, &path, errors);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is(&before, kind) && !is(status, kind) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            errors.invalid_whole(path.child("conditions"), why);
        }
    }
    for (field, now, then) in
        [("failed", status.failed, before.failed), ("succeeded", status.succeeded, before.succeeded)]
    {
        if now.unwrap_or(0) < then.unwrap_or(0) {
            errors.invalid(path.child(field), now.unwrap_or(0), format!("cannot decrease the {field} counter"));
        }
    }
    if is(&before, "SuccessCriteriaMet") && !is(status, "SuccessCriteriaMet") {
        errors.invalid_whole(path.child("conditions"), "cannot disable the SuccessCriteriaMet=True condition");
    }
}

fn validate_uncounted(status: &JobStatus, path: &Path, errors: &mut Errors) {
    let Some(uncounted) = &status.uncounted_terminated_pods else { return };
    let path = path.child("uncountedTerminatedPods");
    let mut seen = HashSet::new();
    for (field, uids) in [("succeeded", &uncounted.succeeded), ("failed", &uncounted.failed)] {
        for (at, uid) in uids.iter().flatten().enumerate() {
            let path = || path.child(field).index(at);
            if uid.is_empty() {
                errors.invalid(path(), uid, "must not be empty");
            } else if !seen.insert(uid) {
                errors.duplicate(path(), uid);
            }
        }
    }
}

fn validate_conditions(status: &JobStatus, spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let [complete, failed, target, met] =
        ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"].map(|it| is(status, it));
    let policy = spec.success_policy.is_some();
    for (wrong, why) in [
        (complete && failed, "cannot set Complete=True and Failed=true conditions"),
        (complete && target, "cannot set Complete=True and FailureTarget=true conditions"),
        (failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition"),
        (complete && !met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"),
        (met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
        (
            policy && complete && !met,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ] {
        if wrong {
            errors.invalid_whole(path.child("conditions"), why);
        }
    }
}

fn validate_times(status: &JobStatus, spec: &JobSpec, before: &JobStatus, path: &Path, errors: &mut Errors) {
    let complete = is(status, "Complete");
    match &status.completion_time {
        Some(time) if !complete => {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid(path.child("completionTime"), time, why);
        }
        None if complete => {
            errors.required(path.child("completionTime"), "completionTime is required for Complete jobs");
        }
        _ => {}
    }
    if let (Some(start), Some(end)) = (&status.start_time, &status.completion_time)
        && end.0 < start.0
    {
        errors.invalid(path.child("completionTime"), end, "completionTime cannot be set before startTime");
    }
    if let (Some(now), Some(then)) = (&status.completion_time, &before.completion_time)
        && now != then
    {
        errors.invalid(path.child("completionTime"), now, "completionTime cannot be mutated");
    }
    if before.start_time.is_some() && before.start_time != status.start_time && spec.suspend != Some(true) {
        errors.required(path.child("startTime"), "startTime cannot be removed for unsuspended job");
    }
}

fn validate_finished(status: &JobStatus, path: &Path, errors: &mut Errors) {
    if let Some(active) = status.active.filter(|it| *it > 0) {
        errors.invalid(path.child("active"), active, "active>0 is invalid for finished job");
    }
    if let Some(terminating) = status.terminating.filter(|it| *it > 0) {
        errors.invalid(path.child("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    if status.start_time.is_none() {
        errors.required(path.child("startTime"), "startTime is required for finished job");
    }
    if let Some(uncounted) = &status.uncounted_terminated_pods
        && [&uncounted.failed, &uncounted.succeeded].iter().any(|it| it.as_ref().is_some_and(|it| !it.is_empty()))
    {
        let why = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid(path.child("uncountedTerminatedPods"), uncounted, why);
    }
}

fn validate_indexes(status: &JobStatus, spec: &JobSpec, path: &Path, errors: &mut Errors) {
    let completed = status.completed_indexes.as_deref().unwrap_or_default();
    if let Some(completions) = spec.completions {
        if let Err(why) = indexes::count(completed, completions) {
            let why = format!("error parsing completedIndexes: {why}");
            errors.invalid(path.child("completedIndexes"), completed, why);
        }
        if let (Some(failed), Some(_)) = (&status.failed_indexes, spec.backoff_limit_per_index)
            && let Err(why) = indexes::count(failed, completions)
        {
            errors.invalid(path.child("failedIndexes"), failed, format!("error parsing failedIndexes: {why}"));
        }
    }
    if !completed.is_empty() && spec.completion_mode.as_deref() != Some("Indexed") {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(path.child("completedIndexes"), completed, why);
    }
    if let (Some(failed), None) = (&status.failed_indexes, spec.backoff_limit_per_index) {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(path.child("failedIndexes"), failed, why);
    }
}
