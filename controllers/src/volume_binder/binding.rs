//! A binding: the writes that complete both halves, and those that show where each side stands.

use jiff::Timestamp;
use orlop_client::storage::{BIND_COMPLETED, BOUND_BY_CONTROLLER};
use orlop_client::write::Action;
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::view::*;

/// Binds a claim to a volume: the volume's half first, so that nobody else gets it, then the claim's. What is done already is left.
pub fn bind(volume: &VolumeView, claim: &ClaimView, now: Timestamp, plan: &mut Plan) {
    let uid = uid_of(&claim.metadata);
    if volume.spec.claim_ref.as_ref().and_then(|it| it.uid.as_deref()) != Some(uid) {
        let mut patch = json!({ "spec": { "claimRef": { "apiVersion": "v1", "kind": CLAIMS.kind, "namespace": claim.metadata.namespace,
            "name": claim.metadata.name, "uid": uid, "resourceVersion": claim.metadata.resource_version } } });
        if volume.spec.claim_ref.is_none() {
            patch["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
        }
        plan.act(at(VOLUMES, &volume.metadata, patch));
    }
    show(volume, "Bound", "", now, plan);
    let mut patch = Value::Null;
    if claim.spec.volume_name.is_empty() {
        patch["spec"]["volumeName"] = volume.name().into();
        patch["metadata"]["annotations"][BOUND_BY_CONTROLLER] = "yes".into();
    }
    if !claim.is_bound() {
        patch["metadata"]["annotations"][BIND_COMPLETED] = "yes".into();
    }
    if !patch.is_null() {
        plan.act(at(CLAIMS, &claim.metadata, patch));
    }
    let fresh = claim.status.phase != "Bound";
    let modes = claim.status.access_modes != volume.spec.access_modes;
    if fresh || modes {
        let mut status = json!({ "phase": "Bound", "accessModes": volume.spec.access_modes });
        // Later the claim's size follows the volume's only by a resize.
        if fresh {
            status["capacity"] = json!(volume.spec.capacity);
            status["currentVolumeAttributesClassName"] = json!(volume.spec.volume_attributes_class_name);
        }
        plan.act(status_of(CLAIMS, &claim.metadata, status));
    }
}

/// Shows a claim's phase.
pub fn show_claim(claim: &ClaimView, phase: &str, plan: &mut Plan) {
    if claim.status.phase != phase {
        let mut status = json!({ "phase": phase });
        if phase == "Pending" {
            status["accessModes"] = Value::Null;
            status["capacity"] = Value::Null;
        }
        plan.act(status_of(CLAIMS, &claim.metadata, status));
    }
}

/// Shows a volume's phase, and why it has it.
pub fn show(volume: &VolumeView, phase: &str, message: &str, now: Timestamp, plan: &mut Plan) {
    if let Some(action) = phase_of(volume, phase, message, now) {
        plan.act(action);
    }
}

/// The write that shows a volume's phase, if it has another. What else its status says is left to whoever wrote it.
pub fn phase_of(volume: &VolumeView, phase: &str, message: &str, now: Timestamp) -> Option<Action> {
    if volume.status.phase == phase {
        return None;
    }
    let mut status = json!({ "phase": phase, "message": Some(message).filter(|it| !it.is_empty()) });
    status["lastPhaseTransitionTime"] = orlop_api::meta::whole_seconds(now).to_string().into();
    Some(status_of(VOLUMES, &volume.metadata, status))
}

/// A write that holds for the version that was seen.
pub fn at(resource: orlop_client::write::Resource, meta: &kube::core::ObjectMeta, patch: Value) -> Action {
    let revision = meta.resource_version.clone();
    Action::Patch { resource, key: key_of(meta), sub: None, uid: uid_of(meta).to_owned(), revision, patch }
}

/// A write of a status. It may follow another of the same object, so that it holds for any version.
pub fn status_of(resource: orlop_client::write::Resource, meta: &kube::core::ObjectMeta, status: Value) -> Action {
    let (key, uid) = (key_of(meta), uid_of(meta).to_owned());
    Action::Patch { resource, key, sub: Some("status"), uid, revision: None, patch: json!({ "status": status }) }
}
