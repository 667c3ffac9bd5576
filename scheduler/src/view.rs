//! The parts of pods and nodes that placement depends on, decoded straight from the API's JSON.
//!
//! A whole typed pod takes some 30 kB; the views here hold only what a filter or score reads, so that a scheduler of 10,000 pods fits in
//! a few MiB. They know nothing of the cluster's state; [`crate::snapshot`] turns them into its own numbers.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, PreferredSchedulingTerm, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;

/// Quantities by resource name, as `resources.requests` holds them.
pub type Quantities = BTreeMap<String, Quantity>;

/// A pod as the scheduler sees it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PodView {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: PodSpecView,
    #[serde(default)]
    pub status: PodStatusView,
}

/// What placement reads of a pod's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpecView {
    pub node_name: Option<Box<str>>,
    pub scheduler_name: Option<Box<str>>,
    pub priority: Option<i32>,
    pub containers: Vec<ContainerView>,
    pub init_containers: Vec<ContainerView>,
    /// What the pod as a whole asks for.
    pub resources: ResourcesView,
    pub overhead: Option<Quantities>,
    pub node_selector: Option<BTreeMap<String, String>>,
    pub affinity: Option<Box<AffinityView>>,
    pub tolerations: Vec<Toleration>,
    pub scheduling_gates: Vec<GateView>,
    /// Of its volumes those that are claims.
    #[serde(deserialize_with = "claim_uses")]
    pub volumes: Vec<ClaimUse>,
    pub host_network: bool,
}

/// A volume that is a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimUse {
    /// The claim of this name.
    Named(Box<str>),
    /// The claim that is made for the pod's volume of this name.
    Made(Box<str>),
}

/// The claims among a pod's volumes; the others are dropped.
fn claim_uses<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<ClaimUse>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Volume {
        name: Box<str>,
        persistent_volume_claim: Option<Claim>,
        ephemeral: Option<serde::de::IgnoredAny>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Claim {
        claim_name: Box<str>,
    }
    let volumes = Option::<Vec<Volume>>::deserialize(deserializer)?.unwrap_or_default();
    let uses = volumes.into_iter().filter_map(|it| match (it.persistent_volume_claim, it.ephemeral) {
        (Some(claim), _) => Some(ClaimUse::Named(claim.claim_name)),
        (None, Some(_)) => Some(ClaimUse::Made(it.name)),
        (None, None) => None,
    });
    Ok(uses.collect())
}

/// A gate that holds a pod back from scheduling.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GateView {
    pub name: String,
}

/// What placement reads of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerView {
    pub image: Box<str>,
    pub ports: Vec<PortView>,
    pub resources: ResourcesView,
    pub restart_policy: Option<Box<str>>,
}

/// A port of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PortView {
    pub container_port: u16,
    pub host_port: Option<u16>,
    #[serde(rename = "hostIP")]
    pub host_ip: Option<Box<str>>,
    pub protocol: Option<Box<str>>,
}

/// What a container asks for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ResourcesView {
    pub requests: Option<Quantities>,
}

/// A pod's affinity to nodes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AffinityView {
    pub node_affinity: Option<NodeAffinityView>,
}

/// Which nodes a pod needs, and which it would rather have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeAffinityView {
    #[serde(rename = "requiredDuringSchedulingIgnoredDuringExecution")]
    pub required: Option<NodeSelector>,
    #[serde(rename = "preferredDuringSchedulingIgnoredDuringExecution")]
    pub preferred: Vec<PreferredSchedulingTerm>,
}

/// What placement reads of a pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatusView {
    pub phase: Option<Box<str>>,
}

/// A node as the scheduler sees it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NodeView {
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: NodeSpecView,
    #[serde(default)]
    pub status: NodeStatusView,
}

/// What placement reads of a node's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpecView {
    pub unschedulable: bool,
    pub taints: Vec<Taint>,
}

/// What placement reads of a node's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatusView {
    pub allocatable: Quantities,
    pub images: Vec<ImageView>,
}

/// An image that a node has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageView {
    pub names: Vec<Box<str>>,
    pub size_bytes: i64,
}

orlop_client::view!(PodView: k8s_openapi::api::core::v1::Pod);
orlop_client::view!(NodeView: k8s_openapi::api::core::v1::Node);

impl PodView {
    /// The pod's uid, under which the scheduler knows it.
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    /// The node it is bound to.
    pub fn node(&self) -> Option<&str> {
        self.spec.node_name.as_deref().filter(|it| !it.is_empty())
    }

    /// Whether its containers are done for good, so that it takes no room.
    pub fn finished(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        let meta = &self.metadata;
        format!("{}/{}", meta.namespace.as_deref().unwrap_or_default(), meta.name.as_deref().unwrap_or_default())
    }
}
