//! What all pods of one node share: the way to the API, the runtime, the network, images, volumes, and what is known of the node.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use orlop_api::quantity::Quantity;
use orlop_client::Store;
use orlop_client::events::Severity;

use crate::environment::Place;
use crate::images::Images;
use crate::machine::NodeFacts;
use crate::network::PodNetwork;
use crate::network::ips::Ips;
use crate::policy::keeper::Policies;
use crate::power_off::PowerOff;
use crate::pressure::Board;
use crate::references::References;
use crate::resolver::ClusterDns;
use crate::runtime::Runtime;
use crate::services::view::Known;
use crate::shares::Shares;
use crate::telling::Teller;
use crate::usage::meter::Meter;
use crate::volumes::Volumes;

/// One node's shared parts.
pub struct Host {
    pub node_name: String,
    pub client: kube::Client,
    /// The pods that are bound to this node.
    pub pods: Store<Pod>,
    pub runtime: Arc<dyn Runtime>,
    pub network: Arc<dyn PodNetwork>,
    pub images: Images,
    pub volumes: Volumes,
    pub references: References,
    pub teller: Teller,
    pub meter: Meter,
    /// What the node is short of.
    pub pressure: Board,
    /// Whether its machine goes down.
    pub power_off: PowerOff,
    pub facts: NodeFacts,
    pub memory_bytes: i64,
    /// Where seccomp profiles of the type Localhost lie.
    pub seccomp_profiles: PathBuf,
    /// The most processes of a pod.
    pub pids_limit: Option<u64>,
    /// What its pods have of it.
    pub shares: Shares,
    pub allocatable: BTreeMap<String, Quantity>,
    /// The cluster's services; none on a node that runs nothing.
    pub services: Option<Known>,
    /// Pods wait for their rules; none on a node that runs nothing.
    pub policies: Option<Policies>,
    /// None leaves pods the host's DNS.
    pub cluster_dns: Option<ClusterDns>,
}

impl Host {
    /// Tells something of the node that a user should know.
    pub fn tell_of_node(&self, severity: Severity, reason: &str, message: &str) {
        let node = ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Node".into()),
            name: Some(self.node_name.clone()),
            // As the kubelet has it: its name stands for the uid.
            uid: Some(self.node_name.clone()),
            ..ObjectReference::default()
        };
        self.teller.0.note(node, severity, reason, message);
    }

    /// What a pod may ask about where it runs.
    pub fn place(&self, pod_ips: Option<Ips>) -> Place {
        Place {
            node_name: self.node_name.clone(),
            host_ips: self.facts.host_ips,
            pod_ips,
            allocatable: self.allocatable.clone(),
        }
    }
}
