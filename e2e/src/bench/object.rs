//! The objects that are created: of known size, and valid for any Kubernetes API server. Pure.

use bytes::Bytes;
use serde_json::{Value, json};

/// No scheduler answers to this name, so that a running cluster leaves the benchmark's pods alone.
pub const NO_SCHEDULER: &str = "orlop-bench-none";

/// The image of pods that are to run: one static program that sleeps. The benchmark of the agent makes it.
pub const IMAGE: &str = "orlop.local/bench:1";

/// The body of a ConfigMap that is `size_bytes` long. Another `turn` is another state of it: a PUT of what stands already would not be
/// written at all.
pub fn config_map(name: &str, turn: usize, size_bytes: usize) -> Bytes {
    padded(size_bytes, |padding| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {"app": "orlop-bench"}},
            "data": {"turn": turn.to_string(), "padding": padding},
        })
    })
}

/// The body of a pod that is `size_bytes` long, and some hundred bytes longer once defaults are filled in.
pub fn pod(name: &str, scheduler: &str, size_bytes: usize) -> Bytes {
    padded(size_bytes, |padding| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "orlop-bench"}, "annotations": {"orlop.dev/padding": padding}},
            "spec": {
                "schedulerName": scheduler,
                "automountServiceAccountToken": false,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
                }],
            },
        })
    })
}

/// The smallest pod: what a scheduling benchmark creates.
pub fn small_pod(name: &str, scheduler: &str) -> Bytes {
    pod(name, scheduler, 0)
}

/// A pod that is bound from the beginning, so that its agent sees it at once.
pub fn bound_pod(name: &str, node: &str) -> Bytes {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never"}],
        },
    });
    Bytes::from(pod.to_string())
}

/// Makes the object as long as asked by a string of letters; as it is where it is longer already.
fn padded(size_bytes: usize, make: impl Fn(&str) -> Value) -> Bytes {
    let bare = make("").to_string().len();
    let padding = "x".repeat(size_bytes.saturating_sub(bare));
    Bytes::from(make(&padding).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_the_size_asked() {
        assert_eq!(config_map("a", 7, 1_024).len(), 1_024);
        assert_eq!(pod("a", NO_SCHEDULER, 3_000).len(), 3_000);
        let small = small_pod("a", NO_SCHEDULER);
        assert!((300..600).contains(&small.len()), "{}", small.len());
    }
}
