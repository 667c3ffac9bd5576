//! What the agent keeps of Services and EndpointSlices, and where.
//!
//! Two informers fill two stores, which the rules ([`super::keeper`]), the names ([`crate::dns`]) and the containers' environment read. A
//! store keeps what it knew while the API server is away, so all three go on with the last known state.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::core::ObjectMeta;
use orlop_client::{Informer, Key, Store};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

/// Names the service of a slice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Set on services whose proxy is another program (KEP-2447).
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";

const ZONE: &str = "topology.kubernetes.io/zone";

const BY_SERVICE: &str = "service";
const BY_ADDRESS: &str = "address";

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceView {
    pub metadata: ObjectMeta,
    pub spec: ServiceSpec,
    pub status: ServiceStatus,
}
orlop_client::view!(ServiceView: core::Service);

/// A service's spec, as far as it says where packets and names lead.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    #[serde(rename = "type")]
    pub type_: Option<String>,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: Option<String>,
    #[serde(rename = "clusterIPs")]
    pub cluster_ips: Option<Vec<String>>,
    #[serde(rename = "externalIPs")]
    pub external_ips: Option<Vec<String>>,
    pub load_balancer_source_ranges: Option<Vec<String>>,
    pub ports: Option<Vec<ServicePort>>,
    pub session_affinity: Option<String>,
    pub session_affinity_config: Option<AffinityConfig>,
    pub internal_traffic_policy: Option<String>,
    pub external_traffic_policy: Option<String>,
    pub external_name: Option<String>,
    pub publish_not_ready_addresses: Option<bool>,
}

/// A port of a service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServicePort {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub port: u16,
    pub node_port: Option<u16>,
}

/// How long clients keep their endpoint (`sessionAffinityConfig`).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AffinityConfig {
    #[serde(rename = "clientIP")]
    pub client_ip: Option<ClientAffinity>,
}

/// The same, for affinity by address; the time is in seconds since the last connection.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientAffinity {
    pub timeout_seconds: Option<u32>,
}

/// A service's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    pub load_balancer: LoadBalancer,
}

/// Where a service's balancer is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LoadBalancer {
    pub ingress: Option<Vec<Ingress>>,
}

/// One address of a balancer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Ingress {
    pub ip: Option<String>,
    /// `Proxy`: the balancer changes the destination itself, and packets to its address do not come here (KEP-1860).
    pub ip_mode: Option<String>,
}

impl ServiceView {
    /// The key of the service.
    pub fn key(&self) -> Key {
        let text = |it: &Option<String>| it.clone().unwrap_or_default();
        Key::new(&text(&self.metadata.namespace), &text(&self.metadata.name))
    }

    /// The service's own addresses; none for a headless one or an alias.
    pub fn cluster_ips(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let several = self.spec.cluster_ips.iter().flatten();
        let one = self.spec.cluster_ip.iter().filter(|_| self.spec.cluster_ips.as_ref().is_none_or(Vec::is_empty));
        several.chain(one).filter(|_| !self.is_alias()).filter_map(|it| it.parse().ok())
    }

    /// Whether clients get the endpoints' own addresses (`clusterIP: None`).
    pub fn is_headless(&self) -> bool {
        self.spec.cluster_ip.as_deref() == Some("None")
    }

    /// Whether it is another name for something (`type: ExternalName`).
    pub fn is_alias(&self) -> bool {
        self.spec.type_.as_deref() == Some("ExternalName")
    }

    /// Whether another program than this agent proxies it.
    pub fn is_others(&self) -> bool {
        self.metadata.labels.iter().flatten().any(|it| it.0 == OTHER_PROXY)
    }

    /// The ports, in their order.
    pub fn ports(&self) -> &[ServicePort] {
        self.spec.ports.as_deref().unwrap_or_default()
    }
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SliceView {
    pub metadata: ObjectMeta,
    pub address_type: String,
    pub endpoints: Option<Vec<Endpoint>>,
    pub ports: Option<Vec<EndpointPort>>,
}
orlop_client::view!(SliceView: discovery::EndpointSlice);

/// Somebody who answers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Endpoint {
    pub addresses: Vec<String>,
    pub conditions: Conditions,
    pub hostname: Option<String>,
    pub node_name: Option<String>,
    pub hints: Option<Hints>,
}

/// What an endpoint can do; unknown means `ready` and `serving`, and not `terminating`.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Conditions {
    pub ready: Option<bool>,
    pub serving: Option<bool>,
    pub terminating: Option<bool>,
}

