//! `HorizontalPodAutoscaler` of `autoscaling/v2`: how many pods of a workload are wanted, by what they use.

mod columns;
mod metrics;
pub(super) mod v1;

use k8s_openapi::api::autoscaling::v2::{
    CrossVersionObjectReference, HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscaler,
    HorizontalPodAutoscalerSpec, HorizontalPodAutoscalerStatus, MetricSpec, MetricTarget, ResourceMetricSource,
};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::checks;
use crate::name::{self, Complaints};
use crate::quantity::Quantity;
use crate::table::Column;

/// Half an hour, and an hour, in seconds.
const PERIOD_LIMIT_SECONDS: i32 = 1800;
const STABILIZATION_LIMIT_SECONDS: i32 = 3600;
/// How much of its processors' time a pod should use where nothing else is said, in percent.
const UTILIZATION_PERCENT: i32 = 80;
/// Kubernetes' rules where there is a behaviour that does not say them: 15 seconds are the interval of the loop.
const PERIOD_SECONDS: i32 = 15;

pub(super) const NAMES: Names = Names {
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short: &["hpa"],
    categories: &["all"],
};

impl Strategy for HorizontalPodAutoscaler {
    const NAMES: Names = NAMES;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const COLUMNS: &'static [Column] = columns::V2;

    fn default(&mut self) {
        let spec = self.spec.get_or_insert_with(Default::default);
        spec.min_replicas.get_or_insert(1);
        let metrics = spec.metrics.get_or_insert_with(Vec::new);
        if metrics.is_empty() {
            metrics.push(processor_time(UTILIZATION_PERCENT));
        }
        if let Some(behavior) = &mut spec.behavior {
            let up = [policy("Pods", 4), policy("Percent", 100)];
            fill_rules(behavior.scale_up.get_or_insert_with(Default::default), Some(0), &up);
            let down = [policy("Percent", 100)];
            fill_rules(behavior.scale_down.get_or_insert_with(Default::default), None, &down);
        }
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(HorizontalPodAutoscalerStatus::default()),
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            let of = |it: &HorizontalPodAutoscalerStatus| (it.current_replicas.unwrap_or(0), it.desired_replicas);
            return validate_status(self.status.as_ref().map(of), errors);
        }
        if let Some(spec) = &self.spec {
            validate_spec(spec, old.and_then(|it| it.spec.as_ref()), errors);
        }
    }
}

/// The metric of processors' time against what was asked for.
fn processor_time(percent: i32) -> MetricSpec {
    let target =
        MetricTarget { type_: "Utilization".into(), average_utilization: Some(percent), ..MetricTarget::default() };
    let resource = Some(ResourceMetricSource { name: "cpu".into(), target });
    MetricSpec { type_: "Resource".into(), resource, ..MetricSpec::default() }
}

fn policy(kind: &str, value: i32) -> HPAScalingPolicy {
    HPAScalingPolicy { type_: kind.into(), value, period_seconds: PERIOD_SECONDS }
}

fn fill_rules(rules: &mut HPAScalingRules, window_seconds: Option<i32>, policies: &[HPAScalingPolicy]) {
    rules.select_policy.get_or_insert_with(|| "Max".into());
    rules.stabilization_window_seconds = rules.stabilization_window_seconds.or(window_seconds);
    rules.policies.get_or_insert_with(|| policies.to_vec());
}

/// Notes negative counts; first the current one, then the desired one.
fn validate_status(counts: Option<(i32, i32)>, errors: &mut Errors) {
    let Some((current, desired)) = counts else { return };
    let path = Path::new("status");
    checks::not_negative(Some(current.into()), || path.child("currentReplicas"), errors);
    checks::not_negative(Some(desired.into()), || path.child("desiredReplicas"), errors);
}

/// Which API versions the references of an autoscaler may have. There was no rule once, and what was stored then may stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Versions {
    /// Of any form.
    Any,
    /// Well-formed.
    Formed,
    /// Well-formed, and of a group.
    Grouped,
}

impl Versions {
    /// What is wrong with the API version of a reference.
    fn check(self, version: &str) -> Option<String> {
        match (self, version.matches('/').count()) {
            (Versions::Any, _) => None,
            (_, 2..) => Some(format!("unexpected GroupVersion string: {version}")),
            (Versions::Grouped, slashes) if slashes == 0 || version.starts_with('/') => {
                Some("apiVersion must specify API group".to_owned())
            }
            _ => None,
        }
    }

    /// The rule for what is scaled: only replication controllers have no group.
    fn of_target(new: &CrossVersionObjectReference, old: Option<&CrossVersionObjectReference>) -> Self {
        let same = |old: &CrossVersionObjectReference| old.kind == new.kind && version_of(old) == version_of(new);
        match new.kind.as_str() {
            _ if old.is_some_and(same) => Versions::Any,
            "ReplicationController" => Versions::Formed,
            _ => Versions::Grouped,
        }
    }

