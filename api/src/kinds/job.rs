//! `Job`: pods of one template that run until so many of them have succeeded.
//!
//! Unless its author selects by hand, a job selects its pods by its own uid: [`select_by_uid`] writes selector and labels when it is made.

mod columns;
mod indexes;
mod policies;
pub mod spec;
mod status;

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{Job, JobSpec, JobStatus};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Selectable, Strategy, Sub};
use crate::kinds::checks;
use crate::kinds::workload;
use crate::name;
use crate::selector::label::{self, Selector};
use crate::table::Column;

/// The labels of a job's pods: the job's uid and name, each under its newer and its older key.
const UID_LABEL: &str = "batch.kubernetes.io/controller-uid";
const OLDER_UID_LABEL: &str = "controller-uid";
const NAME_LABEL: &str = "batch.kubernetes.io/job-name";
const OLDER_NAME_LABEL: &str = "job-name";

impl Strategy for Job {
    const NAMES: Names = Names { plural: "jobs", singular: "job", short: &[], categories: &["all"] };
    const SUBS: &'static [Sub] = &[Sub::Status];
    const FIELDS: &'static [Selectable] =
        &[Selectable { path: "status.successful", absent: "0", from: &["status.succeeded"] }];
    const ORPHANS_DEPENDENTS: bool = true;
    const COLUMNS: &'static [Column] = columns::COLUMNS;

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        // One pod, once, unless the author says one of the two.
        if spec.completions.is_none() && spec.parallelism.is_none() {
            spec.completions = Some(1);
        }
        spec.parallelism.get_or_insert(1);
        let per_index = spec.backoff_limit_per_index.is_some();
        spec.backoff_limit.get_or_insert(if per_index { i32::MAX } else { 6 });
        spec.completion_mode.get_or_insert_with(|| "NonIndexed".into());
        spec.suspend.get_or_insert(false);
        let replaced = if spec.pod_failure_policy.is_some() { "Failed" } else { "TerminatingOrFailed" };
        spec.pod_replacement_policy.get_or_insert_with(|| replaced.into());
        spec.manual_selector.get_or_insert(false);
        spec::default_template(spec);
        label_like_template(self);
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => {
                self.status = Some(JobStatus::default());
                select_by_uid(self);
                label_like_template(self);
            }
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            return status::validate(self, old, errors);
        }
        let (Some(spec), before) = (&self.spec, old.and_then(|it| it.spec.as_ref())) else { return };
        if before == Some(spec) {
            return;
        }
        let path = Path::new("spec");
        validate_generated(self, spec, old, errors);
        spec::validate(spec, &path, errors);
        match &spec.selector {
            None => errors.required(path.child("selector"), ""),
            Some(selector) => label::validate(selector, &path.child("selector"), errors),
        }
        if !may_find(spec) {
            workload::not_found(&spec.template, &path.child("template"), errors);
        }
        validate_host_names(self, spec, errors);
        if let (Some(old), Some(before)) = (old, before) {
            let started = old.status.as_ref().is_some_and(|it| it.start_time.is_some());
            let waits = before.suspend == Some(true) && !started;
            spec::validate_update(spec, before, waits, &path, errors);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let old = old.map(|it| &it.metadata);
        let mut warnings: Vec<String> = workload::name_warning(&self.metadata, old).into_iter().collect();
        let changed = old.is_none_or(|it| it.generation != self.metadata.generation);
        if let Some(spec) = self.spec.as_ref().filter(|_| changed) {
            spec::warn(spec, &Path::new("spec"), &mut warnings);
        }
        warnings
    }
}

/// A job without labels has those of its pods.
fn label_like_template(job: &mut Job) {
    let labels = job.spec.as_ref().and_then(|it| it.template.metadata.as_ref()).and_then(|it| it.labels.as_ref());
    if job.metadata.labels.as_ref().is_none_or(BTreeMap::is_empty)
        && let Some(labels) = labels.filter(|it| !it.is_empty())
    {
        job.metadata.labels = Some(labels.clone());
    }
}

