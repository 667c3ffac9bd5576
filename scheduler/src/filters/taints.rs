//! `TaintToleration`: a node's `NoSchedule` and `NoExecute` taints keep off the pods that do not tolerate them.

use k8s_openapi::api::core::v1::Taint;

use super::{Filter, Happening};
use crate::pod::Pod;
use crate::snapshot::Node;
use crate::taint;

pub(super) struct Taints;

fn untolerated<'a>(pod: &Pod, node: &'a Node) -> Option<&'a Taint> {
    let hard = |it: &&Taint| it.effect == "NoSchedule" || it.effect == "NoExecute";
    node.taints.iter().filter(hard).find(|it| !taint::tolerated(it, &pod.tolerations))
}

impl Filter for Taints {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn concerns(&self, _: &Pod) -> bool {
        true
    }

    fn check(&self, pod: &Pod, node: &Node) -> bool {
        untolerated(pod, node).is_none()
    }

    fn explain(&self, pod: &Pod, node: &Node) -> Vec<String> {
        let Some(taint) = untolerated(pod, node) else { return Vec::new() };
        vec![format!("node(s) had untolerated taint {{{}: {}}}", taint.key, taint.value.as_deref().unwrap_or_default())]
    }

    fn woken_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeTaints | Happening::NodeRoom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::Taints;

    #[test]
    fn names_the_first_taint_that_is_not_tolerated() {
        let node = r#"{"spec":{"taints":[{"key":"soft","effect":"PreferNoSchedule"},{"key":"gpu","value":"a","effect":"NoSchedule"}]}}"#;
        check(&Taints, "{}", node, &["node(s) had untolerated taint {gpu: a}"]);
        check(&Taints, r#"{"spec":{"tolerations":[{"key":"gpu","operator":"Equal","value":"a"}]}}"#, node, &[]);
        check(
            &Taints,
            r#"{"spec":{"tolerations":[{"key":"gpu","operator":"Exists","effect":"NoExecute"}]}}"#,
            node,
            &["node(s) had untolerated taint {gpu: a}"],
        );
    }
}
