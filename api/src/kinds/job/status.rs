//! What the status of a job may say, and what it may not take back.
//!
//! Source: `validateJobStatus` in `k8s.io/kubernetes/pkg/apis/batch/validation`, and `getStatusValidationOptions` in
//! `pkg/registry/batch/job`. As there, most of what an update leaves as it was is not held against it: a change of the specification may
//! have made it wrong, and whoever runs the job needs time to mend it.

use std::collections::HashSet;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus, UncountedTerminatedPods};
use serde_json::json;

use super::{indexes, not_negative};
use crate::field::{Errors, Path};

/// A status and the one that it replaces.
struct Update<'a> {
    now: &'a JobStatus,
    then: &'a JobStatus,
    spec: &'a JobSpec,
}

fn is(status: &JobStatus, kind: &str) -> bool {
    status.conditions.iter().flatten().any(|it| it.type_ == kind && it.status == "True")
}

fn is_finished(status: &JobStatus) -> bool {
    is(status, "Complete") || is(status, "Failed")
}

impl Update<'_> {
    fn is(&self, kind: &str) -> bool {
        is(self.now, kind)
    }

    /// Whether one of these conditions came or went.
    fn turned(&self, kinds: &[&str]) -> bool {
        kinds.iter().any(|it| is(self.now, it) != is(self.then, it))
    }

    /// Whether what `of` reads has changed.
    fn changed<T: PartialEq>(&self, of: impl Fn(&JobStatus) -> T) -> bool {
        of(self.now) != of(self.then)
    }
}

