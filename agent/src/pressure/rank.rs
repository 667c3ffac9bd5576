//! Which pod goes first: those that use more of what is short than they asked for, then the less important, then those that use most beyond what they
//! asked for. Pure. Source: `pkg/kubelet/eviction/helpers.go`.

use k8s_openapi::api::core::v1::Pod;

use super::signals::{Starved, written};
use crate::machine::world::{app_containers, spec};
use crate::resources::{Amount, amount, pod_request};

/// What a pod uses of what is short, and each of its containers, in bytes, inodes or processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodUse {
    pub total: i64,
    pub containers: Vec<(String, i64)>,
}

/// The pods in the order in which they go. A pod of which nothing is known goes before those of the same priority that keep to what they asked for.
pub fn rank<P: AsRef<Pod>>(mut pods: Vec<(P, Option<PodUse>)>, of: Starved) -> Vec<(P, Option<PodUse>)> {
    pods.sort_by_cached_key(|(pod, used)| {
        let pod = pod.as_ref();
        let request = request(pod, of);
        let beyond = used.as_ref().map_or(i64::MAX, |it| it.total.saturating_sub(request));
        let priority = spec(pod).and_then(|it| it.priority).unwrap_or_default();
        // Process ids nobody asks for: only the priority and the number count.
        let keeps = of != Starved::Pids && beyond <= 0;
        (keeps, priority, std::cmp::Reverse(beyond))
    });
    pods
}

/// What a pod asked for of it.
fn request(pod: &Pod, of: Starved) -> i64 {
    match of {
        Starved::Memory | Starved::Disk => pod_request(pod, of.name()),
        Starved::Inodes | Starved::Pids => 0,
    }
}

/// What a pod's message says of its containers that use more than they asked for.
pub fn message(pod: &Pod, used: &PodUse, of: Starved) -> String {
    if !matches!(of, Starved::Memory | Starved::Disk) {
        return String::new();
    }
    let mut text = String::new();
    for it in app_containers(pod) {
        let Some((_, used)) = used.containers.iter().find(|(name, _)| *name == it.name) else { continue };
        let request = amount(it, Amount::Request, of.name());
        if *used > request.as_ref().map_or(0, |it| it.value_ceil()) {
            let request = request.map_or_else(|| "0".to_owned(), |it| it.to_string());
            text.push_str(&format!(
                "Container {} was using {}, request is {request}, has larger consumption of {}. ",
                it.name,
                written(*used, of),
                of.name()
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn pod(name: &str, priority: i32, request: &str, used: Option<i64>) -> (Arc<Pod>, Option<PodUse>) {
        let pod = serde_json::json!({
            "metadata": {"name": name},
            "spec": {"priority": priority, "containers": [{"name": "c", "resources": {"requests": {"memory": request, "ephemeral-storage": request}}}]}
        });
        let used = used.map(|total| PodUse { total, containers: vec![("c".into(), total)] });
        (Arc::new(serde_json::from_value(pod).unwrap()), used)
    }

    fn check(of: Starved, pods: Vec<(Arc<Pod>, Option<PodUse>)>, expected: &[&str]) {
        let names: Vec<_> = rank(pods, of).into_iter().map(|it| it.0.metadata.name.clone().unwrap()).collect();
        assert_eq!(names, expected, "{of:?}");
    }

    #[test]
    fn those_beyond_their_requests_go_first() {
        let pods = || {
            vec![
                pod("keeps", 0, "1000", Some(1000)),
                pod("important", 100, "0", Some(5000)),
                pod("little", 0, "100", Some(200)),
                pod("much", 0, "100", Some(900)),
                pod("unknown", 0, "100", None),
            ]
        };
        let beyond = ["unknown", "much", "little", "important", "keeps"];
        check(Starved::Memory, pods(), &beyond);
        check(Starved::Disk, pods(), &beyond);
        check(Starved::Pids, pods(), &["unknown", "keeps", "much", "little", "important"]);
    }

    #[test]
    fn a_message_names_who_uses_more_than_it_asked_for() {
        let check = |of, request, used, expected: &str| {
            let (pod, used) = pod("p", 0, request, Some(used));
            assert_eq!(message(&pod, &used.unwrap(), of), expected);
        };
        check(
            Starved::Memory,
            "1Mi",
            3 << 20,
            "Container c was using 3Mi, request is 1Mi, has larger consumption of memory. ",
        );
        check(
            Starved::Disk,
            "0",
            10 << 10,
            "Container c was using 10Ki, request is 0, has larger consumption of ephemeral-storage. ",
        );
        check(Starved::Memory, "1Mi", 1 << 20, "");
        check(Starved::Inodes, "0", 5, "");
    }
}
