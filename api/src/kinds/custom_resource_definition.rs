//! `CustomResourceDefinition`: a kind that the cluster did not have before.
//!
//! What it makes is in [`crate::custom`]. Names are granted, and the definition established, by the API server after it is written
//! (`apiserver/src/definitions`); until all its objects are gone a finalizer keeps it.

use jiff::Timestamp;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceConversion, CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionStatus,
};
use serde_json::{Value, json};

use super::cells;
use crate::field::Errors;
use crate::kind::{Names, Part, Scope, Strategy, Sub};
use crate::table::Column;

mod approval;
mod conversion_rules;
mod rules;
mod version_rules;

pub use approval::approval;

/// What keeps a definition until its objects are removed.
pub const CLEANUP_FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// The port of a webhook's service that does not say.
const SERVICE_PORT: i32 = 443;

/// The time itself, and not how long ago it was.
const CREATED_AT: Column = Column {
    name: "Created At",
    kind: "date",
    format: "",
    priority: 0,
    description: ".metadata.creationTimestamp",
    cell: |it| cells::cell(&it["metadata"]["creationTimestamp"]),
};

impl Strategy for CustomResourceDefinition {
    const NAMES: Names = Names {
        plural: "customresourcedefinitions",
        singular: "customresourcedefinition",
        short: &["crd", "crds"],
        categories: &["api-extensions"],
    };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Status];
    const STATUS_RESETS: &'static [&'static [&'static str]] = &[&["metadata"], &["spec"]];
    const STORED_AS: Option<&'static str> = Some("apiextensions.k8s.io/customresourcedefinitions");
    const COLUMNS: &'static [Column] = &[CREATED_AT];
    const UNCONDITIONAL_UPDATE: bool = false;
    const BEFORE_DELETION: Option<fn(&mut Value, Timestamp)> = Some(keep_until_empty);

    fn default(&mut self) {
        let names = &mut self.spec.names;
        let given = |it: &Option<String>| it.as_ref().is_some_and(|it| !it.is_empty());
        if !given(&names.singular) {
            names.singular = Some(names.kind.to_lowercase());
        }
        if !given(&names.list_kind) && !names.kind.is_empty() {
            names.list_kind = Some(format!("{}List", names.kind));
        }
        let none = || CustomResourceConversion { strategy: "None".to_owned(), webhook: None };
        let conversion = self.spec.conversion.get_or_insert_with(none);
        let config = conversion.webhook.as_mut().and_then(|it| it.client_config.as_mut());
        if let Some(service) = config.and_then(|it| it.service.as_mut()) {
            service.port.get_or_insert(SERVICE_PORT);
        }
        // False is what v1 means where nothing is said, and Go does not write it.
        self.spec.preserve_unknown_fields = self.spec.preserve_unknown_fields.filter(|it| *it);
    }

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (Part::Status, Some(old)) => {
                // The metadata may change with the status: that is how the finalizer goes.
                self.spec.clone_from(&old.spec);
                return;
            }
            (_, Some(old)) => self.status.clone_from(&old.status),
            (_, None) => self.status = None,
        }
        let fresh = || CustomResourceDefinitionStatus {
            accepted_names: Some(CustomResourceDefinitionNames::default()),
            ..Default::default()
        };
        let Some(stored) = self.spec.versions.iter().find(|it| it.storage).map(|it| it.name.clone()) else { return };
        let known = self.status.get_or_insert_with(fresh).stored_versions.get_or_insert_default();
        if !known.contains(&stored) {
            known.push(stored);
        }
    }

    fn generation_rises(&self, old: &Self) -> Option<bool> {
        Some(self.spec != old.spec)
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        match part {
            Part::Status => {
                if let Some(names) = self.status.as_ref().and_then(|it| it.accepted_names.as_ref()) {
                    rules::validate_names(names, "status.acceptedNames", errors);
                }
            }
            _ => rules::validate(self, old, errors),
        }
    }
}

/// A definition that is deleted waits for its objects, and says so.
fn keep_until_empty(definition: &mut Value, now: Timestamp) {
    let Some(metadata) = definition["metadata"].as_object_mut() else { return };
    let finalizers = metadata.entry("finalizers").or_insert_with(|| json!([]));
    if let Some(finalizers) = finalizers.as_array_mut()
        && !finalizers.iter().any(|it| it == CLEANUP_FINALIZER)
    {
        finalizers.push(CLEANUP_FINALIZER.into());
    }
    let pending = json!({
        "type": "Terminating", "status": "True", "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    });
    set_condition(&mut definition["status"], pending, now);
}

/// Puts a condition into a definition's status, in the place of the one of its type. The time of its last transition is now if it is
/// new or says otherwise than before.
pub fn set_condition(status: &mut Value, mut condition: Value, now: Timestamp) {
    if !status["conditions"].is_array() {
        status["conditions"] = json!([]);
    }
    let Some(conditions) = status["conditions"].as_array_mut() else { return };
    let now = crate::meta::whole_seconds(now).to_string();
    match conditions.iter_mut().find(|it| it["type"] == condition["type"]) {
        Some(known) => {
            let same = known["status"] == condition["status"];
            let since = if same { known["lastTransitionTime"].clone() } else { now.into() };
            condition["lastTransitionTime"] = since;
            *known = condition;
        }
        None => {
            condition["lastTransitionTime"] = now.into();
            conditions.push(condition);
        }
    }
}

#[cfg(test)]
mod tests;
