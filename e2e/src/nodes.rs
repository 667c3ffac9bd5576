//! A cluster of several nodes, each in a network namespace of its own, as `orlop cluster` makes it.
//!
//! Everything is asked of the command that users have; what is looked at beside it are the cluster's folder and its namespaces.
//! [`Cluster`](crate::cluster::Cluster) with [`Form::Nodes`](crate::cluster::Form) makes one, runs scenarios on it and takes it away.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::tool;

/// How much of a log an error shows.
const TAIL_BYTES: usize = 4000;

/// A local cluster, whether it is there or not.
#[derive(Clone, Debug)]
pub struct Nodes {
    clusters: PathBuf,
    name: String,
    environment: Vec<(String, String)>,
}

impl Nodes {
    /// That of a name, in a folder for clusters of a test's own.
    pub fn new(clusters: &Path, name: &str) -> Nodes {
        Nodes { clusters: clusters.to_owned(), name: name.to_owned(), environment: Vec::new() }
    }

    /// Gives the command, and every part that it starts, these variables.
    pub fn with_environment(self, environment: Vec<(String, String)>) -> Nodes {
        Nodes { environment, ..self }
    }

    /// The cluster's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes it, with so many nodes, which load the archives of these folders first. Gives what the command printed.
    ///
    /// # Errors
    /// When the command fails.
    pub fn create(&self, nodes: usize, images: &[PathBuf], more: &[&str]) -> Result<String> {
        let mut command = self.command(&["create", &self.name, "--nodes", &nodes.to_string()])?;
        images.iter().for_each(|it| _ = command.arg("--load-images").arg(it));
        tool::run(command.args(more))
    }

