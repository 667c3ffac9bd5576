//! The claims of a pod, followed to the volumes that they have.
//!
//! In: a pod, and the API. Out: a [`Disk`] a claim, or why there is none yet, in the kubelet's words. A volume whose folder this node keeps is held
//! here before it is mounted for the first time: the folder is made, and then the volume gets the node's finalizer, without which nobody
//! would remove the folder. A volume that is held and has no folder has lost its data, and that is told instead of mended.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Volume};
use kube::Api;
use orlop_client::Key;
use orlop_client::storage::{LOCAL_FINALIZER, LOCAL_NODE, LOCAL_PROVISIONER, PROVISIONED_BY, affinity};
use orlop_client::write::{Action, Resource};
use serde_json::json;

use super::Volumes;
use super::disk::Disk;
use super::folders::Folders;
use crate::machine::world::spec;
use crate::node::{Refused, within};

/// By the name of the pod's volume.
pub type Disks = BTreeMap<String, Disk>;

/// PersistentVolumes, as writes name them.
pub const VOLUMES: Resource =
    Resource { group: "", version: "v1", kind: "PersistentVolume", plural: "persistentvolumes", namespaced: false };

/// The name of the claim that a volume of a pod is, and whether it was made for the pod.
fn claim_of(pod: &Pod, volume: &Volume) -> Option<(String, bool, bool)> {
    if let Some(it) = &volume.persistent_volume_claim {
        return Some((it.claim_name.clone(), false, it.read_only.unwrap_or(false)));
    }
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    volume.ephemeral.as_ref().map(|_| (format!("{name}-{}", volume.name), true, false))
}

/// Whether a volume is a claim.
pub fn is_claim(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
}

/// The disks of a pod's claims.
///
/// # Errors
/// The first claim that has none here, as the message of a `FailedMount`.
pub async fn find(client: &kube::Client, node: &str, volumes: &Volumes, pod: &Pod) -> Result<Disks, String> {
    let mut disks = Disks::new();
    for volume in spec(pod).and_then(|it| it.volumes.as_ref()).into_iter().flatten() {
        let Some((claim, made, read_only)) = claim_of(pod, volume) else { continue };
        let kept = volumes.disk(pod, &volume.name);
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let key = Key::new(namespace, &claim);
        let found = bound_volume(client, pod, &key, made, kept.is_some()).await.map_err(|why| {
            let name = &volume.name;
            format!(
                "Unable to attach or mount volumes: unmounted volumes=[{name}], unattached volumes=[], \
                 failed to process volumes=[{name}]: error processing PVC {key}: {why}"
            )
        })?;
        check_reach(client, node, &found).await?;
        let mut disk = Disk::of(&found, read_only)?;
        if is_kept_by(&found, node) {
            disk.path = hold(client, volumes.folders(), &found).await?;
        }
        disk.check()?;
        disks.insert(volume.name.clone(), disk);
    }
    Ok(disks)
}

/// The volume that a claim is bound to. A claim that goes gives nothing to a pod that has nothing of it yet.
async fn bound_volume(
    client: &kube::Client,
    pod: &Pod,
    key: &Key,
    made: bool,
    mounted: bool,
) -> Result<PersistentVolume, String> {
    let api = Api::<PersistentVolumeClaim>::namespaced(client.clone(), key.namespace());
    let failed = |it: Refused| format!("failed to fetch PVC from API server: {it}");
    let claim = within(api.get(key.name())).await.map_err(failed)?;
    let owned = claim.metadata.owner_references.iter().flatten().any(|it| Some(&it.uid) == pod.metadata.uid.as_ref());
    if made && !owned {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        return Err(format!("PVC {key} was not created for pod {}/{name} (pod is not owner)", key.namespace()));
    }
    if claim.metadata.deletion_timestamp.is_some() && !mounted {
        return Err("PVC is being deleted".to_owned());
    }
    let name = claim.spec.as_ref().and_then(|it| it.volume_name.clone()).filter(|it| !it.is_empty());
    let bound = claim.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Bound");
    let Some(name) = name.filter(|_| bound) else { return Err("PVC is not bound".to_owned()) };
    let api = Api::<PersistentVolume>::all(client.clone());
    let failed = |it: Refused| format!("failed to fetch PV {name} from API server: {it}");
    let volume = within(api.get(&name)).await.map_err(failed)?;
    let holder = volume.spec.as_ref().and_then(|it| it.claim_ref.as_ref());
    if holder.and_then(|it| it.uid.as_ref()) != claim.metadata.uid.as_ref() {
        return Err(format!("found PV object {name:?} that does not point to this PVC"));
    }
    if volume.spec.as_ref().and_then(|it| it.volume_mode.as_deref()) == Some("Block") {
        return Err(format!("PV {name:?} has volumeMode Block, which is not supported by this node"));
    }
    Ok(volume)
}

