//! Pods that nobody else removes: those of nodes that are gone, those that were deleted before they got a node, and the
//! oldest of those that ended, when there are very many.
//!
//! In: pods and nodes. Out: deletions without grace, as no agent is there to end them gracefully.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_client::write::Action;
use orlop_client::{Key, clock};
use serde_json::{Value, json};

use crate::plan::{Fact, Plan};
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
    /// How many ended pods are kept (`--terminated-pod-gc-threshold`); zero keeps all.
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
                end(&pod, Vec::new(), None, &mut plan);
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
            // A store that lags must not look like a missing node.
            let gone = Fact { resource: NODES, key: Key::new("", node), uid: String::new(), alive: false };
            let why = json!({ "type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists", "lastTransitionTime": Time(now) });
            end(&pod, vec![gone], Some(why), &mut plan)
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
        // No threshold means no limit.
        if excess == 0 || self.ended_most == 0 {
            return;
        }
        ended.sort_by_key(|it| {
            let created = it.metadata.creation_timestamp.as_ref().map(|it| it.0);
            (it.status.reason != "Evicted", created, name_of(&it.metadata).to_owned())
        });
        ended.iter().take(excess.min(BATCH)).for_each(|it| plan.act(delete(it)));
    }
}

/// Marks the pod as failed, as no agent is there to do it, and deletes it.
fn end(pod: &PodView, facts: Vec<Fact>, why: Option<Value>, plan: &mut Plan) {
    if !pod.is_terminated() {
        let mut status = json!({ "phase": "Failed" });
        if let Some(why) = why {
            let others = pod.status.conditions.iter().filter(|it| it.type_ != "DisruptionTarget").map(|it| json!(it));
            status["conditions"] = others.chain([why]).collect();
        }
        let action = Action::Patch {
            resource: PODS,
            key: key_of(&pod.metadata),
            sub: Some("status"),
            uid: uid_of(&pod.metadata).to_owned(),
            revision: pod.metadata.resource_version.clone(),
            patch: json!({ "status": status }),
        };
        plan.act_given(facts.clone(), action);
    }
    plan.act_given(facts, delete(pod));
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

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, node: &str, phase: &str, deleting: bool) -> PodView {
        let mut it = json!({
            "metadata": { "namespace": "a", "name": name, "uid": name, "resourceVersion": "5",
                "creationTimestamp": "1970-01-01T00:00:00Z" },
            "spec": { "nodeName": node }, "status": { "phase": phase },
        });
        if deleting {
            it["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
        }
        serde_json::from_value(it).unwrap()
    }

    fn plan(world: &World, key: Key, second: i64) -> String {
        PodGc { ended_most: 2 }.decide(&key, world, Timestamp::from_second(second).unwrap(), None).to_string()
    }

    #[test]
    fn pods_without_a_node_go() {
        let world = World::default();
        world.nodes.apply(serde_json::from_value(json!({ "metadata": { "name": "n", "uid": "n" } })).unwrap());
        for it in [
            pod("well", "n", "Running", true),
            pod("lost", "gone", "Running", false),
            pod("waits", "", "Pending", false),
            pod("unwanted", "", "Pending", true),
        ] {
            world.pods.apply(it);
        }
        let at = |name: &str, second: i64| plan(&world, Key::new("a", name), second);
        insta::assert_snapshot!(at("well", 100), @"nothing to do");
        insta::assert_snapshot!(at("waits", 100), @"nothing to do");
        insta::assert_snapshot!(at("unwanted", 100), @r#"
        patch pods/status a/unwanted at 5 {"status":{"phase":"Failed"}}
        delete pods a/unwanted uid=unwanted grace=0
        "#);
        insta::assert_snapshot!(at("lost", 10), @"look again in 30s");
        insta::assert_snapshot!(at("lost", 40), @r#"
        patch pods/status a/lost at 5 {"status":{"conditions":[{"lastTransitionTime":"1970-01-01T00:00:40Z","message":"PodGC: node no longer exists","reason":"DeletionByPodGC","status":"True","type":"DisruptionTarget"}],"phase":"Failed"}}
          if nodes gone uid= is gone
        delete pods a/lost uid=lost grace=0
          if nodes gone uid= is gone
        "#);
    }

    #[test]
    fn the_oldest_of_too_many_ended_pods_go_and_evicted_ones_before() {
        let world = World::default();
        for name in ["d", "c", "b", "a"] {
            let mut it = pod(name, "n", "Failed", false);
            if name == "c" {
                it.status.reason = "Evicted".to_owned();
            }
            world.pods.apply(it);
        }
        insta::assert_snapshot!(plan(&world, Key::new("", ENDED), 0), @r"
        delete pods a/c uid=c grace=0
        delete pods a/a uid=a grace=0
        ");
    }
}
