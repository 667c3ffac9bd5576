//! `CSIStorageCapacity`: how much storage of a class there is where.

use k8s_openapi::api::storage::v1::CSIStorageCapacity;

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Strategy};
use crate::kinds::cells;
use crate::kinds::checks;
use crate::kinds::pod_spec::warnings;
use crate::kinds::volume_rules as rules;
use crate::name;
use crate::quantity::Quantity;
use crate::selector::label;
use crate::table::Column;

impl Strategy for CSIStorageCapacity {
    const NAMES: Names =
        Names { plural: "csistoragecapacities", singular: "csistoragecapacity", short: &[], categories: &[] };
    const RETURNS_DELETED: bool = true;
    const UNCONDITIONAL_UPDATE: bool = false;
    const COLUMNS: &'static [Column] = &[
        cells::text("StorageClassName", |it| cells::cell(&it["storageClassName"])).doc(".storageClassName"),
        cells::text("Capacity", |it| rules::or_unset(&it["capacity"])).doc(".capacity"),
    ];

    fn default(&mut self) {
        for amount in [&mut self.capacity, &mut self.maximum_volume_size].into_iter().flatten() {
            if let Ok(quantity) = Quantity::parse(&amount.0) {
                *amount = quantity.to_text();
            }
        }
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        if let Some(topology) = &self.node_topology {
            label::validate(topology, &Path::new("nodeTopology"), errors);
        }
        for complaint in name::dns1123_subdomain(&self.storage_class_name) {
            errors.invalid("storageClassName", &self.storage_class_name, complaint);
        }
        match self.capacity.as_ref().map(|it| (it, Quantity::of(it))) {
            Some((_, Ok(amount))) if amount.is_negative() => {
                errors.invalid("capacity", amount.to_string(), "must be greater than or equal to 0");
            }
            Some((text, Err(error))) => errors.invalid("capacity", &text.0, error.to_string()),
            _ => {}
        }
        if let Some(old) = old {
            checks::immutable(&self.node_topology, &old.node_topology, "nodeTopology", errors);
            checks::immutable(&self.storage_class_name, &old.storage_class_name, "storageClassName", errors);
        }
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        let Some(topology) = &self.node_topology else { return warnings };
        let path = Path::new("nodeTopology");
        for (at, expression) in topology.match_expressions.iter().flatten().enumerate() {
            if let Some(message) = warnings::deprecated(&expression.key) {
                let path = path.child("matchExpressions").index(at).child("key");
                warnings.push(format!("{path}: {} is {message}", expression.key));
            }
        }
        for key in topology.match_labels.iter().flat_map(|it| it.keys()) {
            if let Some(message) = warnings::deprecated(key) {
                warnings.push(format!("{}: {message}", path.child("matchLabels").child(key)));
            }
        }
        warnings
    }
}
