//! What the runtime is told of a sandbox and of a container, made from the pod.

use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path};

use k8s_openapi::api::core::v1::{Container, Pod, PodSecurityContext, SecurityContext};
use k8s_openapi::api::node::v1::RuntimeClass;
use kube::Api;
use orlop_client::Key;

use crate::dns::resolv_conf::ResolvConf;
use crate::environment::links;
use crate::environment::{build, expand_all};
use crate::host::Host;
use crate::hosts;
use crate::machine::world::spec as pod_spec;
use crate::network::ips::Ips;
use crate::network::{HostPort, Protocol};
use crate::node::within;
use crate::references::Snapshot;
use crate::resolver;
use crate::resources;
use crate::runtime::{ContainerSpec, Image, Mount, PodRef, Processes, SandboxSpec, Seccomp};
use crate::sync::termination;

/// The longest name of a host (POSIX).
const HOSTNAME_BYTES: usize = 63;

/// The pod as the runtime labels it.
fn pod_ref(pod: &Pod) -> PodRef {
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    PodRef { namespace: text(&pod.metadata.namespace), name: text(&pod.metadata.name), uid: text(&pod.metadata.uid) }
}

/// The name of a pod's host: `spec.hostname`, or the pod's own, as far as it may be long.
fn hostname(pod: &Pod) -> String {
    let chosen = pod_spec(pod).and_then(|it| it.hostname.clone()).filter(|it| !it.is_empty());
    let name = chosen.unwrap_or_else(|| pod.metadata.name.clone().unwrap_or_default());
    name.chars().take(HOSTNAME_BYTES).collect::<String>().trim_end_matches(['-', '.']).to_owned()
}

/// Whether the pod's containers see one another's processes.
pub fn shares_processes(pod: &Pod) -> bool {
    pod_spec(pod).and_then(|it| it.share_process_namespace).unwrap_or(false)
}

/// The ports of the host that lead to a pod.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let ports = crate::admission::host_ports(pod).into_iter();
    let port = |it: i32| u16::try_from(it).ok().filter(|it| *it > 0);
    ports
        .filter_map(|it| {
            let protocol = match it.protocol.as_deref() {
                Some("UDP") => Protocol::Udp,
                Some("SCTP") => Protocol::Sctp,
                _ => Protocol::Tcp,
            };
            let host_ip =
                it.host_ip.and_then(|it| it.parse().ok()).filter(|it: &std::net::IpAddr| !it.is_unspecified());
            Some(HostPort {
                host_ip,
                host_port: port(it.host_port?)?,
                container_port: port(it.container_port)?,
                protocol,
            })
        })
        .collect()
}

/// What the pod's RuntimeClass calls that which runs it; empty where it has none.
///
/// # Errors
/// The class cannot be read.
pub async fn handler(host: &Host, pod: &Pod) -> Result<String, String> {
    let class = pod_spec(pod).and_then(|it| it.runtime_class_name.as_deref()).filter(|it| !it.is_empty());
    let Some(class) = class.filter(|_| !host.runtime.runs_nothing()) else { return Ok(String::new()) };
    let found = within(Api::<RuntimeClass>::all(host.client.clone()).get(class)).await;
    found.map(|it| it.handler).map_err(|it| format!("failed to get RuntimeClass {class:?}: {it}"))
}

