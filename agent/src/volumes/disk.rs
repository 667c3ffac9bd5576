//! What a claim of a pod is on this machine: a path, as long as the pod is here.
//!
//! In: a PersistentVolume. Out: a [`Disk`], kept as a record in the pod's folder (`<pod uid>/claims/<volume>`), by which containers find it also
//! after the agent was started anew, and the keeper of the node's own volumes knows that it is used.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{HostPathVolumeSource, PersistentVolume};
use orlop_api::kinds::VOLUME_GENERAL_FIELDS;
use serde::{Deserialize, Serialize};

use super::{host_path, plain};

/// A volume that a pod has by a claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// The PersistentVolume's name.
    pub volume: String,
    pub path: PathBuf,
    /// The pod may not write to it, whatever its containers say.
    pub read_only: bool,
    /// Whether files may be given to the pod's group: not those of a hostPath, which others use, too.
    pub is_ownable: bool,
    #[serde(skip)]
    pub host_path: Option<HostPathVolumeSource>,
}

impl Disk {
    /// The disk of a volume.
    ///
    /// # Errors
    /// The volume is of a type for which nothing is here.
    pub fn of(volume: &PersistentVolume, read_only: bool) -> Result<Disk, String> {
        let name = volume.metadata.name.clone().unwrap_or_default();
        let spec = volume.spec.clone().unwrap_or_default();
        let disk = |path: &str, is_ownable, host_path| Disk {
            volume: name.clone(),
            path: path.into(),
            read_only,
            is_ownable,
            host_path,
        };
        match (&spec.local, spec.host_path.clone()) {
            (Some(local), _) => Ok(disk(&local.path, true, None)),
            (None, Some(host)) => Ok(disk(&host.path.clone(), false, Some(host))),
            (None, None) => Err(format!(
                "MountVolume.SetUp failed for volume {name:?} : no volume plugin matched: {} is not supported by this node",
                source_of(volume)
            )),
        }
    }

    /// Checks what is there, in the kubelet's words.
    ///
    /// # Errors
    /// It is not there, or not of the type that it should be.
    pub fn check(&self) -> Result<(), String> {
        match &self.host_path {
            Some(it) => host_path::check(it)
                .map_err(|why| format!("MountVolume.SetUp failed for volume {:?} : {why}", self.volume)),
            None if self.path.exists() => Ok(()),
            None => Err(format!(
                "MountVolume.NewMounter initialization failed for volume {:?} : path {:?} does not exist",
                self.volume, self.path
            )),
        }
    }

    /// Notes it in a pod's folder.
    ///
    /// # Errors
    /// The disk fails.
    pub fn keep(&self, pod: &Path, volume: &str) -> io::Result<()> {
        let folder = pod.join("claims");
        fs::create_dir_all(&folder)?;
        let name = plain(volume).map_err(io::Error::other)?;
        // Beside it first: a half-written record would read as none.
        let fresh = folder.join(format!(".{name}"));
        fs::write(&fresh, serde_json::to_vec(self)?)?;
        fs::rename(fresh, folder.join(name))
    }

    /// The one that was noted for a volume of a pod.
    pub fn kept(pod: &Path, volume: &str) -> Option<Disk> {
        let text = fs::read(pod.join("claims").join(plain(volume).ok()?)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Those that were noted for a pod.
    pub fn all(pod: &Path) -> Vec<Disk> {
        let entries = fs::read_dir(pod.join("claims")).into_iter().flatten().flatten();
        let names = entries.filter_map(|it| it.file_name().into_string().ok()).filter(|it| !it.starts_with('.'));
        names.filter_map(|it| Disk::kept(pod, &it)).collect()
    }
}

/// The field that says where a volume's storage is.
fn source_of(volume: &PersistentVolume) -> String {
    let spec = serde_json::to_value(&volume.spec).unwrap_or_default();
    let fields = spec.as_object().into_iter().flatten().map(|(field, _)| field.as_str());
    fields.filter(|it| !VOLUME_GENERAL_FIELDS.contains(it)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(source: Value) -> PersistentVolume {
        let mut it = json!({ "metadata": { "name": "v" }, "spec": { "capacity": { "storage": "1Gi" }, "volumeMode": "Filesystem" } });
        for (field, value) in source.as_object().unwrap() {
            it["spec"][field] = value.clone();
        }
        serde_json::from_value(it).unwrap()
    }

    #[test]
    fn a_disk_is_a_path_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        let disk = Disk::of(&volume(json!({ "local": { "path": path } })), true).unwrap();
        let why =
            format!("MountVolume.NewMounter initialization failed for volume \"v\" : path {path:?} does not exist");
        assert_eq!(disk.check(), Err(why));
        fs::create_dir(&path).unwrap();
        assert_eq!(disk.check(), Ok(()));
        let host = volume(json!({ "hostPath": { "path": path, "type": "File" } }));
        let why = Disk::of(&host, false).unwrap().check().unwrap_err();
        assert!(why.starts_with("MountVolume.SetUp failed for volume \"v\" : hostPath type check failed"), "{why}");
        let why = Disk::of(&volume(json!({ "nfs": { "server": "s", "path": "/" } })), false).unwrap_err();
        assert!(why.ends_with("no volume plugin matched: nfs is not supported by this node"), "{why}");
    }

    #[test]
    fn what_is_noted_is_found_again() {
        let pod = tempfile::tempdir().unwrap();
        assert_eq!(Disk::kept(pod.path(), "data"), None);
        let disk = Disk::of(&volume(json!({ "local": { "path": "/d" } })), true).unwrap();
        disk.keep(pod.path(), "data").unwrap();
        assert_eq!((Disk::kept(pod.path(), "data"), Disk::all(pod.path())), (Some(disk.clone()), vec![disk.clone()]));
        assert!(disk.keep(pod.path(), "../out").is_err());
    }
}
