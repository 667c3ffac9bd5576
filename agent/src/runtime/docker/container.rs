//! A pod's container: made in a sandbox, started, stopped.

use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HostConfig, HostConfigLogConfig, Mount, MountBindOptions,
    MountBindOptionsPropagationEnum, MountType,
};
use bollard::query_parameters::StopContainerOptions;

use super::engine::{Engine, SLOW};
use super::sandbox::{self, Made};
use crate::runtime::labels::Labelled;
use crate::runtime::{
    ContainerSpec, Id, Processes, Propagation, Resources, RuntimeError, Seccomp, oom, unusable_profile,
};

/// The period that [`Resources::cpu_quota_us`] counts in.
const CPU_PERIOD_US: i64 = 100_000;

/// One file of a container's log and how many are kept, as the kubelet's defaults: at most 50 MB a container.
const LOG_MAX_SIZE: &str = "10m";
const LOG_MAX_FILES: &str = "5";

/// What the pod's sandbox lends to its containers.
#[derive(Debug, Default)]
struct Shared {
    network: String,
    ipc: String,
    pid: Option<String>,
    /// What runs the sandbox, and so its containers.
    runtime: Option<String>,
}

/// Makes a container in a sandbox; one left by an interrupted attempt is made again.
pub async fn create(engine: &Engine, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError> {
    // Engines before 25 pass over what would ask for it, and the mounts below would be open.
    spec.without_recursive()?;
    let holder = engine.owned(sandbox).await?.ok_or_else(|| RuntimeError::NotFound(sandbox.to_owned()))?;
    let id = holder.id.clone().unwrap_or_default();
    let shared = shared(&id, holder.host_config.unwrap_or_default(), &spec.processes);
    let labelled = Labelled { pod: spec.pod.clone(), attempt: spec.attempt, container: Some((spec.name.clone(), id)) };
    let security = security(spec).await?;
    match sandbox::create(engine, &labelled, body(engine.node(), &labelled, spec, &shared, &security)).await? {
        Made::New(id) => Ok(id),
        Made::Found(found) => {
            // It was never started, or in a sandbox that is gone; a running one of this very attempt the caller has in its inventory.
            if found.state.as_ref().and_then(|it| it.running) == Some(true) {
                return Err(RuntimeError::CreateContainer(sandbox::conflict(&labelled)));
            }
            engine.remove(found.id.as_deref().unwrap_or_default()).await?;
            match sandbox::create(engine, &labelled, body(engine.node(), &labelled, spec, &shared, &security)).await? {
                Made::New(id) => Ok(id),
                Made::Found(_) => Err(RuntimeError::CreateContainer(sandbox::conflict(&labelled))),
            }
        }
    }
}

/// The Engine's `security_opt`: it is given a profile as text.
async fn security(spec: &ContainerSpec) -> Result<Vec<String>, RuntimeError> {
    let mut all = Vec::new();
    if spec.no_new_privileges {
        all.push("no-new-privileges".to_owned());
    }
    match &spec.seccomp {
        // A privileged one may make all calls, whatever it names.
        _ if spec.privileged => {}
        Seccomp::RuntimeDefault => {}
        Seccomp::Unconfined => all.push("seccomp=unconfined".to_owned()),
        Seccomp::Profile(path) => {
            let text = tokio::fs::read_to_string(path).await.map_err(|it| unusable_profile(path, it))?;
            all.push(format!("seccomp={text}"));
        }
    }
    Ok(all)
}

/// Starts what was created; what runs already stays as it is.
pub async fn start(engine: &Engine, id: &str) -> Result<(), RuntimeError> {
    match engine.try_call("start", SLOW, |docker| async move { docker.start_container(id, None).await }).await? {
        Ok(()) => Ok(()),
        Err(Error::DockerResponseServerError { status_code: 404, message })
            if message.contains("No such container") =>
        {
            Err(RuntimeError::NotFound(id.to_owned()))
        }
        // A command that is not there, may not be run, a mount that fails: the Engine says which.
        Err(Error::DockerResponseServerError { message, .. }) => Err(RuntimeError::StartContainer(message)),
        Err(error) => Err(engine.explain("start", error)),
    }
}

/// Sends the image's stop signal, and kills after `grace`.
pub async fn stop(engine: &Engine, id: &str, grace: Duration) -> Result<(), RuntimeError> {
    if engine.owned(id).await?.is_none() {
        return Ok(());
    }
    let seconds = i32::try_from(grace.as_secs() + u64::from(grace.subsec_nanos() > 0)).unwrap_or(i32::MAX);
    let options = StopContainerOptions { signal: None, t: Some(seconds) };
    let limit = grace.saturating_add(SLOW);
    match engine.try_call("stop", limit, |docker| async move { docker.stop_container(id, Some(options)).await }).await?
    {
        Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        Err(error) => Err(engine.explain("stop", error)),
    }
}

/// Gives a running container other limits.
pub async fn update(engine: &Engine, id: &str, resources: &Resources) -> Result<(), RuntimeError> {
    engine.owned(id).await?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    let it = limits(resources);
    let body = ContainerUpdateBody {
        cpu_shares: it.cpu_shares,
        cpu_period: it.cpu_period,
        cpu_quota: it.cpu_quota,
        memory: it.memory,
        memory_swap: it.memory_swap,
        ..ContainerUpdateBody::default()
    };
    engine.call("update", SLOW, |docker| async move { docker.update_container(id, body).await }).await.map(drop)
}

/// Logs in files that rotate, readable through the Engine.
pub fn log_config() -> HostConfigLogConfig {
    let limits = [("max-size", LOG_MAX_SIZE), ("max-file", LOG_MAX_FILES)];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(limits.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()),
    }
}

