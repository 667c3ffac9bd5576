//! The rules for what steers the scheduler: affinity, tolerations, spreading, gates.

use std::collections::{HashMap, HashSet};

use k8s_openapi::api::core::v1::{
    NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm, PodSpec, Toleration,
    TopologySpreadConstraint, WeightedPodAffinityTerm,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;
use crate::selector::label;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const NODE_POLICIES: &[&str] = &["Honor", "Ignore"];

/// Notes every mistake in the affinity of `spec`, which stands at `path`.
pub(super) fn validate_affinity(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    let Some(affinity) = &spec.affinity else { return };
    let path = path.child("affinity");
    if let Some(it) = &affinity.node_affinity {
        validate_node_affinity(it, &path.child("nodeAffinity"), errors);
    }
    if let Some(it) = &affinity.pod_affinity {
        validate_pod_terms(
            it.required_during_scheduling_ignored_during_execution.as_deref(),
            it.preferred_during_scheduling_ignored_during_execution.as_deref(),
            &path.child("podAffinity"),
            errors,
        );
    }
    if let Some(it) = &affinity.pod_anti_affinity {
        validate_pod_terms(
            it.required_during_scheduling_ignored_during_execution.as_deref(),
            it.preferred_during_scheduling_ignored_during_execution.as_deref(),
            &path.child("podAntiAffinity"),
            errors,
        );
    }
}

/// Notes every mistake in what `spec` waits for, and in how its pods are to be spread.
pub(super) fn validate_gates(spec: &PodSpec, path: &Path, errors: &mut Errors) {
    for (index, gate) in spec.readiness_gates.iter().flatten().enumerate() {
        for complaint in name::qualified_name(&gate.condition_type) {
            let at = path.child("readinessGates").index(index).child("conditionType");
            errors.invalid(at, &gate.condition_type, complaint);
        }
    }
    let mut gates = HashSet::new();
    for (index, gate) in spec.scheduling_gates.iter().flatten().enumerate() {
        for complaint in name::qualified_name(&gate.name) {
            errors.invalid(path.child("schedulingGates").index(index), &gate.name, complaint);
        }
        if !gates.insert(&gate.name) {
            errors.duplicate(path.child("schedulingGates").index(index), &gate.name);
        }
    }
    if let Some(constraints) = &spec.topology_spread_constraints {
        validate_spreading(constraints, &path.child("topologySpreadConstraints"), errors);
    }
}

/// Notes every mistake in tolerations, which stand at `path`.
pub fn validate_tolerations(tolerations: &[Toleration], path: &Path, errors: &mut Errors) {
    for (index, it) in tolerations.iter().enumerate() {
        let at = || path.index(index);
        let key = it.key.as_deref().unwrap_or_default();
        let operator = it.operator.as_deref().unwrap_or_default();
        let value = it.value.as_deref().unwrap_or_default();
        let effect = it.effect.as_deref().unwrap_or_default();
        checks::none_or_named(Some(key), name::qualified_name, || at().child("key"), errors);
        if key.is_empty() && operator != "Exists" {
            errors.invalid(
                at().child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            );
        }
        if it.toleration_seconds.is_some() && effect != "NoExecute" {
            errors.invalid(at().child("effect"), effect, "effect must be 'NoExecute' when `tolerationSeconds` is set");
        }
        match operator {
            "Equal" | "" => {
                let complaints = name::label_value(value);
                if !complaints.is_empty() {
                    errors.invalid(at().child("operator"), value, complaints.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                errors.invalid(at().child("operator"), value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            other => errors.not_supported(at().child("operator"), other, &["Equal", "Exists"]),
        }
        if !effect.is_empty() {
            checks::one_of(Some(effect), EFFECTS, || at().child("effect"), errors);
        }
    }
}

/// Notes every mistake in a selector of nodes, which stands at `path`.
pub fn validate_node_selector(selector: &NodeSelector, path: &Path, errors: &mut Errors) {
    let path = path.child("nodeSelectorTerms");
    if selector.node_selector_terms.is_empty() {
        errors.required(path.clone(), "must have at least one node selector term");
    }
    for (index, term) in selector.node_selector_terms.iter().enumerate() {
        validate_node_term(term, true, &path.index(index), errors);
    }
}

fn validate_node_affinity(it: &NodeAffinity, path: &Path, errors: &mut Errors) {
    if let Some(required) = &it.required_during_scheduling_ignored_during_execution {
        validate_node_selector(required, &path.child("requiredDuringSchedulingIgnoredDuringExecution"), errors);
    }
    let preferred = it.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    for (index, term) in preferred.enumerate() {
        let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
        validate_weight(term.weight, &path, errors);
        // What is only preferred may have values that no node can have.
        validate_node_term(&term.preference, false, &path.child("preference"), errors);
    }
}

fn validate_weight(weight: i32, path: &Path, errors: &mut Errors) {
    if !(1..=100).contains(&weight) {
        errors.invalid(path.child("weight"), weight, "must be in the range 1-100");
    }
}

fn validate_node_term(term: &NodeSelectorTerm, strict: bool, path: &Path, errors: &mut Errors) {
    for (index, it) in term.match_expressions.iter().flatten().enumerate() {
        validate_node_expression(it, strict, &path.child("matchExpressions").index(index), errors);
    }
    for (index, it) in term.match_fields.iter().flatten().enumerate() {
        let path = path.child("matchFields").index(index);
        match it.operator.as_str() {
            "In" | "NotIn" if it.values.as_deref().unwrap_or_default().len() != 1 => errors.required(
                path.child("values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ),
            "In" | "NotIn" => {}
            other => errors.invalid(path.child("operator"), other, "not a valid selector operator"),
        }
        if it.key != "metadata.name" {
            errors.invalid(path.child("key"), &it.key, "not a valid field selector key");
            continue;
        }
        for (at, value) in it.values.iter().flatten().enumerate() {
            for complaint in name::dns1123_subdomain(value) {
                errors.invalid(path.child("values").index(at), value, complaint);
            }
        }
    }
}

fn validate_node_expression(it: &NodeSelectorRequirement, strict: bool, path: &Path, errors: &mut Errors) {
    let values = it.values.as_deref().unwrap_or_default();
    match it.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            errors.required(path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            errors
                .forbidden(path.child("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            errors.required(path.child("values"), "must be specified single value when `operator` is 'Lt' or 'Gt'");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => errors.invalid(path.child("operator"), other, "not a valid selector operator"),
    }
    for complaint in name::qualified_name(&it.key) {
        errors.invalid(path.child("key"), &it.key, complaint);
    }
    for (index, value) in values.iter().enumerate().filter(|_| strict) {
        for complaint in name::label_value(value) {
            errors.invalid(path.child("values").index(index), value, complaint);
        }
    }
}

fn validate_pod_terms(
    required: Option<&[PodAffinityTerm]>,
    preferred: Option<&[WeightedPodAffinityTerm]>,
    path: &Path,
    errors: &mut Errors,
) {
    for (index, term) in required.unwrap_or_default().iter().enumerate() {
        let path = path.child("requiredDuringSchedulingIgnoredDuringExecution").index(index);
        validate_pod_term(term, &path, errors);
    }
    for (index, term) in preferred.unwrap_or_default().iter().enumerate() {
        let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(index);
        validate_weight(term.weight, &path, errors);
        validate_pod_term(&term.pod_affinity_term, &path.child("podAffinityTerm"), errors);
    }
}

fn validate_pod_term(term: &PodAffinityTerm, path: &Path, errors: &mut Errors) {
    if let Some(selector) = &term.label_selector {
        label::validate(selector, &path.child("labelSelector"), errors);
    }
    if let Some(selector) = &term.namespace_selector {
        label::validate(selector, &path.child("namespaceSelector"), errors);
    }
    for namespace in term.namespaces.iter().flatten() {
        for complaint in name::dns1123_label(namespace) {
            errors.invalid(path.child("namespace"), namespace, complaint);
        }
    }
    validate_term_keys(term, path, errors);
    if term.topology_key.is_empty() {
        errors.required(path.child("topologyKey"), "can not be empty");
    }
    for complaint in name::qualified_name(&term.topology_key) {
        errors.invalid(path.child("topologyKey"), &term.topology_key, complaint);
    }
}

/// The keys of labels in which another pod must be as this one, or must not be.
fn validate_term_keys(term: &PodAffinityTerm, path: &Path, errors: &mut Errors) {
    let same = term.match_label_keys.as_deref().unwrap_or_default();
    let other = term.mismatch_label_keys.as_deref().unwrap_or_default();
    for (field, keys) in [("matchLabelKeys", same), ("mismatchLabelKeys", other)] {
        if keys.is_empty() {
            continue;
        }
        if term.label_selector.is_none() {
            errors.forbidden(path.child(field), "must not be specified when labelSelector is not set");
            continue;
        }
        for (index, key) in keys.iter().enumerate() {
            for complaint in name::qualified_name(key) {
                errors.invalid(path.child(field).index(index), key, complaint);
            }
        }
    }
    if let Some(selector) = &term.label_selector {
        // Kubernetes leaves the field's name out of this path.
        selected_twice(selector, same, path, errors);
    }
    for (index, key) in same.iter().enumerate().filter(|(_, key)| other.contains(key)) {
        let why = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(path.child("matchLabelKeys").index(index), key, why);
    }
}

/// Keys whose labels the selector asks for besides. Once it may: that is what a new pod's keys themselves have become.
fn selected_twice(selector: &LabelSelector, keys: &[String], path: &Path, errors: &mut Errors) {
    let mut met: HashSet<&String> = selector.match_labels.iter().flat_map(|it| it.keys()).collect();
    for expression in selector.match_expressions.iter().flatten() {
        if !met.insert(&expression.key)
            && let Some(index) = keys.iter().rposition(|it| *it == expression.key)
        {
            let why = "exists in both matchLabelKeys and labelSelector";
            errors.invalid(path.index(index), &expression.key, why);
        }
    }
}

fn validate_spreading(constraints: &[TopologySpreadConstraint], path: &Path, errors: &mut Errors) {
    // The first of two alike is the one that is told of.
    let mut later: HashMap<(&str, &str), usize> = HashMap::new();
    for it in constraints {
        *later.entry((&it.topology_key, &it.when_unsatisfiable)).or_default() += 1;
    }
    for (index, it) in constraints.iter().enumerate() {
        let path = path.index(index);
        if it.max_skew <= 0 {
            errors.invalid(path.child("maxSkew"), it.max_skew, "must be greater than zero");
        }
        if it.topology_key.is_empty() {
            errors.required(path.child("topologyKey"), "can not be empty");
        }
        checks::none_or_one_of(
            Some(&it.when_unsatisfiable),
            &["DoNotSchedule", "ScheduleAnyway"],
            || path.child("whenUnsatisfiable"),
            errors,
        );
        let left = later.entry((&it.topology_key, &it.when_unsatisfiable)).or_default();
        *left = left.saturating_sub(1);
        if *left > 0 {
            errors.duplicate(
                path.child("{topologyKey, whenUnsatisfiable}"),
                format!("{{{}, {}}}", it.topology_key, it.when_unsatisfiable),
            );
        }
        if let Some(domains) = it.min_domains {
            if domains <= 0 {
                errors.invalid(path.child("minDomains"), domains, "must be greater than zero");
            }
            if it.when_unsatisfiable != "DoNotSchedule" {
                let why = format!(
                    "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {}",
                    it.when_unsatisfiable
                );
                errors.invalid(path.child("minDomains"), domains, why);
            }
        }
        checks::none_or_one_of(
            it.node_affinity_policy.as_deref(),
            NODE_POLICIES,
            || path.child("nodeAffinityPolicy"),
            errors,
        );
        checks::none_or_one_of(
            it.node_taints_policy.as_deref(),
            NODE_POLICIES,
            || path.child("nodeTaintsPolicy"),
            errors,
        );
        validate_spread_keys(it, &path.child("matchLabelKeys"), errors);
        if let Some(selector) = &it.label_selector {
            label::validate(selector, &path.child("labelSelector"), errors);
        }
    }
}

fn validate_spread_keys(it: &TopologySpreadConstraint, path: &Path, errors: &mut Errors) {
    let keys = it.match_label_keys.as_deref().unwrap_or_default();
    if !keys.is_empty() && it.label_selector.is_none() {
        errors.forbidden(path.clone(), "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.iter().enumerate() {
        for complaint in name::qualified_name(key) {
            errors.invalid(path.index(index), key, complaint);
        }
    }
    if let Some(selector) = &it.label_selector {
        selected_twice(selector, keys, path, errors);
    }
}
