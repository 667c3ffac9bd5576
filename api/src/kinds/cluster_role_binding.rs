//! `ClusterRoleBinding`: who has a cluster role everywhere.

use k8s_openapi::api::rbac::v1::ClusterRoleBinding;

use crate::field::Errors;
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::rbac;
use crate::name::NameRule;
use crate::table::Column;

impl Strategy for ClusterRoleBinding {
    const NAMES: Names =
        Names { plural: "clusterrolebindings", singular: "clusterrolebinding", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const COLUMNS: &'static [Column] = rbac::CLUSTER_BINDING_COLUMNS;
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn default(&mut self) {
        rbac::default_binding(&mut self.role_ref, self.subjects.as_deref_mut());
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let before = old.map(|it| &it.role_ref);
        rbac::validate_binding(&self.role_ref, before, self.subjects.as_deref(), &["ClusterRole"], errors);
    }
}
