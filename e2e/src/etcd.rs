//! A real etcd on loopback with a temporary directory.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;

use crate::child::Child;
use crate::{tool, wait};

/// A one-member etcd.
pub struct Etcd {
    child: Child,
    folder: TempDir,
    client_port: u16,
    peer_port: u16,
}

impl Etcd {
    /// Starts etcd and waits until it answers.
    ///
    /// # Errors
    /// When etcd is not installed or does not become healthy.
    pub fn start() -> Result<Etcd> {
        let folder = tempfile::Builder::new().prefix("orlop-etcd-").tempdir()?;
        let (client_port, peer_port) = (tool::free_port()?, tool::free_port()?);
        let child = Self::spawn(&folder, client_port, peer_port)?;
        let mut etcd = Etcd { child, folder, client_port, peer_port };
        etcd.wait_ready()?;
        Ok(etcd)
    }

    fn spawn(folder: &TempDir, client_port: u16, peer_port: u16) -> Result<Child> {
        let client = format!("http://127.0.0.1:{client_port}");
        let peer = format!("http://127.0.0.1:{peer_port}");
        let mut command = Command::new(tool::machine("etcd", "etcd-server")?);
        command.arg("--name=test").arg(format!("--data-dir={}", folder.path().join("data").display()));
        command.args([format!("--listen-client-urls={client}"), format!("--advertise-client-urls={client}")]);
        command.args([format!("--listen-peer-urls={peer}"), format!("--initial-advertise-peer-urls={peer}")]);
        command.arg(format!("--initial-cluster=test={peer}"));
        Child::start("etcd", folder.path(), &mut command)
    }

    fn wait_ready(&mut self) -> Result<()> {
        let address = format!("127.0.0.1:{}", self.client_port);
        wait::until("etcd becomes healthy", Duration::from_secs(30), || {
            if !self.child.runs() {
                bail!("etcd ended: {}", self.child.tail());
            }
            let answer = crate::load::get(&address, "/health", Duration::from_secs(1))?;
            if answer.body.contains("true") { Ok(()) } else { bail!("it says {}", answer.body) }
        })
    }

    /// What `--store` is told.
    pub fn store(&self) -> String {
        format!("etcd=http://127.0.0.1:{}", self.client_port)
    }

    /// Forgets all history: only what there is now remains.
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn compact(&self) -> Result<()> {
        let address = format!("127.0.0.1:{}", self.client_port);
        let ask = |path: &str, body: &str| crate::load::request(&address, "POST", path, body, Duration::from_secs(5));
        let answer: serde_json::Value = serde_json::from_str(&ask("/v3/kv/range", r#"{"key":"AA=="}"#)?.body)?;
        let Some(revision) = answer["header"]["revision"].as_str() else { bail!("etcd says {answer}") };
        let answer = ask("/v3/kv/compaction", &format!(r#"{{"revision":"{revision}","physical":true}}"#))?;
        if answer.code == 200 { Ok(()) } else { bail!("etcd says {answer:?}") }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill();
    }

    /// Starts it again on the same directory and ports.
    ///
    /// # Errors
    /// When it does not become healthy.
    pub fn restart(&mut self) -> Result<()> {
        self.child.kill();
        self.child = Self::spawn(&self.folder, self.client_port, self.peer_port)?;
        self.wait_ready()
    }
}