/// The sandbox of a pod, which another node may be given if it is the API's; `host_dns` is what the host's `resolv.conf` says.
pub fn sandbox(
    host: &Host,
    pod: &Pod,
    of_api: bool,
    attempt: u32,
    host_dns: &ResolvConf,
    handler: String,
) -> SandboxSpec {
    let it = pod_spec(pod).cloned().unwrap_or_default();
    let pod_ref = pod_ref(pod);
    let dns = resolver::of(&it, &pod_ref.namespace, host.cluster_dns.as_ref(), host_dns);
    let sysctls = it.security_context.and_then(|it| it.sysctls).unwrap_or_default();
    SandboxSpec {
        pod: pod_ref,
        hostname: hostname(pod),
        attempt,
        host_network: it.host_network.unwrap_or(false),
        host_pid: it.host_pid.unwrap_or(false),
        host_ipc: it.host_ipc.unwrap_or(false),
        share_processes: shares_processes(pod),
        nameservers: dns.servers,
        searches: dns.searches,
        dns_options: dns.options,
        sysctls: sysctls.into_iter().map(|it| (it.name, it.value)).collect(),
        host_ports: host_ports(pod),
        fenced: of_api,
        handler,
    }
}

/// What a container finds around it.
pub struct Around<'a> {
    pub found: &'a Snapshot,
    /// The variables of services.
    pub links: Vec<(String, String)>,
    pub pod_ips: Option<Ips>,
}

/// A container of a pod.
///
/// # Errors
/// The message of a `CreateContainerConfigError`.
pub fn spec(
    host: &Host,
    pod: &Pod,
    container: &Container,
    image: &Image,
    attempt: u32,
    around: Around<'_>,
) -> Result<ContainerSpec, String> {
    let place = host.place(around.pod_ips);
    let mut env = build(pod, container, around.found, &place, around.links).map_err(|it| it.to_string())?;
    let mut mounts = host.volumes.mounts(pod, container, &env)?;
    if !host.runtime.runs_nothing() {
        let at = |path: &str| mounts.iter().any(|it| Path::new(&it.container_path) == Path::new(path));
        let own_hosts = if at(hosts::PATH) { None } else { hosts_file(host, pod, around.pod_ips)? };
        let last_words = termination::mount(host, pod, container, attempt)?;
        mounts.extend(own_hosts.into_iter().chain(last_words));
    }
    let command = expand_all(container.command.as_ref(), &env);
    let args = expand_all(container.args.as_ref(), &env);
    if !env.iter().any(|(name, _)| name == "HOSTNAME") {
        env.push(("HOSTNAME".to_owned(), hostname(pod)));
    }
    let own = container.security_context.clone().unwrap_or_default();
    let shared = pod_spec(pod).and_then(|it| it.security_context.clone()).unwrap_or_default();
    let user = user(&own, &shared);
    check_non_root(container, image, &own, &shared, user.as_deref())?;
    let privileged = own.privileged.unwrap_or(false);
    let capabilities = own.capabilities.clone().unwrap_or_default();
    let mut groups = shared.supplemental_groups.clone().unwrap_or_default();
    groups.extend(shared.fs_group);
    let name = |it: String| it.trim_start_matches("CAP_").to_owned();
    Ok(ContainerSpec {
        pod: pod_ref(pod),
        name: container.name.clone(),
        attempt,
        image: image.id.clone(),
        command,
        args,
        working_dir: container.working_dir.clone().filter(|it| !it.is_empty()),
        env,
        mounts,
        resources: resources::of_container(pod, container, host.memory_bytes),
        user,
        supplementary_groups: groups,
        privileged,
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        no_new_privileges: own.allow_privilege_escalation == Some(false) && !privileged,
        capabilities_add: capabilities.add.into_iter().flatten().map(name).collect(),
        capabilities_drop: capabilities.drop.into_iter().flatten().map(name).collect(),
        tty: container.tty.unwrap_or(false),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        processes: Processes::Own,
        seccomp: seccomp(host, &own, &shared)?,
        pids_limit: host.pids_limit,
    })
}