fn shared(sandbox: &str, host: HostConfig, processes: &Processes) -> Shared {
    let join = format!("container:{sandbox}");
    let on_host = |mode: &Option<String>| mode.as_deref() == Some("host");
    Shared {
        ipc: if on_host(&host.ipc_mode) { "host".to_owned() } else { join.clone() },
        pid: match processes {
            Processes::Of(other) => Some(format!("container:{other}")),
            _ if on_host(&host.pid_mode) => Some("host".to_owned()),
            Processes::Pods => Some(join.clone()),
            Processes::Own => None,
        },
        network: join,
        runtime: host.runtime,
    }
}

fn body(
    node: &str,
    labelled: &Labelled,
    spec: &ContainerSpec,
    shared: &Shared,
    security: &[String],
) -> ContainerCreateBody {
    let given = |it: &[String]| (!it.is_empty()).then(|| it.to_vec());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        entrypoint: given(&spec.command),
        cmd: given(&spec.args),
        working_dir: spec.working_dir.clone(),
        env: Some(spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        user: spec.user.clone(),
        tty: Some(spec.tty),
        open_stdin: Some(spec.stdin),
        stdin_once: Some(spec.stdin_once),
        labels: Some(labelled.write(node)),
        // No host name: Docker refuses one on a container that joins a sandbox's network, and gives it the sandbox's.
        host_config: Some(HostConfig {
            network_mode: Some(shared.network.clone()),
            ipc_mode: Some(shared.ipc.clone()),
            pid_mode: shared.pid.clone(),
            runtime: shared.runtime.clone(),
            mounts: Some(spec.mounts.iter().map(mount).collect()),
            privileged: Some(spec.privileged),
            readonly_rootfs: Some(spec.read_only_root),
            group_add: Some(spec.supplementary_groups.iter().map(i64::to_string).collect()),
            cap_add: Some(spec.capabilities_add.clone()),
            cap_drop: Some(spec.capabilities_drop.clone()),
            security_opt: Some(security.to_vec()).filter(|it| !it.is_empty()),
            pids_limit: spec.pids_limit.and_then(|it| i64::try_from(it).ok()),
            restart_policy: Some(sandbox::no_restart()),
            log_config: Some(log_config()),
            ..limits(&spec.resources)
        }),
        // Probes are the agent's; a health check of the image would only cost.
        healthcheck: Some(bollard::models::HealthConfig { test: Some(vec!["NONE".to_owned()]), ..Default::default() }),
        ..ContainerCreateBody::default()
    }
}

fn limits(resources: &Resources) -> HostConfig {
    HostConfig {
        cpu_shares: i64::try_from(resources.cpu_shares).ok().filter(|it| *it > 0),
        cpu_period: resources.cpu_quota_us.map(|_| CPU_PERIOD_US),
        cpu_quota: resources.cpu_quota_us,
        memory: resources.memory_limit_bytes,
        // Memory and swap together at the memory's limit: a pod does not swap.
        memory_swap: resources.memory_limit_bytes,
        oom_score_adj: Some(oom::attainable(i64::from(resources.oom_score_adj))),
        ..HostConfig::default()
    }
}

/// A mount that fails where its source is absent, where `Binds` would make a folder on the host.
fn mount(mount: &crate::runtime::Mount) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(mount.host_path.display().to_string()),
        target: Some(mount.container_path.clone()),
        read_only: Some(mount.read_only),
        bind_options: Some(MountBindOptions {
            propagation: match mount.propagation {
                // The Engine's own: none, but for folders that the Engine's lie in, which it refuses to mount so.
                Propagation::None => None,
                Propagation::HostToContainer => Some(MountBindOptionsPropagationEnum::RSLAVE),
                Propagation::Bidirectional => Some(MountBindOptionsPropagationEnum::RSHARED),
            },
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_in_the_engines_units() {
        let check = |resources: Resources, expected: [Option<i64>; 5]| {
            let it = limits(&resources);
            assert_eq!([it.cpu_shares, it.cpu_period, it.cpu_quota, it.memory, it.memory_swap], expected);
        };
        check(Resources::default(), [None; 5]);
        check(
            Resources {
                cpu_shares: 512,
                cpu_quota_us: Some(50_000),
                memory_limit_bytes: Some(1 << 26),
                oom_score_adj: 1000,
                ..Resources::default()
            },
            [Some(512), Some(100_000), Some(50_000), Some(1 << 26), Some(1 << 26)],
        );
    }

    #[test]
    fn containers_share_what_the_sandbox_has() {
        let mode = |it: &str| Some(it.to_owned());
        let own = HostConfig { ipc_mode: mode("shareable"), ..HostConfig::default() };
        let private = shared("s", own.clone(), &Processes::Own);
        assert_eq!((private.network.as_str(), private.ipc.as_str(), private.pid), ("container:s", "container:s", None));
        assert_eq!(shared("s", own.clone(), &Processes::Pods).pid.as_deref(), Some("container:s"));
        assert_eq!(shared("s", own, &Processes::Of("o".into())).pid.as_deref(), Some("container:o"));
        let on_host = HostConfig { ipc_mode: mode("host"), pid_mode: mode("host"), ..HostConfig::default() };
        let host = shared("s", on_host, &Processes::Pods);
        assert_eq!((host.ipc.as_str(), host.pid.as_deref()), ("host", Some("host")));
    }
}
