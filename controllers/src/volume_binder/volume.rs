//! What is done about a volume: shown as available or bound, released when its claim is gone, given up where the claim has another.

use jiff::Timestamp;
use orlop_client::events::Severity;
use orlop_client::storage::{BOUND_BY_CONTROLLER, PROVISIONED_BY};
use serde_json::{Value, json};

use super::binding::{at, phase_of, show, status_of};
use crate::plan::{Fact, Plan};
use crate::view::*;
use crate::world::World;

/// Decides on a volume.
pub fn sync(volume: &VolumeView, world: &World, now: Timestamp, plan: &mut Plan) {
    let Some(held) = volume.spec.claim_ref.as_ref() else { return show(volume, "Available", "", now, plan) };
    let uid = held.uid.as_deref().unwrap_or_default();
    let Some(key) = volume.claim().filter(|_| !uid.is_empty()) else {
        // Kept for a claim that has yet to come.
        return show(volume, "Available", "", now, plan);
    };
    // Another claim of the same name is another claim.
    match world.claims.get(&key).filter(|it| uid_of(&it.metadata) == uid) {
        None => release(volume, Fact { resource: CLAIMS, key, uid: uid.to_owned(), alive: false }, now, plan),
        Some(claim) if claim.spec.volume_name.is_empty() => wait_for(volume, &claim, plan),
        Some(claim) if claim.spec.volume_name == volume.name() => show(volume, "Bound", "", now, plan),
        Some(_) => give_up(volume, now, plan),
    }
}

/// The claim's half is the claim's to complete, if it can be.
fn wait_for(volume: &VolumeView, claim: &ClaimView, plan: &mut Plan) {
    if volume.volume_mode() == claim.volume_mode() {
        return;
    }
    let message = |of: &str, name: &str| format!("Cannot bind {of} {name:?} due to incompatible volumeMode.");
    let to_claim = message("PersistentVolume to requested PersistentVolumeClaim", name_of(&claim.metadata));
    plan.tell(reference(VOLUMES, &volume.metadata), Severity::Warning, "VolumeMismatch", to_claim);
    let to_volume = message("PersistentVolumeClaim to requested PersistentVolume", volume.name());
    plan.tell(reference(CLAIMS, &claim.metadata), Severity::Warning, "VolumeMismatch", to_volume);
}

/// The claim is gone, if the server says so, too; what becomes of the volume says its policy.
fn release(volume: &VolumeView, gone: Fact, now: Timestamp, plan: &mut Plan) {
    if !matches!(volume.status.phase.as_str(), "Released" | "Failed") {
        if let Some(action) = phase_of(volume, "Released", "", now) {
            plan.act_given(vec![gone], action);
        }
        return;
    }
    reclaim(volume, now, plan);
}

fn reclaim(volume: &VolumeView, now: Timestamp, plan: &mut Plan) {
    if volume.status.phase == "Failed" {
        return;
    }
    // Whoever made a volume deletes it, and so does its driver.
    let others = annotation(&volume.metadata, PROVISIONED_BY).is_some() || volume.spec.csi.is_some();
    let (reason, message) = match volume.spec.persistent_volume_reclaim_policy.as_str() {
        "Retain" => return,
        "Delete" if others => return,
        "Delete" => (
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume {:?}: no deletable volume plugin matched",
                volume.name()
            ),
        ),
        "Recycle" => ("VolumeFailedRecycle", "No recycler plugin found for the volume!".to_owned()),
        _ => ("VolumeUnknownReclaimPolicy", "Volume has unrecognized reclaim policy".to_owned()),
    };
    show(volume, "Failed", &message, now, plan);
    plan.tell(reference(VOLUMES, &volume.metadata), Severity::Warning, reason, message);
}

/// The claim has another volume: this one is free again, or, where it was made for the claim, of no use.
fn give_up(volume: &VolumeView, now: Timestamp, plan: &mut Plan) {
    let made = annotation(&volume.metadata, PROVISIONED_BY).is_some();
    if made && volume.spec.persistent_volume_reclaim_policy == "Delete" {
        if !matches!(volume.status.phase.as_str(), "Released" | "Failed") {
            show(volume, "Released", "", now, plan);
        }
        return;
    }
    let ours = annotation(&volume.metadata, BOUND_BY_CONTROLLER).is_some();
    // What a user wrote, that the volume is kept for a claim of this name, stays.
    let mut patch = if ours {
        json!({ "spec": { "claimRef": null } })
    } else {
        json!({ "spec": { "claimRef": { "uid": null, "resourceVersion": null } } })
    };
    if ours {
        patch["metadata"]["annotations"][BOUND_BY_CONTROLLER] = Value::Null;
    }
    plan.act(at(VOLUMES, &volume.metadata, patch));
    let moved = orlop_api::meta::whole_seconds(now).to_string();
    let status = json!({ "phase": "Available", "message": null, "lastPhaseTransitionTime": moved });
    plan.act(status_of(VOLUMES, &volume.metadata, status));
}
