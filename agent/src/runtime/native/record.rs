//! What the agent itself notes of a sandbox and of a container in their folders, beside the shim's files. A folder without its note is not
//! whole: it was left by a death in between, and is taken for absent.

use std::path::Path;

use jiff::Timestamp;
use orlop_shim::record;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::runtime::{PodRef, RuntimeError};

/// The name of [`Sandbox`].
pub const SANDBOX: &str = "sandbox.json";
/// The name of [`Container`].
pub const CONTAINER: &str = "container.json";

/// A pod's name, as it is noted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    pub pod: Pod,
    pub hostname: String,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    #[serde(default)]
    pub share_processes: bool,
    pub created: Timestamp,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub image: String,
    pub cgroups_path: String,
    /// The number of the signal that asks it to stop.
    pub stop_signal: i32,
    pub created: Timestamp,
}

impl From<&PodRef> for Pod {
    fn from(it: &PodRef) -> Self {
        Pod { namespace: it.namespace.clone(), name: it.name.clone(), uid: it.uid.clone() }
    }
}

impl From<Pod> for PodRef {
    fn from(it: Pod) -> Self {
        PodRef { namespace: it.namespace, name: it.name, uid: it.uid }
    }
}

/// Reads a note; none if it is not there. One that cannot be read is told and taken for absent, so that its folder can be removed.
pub fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> Option<T> {
    match record::read(folder, name) {
        Ok(it) => it,
        Err(error) => {
            tracing::warn!(%error, file = %folder.join(name).display(), "a note about a container cannot be read");
            None
        }
    }
}

/// Writes a note.
///
/// # Errors
/// The disk's.
pub fn write<T: Serialize>(folder: &Path, name: &str, it: &T) -> Result<(), RuntimeError> {
    record::write(folder, name, it).map_err(|error| failed(&folder.join(name), error))
}

/// A failure of the disk's at a path.
pub fn failed(path: &Path, error: std::io::Error) -> RuntimeError {
    RuntimeError::Other(format!("{}: {error}", path.display()))
}
