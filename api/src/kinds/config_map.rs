//! `ConfigMap`: configuration as keys and values. Immutable ones never change again.

use k8s_openapi::api::core::v1::ConfigMap;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::kinds::checks::{self, DATA_LIMIT_BYTES};
use crate::table::{Cell, Column};

impl Strategy for ConfigMap {
    const NAMES: Names = Names { plural: "configmaps", singular: "configmap", short: &["cm"], categories: &[] };
    const COLUMNS: &'static [Column] = &[
        cells::text("Data", |it| Cell::Number(cells::count(&it["data"]) + cells::count(&it["binaryData"])))
            .doc(".data"),
        AGE,
    ];

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if let Some(old) = old {
            let changed = [("data", self.data != old.data), ("binaryData", self.binary_data != old.binary_data)];
            checks::sealed(old.immutable, self.immutable, &changed, errors);
        }
        for key in self.data.iter().flatten().map(|(key, _)| key) {
            checks::data_keys(std::iter::once(key), "data", errors);
            if self.binary_data.as_ref().is_some_and(|it| it.contains_key(key)) {
                errors.invalid(Path::new("data").key(key), key, "duplicate of key present in binaryData");
            }
        }
        checks::data_keys(self.binary_data.iter().flatten().map(|(key, _)| key), "binaryData", errors);
        let texts: usize = self.data.iter().flatten().map(|(_, value)| value.len()).sum();
        let bytes: usize = self.binary_data.iter().flatten().map(|(_, value)| value.0.len()).sum();
        if texts + bytes > DATA_LIMIT_BYTES {
            errors.too_long("", DATA_LIMIT_BYTES);
        }
    }
}
