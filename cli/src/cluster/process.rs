//! Processes that outlive the command: known by number, time of start and boot, so that a number that was given again is never signalled.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// The pause between two looks at processes that are ending: they are nobody's children, so nobody is told.
const PAUSE: Duration = Duration::from_millis(5);
/// How long the kernel may take to end what was killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// Since boot, in the kernel's ticks.
    started: u64,
    boot: String,
}

/// The processes of a cluster, by part.
pub type Processes = BTreeMap<String, Process>;

impl Process {
    /// The process that has this number now.
    ///
    /// # Errors
    /// There is none.
    pub fn of(pid: u32) -> io::Result<Self> {
        let pid = i32::try_from(pid).map_err(io::Error::other)?;
        let (started, _) = stat(pid)?;
        Ok(Process { pid, started, boot: boot()? })
    }

    /// Whether it runs. One that has ended and whose parent has not asked for it yet does not.
    pub fn lives(&self) -> bool {
        boot().is_ok_and(|it| it == self.boot)
            && stat(self.pid).is_ok_and(|(started, state)| started == self.started && !matches!(state, 'Z' | 'X'))
    }

    /// Sends a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        if self.lives() {
            // It may have ended in between, which is as good.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// Asks processes to end, and kills those that have not within `limit`.
///
/// # Errors
/// One does not even die.
pub async fn end(processes: &[Process], limit: Duration) -> Result<()> {
    for (signal, limit) in [(Signal::SIGTERM, limit), (Signal::SIGKILL, KILL_LIMIT)] {
        processes.iter().for_each(|it| it.signal(signal));
        let deadline = Instant::now() + limit;
        while processes.iter().any(Process::lives) && Instant::now() < deadline {
            tokio::time::sleep(PAUSE).await;
        }
    }
    match processes.iter().find(|it| it.lives()) {
        Some(it) => bail!("process {} does not end", it.pid),
        None => Ok(()),
    }
}

/// All processes in network namespaces of these numbers.
pub fn in_namespaces(numbers: &[u64]) -> Vec<Process> {
    use std::os::unix::fs::MetadataExt;
    let mut found = Vec::new();
    let number = |path: &Path| std::fs::metadata(path).map(|it| it.ino()).ok();
    // Never those beside us, whatever was bound to a file.
    let own = number(Path::new("/proc/self/ns/net"));
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<u32>().ok()) else { continue };
        let its = number(&entry.path().join("ns/net"));
        if its != own && its.is_some_and(|it| numbers.contains(&it)) {
            found.extend(Process::of(pid).ok());
        }
    }
    found
}

/// Reads what was noted; nothing if nothing was.
///
/// # Errors
/// The file cannot be read.
pub fn read(path: &Path) -> Result<Processes> {
    match std::fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Processes::new()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Notes what runs.
///
/// # Errors
/// The disk refuses.
pub fn write(path: &Path, processes: &Processes) -> Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, serde_json::to_vec_pretty(processes)?)?;
    std::fs::rename(&next, path).with_context(|| format!("cannot write {}", path.display()))
}

fn boot() -> io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// When a process started, and its state.
fn stat(pid: i32) -> io::Result<(u64, char)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&text).ok_or_else(|| io::Error::other("the kernel's line about a process cannot be read"))
}

/// The 22nd and the third field of proc(5)'s `stat`; the second, a name in parentheses, may have anything in it.
fn parse(stat: &str) -> Option<(u64, char)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read() {
        let line = "42 (a) b (c) S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 6 7";
        assert_eq!(parse(line), Some((12345, 'S')));
        assert_eq!(parse("42 (a"), None);
    }

    #[tokio::test]
    async fn a_number_that_was_given_again_is_another_process() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        assert!(process.lives());
        let other = Process { started: process.started + 1, ..process.clone() };
        let before_boot = Process { boot: "another".into(), ..process.clone() };
        assert!(!other.lives() && !before_boot.lives());
        end(&[other, before_boot], Duration::ZERO).await.unwrap();
        assert!(process.lives());
        end(std::slice::from_ref(&process), Duration::from_secs(10)).await.unwrap();
        assert!(!process.lives());
        child.wait().unwrap();
        assert!(Process::of(child.id()).is_err());
    }

    #[test]
    fn what_is_noted_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("processes.json");
        assert!(read(&path).unwrap().is_empty());
        let processes = Processes::from([("it".to_owned(), Process::of(std::process::id()).unwrap())]);
        write(&path, &processes).unwrap();
        assert_eq!(read(&path).unwrap(), processes);
        std::fs::write(&path, "nonsense").unwrap();
        assert!(read(&path).is_err());
    }
}
