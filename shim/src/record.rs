//! The files in a pod's folder that agent and shim share, and that outlive both.
//!
//! ```text
//! <pods>/<uid>_<attempt>/       made by the agent
//!   shim.json                   [`Sandbox`]: what the shim has to set up
//!   shim.sock                   the shim listens here while it lives
//!   shim.log                    what the shim says of itself
//!   containers/<name>_<attempt>/
//!     config.json, rootfs/      the OCI bundle
//!     shim.json                 [`Container`]: how the shim runs it
//!     started.json              [`Started`], when its program runs
//!     exit.json                 [`Exit`], when it has ended or could not be started
//!     log, log.1 …              what it wrote, in the CRI's format
//! ```
//!
//! Each file appears whole, by a rename. None is synced to the disk: after a crash of the machine every container is dead, and one without
//! `exit.json` counts as killed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Room that is taken on the disk for a container's end before it starts, in bytes: a full disk cannot hide an end. One block.
const EXIT_BYTES: usize = 4096;

/// The longest message in [`Exit`], in bytes: its escapes leave it well below [`EXIT_BYTES`].
pub const MESSAGE_MAX_BYTES: usize = 1024;

/// The name of the shim's files for a sandbox and for a container.
pub const SHIM: &str = "shim.json";
/// The name of [`Started`].
pub const STARTED: &str = "started.json";
/// The name of [`Exit`].
pub const EXIT: &str = "exit.json";
/// Where an end's room is kept until it comes.
const EXIT_ROOM: &str = "exit.room";
/// The current log; older ones are `log.1`, `log.2` and so on.
pub const LOG: &str = "log";
/// The folder of a pod's containers.
pub const CONTAINERS: &str = "containers";
/// The folder in which libcontainer keeps its state.
pub const OCI: &str = "oci";

/// What a shim sets up for a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// None leaves the host's, with the host's UTS namespace.
    pub hostname: Option<String>,
    pub host_network: bool,
    pub host_ipc: bool,
    /// Whether its containers see one another's processes.
    #[serde(default)]
    pub share_processes: bool,
    /// Names with dots, as `sysctl` has them.
    pub sysctls: BTreeMap<String, String>,
    pub oom_score_adj: i32,
    /// Whether the pod may be started elsewhere when its node is silent, so that it has to end here.
    #[serde(default)]
    pub fenced: bool,
}

/// How a shim runs a container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// The container's id for libcontainer.
    pub id: String,
    /// From a cgroup hierarchy's root, as in the bundle.
    pub cgroups_path: String,
    pub tty: bool,
    /// Whether standard input stays open.
    pub stdin: bool,
    /// Whether the first client that writes there is the only one, and its end is the end of the input.
    #[serde(default)]
    pub stdin_once: bool,
    /// A log is moved aside when it is that long, in bytes.
    pub log_max_bytes: u64,
    /// How many files of log are kept, the current one among them.
    pub log_max_files: u32,
    /// Where compiled system call filters are kept; none compiles each anew.
    #[serde(default)]
    pub filters: Option<PathBuf>,
}

/// A container's program runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub pid: i32,
    /// Nanoseconds since 1970.
    pub at_ns: u64,
}

/// A container's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The program's own, or 128 and the signal's number, or 128 where it could not be started.
    pub exit_code: i32,
    pub signal: Option<i32>,
    /// Whether the kernel killed one of its processes for want of memory.
    pub oom_killed: bool,
    /// Nanoseconds since 1970; none if its program never ran.
    pub started_ns: Option<u64>,
    pub finished_ns: u64,
    /// Why it could not be started.
    pub message: String,
}

/// Puts a file in place whole.
///
/// # Errors
/// The disk's.
pub fn write<T: Serialize>(folder: &Path, name: &str, it: &T) -> io::Result<()> {
    write_bytes(folder, name, &serde_json::to_vec(it)?)
}

/// Puts a file of any text in place whole, readable for its owner alone.
///
/// # Errors
/// The disk's.
pub fn write_bytes(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let unfinished = folder.join(format!(".{name}.new"));
    fs::write(&unfinished, bytes)?;
    fs::rename(&unfinished, folder.join(name))
}

/// Reads a file; none if it is not there.
///
/// # Errors
/// The disk's, or what is in the file is not what should be.
pub fn read<T: DeserializeOwned>(folder: &Path, name: &str) -> io::Result<Option<T>> {
    match fs::read(folder.join(name)) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the room for [`record_exit`].
///
/// # Errors
/// The disk's, a full one among them.
pub fn reserve_exit(container: &Path) -> io::Result<()> {
    let mut file = File::create(container.join(EXIT_ROOM))?;
    file.write_all(&[b' '; EXIT_BYTES])
}

/// Whether a start was begun.
pub fn was_begun(container: &Path) -> bool {
    container.join(EXIT_ROOM).exists() || container.join(STARTED).exists()
}

/// Records an end, in the room that was taken for it where there is some. The first end that is recorded stays.
///
/// # Errors
/// The disk's.
pub fn record_exit(container: &Path, exit: &Exit) -> io::Result<()> {
    if container.join(EXIT).exists() {
        return Ok(());
    }
    let mut bytes = serde_json::to_vec(exit)?;
    if bytes.len() < EXIT_BYTES {
        // Blanks after a value are part of JSON, and none of the room has to be given back.
        bytes.resize(EXIT_BYTES, b' ');
    }
    let room = container.join(EXIT_ROOM);
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).open(&room)?;
    file.write_all(&bytes)?;
    fs::rename(&room, container.join(EXIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_recorded_once_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let exit = |exit_code| Exit {
            exit_code,
            signal: None,
            oom_killed: false,
            started_ns: Some(1),
            finished_ns: 2,
            message: "\u{1}".repeat(MESSAGE_MAX_BYTES / 2),
        };
        assert_eq!(read::<Exit>(folder.path(), EXIT).unwrap(), None);
        reserve_exit(folder.path()).unwrap();
        record_exit(folder.path(), &exit(3)).unwrap();
        record_exit(folder.path(), &exit(4)).unwrap();
        assert_eq!(read::<Exit>(folder.path(), EXIT).unwrap(), Some(exit(3)));
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, [EXIT]);
    }
}
