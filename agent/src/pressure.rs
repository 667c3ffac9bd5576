//! What a node does when it runs short of memory, disk or process ids, and about pods that take more of its disk than they may.
//!
//! Readings of the machine become observations of [`signals`]; [`decide`] remembers which thresholds are met and for how long, which conditions the Node has,
//! and what is to be reclaimed; [`rank`] orders the pods, [`limits`] finds those that are beyond their own limits. All of that is pure. [`keeper`] looks every ten
//! seconds, removes what nobody needs, and ends one pod at a time. Source: `pkg/kubelet/eviction`.

pub mod decide;
pub mod keeper;
pub mod limits;
pub mod rank;
pub mod settings;
pub mod signals;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use parking_lot::RwLock;

use crate::machine::Rejection;
use crate::machine::world::spec;
use crate::node::capacity::Pressure;
use crate::resources::{Qos, qos_class};

/// The reason of a pod that was ended, or not taken, for want of something.
pub const EVICTED: &str = "Evicted";
/// From this priority on a pod is never evicted (`scheduling.SystemCriticalPriority`): the cluster cannot do without it.
pub const CRITICAL: i32 = 2_000_000_000;
/// The taint of a node that is short of memory.
const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";

/// The conditions that the node has now: written by the keeper, read by whoever tells of the node or takes pods.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<RwLock<Pressure>>);

impl Board {
    /// The conditions now.
    pub fn now(&self) -> Pressure {
        *self.0.read()
    }

    /// They are these from now on.
    pub fn set(&self, pressure: Pressure) {
        *self.0.write() = pressure;
    }
}

/// Whether the cluster cannot do without a pod.
pub fn is_critical(pod: &Pod) -> bool {
    spec(pod).and_then(|it| it.priority).is_some_and(|it| it >= CRITICAL)
}

/// Why a node with these conditions does not take a pod that is new to it. Where memory alone is short, pods are taken that have asked for some, or that
/// tolerate it: it is not them who go first.
pub fn refuses(pressure: Pressure, pod: &Pod) -> Option<Rejection> {
    let Pressure { memory, disk, pids } = pressure;
    if !(memory || disk || pids) || is_critical(pod) {
        return None;
    }
    if memory && !disk && !pids && (qos_class(pod) != Qos::BestEffort || tolerates_memory_pressure(pod)) {
        return None;
    }
    let names = [(memory, "MemoryPressure"), (disk, "DiskPressure"), (pids, "PIDPressure")];
    let names: Vec<&str> = names.iter().filter(|it| it.0).map(|it| it.1).collect();
    let message = format!("The node had condition: [{}]. ", names.join(" "));
    Some(Rejection { reason: EVICTED.into(), message })
}

fn tolerates_memory_pressure(pod: &Pod) -> bool {
    let all = spec(pod).and_then(|it| it.tolerations.as_deref()).unwrap_or_default();
    all.iter().any(|it| {
        let key = it.key.as_deref().unwrap_or_default();
        let operator = it.operator.as_deref().unwrap_or("Equal");
        let effect = it.effect.as_deref().unwrap_or_default();
        let same = match operator {
            "Exists" => key.is_empty() || key == MEMORY_TAINT,
            _ => key == MEMORY_TAINT && it.value.as_deref().unwrap_or_default().is_empty(),
        };
        same && (effect.is_empty() || effect == "NoSchedule")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_under_pressure_takes_what_would_not_go_first() {
        let check = |pressure: Pressure, spec: serde_json::Value, expected: Option<&str>| {
            let pod: Pod = serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap();
            assert_eq!(refuses(pressure, &pod).map(|it| it.message).as_deref(), expected, "{spec}");
        };
        let best_effort = serde_json::json!({"containers": [{"name": "c"}]});
        let burstable =
            serde_json::json!({"containers": [{"name": "c", "resources": {"requests": {"memory": "1Mi"}}}]});
        let tolerant = serde_json::json!({"containers": [{"name": "c"}], "tolerations": [{"operator": "Exists"}]});
        let critical = serde_json::json!({"containers": [{"name": "c"}], "priority": 2_000_000_000});
        let memory = Pressure { memory: true, ..Pressure::default() };
        let both = Pressure { memory: true, disk: true, ..Pressure::default() };
        check(Pressure::default(), best_effort.clone(), None);
        check(memory, best_effort, Some("The node had condition: [MemoryPressure]. "));
        check(memory, burstable.clone(), None);
        check(memory, tolerant.clone(), None);
        check(both, burstable, Some("The node had condition: [MemoryPressure DiskPressure]. "));
        check(both, tolerant, Some("The node had condition: [MemoryPressure DiskPressure]. "));
        check(both, critical, None);
    }
}
