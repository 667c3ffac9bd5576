//! `PersistentVolumeClaimResize`: a claim grows only when it is bound and its storage class can grow volumes.
//!
//! Source: `plugin/pkg/admission/storage/persistentvolume/resize`.

use async_trait::async_trait;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use orlop_api::quantity::Quantity;
use orlop_api::{quota, status};

use super::lister::Lister;
use super::{Sight, forbidden, is};
use crate::stage::{Admission, Operation, Plugin, Subject};

/// See the file's header.
pub struct ClaimResize {
    classes: Lister,
}

impl ClaimResize {
    /// Looks classes up there.
    pub fn new(sight: &Sight) -> Self {
        ClaimResize { classes: Lister::new(sight, "storage.k8s.io", "StorageClass") }
    }
}

fn size(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    Quantity::of(claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?).ok()
}

#[async_trait]
impl Plugin for ClaimResize {
    fn name(&self) -> &'static str {
        "PersistentVolumeClaimResize"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        is(write.kind, "", "PersistentVolumeClaim") && write.sub.is_none() && write.operation == Operation::Update
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(draft) = subject.draft else { return Ok(()) };
        let (Some(new), Some(old)) = (draft.get::<PersistentVolumeClaim>(), draft.old::<PersistentVolumeClaim>())
        else {
            return Ok(());
        };
        if size(new) <= size(old) {
            return Ok(());
        }
        if old.status.as_ref().and_then(|it| it.phase.as_deref()) != Some("Bound") {
            return Err(forbidden(write, "Only bound persistent volume claims can be expanded"));
        }
        let class =
            quota::storage_class(new).filter(|it| !it.is_empty() && Some(it) == quota::storage_class(old).as_ref());
        let class = match class {
            Some(name) => self.classes.get::<StorageClass>("", &name).await?,
            None => None,
        };
        if class.is_none_or(|it| it.allow_volume_expansion != Some(true)) {
            let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
            return Err(forbidden(write, why));
        }
        Ok(())
    }
}
