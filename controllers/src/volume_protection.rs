//! Volumes that are bound stay: `kubernetes.io/pv-protection` holds a volume until it is not.
//!
//! In: volumes. Out: the finalizer put on and taken off. Source: `pkg/controller/volume/pvprotection`.

use jiff::Timestamp;
use orlop_client::Key;

use crate::finalizer;
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

const FINALIZER: &str = "kubernetes.io/pv-protection";

/// The controller.
pub struct VolumeProtection;

impl Controller for VolumeProtection {
    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.volumes);
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(volume) = world.volumes.get(key) else { return plan };
        if finalizer::holds(&volume.metadata, FINALIZER) {
            if volume.status.phase != "Bound" {
                plan.act(finalizer::take_off(VOLUMES, &volume.metadata, FINALIZER));
            }
        } else if let Some(action) = finalizer::put_on(VOLUMES, &volume.metadata, FINALIZER) {
            plan.act(action);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_volume_stays_while_it_is_bound() {
        let world = World::default();
        let plan = |finalizers: &[&str], deleting: bool, phase: &str| {
            let mut volume = json!({ "metadata": { "name": "v", "uid": "v", "resourceVersion": "5", "finalizers": finalizers },
                "status": { "phase": phase } });
            if deleting {
                volume["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            world.volumes.apply(serde_json::from_value(volume).unwrap());
            VolumeProtection.decide(&Key::new("", "v"), &world, Timestamp::UNIX_EPOCH, None).to_string()
        };
        insta::assert_snapshot!(plan(&["x/y"], false, "Available"), @r#"patch persistentvolumes v at 5 {"metadata":{"finalizers":["x/y","kubernetes.io/pv-protection"]}}"#);
        insta::assert_snapshot!(plan(&[FINALIZER], true, "Bound"), @"nothing to do");
        insta::assert_snapshot!(plan(&[FINALIZER], true, "Released"), @r#"patch persistentvolumes v at 5 {"metadata":{"finalizers":null}}"#);
    }
}
