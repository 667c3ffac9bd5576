//! `ConfigMap`: configuration as keys and values. Immutable ones never change again.

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use crate::field::Errors;
use crate::kind::{Names, Part, Strategy};
use crate::table::{Cell, Column};

impl Strategy for ConfigMap {
    const NAMES: Names = Names { plural: "configmaps", singular: "configmap", short: &["cm"], categories: &[] };
    const COLUMNS: &'static [Column] = &[Column { name: "Data", kind: "string", priority: 0, cell: data }];

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let Some(old) = old else { return };
        if old.immutable == Some(true) && self.data != old.data {
            errors.forbidden("data", "field is immutable when `immutable` is set");
        }
    }
}

fn data(it: &Value) -> Cell {
    let entries = |field: &str| it[field].as_object().map_or(0, serde_json::Map::len);
    Cell::Number((entries("data") + entries("binaryData")) as i64)
}
