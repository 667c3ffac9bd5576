//! Node lifecycle: notices nodes that are silent, keeps pods off them, and lets their pods start elsewhere.
//!
//! In: nodes, their leases, their pods. Out: the condition Ready=Unknown, taints, `Ready=False` on pods, deletions.
//!
//! A node renews its lease every few seconds. When nothing was heard for the grace period, it counts as lost: its pods are
//! deleted at once, without the agent's word, and their successors run elsewhere. The grace period (8 s) and a few seconds
//! to notice and start stay under 20 s. An agent that only lost its way to the API runs its pods on until it hears of
//! their deletion, unless it was told to fence itself (`--fence-after`).
//!
//! A node is lost only after a whole grace period in which we heard, and heard nothing of it; [`hearing`] tells. When the
//! API, its store or only our own watch was away, all nodes were silent and it is none of theirs: the period begins anew.
//!
//! When more than [`DISRUPTED`] of at least three nodes are silent, the fault is more likely in the network than in the
//! nodes: pods are then deleted slowly, one node in [`SLOW`] at a time, as Kubernetes does for a disrupted zone.

pub mod eviction;
pub mod hearing;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_client::events::Severity;
use orlop_client::write::Action;
use orlop_client::{Key, clock};
use serde_json::json;

use crate::plan::{Fact, Plan, Telling};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_NODE, NODE_LEASES, World};
use eviction::{evict_at, evicts};

/// The part of the nodes whose silence is taken for a fault of the network (`--unhealthy-zone-threshold`).
const DISRUPTED: f64 = 0.55;
/// Below this many nodes no part of them says much.
const ZONE_LEAST: usize = 3;
/// How long each further node waits in a disruption: Kubernetes' secondary eviction rate, 0.01 nodes a second.
const SLOW: Duration = Duration::from_secs(100);
/// How soon a node's silence is looked at again while the API is away.
const DEAF_RECHECK: Duration = Duration::from_secs(1);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// The conditions a node has taints for, and the status that brings them.
const PRESSURES: &[(&str, &str)] = &[
    ("MemoryPressure", "node.kubernetes.io/memory-pressure"),
    ("DiskPressure", "node.kubernetes.io/disk-pressure"),
    ("PIDPressure", "node.kubernetes.io/pid-pressure"),
    ("NetworkUnavailable", "node.kubernetes.io/network-unavailable"),
];
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The controller.
pub struct NodeLifecycle {
    /// How long a node may be silent.
    pub grace: Duration,
}

impl Controller for NodeLifecycle {
    fn name(&self) -> &'static str {
        "node-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.nodes);
        // A renewal only moves the time of the next look, which the last look has set: only the first one, and the
        // return of a lost node, have to wake it.
        let nodes = world.nodes.clone();
        wires.on(&world.leases, move |change| {
            if change.key.namespace() != NODE_LEASES {
                return Vec::new();
            }
            let key = Key::new("", change.key.name());
            let lost = nodes.get(&key).is_none_or(|it| !is_reachable(&it));
            if change.old.is_none() || lost { vec![key] } else { Vec::new() }
        });
        let nodes = world.nodes.clone();
        wires.on(&world.pods, move |change| {
            let Some(pod) = &change.new else { return Vec::new() };
            let key = Key::new("", &pod.spec.node_name);
            let unfit = |it: &NodeView| ready_status(it) != "True" || evicts(&it.spec.taints);
            if nodes.get(&key).is_some_and(|it| unfit(&it)) { vec![key] } else { Vec::new() }
        });
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(node) = world.nodes.get(key) else {
            drop_lease(key, world, &mut plan);
            return plan;
        };
        if node.metadata.deletion_timestamp.is_some() {
            return plan;
        }
        let quiet = self.quiet(&node, world, now);
        let grace = self.grace.max(lease_duration(&node, world));
        let lost = quiet >= grace;
        if lost && world.hearing.lock().since(now).is_none() {
            plan.recheck_in(DEAF_RECHECK);
            return plan;
        }
        if lost {
            self.note_lost(&node, now, &mut plan);
        } else {
            plan.recheck_in(grace - quiet + Duration::from_millis(50));
        }
        let status = if lost { "Unknown" } else { ready_status(&node) };
        let taints = self.taints(&node, status, now, &mut plan);
        if status != "True" || evicts(&taints) {
            self.evict(&node, lost, &taints, world, now, &mut plan);
        }
        plan
    }
}

