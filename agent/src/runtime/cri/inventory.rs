//! What the runtime has of ours, and what its words for a state mean to a pod.

use std::collections::HashMap;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use k8s_cri::v1 as cri;
use serde_json::Value;

use super::endpoint::{Endpoint, QUICK};
use super::{container, sandbox};
use crate::runtime::labels::{Labelled, POD_UID};
use crate::runtime::{ContainerState, Inventory, Phase, RuntimeError, SandboxState};

/// Looked at in detail at once.
const DETAILS: usize = 8;
/// What containerd gives as the reason where the kernel killed the process for want of memory.
const OOM_KILLED: &str = "OOMKilled";
/// The exit code of what has ended nobody knows how.
const UNKNOWN: i32 = 255;

/// The sandboxes and containers of this node, or of one pod on it.
pub async fn list(endpoint: &Endpoint, pod_uid: Option<&str>) -> Result<Inventory, RuntimeError> {
    let mut labels = endpoint.ours();
    labels.extend(pod_uid.map(|it| (POD_UID.to_owned(), it.to_owned())));
    let (found_sandboxes, found_containers) =
        tokio::try_join!(sandboxes(endpoint, labels.clone()), containers(endpoint, labels))?;
    // A list tells neither process nor exit code. What is gone meanwhile is left out.
    let mut details = futures::stream::iter(found_sandboxes)
        .map(|it| async move { sandbox::details(endpoint, &it.id, true).await })
        .buffered(DETAILS);
    let mut inventory = Inventory::default();
    while let Some(found) = details.try_next().await? {
        inventory.sandboxes.extend(found.and_then(sandbox_state));
    }
    let mut details = futures::stream::iter(found_containers)
        .map(|it| async move { container::details(endpoint, &it.id, true).await })
        .buffered(DETAILS);
    while let Some(found) = details.try_next().await? {
        inventory.containers.extend(found.and_then(container_state));
    }
    Ok(inventory)
}

/// The sandboxes with these labels.
pub async fn sandboxes(
    endpoint: &Endpoint,
    labels: HashMap<String, String>,
) -> Result<Vec<cri::PodSandbox>, RuntimeError> {
    let filter = cri::PodSandboxFilter { label_selector: labels, ..Default::default() };
    let request = cri::ListPodSandboxRequest { filter: Some(filter) };
    Ok(endpoint.call("ListPodSandbox", QUICK, |mut it| async move { it.list_pod_sandbox(request).await }).await?.items)
}

/// The containers with these labels.
pub async fn containers(
    endpoint: &Endpoint,
    labels: HashMap<String, String>,
) -> Result<Vec<cri::Container>, RuntimeError> {
    let filter = cri::ContainerFilter { label_selector: labels, ..Default::default() };
    let request = cri::ListContainersRequest { filter: Some(filter) };
    let found = endpoint.call("ListContainers", QUICK, |mut it| async move { it.list_containers(request).await });
    Ok(found.await?.containers)
}

/// A sandbox as the pod machine sees it; none if its labels are not whole.
pub fn sandbox_state(found: cri::PodSandboxStatusResponse) -> Option<SandboxState> {
    let pid = pid(&found.info);
    let status = found.status?;
    let running = status.state() == cri::PodSandboxState::SandboxReady;
    let labelled = Labelled::read(&status.labels).filter(|it| it.container.is_none())?;
    Some(SandboxState {
        pod: labelled.pod,
        attempt: labelled.attempt,
        running,
        pid: pid.filter(|_| running),
        created: time(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH),
        id: status.id,
    })
}

fn container_state(found: cri::ContainerStatusResponse) -> Option<ContainerState> {
    let pid = pid(&found.info);
    let status = found.status?;
    let labelled = Labelled::read(&status.labels)?;
    let phase = phase(&status);
    Some(ContainerState {
        pod: labelled.pod,
        name: labelled.container?.0,
        attempt: labelled.attempt,
        pid: pid.filter(|_| matches!(phase, Phase::Running { .. })),
        phase,
        image: status.image_ref,
        id: status.id,
    })
}

/// The process in what a runtime says beside a status: containerd and CRI-O both call it so.
pub fn pid(info: &HashMap<String, String>) -> Option<u32> {
    let info: Value = serde_json::from_str(info.get("info")?).ok()?;
    info["pid"].as_u64().and_then(|it| u32::try_from(it).ok()).filter(|it| *it > 0)
}

/// A time in nanoseconds; 0 is none.
fn time(nanoseconds: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).ok().filter(|_| nanoseconds > 0)
}

fn phase(status: &cri::ContainerStatus) -> Phase {
    let created = time(status.created_at).unwrap_or(Timestamp::UNIX_EPOCH);
    let started = time(status.started_at);
    let ended = |exit_code: i32| Phase::Exited {
        started,
        finished: time(status.finished_at).or(started).unwrap_or(created),
        exit_code,
        // The runtime folds the signal into the exit code (128 + signal), and Kubernetes shows it there.
        signal: None,
        oom_killed: status.reason == OOM_KILLED,
        message: status.message.clone(),
    };
    match status.state() {
        cri::ContainerState::ContainerCreated => Phase::Created,
        cri::ContainerState::ContainerRunning => Phase::Running { started: started.unwrap_or(created) },
        cri::ContainerState::ContainerExited => ended(status.exit_code),
        cri::ContainerState::ContainerUnknown => ended(UNKNOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_read_from_the_runtimes_states() {
        let check = |state: cri::ContainerState, exit_code: i32, reason: &str, expected: Phase| {
            let status = cri::ContainerStatus {
                state: state.into(),
                created_at: 1_000_000_000,
                started_at: 2_000_000_000,
                finished_at: if exit_code == 0 { 0 } else { 3_000_000_000 },
                exit_code,
                reason: reason.to_owned(),
                ..Default::default()
            };
            assert_eq!(phase(&status), expected);
        };
        let at = |it: i64| Timestamp::from_second(it).unwrap();
        let exited = |finished, exit_code, oom_killed| Phase::Exited {
            started: Some(at(2)),
            finished: at(finished),
            exit_code,
            signal: None,
            oom_killed,
            message: String::new(),
        };
        check(cri::ContainerState::ContainerCreated, 0, "", Phase::Created);
        check(cri::ContainerState::ContainerRunning, 0, "", Phase::Running { started: at(2) });
        check(cri::ContainerState::ContainerExited, 137, "OOMKilled", exited(3, 137, true));
        check(cri::ContainerState::ContainerExited, 0, "Completed", exited(2, 0, false));
        check(cri::ContainerState::ContainerUnknown, 0, "", exited(2, 255, false));
    }

    #[test]
    fn the_process_is_in_what_is_said_beside() {
        let check = |text: &str, expected: Option<u32>| {
            assert_eq!(pid(&HashMap::from([("info".to_owned(), text.to_owned())])), expected, "{text}");
        };
        check(r#"{"pid": 42, "sandboxID": "x"}"#, Some(42));
        check(r#"{"pid": 0}"#, None);
        check("nonsense", None);
        assert_eq!(pid(&HashMap::new()), None);
    }
}
