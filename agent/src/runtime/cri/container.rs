//! A pod's container: made in a sandbox, started, stopped, removed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_cri::v1 as cri;

use super::endpoint::{Endpoint, QUICK, SLOW, absent_is_done};
use super::{inventory, sandbox};
use crate::node::huge_pages;
use crate::runtime::labels::{ATTEMPT, CONTAINER, Labelled, POD_UID};
use crate::runtime::log_files::LOG;
use crate::runtime::{ContainerSpec, Id, Processes, Propagation, Resources, RuntimeError, Seccomp, oom};

/// The period that [`Resources::cpu_quota_us`] counts in.
const CPU_PERIOD_US: i64 = 100_000;
/// What containers may not see, and what not write, unless they are privileged: the kubelet's defaults (`pkg/securitycontext`).
const MASKED: &[&str] = &[
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: &[&str] = &["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Makes a container in a sandbox; one left by an interrupted attempt is made again.
pub async fn create(endpoint: &Endpoint, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError> {
    // containerd before 2.0 passes over what would ask for it, and the mounts below would be open.
    spec.without_recursive()?;
    let holder = sandbox::status(endpoint, sandbox, false).await?;
    let holder = holder.ok_or_else(|| RuntimeError::NotFound(sandbox.to_owned()))?;
    for it in same(endpoint, spec).await? {
        // A running one of this very attempt the caller has in its inventory.
        if it.state() == cri::ContainerState::ContainerRunning {
            return Err(RuntimeError::CreateContainer(format!("the container {} runs already", it.id)));
        }
        remove(endpoint, &it.id).await?;
    }
    for it in &spec.mounts {
        // The runtime would make a folder on the host.
        if tokio::fs::symlink_metadata(&it.host_path).await.is_err() {
            return Err(RuntimeError::CreateContainer(format!(
                "failed to mount {:?}: no such file or directory",
                it.host_path.display().to_string()
            )));
        }
    }
    let labelled = Labelled {
        pod: spec.pod.clone(),
        attempt: spec.attempt,
        container: Some((spec.name.clone(), sandbox.to_owned())),
    };
    let sandbox_config = sandbox::recalled(endpoint, &holder, spec.privileged);
    let options = sandbox_config.linux.as_ref().and_then(|it| it.security_context.as_ref());
    let mut options = options.and_then(|it| it.namespace_options.clone());
    if let (Some(options), Processes::Of(other)) = (&mut options, &spec.processes) {
        options.pid = cri::NamespaceMode::Target.into();
        options.target_id.clone_from(other);
    }
    let config = config(endpoint, &labelled, spec, options);
    let folder = PathBuf::from(&sandbox_config.log_directory).join(&config.log_path);
    if let Some(folder) = folder.parent() {
        let failed = |it: std::io::Error| RuntimeError::CreateContainer(format!("{}: {it}", folder.display()));
        tokio::fs::create_dir_all(folder).await.map_err(failed)?;
    }
    let request = cri::CreateContainerRequest {
        pod_sandbox_id: sandbox.to_owned(),
        config: Some(config),
        sandbox_config: Some(sandbox_config),
    };
    let call = endpoint.call("CreateContainer", SLOW, |mut it| async move { it.create_container(request).await });
    match call.await {
        Ok(made) => Ok(made.container_id),
        // What is not found is the image: the sandbox was there.
        Err(RuntimeError::Other(why) | RuntimeError::NotFound(why)) => Err(RuntimeError::CreateContainer(why)),
        Err(error) => Err(error),
    }
}

/// Starts what was created; what runs already stays as it is.
pub async fn start(endpoint: &Endpoint, id: &str) -> Result<(), RuntimeError> {
    let status = status(endpoint, id).await?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    if status.state() == cri::ContainerState::ContainerRunning {
        return Ok(());
    }
    let request = cri::StartContainerRequest { container_id: id.to_owned() };
    let call = endpoint.call("StartContainer", SLOW, |mut it| async move { it.start_container(request).await });
    match call.await {
        Ok(_) => Ok(()),
        // A command that is not there, may not be run, a mount that fails: the runtime says which.
        Err(RuntimeError::Other(why)) => Err(RuntimeError::StartContainer(why)),
        Err(error) => Err(error),
    }
}

/// Sends the image's stop signal, and kills after `grace`.
pub async fn stop(endpoint: &Endpoint, id: &str, grace: Duration) -> Result<(), RuntimeError> {
    if status(endpoint, id).await?.is_none() {
        return Ok(());
    }
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    let timeout = i64::try_from(seconds).unwrap_or(i64::MAX);
    let request = cri::StopContainerRequest { container_id: id.to_owned(), timeout };
    let limit = grace.saturating_add(SLOW);
    let call = endpoint.call("StopContainer", limit, |mut it| async move { it.stop_container(request).await });
    absent_is_done(call.await.map(drop))
}

/// Gives a running container other limits.
pub async fn update(endpoint: &Endpoint, id: &str, resources: &Resources) -> Result<(), RuntimeError> {
    status(endpoint, id).await?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    let request = cri::UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        linux: Some(limits(resources)),
        ..Default::default()
    };
    let call = endpoint
        .call("UpdateContainerResources", SLOW, |mut it| async move { it.update_container_resources(request).await });
    call.await.map(drop)
}

/// Removes a container, which is killed if it runs, and its log.
pub async fn remove(endpoint: &Endpoint, id: &str) -> Result<(), RuntimeError> {
    let Some(found) = status(endpoint, id).await? else { return Ok(()) };
    let request = cri::RemoveContainerRequest { container_id: id.to_owned() };
    let call = endpoint.call("RemoveContainer", SLOW, |mut it| async move { it.remove_container(request).await });
    absent_is_done(call.await.map(drop))?;
    // Only what lies where our logs do.
    let folder = Path::new(&found.log_path).parent().filter(|it| it.starts_with(endpoint.logs()));
    if let Some(folder) = folder
        && let Err(error) = tokio::fs::remove_dir_all(folder).await
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(RuntimeError::Other(format!("{}: {error}", folder.display())));
    }
    Ok(())
}

/// A container as it is; none if there is no such one, or it is not ours.
pub async fn status(endpoint: &Endpoint, id: &str) -> Result<Option<cri::ContainerStatus>, RuntimeError> {
    Ok(details(endpoint, id, false).await?.and_then(|it| it.status))
}

/// The same, with what the runtime says beside it.
pub async fn details(
    endpoint: &Endpoint,
    id: &str,
    verbose: bool,
) -> Result<Option<cri::ContainerStatusResponse>, RuntimeError> {
    let request = cri::ContainerStatusRequest { container_id: id.to_owned(), verbose };
    let call = endpoint.call("ContainerStatus", QUICK, |mut it| async move { it.container_status(request).await });
    let found = match call.await {
        Err(RuntimeError::NotFound(_)) => return Ok(None),
        other => other?,
    };
    let ours = |it: &cri::ContainerStatus| endpoint.ours().iter().all(|(key, value)| it.labels.get(key) == Some(value));
    Ok(Some(found).filter(|it| it.status.as_ref().is_some_and(ours)))
}

/// The pod's containers of this name and attempt: one, or none.
async fn same(endpoint: &Endpoint, spec: &ContainerSpec) -> Result<Vec<cri::Container>, RuntimeError> {
    let mut labels = endpoint.ours();
    labels.insert(POD_UID.to_owned(), spec.pod.uid.clone());
    labels.insert(CONTAINER.to_owned(), spec.name.clone());
    labels.insert(ATTEMPT.to_owned(), spec.attempt.to_string());
    inventory::containers(endpoint, labels).await
}

fn config(
    endpoint: &Endpoint,
    labelled: &Labelled,
    spec: &ContainerSpec,
    namespaces: Option<cri::NamespaceOption>,
) -> cri::ContainerConfig {
    cri::ContainerConfig {
        metadata: Some(cri::ContainerMetadata { name: spec.name.clone(), attempt: spec.attempt }),
        image: Some(cri::ImageSpec { image: spec.image.clone(), ..Default::default() }),
        command: spec.command.clone(),
        args: spec.args.clone(),
        working_dir: spec.working_dir.clone().unwrap_or_default(),
        envs: spec.env.iter().map(|(key, value)| cri::KeyValue { key: key.clone(), value: value.clone() }).collect(),
        mounts: spec.mounts.iter().map(mount).collect(),
        labels: labelled.write(endpoint.node()),
        log_path: format!("{}_{}/{LOG}", spec.name, spec.attempt),
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        tty: spec.tty,
        linux: Some(cri::LinuxContainerConfig {
            resources: Some(limits(&spec.resources)),
            security_context: Some(security(spec, namespaces)),
        }),
        ..Default::default()
    }
}

fn mount(it: &crate::runtime::Mount) -> cri::Mount {
    cri::Mount {
        container_path: it.container_path.clone(),
        host_path: it.host_path.display().to_string(),
        readonly: it.read_only,
        propagation: match it.propagation {
            Propagation::None => cri::MountPropagation::PropagationPrivate,
            Propagation::HostToContainer => cri::MountPropagation::PropagationHostToContainer,
            Propagation::Bidirectional => cri::MountPropagation::PropagationBidirectional,
        }
        .into(),
        ..Default::default()
    }
}

fn limits(resources: &Resources) -> cri::LinuxContainerResources {
    cri::LinuxContainerResources {
        cpu_period: if resources.cpu_quota_us.is_some() { CPU_PERIOD_US } else { 0 },
        cpu_quota: resources.cpu_quota_us.unwrap_or(0),
        cpu_shares: i64::try_from(resources.cpu_shares).unwrap_or(0),
        memory_limit_in_bytes: resources.memory_limit_bytes.unwrap_or(0),
        oom_score_adj: oom::attainable(i64::from(resources.oom_score_adj)),
        // A runtime whose machine does not count them leaves these out.
        hugepage_limits: huge_pages::of_this_machine()
            .into_keys()
            .map(|it| cri::HugepageLimit {
                page_size: huge_pages::in_words(it),
                limit: resources.huge_pages.get(&it).copied().unwrap_or(0),
            })
            .collect(),
        ..Default::default()
    }
}

fn security(spec: &ContainerSpec, namespaces: Option<cri::NamespaceOption>) -> cri::LinuxContainerSecurityContext {
    let paths = |it: &[&str]| {
        if spec.privileged { Vec::new() } else { it.iter().map(ToString::to_string).collect::<Vec<_>>() }
    };
    let number = |it: &str| it.parse::<i64>().ok().map(|value| cri::Int64Value { value });
    let (user, group) = match spec.user.as_deref().unwrap_or_default().split_once(':') {
        Some((user, group)) => (user, number(group)),
        None => (spec.user.as_deref().unwrap_or_default(), None),
    };
    let (seccomp, profile) = match &spec.seccomp {
        _ if spec.privileged => (cri::security_profile::ProfileType::Unconfined, String::new()),
        Seccomp::Unconfined => (cri::security_profile::ProfileType::Unconfined, String::new()),
        Seccomp::RuntimeDefault => (cri::security_profile::ProfileType::RuntimeDefault, String::new()),
        Seccomp::Profile(path) => (cri::security_profile::ProfileType::Localhost, path.display().to_string()),
    };
    cri::LinuxContainerSecurityContext {
        capabilities: Some(cri::Capability {
            add_capabilities: spec.capabilities_add.clone(),
            drop_capabilities: spec.capabilities_drop.clone(),
            ..Default::default()
        }),
        privileged: spec.privileged,
        namespace_options: namespaces,
        run_as_user: number(user),
        run_as_group: group,
        run_as_username: if number(user).is_some() { String::new() } else { user.to_owned() },
        readonly_rootfs: spec.read_only_root,
        supplemental_groups: spec.supplementary_groups.clone(),
        no_new_privs: spec.no_new_privileges,
        masked_paths: paths(MASKED),
        readonly_paths: paths(READ_ONLY),
        seccomp: Some(cri::SecurityProfile { profile_type: seccomp.into(), localhost_ref: profile }),
        ..Default::default()
    }
}
