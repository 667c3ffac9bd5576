//! What is here, read from the folders: the notes, the shims' files, and which shims live.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use orlop_shim::record::{self as shared, CONTAINERS, EXIT, Exit, STARTED, Started};

use super::names::{ContainerName, SandboxName};
use super::record::{self, CONTAINER, Container, SANDBOX, Sandbox};
use super::{Node, sandbox};
use crate::aside;
use crate::runtime::{ContainerState, Inventory, Phase, RuntimeError};

/// The sandboxes and containers of this node, or of one pod on it.
pub async fn list(node: &Arc<Node>, pod_uid: Option<&str>) -> Result<Inventory, RuntimeError> {
    let (node, pod_uid) = (Arc::clone(node), pod_uid.map(str::to_owned));
    let read = aside::run(move || read(&node, pod_uid.as_deref())).await;
    read.map_err(|it| RuntimeError::Other(it.to_string()))?
}

fn read(node: &Node, pod_uid: Option<&str>) -> Result<Inventory, RuntimeError> {
    let mut inventory = Inventory::default();
    for name in sandboxes(&node.pods)? {
        if pod_uid.is_some_and(|it| it != name.uid) {
            continue;
        }
        let folder = name.folder(&node.pods);
        let Some(it) = record::read::<Sandbox>(&folder, SANDBOX) else { continue };
        for entry in fs::read_dir(folder.join(CONTAINERS)).into_iter().flatten().flatten() {
            let key = entry.file_name();
            let container = key.to_str().and_then(|it| ContainerName::in_sandbox(&name, it));
            inventory
                .containers
                .extend(container.and_then(|container| container_state(&entry.path(), &container, &it)));
        }
        inventory.sandboxes.push(sandbox::state(&name, it, node.shims.pid(&name)));
    }
    Ok(inventory)
}

/// The sandboxes that have a folder, whole or not.
///
/// # Errors
/// The disk's.
pub fn sandboxes(pods: &Path) -> Result<Vec<SandboxName>, RuntimeError> {
    let entries = fs::read_dir(pods).map_err(|it| record::failed(pods, it))?;
    Ok(entries.flatten().filter_map(|it| SandboxName::parse(it.file_name().to_str()?)).collect())
}

fn container_state(folder: &Path, name: &ContainerName, sandbox: &Sandbox) -> Option<ContainerState> {
    let note: Container = record::read(folder, CONTAINER)?;
    // The end first: a container that ends between the two looks has ended.
    let started: Option<Started> = record::read(folder, STARTED);
    let exit: Option<Exit> = record::read(folder, EXIT);
    let pid = started.as_ref().filter(|_| exit.is_none()).and_then(|it| u32::try_from(it.pid).ok());
    Some(ContainerState {
        id: name.to_string(),
        pod: sandbox.pod.clone().into(),
        name: name.name.clone(),
        attempt: name.attempt,
        image: note.image,
        phase: phase(started, exit),
        pid,
    })
}

fn phase(started: Option<Started>, exit: Option<shared::Exit>) -> Phase {
    match (exit, started) {
        (Some(it), _) => Phase::Exited {
            started: it.started_ns.map(time),
            finished: time(it.finished_ns),
            exit_code: it.exit_code,
            // As the other runtimes show it: folded into the exit code (128 + signal), where Kubernetes looks for it.
            signal: it.signal,
            oom_killed: it.oom_killed,
            message: it.message,
        },
        (None, Some(it)) => Phase::Running { started: time(it.at_ns) },
        (None, None) => Phase::Created,
    }
}

/// A shim's time. One after the year 9999 is none.
fn time(ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(ns)).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_what_the_files_say() {
        let started = Started { pid: 7, at_ns: 1_000_000_000 };
        let exit = |started_ns| Exit {
            exit_code: 137,
            signal: Some(9),
            oom_killed: true,
            started_ns,
            finished_ns: 2_000_000_000,
            message: "m".into(),
        };
        let at = |it: &str| it.parse::<Timestamp>().unwrap();
        assert_eq!(phase(None, None), Phase::Created);
        assert_eq!(phase(Some(started.clone()), None), Phase::Running { started: at("1970-01-01T00:00:01Z") });
        let ended = |started| Phase::Exited {
            started,
            finished: at("1970-01-01T00:00:02Z"),
            exit_code: 137,
            signal: Some(9),
            oom_killed: true,
            message: "m".into(),
        };
        assert_eq!(phase(Some(started), Some(exit(Some(1_000_000_000)))), ended(Some(at("1970-01-01T00:00:01Z"))));
        assert_eq!(phase(None, Some(exit(None))), ended(None));
    }
}