    /// The rule for the objects that have metrics.
    fn of_metrics(old: Option<&HorizontalPodAutoscalerSpec>) -> Self {
        let objects = old.and_then(|it| it.metrics.as_ref()).into_iter().flatten().filter(|it| it.type_ == "Object");
        let mut versions = objects.filter_map(|it| it.object.as_ref()).map(|it| version_of(&it.described_object));
        if versions.any(|it| Versions::Formed.check(it).is_some()) { Versions::Any } else { Versions::Formed }
    }
}

fn version_of(it: &CrossVersionObjectReference) -> &str {
    it.api_version.as_deref().unwrap_or_default()
}

fn validate_spec(spec: &HorizontalPodAutoscalerSpec, old: Option<&HorizontalPodAutoscalerSpec>, errors: &mut Errors) {
    let path = Path::new("spec");
    // No pods at all was allowed once, and stays so where it was.
    let least = if old.and_then(|it| it.min_replicas) == Some(0) { 0 } else { 1 };
    if let Some(min) = spec.min_replicas.filter(|it| *it < least) {
        errors.invalid(path.child("minReplicas"), min, format!("must be greater than or equal to {least}"));
    }
    let max = spec.max_replicas;
    if max < 1 {
        errors.invalid(path.child("maxReplicas"), max, "must be greater than 0");
    }
    if spec.min_replicas.is_some_and(|it| max < it) {
        errors.invalid(path.child("maxReplicas"), max, "must be greater than or equal to `minReplicas`");
    }
    let versions = Versions::of_target(&spec.scale_target_ref, old.map(|it| &it.scale_target_ref));
    validate_reference(&spec.scale_target_ref, versions, &path.child("scaleTargetRef"), errors);
    let metrics = spec.metrics.as_deref().unwrap_or_default();
    let versions = Versions::of_metrics(old);
    for (at, metric) in metrics.iter().enumerate() {
        metrics::validate(metric, versions, &path.child("metrics").index(at), errors);
    }
    if spec.min_replicas == Some(0) && !metrics.iter().any(|it| matches!(it.type_.as_str(), "Object" | "External")) {
        let why = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.forbidden(path.child("metrics"), why);
    }
    if let Some(behavior) = &spec.behavior {
        let path = path.child("behavior");
        for (field, rules) in [("scaleUp", &behavior.scale_up), ("scaleDown", &behavior.scale_down)] {
            if let Some(rules) = rules {
                validate_rules(rules, &path.child(field), errors);
            }
        }
    }
}

fn segment(text: &str) -> Complaints {
    name::path_segment(text, false)
}

fn validate_reference(it: &CrossVersionObjectReference, versions: Versions, path: &Path, errors: &mut Errors) {
    checks::named(&it.kind, segment, || path.child("kind"), errors);
    checks::named(&it.name, segment, || path.child("name"), errors);
    if let Some(why) = versions.check(version_of(it)) {
        errors.invalid(path.child("apiVersion"), version_of(it), why);
    }
}

fn validate_rules(rules: &HPAScalingRules, path: &Path, errors: &mut Errors) {
    if let Some(seconds) = rules.stabilization_window_seconds {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            errors.invalid(path, seconds, "must be greater than or equal to zero");
        } else if seconds > STABILIZATION_LIMIT_SECONDS {
            errors.invalid(path, seconds, format!("must be less than or equal to {STABILIZATION_LIMIT_SECONDS}"));
        }
    }
    let select = rules.select_policy.as_deref();
    checks::none_or_one_of(select, &["Disabled", "Max", "Min"], || path.child("selectPolicy"), errors);
    let policies = rules.policies.as_deref().unwrap_or_default();
    if policies.is_empty() {
        errors.required(path.child("policies"), "must specify at least one Policy");
    }
    for (at, policy) in policies.iter().enumerate() {
        validate_policy(policy, &path.child("policies").index(at), errors);
    }
    match rules.tolerance.as_ref().map(|it| (it, Quantity::of(it))) {
        Some((_, Ok(it))) if it.is_negative() => {
            errors.invalid(path.child("tolerance"), it.to_string(), "must be greater than or equal to 0");
        }
        Some((text, Err(error))) => errors.invalid(path.child("tolerance"), &text.0, error.to_string()),
        _ => {}
    }
}

fn validate_policy(policy: &HPAScalingPolicy, path: &Path, errors: &mut Errors) {
    checks::none_or_one_of(Some(&policy.type_), &["Percent", "Pods"], || path.child("type"), errors);
    for (field, number) in [("value", policy.value), ("periodSeconds", policy.period_seconds)] {
        if number <= 0 {
            errors.invalid(path.child(field), number, "must be greater than zero");
        }
    }
    if policy.period_seconds > PERIOD_LIMIT_SECONDS {
        let why = format!("must be less than or equal to {PERIOD_LIMIT_SECONDS}");
        errors.invalid(path.child("periodSeconds"), policy.period_seconds, why);
    }
}
