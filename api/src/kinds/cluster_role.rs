//! `ClusterRole`: what may be done everywhere, or in whichever namespace a RoleBinding grants it.

use k8s_openapi::api::rbac::v1::ClusterRole;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::rbac;
use crate::name::NameRule;
use crate::selector::label;
use crate::table::Column;

impl Strategy for ClusterRole {
    const NAMES: Names = Names { plural: "clusterroles", singular: "clusterrole", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const COLUMNS: &'static [Column] = rbac::ROLE_COLUMNS;
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, _part: Part, _old: Option<&Self>, errors: &mut Errors) {
        rbac::validate_rules(self.rules.as_deref(), false, errors);
        let Some(aggregation) = &self.aggregation_rule else { return };
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        let selectors = aggregation.cluster_role_selectors.as_deref().unwrap_or_default();
        if selectors.is_empty() {
            errors.required(path.clone(), "at least one clusterRoleSelector required if aggregationRule is non-nil");
        }
        for (index, selector) in selectors.iter().enumerate() {
            label::validate(selector, &path.index(index), errors);
        }
    }
}
