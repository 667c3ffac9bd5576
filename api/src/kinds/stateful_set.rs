//! `StatefulSet`: so many pods of one template, each with a name and volumes that stay its own.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetStatus,
    StatefulSetUpdateStrategy,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::kinds::persistent_volume_claim;
use crate::kinds::pod_spec::{annotations, defaults};
use crate::kinds::{volume_rules, workload};
use crate::meta;
use crate::name::NameRule;
use crate::selector::label;
use crate::table::Column;

const RETENTION_POLICIES: &[&str] = &["Retain", "Delete"];
const IMMUTABLE: &str = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";

impl Strategy for StatefulSet {
    const NAMES: Names =
        Names { plural: "statefulsets", singular: "statefulset", short: &["sts"], categories: &["all"] };
    const SUBS: &'static [Sub] = &[Sub::Scale, Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::text("Ready", cells::ready_of_desired).doc("Number of the pod with ready state"),
        AGE,
        cells::wide("Containers", cells::template_containers).doc("Names of each container in the template."),
        cells::wide("Images", cells::template_images).doc("Images referenced by each container in the template."),
    ];
    // Its pods are called after it, and their names are host names.
    const NAME_RULE: NameRule = NameRule::Label;

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        checks::fill(&mut spec.pod_management_policy, "OrderedReady");
        let strategy = spec.update_strategy.get_or_insert_with(Default::default);
        if strategy.type_.as_deref().unwrap_or_default().is_empty() {
            strategy.type_ = Some("RollingUpdate".into());
            strategy.rolling_update.get_or_insert_with(Default::default);
        }
        if let (Some("RollingUpdate"), Some(rolling)) = (strategy.type_.as_deref(), &mut strategy.rolling_update) {
            rolling.partition.get_or_insert(0);
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
        }
        let retention = spec.persistent_volume_claim_retention_policy.get_or_insert_with(Default::default);
        checks::fill(&mut retention.when_deleted, "Retain");
        checks::fill(&mut retention.when_scaled, "Retain");
        spec.replicas.get_or_insert(1);
        spec.revision_history_limit.get_or_insert(10);
        spec.service_name.get_or_insert_with(String::new);
        for claim in spec.volume_claim_templates.iter_mut().flatten() {
            persistent_volume_claim::fill_in(claim);
        }
        defaults::default_spec(spec.template.spec.get_or_insert_with(Default::default));
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => {
                self.status = Some(StatefulSetStatus { available_replicas: Some(0), ..StatefulSetStatus::default() });
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
            if let Some(status) = &self.status {
                validate_status(status, old.and_then(|it| it.status.as_ref()), errors);
            }
            return;
        }
        let (Some(spec), before) = (&self.spec, old.and_then(|it| it.spec.as_ref())) else { return };
        if before == Some(spec) {
            return;
        }
        validate_spec(spec, &Path::new("spec"), errors);
        if before.is_some_and(|before| !differs_only_in_what_may_change(spec, before)) {
            errors.forbidden("spec", IMMUTABLE);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let before = old.map(|it| &it.metadata);
        let mut warnings = workload::warnings(
            self.spec.as_ref().map(|it| &it.template),
            &self.metadata,
            before,
            workload::NameOfPods::Unread,
        );
        let changed = before.is_none_or(|it| it.generation != self.metadata.generation);
        let Some(spec) = self.spec.as_ref().filter(|_| changed) else { return warnings };
        for (at, claim) in spec.volume_claim_templates.iter().flatten().enumerate() {
            // Kubernetes writes this field's name with a capital letter here.
            let path = || Path::new("spec").child("volumeClaimTemplates").index(at).child("Spec");
            claim.spec.iter().for_each(|it| volume_rules::warn_of_claim(it, path, &mut warnings));
        }
        if spec.revision_history_limit.is_some_and(|it| it < 0) {
            warnings.push("spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended".to_owned());
        }
        warnings
    }
}

