//! The pods of a data directory whose agent does not run, all at once: ended, taken away, or held still.
//!
//! It is what a node needs that goes down, or is to be copied. Only pods of the runtime `native` are meant: those of an engine are the engine's.

use std::io;
use std::path::Path;
use std::time::Duration;

use orlop_shim::cgroup::Cgroup;

use crate::runtime::RuntimeError;

/// Ends them as before the machine goes down: containers are asked to, and killed after `grace`. An agent that starts here finds what they were.
///
/// # Errors
/// Something does not end, or the node's agent runs.
pub async fn stop(data_dir: &Path, grace: Duration) -> Result<(), RuntimeError> {
    crate::chosen::stop_native(data_dir, grace).await
}

/// Takes them away, with their cgroups. Their network goes with the namespace that the node has for itself.
///
/// # Errors
/// Something cannot be removed, or the node's agent runs.
pub async fn remove(data_dir: &Path) -> Result<(), RuntimeError> {
    crate::chosen::clean_native(data_dir).await
}

/// Holds still all processes below a cgroup, or lets them go on. What is not there is still.
///
/// # Errors
/// The kernel refuses, or they do not stand still in time.
pub fn freeze(cgroup: &str, still: bool) -> io::Result<()> {
    Cgroup::find(cgroup)?.hold(still)
}

/// Removes a cgroup and those below it, which must be empty.
///
/// # Errors
/// Somebody is in there.
pub fn remove_cgroup(cgroup: &str) -> io::Result<()> {
    Cgroup::find(cgroup)?.remove()
}
