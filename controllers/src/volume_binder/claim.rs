//! What is done about a claim: bound, kept waiting with a word why, or told that it has lost its volume.

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::storage::matching::{self, For};
use orlop_client::storage::{
    BOUND_BY_CONTROLLER, NO_PROVISIONER, STORAGE_PROVISIONER, STORAGE_PROVISIONER_BETA, StorageClassView,
};
use serde_json::{Value, json};

use super::binding::{self, at};
use crate::plan::Plan;
use crate::view::*;
use crate::world::{BY_CLAIM, World};

/// What the names of provisioners begin with that Kubernetes has built in, and of which this cluster has none.
const BUILT_IN: &str = "kubernetes.io/";

/// Decides on a claim.
pub fn sync(claim: &ClaimView, world: &World, now: Timestamp, plan: &mut Plan) {
    if claim.is_bound() {
        check_bound(claim, world, now, plan);
    } else if claim.spec.volume_name.is_empty() {
        look_for(claim, world, now, plan);
    } else {
        take_named(claim, world, now, plan);
    }
}

fn tell(claim: &ClaimView, severity: Severity, reason: &str, message: impl Into<String>, plan: &mut Plan) {
    plan.tell(reference(CLAIMS, &claim.metadata), severity, reason, message);
}

fn class_named(world: &World, name: &str) -> Option<std::sync::Arc<StorageClassView>> {
    world.storage_classes.get(&Key::new("", name))
}

/// A claim that takes any volume.
fn look_for(claim: &ClaimView, world: &World, now: Timestamp, plan: &mut Plan) {
    let class = class_named(world, claim.class());
    let waits = class.as_ref().is_some_and(|it| it.waits_for_consumer());
    let asked = if waits { For::Kept } else { For::Now };
    if let Some(volume) = matching::find(&matching::candidates(&world.volumes, claim), claim, &asked) {
        return binding::bind(&volume, claim, now, plan);
    }
    if !claim.names_class()
        && let Some(name) = default_class(world)
    {
        // It came before there was a default class.
        return plan.act(at(CLAIMS, &claim.metadata, json!({ "spec": { "storageClassName": name } })));
    }
    if waits && claim.selected_node().is_none() {
        let (reason, message) = whom_it_waits_for(claim, world);
        tell(claim, Severity::Normal, reason, message, plan);
    } else if !claim.class().is_empty() {
        return ask_provisioner(claim, class.as_deref(), plan);
    } else {
        let message = "no persistent volumes available for this claim and no storage class is set";
        tell(claim, Severity::Normal, "FailedBinding", message, plan);
    }
    binding::show_claim(claim, "Pending", plan);
}

/// The default class: of several the newest, and of those the first by name.
fn default_class(world: &World) -> Option<String> {
    let born = |it: &StorageClassView| it.metadata.creation_timestamp.as_ref().map(|it| it.0);
    let classes = world.storage_classes.list();
    let marked = classes.iter().filter(|it| it.is_default());
    let newest = marked.max_by(|a, b| born(a).cmp(&born(b)).then_with(|| b.name().cmp(a.name())));
    newest.map(|it| it.name().to_owned())
}

fn whom_it_waits_for(claim: &ClaimView, world: &World) -> (&'static str, String) {
    let pods = world.pods.by_index(BY_CLAIM, &claim.key().to_string());
    let waiting = pods.iter().filter(|it| it.spec.node_name.is_empty() && it.is_active());
    let mut names: Vec<&str> = waiting.map(|it| name_of(&it.metadata)).collect();
    names.sort_unstable();
    match names.as_slice() {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [one] => ("WaitForPodScheduled", format!("waiting for pod {one} to be scheduled")),
        many => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", many.join(","))),
    }
}

/// Marks the claim for who makes volumes of its class.
fn ask_provisioner(claim: &ClaimView, class: Option<&StorageClassView>, plan: &mut Plan) {
    let Some(class) = class else {
        let message = format!("storageclass.storage.k8s.io {:?} not found", claim.class());
        return tell(claim, Severity::Warning, "ProvisioningFailed", message, plan);
    };
    let provisioner = class.provisioner.as_str();
    if provisioner == NO_PROVISIONER || provisioner.starts_with(BUILT_IN) {
        let message = format!("no volume plugin matched name: {provisioner}");
        return tell(claim, Severity::Warning, "ProvisioningFailed", message, plan);
    }
    let marked = |key: &str| annotation(&claim.metadata, key) == Some(provisioner);
    if !marked(STORAGE_PROVISIONER) || !marked(STORAGE_PROVISIONER_BETA) {
        let mut patch = Value::Null;
        for key in [STORAGE_PROVISIONER, STORAGE_PROVISIONER_BETA] {
            patch["metadata"]["annotations"][key] = provisioner.into();
        }
        plan.act(at(CLAIMS, &claim.metadata, patch));
    }
    let message = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. \
         If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    tell(claim, Severity::Normal, "ExternalProvisioning", message, plan);
}

/// A claim that wants one volume and no other.
fn take_named(claim: &ClaimView, world: &World, now: Timestamp, plan: &mut Plan) {
    let Some(volume) = world.volumes.get(&Key::new("", &claim.spec.volume_name)) else {
        return binding::show_claim(claim, "Pending", plan);
    };
    if volume.spec.claim_ref.is_none() {
        if let Some(why) = matching::complaint(&volume, claim) {
            let message = format!("Cannot bind to requested volume {:?}: {why}", volume.name());
            tell(claim, Severity::Warning, "VolumeMismatch", message, plan);
            return binding::show_claim(claim, "Pending", plan);
        }
        binding::bind(&volume, claim, now, plan);
    } else if volume.is_for(claim) {
        binding::bind(&volume, claim, now, plan);
    } else {
        let message = format!("volume {:?} already bound to a different claim.", volume.name());
        tell(claim, Severity::Warning, "FailedBinding", message, plan);
        // One that the binder had chosen was bound, and somebody took the mark off: it is left as it is.
        if annotation(&claim.metadata, BOUND_BY_CONTROLLER).is_none() {
            binding::show_claim(claim, "Pending", plan);
        }
    }
}

/// A claim that has been bound keeps its volume, or is lost.
fn check_bound(claim: &ClaimView, world: &World, now: Timestamp, plan: &mut Plan) {
    if claim.spec.volume_name.is_empty() {
        let message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lose(claim, "ClaimLost", message, plan);
    }
    match world.volumes.get(&Key::new("", &claim.spec.volume_name)) {
        None => {
            lose(claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!", plan)
        }
        Some(volume) if volume.spec.claim_ref.is_none() || volume.is_for(claim) => {
            binding::bind(&volume, claim, now, plan);
        }
        Some(_) => {
            let message = "Two claims are bound to the same volume, this one is bound incorrectly";
            lose(claim, "ClaimMisbound", message, plan);
        }
    }
}

fn lose(claim: &ClaimView, reason: &str, message: &str, plan: &mut Plan) {
    if claim.status.phase == "Lost" {
        return;
    }
    // The store of volumes may lag behind that of claims; the server is asked before anything is called lost.
    let facts = match reason {
        "ClaimLost" if !claim.spec.volume_name.is_empty() => vec![crate::plan::Fact {
            resource: VOLUMES,
            key: Key::new("", &claim.spec.volume_name),
            uid: String::new(),
            alive: false,
        }],
        _ => Vec::new(),
    };
    let action = binding::status_of(CLAIMS, &claim.metadata, json!({ "phase": "Lost" }));
    plan.act_given(facts, action);
    tell(claim, Severity::Warning, reason, message, plan);
}
