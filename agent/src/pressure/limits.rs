//! Pods that take more of the node's disk than their own limits allow. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use orlop_api::quantity::Quantity;

use crate::machine::world::{app_containers, init_containers, spec};
use crate::resources::{Amount, amount};

/// The resource's name.
const DISK: &str = "ephemeral-storage";

/// What a pod takes, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// By volume.
    pub volumes: BTreeMap<String, u64>,
    /// By container: what it has written, and its log.
    pub containers: BTreeMap<String, u64>,
    /// All of that which counts as the pod's.
    pub total: u64,
}

/// Whether a pod has limits that have to be looked at.
pub fn has_limits(pod: &Pod) -> bool {
    let volumes = spec(pod).and_then(|it| it.volumes.as_ref()).into_iter().flatten();
    let sized = volumes.filter_map(|it| it.empty_dir.as_ref()).any(|it| it.size_limit.is_some());
    sized || app_containers(pod).iter().chain(init_containers(pod)).any(|it| limit(it).is_some())
}

fn limit(it: &Container) -> Option<Quantity> {
    amount(it, Amount::Limit, DISK)
}

/// Why a pod has to go, in the kubelet's words: a volume beyond its size, then the whole pod, then a container.
pub fn exceeded(pod: &Pod, taken: &Taken) -> Option<String> {
    for volume in spec(pod).and_then(|it| it.volumes.as_ref()).into_iter().flatten() {
        let Some(text) = volume.empty_dir.as_ref().and_then(|it| it.size_limit.as_ref()) else { continue };
        let Ok(limit) = Quantity::parse(&text.0) else { continue };
        let used = taken.volumes.get(&volume.name).copied().unwrap_or_default();
        if limit.value_ceil() > 0 && beyond(used, &limit) {
            return Some(format!(
                "Usage of EmptyDir volume {:?} exceeds the limit {:?}. ",
                volume.name,
                limit.to_string()
            ));
        }
    }
    let all = app_containers(pod);
    let limits: Vec<Quantity> = all.iter().filter_map(limit).collect();
    // As the kubelet adds them up: a container without a limit adds nothing, and does not lift those of the others.
    if !limits.is_empty() {
        let sum = largest_with_init(pod, limits.iter().cloned().sum());
        if beyond(taken.total, &sum) {
            return Some(format!("Pod ephemeral local storage usage exceeds the total limit of containers {sum}. "));
        }
    }
    for it in all {
        let Some(limit) = limit(it) else { continue };
        if taken.containers.get(&it.name).is_some_and(|used| beyond(*used, &limit)) {
            return Some(format!(
                "Container {} exceeded its local ephemeral storage limit {:?}. ",
                it.name,
                limit.to_string()
            ));
        }
    }
    None
}

/// The containers' sum, or the largest limit of an init container, if that is more.
fn largest_with_init(pod: &Pod, sum: Quantity) -> Quantity {
    init_containers(pod).iter().filter_map(limit).fold(sum, |most, it| if it > most { it } else { most })
}

fn beyond(used: u64, limit: &Quantity) -> bool {
    i64::try_from(used).unwrap_or(i64::MAX) > limit.value_ceil()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(volumes: &[(&str, u64)], containers: &[(&str, u64)], total: u64, expected: Option<&str>) {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "volumes": [{"name": "sized", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "free", "emptyDir": {}}],
            "containers": [
                {"name": "a", "resources": {"limits": {"ephemeral-storage": "2Mi"}}},
                {"name": "b", "resources": {"limits": {"ephemeral-storage": "3Mi"}}}
            ]
        }}))
        .unwrap();
        assert!(has_limits(&pod));
        let of = |it: &[(&str, u64)]| it.iter().map(|(name, used)| ((*name).to_owned(), *used)).collect();
        let taken = Taken { volumes: of(volumes), containers: of(containers), total };
        assert_eq!(exceeded(&pod, &taken).as_deref(), expected);
    }

    #[test]
    fn limits_are_told_in_the_kubelets_words() {
        check(&[("sized", 1 << 20), ("free", 9 << 20)], &[("a", 2 << 20)], 5 << 20, None);
        let volume = "Usage of EmptyDir volume \"sized\" exceeds the limit \"1Mi\". ";
        check(&[("sized", (1 << 20) + 1)], &[], 9 << 20, Some(volume));
        let pod = "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ";
        check(&[], &[("a", 9 << 20)], (5 << 20) + 1, Some(pod));
        let container = "Container a exceeded its local ephemeral storage limit \"2Mi\". ";
        check(&[], &[("a", (2 << 20) + 1)], 4 << 20, Some(container));
    }

    #[test]
    fn a_pod_without_limits_is_left_alone() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {"containers": [{"name": "a"}]}})).unwrap();
        assert!(!has_limits(&pod));
        assert_eq!(exceeded(&pod, &Taken { total: u64::MAX, ..Taken::default() }), None);
    }
}