fn validate_spec(spec: &StatefulSetSpec, path: &Path, errors: &mut Errors) {
    match spec.pod_management_policy.as_deref().unwrap_or_default() {
        "" => errors.required(path.child("podManagementPolicy"), ""),
        "OrderedReady" | "Parallel" => {}
        other => errors.invalid(path.child("podManagementPolicy"), other, "must be 'OrderedReady' or 'Parallel'"),
    }
    if let Some(strategy) = &spec.update_strategy {
        validate_strategy(strategy, &path.child("updateStrategy"), errors);
    }
    if let Some(retention) = &spec.persistent_volume_claim_retention_policy {
        validate_retention(retention, &path.child("persistentVolumeClaimRetentionPolicy"), errors);
    }
    for (field, number) in [
        ("replicas", spec.replicas),
        ("minReadySeconds", spec.min_ready_seconds),
        ("ordinals.start", spec.ordinals.as_ref().and_then(|it| it.start)),
    ] {
        checks::not_negative(number.map(i64::from), || path.child(field), errors);
    }
    label::validate(&spec.selector, &path.child("selector"), errors);
    let template_path = path.child("template");
    if workload::is_empty(&spec.selector) {
        errors.invalid(path.child("selector"), &spec.selector, "empty selector is invalid for statefulset");
    } else {
        workload::must_find(&spec.selector, &spec.template, &template_path, errors);
    }
    // Not more of the template: its mounts may be of volumes that come from the claims.
    if let Some(metadata) = &spec.template.metadata {
        meta::validate_labels(metadata.labels.as_ref(), &template_path.child("labels"), errors);
        meta::validate_annotations(metadata.annotations.as_ref(), &template_path.child("annotations"), errors);
        if let (Some(known), Some(spec)) = (&metadata.annotations, &spec.template.spec) {
            annotations::validate(known, spec, || template_path.child("annotations"), errors);
        }
    }
    workload::must_run_always(&spec.template, "StatefulSet", &template_path, errors);
}

fn validate_strategy(it: &StatefulSetUpdateStrategy, path: &Path, errors: &mut Errors) {
    match (it.type_.as_deref().unwrap_or_default(), &it.rolling_update) {
        ("", _) => errors.required(path.clone(), ""),
        ("OnDelete", Some(rolling)) => {
            errors.invalid(path.child("rollingUpdate"), rolling, "only allowed for updateStrategy 'RollingUpdate'");
        }
        ("OnDelete", None) | ("RollingUpdate", None) => {}
        ("RollingUpdate", Some(rolling)) => {
            let path = path.child("rollingUpdate");
            checks::not_negative(rolling.partition.map(i64::from), || path.child("partition"), errors);
            if let Some(unavailable) = &rolling.max_unavailable {
                let path = || path.child("maxUnavailable");
                workload::int_or_percent(unavailable, path, errors);
                if workload::amount(unavailable) == 0 {
                    errors.invalid(path(), unavailable, "cannot be 0");
                }
                workload::not_more_than_all(unavailable, path, errors);
            }
        }
        _ => errors.invalid(path.clone(), it, "must be 'RollingUpdate' or 'OnDelete'"),
    }
}

fn validate_retention(it: &StatefulSetPersistentVolumeClaimRetentionPolicy, path: &Path, errors: &mut Errors) {
    for (field, policy) in [("whenDeleted", &it.when_deleted), ("whenScaled", &it.when_scaled)] {
        checks::none_or_one_of(policy.as_deref(), RETENTION_POLICIES, || path.child(field), errors);
    }
}

fn differs_only_in_what_may_change(new: &StatefulSetSpec, old: &StatefulSetSpec) -> bool {
    (&new.selector, &new.service_name, &new.pod_management_policy, &new.volume_claim_templates)
        == (&old.selector, &old.service_name, &old.pod_management_policy, &old.volume_claim_templates)
}

fn validate_status(status: &StatefulSetStatus, old: Option<&StatefulSetStatus>, errors: &mut Errors) {
    let parts = [
        ("readyReplicas", status.ready_replicas),
        ("currentReplicas", status.current_replicas),
        ("updatedReplicas", status.updated_replicas),
    ];
    workload::validate_counts(Some(status.replicas), &parts, status.observed_generation, errors);
    let available = status.available_replicas.unwrap_or(0);
    checks::not_negative(Some(available.into()), || "status.availableReplicas".into(), errors);
    if available > status.replicas {
        errors.invalid("status.availableReplicas", available, "cannot be greater than status.replicas");
    }
    if available > status.ready_replicas.unwrap_or(0) {
        let why = "cannot be greater than status.readyReplicas";
        errors.invalid("status.availableReplicas", available, why);
    }
    checks::not_negative(status.collision_count.map(i64::from), || "status.collisionCount".into(), errors);
    workload::collisions_only_rise(status.collision_count, old.and_then(|it| it.collision_count), errors);
}
