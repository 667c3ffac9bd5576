//! `CSINode`: which storage drivers run on a node.

use k8s_openapi::api::storage::v1::{CSINode, CSINodeDriver};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE, list};
use crate::kinds::checks;
use crate::kinds::disk_rules;
use crate::name;
use crate::table::{Cell, Column};

const NODE_ID_LIMIT_BYTES: usize = 256;

impl Strategy for CSINode {
    const NAMES: Names = Names { plural: "csinodes", singular: "csinode", short: &[], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const RETURNS_DELETED: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        cells::integer("Drivers", |it| Cell::Number(list(&it["spec"]["drivers"]).len() as i64))
            .doc("Drivers indicates the number of CSI drivers registered on the node"),
        AGE,
    ];

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        let path = Path::new("spec").child("drivers");
        let drivers = &self.spec.drivers;
        // Kubernetes looks at an update twice, and tells twice what is wrong.
        for _ in 0..=usize::from(old.is_some()) {
            for (at, driver) in drivers.iter().enumerate() {
                let again = drivers[..at].iter().any(|it| it.name == driver.name);
                validate_driver(driver, again, &path.index(at), errors);
            }
        }
        for before in old.iter().flat_map(|it| &it.spec.drivers) {
            for driver in drivers.iter().filter(|it| it.name == before.name) {
                // How many volumes fit may change.
                let fixed = |it: &CSINodeDriver| CSINodeDriver { allocatable: None, ..it.clone() };
                if fixed(driver) != fixed(before) {
                    errors.invalid_text(path.clone(), shown(driver), "field is immutable");
                }
            }
        }
    }
}

/// A driver as Kubernetes' internal form has it, without what may change.
fn shown(it: &CSINodeDriver) -> String {
    let keys = serde_json::json!(it.topology_keys);
    format!("{{\"Name\":{:?},\"NodeID\":{:?},\"TopologyKeys\":{keys},\"Allocatable\":null}}", it.name, it.node_id)
}

/// `again` says that another of the list has its name.
fn validate_driver(driver: &CSINodeDriver, again: bool, path: &Path, errors: &mut Errors) {
    disk_rules::validate_driver(&driver.name, || path.child("name"), errors);
    if driver.node_id.is_empty() {
        errors.required(path.child("nodeID"), "");
    }
    if driver.node_id.len() > NODE_ID_LIMIT_BYTES {
        let why = format!("must be {NODE_ID_LIMIT_BYTES} characters or less");
        errors.invalid(path.child("nodeID"), &driver.node_id, why);
    }
    let count = driver.allocatable.as_ref().and_then(|it| it.count).map(i64::from);
    checks::not_negative(count, || path.child("allocatable").child("count"), errors);
    if again {
        errors.duplicate(path.child("name"), &driver.name);
    }
    let keys = driver.topology_keys.as_deref().unwrap_or_default();
    for (at, key) in keys.iter().enumerate() {
        if key.is_empty() {
            errors.required(path.clone(), "");
        }
        if keys[..at].contains(key) {
            errors.duplicate(path.clone(), key);
        }
        for complaint in name::qualified_name(key) {
            errors.invalid(path.clone(), key, complaint);
        }
    }
}
