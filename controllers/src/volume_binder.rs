//! Claims and volumes find each other.
//!
//! In: claims, volumes and storage classes. Out: the two halves of each binding, phases, and Events that say what a claim waits for. A key with
//! a namespace is a claim ([`claim`]), one without is a volume ([`volume`]); each decision rests on both sides as they stand, so that a
//! binding which was broken off half way is completed by whichever side is looked at next. Who makes volumes is not known here: a claim is only
//! marked with the provisioner of its class. Source: `pkg/controller/volume/persistentvolume`; what it repeats every 15 s is decided here when
//! something changes.

mod binding;
mod claim;
#[cfg(test)]
mod tests;
mod volume;

use jiff::Timestamp;
use orlop_client::Key;

pub use binding::at;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{BY_CLAIM_OF_VOLUME, BY_VOLUME, UNBOUND_BY_CLASS, World};

/// The controller.
pub struct VolumeBinder;

impl Controller for VolumeBinder {
    fn name(&self) -> &'static str {
        "persistentvolume-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.claims);
        let volumes = world.volumes.clone();
        wires.on(&world.claims, move |change| {
            let named = change.old.iter().chain(&change.new).map(|it| Key::new("", &it.spec.volume_name));
            let kept = volumes.by_index(BY_CLAIM_OF_VOLUME, &change.key.to_string());
            named.filter(|it| !it.name().is_empty()).chain(kept.iter().map(|it| key_of(&it.metadata))).collect()
        });
        wires.on_itself(&world.volumes);
        let claims = world.claims.clone();
        wires.on(&world.volumes, move |change| {
            let mut keys: Vec<Key> = change.old.iter().chain(&change.new).filter_map(|it| it.claim()).collect();
            keys.extend(claims.by_index(BY_VOLUME, change.key.name()).iter().map(|it| it.key()));
            // One that nobody has may be what others wait for.
            if let Some(it) = change.new.iter().find(|it| it.spec.claim_ref.is_none()) {
                keys.extend(claims.by_index(UNBOUND_BY_CLASS, it.class()).iter().map(|it| it.key()));
            }
            keys
        });
        let claims = world.claims.clone();
        wires.on(&world.storage_classes, move |change| {
            let named = claims.by_index(UNBOUND_BY_CLASS, change.key.name());
            let unnamed = claims.by_index(UNBOUND_BY_CLASS, "");
            named.iter().chain(&unnamed).map(|it| it.key()).collect()
        });
        // A pod that came says for whom its claims wait.
        wires.on(&world.pods, |change| match (&change.old, &change.new) {
            (None, Some(pod)) if pod.spec.node_name.is_empty() => {
                let namespace = namespace_of(&pod.metadata);
                pod.claims().iter().map(|it| Key::new(namespace, it)).collect()
            }
            _ => Vec::new(),
        });
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        if key.namespace().is_empty() {
            if let Some(it) = world.volumes.get(key) {
                volume::sync(&it, world, now, &mut plan);
            }
        } else if let Some(it) = world.claims.get(key) {
            claim::sync(&it, world, now, &mut plan);
        }
        plan
    }
}
