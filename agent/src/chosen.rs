//! The runtime that an agent's settings ask for, opened, with what loads images into it.
//!
//! A data directory remembers which runtime has its node's pods (`runtime`): another would start them a second time beside the first.

mod overlay;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{Config, NetworkKind, RuntimeKind};
use crate::runtime::cri::CriRuntime;
use crate::runtime::docker::DockerRuntime;
use crate::runtime::hollow::{Hollow, HollowOptions};
use crate::runtime::loader::Loader;
use crate::runtime::native::images::ImageStore;
use crate::runtime::native::{Limits, NativeRuntime, find_shim, keep_cgroup_root};
use crate::runtime::{Runtime, RuntimeError};

/// The file in a data directory that names the runtime of its pods.
const NOTE: &str = "runtime";
/// The ledger of the pods' network, beside it.
const LEDGER: &str = "network.json";
/// The folder of the runtime `cri` in a data directory, and the file there that says where it listens.
const CRI: &str = "cri";
const ENDPOINT: &str = "endpoint";

/// A runtime, and its images' way in.
pub struct Chosen {
    pub runtime: Arc<dyn Runtime>,
    pub loader: Arc<dyn Loader>,
}

/// Opens it; the data directory is there. Docker need not be running yet.
///
/// # Errors
/// Settings that cannot work on this machine, or with what the data directory has.
pub async fn open(config: &Config) -> Result<Chosen, RuntimeError> {
    let shim = find_shim(config.shim.as_deref());
    let root = nix::unistd::geteuid().is_root();
    let able = || root && shim.is_some() && overlay::works(&config.data_dir);
    let kind = resolved(config.runtime, noted(&config.data_dir), able)?;
    if config.cluster_cidr.ipv6().is_some() && !matches!(kind, RuntimeKind::Native | RuntimeKind::Hollow) {
        return Err(RuntimeError::Other(format!(
            "pods have addresses of IPv6 under the runtime native only, and --cluster-cidr is {}",
            config.cluster_cidr
        )));
    }
    note(&config.data_dir, kind)
        .map_err(|it| RuntimeError::Other(format!("{}: {it}", config.data_dir.join(NOTE).display())))?;
    Ok(match kind {
        RuntimeKind::Hollow => {
            let hollow = Arc::new(Hollow::new(HollowOptions::default()));
            Chosen { runtime: hollow.clone(), loader: hollow }
        }
        RuntimeKind::Native => {
            keep_cgroup_root(&config.data_dir.join("native"), &config.cgroup_root)
                .map_err(|it| RuntimeError::Other(format!("--cgroup-root: {it}")))?;
            let images = store(&config.data_dir)?;
            let runtime = Arc::new(native(&config.data_dir, shim, images.clone(), config.fence_after).await?);
            Chosen { runtime, loader: Arc::new(images) }
        }
        RuntimeKind::Cri => {
            let folder = config.data_dir.join(CRI);
            let open = match config.network {
                NetworkKind::Own => CriRuntime::open,
                NetworkKind::Cni => CriRuntime::with_cni,
            };
            let cri = open(&config.runtime_endpoint, &config.node_name, &folder)?;
            std::fs::create_dir_all(&folder)
                .and_then(|()| std::fs::write(folder.join(ENDPOINT), &config.runtime_endpoint))
                .map_err(|it| RuntimeError::Other(format!("{}: {it}", folder.display())))?;
            let cri = Arc::new(cri);
            Chosen { runtime: cri.clone(), loader: cri }
        }
        RuntimeKind::Docker | RuntimeKind::Auto => {
            let docker = Arc::new(DockerRuntime::from_env(&config.node_name)?);
            Chosen { runtime: docker.clone(), loader: docker }
        }
    })
}

/// Removes what the runtime `native` has in a data directory. What is not there is not made.
///
/// # Errors
/// Something cannot be removed, or the node's agent runs.
pub async fn clean_native(data_dir: &Path) -> Result<(), RuntimeError> {
    match has_pods(data_dir) {
        true => native(data_dir, find_shim(None), store(data_dir)?, None).await?.remove_all().await,
        false => Ok(()),
    }
}

/// Ends the pods that the runtime `native` has in a data directory, and leaves what they were for an agent to find.
///
/// # Errors
/// Something does not end, or the node's agent runs.
pub async fn stop_native(data_dir: &Path, grace: Duration) -> Result<(), RuntimeError> {
    match has_pods(data_dir) {
        true => native(data_dir, find_shim(None), store(data_dir)?, None).await?.stop_all(grace).await,
        false => Ok(()),
    }
}

/// Whether there are pods of the runtime `native`, alive or dead. Without any, no shim is needed to end them.
fn has_pods(data_dir: &Path) -> bool {
    std::fs::read_dir(data_dir.join("native/pods")).is_ok_and(|mut it| it.next().is_some())
}

/// Removes what the runtime `cri` has of a node, at the endpoint that its data directory remembers. Where there never was one, nothing is asked.
///
/// # Errors
/// The runtime is away or refuses.
pub async fn clean_cri(node_name: &str, data_dir: &Path) -> Result<(), RuntimeError> {
    let folder = data_dir.join(CRI);
    let Ok(endpoint) = std::fs::read_to_string(folder.join(ENDPOINT)) else { return Ok(()) };
    CriRuntime::open(endpoint.trim(), node_name, &folder)?.remove_all().await?;
    std::fs::remove_dir_all(&folder).map_err(|it| RuntimeError::Other(format!("{}: {it}", folder.display())))
}

