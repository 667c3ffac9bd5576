//! The provisioner `orlop.dev/local`: volumes that are folders of a node.
//!
//! In: claims that are marked for it, with the node that the scheduler chose; nodes, which say by an annotation where they keep such folders. Out: a
//! volume of type `local` that is bound to its node, and the deletion of those whose claims are gone. The folder itself is the node's
//! agent's: it puts the finalizer `orlop.dev/local-volume` on the volume before the first pod mounts it, and takes it off when the folder is
//! removed. Where the node is gone for good, so is the folder, and the finalizer is taken off here. No size is enforced.
//! See docs/decisions, "Local volumes".

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::storage::matching;
use orlop_client::storage::{
    BOUND_BY_CONTROLLER, LOCAL_FINALIZER, LOCAL_FOLDER, LOCAL_NODE, LOCAL_PROVISIONER, PROVISIONED_BY, SELECTED_NODE,
    STORAGE, STORAGE_PROVISIONER, StorageClassView, VOLUME_PROTECTION,
};
use orlop_client::write::Action;
use serde_json::json;

use crate::finalizer;
use crate::plan::{Fact, Plan, Telling};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// The label by which a volume is bound to its node.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// How long the value of a label may be.
const LABEL_BYTES: usize = 63;

/// The controller.
pub struct LocalProvisioner;

impl Controller for LocalProvisioner {
    fn name(&self) -> &'static str {
        LOCAL_PROVISIONER
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.claims);
        wires.on_itself(&world.volumes);
        // Volumes of a node that is gone wait for nobody; claims may have waited for one that came.
        let (volumes, claims) = (world.volumes.clone(), world.claims.clone());
        wires.on(&world.nodes, move |change| match (&change.old, &change.new) {
            (_, None) => {
                let held = volumes.list().into_iter().filter(|it| it.metadata.deletion_timestamp.is_some());
                held.map(|it| key_of(&it.metadata)).collect()
            }
            (old, Some(new)) => {
                let folder = |it: &NodeView| annotation(&it.metadata, LOCAL_FOLDER).map(str::to_owned);
                if old.as_ref().is_some_and(|it| folder(it) == folder(new)) {
                    return Vec::new();
                }
                claims.list().iter().filter(|it| is_asked_for(it)).map(|it| it.key()).collect()
            }
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        if key.namespace().is_empty() {
            if let Some(it) = world.volumes.get(key).filter(|it| it.is_provisioned_locally()) {
                remove(&it, world, &mut plan);
            }
        } else if let Some(it) = world.claims.get(key).filter(|it| is_asked_for(it)) {
            provision(&it, world, &mut plan);
        }
        plan
    }
}

/// Whether a claim wants a volume of us.
fn is_asked_for(claim: &ClaimView) -> bool {
    annotation(&claim.metadata, STORAGE_PROVISIONER) == Some(LOCAL_PROVISIONER)
        && claim.spec.volume_name.is_empty()
        && claim.metadata.deletion_timestamp.is_none()
}

