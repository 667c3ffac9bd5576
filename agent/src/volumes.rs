//! A pod's volumes: folders on this machine, made, filled and taken away.
//!
//! Layout: `<data-dir>/pods/<pod uid>/volumes/<volume>`. What ConfigMaps and Secrets hold comes in as a [`Snapshot`]; filling a volume
//! again with other content changes it in one step under the eyes of its readers. Claims come in as [`Disks`]. It does not know containers
//! beyond their mounts.

pub mod atomic;
pub mod claims;
pub mod disk;
mod empty_dir;
pub mod folders;
pub mod host_path;
pub mod keeper;
pub mod ownership;
pub mod payload;
mod sub_path;

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod, Volume, VolumeMount};
use nix::mount::{MntFlags, MsFlags};

use crate::environment::Place;
use crate::machine::world::spec;
use crate::references::Snapshot;
use crate::runtime::{Mount, Propagation, Recursive};
use claims::Disks;
use disk::Disk;
use folders::Folders;
use payload::Tokens;

/// Why a volume could not be made; the message names it as the kubelet's does.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {message}")]
pub struct VolumeError {
    pub volume: String,
    pub message: String,
}

/// The volumes of this machine's pods.
#[derive(Clone, Debug)]
pub struct Volumes {
    root: PathBuf,
    folders: Folders,
}

impl Volumes {
    /// Volumes under `<data-dir>/pods`.
    pub fn new(data_dir: &Path) -> Self {
        Volumes { root: data_dir.join("pods"), folders: Folders::new(data_dir) }
    }

    /// Where all pods' folders are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folders that are volumes themselves.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The folder of a pod, by its uid.
    pub fn of_pod(&self, uid: &str) -> PathBuf {
        self.root.join(uid)
    }

    /// The disk that a volume of a pod is, once that was noted.
    pub fn disk(&self, pod: &Pod, volume: &str) -> Option<Disk> {
        let uid = plain(pod.metadata.uid.as_deref().unwrap_or_default()).ok()?;
        Disk::kept(&self.of_pod(uid), volume)
    }

    /// The pods that have a folder here.
    pub fn pods(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|it| it.file_name().into_string().ok()).collect()
    }

    /// Makes and fills the pod's volumes; those that are there are brought up to date.
    ///
    /// # Errors
    /// The first volume that cannot be made.
    pub fn mount(
        &self,
        pod: &Pod,
        found: &Snapshot,
        disks: &Disks,
        place: &Place,
        tokens: &Tokens,
    ) -> Result<(), VolumeError> {
        for volume in spec(pod).and_then(|it| it.volumes.as_ref()).into_iter().flatten() {
            let made = match disks.get(&volume.name) {
                Some(disk) => self.take(pod, volume, disk),
                None => self.mount_one(pod, volume, found, place, tokens),
            };
            made.map_err(|message| VolumeError { volume: volume.name.clone(), message })?;
        }
        Ok(())
    }

    /// Notes what a claim is here, and gives its files to the pod's group where the pod asks for that.
    fn take(&self, pod: &Pod, volume: &Volume, disk: &Disk) -> Result<(), String> {
        let uid = plain(pod.metadata.uid.as_deref().unwrap_or_default())?;
        // Once, when the pod comes: later what its containers made of it stays.
        let taken = self.disk(pod, &volume.name).is_some_and(|it| it.volume == disk.volume);
        let context = spec(pod).and_then(|it| it.security_context.as_ref());
        let group = context.and_then(|it| it.fs_group).and_then(|it| u32::try_from(it).ok());
        if let Some(group) = group.filter(|_| disk.is_ownable && !disk.read_only && !taken) {
            let policy = context.and_then(|it| it.fs_group_change_policy.as_deref());
            ownership::give(&disk.path, group, policy == Some("OnRootMismatch"))
                .map_err(|it| format!("applyFSGroup failed for vol {}: {it}", disk.volume))?;
        }
        disk.keep(&self.of_pod(uid), &volume.name).map_err(|it| format!("noting the volume: {it}"))
    }

    fn mount_one(
        &self,
        pod: &Pod,
        volume: &Volume,
        found: &Snapshot,
        place: &Place,
        tokens: &Tokens,
    ) -> Result<(), String> {
        if let Some(it) = &volume.host_path {
            return host_path::check(it);
        }
        let folder = self.folder(pod, &volume.name)?;
        let fs_group = spec(pod).and_then(|it| it.security_context.as_ref()).and_then(|it| it.fs_group);
        if let Some(it) = &volume.empty_dir {
            return empty_dir::fill(pod, &folder, it, fs_group);
        }
        let Some(files) = payload::of(pod, volume, found, place, tokens)? else {
            return Err(format!("no volume plugin matched: {} is not supported by this node", payload::kind(volume)));
        };
        create(&folder, 0o755)?;
        // Secrets stay in memory, as with the kubelet.
        if payload::is_secret(volume) && !is_mounted(&folder) {
            mount_tmpfs(&folder, None)?;
        }
        atomic::write(&folder, &files, fs_group).map_err(|it| format!("failed to write the volume: {it}"))
    }

    /// What the container mounts, as paths of this machine.
    ///
    /// # Errors
    /// A mount names no volume of the pod, its subPath leads out of it, or its subPathExpr names no variable of the container.
    pub fn mounts(
        &self,
        pod: &Pod,
        container: &Container,
        environment: &[(String, String)],
    ) -> Result<Vec<Mount>, String> {
        let mut mounts = Vec::new();
        for it in container.volume_mounts.iter().flatten() {
            let volumes = spec(pod).and_then(|it| it.volumes.as_ref());
            let volume = volumes.into_iter().flatten().find(|volume| volume.name == it.name);
            let volume = volume.ok_or_else(|| format!("volumeMounts: Not found: {:?}", it.name))?;
            let disk = self.disk(pod, &it.name).filter(|_| claims::is_claim(volume));
            let root = match (&volume.host_path, &disk) {
                (Some(it), _) => PathBuf::from(&it.path),
                (None, Some(disk)) => disk.path.clone(),
                (None, None) => self.folder(pod, &it.name)?,
            };
            let lookup = |name: &str| environment.iter().find(|it| it.0 == name).map(|it| it.1.clone());
            let sub_path = match (&it.sub_path, &it.sub_path_expr) {
                (Some(it), _) if !it.is_empty() => Some(it.clone()),
                (_, Some(it)) if !it.is_empty() => Some(sub_path::expanded(it, lookup)?),
                _ => None,
            };
            let host_path = match sub_path {
                Some(sub) => sub_path::within(&root, &sub)?,
                None => root,
            };
            let filled = volume.config_map.is_some()
                || volume.secret.is_some()
                || volume.projected.is_some()
                || volume.downward_api.is_some();
            mounts.push(Mount {
                host_path,
                container_path: it.mount_path.clone(),
                read_only: it.read_only.unwrap_or(false) || filled || disk.is_some_and(|it| it.read_only),
                recursive: recursive(it),
                propagation: match it.mount_propagation.as_deref() {
                    Some("HostToContainer") => Propagation::HostToContainer,
                    Some("Bidirectional") => Propagation::Bidirectional,
                    _ => Propagation::None,
                },
            });
        }
        Ok(mounts)
    }

    /// Takes a pod's volumes away, with all that is in them. What is mounted is unmounted first; a hostPath is not touched.
    ///
    /// # Errors
    /// A mount is busy, or the disk fails.
    pub fn remove(&self, uid: &str) -> io::Result<()> {
        let folder = self.root.join(plain(uid).map_err(io::Error::other)?);
        let volumes = std::fs::read_dir(folder.join("volumes")).into_iter().flatten().flatten();
        for volume in volumes {
            if is_mounted(&volume.path()) {
                nix::mount::umount2(&volume.path(), MntFlags::MNT_DETACH)?;
            }
        }
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The folder of a pod's volume that is no claim.
    ///
    /// # Errors
    /// The names are none for folders.
    pub fn folder(&self, pod: &Pod, volume: &str) -> Result<PathBuf, String> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        Ok(self.root.join(plain(uid)?).join("volumes").join(plain(volume)?))
    }
}

