//! `ClusterRole`: what may be done everywhere, or in whichever namespace a RoleBinding grants it.

use k8s_openapi::api::rbac::v1::ClusterRole;

use crate::kind::{Names, Scope, Strategy};
use crate::kinds::rbac;
use crate::name::NameRule;
use crate::table::Column;

impl Strategy for ClusterRole {
    const NAMES: Names = Names { plural: "clusterroles", singular: "clusterrole", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const COLUMNS: &'static [Column] = rbac::ROLE_COLUMNS;
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;
}
