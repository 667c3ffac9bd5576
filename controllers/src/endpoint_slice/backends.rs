//! The backends of a service: each pod that its selector finds, with the ports that the service's ports mean there.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ServicePort;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use orlop_client::Key;
use serde_json::{Value, json};

use crate::runtime::Wires;
use crate::view::*;
use crate::world::World;

/// The label of a node that names its zone.
pub const ZONE: &str = "topology.kubernetes.io/zone";
/// The types of slices, which are families of addresses.
pub const V4: &str = "IPv4";
const V6: &str = "IPv6";
const HEADLESS: &str = "service.kubernetes.io/headless";
/// When what an object shows changed first.
pub const TRIGGER: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// One pod behind a service.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The pod's uid.
    pub uid: String,
    /// Its entry in a slice.
    pub endpoint: Value,
    /// The ports, as a slice lists them.
    pub ports: Value,
    /// Whether it takes new connections.
    pub ready: bool,
    /// When its pod became ready, or ceased to be.
    pub changed: Option<Timestamp>,
}

/// Wakes the services that select a pod, or did before it changed.
pub fn wake_services(world: &World, wires: &Wires) {
    let services = world.services.clone();
    wires.on(&world.pods, move |change| {
        // Most changes of a pod are none of its address, or are made before it has one.
        let (old, new) =
            (change.old.as_deref().filter(|it| is_shown(it)), change.new.as_deref().filter(|it| is_shown(it)));
        if old.map(shown) == new.map(shown) {
            return Vec::new();
        }
        let all = services.list_in(change.key.namespace());
        let selected =
            |it: &ServiceView| [old, new].into_iter().flatten().any(|pod| selects(it, labels_of(&pod.metadata)));
        all.iter().filter(|it| selected(it)).map(|it| key_of(&it.metadata)).collect()
    });
}

/// Whether the pod has an address to show.
fn is_shown(pod: &PodView) -> bool {
    !pod.status.pod_ip.is_empty() && !pod.is_terminated()
}

/// The families of a service's addresses, the primary first. Source: `getAddressTypesForService` of Kubernetes' `endpointslice`.
pub fn families(service: &ServiceView) -> Vec<&'static str> {
    let named = |it: &String| if it == V6 { V6 } else { V4 };
    match service.spec.ip_families.as_slice() {
        [] if service.spec.cluster_ip.contains(':') => vec![V6],
        [] => vec![V4],
        several => several.iter().map(named).collect(),
    }
}

/// The pod's address of a family.
fn address_of(pod: &PodView, family: &str) -> Option<String> {
    let (first, second) = (&pod.status.pod_ip, pod.status.second_ip);
    if !first.is_empty() && first.contains(':') == (family == V6) {
        return Some(first.clone());
    }
    second.filter(|it| it.is_ipv6() == (family == V6)).map(|it| it.to_string())
}

/// Everything of a pod that its services show, beside its ports, which do not change.
fn shown(pod: &PodView) -> impl PartialEq + use<'_> {
    let ready = pod.condition("Ready").map(|it| (it.status.as_str(), it.last_transition_time.as_ref().map(|it| it.0)));
    (
        (uid_of(&pod.metadata), labels_of(&pod.metadata), pod.metadata.deletion_timestamp.is_some()),
        (pod.status.pod_ip.as_str(), pod.status.second_ip, ready),
        (pod.spec.node_name.as_str(), pod.spec.hostname.as_str(), pod.spec.subdomain.as_str()),
    )
}

