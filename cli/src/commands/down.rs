//! `orlop down`: stops what `orlop up` runs, and removes the pods and networks that it left. The store, keys and certificates stay, unless
//! `--purge` removes the whole data directory.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

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
            std::fs::remove_dir_all(entry.path())?;
            say!("node \"{name}\" removed");
        }
    }
    if args.purge {
        std::fs::remove_dir_all(&data_dir)?;
        say!("{} removed", data_dir.display());
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
