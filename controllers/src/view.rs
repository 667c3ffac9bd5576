//! What the controllers keep of each kind: slim structs with the fields they decide on, and what is true of all objects.
//!
//! A pod template is kept as its JSON text: controllers copy it, hash it and compare it, and never look inside.

mod bootstrap_token;
mod certificate_request;
mod definition;
mod policy;
mod replication_controller;
mod service_cidr;
mod storage;

pub use bootstrap_token::BootstrapTokenView;
pub use certificate_request::RequestView;
pub use definition::DefinitionView;
pub use policy::{BudgetView, ClusterRoleView};
pub use replication_controller::ReplicationControllerView;
pub use service_cidr::ServiceCidrView;
pub use storage::{
    AttributesClassView, ClaimUse, ClaimView, StorageClassView, VolumeView, attributes_classes_of_claim,
    attributes_classes_of_volume, made_for,
};

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DeploymentStatus, DeploymentStrategy, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    LoadBalancerStatus, NodeAddress, NodeCondition, ObjectReference, ServicePort, Taint, Toleration,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference, Time};
use kube::core::ObjectMeta;
use orlop_client::Key;
use orlop_client::write::Resource;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// Any JSON, kept as text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Json(Arc<str>);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|it| Json(it.get().into()))
    }
}

impl Json {
    /// The value. It was valid JSON when it arrived.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.0).unwrap_or_default()
    }

    /// The metadata in it, at a fraction of the cost of all of it.
    pub fn metadata(&self) -> ObjectMeta {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Partial {
            metadata: ObjectMeta,
        }
        serde_json::from_str::<Partial>(&self.0).unwrap_or_default().metadata
    }
}

/// A deployment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DeploymentView {
    pub metadata: ObjectMeta,
    pub spec: DeploymentSpecView,
    pub status: DeploymentStatus,
}

/// A deployment's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DeploymentSpecView {
    pub replicas: Option<i32>,
    pub selector: LabelSelector,
    pub template: Json,
    pub strategy: DeploymentStrategy,
    pub min_ready_seconds: i32,
    pub paused: bool,
    pub revision_history_limit: Option<i32>,
    pub progress_deadline_seconds: Option<i32>,
}

/// A replica set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicaSetView {
    pub metadata: ObjectMeta,
    pub spec: ReplicaSetSpecView,
    pub status: ReplicaSetStatus,
}

/// A replica set's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicaSetSpecView {
    pub replicas: Option<i32>,
    pub selector: LabelSelector,
    pub template: Json,
    pub min_ready_seconds: i32,
}

/// A pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodView {
    pub metadata: ObjectMeta,
    pub spec: PodSpecView,
    pub status: PodStatusView,
}

/// A pod's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpecView {
    pub node_name: String,
    pub hostname: String,
    pub subdomain: String,
    pub tolerations: Vec<Toleration>,
    pub containers: Vec<ContainerView>,
    pub init_containers: Vec<ContainerView>,
    /// Of its volumes those that are claims.
    #[serde(deserialize_with = "storage::claim_uses")]
    pub volumes: Vec<ClaimUse>,
}

/// A container's named ports.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerView {
    pub ports: Vec<ContainerPortView>,
    /// `Always` for an init container that runs beside the others.
    pub restart_policy: String,
}

/// A container's port.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerPortView {
    pub name: String,
    pub container_port: i32,
    pub protocol: String,
}

/// A pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatusView {
    pub phase: String,
    pub reason: String,
    #[serde(rename = "podIP")]
    pub pod_ip: String,
    /// The second of its addresses, of the other family, if it has one.
    #[serde(rename = "podIPs", deserialize_with = "second_ip")]
    pub second_ip: Option<IpAddr>,
    pub conditions: Vec<ConditionView>,
    pub container_statuses: Vec<ContainerStatusView>,
}

fn second_ip<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    let all = Vec::<PodIpView>::deserialize(from)?;
    Ok(all.get(1).and_then(|it| it.ip.parse().ok()))
}

/// One of a pod's addresses, as it is read.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PodIpView {
    ip: String,
}

