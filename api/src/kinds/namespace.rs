//! `Namespace`: a room for names. It goes only when everything in it is gone: until then `spec.finalizers` holds it.

use k8s_openapi::api::core::v1::{Namespace, NamespaceStatus};

use crate::field::{Errors, Path};
use crate::kind::{Names, Part, Scope, Selectable, Strategy, Sub};
use crate::kinds::cells::{self, AGE};
use crate::meta;
use crate::name::NameRule;
use crate::table::Column;

/// What holds a namespace until the namespace controller has emptied it.
const FINALIZER: &str = "kubernetes";
/// The label under which selectors find a namespace by its name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

impl Strategy for Namespace {
    const NAMES: Names = Names { plural: "namespaces", singular: "namespace", short: &["ns"], categories: &[] };
    const SCOPE: Scope = Scope::Cluster;
    const SUBS: &'static [Sub] = &[Sub::Finalize, Sub::Status];
    const FIELDS: &'static [Selectable] = &[Selectable { path: "status.phase", absent: "", from: &[] }];
    const COLUMNS: &'static [Column] =
        &[cells::text("Status", |it| cells::cell(&it["status"]["phase"])).doc("The status of the namespace"), AGE];
    const NAME_RULE: NameRule = NameRule::Label;

    fn prepare(&mut self, part: Part, old: Option<&Self>) {
        match (part, old) {
            (_, None) => {
                self.status = Some(NamespaceStatus { phase: Some("Active".into()), ..NamespaceStatus::default() });
                let finalizers = self.spec.get_or_insert_with(Default::default).finalizers.get_or_insert_with(Vec::new);
                if !finalizers.iter().any(|it| it == FINALIZER) {
                    finalizers.push(FINALIZER.into());
                }
            }
            (Part::Status, Some(old)) => self.spec.clone_from(&old.spec),
            (Part::Finalize, Some(old)) => self.status.clone_from(&old.status),
            (_, Some(old)) => {
                self.spec.clone_from(&old.spec);
                self.status.clone_from(&old.status);
            }
        }
        if let Some(name) = &self.metadata.name {
            self.metadata.labels.get_or_insert_with(Default::default).insert(NAME_LABEL.into(), name.clone());
        }
    }

    fn validate(&self, part: Part, old: Option<&Self>, errors: &mut Errors) {
        let finalizers = self.spec.as_ref().and_then(|it| it.finalizers.as_deref()).unwrap_or_default();
        let path = || Path::from("spec.finalizers");
        match part {
            Part::Status => {
                let phase = self.status.as_ref().and_then(|it| it.phase.as_deref()).unwrap_or_default();
                let (wanted, why) = match self.metadata.deletion_timestamp {
                    None => ("Active", "may only be 'Active' if `deletionTimestamp` is empty"),
                    Some(_) => ("Terminating", "may only be 'Terminating' if `deletionTimestamp` is not empty"),
                };
                if phase != wanted {
                    // Sic, in Kubernetes.
                    errors.invalid("status.Phase", phase, why);
                }
            }
            Part::Finalize => {
                for (index, finalizer) in finalizers.iter().enumerate() {
                    meta::validate_finalizer(finalizer, || path().index(index), errors);
                }
            }
            _ if old.is_none() => {
                for finalizer in finalizers {
                    meta::validate_finalizer(finalizer, path, errors);
                }
            }
            _ => {}
        }
    }

    fn held(&self) -> bool {
        self.spec.as_ref().and_then(|it| it.finalizers.as_ref()).is_some_and(|it| !it.is_empty())
    }
}
