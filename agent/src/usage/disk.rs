//! What pods take of the disk: their containers' roots and logs, as the runtime tells, and their volumes, which are measured here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};
use orlop_client::clock;

use super::sample::FileSystem;
use super::{files, machine};
use crate::host::Host;
use crate::machine::world::spec;
use crate::runtime::{ContainerRoom, DiskUse, Room};
use crate::volumes::{Volumes, claims};

/// A pod's volume.
#[derive(Clone, Debug)]
pub struct VolumeUse {
    pub name: String,
    /// Where it lies.
    pub file_system: Option<FileSystem>,
    pub used: Room,
    /// The claim's name, if it is one.
    pub claim: Option<String>,
    /// It lies on the node's disk and goes with the pod: it counts as the pod's ephemeral storage.
    pub ephemeral: bool,
}

/// What was on the disk when it was measured.
#[derive(Clone, Debug)]
pub struct DiskSample {
    pub at: Timestamp,
    /// Where volumes and logs lie.
    pub node: Option<FileSystem>,
    /// Where images and containers' roots lie.
    pub images: Option<FileSystem>,
    pub runtime: DiskUse,
    /// By the pod's uid.
    pub volumes: BTreeMap<String, Vec<VolumeUse>>,
}

impl DiskSample {
    /// What a container takes.
    pub fn container(&self, id: &str) -> Option<ContainerRoom> {
        self.runtime.containers.get(id).copied()
    }
}

/// Measures everything. What the runtime cannot tell is left out.
pub async fn take(host: &Arc<Host>) -> Option<DiskSample> {
    let runtime = host.runtime.disk_use().await.inspect_err(|error| tracing::debug!(%error, "the runtime's disk use"));
    let runtime = runtime.unwrap_or_default();
    let (pods, volumes) = (host.pods.list(), host.volumes.clone());
    let measuring = move || DiskSample {
        node: machine::file_system(volumes.root()),
        images: runtime.images_at.as_deref().and_then(machine::file_system),
        volumes: pods.iter().filter_map(|it| Some((it.metadata.uid.clone()?, of_pod(it, &volumes)))).collect(),
        runtime,
        at: clock::now(),
    };
    tokio::task::spawn_blocking(measuring).await.ok()
}

/// Measures a pod's volumes that can be: not a path of the host, which is not the pod's. Blocks.
pub fn of_pod(pod: &Pod, volumes: &Volumes) -> Vec<VolumeUse> {
    let all = spec(pod).and_then(|it| it.volumes.as_ref()).into_iter().flatten();
    all.filter_map(|it| of_volume(pod, it, volumes)).collect()
}

/// Measures a volume.
pub fn of_volume(pod: &Pod, volume: &Volume, volumes: &Volumes) -> Option<VolumeUse> {
    let name = volume.name.clone();
    if claims::is_claim(volume) {
        let disk = volumes.disk(pod, &name)?;
        let file_system = machine::file_system(&disk.path)?;
        let claim = volume.persistent_volume_claim.as_ref().map(|it| it.claim_name.clone());
        let claim = claim.or_else(|| Some(format!("{}-{name}", pod.metadata.name.as_deref()?)));
        // As the kubelet tells of volumes of this type: what the whole file system has.
        let used = Room {
            bytes: file_system.used_bytes,
            inodes: Some(file_system.inodes.saturating_sub(file_system.inodes_free)),
        };
        return Some(VolumeUse { name, file_system: Some(file_system), used, claim, ephemeral: false });
    }
    if volume.host_path.is_some() {
        return None;
    }
    let folder = existing(volumes.folder(pod, &name).ok()?)?;
    let used = files::measure(&folder).ok()?;
    Some(VolumeUse {
        file_system: machine::file_system(&folder),
        used,
        claim: None,
        ephemeral: is_on_disk(volume),
        name,
    })
}

fn existing(folder: PathBuf) -> Option<PathBuf> {
    Path::is_dir(&folder).then_some(folder)
}

/// Whether a volume that is no claim lies on the node's disk: not in memory, as those of medium `Memory` and secrets do.
pub fn is_on_disk(volume: &Volume) -> bool {
    let in_memory = volume.empty_dir.as_ref().is_some_and(|it| it.medium.as_deref() == Some("Memory"));
    let on_disk = volume.empty_dir.is_some() || volume.config_map.is_some() || volume.downward_api.is_some();
    on_disk && !in_memory
}
