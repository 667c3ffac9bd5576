//! `VolumeAttributesClass`: attributes of volumes that may be changed while they are in use, by name.

use k8s_openapi::api::storage::v1::VolumeAttributesClass;

use crate::field::Errors;
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE};
use crate::kinds::storage_class::{named, validate_parameters, validate_provisioner};
use crate::table::Column;

/// The annotation that makes a class the default one. It has had no other name since its beginnings.
const DEFAULT_ANNOTATION: &str = "volumeattributesclass.alpha.kubernetes.io/is-default-class";

impl Strategy for VolumeAttributesClass {
    const NAMES: Names = Names {
        plural: "volumeattributesclasses",
        singular: "volumeattributesclass",
        short: &["vac"],
        categories: &[],
    };
    const SCOPE: Scope = Scope::Cluster;
    const RETURNS_DELETED: bool = true;
    const COLUMNS: &'static [Column] = &[
        cells::text("Name", |it| named(it, &[DEFAULT_ANNOTATION])).doc(".metadata.name"),
        cells::text("DriverName", |it| cells::cell(&it["driverName"])).doc(".driverName"),
        AGE,
    ];

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if let Some(old) = old {
            let fields = [
                ("driverName", self.driver_name == old.driver_name),
                ("parameters", self.parameters == old.parameters),
            ];
            for (field, _) in fields.iter().filter(|(_, same)| !same) {
                errors.forbidden(*field, format!("updates to {field} are forbidden."));
            }
        }
        validate_provisioner(&self.driver_name, "driverName", errors);
        validate_parameters(self.parameters.as_ref(), errors);
        if self.parameters.as_ref().is_none_or(|it| it.is_empty()) {
            errors.required("parameters", "must contain at least one key/value pair");
        }
    }
}
