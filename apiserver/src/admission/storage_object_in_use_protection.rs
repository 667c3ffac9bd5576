//! `StorageObjectInUseProtection`: claims, volumes and classes of volumes' attributes begin with the finalizer that holds them while they are
//! used.
//!
//! The controllers take it off again. Source: `plugin/pkg/admission/storage/storageobjectinuseprotection`.

use async_trait::async_trait;
use orlop_api::draft::Draft;
use orlop_api::kind::Kind;
use orlop_api::status;

use super::is;
use crate::stage::{Admission, Operation, Plugin};

/// The kinds, and what holds each.
const FINALIZERS: [(&str, &str, &str); 3] = [
    ("", "PersistentVolumeClaim", "kubernetes.io/pvc-protection"),
    ("", "PersistentVolume", "kubernetes.io/pv-protection"),
    ("storage.k8s.io", "VolumeAttributesClass", "kubernetes.io/vac-protection"),
];

/// See the file's header.
pub struct StorageObjectInUseProtection;

fn finalizer(kind: &Kind) -> Option<&'static str> {
    FINALIZERS.iter().find(|(group, name, _)| is(kind, group, name)).map(|it| it.2)
}

#[async_trait]
impl Plugin for StorageObjectInUseProtection {
    fn name(&self) -> &'static str {
        "StorageObjectInUseProtection"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        write.sub.is_none() && write.operation == Operation::Create && finalizer(write.kind).is_some()
    }

    async fn admit(&self, write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let (Some(name), Some(draft)) = (finalizer(write.kind), draft) else { return Ok(()) };
        let all = draft.metadata_mut().finalizers.get_or_insert_default();
        if !all.iter().any(|it| it == name) {
            all.push(name.to_owned());
        }
        Ok(())
    }
}
