//! Claims grow: a claim that asks for more than it has gets it, if who made its volume can give it.
//!
//! In: claims, their volumes and classes. Out: the volume's capacity, then the claim's. Folders on a node have no size of their own, so that a
//! volume of the local provisioner grows by being written so. Any other waits for who made it, which its Events say. Sources:
//! `pkg/controller/volume/expand`, and the `external-resizer` of kubernetes-csi, whose words are told.

use std::time::Duration;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::storage::{STORAGE, STORAGE_PROVISIONER};
use serde_json::json;

use crate::plan::{Plan, Telling};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// The conditions of a claim that is on its way.
const UNDER_WAY: [&str; 2] = ["Resizing", "FileSystemResizePending"];

/// The controller.
pub struct VolumeExpansion;

impl Controller for VolumeExpansion {
    fn name(&self) -> &'static str {
        "volume_expand"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.claims);
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(claim) = world.claims.get(key) else { return plan };
        let wanted = claim.requested();
        if claim.status.phase != "Bound" || claim.metadata.deletion_timestamp.is_some() || wanted <= claim.capacity() {
            return plan;
        }
        let Some(volume) = world.volumes.get(&Key::new("", &claim.spec.volume_name)) else {
            plan.recheck_in(Duration::from_secs(1));
            return plan;
        };
        if !volume.is_for(&claim) || volume.metadata.deletion_timestamp.is_some() {
            return plan;
        }
        let about = reference(CLAIMS, &claim.metadata);
        if !volume.is_provisioned_locally() {
            // A volume may be larger than what was asked for, and then the claim had it all already.
            if annotation(&claim.metadata, STORAGE_PROVISIONER).is_some() || volume.capacity() < wanted {
                let message = "waiting for an external controller to expand this PVC";
                plan.tell(about, Severity::Normal, "ExternalExpanding", message);
            }
            return plan;
        }
        let size = &claim.spec.resources.requests[STORAGE];
        if volume.capacity() < wanted {
            plan.act(orlop_client::write::Action::Patch {
                resource: VOLUMES,
                key: key_of(&volume.metadata),
                sub: None,
                uid: uid_of(&volume.metadata).to_owned(),
                revision: volume.metadata.resource_version.clone(),
                patch: json!({ "spec": { "capacity": { STORAGE: size } } }),
            });
        }
        let rest: Vec<_> =
            claim.status.conditions.iter().filter(|it| !UNDER_WAY.contains(&it.type_.as_str())).collect();
        let action = orlop_client::write::Action::Patch {
            resource: CLAIMS,
            key: key.clone(),
            sub: Some("status"),
            uid: uid_of(&claim.metadata).to_owned(),
            revision: claim.metadata.resource_version.clone(),
            patch: json!({ "status": { "capacity": { STORAGE: size }, "allocatedResources": { STORAGE: size },
                "allocatedResourceStatuses": null, "conditions": Some(&rest).filter(|it| !it.is_empty()) } }),
        };
        let success = ("VolumeResizeSuccessful", "Resize volume succeeded".to_owned());
        let failure = Some(("VolumeResizeFailed", "{error}".to_owned()));
        plan.act_and_tell(action, Telling { regarding: about, success, failure });
        plan
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn plan(asked: &str, has: &str, made_by: &str) -> String {
        let world = World::default();
        let claim = json!({ "metadata": { "namespace": "a", "name": "data", "uid": "c", "resourceVersion": "5" },
            "spec": { "volumeName": "v", "resources": { "requests": { "storage": asked } } },
            "status": { "phase": "Bound", "capacity": { "storage": has }, "conditions": [{ "type": "Resizing", "status": "True" }] } });
        let annotations =
            if made_by.is_empty() { Value::Null } else { json!({ "pv.kubernetes.io/provisioned-by": made_by }) };
        let volume = json!({ "metadata": { "name": "v", "uid": "v", "resourceVersion": "7", "annotations": annotations },
            "spec": { "capacity": { "storage": has }, "claimRef": { "namespace": "a", "name": "data", "uid": "c" } } });
        world.claims.apply(serde_json::from_value(claim).unwrap());
        world.volumes.apply(serde_json::from_value(volume).unwrap());
        VolumeExpansion.decide(&Key::new("a", "data"), &world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn a_local_volume_grows_by_being_written_so() {
        insta::assert_snapshot!(plan("2Gi", "1Gi", "orlop.dev/local"), @r#"
        patch persistentvolumes v at 7 {"spec":{"capacity":{"storage":"2Gi"}}}
        patch persistentvolumeclaims/status a/data at 5 {"status":{"allocatedResourceStatuses":null,"allocatedResources":{"storage":"2Gi"},"capacity":{"storage":"2Gi"},"conditions":null}}
          and tell VolumeResizeSuccessful: Resize volume succeeded
        "#);
        insta::assert_snapshot!(plan("1Gi", "1Gi", "orlop.dev/local"), @"nothing to do");
        insta::assert_snapshot!(plan("1Gi", "2Gi", "orlop.dev/local"), @"nothing to do");
    }

    #[test]
    fn others_are_waited_for() {
        for by in ["", "csi.example.com"] {
            insta::allow_duplicates! {
                insta::assert_snapshot!(plan("2Gi", "1Gi", by), @"tell Normal ExternalExpanding: waiting for an external controller to expand this PVC");
            }
        }
    }
}
