//! `DeviceClass`: devices of one sort, as those who run the cluster offer them to claims.

use k8s_openapi::api::resource::v1::DeviceClass;

use super::device_rules as rules;
use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::AGE;
use crate::table::Column;

impl Strategy for DeviceClass {
    const NAMES: Names = Names { plural: "deviceclasses", singular: "deviceclass", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const RETURNS_DELETED: bool = true;
    const COLUMNS: &'static [Column] = &[AGE];

    fn prepare(&mut self, _part: Part, _old: Option<&Self>) {
        // A feature that is off.
        self.spec.extended_resource_name = None;
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let (spec, path) = (&self.spec, Path::new("spec"));
        let stored = old.is_some_and(|it| it.spec.selectors == spec.selectors);
        rules::validate_selectors(spec.selectors.as_deref(), stored, &path.child("selectors"), errors);
        let stored = old.is_some_and(|it| it.spec.config == spec.config);
        let (all, path) = (spec.config.as_deref().unwrap_or_default(), path.child("config"));
        if rules::at_most(all.len(), rules::ENTRIES_MAX, &path, errors) {
            for (at, it) in all.iter().enumerate() {
                rules::validate_configuration(it.opaque.as_ref(), stored, &path.index(at), errors);
            }
        }
    }
}
