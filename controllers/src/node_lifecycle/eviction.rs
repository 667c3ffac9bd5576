//! Who has to go from a node because of its taints, when, and what is said of a pod then.
//!
//! In: a pod and the taints of its node. Out: a time, and the conditions of its status. Whether the node is lost or well it does not know.
//! Source: `pkg/controller/tainteviction`.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Taint;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_client::write::Action;
use serde_json::json;

use crate::view::*;

/// The API keeps whole seconds of when a taint was added and a pod was bound: nobody's time is over early for that.
const UNTOLD: Duration = Duration::from_secs(1);
/// The condition of a pod that is ended for the sake of others.
const DISRUPTED: &str = "DisruptionTarget";

/// Whether pods go from a node that do not tolerate its taints, be it ready or not.
pub fn evicts(taints: &[Taint]) -> bool {
    taints.iter().any(|it| it.effect == "NoExecute")
}

/// When a pod has to go because of the taints `NoExecute`; none if it tolerates them for ever.
pub fn evict_at(pod: &PodView, taints: &[Taint], now: Timestamp) -> Option<Timestamp> {
    let bound = pod.condition("PodScheduled").and_then(|it| it.last_transition_time.as_ref());
    let bound = bound.or(pod.metadata.creation_timestamp.as_ref()).map(|it| it.0);
    let mut earliest: Option<Timestamp> = None;
    for taint in taints.iter().filter(|it| it.effect == "NoExecute") {
        // One of the future was added before the clock was set back.
        let added = taint.time_added.as_ref().map_or(now, |it| it.0.min(now));
        let tolerating = pod.spec.tolerations.iter().filter(|it| {
            let effect = it.effect.as_deref().is_none_or(|it| it.is_empty() || it == taint.effect);
            let key = it.key.as_deref().is_none_or(|it| it.is_empty() || it == taint.key);
            let exists = it.operator.as_deref() == Some("Exists");
            effect
                && key
                && (exists || it.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default())
        });
        let mut seconds: Option<Option<i64>> = None;
        for toleration in tolerating {
            // Among several tolerations the shortest time counts, as in Kubernetes.
            seconds = Some(match (seconds, toleration.toleration_seconds) {
                (Some(Some(a)), Some(b)) => Some(a.min(b)),
                (Some(Some(a)), None) => Some(a),
                (_, b) => b,
            });
        }
        let at = match seconds {
            None => added,
            Some(None) => continue,
            Some(Some(seconds)) if seconds <= 0 => added,
            // Who came later has its time from then on.
            Some(Some(seconds)) => {
                let since = bound.map_or(added, |it| it.min(now).max(added));
                let tolerated = Duration::from_secs(seconds.unsigned_abs()) + UNTOLD;
                since.saturating_add(tolerated).unwrap_or(Timestamp::MAX)
            }
        };
        earliest = Some(earliest.map_or(at, |it| it.min(at)));
    }
    earliest
}

/// Says of a pod that it is not ready, and that it goes for its node's sake; none where all is said.
pub fn marks(pod: &PodView, unready: bool, goes: bool, now: Timestamp) -> Option<Action> {
    let goes = goes && pod.condition(DISRUPTED).is_none_or(|it| it.status != "True");
    if !unready && !goes {
        return None;
    }
    let mut conditions = pod.status.conditions.clone();
    for it in conditions.iter_mut().filter(|it| unready && it.type_ == "Ready") {
        it.status = "False".to_owned();
        it.last_transition_time = Some(Time(now));
    }
    if goes {
        conditions.retain(|it| it.type_ != DISRUPTED);
        conditions.push(ConditionView {
            type_: DISRUPTED.to_owned(),
            status: "True".to_owned(),
            reason: Some("DeletionByTaintManager".to_owned()),
            message: Some("Taint manager: deleting due to NoExecute taint".to_owned()),
            last_transition_time: Some(Time(now)),
            last_probe_time: None,
        });
    }
    Some(Action::Patch {
        resource: PODS,
        key: key_of(&pod.metadata),
        sub: Some("status"),
        uid: uid_of(&pod.metadata).to_owned(),
        revision: pod.metadata.resource_version.clone(),
        patch: json!({ "status": { "conditions": conditions } }),
    })
}
