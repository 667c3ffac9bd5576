//! `DaemonSet`: one pod of a template on every node that fits.

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetSpec, DaemonSetStatus, DaemonSetUpdateStrategy};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::kinds::pod_spec::{defaults, validation};
use crate::kinds::workload;
use crate::selector::label;
use crate::table::{Cell, Column};

impl Strategy for DaemonSet {
    const NAMES: Names = Names { plural: "daemonsets", singular: "daemonset", short: &["ds"], categories: &["all"] };
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = &[
        cells::integer("Desired", |it| cells::number(&it["status"]["desiredNumberScheduled"])).doc("The total number of nodes that should be running the daemon pod (including nodes correctly running the daemon pod). More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"),
        cells::integer("Current", |it| cells::number(&it["status"]["currentNumberScheduled"])).doc("The number of nodes that are running at least 1 daemon pod and are supposed to run the daemon pod. More info: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/"),
        cells::integer("Ready", |it| cells::number(&it["status"]["numberReady"])).doc("numberReady is the number of nodes that should be running the daemon pod and have one or more of the daemon pod running with a Ready Condition."),
        cells::integer("Up-to-date", |it| cells::number(&it["status"]["updatedNumberScheduled"])).doc("The total number of nodes that are running updated daemon pod"),
        cells::integer("Available", |it| cells::number(&it["status"]["numberAvailable"])).doc("The number of nodes that should be running the daemon pod and have one or more of the daemon pod running and available (ready for at least spec.minReadySeconds)"),
        cells::text("Node Selector", |it| Cell::Text(cells::labels(&it["spec"]["template"]["spec"]["nodeSelector"]))).doc("NodeSelector is a selector which must be true for the pod to fit on a node. Selector which must match a node's labels for the pod to be scheduled on that node. More info: https://kubernetes.io/docs/concepts/configuration/assign-pod-node/"),
        AGE,
        cells::wide("Containers", cells::template_containers).doc("Names of each container in the template."),
        cells::wide("Images", cells::template_images).doc("Images referenced by each container in the template."),
        cells::wide("Selector", cells::label_selector).doc("A label query over pods that are managed by the daemon set. Must match in order to be controlled. It must match the pod template's labels. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"),
    ];

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        let strategy = spec.update_strategy.get_or_insert_with(Default::default);
        checks::fill(&mut strategy.type_, "RollingUpdate");
        if strategy.type_.as_deref() == Some("RollingUpdate") {
            let rolling = strategy.rolling_update.get_or_insert_with(Default::default);
            rolling.max_unavailable.get_or_insert(IntOrString::Int(1));
            rolling.max_surge.get_or_insert(IntOrString::Int(0));
        }
        spec.revision_history_limit.get_or_insert(10);
        defaults::default_spec(spec.template.spec.get_or_insert_with(Default::default));
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(DaemonSetStatus::default()),
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
        let path = Path::new("spec");
        validate_spec(spec, &path, errors);
        if let Some(before) = before {
            checks::immutable(&spec.selector, &before.selector, path.child("selector"), errors);
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let old = old.map(|it| &it.metadata);
        workload::warnings(self.spec.as_ref().map(|it| &it.template), &self.metadata, old, workload::NameOfPods::Unread)
    }
}

fn validate_spec(spec: &DaemonSetSpec, path: &Path, errors: &mut Errors) {
    label::validate(&spec.selector, &path.child("selector"), errors);
    let template = path.child("template");
    if workload::is_empty(&spec.selector) {
        errors.invalid(path.child("selector"), &spec.selector, "empty selector is invalid for daemonset");
    } else {
        workload::must_find(&spec.selector, &spec.template, &template, errors);
    }
    validation::validate_template(&spec.template, &template, errors);
    workload::must_run_always(&spec.template, "DaemonSet", &template, errors);
    checks::not_negative(spec.min_ready_seconds.map(i64::from), || path.child("minReadySeconds"), errors);
    if let Some(strategy) = &spec.update_strategy {
        validate_strategy(strategy, &path.child("updateStrategy"), errors);
    }
    checks::not_negative(spec.revision_history_limit.map(i64::from), || path.child("revisionHistoryLimit"), errors);
}

fn validate_strategy(it: &DaemonSetUpdateStrategy, path: &Path, errors: &mut Errors) {
    let rolling = match (it.type_.as_deref().unwrap_or_default(), &it.rolling_update) {
        ("OnDelete", _) => return,
        ("RollingUpdate", None) => return errors.required(path.child("rollingUpdate"), ""),
        ("RollingUpdate", Some(rolling)) => rolling,
        _ => return errors.not_supported(path.clone(), it, &["RollingUpdate", "OnDelete"]),
    };
    let path = path.child("rollingUpdate");
    let (Some(unavailable), Some(surge)) = (&rolling.max_unavailable, &rolling.max_surge) else { return };
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        workload::int_or_percent(value, || path.child(field), errors);
    }
    for (field, value) in [("maxUnavailable", unavailable), ("maxSurge", surge)] {
        workload::not_more_than_all(value, || path.child(field), errors);
    }
    match (workload::amount(unavailable) != 0, workload::amount(surge) != 0) {
        (true, true) => {
            errors.invalid(path.child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero");
        }
        (false, false) => errors.required(path.child("maxUnavailable"), "cannot be 0 when maxSurge is 0"),
        _ => {}
    }
}

fn validate_status(status: &DaemonSetStatus, old: Option<&DaemonSetStatus>, errors: &mut Errors) {
    let path = Path::new("status");
    for (field, number) in [
        ("currentNumberScheduled", Some(status.current_number_scheduled.into())),
        ("numberMisscheduled", Some(status.number_misscheduled.into())),
        ("desiredNumberScheduled", Some(status.desired_number_scheduled.into())),
        ("numberReady", Some(status.number_ready.into())),
        ("observedGeneration", status.observed_generation),
        ("updatedNumberScheduled", status.updated_number_scheduled.map(i64::from)),
        ("numberAvailable", status.number_available.map(i64::from)),
        ("numberUnavailable", status.number_unavailable.map(i64::from)),
        ("collisionCount", status.collision_count.map(i64::from)),
    ] {
        checks::not_negative(number, || path.child(field), errors);
    }
    workload::collisions_only_rise(status.collision_count, old.and_then(|it| it.collision_count), errors);
}
