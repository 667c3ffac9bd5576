//! `Deployment`: so many pods of one template, and how to get from one template to the next.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::kinds::pod_spec::defaults;
use crate::kinds::workload;
use crate::table::Column;

impl Strategy for Deployment {
    const NAMES: Names =
        Names { plural: "deployments", singular: "deployment", short: &["deploy"], categories: &["all"] };
    const SUBS: &'static [Sub] = &[Sub::Scale, Sub::Status];
    const STATUS_RESETS: &'static [&'static [&'static str]] = &[&["spec"], &["metadata", "labels"]];
    const COLUMNS: &'static [Column] = &[
        cells::text("Ready", cells::ready_of_desired).doc("Number of the pod with ready state"),
        cells::text("Up-to-date", |it| cells::number(&it["status"]["updatedReplicas"])).doc(".status.updatedReplicas"),
        cells::text("Available", |it| cells::number(&it["status"]["availableReplicas"]))
            .doc(".status.availableReplicas"),
        AGE,
        cells::wide("Containers", cells::template_containers).doc("Names of each container in the template."),
        cells::wide("Images", cells::template_images).doc("Images referenced by each container in the template."),
        cells::wide("Selector", cells::label_selector).doc(".spec.selector"),
    ];

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.progress_deadline_seconds.get_or_insert(600);
        let strategy = spec.strategy.get_or_insert_with(Default::default);
        let kind = strategy.type_.get_or_insert_with(|| "RollingUpdate".into());
        if kind == "RollingUpdate" {
            let quarter = || IntOrString::String("25%".into());
            let rolling = strategy.rolling_update.get_or_insert_with(Default::default);
            rolling.max_unavailable.get_or_insert_with(quarter);
            rolling.max_surge.get_or_insert_with(quarter);
        }
        defaults::default_spec(spec.template.spec.get_or_insert_with(Default::default));
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(Default::default()),
            (Part::Status, Some(old)) => {
                self.spec.clone_from(&old.spec);
                self.metadata.labels.clone_from(&old.metadata.labels);
            }
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        // Annotations count too: the controller copies them to its ReplicaSets.
        Some(self.spec != old.spec || self.metadata.annotations != old.metadata.annotations)
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            if let Some(status) = &self.status {
                let parts = [
                    ("updatedReplicas", status.updated_replicas),
                    ("readyReplicas", status.ready_replicas),
                    ("availableReplicas", status.available_replicas),
                    ("unavailableReplicas", status.unavailable_replicas),
                ];
                workload::validate_counts(status.replicas, &parts, status.observed_generation, errors);
                let count = status.collision_count;
                checks::not_negative(count.map(i64::from), || "status.collisionCount".into(), errors);
                let before = old.and_then(|it| it.status.as_ref()?.collision_count);
                workload::collisions_only_rise(count, before, errors);
            }
            return;
        }
        let (Some(spec), before) = (&self.spec, old.and_then(|it| it.spec.as_ref())) else { return };
        if before == Some(spec) {
            return;
        }
        let path = Path::new("spec");
        checks::not_negative(spec.replicas.map(i64::from), || path.child("replicas"), errors);
        workload::validate(&spec.selector, Some(&spec.template), &path, errors);
        if let Some(strategy) = &spec.strategy {
            validate_strategy(strategy, &path.child("strategy"), errors);
        }
        for (field, number) in [
            ("minReadySeconds", spec.min_ready_seconds),
            ("revisionHistoryLimit", spec.revision_history_limit),
            ("progressDeadlineSeconds", spec.progress_deadline_seconds),
        ] {
            checks::not_negative(number.map(i64::from), || path.child(field), errors);
        }
        if let Some(deadline) = spec.progress_deadline_seconds
            && deadline <= spec.min_ready_seconds.unwrap_or(0)
        {
            errors.invalid(path.child("progressDeadlineSeconds"), deadline, "must be greater than minReadySeconds");
        }
        if let Some(before) = before {
            checks::immutable(&spec.selector, &before.selector, path.child("selector"), errors);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let old = old.map(|it| &it.metadata);
        workload::warnings(self.spec.as_ref().map(|it| &it.template), &self.metadata, old, workload::NameOfPods::Built)
    }
}

fn validate_strategy(it: &DeploymentStrategy, path: &Path, errors: &mut Errors) {
    match (it.type_.as_deref().unwrap_or_default(), &it.rolling_update) {
        ("Recreate", Some(_)) => {
            errors.forbidden(path.child("rollingUpdate"), "may not be specified when strategy `type` is 'Recreate'")
        }
        ("Recreate", None) => {}
        ("RollingUpdate", None) => {
            errors.required(path.child("rollingUpdate"), "this should be defaulted and never be nil");
        }
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, &path.child("rollingUpdate"), errors),
        (other, _) => {
            // The strategy as Kubernetes shows it; what it says of rolling goes nowhere but into this text.
            let rolling = it
                .rolling_update
                .as_ref()
                .map(|it| serde_json::json!({ "MaxUnavailable": it.max_unavailable, "MaxSurge": it.max_surge }));
            let rolling = serde_json::to_string(&rolling).unwrap_or_default();
            let shown = format!("{{\"Type\":{other:?},\"RollingUpdate\":{rolling}}}");
            errors.not_supported_text(path.clone(), shown, &["Recreate", "RollingUpdate"]);
        }
    }
}

fn validate_rolling(it: &RollingUpdateDeployment, path: &Path, errors: &mut Errors) {
    let (Some(unavailable), Some(surge)) = (&it.max_unavailable, &it.max_surge) else { return };
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        workload::int_or_percent(value, || path.child(field), errors);
    }
    if workload::amount(unavailable) == 0 && workload::amount(surge) == 0 {
        errors.invalid(path.child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0");
    }
    workload::not_more_than_all(unavailable, || path.child("maxUnavailable"), errors);
}
