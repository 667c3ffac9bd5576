//! `DefaultStorageClass`: a claim that names no storage class gets the default one, if there is one.
//!
//! Source: `plugin/pkg/admission/storage/storageclass/setdefault`.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use orlop_api::draft::Draft;
use orlop_api::{quota, status};

use super::lister::Lister;
use super::{Sight, default_of, is};
use crate::stage::{Admission, Operation, Plugin};

const MARKS: &[&str] =
    &["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];

/// See the file's header.
pub struct DefaultStorageClass {
    classes: Lister,
}

impl DefaultStorageClass {
    /// Looks classes up there.
    pub fn new(sight: &Sight) -> Self {
        DefaultStorageClass { classes: Lister::new(sight, "storage.k8s.io", "StorageClass") }
    }
}

#[async_trait]
impl Plugin for DefaultStorageClass {
    fn name(&self) -> &'static str {
        "DefaultStorageClass"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        is(write.kind, "", "PersistentVolumeClaim")
            && write.sub.is_none()
            && write.operation == Operation::Create
            && !self.classes.is_empty()
    }

    async fn admit(&self, _write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(claim) = draft.and_then(Draft::get_mut::<PersistentVolumeClaim>) else { return Ok(()) };
        if quota::storage_class(claim).is_some() {
            return Ok(());
        }
        let classes = self.classes.all::<StorageClass>("");
        if let Some(name) = default_of(classes.iter().map(|it| &it.metadata), MARKS) {
            claim.spec.get_or_insert_default().storage_class_name = Some(name);
        }
        Ok(())
    }
}
