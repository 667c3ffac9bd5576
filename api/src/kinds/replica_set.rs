//! `ReplicaSet`: so many pods of one template. A Deployment makes one for every template it has had.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};

use crate::kind::{Names, Part, Selectable, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::pod_spec::defaults;
use crate::table::Column;

impl Strategy for ReplicaSet {
    const NAMES: Names = Names { plural: "replicasets", singular: "replicaset", short: &["rs"], categories: &["all"] };
    const SUBS: &'static [Sub] = &[Sub::Scale, Sub::Status];
    const FIELDS: &'static [Selectable] = &[Selectable { path: "status.replicas", absent: "0" }];
    const COLUMNS: &'static [Column] = &[
        cells::integer("Desired", |it| cells::number(&it["spec"]["replicas"])),
        cells::integer("Current", |it| cells::number(&it["status"]["replicas"])),
        cells::integer("Ready", |it| cells::number(&it["status"]["readyReplicas"])),
        AGE,
        cells::wide("Containers", cells::template_containers),
        cells::wide("Images", cells::template_images),
        cells::wide("Selector", cells::label_selector),
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
}
