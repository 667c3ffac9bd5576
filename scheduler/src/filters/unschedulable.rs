//! `NodeUnschedulable`: nodes that were cordoned take no new pods but those that tolerate it.

use k8s_openapi::api::core::v1::Taint;

use super::{Filter, Happening};
use crate::pod::Pod;
use crate::snapshot::{Node, UNSCHEDULABLE_TAINT};
use crate::taint;

pub(super) struct Unschedulable;

impl Filter for Unschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn concerns(&self, _: &Pod) -> bool {
        true
    }

    fn check(&self, pod: &Pod, node: &Node) -> bool {
        !node.unschedulable || {
            let cordon = Taint { key: UNSCHEDULABLE_TAINT.into(), effect: "NoSchedule".into(), ..Taint::default() };
            taint::tolerated(&cordon, &pod.tolerations)
        }
    }

    fn explain(&self, _: &Pod, _: &Node) -> Vec<String> {
        vec!["node(s) were unschedulable".into()]
    }

    fn woken_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::NodeTaints | Happening::NodeRoom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::Unschedulable;

    #[test]
    fn keeps_pods_off_cordoned_nodes() {
        check(&Unschedulable, "{}", r#"{"spec":{"unschedulable":true}}"#, &["node(s) were unschedulable"]);
        check(&Unschedulable, "{}", "{}", &[]);
        let tolerant = r#"{"spec":{"tolerations":[{"key":"node.kubernetes.io/unschedulable","operator":"Exists"}]}}"#;
        check(&Unschedulable, tolerant, r#"{"spec":{"unschedulable":true}}"#, &[]);
    }
}
