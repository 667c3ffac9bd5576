//! Whether a term of a node selector matches a node (`k8s.io/component-helpers/scheduling/corev1/nodeaffinity`).

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm};

/// Whether some term matches the node of this name, whose labels `label` tells. A volume without a selector is reached from everywhere.
pub fn reaches<'a>(selector: Option<&NodeSelector>, label: impl Fn(&str) -> Option<&'a str>, name: &str) -> bool {
    selector.is_none_or(|it| it.node_selector_terms.iter().any(|term| term_matches(term, &label, name)))
}

/// Whether every requirement of the term holds. A term without any matches no node.
pub fn term_matches<'a>(term: &NodeSelectorTerm, label: impl Fn(&str) -> Option<&'a str>, name: &str) -> bool {
    let labels = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if labels.is_empty() && fields.is_empty() {
        return false;
    }
    labels.iter().all(|it| holds(it, label(&it.key)))
        && fields.iter().all(|it| it.key == "metadata.name" && holds(it, Some(name)))
}

fn holds(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = |value: &str| values.iter().any(|it| it == value);
    match requirement.operator.as_str() {
        "In" => value.is_some_and(listed),
        "NotIn" => !value.is_some_and(listed),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        operator @ ("Gt" | "Lt") => {
            let bound = values.first().and_then(|it| it.parse::<i64>().ok());
            let (Some(value), Some(bound)) = (value.and_then(|it| it.parse::<i64>().ok()), bound) else { return false };
            if operator == "Gt" { value > bound } else { value < bound }
        }
        _ => false,
    }
}
