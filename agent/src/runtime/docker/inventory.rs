//! What the Engine has of ours, and what its words for a container's state mean to a pod.

use std::collections::HashMap;

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use bollard::query_parameters::ListContainersOptions;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;

use super::engine::{Engine, QUICK};
use crate::runtime::labels::{self, Labelled};
use crate::runtime::{ContainerState, Inventory, Phase, RuntimeError, SandboxState};

/// Containers inspected at once. The Engine takes a lock each; more than a handful only queue there.
const INSPECTS: usize = 8;

/// The sandboxes and containers of this node, or of one pod on it.
pub async fn list(engine: &Engine, pod_uid: Option<&str>) -> Result<Inventory, RuntimeError> {
    let mut label = vec![format!("{}={}", labels::NODE, engine.node())];
    label.extend(pod_uid.map(|uid| format!("{}={uid}", labels::POD_UID)));
    let filters = Some(HashMap::from([("label".to_owned(), label)]));
    let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
    let listed =
        engine.call("list", QUICK, |docker| async move { docker.list_containers(Some(options)).await }).await?;
    // A list tells neither process nor exit code, so each is inspected. One that is gone meanwhile is left out.
    let mut inspected = futures::stream::iter(listed.into_iter().filter_map(|it| it.id))
        .map(|id| async move { engine.owned(&id).await })
        .buffered(INSPECTS);
    let mut inventory = Inventory::default();
    while let Some(found) = inspected.try_next().await? {
        let Some(found) = found else { continue };
        if let Some(sandbox) = sandbox_state(&found) {
            inventory.sandboxes.push(sandbox);
        } else if let Some(container) = container_state(&found) {
            inventory.containers.push(container);
        }
    }
    Ok(inventory)
}

/// The sandbox that an inspected container is, if it is one.
pub fn sandbox_state(found: &ContainerInspectResponse) -> Option<SandboxState> {
    let labelled = labelled(found)?;
    if labelled.container.is_some() {
        return None;
    }
    Some(SandboxState {
        id: found.id.clone()?,
        pod: labelled.pod,
        attempt: labelled.attempt,
        running: is_running(found),
        pid: pid(found),
        created: created(found),
    })
}

/// The pod's container that an inspected container is, if it is one.
fn container_state(found: &ContainerInspectResponse) -> Option<ContainerState> {
    let labelled = labelled(found)?;
    let (name, _) = labelled.container?;
    Some(ContainerState {
        id: found.id.clone()?,
        pod: labelled.pod,
        name,
        attempt: labelled.attempt,
        image: found.image.clone().unwrap_or_default(),
        phase: phase(found),
        pid: pid(found),
    })
}

fn labelled(found: &ContainerInspectResponse) -> Option<Labelled> {
    Labelled::read(found.config.as_ref()?.labels.as_ref()?)
}

fn is_running(found: &ContainerInspectResponse) -> bool {
    found.state.as_ref().and_then(|it| it.running) == Some(true)
}

fn pid(found: &ContainerInspectResponse) -> Option<u32> {
    let pid = found.state.as_ref()?.pid?;
    u32::try_from(pid).ok().filter(|it| *it > 0 && is_running(found))
}

fn created(found: &ContainerInspectResponse) -> Timestamp {
    found.created.as_deref().and_then(time).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A time of the Engine's; its zero, in the year 1, is none.
fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|it: &Timestamp| *it > Timestamp::UNIX_EPOCH)
}

fn phase(found: &ContainerInspectResponse) -> Phase {
    let Some(state) = &found.state else { return Phase::Created };
    let started = state.started_at.as_deref().and_then(time);
    if state.running == Some(true) {
        return Phase::Running { started: started.unwrap_or_else(|| created(found)) };
    }
    let exit_code = i32::try_from(state.exit_code.unwrap_or_default()).unwrap_or(-1);
    let untried = state.status == Some(ContainerStateStatusEnum::CREATED) && exit_code == 0;
    if untried {
        return Phase::Created;
    }
    // A start that failed leaves a container "created" with an exit code and the reason: to a pod it has run and ended.
    Phase::Exited {
        started,
        finished: state.finished_at.as_deref().and_then(time).or(started).unwrap_or_else(|| created(found)),
        exit_code,
        // Docker folds the signal into the exit code (128 + signal), and Kubernetes shows it there.
        signal: None,
        oom_killed: state.oom_killed == Some(true),
        message: state.error.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::ContainerState as State;

    const CREATED: &str = "2026-01-02T03:04:05.000000006Z";
    const ZERO: &str = "0001-01-01T00:00:00Z";

    fn check(status: ContainerStateStatusEnum, exit_code: i64, started: &str, finished: &str, expected: Phase) {
        let state = State {
            status: Some(status),
            running: Some(status == ContainerStateStatusEnum::RUNNING),
            exit_code: Some(exit_code),
            started_at: Some(started.to_owned()),
            finished_at: Some(finished.to_owned()),
            oom_killed: Some(exit_code == 137),
            error: Some(if exit_code == 127 { "no such file".to_owned() } else { String::new() }),
            ..State::default()
        };
        let found =
            ContainerInspectResponse { created: Some(CREATED.into()), state: Some(state), ..Default::default() };
        assert_eq!(phase(&found), expected);
    }

    #[test]
    fn phases_are_read_from_the_engines_states() {
        use ContainerStateStatusEnum::*;
        let at = |it: &str| it.parse::<Timestamp>().unwrap();
        let (start, end) = ("2026-01-02T03:04:06Z", "2026-01-02T03:04:07Z");
        let exited = |started, finished, exit_code, message: &str| Phase::Exited {
            started,
            finished,
            exit_code,
            signal: None,
            oom_killed: exit_code == 137,
            message: message.to_owned(),
        };
        check(CREATED, 0, ZERO, ZERO, Phase::Created);
        check(RUNNING, 0, start, ZERO, Phase::Running { started: at(start) });
        check(EXITED, 3, start, end, exited(Some(at(start)), at(end), 3, ""));
        check(EXITED, 137, start, end, exited(Some(at(start)), at(end), 137, ""));
        check(CREATED, 127, ZERO, ZERO, exited(None, at(self::CREATED), 127, "no such file"));
        check(DEAD, 1, ZERO, ZERO, exited(None, at(self::CREATED), 1, ""));
    }
}
