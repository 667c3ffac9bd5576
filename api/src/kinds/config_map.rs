//! `ConfigMap`: configuration as keys and values. Immutable ones never change again.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::field::Errors;
use crate::kind::{Names, Part, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::table::{Cell, Column};

impl Strategy for ConfigMap {
    const NAMES: Names = Names { plural: "configmaps", singular: "configmap", short: &["cm"], categories: &[] };
    const COLUMNS: &'static [Column] =
        &[cells::text("Data", |it| Cell::Number(cells::count(&it["data"]) + cells::count(&it["binaryData"]))), AGE];

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let Some(old) = old else { return };
        if old.immutable == Some(true) {
            if self.immutable != Some(true) {
                errors.forbidden("immutable", "field is immutable when `immutable` is set");
            }
            if self.data != old.data {
                errors.forbidden("data", "field is immutable when `immutable` is set");
            }
            if self.binary_data != old.binary_data {
                errors.forbidden("binaryData", "field is immutable when `immutable` is set");
            }
        }
    }
}