/// A container's restarts.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatusView {
    pub restart_count: i32,
}

/// A condition, whole: a list of conditions is written back as one.
#[derive(Clone, Debug, Default, Deserialize, serde::Serialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ConditionView {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub last_probe_time: Option<Time>,
    pub last_transition_time: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl PodView {
    /// The condition of this type.
    pub fn condition(&self, type_: &str) -> Option<&ConditionView> {
        self.status.conditions.iter().find(|it| it.type_ == type_)
    }

    /// Whether its condition `Ready` is true.
    pub fn is_ready(&self) -> bool {
        self.condition("Ready").is_some_and(|it| it.status == "True")
    }

    /// Whether it has ended and will not run again.
    pub fn is_terminated(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed")
    }

    /// Whether it counts for its replica set: neither ended nor about to be deleted.
    pub fn is_active(&self) -> bool {
        !self.is_terminated() && self.metadata.deletion_timestamp.is_none()
    }
}

/// A node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeView {
    pub metadata: ObjectMeta,
    pub spec: NodeSpecView,
    pub status: NodeStatusView,
}

/// A node's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeSpecView {
    #[serde(rename = "podCIDR")]
    pub pod_cidr: String,
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<String>,
    pub taints: Vec<Taint>,
    pub unschedulable: bool,
}

/// A node's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeStatusView {
    pub conditions: Vec<NodeCondition>,
    pub addresses: Vec<NodeAddress>,
    pub allocatable: NodeRoomView,
}

/// What a node has for pods.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NodeRoomView {
    pub cpu: String,
}

/// A lease of a node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LeaseView {
    pub metadata: ObjectMeta,
    pub spec: LeaseSpecView,
}

/// A lease's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LeaseSpecView {
    pub renew_time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime>,
    pub lease_duration_seconds: Option<i32>,
}

/// A service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceView {
    pub metadata: ObjectMeta,
    pub spec: ServiceSpecView,
    pub status: ServiceStatusView,
}

/// A service's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpecView {
    pub selector: Option<BTreeMap<String, String>>,
    pub ports: Vec<ServicePort>,
    #[serde(rename = "clusterIP")]
    pub cluster_ip: String,
    #[serde(rename = "type")]
    pub type_: String,
    pub ip_families: Vec<String>,
    pub publish_not_ready_addresses: bool,
    pub traffic_distribution: Option<String>,
    pub load_balancer_class: Option<String>,
    #[serde(rename = "loadBalancerIP")]
    pub load_balancer_ip: Option<String>,
}

/// A service's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatusView {
    pub load_balancer: LoadBalancerStatus,
}

/// A namespace.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceView {
    pub metadata: ObjectMeta,
    pub spec: NamespaceSpecView,
    pub status: NamespaceStatusView,
}

/// A namespace's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceSpecView {
    pub finalizers: Vec<String>,
}

/// A namespace's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct NamespaceStatusView {
    pub phase: String,
    pub conditions: Vec<ConditionView>,
}

/// A service account.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceAccountView {
    pub metadata: ObjectMeta,
    /// The secrets that it names.
    pub secrets: Vec<SecretNamed>,
}

/// A secret's name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretNamed {
    pub name: String,
}

/// A config map with its data; only those named `kube-root-ca.crt` are watched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConfigMapView {
    pub metadata: ObjectMeta,
    pub data: BTreeMap<String, String>,
}

/// A secret without its secrets; only service-account tokens are watched.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretView {
    pub metadata: ObjectMeta,
    pub data: Option<SecretDataView>,
}

/// What a service-account token's secret holds already.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct SecretDataView {
    #[serde(rename = "token", deserialize_with = "is_filled")]
    pub has_token: bool,
    #[serde(rename = "namespace", deserialize_with = "is_filled")]
    pub has_namespace: bool,
    /// In base64, as the API gives it.
    #[serde(rename = "ca.crt")]
    pub ca: String,
}

/// Whether a text is there and not empty; the text itself is dropped.
fn is_filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Option::<String>::deserialize(deserializer).map(|it| it.is_some_and(|it| !it.is_empty()))
}