/// For whom an endpoint is (KEP-2433, KEP-3015).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Hints {
    pub for_zones: Option<Vec<For>>,
    pub for_nodes: Option<Vec<For>>,
}

/// A zone or a node, by its name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct For {
    pub name: String,
}

/// A port of all endpoints of a slice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointPort {
    pub name: Option<String>,
    pub protocol: Option<String>,
    pub port: Option<u16>,
}

impl SliceView {
    /// The service whose endpoints these are.
    pub fn service(&self) -> Option<Key> {
        let name = self.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
        Some(Key::new(self.metadata.namespace.as_deref().unwrap_or_default(), name))
    }

    /// The endpoints.
    pub fn endpoints(&self) -> &[Endpoint] {
        self.endpoints.as_deref().unwrap_or_default()
    }

    /// The ports that all endpoints have.
    pub fn ports(&self) -> &[EndpointPort] {
        self.ports.as_deref().unwrap_or_default()
    }
}

impl Conditions {
    /// Takes new connections.
    pub fn is_ready(self) -> bool {
        self.ready.unwrap_or(true)
    }

    /// Ends, and answers as long as it lasts (KEP-1669).
    pub fn is_serving_to_the_end(self) -> bool {
        self.terminating.unwrap_or(false) && self.serving.unwrap_or_else(|| self.is_ready())
    }
}

/// What is kept of this node: its labels.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    pub metadata: ObjectMeta,
}
orlop_client::view!(NodeView: core::Node);

/// All Services and EndpointSlices of the cluster, and this node.
#[derive(Clone)]
pub struct Known {
    pub services: Store<ServiceView>,
    pub slices: Store<SliceView>,
    pub nodes: Store<NodeView>,
}

impl Default for Known {
    fn default() -> Self {
        Self::new()
    }
}

impl Known {
    /// Empty stores, to be filled by hand.
    pub fn new() -> Self {
        let (services, slices) = (Store::<ServiceView>::new(), Store::<SliceView>::new());
        services.add_index(BY_ADDRESS, |it| it.cluster_ips().map(|it| it.to_string()).collect());
        slices.add_index(BY_SERVICE, |it| it.service().map(|it| it.to_string()).into_iter().collect());
        slices.add_index(BY_ADDRESS, |it| {
            // Only those with a name of their own are looked for by address.
            let named = it.endpoints().iter().filter(|it| it.hostname.is_some());
            named
                .flat_map(|it| &it.addresses)
                .filter_map(|it| it.parse::<IpAddr>().ok())
                .map(|it| it.to_string())
                .collect()
        });
        Known { services, slices, nodes: Store::new() }
    }

    /// Stores that informers keep up until `shutdown`.
    pub fn follow(client: &kube::Client, node: &str, shutdown: &CancellationToken) -> Self {
        let known = Known::new();
        Informer::<ServiceView>::new(client.clone()).into_store(known.services.clone()).start(shutdown.clone());
        Informer::<SliceView>::new(client.clone()).into_store(known.slices.clone()).start(shutdown.clone());
        let node = format!("metadata.name={node}");
        Informer::<NodeView>::new(client.clone()).fields(&node).into_store(known.nodes.clone()).start(shutdown.clone());
        known
    }

    /// Whether both stores have seen all there is.
    pub fn is_synced(&self) -> bool {
        self.services.is_synced() && self.slices.is_synced()
    }

    /// Waits until all stores have seen all there is.
    pub async fn synced(&self) {
        self.nodes.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
    }

    /// The node's zone, if it has one.
    pub fn zone(&self, node: &str) -> Option<String> {
        self.nodes.get(&Key::new("", node))?.metadata.labels.as_ref()?.get(ZONE).cloned()
    }

    /// The slices of a service.
    pub fn slices_of(&self, service: &Key) -> Vec<std::sync::Arc<SliceView>> {
        self.slices.by_index(BY_SERVICE, &service.to_string())
    }

    /// The services that have an address for their own.
    pub fn services_at(&self, address: IpAddr) -> Vec<std::sync::Arc<ServiceView>> {
        self.services.by_index(BY_ADDRESS, &address.to_string())
    }

    /// The slices with an endpoint of a name of its own at an address.
    pub fn slices_at(&self, address: IpAddr) -> Vec<std::sync::Arc<SliceView>> {
        self.slices.by_index(BY_ADDRESS, &address.to_string())
    }
}
