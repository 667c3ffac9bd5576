//! What befalls nodes of a local cluster: a cut cable, a lossy one, a loss of power; and a reboot of them all.
//!
//! Cables are cut at the switch, as a machine sees it when somebody pulls the other end: its own interface stays as it was set, and
//! everything on the machine runs on. A loss of power ends all that runs on a node without a word.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::nodes::{Nodes, cgroup};
use crate::{tool, wait};

/// How long the kernel may take to end what was killed.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long all that a reboot ends may take to be gone, with other tests on both cores.
const REBOOT_LIMIT: Duration = Duration::from_secs(60);

impl Nodes {
    /// Cuts the cable of a node, or mends it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn cable(&self, node: &str, whole: bool) -> Result<()> {
        let at = self.names()?.iter().position(|it| it == node).with_context(|| format!("there is no node {node}"))?;
        let state = if whole { "up" } else { "down" };
        self.on("switch", &["ip", "link", "set", "dev", &format!("port{at}"), state]).map(drop)
    }

    /// Lets so many of a hundred packets between nodes get lost, by chance and in both directions; 0 mends it. What nodes and the host say to each other is spared.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn lose(&self, percent: u32) -> Result<()> {
        // The kernel that tests run on need not have netem.
        let rules = format!(
            "add table bridge loss\ndelete table bridge loss\ntable bridge loss {{\n  chain forward {{\n    type filter hook forward priority 0\n    \
             iifname \"port*\" oifname \"port*\" numgen random mod 100 < {percent} counter drop\n  }}\n}}\n"
        );
        let rules = if percent == 0 { "add table bridge loss\ndelete table bridge loss\n" } else { &rules };
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), rules)?;
        self.on("switch", &["nft", "-f", &file.path().display().to_string()]).map(drop)
    }

    /// How many packets have been lost since [`lose`](Nodes::lose).
    ///
    /// # Errors
    /// When none are to be lost.
    pub fn lost(&self) -> Result<u64> {
        let rules = self.on("switch", &["nft", "list", "table", "bridge", "loss"])?;
        let count = rules.split("packets ").nth(1).and_then(|it| it.split(' ').next()).context("no counter")?;
        Ok(count.parse()?)
    }

    /// Takes the power from a node that is not the first: its cable is dead, and everything on it dies, its agent as its pods.
    ///
    /// # Errors
    /// When something of it lives on.
    pub fn power_off(&self, node: &str) -> Result<()> {
        ensure!(self.names()?.first().is_some_and(|it| it != node), "the first node has the control plane");
        self.cable(node, false)?;
        let agent = self.process(&format!("agent-{node}"))?;
        // The agent first, so that it sees nothing die. What one process starts while another is killed is found at the next look.
        end(agent)?;
        wait::until(&format!("all of {node} is dead"), KILL_LIMIT, || {
            let left = self.running_on(node)?;
            left.iter().try_for_each(|it| end(*it))?;
            ensure!(left.is_empty(), "processes {left:?} live");
            Ok(())
        })
    }

    /// Gives a node that had no power its power and its cable back. Its network is still set up, which spares it what a reboot would have to do.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn power_on(&self, node: &str) -> Result<()> {
        self.cable(node, true)?;
        self.run(&["start", self.name()]).map(drop)
    }

    /// Does to the cluster what a reboot of the machine does: processes, namespaces, links and mounts are gone.
    ///
    /// # Errors
    /// When something of it stays.
    pub fn reboot(&self) -> Result<()> {
        let record = self.record()?;
        let folder = self.folder();
        // The parts first, so that no agent starts anew what is killed.
        for _ in 0..2 {
            for trace in self.traces(&record)? {
                let pid = trace.strip_prefix("process ").and_then(|it| it.split(':').next()?.parse().ok());
                pid.map_or(Ok(()), end)?;
            }
        }
        let left = |kind: &str| -> Result<()> {
            let left: Vec<String> = self.traces(&record)?.into_iter().filter(|it| it.starts_with(kind)).collect();
            ensure!(left.is_empty(), "{left:#?}");
            Ok(())
        };
        wait::until("all processes are gone", REBOOT_LIMIT, || left("process"))?;
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let ours: Vec<&str> = mounts.lines().filter_map(|it| it.split(' ').nth(1)).collect();
        for at in ours.into_iter().rev().filter(|it| it.starts_with(&folder.display().to_string())) {
            tool::run(Command::new("umount").args(["--lazy", at]))?;
        }
        // With its namespaces the cable is gone.
        wait::until("the links are gone", REBOOT_LIMIT, || left("ip:"))
    }

    /// Sandboxes on the nodes that belong to no pod which the API has there; `pods` are all that it has.
    ///
    /// # Errors
    /// When a node's folder cannot be read.
    pub fn strays(&self, pods: &[Value]) -> Result<Vec<String>> {
        let mut strays = Vec::new();
        for node in self.names()? {
            let here = |uid: &str| {
                pods.iter().any(|it| it["metadata"]["uid"] == *uid && it["spec"]["nodeName"] == node.as_str())
            };
            let folder = self.folder().join("nodes").join(&node).join("native/pods");
            for sandbox in std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?.flatten() {
                let name = sandbox.file_name().to_string_lossy().into_owned();
                if !here(name.split('_').next().unwrap_or_default()) {
                    strays.push(format!("{name} on {node}"));
                }
            }
        }
        Ok(strays)
    }

    /// The processes of a node: those in its network, its pods', and their shims.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn running_on(&self, node: &str) -> Result<Vec<i32>> {
        let space = std::fs::metadata(self.folder().join("netns").join(node))?.ino();
        let of_node = format!("{}/{node}/", cgroup(&self.folder().display().to_string()));
        let folder = format!("{}/", self.folder().join("nodes").join(node).display());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|it| it.parse::<i32>().ok()) else { continue };
            let read = |file: &str| std::fs::read(entry.path().join(file)).unwrap_or_default();
            let text = |file: &str| String::from_utf8_lossy(&read(file)).into_owned();
            // What has ended and is not reaped yet has no network any more.
            let network = std::fs::metadata(entry.path().join("ns/net")).map(|it| it.ino()).ok();
            let Some(network) = network else { continue };
            if network == space || text("cgroup").contains(&of_node) || text("cmdline").contains(&folder) {
                found.push(pid);
            }
        }
        Ok(found)
    }
}

/// kill -9, if it lives.
fn end(pid: i32) -> Result<()> {
    match kill(Pid::from_raw(pid), Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot kill {pid}")),
    }
}
