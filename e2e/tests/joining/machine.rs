//! A machine of a test: a data directory, and the process of `orlop node join`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use orlop_e2e::child::Child;
use orlop_e2e::cluster::{Cluster, condition};
use orlop_e2e::{tool, wait};

use super::LIMIT;

/// A machine that has joined, or tries to.
pub struct Machine {
    name: String,
    folder: PathBuf,
    flags: Vec<String>,
    process: Option<Child>,
    /// Where its log was when it was started last.
    from: usize,
}

/// What `orlop token create --print-join-command` prints, with further flags.
pub fn invitation(cluster: &Cluster, more: &[&str]) -> Result<String> {
    let mut words = vec!["token", "create", "--print-join-command"];
    words.extend(more);
    Ok(cluster.orlop()?.run(&words)?.trim().to_owned())
}

/// The id of the token in a printed command.
pub fn id_of(printed: &str) -> &str {
    let token = printed.split_once("--token ").map_or("", |it| it.1);
    token.split('.').next().unwrap_or_default()
}

/// Waits until the machine's node is ready.
pub fn is_ready(cluster: &Cluster, name: &str, machine: &mut Machine) -> Result<()> {
    let kubectl = cluster.kubectl()?;
    wait::until("the machine is a node that is ready", LIMIT, || {
        ensure!(machine.runs(), "it has ended: {}", machine.tail());
        let node = kubectl.json(&["node", name])?;
        ensure!(condition(&node, "Ready") == Some("True"), "its conditions are {}", node["status"]["conditions"]);
        Ok(())
    })
    .with_context(|| machine.tail())
}

impl Machine {
    /// A machine that runs nothing but words.
    pub fn new(cluster: &Cluster, name: &str) -> Self {
        let flags = ["--runtime", "hollow", "--address", "127.0.0.1", "--port", "0"];
        Self::with(cluster, name, &flags)
    }

    /// A machine with these flags of the agent.
    pub fn with(cluster: &Cluster, name: &str, flags: &[&str]) -> Self {
        let folder = cluster.folder().join(format!("machine-{name}"));
        let flags = flags.iter().map(|it| (*it).to_owned()).collect();
        Machine { name: name.to_owned(), folder, flags, process: None, from: 0 }
    }

    /// A machine that joins by a printed command.
    pub fn join(cluster: &Cluster, name: &str, printed: &str) -> Result<Self> {
        let mut machine = Self::new(cluster, name);
        machine.start(cluster, printed)?;
        Ok(machine)
    }

    /// The command that was printed, as a user would paste it with the flags of the agent behind it.
    pub fn command(&self, cluster: &Cluster, printed: &str) -> Result<Command> {
        let mut words = printed.split_whitespace();
        ensure!(words.next() == Some("orlop"), "it is no command of ours: {printed}");
        let mut command = Command::new(tool::ours("orlop")?);
        command.args(words).args(["--node-name", &self.name]).arg("--data-dir").arg(&self.folder).args(&self.flags);
        // Nothing of the administrator's is at hand.
        command.env("HOME", cluster.folder()).env_remove("KUBECONFIG");
        Ok(command)
    }

    /// Runs the command.
    pub fn start(&mut self, cluster: &Cluster, printed: &str) -> Result<()> {
        let mut command = self.command(cluster, printed)?;
        let child = Child::start(&format!("machine-{}", self.name), cluster.folder(), &mut command)?;
        self.from = child.log().len();
        self.process = Some(child);
        Ok(())
    }

    /// Runs the command, which is to fail, and gives what it said.
    pub fn fails(&self, cluster: &Cluster, printed: &str) -> Result<String> {
        let output = Command::new("timeout").arg("60").args(all_words(&self.command(cluster, printed)?)).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "it ended with {}: {said}", output.status);
        Ok(said)
    }

    /// Its data directory.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Has another data directory.
    pub fn move_to(&mut self, folder: PathBuf) {
        self.folder = folder;
    }

    /// Whether its agent runs.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(Child::runs)
    }

    /// What it has logged since it was started last.
    pub fn log(&self) -> String {
        self.process.as_ref().map(|it| it.log().split_off(self.from)).unwrap_or_default()
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        self.process.as_ref().map(Child::tail).unwrap_or_default()
    }

    /// Waits until it has logged something since it was started last.
    pub fn says(&mut self, what: &str) -> Result<()> {
        wait::until(&format!("it says {what:?}"), LIMIT, || {
            ensure!(self.log().contains(what), "it has not: {}", self.tail());
            Ok(())
        })
    }

    /// SIGTERM.
    pub fn stop(&mut self) -> Result<()> {
        self.process.as_mut().context("it was started")?.stop().map(drop)
    }

    /// The code of the API server's answer to a request by the machine's own credentials.
    pub fn asks(&self, cluster: &Cluster, path: &str) -> Result<u16> {
        ask_with(&self.folder.join("pki/client.pem"), cluster, path)
    }

    /// Its port shows a certificate of the cluster's CA for its name, which is what the API server asks for.
    pub fn serves_under_its_name(&self, cluster: &Cluster) -> Result<()> {
        // A node may be ready a moment before its port is told.
        let port = wait::until("the node tells its port", LIMIT, || {
            let node = cluster.kubectl()?.json(&["node", &self.name])?;
            node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64().context("it has none")
        })?;
        let config = kube::config::Kubeconfig::read_from(cluster.kubeconfig())?;
        let user = serde_json::to_value(config.auth_infos.into_iter().next().and_then(|it| it.auth_info))?;
        let mut pem = Vec::new();
        for field in ["client-certificate-data", "client-key-data"] {
            let text = user[field].as_str().context("the administrator has one")?;
            pem.extend(base64::engine::general_purpose::STANDARD.decode(text)?);
        }
        let file = cluster.folder().join("administrator.pem");
        std::fs::write(&file, pem)?;
        let mut curl = Command::new(tool::machine("curl", "curl")?);
        curl.args(["-sS", "--max-time", "10", "--resolve", &format!("{}:{port}:127.0.0.1", self.name)]);
        curl.arg("--cacert")
            .arg(cluster.data_dir().join("pki/ca.crt"))
            .arg("--cert")
            .arg(&file)
            .arg("--key")
            .arg(&file);
        curl.arg(format!("https://{}:{port}/healthz", self.name));
        // Until its request for a certificate is signed, it shows one that nobody trusts.
        wait::until("the node shows its certificate", LIMIT, || {
            let said = tool::run(&mut curl)?;
            ensure!(said == "ok", "it says {said}");
            Ok(())
        })
    }
}

/// The code of the API server's answer to a request by the certificate and key of a file.
pub fn ask_with(file: &Path, cluster: &Cluster, path: &str) -> Result<u16> {
    let mut curl = Command::new(tool::machine("curl", "curl")?);
    curl.args(["-sS", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}"]);
    curl.arg("--cacert").arg(cluster.data_dir().join("pki/ca.crt"));
    curl.arg("--cert").arg(file).arg("--key").arg(file);
    let code = tool::run(curl.arg(format!("{}{path}", cluster.url())))?;
    match code.parse() {
        Ok(it) => Ok(it),
        Err(_) => bail!("curl says {code}"),
    }
}

fn all_words(command: &Command) -> Vec<std::ffi::OsString> {
    std::iter::once(command.get_program()).chain(command.get_args()).map(std::ffi::OsStr::to_owned).collect()
}
