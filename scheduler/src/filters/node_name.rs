//! `NodeName`: a pod that names its node runs there or nowhere.
//!
//! A pod whose `spec.nodeName` is set never enters the queue; this filter covers the affinity that daemons use instead, a
//! `matchFields` term on `metadata.name`, and says so in the words of the name filter.

use super::{Filter, Happening};
use crate::pod::Pod;
use crate::snapshot::Node;

pub(super) struct NodeName;

/// The nodes that a pod's required affinity names, if every term of it names some.
fn named(pod: &Pod) -> Option<Vec<&str>> {
    let required = pod.required_affinity.as_ref()?;
    let mut names = Vec::new();
    for term in &required.node_selector_terms {
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let field = fields.iter().find(|it| it.key == "metadata.name" && it.operator == "In")?;
        names.extend(field.values.iter().flatten().map(String::as_str));
    }
    (!names.is_empty()).then_some(names)
}

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn concerns(&self, pod: &Pod) -> bool {
        named(pod).is_some()
    }

    fn check(&self, pod: &Pod, node: &Node) -> bool {
        named(pod).is_none_or(|names| names.contains(&&*node.name))
    }

    fn explain(&self, _: &Pod, _: &Node) -> Vec<String> {
        vec!["node(s) didn't match the requested node name".into()]
    }

    fn woken_by(&self, happening: Happening) -> bool {
        happening == Happening::NodeRoom
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::NodeName;

    #[test]
    fn holds_a_pod_to_the_node_it_names() {
        let pod = r#"{"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[
            {"matchFields":[{"key":"metadata.name","operator":"In","values":["a"]}]}]}}}}}"#;
        check(&NodeName, pod, r#"{"metadata":{"name":"a"}}"#, &[]);
        check(&NodeName, pod, r#"{"metadata":{"name":"b"}}"#, &["node(s) didn't match the requested node name"]);
        check(&NodeName, "{}", r#"{"metadata":{"name":"b"}}"#, &[]);
    }
}
