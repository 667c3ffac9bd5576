//! The runtime that an agent's settings ask for, opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::{Config, RuntimeKind};
use crate::runtime::docker::DockerRuntime;
use crate::runtime::hollow::{Hollow, HollowOptions};
use crate::runtime::native::images::ImageStore;
use crate::runtime::native::{Limits, NativeRuntime, find_shim};
use crate::runtime::{Runtime, RuntimeError};

/// Opens it. Docker need not be running yet.
///
/// # Errors
/// Settings that cannot work on this machine.
pub async fn open(config: &Config) -> Result<Arc<dyn Runtime>, RuntimeError> {
    let shim = find_shim(config.shim.as_deref());
    let root = nix::unistd::geteuid().is_root();
    Ok(match resolved(config.runtime, root, shim.is_some()) {
        RuntimeKind::Hollow => Arc::new(Hollow::new(HollowOptions::default())),
        RuntimeKind::Native => Arc::new(native(&config.data_dir, shim).await?),
        RuntimeKind::Docker | RuntimeKind::Auto => Arc::new(DockerRuntime::from_env(&config.node_name)?),
    })
}

/// The runtime `native` of the node that keeps its things in `data_dir`.
///
/// # Errors
/// There is no shim, or the disk refuses.
pub async fn native(data_dir: &Path, shim: Option<PathBuf>) -> Result<NativeRuntime, RuntimeError> {
    let shim = shim.ok_or_else(|| {
        RuntimeError::Unavailable("orlop-shim is not beside this program: build it, or name it with --shim".to_owned())
    })?;
    let folder = data_dir.join("native");
    let images = ImageStore::open(&folder.join("images"))?;
    NativeRuntime::open(&folder, &shim, Arc::new(images), Limits::default()).await
}

/// What `auto` means here: native takes root and the shim, and nothing else.
fn resolved(asked: RuntimeKind, root: bool, shim: bool) -> RuntimeKind {
    match asked {
        RuntimeKind::Auto if root && shim => RuntimeKind::Native,
        RuntimeKind::Auto => RuntimeKind::Docker,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_takes_what_works_here() {
        use RuntimeKind::*;
        let check = |asked, root, shim, expected| assert_eq!(resolved(asked, root, shim), expected);
        check(Auto, true, true, Native);
        check(Auto, false, true, Docker);
        check(Auto, true, false, Docker);
        check(Docker, true, true, Docker);
        check(Native, false, false, Native);
    }
}
