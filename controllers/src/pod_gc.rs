//! Pods that nobody else removes: those of nodes that are gone, those that were deleted before they got a node, and the
//! oldest of those that ended, when there are very many.
//!
//! In: pods and nodes. Out: deletions without grace, as no agent is there to end them gracefully.

use std::time::Duration;

use jiff::Timestamp;
use orlop_client::write::Action;
use orlop_client::{Key, clock};

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_NODE, World};

/// How long a node may be missing before its pods go: it may only be registering anew (Kubernetes waits 40 s).
const QUARANTINE: Duration = Duration::from_secs(40);
/// Pods deleted at once.
const BATCH: usize = 500;
/// The key that stands for all ended pods.
const ENDED: &str = "ended";

/// The controller. Its keys are pods, and [`ENDED`] without a namespace.
pub struct PodGc {
    /// How many ended pods are kept (`--terminated-pod-gc-threshold`).
    pub ended_most: usize,
}

impl Controller for PodGc {
    fn name(&self) -> &'static str {
        "pod-garbage-collector-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        let nodes = world.nodes.clone();
        wires.on(&world.pods, move |change| {
            let Some(pod) = &change.new else { return Vec::new() };
            let mut keys = Vec::new();
            let node = &pod.spec.node_name;
            let deleting = pod.metadata.deletion_timestamp.is_some();
            if (node.is_empty() && deleting) || (!node.is_empty() && nodes.get(&Key::new("", node)).is_none()) {
                keys.push(change.key.clone());
            }
            if pod.is_terminated() {
                keys.push(Key::new("", ENDED));
            }
            keys
        });
        let pods = world.pods.clone();
        wires.on(&world.nodes, move |change| match change.new {
            Some(_) => Vec::new(),
            None => pods.by_index(BY_NODE, change.key.name()).iter().map(|it| key_of(&it.metadata)).collect(),
        });
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        if key.namespace().is_empty() {
            self.drop_ended(world, &mut plan);
            return plan;
        }
        let Some(pod) = world.pods.get(key) else { return plan };
        let node = &pod.spec.node_name;
        if node.is_empty() {
            if pod.metadata.deletion_timestamp.is_some() {
                plan.act(delete(&pod));
            }
            return plan;
        }
        if world.nodes.get(&Key::new("", node)).is_some() {
            return plan;
        }
        // How long the node has been missing is not remembered; the pod's own age bounds it for a pod that was bound to
        // a node that never came, and the quarantine is waited for once more after a restart.
        let bound = pod.condition("PodScheduled").and_then(|it| it.last_transition_time.as_ref()).map(|it| it.0);
        let since = bound.or(pod.metadata.creation_timestamp.as_ref().map(|it| it.0));
        let left = QUARANTINE.saturating_sub(since.map_or(Duration::MAX, |it| clock::since(it, now)));
        if left.is_zero() {
            plan.act(delete(&pod))
        } else {
            plan.recheck_in(left)
        }
        plan
    }
}

impl PodGc {
    fn drop_ended(&self, world: &World, plan: &mut Plan) {
        let mut ended = world.pods.list();
        ended.retain(|it| it.is_terminated() && it.metadata.deletion_timestamp.is_none());
        let excess = ended.len().saturating_sub(self.ended_most);
        if excess == 0 {
            return;
        }
        ended.sort_by_key(|it| it.metadata.creation_timestamp.as_ref().map(|it| it.0));
        ended.iter().take(excess.min(BATCH)).for_each(|it| plan.act(delete(it)));
    }
}

fn delete(pod: &PodView) -> Action {
    Action::Delete {
        resource: PODS,
        key: key_of(&pod.metadata),
        uid: uid_of(&pod.metadata).to_owned(),
        revision: None,
        grace_seconds: Some(0),
        propagation: None,
    }
}