/// Forgets which runtime the node's pods had: there are none any more.
///
/// # Errors
/// The disk refuses.
pub fn forget(data_dir: &Path) -> io::Result<()> {
    match std::fs::remove_file(data_dir.join(NOTE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn store(data_dir: &Path) -> Result<ImageStore, RuntimeError> {
    ImageStore::open(&data_dir.join("native/images"))
}

async fn native(
    data_dir: &Path,
    shim: Option<PathBuf>,
    images: ImageStore,
    fence_after: Option<Duration>,
) -> Result<NativeRuntime, RuntimeError> {
    let shim = shim.ok_or_else(|| {
        RuntimeError::Unavailable("orlop-shim is not beside this program: build it, or name it with --shim".to_owned())
    })?;
    let folder = data_dir.join("native");
    NativeRuntime::open(&folder, &shim, Arc::new(images), Limits::default(), fence_after).await
}

/// Whether the pods of a data directory run without Docker's Engine.
pub fn is_without_engine(data_dir: &Path) -> bool {
    matches!(noted(data_dir), Some(RuntimeKind::Native | RuntimeKind::Cri))
}

fn noted(data_dir: &Path) -> Option<RuntimeKind> {
    match std::fs::read_to_string(data_dir.join(NOTE)).as_deref().map(str::trim) {
        Ok("native") => Some(RuntimeKind::Native),
        Ok("docker") => Some(RuntimeKind::Docker),
        Ok("cri") => Some(RuntimeKind::Cri),
        Ok(_) => None,
        // Agents before this note had a ledger of the network, and the Engine unless they had something of native's.
        Err(_) if data_dir.join(LEDGER).exists() && !data_dir.join("native").exists() => Some(RuntimeKind::Docker),
        Err(_) => None,
    }
}

fn note(data_dir: &Path, kind: RuntimeKind) -> io::Result<()> {
    // A hollow node leaves nothing that a successor could start twice.
    let Some(name) = name(kind) else { return Ok(()) };
    std::fs::write(data_dir.join(NOTE), name)
}

fn name(kind: RuntimeKind) -> Option<&'static str> {
    match kind {
        RuntimeKind::Native => Some("native"),
        RuntimeKind::Docker => Some("docker"),
        RuntimeKind::Cri => Some("cri"),
        RuntimeKind::Auto | RuntimeKind::Hollow => None,
    }
}

/// What was asked for, in a data directory that may have the pods of a runtime already. `auto` takes that one, else native where this machine is
/// `able` (root, the shim, a file system for overlays), else docker.
fn resolved(
    asked: RuntimeKind,
    before: Option<RuntimeKind>,
    able: impl FnOnce() -> bool,
) -> Result<RuntimeKind, RuntimeError> {
    match (asked, before) {
        (RuntimeKind::Auto, Some(before)) => Ok(before),
        (RuntimeKind::Auto, None) => Ok(if able() { RuntimeKind::Native } else { RuntimeKind::Docker }),
        (asked, Some(before)) if asked != before => {
            let before = name(before).unwrap_or_default();
            Err(RuntimeError::Other(format!(
                "the pods of this data directory run with --runtime {before}: remove them with `orlop down` (or `orlop node clean`) \
                 before another runtime takes them"
            )))
        }
        (asked, _) => Ok(asked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use RuntimeKind::*;

    #[test]
    fn auto_takes_what_works_here_and_what_was_here() {
        let check = |asked, before, able: bool, expected: Option<RuntimeKind>| {
            assert_eq!(resolved(asked, before, || able).ok(), expected, "{asked:?} {before:?} {able}");
        };
        check(Auto, None, true, Some(Native));
        check(Auto, None, false, Some(Docker));
        check(Auto, Some(Docker), true, Some(Docker));
        check(Auto, Some(Native), false, Some(Native));
        check(Docker, None, true, Some(Docker));
        check(Native, None, false, Some(Native));
        check(Native, Some(Native), false, Some(Native));
        check(Native, Some(Docker), true, None);
        check(Hollow, Some(Docker), true, None);
        check(Cri, None, true, Some(Cri));
        check(Auto, Some(Cri), true, Some(Cri));
        check(Docker, Some(Cri), true, None);
    }

    #[test]
    fn a_data_directory_remembers() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(noted(dir.path()), None);
        note(dir.path(), Hollow).unwrap();
        assert_eq!(noted(dir.path()), None);
        note(dir.path(), Native).unwrap();
        assert_eq!(noted(dir.path()), Some(Native));
        std::fs::write(dir.path().join(LEDGER), "{}").unwrap();
        assert_eq!(noted(dir.path()), Some(Native));
        std::fs::remove_file(dir.path().join(NOTE)).unwrap();
        assert_eq!(noted(dir.path()), Some(Docker), "as an agent left it that made no note");
        std::fs::create_dir(dir.path().join("native")).unwrap();
        assert_eq!(noted(dir.path()), None);
        forget(dir.path()).unwrap();
        forget(dir.path()).unwrap();
        assert_eq!(noted(dir.path()), None);
    }
}