/// The endpoints of a service. The subsets are compared, not read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct EndpointsView {
    pub metadata: ObjectMeta,
    pub subsets: Option<Json>,
}

/// A slice of a service's endpoints. Its endpoints and ports are compared as JSON.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EndpointSliceView {
    pub metadata: ObjectMeta,
    pub address_type: String,
    pub endpoints: Option<Json>,
    pub ports: Option<Json>,
}

/// When an event was last counted up.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EventView {
    pub metadata: EventMeta,
    pub last_timestamp: Option<Time>,
}

/// The little metadata of an event that its expiry needs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct EventMeta {
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub creation_timestamp: Option<Time>,
}

impl orlop_client::View for EventView {
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }
    fn name(&self) -> &str {
        &self.metadata.name
    }
    fn uid(&self) -> &str {
        &self.metadata.uid
    }
    fn revision(&self) -> &str {
        &self.metadata.resource_version
    }
}

orlop_client::view!(DeploymentView: k8s_openapi::api::apps::v1::Deployment);
orlop_client::view!(ReplicaSetView: k8s_openapi::api::apps::v1::ReplicaSet);
orlop_client::view!(PodView: k8s_openapi::api::core::v1::Pod);
orlop_client::view!(NodeView: k8s_openapi::api::core::v1::Node);
orlop_client::view!(LeaseView: k8s_openapi::api::coordination::v1::Lease);
orlop_client::view!(ServiceView: k8s_openapi::api::core::v1::Service);
orlop_client::view!(NamespaceView: k8s_openapi::api::core::v1::Namespace);
orlop_client::view!(ServiceAccountView: k8s_openapi::api::core::v1::ServiceAccount);
orlop_client::view!(ConfigMapView: k8s_openapi::api::core::v1::ConfigMap);
orlop_client::view!(SecretView: k8s_openapi::api::core::v1::Secret);
orlop_client::view!(EndpointsView: k8s_openapi::api::core::v1::Endpoints);
orlop_client::view!(EndpointSliceView: k8s_openapi::api::discovery::v1::EndpointSlice);

const fn namespaced(group: &'static str, kind: &'static str, plural: &'static str) -> Resource {
    Resource { group, version: "v1", kind, plural, namespaced: true }
}

const fn of_cluster(group: &'static str, kind: &'static str, plural: &'static str) -> Resource {
    Resource { group, version: "v1", kind, plural, namespaced: false }
}

/// Pod, of the core group.
pub const PODS: Resource = namespaced("", "Pod", "pods");
/// Service, of the core group.
pub const SERVICES: Resource = namespaced("", "Service", "services");
/// Endpoints, of the core group.
pub const ENDPOINTS: Resource = namespaced("", "Endpoints", "endpoints");
/// ConfigMap, of the core group.
pub const CONFIG_MAPS: Resource = namespaced("", "ConfigMap", "configmaps");
/// Secret, of the core group.
pub const SECRETS: Resource = namespaced("", "Secret", "secrets");
/// Event, of the core group.
pub const EVENTS: Resource = namespaced("", "Event", "events");
/// ServiceAccount, of the core group.
pub const SERVICE_ACCOUNTS: Resource = namespaced("", "ServiceAccount", "serviceaccounts");
/// PersistentVolumeClaim, of the core group.
pub const CLAIMS: Resource = namespaced("", "PersistentVolumeClaim", "persistentvolumeclaims");
/// PersistentVolume, of the core group.
pub const VOLUMES: Resource = of_cluster("", "PersistentVolume", "persistentvolumes");
/// VolumeAttributesClass, of storage.k8s.io.
pub const ATTRIBUTES_CLASSES: Resource =
    of_cluster("storage.k8s.io", "VolumeAttributesClass", "volumeattributesclasses");
