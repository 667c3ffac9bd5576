//! A process of ours: its log in a file, killed by its id when dropped.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child as Process, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a process gets to end after SIGTERM before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// How much of a log is shown when something went wrong.
const TAIL_BYTES: usize = 4_000;

/// A running process, or one that has ended.
pub struct Child {
    name: String,
    process: Process,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `command`; both its outputs are appended to `<folder>/<name>.log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Result<Child> {
        let log = folder.join(format!("{name}.log"));
        let file: File = OpenOptions::new().create(true).append(true).open(&log)?;
        command.stdin(std::process::Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A group of its own, so that a signal for the test does not reach it before the test has cleaned up.
        command.process_group(0);
        let process = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Child { name: name.to_owned(), process, log, ended: None })
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.reap();
    }

    /// SIGTERM, and SIGKILL if it takes too long. Says how it ended.
    ///
    /// # Errors
    /// When it did not end by itself in time.
    pub fn stop(&mut self) -> Result<Option<ExitStatus>> {
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + STOP_LIMIT;
        while self.runs() {
            if Instant::now() > deadline {
                self.kill();
                bail!("{} did not stop within {STOP_LIMIT:?}: {}", self.name, self.tail());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(self.ended)
    }

    /// Sends a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.runs() {
            // Not reaped yet, so the id is still its own.
            let _ = kill(Pid::from_raw(self.process.id() as i32), signal);
        }
    }

    /// Its whole log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log, for error messages.
    pub fn tail(&self) -> String {
        let log = self.log();
        let mut from = log.len().saturating_sub(TAIL_BYTES);
        while !log.is_char_boundary(from) {
            from += 1;
        }
        format!("--- {} ---\n{}", self.name, &log[from..])
    }

    fn reap(&mut self) {
        if self.ended.is_none() {
            self.ended = self.process.wait().ok();
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}