/// Deletes the lease that a gone node owned. The garbage collector does not watch leases, for they change all the time.
fn drop_lease(key: &Key, world: &World, plan: &mut Plan) {
    let Some(lease) = world.leases.get(&Key::new(NODE_LEASES, key.name())) else { return };
    let owners = lease.metadata.owner_references.iter().flatten();
    let Some(owner) = owners.into_iter().find(|it| it.kind == "Node" && it.name == key.name()) else { return };
    let gone = Fact { resource: NODES, key: key.clone(), uid: owner.uid.clone(), alive: false };
    let action = Action::Delete {
        resource: LEASES,
        key: key_of(&lease.metadata),
        uid: uid_of(&lease.metadata).to_owned(),
        revision: lease.metadata.resource_version.clone(),
        grace_seconds: None,
        propagation: None,
    };
    plan.act_given(vec![gone], action);
}

fn ready(node: &NodeView) -> Option<&NodeCondition> {
    node.status.conditions.iter().find(|it| it.type_ == "Ready")
}

fn ready_status(node: &NodeView) -> &str {
    ready(node).map_or("Unknown", |it| &it.status)
}

/// Whether the node is not ready because its machine goes down, and says so: the kubelet's words.
fn goes_down(node: &NodeView) -> bool {
    ready(node).is_some_and(|it| it.message.as_deref().is_some_and(|it| it.contains("node is shutting down")))
}

fn is_reachable(node: &NodeView) -> bool {
    ready(node).is_some_and(|it| it.status != "Unknown")
}

/// A node whose lease is made to last longer than the grace period may be silent for as long.
fn lease_duration(node: &NodeView, world: &World) -> Duration {
    let lease = world.leases.get(&Key::new(NODE_LEASES, name_of(&node.metadata)));
    let seconds = lease.and_then(|it| it.spec.lease_duration_seconds).and_then(|it| u64::try_from(it).ok());
    Duration::from_secs(seconds.unwrap_or(0))
}

impl NodeLifecycle {
    /// How long nothing was heard of the node while we heard.
    fn quiet(&self, node: &NodeView, world: &World, now: Timestamp) -> Duration {
        let hearing = world.hearing.lock();
        // A node that counts as lost stays so until it is heard itself.
        let since = if is_reachable(node) { hearing.since(now) } else { None };
        let heard = hearing.of(name_of(&node.metadata)).max(since);
        heard.map_or(Duration::MAX, |it| clock::since(it, now))
    }

