//! `NodeResourcesFit`: what is left of a node must hold what the pod requests.

use super::{Filter, Happening};
use crate::pod::Pod;
use crate::snapshot::Node;

pub(super) struct Fit;

impl Filter for Fit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn concerns(&self, _: &Pod) -> bool {
        true
    }

    fn check(&self, pod: &Pod, node: &Node) -> bool {
        let (want, have, taken) = (&pod.requests, &node.allocatable, &node.requested);
        node.pods < node.allocatable_pods
            && (want.cpu_milli == 0 || want.cpu_milli <= have.cpu_milli - taken.cpu_milli)
            && (want.memory_bytes == 0 || want.memory_bytes <= have.memory_bytes - taken.memory_bytes)
            && (want.ephemeral_bytes == 0 || want.ephemeral_bytes <= have.ephemeral_bytes - taken.ephemeral_bytes)
            && want.other.iter().all(|(name, amount)| *amount <= have.of(name) - taken.of(name))
    }

    fn explain(&self, pod: &Pod, node: &Node) -> Vec<String> {
        let (want, have, taken) = (&pod.requests, &node.allocatable, &node.requested);
        let mut out = Vec::new();
        if node.pods >= node.allocatable_pods {
            out.push("Too many pods".into());
        }
        let mut lacks = |name: &str, want: i64, left: i64| {
            if want > 0 && want > left {
                out.push(format!("Insufficient {name}"));
            }
        };
        lacks("cpu", want.cpu_milli, have.cpu_milli - taken.cpu_milli);
        lacks("memory", want.memory_bytes, have.memory_bytes - taken.memory_bytes);
        lacks("ephemeral-storage", want.ephemeral_bytes, have.ephemeral_bytes - taken.ephemeral_bytes);
        for (name, amount) in &want.other {
            lacks(name, *amount, have.of(name) - taken.of(name));
        }
        out
    }

    fn woken_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::PodLeft | Happening::NodeRoom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::Fit;

    fn pod(requests: &str) -> String {
        format!(r#"{{"spec":{{"containers":[{{"resources":{{"requests":{requests}}}}}]}}}}"#)
    }

    #[test]
    fn tells_every_resource_that_lacks() {
        let node = r#"{"status":{"allocatable":{"cpu":"1","memory":"1Gi","pods":"10","example.com/gpu":"1"}}}"#;
        check(&Fit, &pod(r#"{"cpu":"1","memory":"1Gi"}"#), node, &[]);
        check(&Fit, &pod(r#"{"cpu":"1001m","memory":"2Gi"}"#), node, &["Insufficient cpu", "Insufficient memory"]);
        check(&Fit, &pod(r#"{"example.com/gpu":"2"}"#), node, &["Insufficient example.com/gpu"]);
        check(&Fit, "{}", r#"{"status":{"allocatable":{"pods":"0"}}}"#, &["Too many pods"]);
    }
}
