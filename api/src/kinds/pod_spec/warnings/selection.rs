//! What a pod selects nodes and other pods by: labels that are out of use, and selectors that find nothing.
//!
//! Source: `k8s.io/kubernetes/pkg/api/node/util.go` and `.../api/pod/warnings.go`.

use k8s_openapi::api::core::v1::{NodeSelectorTerm, PodAffinityTerm, PodSpec};

use crate::field::Path;
use crate::name;

const NODE_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
];

/// What there is to say about a label of nodes that nobody should rely on any more.
pub fn deprecated(label: &str) -> Option<&'static str> {
    NODE_LABELS.iter().find(|(it, _)| *it == label).map(|(_, message)| *message)
}

/// Adds the warnings about the nodes that a pod selects, and how it spreads over them.
pub fn of_nodes(spec: &PodSpec, path: impl Fn() -> Path, out: &mut Vec<String>) {
    for (key, _) in spec.node_selector.iter().flatten() {
        if let Some(message) = deprecated(key) {
            out.push(format!("{}: {message}", path().child("nodeSelector").key(key)));
        }
    }
    if let Some(affinity) = spec.affinity.as_ref().and_then(|it| it.node_affinity.as_ref()) {
        let path = || path().child("affinity").child("nodeAffinity");
        let required = affinity.required_during_scheduling_ignored_during_execution.as_ref();
        for (at, term) in required.map(|it| it.node_selector_terms.as_slice()).unwrap_or_default().iter().enumerate() {
            let path = || path().child("requiredDuringSchedulingIgnoredDuringExecution");
            of_term(term, || path().child("nodeSelectorTerms").index(at), out);
        }
        let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
        for (at, term) in preferred.enumerate() {
            let path = || path().child("preferredDuringSchedulingIgnoredDuringExecution").index(at);
            of_term(&term.preference, || path().child("preference"), out);
            // What is only preferred is not refused for a value that no label can have.
            for (at, expression) in term.preference.match_expressions.iter().flatten().enumerate() {
                for (index, value) in expression.values.iter().flatten().enumerate() {
                    for complaint in name::label_value(value) {
                        let path = path().child("preference").child("matchExpressions").index(at);
                        let path = path.child("values").index(index);
                        out.push(format!("{path}: {value} is invalid, {complaint}"));
                    }
                }
            }
        }
    }
    for (at, spread) in spec.topology_spread_constraints.iter().flatten().enumerate() {
        let path = || path().child("topologySpreadConstraints").index(at);
        if let Some(message) = deprecated(&spread.topology_key) {
            out.push(format!("{}: {} is {message}", path().child("topologyKey"), spread.topology_key));
        }
        if spread.label_selector.is_none() {
            let path = path().child("labelSelector");
            out.push(format!("{path}: a null labelSelector results in matching no pod"));
        }
    }
}

/// Adds the warnings about the labels that a term selects nodes by.
pub fn of_term(term: &NodeSelectorTerm, path: impl Fn() -> Path, out: &mut Vec<String>) {
    for (at, expression) in term.match_expressions.iter().flatten().enumerate() {
        if let Some(message) = deprecated(&expression.key) {
            let path = path().child("matchExpressions").index(at).child("key");
            out.push(format!("{path}: {} is {message}", expression.key));
        }
    }
}

/// Adds the warnings about other pods that an affinity finds by nothing at all.
pub fn of_pods(spec: &PodSpec, path: impl Fn() -> Path, out: &mut Vec<String>) {
    let Some(affinity) = &spec.affinity else { return };
    let near = affinity.pod_affinity.as_ref().map(|it| {
        (
            &it.required_during_scheduling_ignored_during_execution,
            &it.preferred_during_scheduling_ignored_during_execution,
        )
    });
    let far = affinity.pod_anti_affinity.as_ref().map(|it| {
        (
            &it.required_during_scheduling_ignored_during_execution,
            &it.preferred_during_scheduling_ignored_during_execution,
        )
    });
    for (kind, terms) in [("podAffinity", near), ("podAntiAffinity", far)] {
        let Some((required, preferred)) = terms else { continue };
        let path = |field: &str| path().child("affinity").child(kind).child(field);
        let mut tell = |term: &PodAffinityTerm, path: &dyn Fn() -> Path| {
            if term.label_selector.is_none() {
                let path = path().child("labelSelector");
                out.push(format!("{path}: a null labelSelector results in matching no pod"));
            }
        };
        for (at, term) in required.iter().flatten().enumerate() {
            tell(term, &|| path("requiredDuringSchedulingIgnoredDuringExecution").index(at));
        }
        for (at, term) in preferred.iter().flatten().enumerate() {
            let path = || path("preferredDuringSchedulingIgnoredDuringExecution").index(at).child("podAffinityTerm");
            tell(&term.pod_affinity_term, &path);
        }
    }
}
