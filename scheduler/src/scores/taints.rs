//! `TaintToleration`, the soft part: nodes with fewer `PreferNoSchedule` taints that the pod does not tolerate.

use super::{Score, fewest_is_best};
use crate::pod::Pod;
use crate::snapshot::{Cluster, Node};
use crate::taint;

pub(super) struct TaintToleration;

impl Score for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn concerns(&self, _: &Pod) -> bool {
        true
    }

    fn rate(&self, pod: &Pod, node: &Node, _: &Cluster) -> i64 {
        let soft = node.taints.iter().filter(|it| it.effect == "PreferNoSchedule");
        soft.filter(|it| !taint::tolerated(it, &pod.tolerations)).count() as i64
    }

    fn normalize(&self, ratings: &mut [i64]) {
        fewest_is_best(ratings);
    }

    fn explain(&self, pod: &Pod, node: &Node, cluster: &Cluster) -> String {
        format!("{} taints ask to stay away", self.rate(pod, node, cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::TaintToleration;

    #[test]
    fn prefers_nodes_without_soft_taints() {
        let soft = r#"{"metadata":{"name":"a"},"spec":{"taints":[{"key":"k","effect":"PreferNoSchedule"}]}}"#;
        let clean = r#"{"metadata":{"name":"b"}}"#;
        check(&TaintToleration, "{}", &[soft, clean], &[], &[0, 100]);
        check(&TaintToleration, "{}", &[clean], &[], &[100]);
        check(
            &TaintToleration,
            r#"{"spec":{"tolerations":[{"operator":"Exists"}]}}"#,
            &[soft, clean],
            &[],
            &[100, 100],
        );
    }
}
