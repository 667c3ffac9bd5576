//! Children of the program `orlop-shim-helper` that make or enter a container, and how they report to the shim: a line of JSON on their standard input,
//! which is a pipe's writing end. They end at once; the process that they leave becomes the shim's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use serde::{Deserialize, Serialize};

use crate::record::MESSAGE_MAX_BYTES;

/// The longest report that is read, in bytes: a message and its escapes.
const REPORT_MAX_BYTES: u64 = 16 << 10;

/// What a helper has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// This process runs now.
    Ran(i32),
    Failed(String),
}

/// A helper at work.
#[derive(Debug)]
pub struct Helper {
    pub pid: i32,
    report: File,
}

impl Helper {
    /// Starts one of `program`: `verb` and its arguments, with these outputs for the process that it will leave.
    ///
    /// # Errors
    /// No process could be made.
    pub fn spawn(
        program: &OwnedFd,
        verb: &str,
        arguments: &[&OsStr],
        stdout: OwnedFd,
        stderr: OwnedFd,
    ) -> io::Result<Self> {
        let (report, writing) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // The file that the agent gave, whatever has become of its path.
        let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
        command.arg0("orlop-shim-helper").arg(verb).args(arguments);
        let child =
            command.stdin(Stdio::from(writing)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr)).spawn()?;
        Ok(Self { pid: i32::try_from(child.id()).unwrap_or(-1), report: File::from(report) })
    }

    /// What it reported, once it has ended.
    pub fn report(self) -> Report {
        let mut text = Vec::new();
        // Nothing more comes: either it is all there, or the rest never will be.
        let _ = self.report.take(REPORT_MAX_BYTES).read_to_end(&mut text);
        serde_json::from_slice(&text).unwrap_or_else(|_| Report::Failed("the shim's helper died".to_owned()))
    }
}

/// In a helper: undoes what it has inherited from the shim that its container must not.
pub fn begin() {
    // The shim reads its signals from a descriptor and has them blocked. It cannot fail with these arguments.
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // What a helper makes after the shim's death would be nobody's.
    let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
}

/// In a helper: tells the shim how it went.
pub fn tell(outcome: Result<i32, String>) {
    let report = match outcome {
        Ok(pid) => Report::Ran(pid),
        Err(message) => Report::Failed(shortened(message)),
    };
    let text = serde_json::to_vec(&report).unwrap_or_default();
    // A shim that is gone hears nothing; the agent finds what it left by its cgroup.
    let _ = nix::unistd::write(io::stdin().as_fd(), &text);
}

/// A message that fits where it is recorded.
pub fn shortened(mut message: String) -> String {
    let mut end = MESSAGE_MAX_BYTES.min(message.len());
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_between_letters() {
        assert_eq!(shortened("short".into()), "short");
        assert_eq!(shortened("ä".repeat(MESSAGE_MAX_BYTES)).len(), MESSAGE_MAX_BYTES);
        assert_eq!(shortened(format!("a{}", "ä".repeat(MESSAGE_MAX_BYTES))).len(), MESSAGE_MAX_BYTES - 1);
    }
}
