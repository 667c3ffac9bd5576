//! `ResourceClaimTemplate`: the claims on devices that are made for each pod.

use k8s_openapi::api::resource::v1::ResourceClaimTemplate;

use super::device_rules as rules;
use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::cells::AGE;
use crate::kinds::checks;
use crate::kinds::workload;
use crate::table::Column;

impl Strategy for ResourceClaimTemplate {
    const NAMES: Names =
        Names { plural: "resourceclaimtemplates", singular: "resourceclaimtemplate", short: &[], categories: &[] };
    const RETURNS_DELETED: bool = true;
    const COLUMNS: &'static [Column] = &[AGE];

    fn default(&mut self) {
        rules::settle(&mut self.spec.spec);
    }

    fn prepare(&mut self, _part: Part, _old: Option<&Self>) {
        rules::drop_disabled(&mut self.spec.spec);
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if let Some(old) = old {
            return checks::immutable(&self.spec, &old.spec, "spec", errors);
        }
        let path = Path::new("spec");
        if let Some(metadata) = &self.spec.metadata {
            workload::validate_template_metadata(metadata, &path.child("metadata"), errors);
        }
        rules::validate_claim(&self.spec.spec, &path.child("spec"), errors);
    }
}