/// StorageClass, of storage.k8s.io.
pub const STORAGE_CLASSES: Resource = of_cluster("storage.k8s.io", "StorageClass", "storageclasses");
/// ServiceCIDR, of networking.k8s.io.
pub const SERVICE_CIDRS: Resource = of_cluster("networking.k8s.io", "ServiceCIDR", "servicecidrs");
/// Deployment, of apps.
pub const DEPLOYMENTS: Resource = namespaced("apps", "Deployment", "deployments");
/// ReplicaSet, of apps.
pub const REPLICA_SETS: Resource = namespaced("apps", "ReplicaSet", "replicasets");
/// ReplicationController, of the core group.
pub const REPLICATION_CONTROLLERS: Resource = namespaced("", "ReplicationController", "replicationcontrollers");
/// Lease, of coordination.k8s.io.
pub const LEASES: Resource = namespaced("coordination.k8s.io", "Lease", "leases");
/// EndpointSlice, of discovery.k8s.io.
pub const ENDPOINT_SLICES: Resource = namespaced("discovery.k8s.io", "EndpointSlice", "endpointslices");
/// Node, of the core group.
pub const NODES: Resource = of_cluster("", "Node", "nodes");
/// CustomResourceDefinition, of apiextensions.k8s.io.
pub const DEFINITIONS: Resource =
    of_cluster("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions");
/// PodDisruptionBudget, of policy.
pub const BUDGETS: Resource = namespaced("policy", "PodDisruptionBudget", "poddisruptionbudgets");
/// ClusterRole, of rbac.authorization.k8s.io.
pub const CLUSTER_ROLES: Resource = of_cluster("rbac.authorization.k8s.io", "ClusterRole", "clusterroles");
/// CertificateSigningRequest, of certificates.k8s.io.
pub const CSRS: Resource = of_cluster("certificates.k8s.io", "CertificateSigningRequest", "certificatesigningrequests");
/// Namespace, of the core group.
pub const NAMESPACES: Resource = of_cluster("", "Namespace", "namespaces");

/// The key of the object with this metadata.
pub fn key_of(meta: &ObjectMeta) -> Key {
    Key::new(namespace_of(meta), name_of(meta))
}

/// Its namespace, or nothing.
pub fn namespace_of(meta: &ObjectMeta) -> &str {
    meta.namespace.as_deref().unwrap_or_default()
}

/// Its name.
pub fn name_of(meta: &ObjectMeta) -> &str {
    meta.name.as_deref().unwrap_or_default()
}

/// Its uid.
pub fn uid_of(meta: &ObjectMeta) -> &str {
    meta.uid.as_deref().unwrap_or_default()
}

/// Its labels.
pub fn labels_of(meta: &ObjectMeta) -> &BTreeMap<String, String> {
    static NONE: BTreeMap<String, String> = BTreeMap::new();
    meta.labels.as_ref().unwrap_or(&NONE)
}

/// The value of one of its annotations.
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The owner that controls it.
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|it| it.controller == Some(true))
}

/// The key of the owner of kind `kind` that controls it.
pub fn controller_key(meta: &ObjectMeta, kind: &str) -> Option<Key> {
    controller_of(meta).filter(|it| it.kind == kind).map(|it| Key::new(namespace_of(meta), &it.name))
}

/// The values of the index by controlling owner: its uid, or [`uncontrolled_in`] the namespace.
pub fn controller_index(meta: &ObjectMeta) -> Vec<String> {
    vec![controller_of(meta).map_or_else(|| uncontrolled_in(namespace_of(meta)), |it| it.uid.clone())]
}

/// What the index by controlling owner has for objects without one. No uid looks like it.
pub fn uncontrolled_in(namespace: &str) -> String {
    format!("/{namespace}")
}

/// An entry for `ownerReferences` that says that `owner` controls the object.
pub fn controlled_by(resource: Resource, owner: &ObjectMeta) -> Value {
    json!({
        "apiVersion": resource.api_version(), "kind": resource.kind, "name": name_of(owner), "uid": uid_of(owner),
        "controller": true, "blockOwnerDeletion": true,
    })
}

/// What an Event about the object refers to.
pub fn reference(resource: Resource, meta: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(resource.api_version()),
        kind: Some(resource.kind.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}
