//! `ReplicationController`: so many pods of one template, in the form that was before ReplicaSets.

use k8s_openapi::api::core::v1::{ReplicationController, ReplicationControllerSpec, ReplicationControllerStatus};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Selectable, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::kinds::pod_spec::{defaults, validation};
use crate::kinds::workload;
use crate::table::{Cell, Column};

impl Strategy for ReplicationController {
    const NAMES: Names = Names {
        plural: "replicationcontrollers",
        singular: "replicationcontroller",
        short: &["rc"],
        categories: &["all"],
    };
    const SUBS: &'static [Sub] = &[Sub::Scale, Sub::Status];
    const FIELDS: &'static [Selectable] = &[Selectable { path: "status.replicas", absent: "0", from: &[] }];
    const STORED_AS: Option<&'static str> = Some("controllers");
    const ORPHANS_DEPENDENTS: bool = true;
    const COLUMNS: &'static [Column] = &[
        cells::integer("Desired", |it| cells::number(&it["spec"]["replicas"])).doc("Replicas is the number of desired replicas. This is a pointer to distinguish between explicit zero and unspecified. Defaults to 1. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller"),
        cells::integer("Current", |it| cells::number(&it["status"]["replicas"])).doc("Replicas is the most recently observed number of replicas. More info: https://kubernetes.io/docs/concepts/workloads/controllers/replicationcontroller#what-is-a-replicationcontroller"),
        cells::integer("Ready", |it| cells::number(&it["status"]["readyReplicas"])).doc("The number of ready replicas for this replication controller."),
        AGE,
        cells::wide("Containers", cells::template_containers).doc("Names of each container in the template."),
        cells::wide("Images", cells::template_images).doc("Images referenced by each container in the template."),
        cells::wide("Selector", |it| Cell::Text(cells::labels(&it["spec"]["selector"]))).doc("Selector is a label query over pods that should match the Replicas count. If Selector is empty, it is defaulted to the labels present on the Pod template. Label keys and values that must match in order to be controlled by this replication controller, if empty defaulted to labels on Pod template. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
    ];

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        let labels = spec.template.as_ref().and_then(|it| it.metadata.as_ref()).and_then(|it| it.labels.as_ref());
        if let Some(labels) = labels.filter(|it| !it.is_empty()) {
            if spec.selector.as_ref().is_none_or(|it| it.is_empty()) {
                spec.selector = Some(labels.clone());
            }
            if self.metadata.labels.as_ref().is_none_or(|it| it.is_empty()) {
                self.metadata.labels = Some(labels.clone());
            }
        }
        spec.replicas.get_or_insert(1);
        if let Some(template) = &mut spec.template {
            defaults::default_spec(template.spec.get_or_insert_with(Default::default));
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(ReplicationControllerStatus::default()),
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            if let Some(status) = &self.status {
                let parts = [
                    ("fullyLabeledReplicas", status.fully_labeled_replicas),
                    ("readyReplicas", status.ready_replicas),
                    ("availableReplicas", status.available_replicas),
                ];
                workload::validate_counts(Some(status.replicas), &parts, status.observed_generation, errors);
            }
            return;
        }
        let (Some(spec), before) = (&self.spec, old.and_then(|it| it.spec.as_ref())) else { return };
        if before != Some(spec) {
            validate_spec(spec, &Path::new("spec"), errors);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let old = old.map(|it| &it.metadata);
        workload::warnings(
            self.spec.as_ref().and_then(|it| it.template.as_ref()),
            &self.metadata,
            old,
            workload::NameOfPods::Built,
        )
    }
}

fn validate_spec(spec: &ReplicationControllerSpec, path: &Path, errors: &mut Errors) {
    checks::not_negative(spec.min_ready_seconds.map(i64::from), || path.child("minReadySeconds"), errors);
    let selector = spec.selector.as_ref().filter(|it| !it.is_empty());
    if selector.is_none() {
        errors.required(path.child("selector"), "");
    }
    checks::not_negative(spec.replicas.map(i64::from), || path.child("replicas"), errors);
    let path = path.child("template");
    let Some(template) = &spec.template else { return errors.required(path, "") };
    let labels = template.metadata.as_ref().and_then(|it| it.labels.as_ref());
    let has = |key: &String, value: &String| labels.and_then(|it| it.get(key)) == Some(value);
    if selector.is_some_and(|it| !it.iter().all(|(key, value)| has(key, value))) {
        workload::not_found(template, &path, errors);
    }
    validation::validate_template(template, &path, errors);
    workload::must_run_always(template, "ReplicationController", &path, errors);
}
