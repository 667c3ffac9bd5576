//! A containerd for tests, as `scripts/containerd-start` makes it, and what its own program says of containers.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::tool;

/// The flags of an agent whose pods it runs.
pub const AGENT_FLAGS: &[&str] = &["--runtime-endpoint", "unix:///run/orlop-containerd/containerd.sock"];
/// Where it listens.
const SOCKET: &str = "/run/orlop-containerd/containerd.sock";

/// Makes sure that it answers, once a test process.
///
/// # Errors
/// When it cannot be installed or started; the error says why.
pub fn start() -> Result<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || tool::run(&mut Command::new(tool::repository().join("scripts/containerd-start"))).map(drop);
    STARTED.get_or_init(|| start().map_err(|it| format!("{it:#}"))).clone().map_err(anyhow::Error::msg)
}

/// The process of a running container.
///
/// # Errors
/// When there is no such container, or it does not run.
pub fn pid(id: &str) -> Result<u32> {
    let mut command = Command::new(tool::machine("ctr", "containerd")?);
    let tasks = tool::run(command.args(["--address", SOCKET, "--namespace", "k8s.io", "tasks", "list"]))?;
    // `TASK PID STATUS`, one a line.
    let line = tasks.lines().find(|it| it.starts_with(id)).with_context(|| format!("{id} is not among {tasks}"))?;
    let pid = line.split_whitespace().nth(1).with_context(|| format!("{line:?} names no process"))?;
    Ok(pid.parse()?)
}
