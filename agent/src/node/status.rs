//! What the Node says of its machine: names, size, addresses, conditions, images.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerImage, DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::quantity::{Format, Quantity as Amount};
use orlop_client::storage::LOCAL_FOLDER;
use serde_json::Value;

use super::capacity::{Capacity, Pressure, text};
use super::huge_pages;
use crate::admission::Allocatable;
use crate::machine::status::time;
use crate::network::ips::Ips;
use crate::power_off::{NODE_MESSAGE, PowerOff};
use crate::pressure::Board;
use crate::runtime::Runtime;
use crate::volumes::folders::Folders;

/// Images that a Node lists, as the kubelet's `nodeStatusMaxImages`.
const IMAGES: usize = 50;
/// Names (tags and digests) that an image is listed with.
const IMAGE_NAMES: usize = 5;

/// What does not change of a node while its agent runs.
#[derive(Clone, Debug)]
pub struct About {
    pub name: String,
    pub addresses: Ips,
    pub capacity: Capacity,
    pub allocatable: Allocatable,
    /// What it is short of; none of a node that runs nothing.
    pub pressure: Option<Board>,
    /// Whether its machine goes down.
    pub power_off: PowerOff,
    pub data_dir: PathBuf,
    /// The port for logs, as it was bound; none where there is none.
    pub port: Option<u16>,
}

/// The architecture as Go names it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        it => it,
    }
}

impl About {
    /// The labels every node has.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels: BTreeMap<String, String> = BTreeMap::new();
        for prefix in ["kubernetes.io", "beta.kubernetes.io"] {
            labels.insert(format!("{prefix}/os"), "linux".into());
            labels.insert(format!("{prefix}/arch"), architecture().into());
        }
        labels.insert("kubernetes.io/hostname".into(), self.name.clone());
        labels
    }

    /// Where the node keeps volumes that are folders, for who makes such.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        let folder = Folders::new(&self.data_dir).root().display().to_string();
        BTreeMap::from([(LOCAL_FOLDER.to_owned(), folder)])
    }

    /// The Node's metadata at its creation.
    pub fn metadata(&self) -> ObjectMeta {
        ObjectMeta {
            name: Some(self.name.clone()),
            labels: Some(self.labels()),
            annotations: Some(self.annotations()),
            ..ObjectMeta::default()
        }
    }

    /// The status now. Conditions of `old` that have not changed keep their times.
    pub async fn status(&self, old: &Node, runtime: &Arc<dyn Runtime>, now: Timestamp) -> NodeStatus {
        let info = runtime.info().await;
        let images = runtime.images().await.unwrap_or_default();
        let pressure = self.pressure.as_ref().map(Board::now).unwrap_or_default();
        let down = match &info {
            Ok(it) => it.trouble.clone(),
            Err(error) => Some(format!("container runtime is down: {error}")),
        };
        let going = self.power_off.is_asked().then(|| NODE_MESSAGE.to_owned());
        let trouble = match (down, going) {
            (Some(down), Some(going)) => Some(format!("[{down}, {going}]")),
            (down, going) => down.or(going),
        };
        let info = info.unwrap_or_default();
        NodeStatus {
            capacity: Some(resources(&Allocatable {
                cpu_milli: self.capacity.cpu.saturating_mul(1000),
                memory_bytes: self.capacity.memory_bytes,
                disk_bytes: self.capacity.disk_bytes,
                pods: self.capacity.pods,
                huge_pages: self.capacity.huge_pages.clone(),
            })),
            allocatable: Some(resources(&self.allocatable)),
            addresses: Some(self.addresses()),
            conditions: Some(conditions(old, pressure, trouble, now)),
            daemon_endpoints: self
                .port
                .map(|it| NodeDaemonEndpoints { kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(it) }) }),
            node_info: Some(self.info(&format!("{}://{}", info.name, info.version))),
            images: Some(list(images)),
            ..NodeStatus::default()
        }
    }

    fn addresses(&self) -> Vec<NodeAddress> {
        let own = self.addresses.iter().map(|it| ("InternalIP", it.to_string()));
        let all = own.chain([("Hostname", self.name.clone())]);
        all.map(|(type_, address)| NodeAddress { type_: type_.into(), address }).collect()
    }

    fn info(&self, runtime: &str) -> NodeSystemInfo {
        let os = text("/etc/os-release");
        let os =
            os.lines().find_map(|it| it.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"').to_owned();
        let version = format!("v1.35.0+orlop-{}", env!("CARGO_PKG_VERSION"));
        NodeSystemInfo {
            architecture: architecture().into(),
            operating_system: "linux".into(),
            os_image: os,
            kernel_version: text("/proc/sys/kernel/osrelease"),
            boot_id: text("/proc/sys/kernel/random/boot_id"),
            machine_id: text("/etc/machine-id"),
            system_uuid: text("/sys/class/dmi/id/product_uuid"),
            container_runtime_version: runtime.to_owned(),
            kubelet_version: version,
            ..NodeSystemInfo::default()
        }
    }
}

