//! The process of a command: the CRI does not name it, and has no call to kill it when its client has gone.
//!
//! It is found among the machine's processes: in the container's namespace of processes, a child of who is the parent of the container's own
//! process (the shim), and begun after the command was asked for. Where several are, the command's words tell which; where that does not tell,
//! none is killed.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

/// Processes that are looked through; a machine has fewer.
const PROCESSES_MAX: usize = 1 << 22;

/// A command, as long as its session lasts.
pub struct Abandoned {
    /// The container's process.
    main: Option<u32>,
    command: Vec<String>,
    /// When it was asked for, in the kernel's ticks since its start.
    since: u64,
    ended: bool,
}

/// What `/proc/<pid>/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    /// In ticks since the kernel's start.
    started: u64,
}

impl Abandoned {
    /// Of a command that is about to be asked for, in the container of this process.
    pub fn new(main: Option<u32>, command: &[String]) -> Self {
        let since = now().unwrap_or(0);
        Abandoned { main, command: command.to_vec(), since, ended: false }
    }

    /// Whether a process is there that may be the command's.
    pub async fn runs(&self) -> bool {
        let Some(main) = self.main else { return true };
        let (command, since) = (self.command.clone(), self.since);
        let looked = tokio::task::spawn_blocking(move || candidates(main, &command, since));
        looked.await.is_ok_and(|it| it.is_none_or(|it| !it.is_empty()))
    }

    /// The command has ended: there is nobody to kill.
    pub fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        let Some(main) = self.main.filter(|_| !self.ended) else { return };
        let (command, since) = (std::mem::take(&mut self.command), self.since);
        // While the process ends there may be nobody left to do it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || find_and_kill(main, &command, since));
        }
    }
}

fn find_and_kill(main: u32, command: &[String], since: u64) {
    let Some(found) = find(main, command, since) else { return };
    let pid = Pid::from_raw(found);
    // The runtime makes each command the first of a group: what it has started goes along.
    let leads = getpgid(Some(pid)) == Ok(pid);
    let killed = if leads { killpg(pid, Signal::SIGKILL) } else { kill(pid, Signal::SIGKILL) };
    if let Err(error) = killed {
        tracing::debug!(%error, "an abandoned command could not be killed");
    }
}

fn find(main: u32, command: &[String], since: u64) -> Option<i32> {
    let candidates = candidates(main, command, since)?;
    let named: Vec<i32> = candidates.iter().filter(|it| it.1).map(|it| it.0).collect();
    match (candidates.as_slice(), named.as_slice()) {
        ([(one, _)], _) | (_, [one]) => Some(*one),
        _ => None,
    }
}

/// Processes that may be the command's, and whether their words are; none if the container's own cannot be looked at.
fn candidates(main: u32, command: &[String], since: u64) -> Option<Vec<(i32, bool)>> {
    let own = PathBuf::from("/proc").join(main.to_string());
    let (shim, namespace) = (stat(&own)?.parent, fs::read_link(own.join("ns/pid")).ok()?);
    let mut found = Vec::new();
    for it in fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX) {
        let Some(pid) = it.file_name().to_str().and_then(|it| it.parse::<i32>().ok()) else { continue };
        let fits = stat(&it.path()).is_some_and(|it| it.parent == shim && it.started >= since);
        if !fits
            || pid.unsigned_abs() == main
            || fs::read_link(it.path().join("ns/pid")).ok().as_ref() != Some(&namespace)
        {
            continue;
        }
        let words = fs::read(it.path().join("cmdline")).unwrap_or_default();
        let same = words.split(|it| *it == 0).zip(command).filter(|(word, it)| *word == it.as_bytes()).count();
        found.push((pid, same == command.len()));
    }
    Some(found)
}

/// The time since the kernel's start, in its ticks.
fn now() -> Option<u64> {
    let (seconds, ticks) = fs::read_to_string("/proc/uptime").ok().and_then(|it| {
        let (seconds, parts) = it.split_whitespace().next()?.split_once('.')?;
        Some((seconds.parse::<u64>().ok()?, parts.parse::<u64>().ok()?))
    })?;
    // Both are in hundredths: the kernel shows its ticks so (`USER_HZ`).
    Some(seconds * 100 + ticks)
}

fn stat(process: &Path) -> Option<Stat> {
    parse(&fs::read_to_string(process.join("stat")).ok()?)
}

/// The name may hold anything, and stands in brackets.
fn parse(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_read() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1";
        assert_eq!(parse(text), Some(Stat { parent: 7, started: 123_456 }));
        assert_eq!(parse("42 (x"), None);
        assert_eq!(parse(""), None);
        let own = stat(Path::new("/proc/self")).unwrap();
        assert!(own.started <= now().unwrap() && own.parent > 0);
    }
}
