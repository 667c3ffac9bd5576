//! What is kept of a ServiceCIDR.

use ipnet::IpNet;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::core::ObjectMeta;
use serde::Deserialize;

use super::ConditionView;

/// A ServiceCIDR.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidrView {
    pub metadata: ObjectMeta,
    spec: ServiceCidrSpecView,
    pub status: ServiceCidrStatusView,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct ServiceCidrSpecView {
    cidrs: Vec<String>,
}

/// A ServiceCIDR's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServiceCidrStatusView {
    pub conditions: Vec<ConditionView>,
}

orlop_client::view!(ServiceCidrView: ServiceCIDR);

impl ServiceCidrView {
    /// Its ranges.
    pub fn ranges(&self) -> Vec<IpNet> {
        self.spec.cidrs.iter().filter_map(|it| it.parse().ok()).collect()
    }
}
