//! Into a running container from the machine, under every runtime: its process, and commands in its namespaces.
//!
//! It asks neither the API nor the agent, so that what is seen is what is.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::registry::docker;
use crate::tool;

/// The process of a running container. `id` is as a pod's status has it: `docker://…`, `containerd://…` or `native://…`; `agent_dir` is the data directory of the
/// node's agent.
///
/// # Errors
/// When there is no such container, or it has not started.
pub fn pid(id: &str, agent_dir: &Path) -> Result<u32> {
    match id.split_once("://") {
        Some(("docker", id)) => Ok(docker(&["inspect", "--format", "{{.State.Pid}}", id])?.trim().parse()?),
        Some(("containerd", id)) => crate::containerd::pid(id),
        Some(("native", id)) => {
            // <uid>_<attempt>_<name>_<attempt>: the folder's name.
            let at = id.match_indices('_').nth(1).with_context(|| format!("{id} is no container's id"))?.0;
            let (pod, container) = (&id[..at], &id[at + 1..]);
            let note = agent_dir.join("native/pods").join(pod).join("containers").join(container).join("started.json");
            let text = std::fs::read(&note).with_context(|| note.display().to_string())?;
            let started: serde_json::Value = serde_json::from_slice(&text)?;
            let pid = started["pid"].as_u64().and_then(|it| u32::try_from(it).ok());
            pid.with_context(|| format!("{} names no process", note.display()))
        }
        _ => bail!("{id:?} is no container's id"),
    }
}

/// Runs a command of the container's own in it.
///
/// # Errors
/// When the container does not run or the command fails.
pub fn run(id: &str, agent_dir: &Path, command: &[&str]) -> Result<String> {
    if let Some(id) = id.strip_prefix("docker://") {
        return docker(&[&["exec", id], command].concat());
    }
    let pid = pid(id, agent_dir)?.to_string();
    let mut enter = Command::new(tool::machine("nsenter", "util-linux")?);
    enter.args(["--target", &pid, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd"]);
    tool::run(enter.arg("--").args(command))
}