fn selects(service: &ServiceView, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = service.spec.selector.as_ref().filter(|it| !it.is_empty()) else { return false };
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// The backends of `service` that have an address of a family, in the order of their pods.
pub fn of(service: &ServiceView, world: &World, family: &str) -> Vec<Backend> {
    let all = world.pods.list_in(namespace_of(&service.metadata));
    let mut backends = Vec::new();
    for pod in all {
        if !is_shown(&pod) || !selects(service, labels_of(&pod.metadata)) {
            continue;
        }
        let Some(address) = address_of(&pod, family) else { continue };
        let terminating = pod.metadata.deletion_timestamp.is_some();
        let serving = pod.is_ready();
        let ready = service.spec.publish_not_ready_addresses || (serving && !terminating);
        let mut endpoint = json!({
            "addresses": [address],
            "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
            "targetRef": {
                "kind": "Pod", "namespace": namespace_of(&pod.metadata), "name": name_of(&pod.metadata),
                "uid": uid_of(&pod.metadata),
            },
        });
        if !pod.spec.node_name.is_empty() {
            endpoint["nodeName"] = pod.spec.node_name.as_str().into();
            let node = world.nodes.get(&Key::new("", &pod.spec.node_name));
            if let Some(zone) = node.as_ref().and_then(|it| it.metadata.labels.as_ref()).and_then(|it| it.get(ZONE)) {
                endpoint["zone"] = zone.as_str().into();
            }
        }
        if !pod.spec.hostname.is_empty() && pod.spec.subdomain == name_of(&service.metadata) {
            endpoint["hostname"] = pod.spec.hostname.as_str().into();
        }
        let ports = ports_of(service, &pod);
        let changed = pod.condition("Ready").and_then(|it| it.last_transition_time.as_ref()).map(|it| it.0);
        backends.push(Backend { uid: uid_of(&pod.metadata).to_owned(), endpoint, ports, ready, changed });
    }
    backends
}

/// The service's ports in this pod. A named target port that the pod does not have is left out.
fn ports_of(service: &ServiceView, pod: &PodView) -> Value {
    let ports = service.spec.ports.iter().filter_map(|port| {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        let number = number_in(port, protocol, pod)?;
        let mut entry =
            json!({ "name": port.name.as_deref().unwrap_or_default(), "port": number, "protocol": protocol });
        if let Some(app) = &port.app_protocol {
            entry["appProtocol"] = app.as_str().into();
        }
        Some(entry)
    });
    Value::Array(ports.collect())
}

fn number_in(port: &ServicePort, protocol: &str, pod: &PodView) -> Option<i32> {
    match port.target_port.as_ref() {
        None | Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let beside = pod.spec.init_containers.iter().filter(|it| it.restart_policy == "Always");
            let mut all = pod.spec.containers.iter().chain(beside).flat_map(|it| &it.ports);
            let found = all.find(|it| it.name == *name && (it.protocol == protocol || it.protocol.is_empty()));
            found.map(|it| it.container_port)
        }
    }
}

/// Whether clients find the backends themselves: the service has no address.
pub fn is_headless(service: &ServiceView) -> bool {
    matches!(service.spec.cluster_ip.as_str(), "" | "None")
}

/// The labels of what shows the backends: the service's own but the `reserved` ones, and whether it is headless.
pub fn service_labels(service: &ServiceView, reserved: &[&str]) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.retain(|key, _| key != HEADLESS && !reserved.contains(&key.as_str()));
    if is_headless(service) {
        labels.insert(HEADLESS.to_owned(), String::new());
    }
    labels
}

/// A merge patch that makes `old` labels the `new` ones; null where they are.
pub fn labels_patch(old: Option<&BTreeMap<String, String>>, new: &BTreeMap<String, String>) -> Value {
    let gone = old.into_iter().flatten().filter(|(key, _)| !new.contains_key(*key)).map(|(key, _)| (key, Value::Null));
    let set = new.iter().filter(|(key, value)| old.and_then(|it| it.get(*key)) != Some(*value));
    let patch: serde_json::Map<_, _> =
        gone.chain(set.map(|(k, v)| (k, v.as_str().into()))).map(|(k, v)| (k.clone(), v)).collect();
    if patch.is_empty() { Value::Null } else { patch.into() }
}

/// When the first of these changes happened, as clients measure how long it takes to reach them.
pub fn trigger(changes: impl IntoIterator<Item = Option<Timestamp>>) -> Value {
    changes.into_iter().flatten().min().map(|it| it.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).into()
}

/// The backends by their ports, as canonical text: pods may give different numbers to the same name.
pub fn grouped(backends: Vec<Backend>) -> BTreeMap<String, Vec<Backend>> {
    let mut groups: BTreeMap<String, Vec<Backend>> = BTreeMap::new();
    for backend in backends {
        groups.entry(canonical_ports(&backend.ports)).or_default().push(backend);
    }
    groups
}

/// The text under which equal ports are equal; it is JSON.
pub fn canonical_ports(ports: &Value) -> String {
    let mut ports: Vec<Value> = ports.as_array().cloned().unwrap_or_default();
    for port in &mut ports {
        if let Some(fields) = port.as_object_mut() {
            fields.retain(|_, value| !value.is_null());
            fields.entry("name").or_insert_with(|| "".into());
        }
    }
    ports.sort_by_key(|it| (it["name"].to_string(), it["port"].to_string(), it["protocol"].to_string()));
    Value::Array(ports).to_string()
}

/// Endpoints in the order of their pods, for comparison.
pub fn sorted(endpoints: &Value) -> Vec<Value> {
    let mut all = endpoints.as_array().cloned().unwrap_or_default();
    all.sort_by_key(|it| it["targetRef"]["uid"].to_string());
    all
}
