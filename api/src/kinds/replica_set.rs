//! `ReplicaSet`: so many pods of one template. A Deployment makes one for every template it has had.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Selectable, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::kinds::pod_spec::defaults;
use crate::kinds::workload;
use crate::table::Column;

impl Strategy for ReplicaSet {
    const NAMES: Names = Names { plural: "replicasets", singular: "replicaset", short: &["rs"], categories: &["all"] };
    const SUBS: &'static [Sub] = &[Sub::Scale, Sub::Status];
    const FIELDS: &'static [Selectable] = &[Selectable { path: "status.replicas", absent: "0", from: &[] }];
    const COLUMNS: &'static [Column] = &[
        cells::integer("Desired", |it| cells::number(&it["spec"]["replicas"])).doc(".spec.replicas"),
        cells::integer("Current", |it| cells::number(&it["status"]["replicas"])).doc(".status.replicas"),
        cells::integer("Ready", |it| cells::number(&it["status"]["readyReplicas"])).doc(".status.readyReplicas"),
        AGE,
        cells::wide("Containers", cells::template_containers).doc("Names of each container in the template."),
        cells::wide("Images", cells::template_images).doc("Images referenced by each container in the template."),
        cells::wide("Selector", cells::label_selector).doc(".spec.selector"),
    ];

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        spec.replicas.get_or_insert(1);
        if let Some(spec) = spec.template.as_mut().map(|it| it.spec.get_or_insert_with(Default::default)) {
            defaults::default_spec(spec);
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(ReplicaSetStatus::default()),
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
        if before == Some(spec) {
            return;
        }
        let path = Path::new("spec");
        for (field, number) in [("replicas", spec.replicas), ("minReadySeconds", spec.min_ready_seconds)] {
            checks::not_negative(number.map(i64::from), || path.child(field), errors);
        }
        // Scaling changes a number only; the template was checked when it was written.
        if before.is_none_or(|it| (&it.selector, &it.template) != (&spec.selector, &spec.template)) {
            workload::validate(&spec.selector, spec.template.as_ref(), &path, errors);
        }
        if let Some(before) = before {
            checks::immutable(&spec.selector, &before.selector, path.child("selector"), errors);
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
