//! `PodTopologySpread` with Kubernetes' default constraints: replicas of one workload on different nodes and in different zones.
//!
//! Replicas are told by their shared labels ([`crate::pod::SpreadKey`]), counted as pods come and go, so that no decision searches
//! pods. A node's replicas weigh as much as its zone's average; constraints that pods state themselves come with a later filter.

use super::{Score, fewest_is_best};
use crate::pod::Pod;
use crate::snapshot::{Cluster, Node};

pub(super) struct Spreading;

/// Raw ratings count in hundredths, so that a zone's average does not vanish in rounding.
const HUNDREDTHS: i64 = 100;

fn counts(pod: &Pod, node: &Node, cluster: &Cluster) -> (u32, u32) {
    let Some(key) = pod.spread else { return (0, 0) };
    let in_zone = if cluster.zones() > 1 { cluster.in_zone(&node.zone, key) } else { 0 };
    (node.spread.get(&key).copied().unwrap_or(0), in_zone)
}

impl Score for Spreading {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn concerns(&self, pod: &Pod) -> bool {
        pod.spread.is_some()
    }

    fn rate(&self, pod: &Pod, node: &Node, cluster: &Cluster) -> i64 {
        let (here, in_zone) = counts(pod, node, cluster);
        let nodes_per_zone = (cluster.nodes().len() / cluster.zones().max(1)).max(1) as i64;
        i64::from(here) * HUNDREDTHS + i64::from(in_zone) * HUNDREDTHS / nodes_per_zone
    }

    fn normalize(&self, ratings: &mut [i64]) {
        fewest_is_best(ratings);
    }

    fn explain(&self, pod: &Pod, node: &Node, cluster: &Cluster) -> String {
        let (here, in_zone) = counts(pod, node, cluster);
        format!("{here} replicas on the node, {in_zone} in its zone")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::Spreading;

    const POD: &str = r#"{"metadata":{"namespace":"d","labels":{"app":"web"}}}"#;

    fn node(name: &str, zone: &str) -> String {
        format!(r#"{{"metadata":{{"name":"{name}","labels":{{"topology.kubernetes.io/zone":"{zone}"}}}}}}"#)
    }

    #[test]
    fn keeps_replicas_apart() {
        let (a, b, c) = (node("a", "x"), node("b", "x"), node("c", "y"));
        check(&Spreading, POD, &[&a, &b], &[(POD, "a")], &[0, 100]);
        // b shares a's zone, so c is best.
        check(&Spreading, POD, &[&a, &b, &c], &[(POD, "a")], &[0, 50, 100]);
        check(
            &Spreading,
            POD,
            &[&a, &b],
            &[(r#"{"metadata":{"namespace":"d","labels":{"app":"db"}}}"#, "a")],
            &[100, 100],
        );
    }
}
