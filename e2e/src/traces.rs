//! What nodes have on this machine: containers, links, rules, mounts, files. Nothing of it may be left when a cluster is gone.

use std::path::Path;
use std::process::Command;

use anyhow::Result;
use sha2::{Digest, Sha256};

use crate::registry::docker;
use crate::tool;

/// Everything on this machine that belongs to one of these nodes or lies under `folder`, each in words.
///
/// # Errors
/// When a program that lists them fails.
pub fn of(nodes: &[String], folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let folder = folder.display().to_string();
    for node in nodes {
        // Where no Engine is, there are no containers of it.
        if Path::new("/var/run/docker.sock").exists() {
            let filter = format!("label=dev.orlop.node={node}");
            let shown = "container {{.Names}} {{.Status}}";
            let containers = docker(&["ps", "--all", "--filter", &filter, "--format", shown])?;
            found.extend(containers.lines().map(str::to_owned));
        }
        let mark = mark(node);
        let lists: [&[&str]; 4] =
            [&["ip", "-o", "link"], &["ip", "-4", "route"], &["nft", "list", "tables"], &["iptables-save"]];
        for list in lists {
            let text = tool::run(Command::new(tool::machine(list[0], list[0])?).args(&list[1..]))?;
            found.extend(text.lines().filter(|it| it.contains(&mark)).map(|it| format!("{}: {it}", list[0])));
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    found.extend(mounts.lines().filter(|it| it.contains(&folder)).map(|it| format!("mount: {it}")));
    if Path::new(&folder).exists() {
        let files = tool::run(Command::new("find").arg(&folder))?;
        found.extend(files.lines().map(|it| format!("file: {it}")));
    }
    for process in std::fs::read_dir("/proc")?.flatten() {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(&folder) && !command.contains("kubectl") {
            found.push(format!("process {}: {command}", process.file_name().display()));
        }
    }
    Ok(found)
}

/// What stands in the names of a node's links, tables and rules.
pub fn mark(node: &str) -> String {
    Sha256::digest(node.as_bytes())[..4].iter().map(|it| format!("{it:02x}")).collect()
}
