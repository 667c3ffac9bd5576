//! `Deployment`: so many pods of one template, and how to get from one template to the next.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::Value;

use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::pod_spec::defaults;
use crate::table::{Cell, Column};

impl Strategy for Deployment {
    const NAMES: Names =
        Names { plural: "deployments", singular: "deployment", short: &["deploy"], categories: &["all"] };
    const SUBS: &'static [Sub] = &[Sub::Scale, Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::text("Ready", ready),
        cells::text("Up-to-date", |it| cells::number(&it["status"]["updatedReplicas"])),
        cells::text("Available", |it| cells::number(&it["status"]["availableReplicas"])),
        AGE,
        cells::wide("Containers", cells::template_containers),
        cells::wide("Images", cells::template_images),
        cells::wide("Selector", cells::label_selector),
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
}

fn ready(it: &Value) -> Cell {
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    Cell::Text(format!("{}/{}", number(&it["status"]["readyReplicas"]), number(&it["spec"]["replicas"])))
}
