//! A pod's sandbox: a container of the pause image that holds the namespaces which the pod's containers share.
//!
//! It has no network of Docker's; the agent connects its namespace itself. Its `resolv.conf` is the pod's, because containers that join a
//! sandbox's network get the sandbox's file. The host name is set here and nowhere else: Docker refuses it on who joins.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, HostConfig, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{CreateContainerOptions, KillContainerOptions, ListContainersOptions};

use super::engine::{Engine, QUICK, SLOW};
use super::{container, inventory, pause};
use crate::runtime::labels::{self, Labelled};
use crate::runtime::resolver::resolv_conf;
use crate::runtime::{RuntimeError, SandboxSpec, SandboxState, oom};

/// As the kubelet gives it: a sandbox is the last thing to kill when memory is short, for its pod would go with it.
const OOM_SCORE_ADJ: i64 = -998;

/// The least share of the processor: it sleeps.
const CPU_SHARES: i64 = 2;

/// Size of `/dev/shm`, which the containers share: Docker's and containerd's own default, 64 MiB.
const SHM_SIZE_BYTES: i64 = 64 << 20;

/// Makes and starts the sandbox, or finds it running.
pub async fn run(engine: &Engine, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError> {
    let labelled = Labelled { pod: spec.pod.clone(), attempt: spec.attempt, container: None };
    let image = pause::ensure(engine).await?;
    let id = match create(engine, &labelled, body(engine.node(), &labelled, spec, &image)).await? {
        Made::New(id) => id,
        Made::Found(found) => {
            let running = found.state.as_ref().and_then(|it| it.running) == Some(true);
            let id = found.id.clone().unwrap_or_default();
            if !running {
                // Left by a death before its start, or ended since: its namespaces are gone, so it is of no use.
                engine.remove(&id).await?;
                match create(engine, &labelled, body(engine.node(), &labelled, spec, &image)).await? {
                    Made::New(id) => id,
                    Made::Found(_) => return Err(RuntimeError::CreateContainer(conflict(&labelled))),
                }
            } else {
                id
            }
        }
    };
    container::start(engine, &id).await?;
    let inspected = engine.owned(&id).await?.ok_or_else(|| RuntimeError::NotFound(id.clone()))?;
    write_resolv_conf(&id, &inspected, spec).await?;
    inventory::sandbox_state(&inspected).ok_or_else(|| RuntimeError::Other(format!("sandbox {id} has lost its labels")))
}

/// Kills the sandbox's containers, then the sandbox.
pub async fn stop(engine: &Engine, id: &str) -> Result<(), RuntimeError> {
    if engine.owned(id).await?.is_none() {
        return Ok(());
    }
    for container in members(engine, id, false).await? {
        kill(engine, &container).await?;
    }
    kill(engine, id).await
}

/// Removes the sandbox's containers, then the sandbox.
pub async fn remove(engine: &Engine, id: &str) -> Result<(), RuntimeError> {
    if engine.owned(id).await?.is_none() {
        return Ok(());
    }
    for container in members(engine, id, true).await? {
        engine.remove(&container).await?;
    }
    engine.remove(id).await
}

/// What became of an attempt to make a container under a name.
pub enum Made {
    New(String),
    /// The name is taken by one of ours, of the same pod, from an earlier attempt that was interrupted.
    Found(Box<ContainerInspectResponse>),
}

/// Makes a container under its name, or finds the one of ours that has it.
pub async fn create(engine: &Engine, labelled: &Labelled, body: ContainerCreateBody) -> Result<Made, RuntimeError> {
    let name = labelled.name();
    let options = CreateContainerOptions { name: Some(name.clone()), ..CreateContainerOptions::default() };
    let ask = |docker: bollard::Docker| async move { docker.create_container(Some(options), body).await };
    match engine.try_call("create", SLOW, ask).await? {
        Ok(created) => Ok(Made::New(created.id)),
        Err(Error::DockerResponseServerError { status_code: 409, .. }) => match engine.owned(&name).await {
            Ok(Some(found)) => {
                let labels = found.config.as_ref().and_then(|it| it.labels.as_ref()).and_then(Labelled::read);
                match labels {
                    Some(it) if it.pod.uid == labelled.pod.uid => Ok(Made::Found(Box::new(found))),
                    _ => Err(RuntimeError::CreateContainer(conflict(labelled))),
                }
            }
            Ok(None) | Err(RuntimeError::Other(_)) => Err(RuntimeError::CreateContainer(conflict(labelled))),
            Err(error) => Err(error),
        },
        Err(Error::DockerResponseServerError { message, .. }) => Err(RuntimeError::CreateContainer(message)),
        Err(error) => Err(engine.explain("create", error)),
    }
}

/// The words for a name that something of another owner has.
pub fn conflict(labelled: &Labelled) -> String {
    format!("Conflict. The container name {:?} is already in use", labelled.name())
}

fn body(node: &str, labelled: &Labelled, spec: &SandboxSpec, image: &str) -> ContainerCreateBody {
    let host = |it: bool| it.then(|| "host".to_owned());
    ContainerCreateBody {
        image: Some(image.to_owned()),
        // On the host's network the host's name holds, which Docker gives by itself.
        hostname: (!spec.host_network).then(|| spec.hostname.clone()),
        labels: Some(labelled.write(node)),
        host_config: Some(HostConfig {
            network_mode: Some(if spec.host_network { "host" } else { "none" }.to_owned()),
            ipc_mode: host(spec.host_ipc).or_else(|| Some("shareable".to_owned())),
            pid_mode: host(spec.host_pid),
            shm_size: Some(SHM_SIZE_BYTES),
            sysctls: Some(spec.sysctls.clone().into_iter().collect()),
            oom_score_adj: Some(oom::attainable(OOM_SCORE_ADJ)),
            cpu_shares: Some(CPU_SHARES),
            readonly_rootfs: Some(true),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            restart_policy: Some(no_restart()),
            log_config: Some(container::log_config()),
            runtime: Some(spec.handler.clone()).filter(|it| !it.is_empty()),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}

/// Docker restarts nothing: the pod machine decides.
pub fn no_restart() -> RestartPolicy {
    RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }
}

/// Ids of the containers that joined a sandbox.
async fn members(engine: &Engine, sandbox: &str, all: bool) -> Result<Vec<String>, RuntimeError> {
    let label = vec![format!("{}={}", labels::NODE, engine.node()), format!("{}={sandbox}", labels::SANDBOX)];
    let filters = Some(HashMap::from([("label".to_owned(), label)]));
    let options = ListContainersOptions { all, filters, ..ListContainersOptions::default() };
    let found = engine.call("list", QUICK, |docker| async move { docker.list_containers(Some(options)).await }).await?;
    Ok(found.into_iter().filter_map(|it| it.id).collect())
}

async fn kill(engine: &Engine, id: &str) -> Result<(), RuntimeError> {
    let options = KillContainerOptions { signal: "SIGKILL".to_owned() };
    match engine.try_call("kill", SLOW, |docker| async move { docker.kill_container(id, Some(options)).await }).await? {
        Ok(()) => Ok(()),
        // Gone, or not running.
        Err(Error::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
        Err(error) => Err(engine.explain("kill", error)),
    }
}

/// Writes the pod's `resolv.conf` over the file that Docker made for the sandbox.
async fn write_resolv_conf(
    id: &str,
    inspected: &ContainerInspectResponse,
    spec: &SandboxSpec,
) -> Result<(), RuntimeError> {
    let failed = |path: &Path, it: std::io::Error| RuntimeError::Other(format!("{}: {it}", path.display()));
    let Some(text) = resolv_conf(spec) else { return Ok(()) };
    let path = PathBuf::from(inspected.resolv_conf_path.clone().unwrap_or_default());
    // The container's own file lies in a folder of its name; anything else could be the host's.
    if !path.components().any(|it| it.as_os_str() == id) {
        return Err(RuntimeError::Other(format!("sandbox {id} has no resolv.conf of its own")));
    }
    tokio::fs::write(&path, text).await.map_err(|it| failed(&path, it))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::PodRef;

    fn spec() -> SandboxSpec {
        SandboxSpec {
            pod: PodRef { namespace: "default".into(), name: "web".into(), uid: "u".into() },
            hostname: "web".into(),
            attempt: 0,
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_processes: false,
            fenced: false,
            handler: String::new(),
            host_ports: Vec::new(),
            nameservers: Vec::new(),
            searches: Vec::new(),
            dns_options: Vec::new(),
            sysctls: Default::default(),
        }
    }

    #[test]
    fn a_host_network_sandbox_sets_no_host_name() {
        let check = |host_network: bool, mode: &str, hostname: Option<&str>| {
            let spec = SandboxSpec { host_network, ..spec() };
            let labelled = Labelled { pod: spec.pod.clone(), attempt: 0, container: None };
            let body = body("n", &labelled, &spec, "pause");
            assert_eq!(body.hostname.as_deref(), hostname);
            assert_eq!(body.host_config.and_then(|it| it.network_mode).as_deref(), Some(mode));
        };
        check(false, "none", Some("web"));
        check(true, "host", None);
    }
}
