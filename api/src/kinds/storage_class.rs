//! `StorageClass`: a kind of storage, and who makes volumes of it.

use k8s_openapi::api::core::v1::TopologySelectorTerm;
use k8s_openapi::api::storage::v1::StorageClass;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Strategy};
use crate::kinds::cells::{self, AGE, str_of, str_or};
use crate::kinds::checks;
use crate::kinds::pod_spec::warnings;
use crate::name;
use crate::table::{Cell, Column};

const PARAMETERS_LIMIT: usize = 512;
/// 256 KiB: how long keys and values of the parameters may be together.
const PARAMETERS_LIMIT_BYTES: usize = 256 * 1024;
/// The annotations that make a class the default one, the newer first.
const DEFAULT_ANNOTATIONS: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

impl Strategy for StorageClass {
    const NAMES: Names = Names { plural: "storageclasses", singular: "storageclass", short: &["sc"], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const RETURNS_DELETED: bool = true;
    const COLUMNS: &'static [Column] = &[
        cells::text("Name", |it| named(it, &DEFAULT_ANNOTATIONS)).doc(".metadata.name"),
        cells::text("Provisioner", |it| cells::cell(&it["provisioner"])).doc(".provisioner"),
        cells::text("ReclaimPolicy", |it| Cell::Text(str_or(&it["reclaimPolicy"], "Delete").to_owned()))
            .doc(".reclaimPolicy"),
        cells::text("VolumeBindingMode", |it| Cell::Text(str_or(&it["volumeBindingMode"], "Immediate").to_owned()))
            .doc(".volumeBindingMode"),
        cells::text("AllowVolumeExpansion", |it| Cell::Flag(it["allowVolumeExpansion"] == true))
            .doc(".allowVolumeExpansion"),
        AGE,
    ];

    fn default(&mut self) {
        self.reclaim_policy.get_or_insert_with(|| "Delete".into());
        self.volume_binding_mode.get_or_insert_with(|| "Immediate".into());
    }

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        validate_provisioner(&self.provisioner, "provisioner", errors);
        validate_parameters(self.parameters.as_ref(), errors);
        let policy = self.reclaim_policy.as_deref().filter(|it| !it.is_empty());
        checks::none_or_one_of(policy, &["Delete", "Retain"], || "reclaimPolicy".into(), errors);
        let mode = self.volume_binding_mode.as_deref();
        checks::none_or_one_of(mode, &["Immediate", "WaitForFirstConsumer"], || "volumeBindingMode".into(), errors);
        let topologies = self.allowed_topologies.as_deref().unwrap_or_default();
        for (at, term) in topologies.iter().enumerate() {
            let path = Path::new("allowedTopologies").index(at);
            validate_term(term, &path, errors);
            let same = topologies[..at].iter().filter(|it| meant(it) == meant(term)).count();
            // Kubernetes compares a term with as many empty ones, too, as there are terms.
            let empty = if meant(term).is_empty() { topologies.len() } else { 0 };
            for _ in 0..same + empty {
                errors.duplicate(path.child("matchLabelExpressions"), "");
            }
        }
        let Some(old) = old else { return };
        for (field, same) in [
            ("parameters", self.parameters == old.parameters),
            ("provisioner", self.provisioner == old.provisioner),
            ("reclaimPolicy", self.reclaim_policy == old.reclaim_policy),
        ] {
            if !same {
                errors.forbidden(field, format!("updates to {field} are forbidden."));
            }
        }
        checks::immutable(&self.volume_binding_mode, &old.volume_binding_mode, "volumeBindingMode", errors);
    }

    fn warnings(&self, _old: Option<&Self>) -> Vec<String> {
        let mut warnings = Vec::new();
        for (at, term) in self.allowed_topologies.iter().flatten().enumerate() {
            for (index, expression) in term.match_label_expressions.iter().flatten().enumerate() {
                if let Some(message) = warnings::deprecated(&expression.key) {
                    let path = Path::new("allowedTopologies").index(at).child("matchLabelExpressions").index(index);
                    warnings.push(format!("{}: {message}", path.child("key")));
                }
            }
        }
        warnings
    }
}

/// The name of a driver, which may be written in capitals.
pub(super) fn validate_provisioner(driver: &str, field: &str, errors: &mut Errors) {
    checks::named(&driver.to_lowercase(), name::qualified_name, || field.into(), errors);
}

/// What a class tells its driver.
pub(super) fn validate_parameters(parameters: Option<&BTreeMap<String, String>>, errors: &mut Errors) {
    let Some(parameters) = parameters else { return };
    if parameters.len() > PARAMETERS_LIMIT {
        return errors.too_long("parameters", PARAMETERS_LIMIT);
    }
    if parameters.contains_key("") {
        errors.invalid("parameters", "", "field can not be empty.");
    }
    if parameters.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>() > PARAMETERS_LIMIT_BYTES {
        errors.too_long("parameters", PARAMETERS_LIMIT_BYTES);
    }
}

/// What a term asks for, in whatever order it is written.
fn meant(term: &TopologySelectorTerm) -> BTreeMap<&str, BTreeSet<&str>> {
    let expressions = term.match_label_expressions.iter().flatten();
    expressions.map(|it| (it.key.as_str(), it.values.iter().map(String::as_str).collect())).collect()
}

fn validate_term(term: &TopologySelectorTerm, path: &Path, errors: &mut Errors) {
    let expressions = term.match_label_expressions.as_deref().unwrap_or_default();
    for (at, expression) in expressions.iter().enumerate() {
        let again = expressions[..at].iter().any(|it| it.key == expression.key);
        let path = path.child("matchLabelExpressions").index(at);
        if expression.values.is_empty() {
            errors.required(path.child("values"), "");
        }
        for (at, value) in expression.values.iter().enumerate() {
            if expression.values[..at].contains(value) {
                errors.duplicate(path.child("values").index(at), value);
            }
        }
        for complaint in name::qualified_name(&expression.key) {
            errors.invalid(path.child("key"), &expression.key, complaint);
        }
        if again {
            errors.duplicate(path.child("key"), &expression.key);
        }
    }
}

/// The name of a class, and whether one of the annotations makes it the default.
pub(super) fn named(it: &Value, marks: &[&str]) -> Cell {
    let name = str_of(&it["metadata"]["name"]);
    let annotations = &it["metadata"]["annotations"];
    let is_default = marks.iter().any(|key| annotations[*key] == "true");
    Cell::Text(if is_default { format!("{name} (default)") } else { name.to_owned() })
}
