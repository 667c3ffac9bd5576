//! `ServiceAccount`: who a pod is when it speaks to the API.

use k8s_openapi::api::core::v1::{ObjectReference, ServiceAccount};

use crate::kind::{Names, Part, Strategy, Sub};
use crate::kinds::cells::{self, AGE, list};
use crate::table::{Cell, Column};

/// Says that only the secrets that the account lists may be mounted.
const MOUNTABLE_ANNOTATION: &str = "kubernetes.io/enforce-mountable-secrets";

impl Strategy for ServiceAccount {
    const NAMES: Names =
        Names { plural: "serviceaccounts", singular: "serviceaccount", short: &["sa"], categories: &[] };
    const RETURNS_DELETED: bool = true;
    const SUBS: &'static [Sub] = &[Sub::Token];
    const COLUMNS: &'static [Column] =
        &[cells::text("Secrets", |it| Cell::Number(list(&it["secrets"]).len() as i64)).doc(".secrets"), AGE];

    fn prepare(&mut self, _part: Part, _old: Option<&Self>) {
        // A secret that it lists is one of its namespace, and known by its name alone.
        for secret in self.secrets.iter_mut().flatten() {
            *secret = ObjectReference { name: secret.name.take(), ..ObjectReference::default() };
        }
    }

    fn warnings(&self, old: Option<&Self>) -> Vec<String> {
        let annotated =
            |it: &Self| it.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(MOUNTABLE_ANNOTATION));
        if !annotated(self) || old.is_some_and(annotated) {
            return Vec::new();
        }
        let why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
        vec![format!("metadata.annotations[{MOUNTABLE_ANNOTATION}]: {why}")]
    }
}
