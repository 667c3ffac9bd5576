//! `NodeResourcesBalancedAllocation`: the node on which CPU and memory would be used up evenly.

use super::{MAX_SCORE, Score};
use crate::pod::Pod;
use crate::snapshot::{Cluster, Node};

pub(super) struct BalancedAllocation;

/// Thousandths of the capacity that would be taken, at most all of it.
fn taken_permille(capacity: i64, taken: i64) -> i64 {
    if capacity <= 0 { 1000 } else { (taken.saturating_mul(1000) / capacity).min(1000) }
}

fn fractions(pod: &Pod, node: &Node) -> (i64, i64) {
    let cpu = node.requested.cpu_milli + pod.requests.cpu_milli;
    let memory = node.requested.memory_bytes + pod.requests.memory_bytes;
    (taken_permille(node.allocatable.cpu_milli, cpu), taken_permille(node.allocatable.memory_bytes, memory))
}

impl Score for BalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    fn concerns(&self, pod: &Pod) -> bool {
        pod.requests.cpu_milli != 0 || pod.requests.memory_bytes != 0
    }

    fn rate(&self, pod: &Pod, node: &Node, _: &Cluster) -> i64 {
        // Of two values the standard deviation is half their distance.
        let (cpu, memory) = fractions(pod, node);
        MAX_SCORE - (cpu - memory).abs() / 2 * MAX_SCORE / 1000
    }

    fn explain(&self, pod: &Pod, node: &Node, _: &Cluster) -> String {
        let (cpu, memory) = fractions(pod, node);
        format!("{}% of the CPU and {}% of the memory would be requested", cpu / 10, memory / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::BalancedAllocation;

    #[test]
    fn prefers_even_use() {
        let pod = r#"{"spec":{"containers":[{"resources":{"requests":{"cpu":"1","memory":"1Gi"}}}]}}"#;
        let even = r#"{"metadata":{"name":"even"},"status":{"allocatable":{"cpu":"2","memory":"2Gi"}}}"#;
        let lopsided = r#"{"metadata":{"name":"lopsided"},"status":{"allocatable":{"cpu":"1","memory":"10Gi"}}}"#;
        check(&BalancedAllocation, pod, &[even, lopsided], &[], &[100, 55]);
    }
}