/// Notes every mistake in a job's status.
pub(super) fn validate(job: &Job, old: Option<&Job>, errors: &mut Errors) {
    let (Some(status), Some(spec)) = (&job.status, &job.spec) else { return };
    let before = old.and_then(|it| it.status.clone()).unwrap_or_default();
    let update = Update { now: status, then: &before, spec };
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
    validate_end(&update, &path, errors);
    validate_finished(&update, &path, errors);
    validate_indexes(&update, &path, errors);
    if let Some(terminating) = status.terminating.filter(|it| *it > 0 && is_finished(status))
        && (update.changed(is_finished) || update.changed(|it| it.terminating))
    {
        errors.invalid(path.child("terminating"), terminating, "terminating>0 is invalid for finished job");
    }
    if let Some(ready) = status.ready.filter(|it| *it > status.active.unwrap_or(0))
        && update.changed(|it| (it.ready, it.active.unwrap_or(0)))
    {
        errors.invalid(path.child("ready"), ready, "cannot set more ready pods than active");
    }
    let conditions = path.child("conditions");
    let [complete, met] = ["Complete", "SuccessCriteriaMet"].map(|it| update.is(it));
    for (wrong, why) in [
        (met && update.is("Failed"), "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
        (met && update.is("FailureTarget"), "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"),
        (
            spec.success_policy.is_some() && complete && !met,
            "cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True",
        ),
    ] {
        if wrong {
            errors.invalid_whole(conditions.clone(), why);
        }
    }
    validate_steps(&update, &path, errors);
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

/// How a job ended, and when.
fn validate_end(update: &Update<'_>, path: &Path, errors: &mut Errors) {
    let [complete, failed, target, met] =
        ["Complete", "Failed", "FailureTarget", "SuccessCriteriaMet"].map(|it| update.is(it));
    let whole = |wrong: bool, why: &str, errors: &mut Errors| {
        if wrong {
            errors.invalid_whole(path.child("conditions"), why);
        }
    };
    let both = complete && failed && update.turned(&["Complete", "Failed"]);
    whole(both, "cannot set Complete=True and Failed=true conditions", errors);
    let both = complete && target && update.turned(&["Complete", "FailureTarget"]);
    whole(both, "cannot set Complete=True and FailureTarget=true conditions", errors);
    let ended = update.changed(|it| it.completion_time.clone());
    let time_path = || path.child("completionTime");
    match &update.now.completion_time {
        _ if !ended && !update.turned(&["Complete"]) => {}
        Some(time) if !complete => {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.invalid(time_path(), time, why);
        }
        None if complete => errors.required(time_path(), "completionTime is required for Complete jobs"),
        _ => {}
    }
    if let (Some(start), Some(end)) = (&update.now.start_time, &update.now.completion_time)
        && end.0 < start.0
        && (ended || update.changed(|it| it.start_time.clone()))
    {
        errors.invalid(time_path(), end, "completionTime cannot be set before startTime");
    }
    let alone = failed && !target && update.turned(&["Failed", "FailureTarget"]);
    whole(alone, "cannot set Failed=True condition without the FailureTarget=true condition", errors);
    let alone = complete && !met && update.turned(&["Complete", "SuccessCriteriaMet"]);
    whole(alone, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition", errors);
}

fn validate_finished(update: &Update<'_>, path: &Path, errors: &mut Errors) {
    let now = update.now;
    if !is_finished(now) {
        return;
    }
    let turned = update.changed(is_finished);
    let active = now.active.unwrap_or(0);
    if active > 0 && (turned || update.changed(|it| it.active.unwrap_or(0))) {
        errors.invalid(path.child("active"), active, "active>0 is invalid for finished job");
    }
    if now.start_time.is_none() && (turned || update.changed(|it| it.start_time.clone())) {
        errors.required(path.child("startTime"), "startTime is required for finished job");
    }
    if let Some(uncounted) = &now.uncounted_terminated_pods
        && [&uncounted.failed, &uncounted.succeeded].iter().any(|it| it.as_ref().is_some_and(|it| !it.is_empty()))
        && (turned || update.changed(|it| it.uncounted_terminated_pods.clone()))
    {
        let why = "uncountedTerminatedPods needs to be empty for finished job";
        errors.invalid_text(path.child("uncountedTerminatedPods"), shown(uncounted), why);
    }
}

/// Uncounted pods as Kubernetes shows them: its internal form.
fn shown(it: &UncountedTerminatedPods) -> String {
    format!("{{\"Succeeded\":{},\"Failed\":{}}}", json!(it.succeeded), json!(it.failed))
}

fn validate_indexes(update: &Update<'_>, path: &Path, errors: &mut Errors) {
    let (now, spec) = (update.now, update.spec);
    let completed = now.completed_indexes.as_deref().unwrap_or_default();
    let of_completed = update.changed(|it| it.completed_indexes.clone().unwrap_or_default());
    let of_failed = update.changed(|it| it.failed_indexes.clone());
    let path = |field: &str| path.child(field);
    if let (Some(completions), true) = (spec.completions, of_completed)
        && let Err(why) = indexes::count(completed, completions)
    {
        errors.invalid(path("completedIndexes"), completed, format!("error parsing completedIndexes: {why}"));
    }
    if let (Some(failed), Some(completions), Some(_)) =
        (&now.failed_indexes, spec.completions, spec.backoff_limit_per_index)
        && of_failed
        && let Err(why) = indexes::count(failed, completions)
    {
        errors.invalid(path("failedIndexes"), failed, format!("error parsing failedIndexes: {why}"));
    }
    if of_completed && !completed.is_empty() && spec.completion_mode.as_deref() != Some("Indexed") {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        errors.invalid(path("completedIndexes"), completed, why);
    }
    let Some(failed) = &now.failed_indexes else { return };
    if of_failed && spec.backoff_limit_per_index.is_none() {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        errors.invalid(path("failedIndexes"), failed, why);
    }
    if let Some(completions) = spec.completions
        && (of_failed || of_completed)
        && let Some(index) = indexes::overlap(completed, failed, completions)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {index}");
        errors.invalid(path("failedIndexes"), failed, why);
    }
}

/// What an update may not take back.
fn validate_steps(update: &Update<'_>, path: &Path, errors: &mut Errors) {
    let (now, then, spec) = (update.now, update.then, update.spec);
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is(then, kind) && !is(now, kind) {
            let why = format!("cannot disable the terminal {kind}=True condition");
            errors.invalid_whole(path.child("conditions"), why);
        }
    }
    // A job that may be scaled down has fewer indexes then, and fewer that have succeeded.
    let shrinks = spec.completion_mode.as_deref() == Some("Indexed") && spec.completions == spec.parallelism;
    for (field, now, then, may_fall) in
        [("failed", now.failed, then.failed, false), ("succeeded", now.succeeded, then.succeeded, shrinks)]
    {
        if !may_fall && now.unwrap_or(0) < then.unwrap_or(0) {
            errors.invalid(path.child(field), now.unwrap_or(0), format!("cannot decrease the {field} counter"));
        }
    }
    if let (Some(end), Some(before)) = (&now.completion_time, &then.completion_time)
        && end != before
    {
        errors.invalid(path.child("completionTime"), end, "completionTime cannot be mutated");
    }
    if then.start_time.is_some() && then.start_time != now.start_time && spec.suspend != Some(true) {
        errors.required(path.child("startTime"), "startTime cannot be removed for unsuspended job");
    }
    let [met_then, met] = [then, now].map(|it| is(it, "SuccessCriteriaMet"));
    if met_then && !met {
        errors.invalid_whole(path.child("conditions"), "cannot disable the SuccessCriteriaMet=True condition");
    }
    if is(then, "Complete") && !met_then && met {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.invalid_whole(path.child("conditions"), why);
    }
}
