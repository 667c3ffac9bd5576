//! What the agent keeps of NetworkPolicies, Pods and Namespaces, and where.
//!
//! Nothing of the cluster's pods and namespaces is kept before there is a policy. Of a pod its labels, addresses and named ports are kept:
//! some hundred bytes instead of tens of kilobytes.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::ObjectMeta;
use orlop_client::{Informer, Key, Store};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::services::protocol::Protocol;

/// A pod, as a peer or as one that policies select.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "core::Pod")]
pub struct PodView {
    /// Name, namespace, uid, version, labels.
    pub metadata: ObjectMeta,
    /// The node it runs on.
    pub node: String,
    /// None if it is on its node's network or has ended: its address may be another's then.
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<NamedPort>,
}
orlop_client::view!(PodView: core::Pod);

/// A port of a container that has a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NamedPort {
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
}

impl From<core::Pod> for PodView {
    fn from(pod: core::Pod) -> Self {
        let (spec, status) = (pod.spec.unwrap_or_default(), pod.status.unwrap_or_default());
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let has_address = !over && !spec.host_network.unwrap_or(false);
        let several = status.pod_ips.iter().flatten().map(|it| it.ip.as_str());
        let one = status.pod_ip.as_deref().filter(|_| status.pod_ips.as_ref().is_none_or(Vec::is_empty));
        let addresses = several.chain(one).filter(|_| has_address).filter_map(|it| it.parse().ok()).collect();
        // Init containers that stay serve as long as the others (KEP-753).
        let staying = spec.init_containers.iter().flatten().filter(|it| it.restart_policy.as_deref() == Some("Always"));
        let ports = staying.chain(&spec.containers).flat_map(|it| it.ports.iter().flatten()).filter_map(|it| {
            Some(NamedPort {
                name: it.name.clone().filter(|it| !it.is_empty())?,
                protocol: Protocol::of(it.protocol.as_deref()),
                port: u16::try_from(it.container_port).ok()?,
            })
        });
        let ports = ports.collect();
        PodView { metadata: slim(pod.metadata), node: spec.node_name.unwrap_or_default(), addresses, ports }
    }
}

impl PodView {
    /// The key of the pod.
    pub fn key(&self) -> Key {
        let text = |it: &Option<String>| it.clone().unwrap_or_default();
        Key::new(&text(&self.metadata.namespace), &text(&self.metadata.name))
    }
}

/// A namespace: its labels.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "core::Namespace")]
pub struct NamespaceView {
    pub metadata: ObjectMeta,
}
orlop_client::view!(NamespaceView: core::Namespace);

impl From<core::Namespace> for NamespaceView {
    fn from(it: core::Namespace) -> Self {
        NamespaceView { metadata: slim(it.metadata) }
    }
}

fn slim(metadata: ObjectMeta) -> ObjectMeta {
    let ObjectMeta { namespace, name, uid, resource_version, labels, .. } = metadata;
    ObjectMeta { namespace, name, uid, resource_version, labels, ..ObjectMeta::default() }
}

/// All policies, and, once there is one, all pods and namespaces of the cluster.
#[derive(Clone)]
pub struct Known {
    pub policies: Store<NetworkPolicy>,
    pub pods: Store<PodView>,
    pub namespaces: Store<NamespaceView>,
}

impl Default for Known {
    fn default() -> Self {
        Self::new()
    }
}

impl Known {
    /// Empty stores, to be filled by hand.
    pub fn new() -> Self {
        Known { policies: Store::new(), pods: Store::new(), namespaces: Store::new() }
    }

    /// Has an informer keep up the policies until `shutdown`.
    pub fn follow_policies(&self, client: &kube::Client, shutdown: &CancellationToken) {
        Informer::new(client.clone()).into_store(self.policies.clone()).start(shutdown.clone());
    }

    /// Has informers keep up the pods and namespaces until `shutdown`.
    pub fn follow_peers(&self, client: &kube::Client, shutdown: &CancellationToken) {
        Informer::new(client.clone()).into_store(self.namespaces.clone()).start(shutdown.clone());
        Informer::new(client.clone()).into_store(self.pods.clone()).start(shutdown.clone());
    }

    /// Waits until all stores have seen all there is.
    pub async fn synced(&self) {
        self.policies.synced().await;
        self.namespaces.synced().await;
        self.pods.synced().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value, status: Value, addresses: &[&str], ports: &[(&str, u16)]) {
        let metadata = json!({ "name": "p", "labels": { "a": "b" }, "annotations": { "long": "text" } });
        let it: PodView =
            serde_json::from_value(json!({ "metadata": metadata, "spec": spec, "status": status })).unwrap();
        let found: Vec<String> = it.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(found, addresses, "{spec} {status}");
        let found: Vec<(&str, u16)> = it.ports.iter().map(|it| (it.name.as_str(), it.port)).collect();
        assert_eq!((found.as_slice(), it.metadata.annotations), (ports, None), "{spec}");
    }

    #[test]
    fn a_pod_is_where_it_can_be_reached() {
        let both = json!({ "podIP": "10.0.0.2", "podIPs": [{ "ip": "10.0.0.2" }, { "ip": "fd00::2" }] });
        check(json!({ "containers": [] }), both.clone(), &["10.0.0.2", "fd00::2"], &[]);
        check(json!({ "containers": [] }), json!({ "podIP": "10.0.0.2" }), &["10.0.0.2"], &[]);
        check(json!({ "containers": [], "hostNetwork": true }), both, &[], &[]);
        check(json!({ "containers": [] }), json!({ "podIP": "10.0.0.2", "phase": "Succeeded" }), &[], &[]);
        let ports = |name: &str| json!([{ "name": name, "containerPort": 80 }, { "containerPort": 81 }]);
        let spec = json!({
            "containers": [{ "name": "a", "ports": ports("web") }],
            "initContainers": [
                { "name": "b", "ports": ports("gone") },
                { "name": "c", "ports": ports("side"), "restartPolicy": "Always" }
            ],
        });
        check(spec, json!({}), &[], &[("side", 80), ("web", 80)]);
    }
}