/// Whether what is mounted below a read-only mount is to be read-only, too.
fn recursive(mount: &VolumeMount) -> Recursive {
    match mount.recursive_read_only.as_deref().filter(|_| mount.read_only == Some(true)) {
        Some("Enabled") => Recursive::Yes,
        Some("IfPossible") => Recursive::IfPossible,
        _ => Recursive::No,
    }
}

/// A name that is one part of a path. Names come from the API and become paths here: this is where none may lead elsewhere.
fn plain(name: &str) -> Result<&str, String> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(it)), None) if it == name => Ok(name),
        _ => Err(format!("{name:?} is no name for a folder")),
    }
}

fn create(folder: &Path, mode: u32) -> Result<(), String> {
    let made = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(mode)));
    made.map_err(|it| format!("{}: {it}", folder.display()))
}

/// Gives a folder to the pod's group, and what is made in it too.
fn own(folder: &Path, group: Option<i64>) -> Result<(), String> {
    let Some(group) = group.and_then(|it| u32::try_from(it).ok()) else { return Ok(()) };
    let owned = std::os::unix::fs::chown(folder, None, Some(group))
        .and_then(|()| std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o2777)));
    owned.map_err(|it| format!("{}: {it}", folder.display()))
}

fn mount_tmpfs(folder: &Path, limit_bytes: Option<i64>) -> Result<(), String> {
    let size = limit_bytes.filter(|it| *it > 0).map(|it| format!(",size={it}")).unwrap_or_default();
    let options = format!("mode=0777{size}");
    nix::mount::mount(
        Some("tmpfs"),
        folder,
        Some("tmpfs"),
        MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
        Some(options.as_str()),
    )
    .map_err(|it| format!("mounting memory at {}: {it}", folder.display()))
}

/// Whether something is mounted on a folder: it lies on another device than the folder above it.
fn is_mounted(folder: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |it: &Path| it.symlink_metadata().map(|it| it.dev()).ok();
    folder
        .parent()
        .is_some_and(|above| device(above).is_some() && device(folder).is_some() && device(above) != device(folder))
}

/// The files of a volume, by their paths in it.
pub type Files = BTreeMap<String, File>;

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    /// Whose it is; root's where nobody is named.
    pub owner: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_are_names_of_folders() {
        for bad in ["..", "a/b", "", ".", "/"] {
            assert!(plain(bad).is_err(), "{bad}");
        }
    }
}
