//! `NodeResourcesFit` with the strategy LeastAllocated: the node with the most left, CPU and memory counting alike.

use super::{MAX_SCORE, Score};
use crate::pod::Pod;
use crate::snapshot::{Cluster, Node};

pub(super) struct LeastAllocated;

fn left(capacity: i64, taken: i64) -> i64 {
    if capacity <= 0 || taken > capacity { 0 } else { (capacity - taken) * MAX_SCORE / capacity }
}

fn parts(pod: &Pod, node: &Node) -> (i64, i64) {
    let cpu = node.assumed_cpu_milli + pod.assumed_requests.cpu_milli;
    let memory = node.assumed_memory_bytes + pod.assumed_requests.memory_bytes;
    (left(node.allocatable.cpu_milli, cpu), left(node.allocatable.memory_bytes, memory))
}

impl Score for LeastAllocated {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn concerns(&self, _: &Pod) -> bool {
        true
    }

    fn rate(&self, pod: &Pod, node: &Node, _: &Cluster) -> i64 {
        let (cpu, memory) = parts(pod, node);
        (cpu + memory) / 2
    }

    fn explain(&self, pod: &Pod, node: &Node, _: &Cluster) -> String {
        let (cpu, memory) = parts(pod, node);
        format!("{cpu}% of the CPU and {memory}% of the memory would be left")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::LeastAllocated;

    #[test]
    fn prefers_the_emptier_node() {
        let pod = r#"{"spec":{"containers":[{"resources":{"requests":{"cpu":"1","memory":"1Gi"}}}]}}"#;
        let small = r#"{"metadata":{"name":"small"},"status":{"allocatable":{"cpu":"2","memory":"2Gi","pods":"9"}}}"#;
        let large = r#"{"metadata":{"name":"large"},"status":{"allocatable":{"cpu":"4","memory":"4Gi","pods":"9"}}}"#;
        check(&LeastAllocated, pod, &[small, large], &[], &[50, 75]);
        check(&LeastAllocated, pod, &[small, large], &[(pod, "large"), (pod, "large")], &[50, 25]);
    }
}
