//! `ResourceClaim`: devices that someone asks for, and those that they were given.

use k8s_openapi::api::resource::v1::ResourceClaim;
use serde_json::Value;

use super::device_rules::{self as rules, Requests};
use super::{device_allocation, device_rules};
use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE, list};
use crate::kinds::checks;
use crate::table::{Cell, Column};

impl Strategy for ResourceClaim {
    const NAMES: Names = Names { plural: "resourceclaims", singular: "resourceclaim", short: &[], categories: &[] };
    const SUBS: &'static [Sub] = &[Sub::Status];
    const RETURNS_DELETED: bool = true;
    const COLUMNS: &'static [Column] =
        &[cells::text("State", state).doc("A summary of the current state (allocated, pending, reserved, etc.)."), AGE];

    fn default(&mut self) {
        device_rules::settle(&mut self.spec);
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => self.status = Some(Default::default()),
            (Part::Status, Some(old)) => {
                self.spec.clone_from(&old.spec);
                let before = old.status.clone().unwrap_or_default();
                device_allocation::settle(self.status.get_or_insert_default(), &before);
            }
            (_, Some(old)) => self.status.clone_from(&old.status),
        }
        rules::drop_disabled(&mut self.spec);
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        if part == Part::Status {
            let status = self.status.clone().unwrap_or_default();
            let before = old.and_then(|it| it.status.clone()).unwrap_or_default();
            let deleted = self.metadata.deletion_timestamp.is_some();
            return device_allocation::validate(&status, &before, deleted, &Requests::of(&self.spec), errors);
        }
        match old {
            None => rules::validate_claim(&self.spec, &Path::new("spec"), errors),
            // What was right when it came cannot change.
            Some(old) => checks::immutable(&self.spec, &old.spec, "spec", errors),
        }
    }
}

fn state(it: &Value) -> Cell {
    let (deleted, allocated) =
        (it["metadata"]["deletionTimestamp"].is_string(), it["status"]["allocation"].is_object());
    let reserved = allocated && !list(&it["status"]["reservedFor"]).is_empty();
    let all =
        [(deleted, "deleted"), (!allocated && !deleted, "pending"), (allocated, "allocated"), (reserved, "reserved")];
    Cell::Text(all.into_iter().filter(|(is, _)| *is).map(|(_, name)| name).collect::<Vec<_>>().join(","))
}
