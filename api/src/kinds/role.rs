//! `Role`: what may be done in a namespace.

use k8s_openapi::api::rbac::v1::Role;

use crate::field::Errors;
use crate::kind::{Names, Part, Strategy};
use crate::kinds::rbac;
use crate::name::NameRule;
use crate::table::Column;

impl Strategy for Role {
    const NAMES: Names = Names { plural: "roles", singular: "role", short: &[], categories: &[] };
    const COLUMNS: &'static [Column] = rbac::ROLE_COLUMNS;
    const NAME_RULE: NameRule = NameRule::PathSegment;
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, _part: Part, _old: Option<&Self>, errors: &mut Errors) {
        rbac::validate_rules(self.rules.as_deref(), true, errors);
    }
}
