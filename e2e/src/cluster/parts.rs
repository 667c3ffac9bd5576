//! The parts of a cluster: how they are called, and with which command each is run.
//!
//! In: the cluster's options and folder. Out: commands. It starts nothing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::{Cluster, MINDS_NO_DISK};
use crate::tool;

impl Cluster {
    /// The names of the parts beside the API server: `scheduler`, `controllers`, `agent-1` and so on.
    pub(super) fn part_names(&self) -> Vec<String> {
        let mut names = vec!["controllers".to_owned(), "scheduler".to_owned()];
        if self.options.hollow_nodes > 0 {
            names.push("agent-hollow".into());
        } else {
            names.extend((1..=self.options.nodes).map(|it| format!("agent-{it}")));
        }
        names
    }

    pub(super) fn command(&self, part: &str) -> Result<Command> {
        let data = self.data_dir();
        let listen = format!("127.0.0.1:{}", self.port);
        let (name, node) = part.split_once('-').map_or((part, ""), |(name, node)| (name, node));
        let mut command = match name {
            "up" => {
                let mut it = Command::new(tool::ours("orlop")?);
                it.args(["up", "--runtime", self.options.runtime, "--nodes", &self.options.nodes.to_string()]);
                it.args(["--store", &self.options.store, "--listen", &listen, "--cluster-cidr", &self.cidr]);
                it.arg("--node-prefix").arg(self.node_prefix());
                it.arg("--data-dir").arg(&data).arg("--kubeconfig").arg(self.kubeconfig());
                self.options.images.iter().for_each(|folder| _ = it.arg("--load-images").arg(folder));
                it
            }
            "apiserver" => {
                let mut it = Command::new(tool::ours("orlop-apiserver")?);
                it.args(["--listen", &listen, "--store", &self.options.store]).arg("--data-dir").arg(&data);
                it
            }
            "scheduler" => Command::new(tool::ours("orlop-scheduler")?),
            "controllers" => {
                let mut it = Command::new(tool::ours("orlop-controllers")?);
                it.args(["--cluster-cidr", &self.cidr]).arg("--root-ca-file").arg(data.join("pki/ca.crt"));
                it.arg("--cluster-signing-cert-file").arg(data.join("pki/ca.crt"));
                it.arg("--cluster-signing-key-file").arg(data.join("pki/ca.key"));
                it
            }
            "agent" => {
                let mut it = Command::new(tool::ours("orlop-agent")?);
                it.args(["--runtime", self.options.runtime, "--port", "0", "--cluster-cidr", &self.cidr]);
                // Reached by the host and the pods; a hollow node has neither bridge nor pods.
                if !self.options.agent_flags.contains(&"--address") {
                    it.args(["--address", if self.options.runtime == "hollow" { "127.0.0.1" } else { "gateway" }]);
                }
                // Unless a test says what it is to mind.
                if !self.options.agent_flags.contains(&"--eviction-hard") {
                    it.args(MINDS_NO_DISK);
                }
                it.arg("--data-dir").arg(self.folder().join(part)).args(self.options.agent_flags);
                self.options.images.iter().for_each(|folder| _ = it.arg("--load-images").arg(folder));
                if self.options.hollow_nodes > 0 {
                    it.args(["--hollow-nodes", &self.options.hollow_nodes.to_string(), "--node-name", "hollow"]);
                } else {
                    it.args(["--node-name", &self.node_name(node)]);
                }
                it
            }
            other => bail!("there is no part {other}"),
        };
        match name {
            "scheduler" => _ = command.arg("--kubeconfig").arg(data.join("scheduler.kubeconfig")),
            "controllers" => _ = command.arg("--kubeconfig").arg(data.join("controllers.kubeconfig")),
            "agent" => {
                command.arg("--kubeconfig").arg(self.agent_kubeconfig(node)?);
                if self.options.hollow_nodes == 0 {
                    let pair = data.join("pki").join(format!("agent-{}", self.node_name(node)));
                    command.arg("--tls-cert-file").arg(pair.with_extension("crt"));
                    command.arg("--tls-private-key-file").arg(pair.with_extension("key"));
                }
            }
            _ => {}
        }
        command.env("HOME", self.folder()).env("RUST_BACKTRACE", "1");
        Ok(command)
    }

    /// Distinct in every cluster, since the Docker Engine and the host's network are shared.
    pub(super) fn node_prefix(&self) -> String {
        format!("n{}", self.port)
    }

    /// The name of a node: `agent-1` serves `node_name("1")`.
    pub fn node_name(&self, node: &str) -> String {
        format!("{}-{node}", self.node_prefix())
    }

    /// The names of all nodes that have agents of their own.
    pub fn node_names(&self) -> Vec<String> {
        (1..=self.options.nodes).map(|it| self.node_name(&it.to_string())).collect()
    }

    fn agent_kubeconfig(&self, node: &str) -> Result<PathBuf> {
        if self.options.hollow_nodes > 0 {
            return Ok(self.kubeconfig());
        }
        let path = self.folder().join(format!("agent-{node}.kubeconfig"));
        if !path.exists() {
            tool::run(
                Command::new(tool::ours("orlop-apiserver")?)
                    .args(["node-credentials", &self.node_name(node)])
                    .args(["--server", &self.url()])
                    .arg("--data-dir")
                    .arg(self.data_dir())
                    .arg("--output")
                    .arg(&path),
            )?;
        }
        Ok(path)
    }
}