fn select_by_uid(job: &mut Job) {
    let (Some(uid), Some(name)) = (job.metadata.uid.clone(), job.metadata.name.clone()) else { return };
    let Some(spec) = job.spec.as_mut().filter(|it| it.manual_selector != Some(true)) else { return };
    let labels = spec.template.metadata.get_or_insert_with(Default::default).labels.get_or_insert_with(BTreeMap::new);
    // What the author has set stays, for the validation to refuse if it is something else.
    for (key, value) in [(OLDER_NAME_LABEL, &name), (NAME_LABEL, &name), (OLDER_UID_LABEL, &uid), (UID_LABEL, &uid)] {
        labels.entry(key.to_owned()).or_insert_with(|| value.clone());
    }
    let terms = spec.selector.get_or_insert_with(Default::default).match_labels.get_or_insert_with(BTreeMap::new);
    terms.entry(UID_LABEL.to_owned()).or_insert(uid);
}

/// The labels of a job's template.
fn template_labels(spec: &JobSpec) -> Option<&BTreeMap<String, String>> {
    spec.template.metadata.as_ref().and_then(|it| it.labels.as_ref())
}

/// Whether the selector finds the pods of the template. None finds nothing; one that cannot be read is not asked.
fn may_find(spec: &JobSpec) -> bool {
    let labels = template_labels(spec);
    let Some(selector) = &spec.selector else { return false };
    Selector::from_label_selector(selector)
        .map_or(true, |it| it.matches_with(|key| labels.and_then(|it| it.get(key)).map(String::as_str)))
}

/// A generated selector and the labels it finds must be those of this job and no other. A job that was made before the labels with a
/// prefix were may do without them.
fn validate_generated(job: &Job, spec: &JobSpec, old: Option<&Job>, errors: &mut Errors) {
    let (Some(selector), false) = (&spec.selector, spec.manual_selector == Some(true)) else { return };
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let name = job.metadata.name.as_deref().unwrap_or_default();
    let before = old.map(|it| it.spec.as_ref().and_then(template_labels));
    let prefixed =
        before.is_none_or(|it| it.is_some_and(|it| it.contains_key(UID_LABEL) && it.contains_key(NAME_LABEL)));
    let expected = [(OLDER_UID_LABEL, uid), (OLDER_NAME_LABEL, name), (UID_LABEL, uid), (NAME_LABEL, name)];
    let expected = if prefixed { &expected[..] } else { &expected[..2] };
    let labels = template_labels(spec);
    for (key, value) in expected {
        let path = || Path::new("spec.template.metadata").child("labels");
        match labels.and_then(|it| it.get(*key)) {
            None => errors.required(path().key(key), format!("must be '{value}'")),
            Some(found) if found != value => errors.invalid(path().key(key), labels, format!("must be '{value}'")),
            Some(_) => {}
        }
    }
    let wanted = |key: &str| expected.iter().find(|(it, _)| *it == key).map(|(_, value)| *value);
    if Selector::from_label_selector(selector).is_ok_and(|it| !it.matches_with(wanted)) {
        errors.invalid("spec.selector", selector, "`selector` not auto-generated");
    }
}

/// The pods of an indexed job are called after it and their index; that must be a host name, the last one's too.
fn validate_host_names(job: &Job, spec: &JobSpec, errors: &mut Errors) {
    let last = spec.completions.filter(|it| *it > 0 && spec.completion_mode.as_deref() == Some("Indexed"));
    let (Some(completions), Some(name)) = (last, &job.metadata.name) else { return };
    let host = format!("{name}-{}", completions - 1);
    if !name::dns1123_label(&host).is_empty() {
        let why = format!("will not able to create pod with invalid DNS label: {host}");
        errors.invalid("metadata.name", name, why);
    }
}

/// Notes which numbers are negative.
fn not_negative(numbers: &[(&str, Option<i64>)], path: &Path, errors: &mut Errors) {
    for (field, number) in numbers {
        checks::not_negative(*number, || path.child(field), errors);
    }
}
