//! A pod's sandbox: the runtime's pause container, which holds the namespaces that the pod's containers share.

use std::path::PathBuf;

use k8s_cri::v1 as cri;

use super::endpoint::{Endpoint, QUICK, SLOW, absent_is_done};
use super::{inventory, network, pause};
use crate::runtime::labels::{ATTEMPT, Labelled, POD_UID};
use crate::runtime::{RuntimeError, SandboxSpec, SandboxState};

/// Where the sandbox's host name is noted, for containers made later.
const HOSTNAME: &str = "dev.orlop.hostname";

/// Makes and starts the sandbox, or finds it running.
pub async fn run(endpoint: &Endpoint, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError> {
    for found in same(endpoint, spec).await? {
        if found.state() == cri::PodSandboxState::SandboxReady {
            return state(endpoint, &found.id).await;
        }
        // Left by a death, or ended since: its namespaces are gone, so it is of no use.
        remove_one(endpoint, &found.id).await?;
    }
    pause::ensure(endpoint).await?;
    let config = config(endpoint, spec);
    let folder = PathBuf::from(&config.log_directory);
    let failed = |it: std::io::Error| RuntimeError::Other(format!("{}: {it}", folder.display()));
    tokio::fs::create_dir_all(&folder).await.map_err(failed)?;
    let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler: spec.handler.clone() };
    let made = endpoint.call("RunPodSandbox", SLOW, |mut it| async move { it.run_pod_sandbox(request).await }).await?;
    state(endpoint, &made.pod_sandbox_id).await
}

/// Kills the sandbox's containers and the sandbox.
pub async fn stop(endpoint: &Endpoint, id: &str) -> Result<(), RuntimeError> {
    let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.to_owned() };
    let call = endpoint.call("StopPodSandbox", SLOW, |mut it| async move { it.stop_pod_sandbox(request).await });
    absent_is_done(call.await.map(drop))
}

/// Removes the sandbox with its containers, and the pod's logs with the last of its sandboxes.
pub async fn remove(endpoint: &Endpoint, id: &str) -> Result<(), RuntimeError> {
    let Some(status) = status(endpoint, id, false).await? else { return Ok(()) };
    remove_one(endpoint, id).await?;
    let Some(uid) = status.labels.get(POD_UID) else { return Ok(()) };
    if inventory::list(endpoint, Some(uid)).await?.sandboxes.is_empty() {
        let folder = endpoint.logs().join(uid);
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(RuntimeError::Other(format!("{}: {error}", folder.display())));
        }
    }
    Ok(())
}

async fn remove_one(endpoint: &Endpoint, id: &str) -> Result<(), RuntimeError> {
    stop(endpoint, id).await?;
    let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.to_owned() };
    let call = endpoint.call("RemovePodSandbox", SLOW, |mut it| async move { it.remove_pod_sandbox(request).await });
    absent_is_done(call.await.map(drop))
}

/// A sandbox as it is; none if there is no such one, or it is not ours.
pub async fn status(
    endpoint: &Endpoint,
    id: &str,
    verbose: bool,
) -> Result<Option<cri::PodSandboxStatus>, RuntimeError> {
    Ok(details(endpoint, id, verbose).await?.and_then(|it| it.status))
}

/// The same, with what the runtime says beside it.
pub async fn details(
    endpoint: &Endpoint,
    id: &str,
    verbose: bool,
) -> Result<Option<cri::PodSandboxStatusResponse>, RuntimeError> {
    let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.to_owned(), verbose };
    let call = endpoint.call("PodSandboxStatus", QUICK, |mut it| async move { it.pod_sandbox_status(request).await });
    let found = match call.await {
        Err(RuntimeError::NotFound(_)) => return Ok(None),
        other => other?,
    };
    let ours =
        |it: &cri::PodSandboxStatus| endpoint.ours().iter().all(|(key, value)| it.labels.get(key) == Some(value));
    Ok(Some(found).filter(|it| it.status.as_ref().is_some_and(ours)))
}

