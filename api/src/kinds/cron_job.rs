//! `CronJob`: a job made anew at every time of a schedule.

mod schedule;

use k8s_openapi::api::batch::v1::{CronJob, CronJobSpec, CronJobStatus};
use serde_json::Value;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE, NONE, list, str_or};
use crate::kinds::checks;
use crate::kinds::{job, workload};
use crate::table::{Cell, Column};

/// A job's name has 63 bytes at most, of which a dash and the minute since 1970 take 11.
const NAME_LIMIT_BYTES: usize = 63 - 11;

impl Strategy for CronJob {
    const NAMES: Names = Names { plural: "cronjobs", singular: "cronjob", short: &["cj"], categories: &["all"] };
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::text("Schedule", |it| cells::cell(&it["spec"]["schedule"])).doc("The schedule in Cron format, see https://en.wikipedia.org/wiki/Cron."),
        cells::text("Timezone", |it| Cell::Text(str_or(&it["spec"]["timeZone"], NONE).to_owned())).doc("The time zone name for the given schedule, see https://en.wikipedia.org/wiki/List_of_tz_database_time_zones. If not specified, this will default to the time zone of the kube-controller-manager process. The set of valid time zone names and the time zone offset is loaded from the system-wide time zone database by the API server during CronJob validation and the controller manager during execution. If no system-wide time zone database can be found a bundled version of the database is used instead. If the time zone name becomes invalid during the lifetime of a CronJob or due to a change in host configuration, the controller will stop creating new new Jobs and will create a system event with the reason UnknownTimeZone. More information can be found in https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#time-zones"),
        cells::text("Suspend", suspend).doc("This flag tells the controller to suspend subsequent executions, it does not apply to already started executions. Defaults to false."),
        cells::integer("Active", |it| Cell::Number(list(&it["status"]["active"]).len() as i64)).doc("A list of pointers to currently running jobs."),
        cells::text("Last Schedule", last_schedule).doc("Information when was the last time the job was successfully scheduled."),
        AGE,
        cells::wide("Containers", |it| Cell::Text(cells::joined(pod(it, "containers"), "name"))).doc("Names of each container in the template."),
        cells::wide("Images", |it| Cell::Text(cells::joined(pod(it, "containers"), "image"))).doc("Images referenced by each container in the template."),
        cells::wide("Selector", |it| Cell::Text(cells::selector(&it["spec"]["jobTemplate"]["spec"]["selector"]))).doc("A label query over pods that should match the pod count. Normally, the system sets this field for you. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
    ];

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        checks::fill(&mut spec.concurrency_policy, "Allow");
        spec.suspend.get_or_insert(false);
        spec.successful_jobs_history_limit.get_or_insert(3);
        spec.failed_jobs_history_limit.get_or_insert(1);
        // The rest of a job's defaults it gets when it is made.
        job::spec::default_template(spec.job_template.spec.get_or_insert_with(Default::default));
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(CronJobStatus::default()),
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        let (Some(spec), before) = (&self.spec, old.and_then(|it| it.spec.as_ref())) else { return };
        if part == Part::Status || before == Some(spec) {
            return;
        }
        validate_spec(spec, before, &Path::new("spec"), errors);
        if let (None, Some(name)) = (old, &self.metadata.name)
            && name.len() > NAME_LIMIT_BYTES
        {
            errors.invalid("metadata.name", name, "must be no more than 52 characters");
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let old = old.map(|it| &it.metadata);
        let mut warnings: Vec<String> = workload::name_warning(&self.metadata, old).into_iter().collect();
        let changed = old.is_none_or(|it| it.generation != self.metadata.generation);
        let Some(spec) = &self.spec else { return warnings };
        if let Some(job) = spec.job_template.spec.as_ref().filter(|_| changed) {
            job::spec::warn(job, &Path::new("spec").child("jobTemplate").child("spec"), &mut warnings);
        }
        // A new one is refused. The path is not a slip of ours: so Kubernetes says it.
        if old.is_some() && spec.schedule.contains("TZ") {
            warnings.push("cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details".to_owned());
        }
        warnings
    }
}

fn validate_spec(spec: &CronJobSpec, old: Option<&CronJobSpec>, path: &Path, errors: &mut Errors) {
    if spec.schedule.is_empty() {
        errors.required(path.child("schedule"), "");
    } else {
        let path = || path.child("schedule");
        if let Err(why) = schedule::check(&spec.schedule) {
            errors.invalid(path(), &spec.schedule, why);
        }
        let named = spec.schedule.contains("TZ");
        // Schedules that have had a time zone since before there was a field for it may keep it.
        let kept = old.is_some_and(|it| it.schedule.contains("TZ"));
        if named && kept && spec.time_zone.is_some() {
            let why = "cannot use both timeZone field and TZ or CRON_TZ in schedule";
            errors.invalid(path(), &spec.schedule, why);
        } else if named && !kept {
            let why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            errors.invalid(path(), &spec.schedule, why);
        }
    }
    checks::not_negative(spec.starting_deadline_seconds, || path.child("startingDeadlineSeconds"), errors);
    if let Some(zone) = spec.time_zone.as_ref().filter(|it| old.is_none_or(|old| old.time_zone.as_ref() != Some(it))) {
        validate_zone(zone, &path.child("timeZone"), errors);
    }
    let policies = &["Allow", "Forbid", "Replace"];
    checks::one_of(spec.concurrency_policy.as_deref(), policies, || path.child("concurrencyPolicy"), errors);
    if let Some(job) = &spec.job_template.spec {
        let path = path.child("jobTemplate").child("spec");
        job::spec::validate(job, &path, errors);
        if let Some(selector) = &job.selector {
            errors.invalid(path.child("selector"), selector, "`selector` will be auto-generated");
        }
        if job.manual_selector == Some(true) {
            errors.not_supported(path.child("manualSelector"), true, &["nil", "false"]);
        }
    }
    for (field, number) in [
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ] {
        checks::not_negative(number.map(i64::from), || path.child(field), errors);
    }
}

fn validate_zone(zone: &str, path: &Path, errors: &mut Errors) {
    const PART_LIMIT_BYTES: usize = 14;
    if zone.is_empty() {
        return errors.invalid(path.clone(), zone, "timeZone must be nil or non-empty string");
    }
    let formed = |part: &str| {
        let fits = |it: u8| it.is_ascii_alphanumeric() || b".-_+".contains(&it);
        (1..=PART_LIMIT_BYTES).contains(&part.len()) && part.bytes().all(fits)
    };
    let unknown = || format!("unknown time zone {zone}");
    if zone.split('/').any(|it| it == "." || it == ".." || it.starts_with('-') || !formed(it)) {
        return errors.invalid(path.clone(), zone, unknown());
    }
    if zone.eq_ignore_ascii_case("Local") {
        let why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        errors.invalid(path.clone(), zone, why);
    }
    if !schedule::is_zone(zone) {
        errors.invalid(path.clone(), zone, unknown());
    }
}

fn pod<'a>(it: &'a Value, field: &str) -> &'a Value {
    &it["spec"]["jobTemplate"]["spec"]["template"]["spec"][field]
}

fn suspend(it: &Value) -> Cell {
    let text = match it["spec"]["suspend"].as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    };
    Cell::Text(text.to_owned())
}

fn last_schedule(it: &Value) -> Cell {
    match cells::time(&it["status"]["lastScheduleTime"]) {
        Some(time) => Cell::Since(Some(time)),
        None => Cell::Text(NONE.to_owned()),
    }
}
