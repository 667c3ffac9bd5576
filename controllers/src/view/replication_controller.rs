//! What is kept of a replication controller: what is kept of a replica set, but for the form of its selector.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::ReplicaSetStatus;
use k8s_openapi::api::core::v1::ReplicationController;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::{Json, ReplicaSetSpecView, ReplicaSetView};

/// A replication controller. Its status has the fields of a replica set's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ReplicationControllerView {
    pub metadata: ObjectMeta,
    pub spec: ReplicationControllerSpecView,
    pub status: ReplicaSetStatus,
}

/// A replication controller's spec.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ReplicationControllerSpecView {
    pub replicas: Option<i32>,
    pub selector: BTreeMap<String, String>,
    pub template: Json,
    pub min_ready_seconds: i32,
}

orlop_client::view!(ReplicationControllerView: ReplicationController);

impl ReplicationControllerView {
    /// The same as a replica set.
    pub fn as_set(&self) -> ReplicaSetView {
        let spec = &self.spec;
        let selector = LabelSelector { match_labels: Some(spec.selector.clone()), match_expressions: None };
        ReplicaSetView {
            metadata: self.metadata.clone(),
            spec: ReplicaSetSpecView {
                replicas: spec.replicas,
                selector,
                template: spec.template.clone(),
                min_ready_seconds: spec.min_ready_seconds,
            },
            status: self.status.clone(),
        }
    }

    /// Whether it selects what has these labels. One that says nothing selects nothing.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let wanted = &self.spec.selector;
        !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
    }
}