    fn note_lost(&self, node: &NodeView, now: Timestamp, plan: &mut Plan) {
        if ready(node).is_some_and(|it| it.status == "Unknown") {
            return;
        }
        let mut conditions = node.status.conditions.clone();
        for type_ in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
            let known = conditions.iter_mut().find(|it| it.type_ == type_);
            let (reason, message) = match &known {
                Some(_) => ("NodeStatusUnknown", "Kubelet stopped posting node status."),
                None => ("NodeStatusNeverUpdated", "Kubelet never posted node status."),
            };
            let unknown = NodeCondition {
                type_: type_.to_owned(),
                status: "Unknown".to_owned(),
                reason: Some(reason.to_owned()),
                message: Some(message.to_owned()),
                last_heartbeat_time: known.as_ref().and_then(|it| it.last_heartbeat_time.clone()),
                last_transition_time: Some(Time(now)),
            };
            match known {
                Some(it) => *it = unknown,
                None => conditions.push(unknown),
            }
        }
        let name = name_of(&node.metadata);
        let action = Action::Patch {
            resource: NODES,
            key: key_of(&node.metadata),
            sub: Some("status"),
            uid: uid_of(&node.metadata).to_owned(),
            revision: node.metadata.resource_version.clone(),
            patch: json!({ "status": { "conditions": conditions } }),
        };
        let success = ("NodeNotReady", format!("Node {name} status is now: NodeNotReady"));
        plan.act_and_tell(action, Telling { regarding: reference(NODES, &node.metadata), success, failure: None });
    }

    /// Makes the node's taints say what its conditions say, and since when those are there for which pods go: who sets one by hand does not.
    /// Gives the taints as they will be.
    fn taints(&self, node: &NodeView, ready: &str, now: Timestamp, plan: &mut Plan) -> Vec<Taint> {
        let mut wanted: Vec<(&str, &str)> = Vec::new();
        match ready {
            "True" => {}
            "Unknown" => wanted.extend([(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]),
            // Its agent ends the pods itself, each in its turn.
            _ if goes_down(node) => wanted.push((NOT_READY, "NoSchedule")),
            _ => wanted.extend([(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]),
        }
        for (condition, taint) in PRESSURES {
            if node.status.conditions.iter().any(|it| it.type_ == *condition && it.status == "True") {
                wanted.push((taint, "NoSchedule"));
            }
        }
        if node.spec.unschedulable {
            wanted.push((UNSCHEDULABLE, "NoSchedule"));
        }
        let ours = |it: &Taint| {
            [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&it.key.as_str())
                || PRESSURES.iter().any(|(_, key)| it.key == *key)
        };
        let mut taints: Vec<Taint> = node.spec.taints.clone();
        taints.retain(|it| !ours(it) || wanted.contains(&(&it.key, &it.effect)));
        for (key, effect) in wanted {
            if !taints.iter().any(|it| it.key == key && it.effect == effect) {
                let time_added = Some(Time(now));
                taints.push(Taint { key: key.to_owned(), effect: effect.to_owned(), value: None, time_added });
            }
        }
        for it in taints.iter_mut().filter(|it| it.effect == "NoExecute" && it.time_added.is_none()) {
            it.time_added = Some(Time(now));
        }
        if taints != node.spec.taints {
            plan.act(Action::Patch {
                resource: NODES,
                key: key_of(&node.metadata),
                sub: None,
                uid: uid_of(&node.metadata).to_owned(),
                // The status written just before has moved the version. Without the precondition a taint set by a user
                // in this moment could be lost; the version is therefore asked for whenever it can be.
                revision: plan.steps.is_empty().then(|| node.metadata.resource_version.clone()).flatten(),
                patch: json!({ "spec": { "taints": taints } }),
            });
        }
        taints
    }

    /// Marks the pods of a lost node as not ready, and deletes those that do not tolerate the node's taints (any longer).
    fn evict(&self, node: &NodeView, lost: bool, taints: &[Taint], world: &World, now: Timestamp, plan: &mut Plan) {
        let hold = if lost { self.hold(node, world) } else { Duration::ZERO };
        let mut deletions = Vec::new();
        for pod in world.pods.by_index(BY_NODE, name_of(&node.metadata)) {
            let ending = pod.metadata.deletion_timestamp.is_some();
            let wait = evict_at(&pod, taints, now).map(|at| clock::until(at, now).max(hold));
            let wait = wait.filter(|_| lost || !ending);
            let unready = lost && pod.is_ready();
            let goes = wait.is_some_and(|it| it.is_zero());
            if let Some(marks) = eviction::marks(&pod, unready, goes && !ending, now) {
                plan.act(marks);
            }
            if unready {
                plan.tell(reference(PODS, &pod.metadata), Severity::Warning, "NodeNotReady", "Node is not ready");
            }
            match wait {
                Some(_) if goes => deletions.push(pod),
                Some(wait) => plan.recheck_in(wait),
                None => {}
            }
        }
        // One after another, so that they go out together.
        for pod in deletions {
            let action = Action::Delete {
                resource: PODS,
                key: key_of(&pod.metadata),
                uid: uid_of(&pod.metadata).to_owned(),
                revision: None,
                grace_seconds: lost.then_some(0),
                propagation: None,
            };
            let message = format!("Marking for deletion Pod {}", key_of(&pod.metadata));
            let regarding = reference(PODS, &pod.metadata);
            plan.act_and_tell(action, Telling { regarding, success: ("TaintManagerEviction", message), failure: None });
        }
    }

    /// How long this node's pods wait because too many nodes are silent: none for the first, and longer for each next.
    fn hold(&self, node: &NodeView, world: &World) -> Duration {
        let nodes = world.nodes.list();
        let mut silent: Vec<_> = nodes.iter().filter(|it| !is_reachable(it)).collect();
        // Counts are far below 2^52.
        if nodes.len() < ZONE_LEAST || (silent.len() as f64) <= DISRUPTED * nodes.len() as f64 {
            return Duration::ZERO;
        }
        // Whoever was lost earlier has gone: one that is lost later must not come before it.
        // The API keeps whole seconds of when that was.
        let hearing = world.hearing.lock();
        silent.sort_by_key(|it| {
            let since = ready(it).and_then(|it| it.last_transition_time.as_ref()).map(|it| it.0);
            (since, hearing.of(name_of(&it.metadata)))
        });
        let place = silent.iter().position(|it| uid_of(&it.metadata) == uid_of(&node.metadata)).unwrap_or(0);
        SLOW * u32::try_from(place).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: f64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + (second * 1000.0) as i64).unwrap()
    }

    fn world(status: &str) -> World {
        let world = World::default();
        let condition = json!({ "type": "Ready", "status": status, "reason": "KubeletReady" });
        let node = json!({ "metadata": { "name": "n", "uid": "n", "resourceVersion": "3" },
            "status": { "conditions": [condition] } });
        world.nodes.apply(serde_json::from_value(node).unwrap());
        world
    }

    fn decide(world: &World, now: f64) -> Plan {
        NodeLifecycle { grace: Duration::from_secs(8) }.decide(&Key::new("", "n"), world, at(now), None)
    }

    /// What arrives on the watch, by second: renewals of the node, and of our own lease. Every quarter of a second the
    /// node is judged; when it first counts as lost.
    #[track_caller]
    fn check(node: impl Fn(f64) -> bool, own: impl Fn(f64) -> bool, until: i32, lost: Option<f64>) {
        let world = world("True");
        let mut first = None;
        for quarter in 0..=until * 4 {
            let now = f64::from(quarter) / 4.0;
            for (arrives, is_node) in [(node(now), true), (own(now), false)] {
                if arrives {
                    world.hearing.lock().note(at(now));
                }
                if arrives && is_node {
                    world.hearing.lock().note_node("n", at(now));
                }
            }
            let plan = decide(&world, now);
            // A node that is well needs nothing done, but to be looked at again.
            assert!(!plan.steps.is_empty() || plan.recheck.is_some(), "{plan}");
            if !plan.steps.is_empty() {
                first = first.or(Some(now));
            }
        }
        assert_eq!(first, lost);
    }

    fn every_2_s(now: f64) -> bool {
        now % 2.0 == 0.0
    }

    #[test]
    fn a_silent_node_is_lost_after_the_grace_period() {
        check(every_2_s, every_2_s, 60, None);
        check(|it| every_2_s(it) && it <= 12.0, every_2_s, 60, Some(20.0));
        // One that never came has the period from when we began to hear.
        check(|_| false, |it| every_2_s(it) && it >= 4.0, 60, Some(12.0));
    }

    #[test]
    fn an_outage_loses_no_node() {
        // Nobody was heard from 12 to 24 s; our own lease is back first, the node 2 s later.
        let away = |it: f64| it > 12.0 && it < 24.0;
        check(|it| every_2_s(it) && !(away(it) || it == 24.0), |it| every_2_s(it) && !away(it), 60, None);
        // The API is back at 24 s, but the watch of the leases was in back-off and is open at 33.5 s: what it tells then,
        // one after the other, is ours first. Our own lease's own request succeeded all the while.
        let deaf = |it: f64| it > 12.0 && it < 33.5;
        let open = |it: f64| every_2_s(it) && !deaf(it);
        check(|it| open(it) || it == 33.75, |it| open(it) || it == 33.5, 60, None);
        // A node that died in the outage is lost a grace period after it.
        check(|it| every_2_s(it) && it <= 12.0, |it| open(it) || it == 33.5, 60, Some(41.5));
        // While we are deaf nobody is lost, however long it takes.
        check(|it| every_2_s(it) && it <= 12.0, |it| every_2_s(it) && it <= 12.0, 600, None);
    }

    #[test]
    fn short_outages_one_after_another_lose_no_node() {
        // 3 s without the API in every 6: too short to be noticed, and no node is silent for longer than the period.
        let up = |it: f64| it % 6.0 >= 3.0;
        check(|it| every_2_s(it) && up(it), |it| every_2_s(it) && up(it), 120, None);
    }

    #[test]
    fn a_lost_node_is_marked_and_its_pods_go() {
        let world = world("True");
        for second in 0..5 {
            world.hearing.lock().note(at(f64::from(second) * 2.0));
        }
        let pod = |name: &str, tolerations: serde_json::Value| {
            let ready = json!({ "type": "Ready", "status": "True" });
            let it = json!({ "metadata": { "namespace": "a", "name": name, "uid": name, "resourceVersion": "4" },
                "spec": { "nodeName": "n", "tolerations": tolerations }, "status": { "conditions": [ready] } });
            world.pods.apply(serde_json::from_value(it).unwrap());
        };
        pod("web", json!([]));
        pod("agent", json!([{ "operator": "Exists" }]));
        insta::assert_snapshot!(decide(&world, 8.0));
    }

    #[test]
    fn pods_go_from_a_ready_node_when_their_time_is_over() {
        let world = world("True");
        world.hearing.lock().note_node("n", at(0.0));
        let node = |taints: serde_json::Value| {
            let it = json!({ "metadata": { "name": "n", "uid": "n", "resourceVersion": "3" }, "spec": { "taints": taints },
                "status": { "conditions": [{ "type": "Ready", "status": "True" }] } });
            world.nodes.apply(serde_json::from_value(it).unwrap());
        };
        let time = |second: f64| at(second).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let pod = |name: &str, seconds: Option<i64>, bound: f64| {
            let tolerations = seconds.map(|it| json!([{ "key": "k", "operator": "Exists", "tolerationSeconds": it }]));
            let scheduled = json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": time(bound) });
            let it = json!({ "metadata": { "namespace": "a", "name": name, "uid": name },
                "spec": { "nodeName": "n", "tolerations": tolerations.unwrap_or(json!([])) },
                "status": { "conditions": [scheduled] } });
            world.pods.apply(serde_json::from_value(it).unwrap());
        };
        let deleted = |now: f64| {
            let steps = decide(&world, now).steps;
            let deletions = steps.iter().map(|it| it.action.to_string()).filter(|it| it.starts_with("delete"));
            deletions.collect::<Vec<_>>()
        };
        pod("brief", Some(2), -9.0);
        pod("late", Some(2), 4.0);
        let by_hand = json!([{ "key": "k", "effect": "NoExecute" }]);
        node(by_hand.clone());
        // Whoever set it has not said when: that is told first, and nobody goes.
        let plan = decide(&world, 0.5);
        assert!(plan.to_string().contains(&format!("\"timeAdded\":\"{}\"", time(0.0))), "{plan}");
        assert_eq!((deleted(0.5), plan.recheck), (Vec::new(), Some(Duration::from_secs(3))));
        node(json!([{ "key": "k", "effect": "NoExecute", "timeAdded": time(0.0) }]));
        assert_eq!(deleted(2.9), [""; 0]);
        assert_eq!(deleted(3.0), ["delete pods a/brief uid=brief"]);
        pod("plain", None, -9.0);
        assert_eq!(deleted(3.0), ["delete pods a/brief uid=brief", "delete pods a/plain uid=plain"]);
        assert_eq!(deleted(7.0).len(), 3);
        node(json!([{ "key": "k", "effect": "NoSchedule" }]));
        assert_eq!(deleted(7.0), [""; 0]);
    }

    #[test]
    fn a_node_whose_machine_goes_down_keeps_its_pods_until_it_is_silent() {
        let effects = |status: &str, message: &str| {
            let condition =
                json!({ "type": "Ready", "status": status, "reason": "KubeletNotReady", "message": message });
            let world = World::default();
            let node = json!({ "metadata": { "name": "n", "uid": "n" }, "status": { "conditions": [condition] } });
            world.nodes.apply(serde_json::from_value(node).unwrap());
            let node = world.nodes.get(&Key::new("", "n")).unwrap();
            let lifecycle = NodeLifecycle { grace: Duration::from_secs(8) };
            let taints = lifecycle.taints(&node, status, at(0.0), &mut Plan::default());
            taints.into_iter().map(|it| it.effect).collect::<Vec<_>>()
        };
        assert_eq!(effects("False", "node is shutting down"), ["NoSchedule"]);
        assert_eq!(effects("False", "[container runtime is down: gone, node is shutting down]"), ["NoSchedule"]);
        assert_eq!(effects("False", "container runtime is down: gone"), ["NoSchedule", "NoExecute"]);
        assert_eq!(effects("Unknown", "node is shutting down"), ["NoSchedule", "NoExecute"]);
    }

    #[test]
    fn of_many_silent_nodes_only_the_first_gives_its_pods_up_at_once() {
        let world = World::default();
        let show = |name: &str, silent: Option<f64>| {
            let since = silent.map(|it| at(it).strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            let status = if silent.is_some() { "Unknown" } else { "True" };
            let condition = json!({ "type": "Ready", "status": status, "lastTransitionTime": since });
            let node = json!({ "metadata": { "name": name, "uid": name }, "status": { "conditions": [condition] } });
            world.nodes.apply(serde_json::from_value(node).unwrap());
        };
        let hold = |name: &str| {
            let node = world.nodes.get(&Key::new("", name)).unwrap();
            NodeLifecycle { grace: Duration::from_secs(8) }.hold(&node, &world)
        };
        show("a", None);
        show("b", None);
        show("c", Some(10.2));
        assert_eq!(hold("c"), Duration::ZERO, "one of three is at fault itself");
        // Within the same second, and of a name before that of the first.
        show("b", Some(10.7));
        world.hearing.lock().note_node("c", at(2.2));
        world.hearing.lock().note_node("b", at(2.7));
        assert_eq!((hold("c"), hold("b")), (Duration::ZERO, SLOW));
        show("a", Some(14.0));
        assert_eq!((hold("c"), hold("b"), hold("a")), (Duration::ZERO, SLOW, 2 * SLOW));
    }

    #[test]
    fn a_gone_node_takes_its_lease_along() {
        let world = World::default();
        let lease = |owners: serde_json::Value| {
            let metadata = json!({ "namespace": NODE_LEASES, "name": "n", "uid": "l", "resourceVersion": "9",
                "ownerReferences": owners });
            world.leases.apply(serde_json::from_value(json!({ "metadata": metadata })).unwrap());
        };
        // Made before its node.
        lease(json!([]));
        assert!(decide(&world, 0.0).steps.is_empty());
        lease(json!([{ "apiVersion": "v1", "kind": "Node", "name": "n", "uid": "n1" }]));
        insta::assert_snapshot!(decide(&world, 0.0), @r"
        delete leases kube-node-lease/n uid=l at 9
          if nodes n uid=n1 is gone
        ");
    }

    #[test]
    fn a_node_that_is_lost_stays_so_until_it_is_heard() {
        let world = world("Unknown");
        world.hearing.lock().note(at(0.0));
        let taints = |plan: Plan| plan.steps.iter().filter(|it| it.action.to_string().contains("unreachable")).count();
        assert_eq!(taints(decide(&world, 0.25)), 1, "we have only begun to hear, but the one before us had not");
        world.hearing.lock().note_node("n", at(0.5));
        assert!(decide(&world, 0.75).recheck.is_some_and(|it| it > Duration::from_secs(7)));
    }
}