/// The mount of the file that names the pod and its aliases, written anew for each container as the kubelet does; none while the pod has no address.
fn hosts_file(host: &Host, pod: &Pod, ips: Option<Ips>) -> Result<Option<Mount>, String> {
    let (Some(spec), Some(ips)) = (pod_spec(pod), ips) else { return Ok(None) };
    let folder = host.volumes.of_pod(pod.metadata.uid.as_deref().unwrap_or_default());
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = host.cluster_dns.as_ref().map(|it| it.domain.as_str());
    let of_host = || std::fs::read_to_string(hosts::PATH).unwrap_or_default();
    let text = hosts::of_pod(spec, namespace, &hostname(pod), domain, ips.iter(), of_host);
    let path = folder.join("etc-hosts");
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text));
    let written = written.and_then(|()| std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)));
    written.map_err(|it| format!("{}: {it}", path.display()))?;
    Ok(Some(Mount { host_path: path, container_path: hosts::PATH.to_owned(), ..Mount::default() }))
}

/// The variables of the services that a pod may see. A static pod, which is none `of_api`, gets those that are known.
///
/// # Errors
/// The kubelet's message, until the services have been read.
pub fn service_links(host: &Host, pod: &Pod, of_api: bool) -> Result<Vec<(String, String)>, String> {
    let Some(known) = &host.services else { return Ok(Vec::new()) };
    if of_api && !known.services.is_synced() {
        return Err("services have not yet been read at least once, cannot construct envvars".to_owned());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let enabled = pod_spec(pod).and_then(|it| it.enable_service_links).unwrap_or(true);
    let api_server = known.services.get(&Key::new("default", "kubernetes"));
    Ok(links::of(&known.services.list_in(namespace), api_server.as_deref(), enabled, namespace == "default"))
}

/// `uid` or `uid:gid`; a group without a user needs one, which is root.
fn user(own: &SecurityContext, shared: &PodSecurityContext) -> Option<String> {
    let user = own.run_as_user.or(shared.run_as_user);
    let group = own.run_as_group.or(shared.run_as_group);
    match (user, group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user.to_string()),
        (None, Some(group)) => Some(format!("0:{group}")),
        (None, None) => None,
    }
}

/// The container's profile or else the pod's; without either the runtime's own, where Kubernetes has none unless its nodes are told to.
///
/// # Errors
/// A profile whose name leads out of the folder of profiles. The API server refuses that before.
fn seccomp(host: &Host, own: &SecurityContext, shared: &PodSecurityContext) -> Result<Seccomp, String> {
    let Some(profile) = own.seccomp_profile.as_ref().or(shared.seccomp_profile.as_ref()) else {
        return Ok(Seccomp::RuntimeDefault);
    };
    Ok(match profile.type_.as_str() {
        "Unconfined" => Seccomp::Unconfined,
        "Localhost" => {
            let name = Path::new(profile.localhost_profile.as_deref().unwrap_or_default());
            if !name.components().all(|it| matches!(it, Component::Normal(_))) || name.as_os_str().is_empty() {
                return Err(format!("seccomp profile {name:?} must be a relative path without \"..\""));
            }
            Seccomp::Profile(host.seccomp_profiles.join(name))
        }
        _ => Seccomp::RuntimeDefault,
    })
}

/// `runAsNonRoot`, with the kubelet's messages.
fn check_non_root(
    container: &Container,
    image: &Image,
    own: &SecurityContext,
    shared: &PodSecurityContext,
    user: Option<&str>,
) -> Result<(), String> {
    if own.run_as_non_root.or(shared.run_as_non_root) != Some(true) {
        return Ok(());
    }
    let from_image = image.user.as_deref().filter(|it| !it.is_empty());
    let name = user.or(from_image).unwrap_or("0").split(':').next().unwrap_or("0");
    match name.parse::<i64>() {
        Ok(0) if user.is_some() => {
            Err(format!("container's runAsUser breaks non-root policy (container: {:?})", container.name))
        }
        Ok(0) => {
            Err(format!("container has runAsNonRoot and image will run as root (container: {:?})", container.name))
        }
        Ok(_) => Ok(()),
        Err(_) if name == "root" => {
            Err(format!("container has runAsNonRoot and image will run as root (container: {:?})", container.name))
        }
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root (container: {:?})",
            container.name
        )),
    }
}
