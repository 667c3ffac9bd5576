//! Which pods of a replica set are missed least: Kubernetes' order for scaling down (`ActivePodsWithRanks`).
//!
//! Unassigned before assigned, pending before unknown before running, not ready before ready, cheaper to delete first,
//! on nodes with more related pods first, ready for a shorter time first, more restarts first, newer first. Times are
//! compared by their logarithm, so that pods of about the same age do not always lose the same one.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;
use orlop_client::clock;

use crate::view::{PodView, annotation, uid_of};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `pods`, those to delete first in front. `related` are the pods that count for the crowding of nodes.
pub fn least_missed(pods: &[Arc<PodView>], related: &[Arc<PodView>], now: Timestamp) -> Vec<Arc<PodView>> {
    let mut crowd: HashMap<&str, usize> = HashMap::new();
    for pod in related {
        *crowd.entry(&pod.spec.node_name).or_default() += 1;
    }
    let mut pods = pods.to_vec();
    pods.sort_by_cached_key(|pod| {
        let phase = match pod.status.phase.as_str() {
            "Pending" | "" => 0,
            "Unknown" => 1,
            _ => 2,
        };
        let cost: i64 = annotation(&pod.metadata, DELETION_COST).and_then(|it| it.parse().ok()).unwrap_or(0);
        let ready_for =
            pod.condition("Ready").filter(|_| pod.is_ready()).and_then(|it| it.last_transition_time.as_ref());
        let ready_for = ready_for.map_or(0, |it| magnitude(it.0, now));
        let restarts = pod.status.container_statuses.iter().map(|it| it.restart_count).max().unwrap_or(0);
        let age = pod.metadata.creation_timestamp.as_ref().map_or(0, |it| magnitude(it.0, now));
        (
            (!pod.spec.node_name.is_empty(), phase, pod.is_ready(), cost),
            Reverse(crowd.get(pod.spec.node_name.as_str()).copied().unwrap_or(0)),
            (ready_for, Reverse(restarts), age),
            uid_of(&pod.metadata).to_owned(),
        )
    });
    pods
}

/// How long ago, to the next power of two of seconds.
fn magnitude(then: Timestamp, now: Timestamp) -> u32 {
    clock::since(then, now).as_secs().checked_ilog2().map_or(0, |it| it + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(uid: &str, node: &str, phase: &str, ready: bool, restarts: i32) -> Value {
        json!({
            "metadata": { "name": uid, "uid": uid, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "nodeName": node },
            "status": { "phase": phase, "containerStatuses": [{ "restartCount": restarts }], "conditions": [{
                "type": "Ready", "status": if ready { "True" } else { "False" },
                "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
        })
    }

    #[track_caller]
    fn check(pods: Vec<Value>, expected: &str) {
        let pods: Vec<Arc<PodView>> =
            pods.into_iter().map(|it| Arc::new(serde_json::from_value(it).unwrap())).collect();
        let ranked = least_missed(&pods, &pods, "2026-01-02T00:00:00Z".parse().unwrap());
        assert_eq!(ranked.iter().map(|it| uid_of(&it.metadata)).collect::<Vec<_>>().join(" "), expected);
    }

    #[test]
    fn order() {
        check(
            vec![
                pod("ready", "n2", "Running", true, 0),
                pod("restarted", "n2", "Running", true, 3),
                pod("crowded", "n1", "Running", true, 0),
                pod("unready", "n1", "Running", false, 0),
                pod("pending", "n1", "Pending", false, 0),
                pod("unassigned", "", "Pending", false, 0),
            ],
            "unassigned pending unready crowded restarted ready",
        );
    }

    #[test]
    fn a_deletion_cost_goes_before_crowding() {
        let mut cheap = pod("cheap", "n2", "Running", true, 0);
        cheap["metadata"]["annotations"] = json!({ DELETION_COST: "-1" });
        check(vec![pod("a", "n1", "Running", true, 0), pod("b", "n1", "Running", true, 0), cheap], "cheap a b");
    }
}
