//! What an update of a pod may change: images, a few numbers, more tolerations. Everything else was decided when it was made.
//!
//! Source: `ValidatePodUpdate` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Affinity, NodeAffinity, NodeSelectorTerm, PodSpec, Toleration};

use crate::field::{Errors, Path};

const UPDATABLE_FIELDS: &str = "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Notes what `new` changes of `old` that no update may.
pub(super) fn validate(new: &PodSpec, old: &PodSpec, errors: &mut Errors) {
    // Most updates of a pod change its metadata alone.
    if new == old {
        return;
    }
    let path = Path::new("spec");
    if new.containers.len() != old.containers.len() {
        errors.forbidden(path.child("containers"), "pod updates may not add or remove containers");
        return;
    }
    if new.init_containers.as_ref().map_or(0, Vec::len) != old.init_containers.as_ref().map_or(0, Vec::len) {
        errors.forbidden(path.child("initContainers"), "pod updates may not add or remove containers");
        return;
    }
    match (new.active_deadline_seconds, old.active_deadline_seconds) {
        (None, Some(_)) => errors.invalid(
            path.child("activeDeadlineSeconds"),
            "null",
            "must not update from a positive integer to nil value",
        ),
        (Some(now), Some(before)) if now > before => {
            let why = "must be less than or equal to previous value";
            return errors.invalid(path.child("activeDeadlineSeconds"), now, why);
        }
        _ => {}
    }
    validate_tolerations(new, old, &path, errors);
    let gates_before: BTreeSet<&str> = old.scheduling_gates.iter().flatten().map(|it| it.name.as_str()).collect();
    for (index, gate) in new.scheduling_gates.iter().flatten().enumerate() {
        if !gates_before.contains(gate.name.as_str()) {
            errors.forbidden(
                path.child("schedulingGates").index(index).child("name"),
                format!("only deletion is allowed, but found new scheduling gate '{}'", gate.name),
            );
        }
    }

    // The rest must be the same: put back what may differ, and compare.
    let mut same = new.clone();
    let now = same.containers.iter_mut().chain(same.init_containers.iter_mut().flatten());
    for (now, before) in now.zip(old.containers.iter().chain(old.init_containers.iter().flatten())) {
        now.image.clone_from(&before.image);
    }
    same.active_deadline_seconds = old.active_deadline_seconds;
    same.tolerations.clone_from(&old.tolerations);
    same.scheduling_gates.clone_from(&old.scheduling_gates);
    if old.termination_grace_period_seconds.is_some_and(|it| it < 0) && same.termination_grace_period_seconds == Some(1)
    {
        same.termination_grace_period_seconds = old.termination_grace_period_seconds;
    }
    if !gates_before.is_empty() {
        // A pod that is not yet for the scheduler may still say more strictly where it wants to go.
        narrow_selector(&mut same, old, &path, errors);
        narrow_affinity(&mut same, old, &path, errors);
    }
    if same != *old {
        let changed = changed_fields(&same, old).join("\n");
        errors.forbidden(path, format!("pod updates may not change fields other than {UPDATABLE_FIELDS}\n{changed}"));
    }
}

/// Notes where the node selector lets more nodes through than before, and puts it back.
fn narrow_selector(same: &mut PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    if same.node_selector == old.node_selector {
        return;
    }
    let kept = |(key, value): (&String, &String)| same.node_selector.as_ref().and_then(|it| it.get(key)) == Some(value);
    if !old.node_selector.iter().flatten().all(kept) {
        let why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)";
        errors.invalid(path.child("nodeSelector"), &same.node_selector, why);
    }
    same.node_selector.clone_from(&old.node_selector);
}

/// Notes where the node affinity lets more nodes through than before, and puts it back.
fn narrow_affinity(same: &mut PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    fn of(spec: &PodSpec) -> Option<&NodeAffinity> {
        spec.affinity.as_ref()?.node_affinity.as_ref()
    }
    fn terms(affinity: Option<&NodeAffinity>) -> &[NodeSelectorTerm] {
        let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
        required.map_or(&[], |it| &it.node_selector_terms)
    }
    if of(same) == of(old) {
        return;
    }
    let (now, before) = (terms(of(same)), terms(of(old)));
    let at = || {
        let affinity = path.child("affinity").child("nodeAffinity");
        affinity.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms")
    };
    if !before.is_empty() && before.len() != now.len() {
        errors.invalid(at(), now, "no additions/deletions to non-empty NodeSelectorTerms list are allowed");
    } else {
        for (index, (now, before)) in now.iter().zip(before).enumerate() {
            if !only_adds(now, before) {
                let why = "only additions are allowed (no mutations or deletions)";
                errors.invalid(at().index(index), now, why);
            }
        }
    }
    let before = of(old).cloned();
    let affinity = same.affinity.get_or_insert_with(Affinity::default);
    affinity.node_affinity = before;
    if old.affinity.is_none() && *affinity == Affinity::default() {
        same.affinity = None;
    }
}

/// Whether a term asks for all it asked for before, in the same order, and perhaps for more. One that asked for nothing matches
/// nothing, and must go on so.
fn only_adds(now: &NodeSelectorTerm, before: &NodeSelectorTerm) -> bool {
    let lists = [(&now.match_expressions, &before.match_expressions), (&now.match_fields, &before.match_fields)];
    let was_empty = lists.iter().all(|(_, before)| before.as_ref().is_none_or(Vec::is_empty));
    lists.iter().all(|(now, before)| {
        let (now, before) = (now.as_deref().unwrap_or_default(), before.as_deref().unwrap_or_default());
        if was_empty { now.is_empty() } else { now.starts_with(before) }
    })
}

fn validate_tolerations(new: &PodSpec, old: &PodSpec, path: &Path, errors: &mut Errors) {
    let same_but_seconds = |a: &Toleration, b: &Toleration| {
        (&a.key, &a.operator, &a.value, &a.effect) == (&b.key, &b.operator, &b.value, &b.effect)
    };
    let now = new.tolerations.as_deref().unwrap_or_default();
    let lost = old.tolerations.iter().flatten().any(|before| !now.iter().any(|it| same_but_seconds(it, before)));
    if lost {
        errors.forbidden(
            path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        );
    }
}

/// The fields in which two specifications differ, with what they were and what they would become. Only for the message of a mistake,
/// so that the round trip through JSON costs nobody who makes none.
pub(super) fn changed_fields(new: &PodSpec, old: &PodSpec) -> Vec<String> {
    let value = |it: &PodSpec| serde_json::to_value(it).unwrap_or_default();
    let (new, old) = (value(new), value(old));
    let mut names: Vec<&String> =
        [&new, &old].into_iter().filter_map(|it| it.as_object()).flat_map(|it| it.keys()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| new.get(*name) != old.get(*name));
    names.iter().map(|name| format!("  spec.{name}: {} -> {}", old[*name], new[*name])).collect()
}
