//! `DefaultIngressClass`: an ingress that names no class gets the default one, if there is one.
//!
//! Source: `plugin/pkg/admission/network/defaultingressclass`.

use async_trait::async_trait;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use orlop_api::draft::Draft;
use orlop_api::status;

use super::lister::Lister;
use super::{Sight, default_of, is};
use crate::stage::{Admission, Operation, Plugin};

const MARKS: &[&str] = &["ingressclass.kubernetes.io/is-default-class"];

/// How an ingress named its class before there was a field.
const OLD_NAME: &str = "kubernetes.io/ingress.class";

/// See the file's header.
pub struct DefaultIngressClass {
    classes: Lister,
}

impl DefaultIngressClass {
    /// Looks classes up there.
    pub fn new(sight: &Sight) -> Self {
        DefaultIngressClass { classes: Lister::new(sight, "networking.k8s.io", "IngressClass") }
    }
}

#[async_trait]
impl Plugin for DefaultIngressClass {
    fn name(&self) -> &'static str {
        "DefaultIngressClass"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        is(write.kind, "networking.k8s.io", "Ingress")
            && write.sub.is_none()
            && write.operation == Operation::Create
            && !self.classes.is_empty()
    }

    async fn admit(&self, _write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(ingress) = draft.and_then(Draft::get_mut::<Ingress>) else { return Ok(()) };
        let annotated = ingress.metadata.annotations.as_ref().is_some_and(|it| it.contains_key(OLD_NAME));
        if annotated || ingress.spec.as_ref().is_some_and(|it| it.ingress_class_name.is_some()) {
            return Ok(());
        }
        let classes = self.classes.all::<IngressClass>("");
        if let Some(name) = default_of(classes.iter().map(|it| &it.metadata), MARKS) {
            ingress.spec.get_or_insert_default().ingress_class_name = Some(name);
        }
        Ok(())
    }
}
