//! `ClusterRoleBinding`: who has a cluster role everywhere.

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;

use crate::kind::{Names, Scope, Strategy};
use crate::kinds::rbac;
use crate::name::NameRule;
use crate::table::Column;

impl Strategy for ClusterRoleBinding {
    const NAMES: Names =
        Names { plural: "clusterrolebindings", singular: "clusterrolebinding", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const COLUMNS: &'static [Column] = rbac::BINDING_COLUMNS;
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn default(&mut self) {
        rbac::default_binding(&mut self.role_ref, self.subjects.as_deref_mut());
    }
}