async fn state(endpoint: &Endpoint, id: &str) -> Result<SandboxState, RuntimeError> {
    let found = details(endpoint, id, true).await?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    inventory::sandbox_state(found).ok_or_else(|| RuntimeError::Other(format!("sandbox {id} has lost its labels")))
}

/// The pod's sandboxes of this attempt: one, or none.
async fn same(endpoint: &Endpoint, spec: &SandboxSpec) -> Result<Vec<cri::PodSandbox>, RuntimeError> {
    let mut labels = endpoint.ours();
    labels.insert(POD_UID.to_owned(), spec.pod.uid.clone());
    labels.insert(ATTEMPT.to_owned(), spec.attempt.to_string());
    inventory::sandboxes(endpoint, labels).await
}

fn config(endpoint: &Endpoint, spec: &SandboxSpec) -> cri::PodSandboxConfig {
    let labelled = Labelled { pod: spec.pod.clone(), attempt: spec.attempt, container: None };
    let dns = cri::DnsConfig {
        servers: spec.nameservers.iter().map(ToString::to_string).collect(),
        searches: spec.searches.clone(),
        options: spec.dns_options.clone(),
    };
    let given = !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty());
    let security = cri::LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(spec)),
        readonly_rootfs: true,
        seccomp: Some(cri::SecurityProfile::default()),
        ..Default::default()
    };
    cri::PodSandboxConfig {
        metadata: Some(cri::PodSandboxMetadata {
            name: spec.pod.name.clone(),
            uid: spec.pod.uid.clone(),
            namespace: spec.pod.namespace.clone(),
            attempt: spec.attempt,
        }),
        // On the host's network the host's name holds.
        hostname: if spec.host_network { String::new() } else { spec.hostname.clone() },
        log_directory: endpoint.logs().join(&spec.pod.uid).display().to_string(),
        dns_config: given.then_some(dns),
        port_mappings: if endpoint.makes_network() { network::port_mappings(&spec.host_ports) } else { Vec::new() },
        labels: labelled.write(endpoint.node()),
        annotations: [(HOSTNAME.to_owned(), spec.hostname.clone())].into(),
        linux: Some(cri::LinuxPodSandboxConfig {
            security_context: Some(security),
            sysctls: spec.sysctls.clone().into_iter().collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Namespaces that are the pod's own, but for those that are the host's. Each container has its own processes unless the pod shares them.
fn namespaces(spec: &SandboxSpec) -> cri::NamespaceOption {
    let own = if spec.share_processes { cri::NamespaceMode::Pod } else { cri::NamespaceMode::Container };
    let mode = |host: bool, own: cri::NamespaceMode| if host { cri::NamespaceMode::Node } else { own };
    cri::NamespaceOption {
        network: mode(spec.host_network, cri::NamespaceMode::Pod).into(),
        pid: mode(spec.host_pid, own).into(),
        ipc: mode(spec.host_ipc, cri::NamespaceMode::Pod).into(),
        ..Default::default()
    }
}

/// What the runtime must be told of its sandbox again when a container is made in it.
pub fn recalled(endpoint: &Endpoint, status: &cri::PodSandboxStatus, privileged: bool) -> cri::PodSandboxConfig {
    let uid = status.labels.get(POD_UID).cloned().unwrap_or_default();
    let options = status.linux.as_ref().and_then(|it| it.namespaces.as_ref()).and_then(|it| it.options.clone());
    let security = cri::LinuxSandboxSecurityContext { namespace_options: options, privileged, ..Default::default() };
    cri::PodSandboxConfig {
        metadata: status.metadata.clone(),
        hostname: status.annotations.get(HOSTNAME).cloned().unwrap_or_default(),
        log_directory: endpoint.logs().join(uid).display().to_string(),
        labels: status.labels.clone(),
        annotations: status.annotations.clone(),
        linux: Some(cri::LinuxPodSandboxConfig { security_context: Some(security), ..Default::default() }),
        ..Default::default()
    }
}
