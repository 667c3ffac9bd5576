//! Whether this node takes a pod that was bound to it: the last check, against what already runs here.
//!
//! The scheduler decided on a snapshot that may have been old, and a pod may name its node itself. Pure; the words are the kubelet's.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ContainerPort, Pod};

use crate::machine::Rejection;
use crate::machine::resize::Share;
use crate::machine::world::{app_containers, host_network, spec};
use crate::node::huge_pages;
use crate::resources::{huge_page_sizes, pod_request};

/// The reason of a pod that the node's labels do not suit.
pub const NODE_AFFINITY: &str = "NodeAffinity";

/// Which settings of the kernel a pod may have, and whether they are of its network's or its memory's: the kubelet's list for kernels from 4.15
/// on (`pkg/kubelet/sysctl/safe_sysctls.go`).
const SAFE_SYSCTLS: [(&str, Of); 12] = [
    ("kernel.shm_rmid_forced", Of::Ipc),
    ("net.ipv4.ip_local_port_range", Of::Net),
    ("net.ipv4.tcp_syncookies", Of::Net),
    ("net.ipv4.ping_group_range", Of::Net),
    ("net.ipv4.ip_unprivileged_port_start", Of::Net),
    ("net.ipv4.ip_local_reserved_ports", Of::Net),
    ("net.ipv4.tcp_keepalive_time", Of::Net),
    ("net.ipv4.tcp_fin_timeout", Of::Net),
    ("net.ipv4.tcp_keepalive_intvl", Of::Net),
    ("net.ipv4.tcp_keepalive_probes", Of::Net),
    ("net.ipv4.tcp_rmem", Of::Net),
    ("net.ipv4.tcp_wmem", Of::Net),
];

/// The namespace that a setting is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Ipc,
    Net,
}

/// What the node hands out. CPU in thousandths of a core.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allocatable {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    /// Of the disk, for what pods write and log.
    pub disk_bytes: i64,
    pub pods: i64,
    /// Huge pages in bytes, by the size of a page.
    pub huge_pages: BTreeMap<u64, i64>,
}

/// Checks a pod against those that were taken before it, and what these have been `given` as far as that is known: the API may not know it yet.
///
/// # Errors
/// The reason and message with which the pod goes to phase Failed.
pub fn admit<'a>(
    pod: &Pod,
    taken: impl Iterator<Item = &'a Pod> + Clone,
    given: Share,
    allocatable: &Allocatable,
    node_labels: &BTreeMap<String, String>,
) -> Result<(), Rejection> {
    sysctls(pod)?;
    let count = i64::try_from(taken.clone().count()).unwrap_or(i64::MAX);
    if count >= allocatable.pods {
        return Err(short("pods", 1, count, allocatable.pods));
    }
    let of = [
        ("cpu".to_owned(), given.cpu_milli, allocatable.cpu_milli),
        ("memory".to_owned(), given.memory_bytes, allocatable.memory_bytes),
        ("ephemeral-storage".to_owned(), 0, allocatable.disk_bytes),
    ];
    let sizes = huge_page_sizes(pod).into_iter();
    let pages = sizes.map(|it| (huge_pages::name_of(it), 0, allocatable.huge_pages.get(&it).copied().unwrap_or(0)));
    for (resource, given, capacity) in of.into_iter().chain(pages) {
        let wanted = pod_request(pod, &resource);
        let used = taken.clone().map(|it| pod_request(it, &resource)).sum::<i64>().max(given);
        if wanted > 0 && wanted.saturating_add(used) > capacity {
            return Err(short(&resource, wanted, used, capacity));
        }
    }
    let selector = pod.spec.as_ref().and_then(|it| it.node_selector.as_ref());
    if selector.into_iter().flatten().any(|(key, value)| node_labels.get(key) != Some(value)) {
        let message = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector";
        return Err(Rejection { reason: NODE_AFFINITY.into(), message: message.into() });
    }
    let own = host_ports(pod);
    if taken.flat_map(host_ports).any(|other| own.iter().any(|it| collide(it, &other))) {
        let message = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
        return Err(Rejection { reason: "NodePorts".into(), message: message.into() });
    }
    Ok(())
}

/// A pod changes only its own kernel's settings, and only those that harm no other pod.
fn sysctls(pod: &Pod) -> Result<(), Rejection> {
    let spec = spec(pod);
    let host_ipc = spec.and_then(|it| it.host_ipc).unwrap_or(false);
    let context = spec.and_then(|it| it.security_context.as_ref());
    for it in context.and_then(|it| it.sysctls.as_ref()).into_iter().flatten() {
        let name = dotted(&it.name);
        let why = match SAFE_SYSCTLS.iter().find(|it| it.0 == name).map(|it| it.1) {
            None => "not allowlisted",
            Some(Of::Ipc) if host_ipc => "not allowed with host ipc enabled",
            Some(Of::Net) if host_network(pod) => "not allowed with host net enabled",
            Some(_) => continue,
        };
        let message = format!("forbidden sysctl: {name:?} {why}");
        return Err(Rejection { reason: "SysctlForbidden".into(), message });
    }
    Ok(())
}