fn provision(claim: &ClaimView, world: &World, plan: &mut Plan) {
    let Some(class) = world.storage_classes.get(&Key::new("", claim.class())) else { return };
    let name = format!("pvc-{}", uid_of(&claim.metadata));
    let kept = matching::candidates(&world.volumes, claim).iter().any(|it| it.is_for(claim));
    if class.provisioner != LOCAL_PROVISIONER || kept || world.volumes.get(&Key::new("", &name)).is_some() {
        // What is there is for the binder.
        return;
    }
    let about = reference(CLAIMS, &claim.metadata);
    if let Some(why) = complaint(claim, &class) {
        let message = format!("failed to provision volume with StorageClass {:?}: {why}", class.name());
        return plan.tell(about, Severity::Warning, "ProvisioningFailed", message);
    }
    let (node, folder) = match place(claim, &class, world) {
        Ok(it) => it,
        Err(Nowhere::Yet) => return,
        Err(Nowhere::At(node, why)) => {
            let message = format!("failed to provision volume with StorageClass {:?}: {why}", class.name());
            plan.tell(about, Severity::Warning, "ProvisioningFailed", message);
            if claim.selected_node().is_some() && world.nodes.get(&Key::new("", &node)).is_none() {
                // The scheduler chooses anew.
                let patch = json!({ "metadata": { "annotations": { SELECTED_NODE: null } } });
                plan.act(super::volume_binder::at(CLAIMS, &claim.metadata, patch));
            }
            return;
        }
    };
    let hostname = labels_of(&node.metadata).get(HOSTNAME).map_or(name_of(&node.metadata), String::as_str);
    let body = json!({
        "metadata": { "name": name, "labels": { LOCAL_NODE: name_of(&node.metadata) },
            "annotations": { PROVISIONED_BY: LOCAL_PROVISIONER, BOUND_BY_CONTROLLER: "yes" } },
        "spec": {
            "capacity": { STORAGE: claim.spec.resources.requests.get(STORAGE) },
            "accessModes": claim.spec.access_modes,
            "claimRef": { "apiVersion": "v1", "kind": CLAIMS.kind, "namespace": claim.metadata.namespace,
                "name": claim.metadata.name, "uid": claim.metadata.uid, "resourceVersion": claim.metadata.resource_version },
            "persistentVolumeReclaimPolicy": class.reclaim_policy.as_deref().unwrap_or("Delete"),
            "storageClassName": class.name(),
            "volumeMode": "Filesystem",
            "local": { "path": format!("{}/{name}", folder.trim_end_matches('/')) },
            "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [
                { "key": HOSTNAME, "operator": "In", "values": [hostname] }] }] } },
        },
    });
    let success = ("ProvisioningSucceeded", format!("Successfully provisioned volume {name}"));
    let failure = format!("failed to provision volume with StorageClass {:?}: {{error}}", class.name());
    let telling = Telling { regarding: about, success, failure: Some(("ProvisioningFailed", failure)) };
    plan.act_and_tell(Action::Create { resource: VOLUMES, namespace: String::new(), body }, telling);
}

/// What a folder cannot be.
fn complaint(claim: &ClaimView, class: &StorageClassView) -> Option<String> {
    if claim.volume_mode() == "Block" {
        return Some(format!("{LOCAL_PROVISIONER} does not support block volume provisioning"));
    }
    if claim.spec.selector.is_some() {
        return Some("claim Selector is not supported".to_owned());
    }
    if claim.spec.data_source.is_some() || claim.spec.data_source_ref.is_some() {
        return Some("claim dataSource is not supported".to_owned());
    }
    if let Some(name) = class.parameters.keys().next() {
        return Some(format!("invalid option {name:?} for volume plugin {LOCAL_PROVISIONER}"));
    }
    if !class.mount_options.is_empty() {
        let options = class.mount_options.join(" ");
        return Some(format!(
            "Mount options are not supported by the provisioner but StorageClass {:?} has mount options [{options}]",
            class.name()
        ));
    }
    None
}

enum Nowhere {
    /// The scheduler has not chosen.
    Yet,
    /// Not on this node, and why.
    At(String, String),
}

/// The node that gets the volume, and the folder in which it keeps such.
fn place(
    claim: &ClaimView,
    class: &StorageClassView,
    world: &World,
) -> Result<(std::sync::Arc<NodeView>, String), Nowhere> {
    let folder = |node: &NodeView| annotation(&node.metadata, LOCAL_FOLDER).map(str::to_owned);
    let Some(name) = claim.selected_node() else {
        if class.waits_for_consumer() {
            return Err(Nowhere::Yet);
        }
        // Bound at once: nobody knows yet who will use it. The uid spreads such claims over the nodes.
        let allowed = |it: &NodeView| class.allows(|key| labels_of(&it.metadata).get(key).map(String::as_str));
        let fits = |it: &NodeView| !it.spec.unschedulable && folder(it).is_some() && allowed(it);
        let mut nodes: Vec<_> = world.nodes.list().into_iter().filter(|it| fits(it)).collect();
        nodes.retain(|it| name_of(&it.metadata).len() <= LABEL_BYTES);
        if nodes.is_empty() {
            return Err(Nowhere::At(String::new(), "no node has a folder for volumes".to_owned()));
        }
        let turn =
            uid_of(&claim.metadata).bytes().fold(0_usize, |sum, it| sum.wrapping_mul(31).wrapping_add(it.into()));
        let node = nodes.swap_remove(turn % nodes.len());
        let folder = folder(&node).unwrap_or_default();
        return Ok((node, folder));
    };
    let Some(node) = world.nodes.get(&Key::new("", name)) else {
        return Err(Nowhere::At(name.to_owned(), format!("node {name:?} not found")));
    };
    if name.len() > LABEL_BYTES {
        return Err(Nowhere::At(name.to_owned(), format!("the name of node {name:?} is too long for a label")));
    }
    match folder(&node) {
        Some(it) => Ok((node, it)),
        None => Err(Nowhere::At(name.to_owned(), format!("node {name:?} has no folder for volumes"))),
    }
}

