//! A volume's specification within another object, where it stands for a volume of a pod that a driver has taken over.

use k8s_openapi::api::core::v1::PersistentVolumeSpec;

use super::sources;
use crate::field::{Errors, Path};
use crate::kinds::volume_rules as rules;

const WITHIN: &str = "in the context of inline volumes";

/// Notes every mistake: it is of a driver, and is no volume that could be claimed.
pub fn validate_inline(spec: &PersistentVolumeSpec, path: &Path, errors: &mut Errors) {
    let forbid = |field: &str, is_set: bool, errors: &mut Errors| {
        if is_set {
            errors.forbidden(path.child(field), format!("may not be specified {WITHIN}"));
        }
    };
    forbid("claimRef", spec.claim_ref.is_some(), errors);
    forbid("capacity", spec.capacity.as_ref().is_some_and(|it| !it.is_empty()), errors);
    if spec.csi.is_none() {
        errors.required(path.child("csi"), format!("has to be specified {WITHIN}"));
    }
    rules::validate_modes_of_volume(spec.access_modes.as_deref(), path, errors);
    if spec.persistent_volume_reclaim_policy.as_deref().is_some_and(|it| !matches!(it, "" | "Retain")) {
        errors.forbidden(path.child("persistentVolumeReclaimPolicy"), format!("may only be Retain {WITHIN}"));
    }
    forbid("nodeAffinity", spec.node_affinity.is_some(), errors);
    sources::validate(spec, "", path, errors);
    super::validate_recycled(spec, path, errors);
    forbid("storageClassName", spec.storage_class_name.as_ref().is_some_and(|it| !it.is_empty()), errors);
    if spec.volume_mode.as_deref().is_some_and(|it| it != "Filesystem") {
        errors
            .forbidden(path.child("volumeMode"), format!("may not specify volumeMode other than Filesystem {WITHIN}"));
    }
    super::validate_attributes_class(spec, path, errors);
}