/// Amounts as a Node lists them.
fn resources(of: &Allocatable) -> BTreeMap<String, Quantity> {
    let cpu = match of.cpu_milli % 1000 {
        0 => (of.cpu_milli / 1000).to_string(),
        _ => format!("{}m", of.cpu_milli),
    };
    let mut all = BTreeMap::from([
        ("cpu".to_owned(), Quantity(cpu)),
        ("memory".to_owned(), Quantity(format!("{}Ki", of.memory_bytes / 1024))),
        ("pods".to_owned(), Quantity(of.pods.to_string())),
    ]);
    let pages = of.huge_pages.iter();
    all.extend(pages.map(|(size, bytes)| {
        let bytes = Amount::from_units(*bytes, Format::BinarySi);
        (huge_pages::name_of(*size), Quantity(bytes.to_string()))
    }));
    if of.disk_bytes > 0 {
        all.insert("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", of.disk_bytes / 1024)));
    }
    all
}

/// The four conditions, with the kubelet's words.
pub fn conditions(old: &Node, pressure: Pressure, trouble: Option<String>, now: Timestamp) -> Vec<NodeCondition> {
    let told = |kind: &str, bad: bool, yes: (&str, &str), no: (&str, &str)| {
        let (reason, message) = if bad { yes } else { no };
        (kind.to_owned(), bad, reason.to_owned(), message.to_owned())
    };
    let ready = match trouble {
        None => ("Ready".to_owned(), true, "KubeletReady".to_owned(), "kubelet is posting ready status".to_owned()),
        Some(why) => ("Ready".to_owned(), false, "KubeletNotReady".to_owned(), why),
    };
    let all = [
        told(
            "MemoryPressure",
            pressure.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        told(
            "DiskPressure",
            pressure.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        told(
            "PIDPressure",
            pressure.pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ready,
    ];
    let before = old.status.as_ref().and_then(|it| it.conditions.as_deref()).unwrap_or_default();
    let own = all.into_iter().map(|(kind, holds, reason, message)| {
        let status = if holds { "True" } else { "False" };
        let same = before.iter().find(|it| it.type_ == kind && it.status == status);
        NodeCondition {
            last_heartbeat_time: Some(time(now)),
            last_transition_time: same.and_then(|it| it.last_transition_time.clone()).or_else(|| Some(time(now))),
            status: status.to_owned(),
            reason: Some(reason),
            message: Some(message),
            type_: kind,
        }
    });
    let mut all: Vec<_> = own.collect();
    // A merge patch replaces the list: what others say of the node is said again.
    let foreign: Vec<_> = before.iter().filter(|it| all.iter().all(|own| own.type_ != it.type_)).cloned().collect();
    all.extend(foreign);
    all
}

/// The largest images, each with a few of its names.
fn list(mut images: Vec<crate::runtime::Image>) -> Vec<ContainerImage> {
    images.sort_by_key(|it| std::cmp::Reverse(it.size_bytes));
    let named = images.into_iter().filter(|it| !it.tags.is_empty() || !it.digests.is_empty());
    let listed = named.take(IMAGES).map(|it| ContainerImage {
        names: Some(it.digests.into_iter().chain(it.tags).take(IMAGE_NAMES).collect()),
        size_bytes: i64::try_from(it.size_bytes).ok(),
    });
    listed.collect()
}

/// A status without its heartbeats, to tell whether it says something new.
pub fn without_times(status: &NodeStatus) -> Value {
    let mut status = status.clone();
    for it in status.conditions.iter_mut().flatten() {
        it.last_heartbeat_time = None;
    }
    serde_json::to_value(status).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_keep_their_times_and_those_of_others() {
        let at = |it: i64| Timestamp::from_second(it).unwrap();
        let first = conditions(&Node::default(), Pressure::default(), None, at(100));
        let status = NodeStatus { conditions: Some(first), ..NodeStatus::default() };
        let mut node = Node { status: Some(status), ..Node::default() };
        let foreign = NodeCondition { type_: "Strange".into(), status: "True".into(), ..NodeCondition::default() };
        node.status.as_mut().unwrap().conditions.as_mut().unwrap().push(foreign);
        let memory = Pressure { memory: true, ..Pressure::default() };
        let then = conditions(&node, memory, None, at(200));
        let since = |it: &NodeCondition| it.last_transition_time.as_ref().map(|it| it.0.as_second());
        let told: Vec<_> = then.iter().map(|it| (it.type_.as_str(), it.status.as_str(), since(it))).collect();
        let expected = [
            ("MemoryPressure", "True", Some(200)),
            ("DiskPressure", "False", Some(100)),
            ("PIDPressure", "False", Some(100)),
            ("Ready", "True", Some(100)),
            ("Strange", "True", None),
        ];
        assert_eq!(told, expected);
    }
}