/// Deletes a volume that nobody has any more, and lets it go where the node that would remove its folder is gone.
fn remove(volume: &VolumeView, world: &World, plan: &mut Plan) {
    if volume.metadata.deletion_timestamp.is_none() {
        if volume.status.phase == "Released" && volume.spec.persistent_volume_reclaim_policy == "Delete" {
            plan.act(Action::Delete {
                resource: VOLUMES,
                key: key_of(&volume.metadata),
                uid: uid_of(&volume.metadata).to_owned(),
                revision: volume.metadata.resource_version.clone(),
                grace_seconds: None,
                propagation: None,
            });
        }
        return;
    }
    if !finalizer::holds(&volume.metadata, LOCAL_FINALIZER) || volume.is_held_by(VOLUME_PROTECTION) {
        return;
    }
    let node = Key::new("", volume.local_node().unwrap_or_default());
    if world.nodes.get(&node).is_none() {
        let gone = Fact { resource: NODES, key: node.clone(), uid: String::new(), alive: false };
        plan.act_given(vec![gone], finalizer::take_off(VOLUMES, &volume.metadata, LOCAL_FINALIZER));
        let message = format!("node {:?} is gone, and the folder of the volume with it", node.name());
        plan.tell(reference(VOLUMES, &volume.metadata), Severity::Warning, "VolumeDelete", message);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn world(claim: Value, class: Value) -> World {
        let world = World::default();
        let node = json!({ "metadata": { "name": "n1", "uid": "n", "labels": { "kubernetes.io/hostname": "host-1" },
            "annotations": { LOCAL_FOLDER: "/data/volumes/" } } });
        world.nodes.apply(serde_json::from_value(node).unwrap());
        world.nodes.apply(serde_json::from_value(json!({ "metadata": { "name": "bare", "uid": "b" } })).unwrap());
        let mut it = json!({ "metadata": { "namespace": "a", "name": "data", "uid": "c", "resourceVersion": "5",
            "annotations": { STORAGE_PROVISIONER: LOCAL_PROVISIONER } }, "spec": { "accessModes": ["ReadWriteOnce"],
            "storageClassName": "local", "resources": { "requests": { "storage": "1Gi" } } } });
        merge(&mut it, &claim);
        world.claims.apply(serde_json::from_value(it).unwrap());
        let mut it = json!({ "metadata": { "name": "local" }, "provisioner": LOCAL_PROVISIONER, "reclaimPolicy": "Delete",
            "volumeBindingMode": "WaitForFirstConsumer" });
        merge(&mut it, &class);
        world.storage_classes.apply(serde_json::from_value(it).unwrap());
        world
    }

    fn merge(into: &mut Value, from: &Value) {
        match from.as_object() {
            Some(fields) => fields.iter().for_each(|(key, value)| merge(&mut into[key], value)),
            None if from.is_null() => {}
            None => *into = from.clone(),
        }
    }

    fn of_claim(claim: Value, class: Value) -> String {
        let world = world(claim, class);
        LocalProvisioner.decide(&Key::new("a", "data"), &world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    fn on(node: &str) -> Value {
        json!({ "metadata": { "annotations": { SELECTED_NODE: node } } })
    }

    #[test]
    fn a_volume_is_made_where_the_scheduler_said() {
        insta::assert_snapshot!(of_claim(on("n1"), Value::Null), @r#"
        create persistentvolumes pvc-c {"metadata":{"annotations":{"pv.kubernetes.io/bound-by-controller":"yes","pv.kubernetes.io/provisioned-by":"orlop.dev/local"},"labels":{"orlop.dev/node":"n1"},"name":"pvc-c"},"spec":{"accessModes":["ReadWriteOnce"],"capacity":{"storage":"1Gi"},"claimRef":{"apiVersion":"v1","kind":"PersistentVolumeClaim","name":"data","namespace":"a","resourceVersion":"5","uid":"c"},"local":{"path":"/data/volumes/pvc-c"},"nodeAffinity":{"required":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"kubernetes.io/hostname","operator":"In","values":["host-1"]}]}]}},"persistentVolumeReclaimPolicy":"Delete","storageClassName":"local","volumeMode":"Filesystem"}}
          and tell ProvisioningSucceeded: Successfully provisioned volume pvc-c
        "#);
        insta::assert_snapshot!(of_claim(Value::Null, Value::Null), @"nothing to do");
        let at_once = of_claim(Value::Null, json!({ "volumeBindingMode": "Immediate" }));
        assert!(at_once.contains(r#""labels":{"orlop.dev/node":"n1"}"#), "{at_once}");
    }

    #[test]
    fn what_cannot_be_made_is_told() {
        let check = |claim: Value, class: Value, expected: &str| {
            let mut full = on("n1");
            merge(&mut full, &claim);
            let said = of_claim(full, class);
            assert!(said.contains(expected) && !said.contains("create"), "{said}");
        };
        check(json!({ "spec": { "volumeMode": "Block" } }), Value::Null, "does not support block volume provisioning");
        check(
            json!({ "spec": { "selector": { "matchLabels": { "a": "b" } } } }),
            Value::Null,
            "claim Selector is not supported",
        );
        check(
            json!({ "spec": { "dataSourceRef": { "name": "x" } } }),
            Value::Null,
            "claim dataSource is not supported",
        );
        check(Value::Null, json!({ "parameters": { "type": "ssd" } }), "invalid option \"type\"");
        check(Value::Null, json!({ "mountOptions": ["ro"] }), "Mount options are not supported");
        check(on("bare"), Value::Null, "node \"bare\" has no folder for volumes");
        let gone = of_claim(on("gone"), Value::Null);
        assert!(
            gone.contains(r#"{"volume.kubernetes.io/selected-node":null}"#) && gone.contains("not found"),
            "{gone}"
        );
    }

    #[test]
    fn volumes_go_when_their_claims_are_gone() {
        let decide = |phase: &str, policy: &str, finalizers: &[&str], deleting: bool, node: &str| {
            let world = world(Value::Null, Value::Null);
            let mut it = json!({ "metadata": { "name": "v", "uid": "v", "resourceVersion": "7", "finalizers": finalizers,
                "labels": { LOCAL_NODE: node }, "annotations": { PROVISIONED_BY: LOCAL_PROVISIONER } },
                "spec": { "persistentVolumeReclaimPolicy": policy }, "status": { "phase": phase } });
            if deleting {
                it["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
            }
            world.volumes.apply(serde_json::from_value(it).unwrap());
            LocalProvisioner.decide(&Key::new("", "v"), &world, Timestamp::UNIX_EPOCH, None).to_string()
        };
        insta::assert_snapshot!(decide("Released", "Delete", &[], false, "n1"), @"delete persistentvolumes v uid=v at 7");
        insta::assert_snapshot!(decide("Released", "Retain", &[], false, "n1"), @"nothing to do");
        insta::assert_snapshot!(decide("Bound", "Delete", &[], false, "n1"), @"nothing to do");
        // Its node is there, and does the rest.
        insta::assert_snapshot!(decide("Released", "Delete", &[LOCAL_FINALIZER], true, "n1"), @"nothing to do");
        insta::assert_snapshot!(decide("Released", "Delete", &[LOCAL_FINALIZER], true, "n2"), @r#"
        patch persistentvolumes v at 7 {"metadata":{"finalizers":null}}
          if nodes n2 uid= is gone
        tell Warning VolumeDelete: node "n2" is gone, and the folder of the volume with it
        "#);
        insta::assert_snapshot!(decide("Bound", "Delete", &[LOCAL_FINALIZER, VOLUME_PROTECTION], true, "n2"), @"nothing to do");
    }
}