/// A setting's name with dots, as which it may be written with slashes, too: then its dots are part of a name.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']).map(|at| &name[at..=at]) {
        Some("/") => name
            .chars()
            .map(|it| match it {
                '/' => '.',
                '.' => '/',
                it => it,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

fn short(resource: &str, requested: i64, used: i64, capacity: i64) -> Rejection {
    Rejection {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Node didn't have enough resource: {resource}, requested: {requested}, used: {used}, capacity: {capacity}"
        ),
    }
}

/// The ports of the host that a pod asks for.
pub fn host_ports(pod: &Pod) -> Vec<ContainerPort> {
    let ports = app_containers(pod).iter().flat_map(|it| it.ports.iter().flatten());
    ports.filter(|it| it.host_port.is_some_and(|it| it > 0)).cloned().collect()
}

fn collide(a: &ContainerPort, b: &ContainerPort) -> bool {
    let address = |it: &ContainerPort| it.host_ip.clone().filter(|it| !it.is_empty() && it != "0.0.0.0");
    let protocol = |it: &ContainerPort| it.protocol.clone().unwrap_or_else(|| "TCP".into());
    let addresses_meet = match (address(a), address(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    a.host_port == b.host_port && protocol(a) == protocol(b) && addresses_meet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({ "spec": spec })).unwrap()
    }

    fn check(new: serde_json::Value, taken: &[serde_json::Value], expected: Option<&str>) {
        let taken: Vec<Pod> = taken.iter().cloned().map(pod).collect();
        let huge_pages = BTreeMap::from([(2 << 20, 8 << 20)]);
        let node = Allocatable { cpu_milli: 1000, memory_bytes: 1 << 30, disk_bytes: 1 << 30, pods: 3, huge_pages };
        let refused = admit(&pod(new), taken.iter(), Share::default(), &node, &BTreeMap::new()).err();
        assert_eq!(refused.as_ref().map(|it| it.reason.as_str()), expected);
    }

    #[test]
    fn a_pod_is_taken_while_there_is_room() {
        let with_port = |port: u16, ip: &str| serde_json::json!({"containers": [{"name": "c", "ports": [{"containerPort": 1, "hostPort": port, "hostIP": ip}]}]});
        let cpu =
            |cpu: &str| serde_json::json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]});
        check(cpu("600m"), &[cpu("400m")], None);
        check(cpu("600m"), &[cpu("401m")], Some("OutOfcpu"));
        // One of them was just given more than the API knows.
        let given = Share { cpu_milli: 401, memory_bytes: 0 };
        let node = Allocatable { cpu_milli: 1000, pods: 3, ..Allocatable::default() };
        let refused = admit(&pod(cpu("600m")), [pod(cpu("100m"))].iter(), given, &node, &BTreeMap::new()).err();
        assert_eq!(refused.map(|it| it.reason).as_deref(), Some("OutOfcpu"));
        let pages = |name: &str, size: &str| serde_json::json!({"containers": [{"name": "c", "resources": {"limits": {name: size}}}]});
        check(pages("hugepages-2Mi", "4Mi"), &[pages("hugepages-2Mi", "4Mi")], None);
        check(pages("hugepages-2Mi", "6Mi"), &[pages("hugepages-2Mi", "4Mi")], Some("OutOfhugepages-2Mi"));
        check(pages("hugepages-1Gi", "1Gi"), &[], Some("OutOfhugepages-1Gi"));
        check(with_port(80, ""), &[with_port(80, "127.0.0.1")], Some("NodePorts"));
        check(with_port(80, "127.0.0.2"), &[with_port(80, "127.0.0.1")], None);
        check(cpu("0"), &[cpu("0"), cpu("0"), cpu("0")], Some("OutOfpods"));
        check(serde_json::json!({"containers": [], "nodeSelector": {"a": "b"}}), &[], Some("NodeAffinity"));
    }

    #[test]
    fn a_pod_sets_what_is_its_own() {
        let with = |names: &[&str], host: &str| {
            let sysctls: Vec<_> = names.iter().map(|it| serde_json::json!({"name": it, "value": "1"})).collect();
            serde_json::json!({"containers": [], host: true, "securityContext": {"sysctls": sysctls}})
        };
        let good = ["kernel.shm_rmid_forced", "kernel/shm_rmid_forced", "net.ipv4.tcp_syncookies"];
        check(with(&good, "hostPID"), &[], None);
        check(with(&["kernel.shm_rmid_forced", "kernel.msgmax"], "hostPID"), &[], Some("SysctlForbidden"));
        check(with(&good, "hostIPC"), &[], Some("SysctlForbidden"));
        check(with(&["net.ipv4.tcp_syncookies"], "hostNetwork"), &[], Some("SysctlForbidden"));
    }
}
