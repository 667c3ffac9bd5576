//! The way to an agent for programs of its own machine: a socket in its data directory that only its user may use.
//!
//! The image store is locked by the agent's process, so that a command which loads images asks the agent. Plain HTTP over `agent.sock`:
//!
//! ```text
//! POST /images/load    the body is an archive; answers the images that were in it
//! GET  /images         answers the images that are here
//! POST /stop           the agent ends, and leaves its pods running
//! POST /shutdown       the machine goes down: the pods are ended; answers what became of them
//! ```
//!
//! Refusals are a status and a line of text. It knows no pods; what is asked over the network is [`crate::server`]'s.

mod client;
mod server;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use client::{LocalError, images, load, power_off, stop};
pub use server::Door;

use crate::runtime::Image;

/// The socket's name in an agent's data directory.
pub const SOCKET: &str = "agent.sock";

/// The longest time that a whole archive may take to arrive and be loaded: ten gigabytes at 10 MB/s of a slow disk, three times over.
const LOAD_WITHIN: Duration = Duration::from_secs(3600);

/// The longest that a command waits for the end of all pods: longer than any machine's way down.
const POWER_OFF_WITHIN: Duration = Duration::from_secs(3600);

/// An image, as it is told over the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LocalImage {
    pub id: String,
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    pub size_bytes: u64,
}

impl From<Image> for LocalImage {
    fn from(it: Image) -> Self {
        LocalImage { id: it.id, tags: it.tags, digests: it.digests, size_bytes: it.size_bytes }
    }
}

/// A folder as an address has room for it. A socket's address holds a hundred bytes, and a data directory may lie deeper: it is reached through a
/// descriptor, which has to be open as long as the path is used.
fn short(folder: &Path) -> io::Result<(File, PathBuf)> {
    let folder = File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(folder)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    Ok((folder, path))
}

#[cfg(test)]
mod tests;
