//! `orlop down`: stops what `orlop up` runs, and removes the pods and networks that it left. The store, keys, certificates and what lies in volumes
//! stay, unless `--purge` removes the whole data directory.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_agent::volumes::folders::Folders;

use super::up;
use crate::commands::node;
use crate::output::say;

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The data directory of the cluster; ~/.orlop if not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Remove the data directory, too: every object is gone.
    #[arg(long)]
    purge: bool,
}

/// How long a running `orlop up` gets to end: its server's drain and its parts' end.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// Runs it.
///
/// # Errors
/// When the cluster does not stop, or something of it cannot be removed.
pub async fn run(args: Args) -> Result<()> {
    let data_dir = up::existing_data_dir(args.data_dir.as_deref())?;
    stop(&data_dir).await?;
    let nodes = up::nodes_dir(&data_dir);
    if nodes.is_dir() {
        for entry in std::fs::read_dir(&nodes)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            node::clean(&name, &entry.path()).await.with_context(|| format!("cleaning up the node {name}"))?;
            clear(&entry.path())?;
            say!("node \"{name}\" removed");
        }
    }
    if args.purge {
        std::fs::remove_dir_all(&data_dir)?;
        say!("{} removed", data_dir.display());
    }
    Ok(())
}

/// Removes what a node kept, but for the volumes of claims: the claims are in the store still, and what users have stored with them.
fn clear(node: &Path) -> io::Result<()> {
    let volumes = Folders::new(node);
    for entry in std::fs::read_dir(node)? {
        let entry = entry?;
        if entry.path() == volumes.root() {
            continue;
        }
        match entry.file_type()?.is_dir() {
            true => std::fs::remove_dir_all(entry.path())?,
            false => std::fs::remove_file(entry.path())?,
        }
    }
    // Where there are no volumes nothing stays.
    for folder in [volumes.root(), node] {
        match std::fs::remove_dir(folder) {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                return Err(error);
            }
            _ => {}
        }
    }
    Ok(())
}

async fn stop(data_dir: &std::path::Path) -> Result<()> {
    let file = up::pid_file(data_dir);
    let Some(pid) = std::fs::read_to_string(&file).ok().and_then(|it| it.trim().parse().ok()) else { return Ok(()) };
    // The id may be another process's by now: only an orlop is stopped.
    let program = std::fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    if !program.file_name().is_some_and(|it| it.to_string_lossy().starts_with("orlop")) {
        return Ok(());
    }
    let pid = Pid::from_raw(pid);
    match kill(pid, Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => bail!("cannot stop process {pid}: {error}"),
    }
    let deadline = tokio::time::Instant::now() + STOP_LIMIT;
    // A process that has ended has no program any more, though its parent may not have asked for its end yet.
    while kill(pid, None).is_ok() && std::fs::read_link(format!("/proc/{pid}/exe")).is_ok() {
        if tokio::time::Instant::now() > deadline {
            bail!("process {pid} did not stop within {STOP_LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    say!("cluster stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_stay_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let node = dir.path().join("n");
        let there = |it: &str| node.join(it).exists();
        for folder in ["volumes/pvc-1", "native/images", "pods"] {
            std::fs::create_dir_all(node.join(folder)).unwrap();
        }
        std::fs::write(node.join("volumes/pvc-1/f"), "kept").unwrap();
        std::fs::write(node.join("network.json"), "{}").unwrap();
        clear(&node).unwrap();
        assert!(there("volumes/pvc-1/f") && !there("native") && !there("pods") && !there("network.json"));
        std::fs::remove_dir_all(node.join("volumes/pvc-1")).unwrap();
        clear(&node).unwrap();
        assert!(!node.exists());
    }
}
