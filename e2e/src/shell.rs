//! A shell in a container that stays open. Who asks the same pods a hundred times needs one kubectl for each of them so, not a hundred.
//!
//! In: scripts, over kubectl's standard input. Out: the lines that each printed, up to a line that says that it is over.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::kubectl::Kubectl;

/// What no script prints but at its end.
const OVER: &str = "orlop-e2e: over";

/// A `sh` in a container, behind a `kubectl exec`.
pub struct Shell {
    kubectl: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Shell {
    /// Opens one in the first container of a pod.
    ///
    /// # Errors
    /// kubectl cannot be started.
    pub fn open(kubectl: &Kubectl, namespace: &str, pod: &str) -> Result<Shell> {
        let mut command = kubectl.command(&["-n", namespace, "exec", "-i", pod, "--", "sh"]);
        let mut kubectl = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let input = kubectl.stdin.take().context("no standard input")?;
        let output = kubectl.stdout.take().context("no standard output")?;
        let (send, lines) = channel();
        std::thread::spawn(move || {
            // Until the shell has ended, or nobody listens any more.
            BufReader::new(output).lines().map_while(Result::ok).all(|it| send.send(it).is_ok())
        });
        Ok(Shell { kubectl, input, lines })
    }

    /// Runs a script, and waits until it has ended; what it printed, in lines.
    ///
    /// # Errors
    /// The shell has ended, or the script takes longer than `limit`.
    pub fn run(&mut self, script: &str, limit: Duration) -> Result<Vec<String>> {
        writeln!(self.input, "{script}\necho '{OVER}'").context("the shell has ended")?;
        self.input.flush()?;
        let deadline = Instant::now() + limit;
        let mut printed = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left).with_context(|| format!("the shell is silent after {printed:?}"))? {
                line if line == OVER => return Ok(printed),
                line => printed.push(line),
            }
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // `timeout` passes on what kills it only if it is asked nicely; its kubectl ends with its input, too.
        let id = nix::unistd::Pid::from_raw(self.kubectl.id().cast_signed());
        let _ = nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGTERM);
        let _ = self.kubectl.wait();
    }
}
