//! A pod's conditions: the five the kubelet keeps, with its reasons and messages; those that others set are left alone.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition, PodStatus};

use super::containers::{Role, init_role};
use super::resize::Resize;
use super::status::time;
use super::world::{PodWorld, init_containers, spec};

/// A condition that is not (or no longer) met, and why.
type Unmet = Option<(&'static str, String)>;

/// The conditions in the kubelet's order, then those of others.
pub fn compute(
    pod: &Pod,
    status: &PodStatus,
    initialized: bool,
    sandbox_ready: bool,
    resize: &Resize,
    seen: &PodWorld<'_>,
) -> Vec<PodCondition> {
    let now = seen.now;
    let phase = status.phase.as_deref().unwrap_or_default();
    let old = pod.status.as_ref().and_then(|it| it.conditions.as_deref()).unwrap_or_default();
    // The sandbox of a pod that ended is gone, and with it what its init containers did: what was said of them holds.
    let was_initialized = old.iter().any(|it| it.type_ == "Initialized" && it.status == "True");
    let initialized = initialized || phase == "Succeeded" || (phase == "Failed" && was_initialized);
    let containers = containers_ready(pod, status, phase);
    let ready = containers.clone().or_else(|| gates(pod, old));
    let trouble = seen.memory.resize_failure.as_ref().map(|it| ("Error", it.message.clone()));
    let of_resize: Option<(&str, bool, Unmet)> = match resize {
        Resize::None => None,
        Resize::Pending { reason, message } => Some(("PodResizePending", true, Some((reason, message.clone())))),
        Resize::InProgress { .. } => Some(("PodResizeInProgress", true, trouble)),
    };
    let own: [(&str, bool, Unmet); 5] = [
        ("PodReadyToStartContainers", sandbox_ready, None),
        ("Initialized", initialized, initialized_reason(status, initialized, phase)),
        ("Ready", ready.is_none(), ready),
        ("ContainersReady", containers.is_none(), containers),
        ("PodScheduled", true, None),
    ];
    let mut all: Vec<PodCondition> = own
        .into_iter()
        .chain(of_resize)
        .map(|(kind, holds, why)| {
            let word = if holds { "True" } else { "False" };
            let before = old.iter().find(|it| it.type_ == kind);
            let since = before.filter(|it| it.status == word).and_then(|it| it.last_transition_time.clone());
            let (reason, message) =
                why.map_or((None, None), |(reason, message)| (Some(reason.to_owned()), Some(message)));
            PodCondition {
                type_: kind.to_owned(),
                status: word.to_owned(),
                last_transition_time: since.or_else(|| Some(time(now))),
                last_probe_time: None,
                reason,
                message: message.filter(|it| !it.is_empty()),
                observed_generation: status.observed_generation,
            }
        })
        .collect();
    // Those of a change that is over are taken back.
    let ours = |it: &&PodCondition| all.iter().any(|own| own.type_ == it.type_) || it.type_.starts_with("PodResize");
    let foreign: Vec<_> = old.iter().filter(|it| !ours(it)).cloned().collect();
    all.extend(foreign);
    all
}

/// Adds that the pod ends for the node's sake; what is said already stays as it is.
pub fn disrupted(all: &mut Vec<PodCondition>, message: &str, observed_generation: Option<i64>, now: Timestamp) {
    if all.iter().any(|it| it.type_ == "DisruptionTarget" && it.status == "True") {
        return;
    }
    all.retain(|it| it.type_ != "DisruptionTarget");
    all.push(PodCondition {
        type_: "DisruptionTarget".to_owned(),
        status: "True".to_owned(),
        reason: Some("TerminationByKubelet".to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(time(now)),
        last_probe_time: None,
        observed_generation,
    });
}

fn names<'a>(of: impl Iterator<Item = &'a str>) -> String {
    format!("[{}]", of.collect::<Vec<_>>().join(" "))
}

fn initialized_reason(status: &PodStatus, initialized: bool, phase: &str) -> Unmet {
    if phase == "Succeeded" {
        return Some(("PodCompleted", String::new()));
    }
    if initialized {
        return None;
    }
    let incomplete = status.init_container_statuses.iter().flatten().filter(|it| !it.ready).map(|it| it.name.as_str());
    Some(("ContainersNotInitialized", format!("containers with incomplete status: {}", names(incomplete))))
}

fn containers_ready(pod: &Pod, status: &PodStatus, phase: &str) -> Unmet {
    match phase {
        "Succeeded" => return Some(("PodCompleted", String::new())),
        "Failed" => return Some(("PodFailed", String::new())),
        _ => {}
    }
    let sidecar =
        |it: &&ContainerStatus| init_containers(pod).iter().any(|c| c.name == it.name && init_role(c) == Role::Sidecar);
    let sidecars = status.init_container_statuses.iter().flatten().filter(sidecar);
    let all: Vec<_> = sidecars.chain(status.container_statuses.iter().flatten()).collect();
    let unready: Vec<_> = all.iter().filter(|it| !it.ready).map(|it| it.name.as_str()).collect();
    if unready.is_empty() && !all.is_empty() {
        return None;
    }
    Some(("ContainersNotReady", format!("containers with unready status: {}", names(unready.into_iter()))))
}

fn gates(pod: &Pod, old: &[PodCondition]) -> Unmet {
    let gates = spec(pod).and_then(|it| it.readiness_gates.as_deref()).unwrap_or_default();
    let mut messages = Vec::new();
    for gate in gates {
        match old.iter().find(|it| it.type_ == gate.condition_type) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate {:?} does not exist.",
                gate.condition_type
            )),
            Some(it) if it.status != "True" => messages.push(format!(
                "the status of pod readiness gate {:?} is not \"True\", but {}",
                gate.condition_type, it.status
            )),
            Some(_) => {}
        }
    }
    (!messages.is_empty()).then(|| ("ReadinessGatesNotReady", messages.join(", ")))
}
