//! `matchLabelKeys` and `mismatchLabelKeys` of a new pod: its own values for those labels become part of the selectors beside them, so
//! that whoever schedules it need not know about keys.
//!
//! Source: `mutatePodAffinity` and `mutateTopologySpreadConstraints` in `k8s.io/kubernetes/pkg/registry/core/pod/strategy.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

type Labels = BTreeMap<String, String>;

/// Makes requirements of the keys. A selector that is not there finds nothing, whatever the keys say.
pub fn merge(pod: &mut Pod) {
    let (Some(labels), Some(spec)) = (&pod.metadata.labels, &mut pod.spec) else { return };
    for constraint in spec.topology_spread_constraints.iter_mut().flatten() {
        require(constraint.label_selector.as_mut(), constraint.match_label_keys.as_deref(), "In", labels);
    }
    let Some(affinity) = &mut spec.affinity else { return };
    if let Some(near) = &mut affinity.pod_affinity {
        let preferred = near.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        let preferred = preferred.map(|it| &mut it.pod_affinity_term);
        let required = near.required_during_scheduling_ignored_during_execution.iter_mut().flatten();
        preferred.chain(required).for_each(|it| merge_term(it, labels));
    }
    if let Some(far) = &mut affinity.pod_anti_affinity {
        let preferred = far.preferred_during_scheduling_ignored_during_execution.iter_mut().flatten();
        let preferred = preferred.map(|it| &mut it.pod_affinity_term);
        let required = far.required_during_scheduling_ignored_during_execution.iter_mut().flatten();
        preferred.chain(required).for_each(|it| merge_term(it, labels));
    }
}

fn merge_term(term: &mut PodAffinityTerm, labels: &Labels) {
    require(term.label_selector.as_mut(), term.match_label_keys.as_deref(), "In", labels);
    require(term.label_selector.as_mut(), term.mismatch_label_keys.as_deref(), "NotIn", labels);
}

fn require(selector: Option<&mut LabelSelector>, keys: Option<&[String]>, operator: &str, labels: &Labels) {
    let Some(selector) = selector else { return };
    for key in keys.unwrap_or_default() {
        let Some(value) = labels.get(key) else { continue };
        selector.match_expressions.get_or_insert_default().push(LabelSelectorRequirement {
            key: key.clone(),
            operator: operator.to_owned(),
            values: Some(vec![value.clone()]),
        });
    }
}
