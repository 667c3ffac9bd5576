//! What is kept of budgets, and of cluster roles.

use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus};
use k8s_openapi::api::rbac::v1::{AggregationRule, ClusterRole, PolicyRule};
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A budget, whole: who changes its status puts all of it back.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct BudgetView {
    pub metadata: ObjectMeta,
    pub spec: PodDisruptionBudgetSpec,
    pub status: PodDisruptionBudgetStatus,
}

/// What a cluster role allows, and what it collects.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterRoleView {
    pub metadata: ObjectMeta,
    pub rules: Option<Vec<PolicyRule>>,
    pub aggregation_rule: Option<AggregationRule>,
}

orlop_client::view!(BudgetView: PodDisruptionBudget);
orlop_client::view!(ClusterRoleView: ClusterRole);

impl BudgetView {
    /// The object with another status.
    pub fn with_status(&self, status: Value) -> Value {
        let mut out = serde_json::to_value(self).unwrap_or_default();
        out["apiVersion"] = "policy/v1".into();
        out["kind"] = "PodDisruptionBudget".into();
        out["status"] = status;
        out
    }
}
