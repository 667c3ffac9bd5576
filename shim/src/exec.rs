//! A command that runs in a container to its end: within a time and an amount of output, or for as long as who asked for it stays.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::time::Instant;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// One read of output, in bytes.
const READ_BYTES: usize = 16 << 10;

/// The most that is read after the command has ended, in bytes: something that it left behind may write for ever.
const DRAIN_MAX_BYTES: usize = 1 << 20;

/// A command under way.
#[derive(Debug)]
pub struct Exec {
    /// Who asked.
    pub session: u64,
    /// The reading end of its output, which does not block; none once it has ended.
    pub output: Option<File>,
    kept: Vec<u8>,
    limit_bytes: usize,
    /// Its process, which leads a group of its own; none until the helper has started it.
    pub pid: Option<i32>,
    /// None for one that has its own outputs and may take as long as it likes.
    pub deadline: Option<Instant>,
    /// Its input, which the helper opens by this; let go when it has, so that the command alone reads there.
    pub input: Option<OwnedFd>,
}

impl Exec {
    /// A command whose helper is at work.
    pub fn new(session: u64, output: File, limit_bytes: usize, deadline: Instant) -> Self {
        Self {
            session,
            output: Some(output),
            kept: Vec::new(),
            limit_bytes,
            pid: None,
            deadline: Some(deadline),
            input: None,
        }
    }

    /// A command with streams of its own, which go past the shim.
    pub fn apart(session: u64, input: Option<OwnedFd>) -> Self {
        Self { session, output: None, kept: Vec::new(), limit_bytes: 0, pid: None, deadline: None, input }
    }

    /// Whether its streams go past the shim.
    pub fn is_apart(&self) -> bool {
        self.deadline.is_none()
    }

    /// Reads what has come; what is over the limit is thrown away, so that the command does not stand still.
    pub fn read(&mut self) {
        let mut buffer = [0; READ_BYTES];
        let mut total = 0;
        while let Some(output) = &mut self.output
            && total < DRAIN_MAX_BYTES
        {
            match output.read(&mut buffer) {
                Ok(count @ 1..) => {
                    let room = self.limit_bytes.saturating_sub(self.kept.len());
                    self.kept.extend_from_slice(&buffer[..count.min(room)]);
                    total += count;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => self.output = None,
            }
        }
    }

    /// What it wrote, up to the limit.
    pub fn kept(&self) -> &[u8] {
        &self.kept
    }

    /// Ends it and what it started, as far as that stayed in its group.
    pub fn kill(&self) {
        if let Some(pid) = self.pid {
            kill_group(pid);
        }
    }
}

/// Kills the group that a command leads.
pub fn kill_group(pid: i32) {
    if pid > 1 {
        // It may be over.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
}
