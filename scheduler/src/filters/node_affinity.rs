//! `NodeAffinity`: the node's labels must match the pod's `nodeSelector` and required affinity.

use super::{Filter, Happening};
use crate::affinity;
use crate::pod::Pod;
use crate::snapshot::Node;

pub(super) struct Affinity;

impl Filter for Affinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn concerns(&self, pod: &Pod) -> bool {
        !pod.node_selector.is_empty() || pod.required_affinity.is_some()
    }

    fn check(&self, pod: &Pod, node: &Node) -> bool {
        pod.node_selector.iter().all(|(key, value)| node.labels.get(key) == Some(value))
            && pod.required_affinity.as_ref().is_none_or(|required| {
                required.node_selector_terms.iter().any(|term| affinity::term_matches(term, node))
            })
    }

    fn explain(&self, _: &Pod, _: &Node) -> Vec<String> {
        vec!["node(s) didn't match Pod's node affinity/selector".into()]
    }

    fn woken_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeLabels | Happening::NodeRoom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::Affinity;

    const NO: &[&str] = &["node(s) didn't match Pod's node affinity/selector"];

    fn required(expression: &str) -> String {
        format!(
            r#"{{"spec":{{"affinity":{{"nodeAffinity":{{"requiredDuringSchedulingIgnoredDuringExecution":{{"nodeSelectorTerms":[{{"matchExpressions":[{expression}]}}]}}}}}}}}}}"#
        )
    }

    #[test]
    fn asks_for_labels() {
        let node = r#"{"metadata":{"name":"n","labels":{"disk":"ssd","cores":"8"}}}"#;
        check(&Affinity, r#"{"spec":{"nodeSelector":{"disk":"ssd"}}}"#, node, &[]);
        check(&Affinity, r#"{"spec":{"nodeSelector":{"disk":"hdd"}}}"#, node, NO);
        check(&Affinity, &required(r#"{"key":"disk","operator":"In","values":["hdd","ssd"]}"#), node, &[]);
        check(&Affinity, &required(r#"{"key":"disk","operator":"NotIn","values":["ssd"]}"#), node, NO);
        check(&Affinity, &required(r#"{"key":"disk","operator":"Exists"}"#), node, &[]);
        check(&Affinity, &required(r#"{"key":"gpu","operator":"DoesNotExist"}"#), node, &[]);
        check(&Affinity, &required(r#"{"key":"cores","operator":"Gt","values":["4"]}"#), node, &[]);
        check(&Affinity, &required(r#"{"key":"cores","operator":"Lt","values":["8"]}"#), node, NO);
        check(&Affinity, &required(r#"{"key":"disk","operator":"Gt","values":["4"]}"#), node, NO);
    }
}