/// A pod that named its node itself may be where its volume is not.
async fn check_reach(client: &kube::Client, node: &str, volume: &PersistentVolume) -> Result<(), String> {
    let affinity = volume.spec.as_ref().and_then(|it| it.node_affinity.as_ref()).and_then(|it| it.required.as_ref());
    if affinity.is_none() {
        return Ok(());
    }
    let meta = within(Api::<Node>::all(client.clone()).get_metadata(node)).await.map_err(|it| it.to_string())?;
    let labels = meta.metadata.labels.unwrap_or_default();
    if affinity::reaches(affinity, |key| labels.get(key).map(String::as_str), node) {
        return Ok(());
    }
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    Err(format!("MountVolume.NodeAffinity check failed for volume {name:?} : no matching NodeSelectorTerms"))
}

/// Whether the folder of a volume is this node's to make and to remove.
fn is_kept_by(volume: &PersistentVolume, node: &str) -> bool {
    let meta = &volume.metadata;
    let is = |map: &Option<BTreeMap<String, String>>, key, value: &str| {
        map.as_ref().and_then(|it| it.get(key)).is_some_and(|it| it == value)
    };
    is(&meta.labels, LOCAL_NODE, node) && is(&meta.annotations, PROVISIONED_BY, LOCAL_PROVISIONER)
}

/// The folder of a volume. It is made, and that is said, unless that was done.
async fn hold(client: &kube::Client, folders: &Folders, volume: &PersistentVolume) -> Result<PathBuf, String> {
    let meta = &volume.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let failed = |why: String| format!("MountVolume.SetUp failed for volume {name:?} : {why}");
    let path = volume.spec.as_ref().and_then(|it| it.local.as_ref()).map(|it| it.path.as_str()).unwrap_or_default();
    let folder = folders.of(&name, path);
    let folder = folder.ok_or_else(|| failed(format!("path {path:?} is not in a node's folder of volumes")))?;
    let all: Vec<String> = meta.finalizers.clone().unwrap_or_default();
    if all.iter().any(|it| it == LOCAL_FINALIZER) {
        return Ok(folder);
    }
    if meta.deletion_timestamp.is_some() {
        return Err(failed("the volume is being deleted".to_owned()));
    }
    let (maker, made) = (folders.clone(), folder.clone());
    let made = tokio::task::spawn_blocking(move || maker.make(&made)).await;
    made.map_err(|it| it.to_string())?.map_err(|it| failed(format!("{}: {it}", folder.display())))?;
    let all: Vec<&str> = all.iter().map(String::as_str).chain([LOCAL_FINALIZER]).collect();
    let action = Action::Patch {
        resource: VOLUMES,
        key: Key::new("", &name),
        sub: None,
        uid: meta.uid.clone().unwrap_or_default(),
        revision: meta.resource_version.clone(),
        patch: json!({ "metadata": { "finalizers": all } }),
    };
    action.apply(client).await.map_err(|it| failed(it.to_string()))?;
    Ok(folder)
}
