//! `PodDisruptionBudget`: how many of some pods must stay, or may be away, when pods are evicted.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks;
use crate::kinds::conditions;
use crate::kinds::workload;
use crate::name::NameRule;
use crate::selector::label;
use crate::table::{Cell, Column};

impl Strategy for PodDisruptionBudget {
    const NAMES: Names =
        Names { plural: "poddisruptionbudgets", singular: "poddisruptionbudget", short: &["pdb"], categories: &[] };
    const SUBS: &'static [Sub] = &[Sub::Status];
    /// Kubernetes has no rule of its own for these names.
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        cells::text("Min Available", |it| amount(&it["spec"]["minAvailable"]))
            .doc("The minimum number of pods that must be available."),
        cells::text("Max Unavailable", |it| amount(&it["spec"]["maxUnavailable"]))
            .doc("The maximum number of pods that may be unavailable."),
        cells::integer("Allowed Disruptions", |it| cells::number(&it["status"]["disruptionsAllowed"]))
            .doc("Calculated number of pods that may be disrupted at this time."),
        AGE,
    ];

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(PodDisruptionBudgetStatus::default()),
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, _old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            return self.status.iter().for_each(|it| validate_status(it, errors));
        }
        let Some(spec) = &self.spec else { return };
        let path = Path::new("spec");
        if spec.min_available.is_some() && spec.max_unavailable.is_some() {
            errors.invalid_text(path.clone(), shown(spec), "minAvailable and maxUnavailable cannot be both set");
        }
        for (field, amount) in [("minAvailable", &spec.min_available), ("maxUnavailable", &spec.max_unavailable)] {
            let Some(amount): &Option<IntOrString> = amount else { continue };
            workload::int_or_percent(amount, || path.child(field), errors);
            workload::not_more_than_all(amount, || path.child(field), errors);
        }
        if let Some(selector) = &spec.selector {
            label::validate(selector, &path.child("selector"), errors);
        }
        let policy = spec.unhealthy_pod_eviction_policy.as_deref();
        let path = || path.child("unhealthyPodEvictionPolicy");
        checks::none_or_one_of(policy, &["AlwaysAllow", "IfHealthyBudget"], path, errors);
    }
}

/// A specification as Kubernetes shows it: its internal form.
fn shown(it: &PodDisruptionBudgetSpec) -> String {
    let (least, most) = (json!(it.min_available), json!(it.max_unavailable));
    let (selector, policy) = (json!(it.selector), json!(it.unhealthy_pod_eviction_policy));
    format!(
        "{{\"MinAvailable\":{least},\"Selector\":{selector},\"MaxUnavailable\":{most},\"UnhealthyPodEvictionPolicy\":{policy}}}"
    )
}

fn validate_status(status: &PodDisruptionBudgetStatus, errors: &mut Errors) {
    let path = Path::new("status");
    conditions::validate(status.conditions.as_deref(), || path.child("conditions"), errors);
    for (field, number) in [
        ("disruptionsAllowed", status.disruptions_allowed),
        ("currentHealthy", status.current_healthy),
        ("desiredHealthy", status.desired_healthy),
        ("expectedPods", status.expected_pods),
    ] {
        checks::not_negative(Some(number.into()), || path.child(field), errors);
    }
}

fn amount(value: &Value) -> Cell {
    Cell::Text(match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => "N/A".to_owned(),
    })
}