    /// `orlop cluster …`; no user's kubeconfig is touched.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self, words: &[&str]) -> Result<Command> {
        let mut command = Command::new(tool::ours("orlop")?);
        command.arg("cluster").args(words).arg("--clusters-dir").arg(&self.clusters);
        command.arg("--kubeconfig").arg(self.users_kubeconfig());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }

    /// Runs `orlop cluster …` and gives what it printed.
    ///
    /// # Errors
    /// When it fails.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        tool::run(&mut self.command(words)?)
    }

    /// The file that stands for the user's kubeconfig.
    pub fn users_kubeconfig(&self) -> PathBuf {
        self.clusters.join("kube/config")
    }

    /// The cluster's folder.
    pub fn folder(&self) -> PathBuf {
        self.clusters.join(&self.name)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// What the cluster is made of.
    ///
    /// # Errors
    /// When it is not there.
    pub fn record(&self) -> Result<Value> {
        let path = self.folder().join("cluster.json");
        Ok(serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?)?)
    }

    /// The address of a node, `1` being the first.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn address(&self, node: usize) -> Result<String> {
        let record = self.record()?;
        let (network, _) = record["subnet"].as_str().and_then(|it| it.rsplit_once('.')).context("no subnet")?;
        Ok(format!("{network}.{}", node + 1))
    }

    /// The address of IPv6 of a node of a cluster that has such, `1` being the first: its digits are those of the other's network.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn address_v6(&self, node: usize) -> Result<String> {
        let record = self.record()?;
        let (network, _) = record["subnet"].as_str().and_then(|it| it.rsplit_once('.')).context("no subnet")?;
        // Written as everybody writes it.
        let address: std::net::Ipv6Addr = format!("fd00:{}::{:x}", network.replace('.', ":"), node + 1).parse()?;
        Ok(address.to_string())
    }

    /// The names of its nodes.
    ///
    /// # Errors
    /// When there is no such cluster.
    pub fn names(&self) -> Result<Vec<String>> {
        let record = self.record()?;
        let names = record["nodes"].as_array().context("no nodes")?;
        Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The process of a part: `apiserver`, `agent-<node's name>`.
    ///
    /// # Errors
    /// When there is none.
    pub fn process(&self, part: &str) -> Result<i32> {
        let path = self.folder().join("processes.json");
        let all: Value = serde_json::from_slice(&std::fs::read(&path).with_context(|| path.display().to_string())?)?;
        let pid = all[part]["pid"].as_i64().and_then(|it| i32::try_from(it).ok());
        pid.with_context(|| format!("there is no part {part}: {all}"))
    }

    /// kill -9 of a part, which `orlop cluster start` brings back.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self, part: &str) -> Result<()> {
        Ok(kill(Pid::from_raw(self.process(part)?), Signal::SIGKILL)?)
    }

    /// Runs a program of the machine in the network of a node (or `switch`).
    ///
    /// # Errors
    /// When it fails.
    pub fn on(&self, node: &str, words: &[&str]) -> Result<String> {
        let mut command = Command::new(tool::machine("nsenter", "util-linux")?);
        command.arg(format!("--net={}", self.folder().join("netns").join(node).display())).arg("--").args(words);
        tool::run(&mut command)
    }

    /// The ends of all parts' logs.
    pub fn logs(&self) -> String {
        let mut all = String::new();
        for entry in std::fs::read_dir(self.folder().join("logs")).into_iter().flatten().flatten() {
            let log = std::fs::read(entry.path()).unwrap_or_default();
            let end = String::from_utf8_lossy(&log[log.len().saturating_sub(TAIL_BYTES)..]).into_owned();
            all.push_str(&format!("--- {} ---\n{end}\n", entry.file_name().display()));
        }
        all
    }

    /// What of it is on this machine: links, rules, mounts, processes, cgroups, files, each in words. `record` is that of the cluster while it was there.
    ///
    /// # Errors
    /// When a program that lists them fails.
    pub fn traces(&self, record: &Value) -> Result<Vec<String>> {
        let folder = self.folder().display().to_string();
        // 172.30.7.0/24 is the host's link oclu7.
        let numbers: Vec<u32> = record["subnet"].as_str().unwrap_or_default().split('.').flat_map(str::parse).collect();
        let number =
            numbers.get(1).copied().unwrap_or(30).saturating_sub(30) * 256 + numbers.get(2).copied().unwrap_or(0);
        let link = format!("oclu{number}");
        let is_word = |it: &str| it.split(|it: char| !it.is_ascii_alphanumeric()).any(|it| it == link);
        let mut found = Vec::new();
        let lists: [&[&str]; 6] = [
            &["ip", "-o", "link"],
            &["ip", "-4", "route"],
            &["ip", "-6", "route"],
            &["nft", "list", "tables"],
            &["iptables-save"],
            &["ip6tables-save"],
        ];
        // What another cluster has by now is no trace of this one.
        let taken_over = self.is_taken_over(record);
        let lists = lists.iter().filter(|_| !taken_over);
        for list in lists {
            let text = tool::run(Command::new(tool::machine(list[0], list[0])?).args(&list[1..]))?;
            found.extend(text.lines().filter(|it| is_word(it)).map(|it| format!("{}: {it}", list[0])));
        }
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        found.extend(mounts.lines().filter(|it| it.contains(&folder)).map(|it| format!("mount: {it}")));
        for process in std::fs::read_dir("/proc")?.flatten() {
            let of = |file: &str| std::fs::read(process.path().join(file)).unwrap_or_default();
            let command = String::from_utf8_lossy(&of("cmdline")).replace('\0', " ");
            let cgroup = String::from_utf8_lossy(&of("cgroup")).contains(&cgroup(&folder));
            if command.contains(&folder) || cgroup {
                found.push(format!("process {}: {command}", process.file_name().display()));
            }
        }
        let hierarchies = std::fs::read_dir("/sys/fs/cgroup")?.flatten().map(|it| it.path());
        let places = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).map(|it| it.join(cgroup(&folder)));
        found.extend(places.filter(|it| it.exists()).map(|it| format!("cgroup: {}", it.display())));
        if Path::new(&folder).exists() {
            found.push(format!("files: {folder}"));
        }
        Ok(found)
    }
}

impl Nodes {
    /// Whether a cluster of another test, which runs beside this one, has the network that was this cluster's: who asks for one is given the first that
    /// is free.
    fn is_taken_over(&self, record: &Value) -> bool {
        let entries = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|it| it.path());
        let folders = entries(std::env::temp_dir()).filter(|it| it.to_string_lossy().contains("/orlop-e2e-"));
        let clusters = folders.flat_map(|it| entries(it.join("clusters"))).filter(|it| *it != self.folder());
        let records = clusters.filter_map(|it| std::fs::read(it.join("cluster.json")).ok());
        let subnets = records.filter_map(|it| Some(serde_json::from_slice::<Value>(&it).ok()?["subnet"].clone()));
        !record["subnet"].is_null() && subnets.into_iter().any(|it| it == record["subnet"])
    }
}

/// The cgroup of all pods of a cluster.
pub(crate) fn cgroup(folder: &str) -> String {
    use sha2::{Digest, Sha256};
    let hash: String = Sha256::digest(folder.as_bytes())[..4].iter().map(|it| format!("{it:02x}")).collect();
    format!("orlop-{hash}")
}
