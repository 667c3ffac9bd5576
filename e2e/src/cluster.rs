//! A whole cluster: `orlop up`, every component as a process of its own, or several nodes with networks of their own.
//!
//! [`Options`] says what it is made of. Parts are named, can be killed and started again, and log into the cluster's folder, which is kept
//! (and named in the error) when a test panics. Dropping the cluster takes away everything that it made on the machine.

mod parts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::child::Child;
use crate::kubectl::Kubectl;
use crate::nodes::Nodes;
use crate::{load, tool, wait};

/// Flags of an agent that minds neither how full the disk is that the tests run on, nor how full it becomes meanwhile.
pub const MINDS_NO_DISK: [&str; 4] = ["--eviction-hard", "memory.available<100Mi", "--image-gc-high-threshold", "100"];

/// How the parts are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `orlop up`: one process.
    Up,
    /// `orlop-apiserver`, `orlop-scheduler`, `orlop-controllers` and an `orlop-agent` a node.
    Apart,
    /// `orlop cluster`: every node in a network namespace of its own; of the runtime `native`, with the embedded store. Its parts are
    /// [`Cluster::local`]'s.
    Nodes,
}

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Options {
    pub form: Form,
    /// `embedded`, `memory`, or `etcd=URL`.
    pub store: String,
    /// `docker`, `native` or `hollow`.
    pub runtime: &'static str,
    pub nodes: usize,
    /// Nodes that one agent plays over the hollow runtime; 0 for real agents.
    pub hollow_nodes: usize,
    /// Folders of archives that the nodes load at their start.
    pub images: Vec<PathBuf>,
    /// Further flags of the agents.
    pub agent_flags: &'static [&'static str],
    /// Further flags of `orlop cluster create`, for [`Form::Nodes`].
    pub cluster_flags: Vec<String>,
    /// Variables of all parts, for [`Form::Nodes`].
    pub environment: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            form: Form::Apart,
            store: "embedded".into(),
            runtime: "hollow",
            nodes: 1,
            hollow_nodes: 0,
            images: Vec::new(),
            agent_flags: &[],
            cluster_flags: Vec::new(),
            environment: Vec::new(),
        }
    }
}

/// How long a cluster may take until its nodes are ready, with both cores busy.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A running cluster.
pub struct Cluster {
    folder: Option<TempDir>,
    options: Options,
    port: u16,
    cidr: String,
    parts: BTreeMap<String, Child>,
    /// From the start of the first process to the first 200 of `/readyz`.
    pub ready_in: Duration,
}

/// The second byte of the next cluster's pod addresses, so that clusters side by side do not meet. Test processes begin at different places.
static NEXT_NETWORK: AtomicU8 = AtomicU8::new(0);

fn pod_network() -> String {
    let turn = NEXT_NETWORK.fetch_add(1, Relaxed);
    // 10.64.0.0 to 10.223.0.0: away from Docker's, from Orlop's default and from the service network.
    let second = 64 + (std::process::id() as u8).wrapping_mul(7).wrapping_add(turn) % 160;
    format!("10.{}.0.0/16", if second == 96 { 224 } else { second })
}

impl Cluster {
    /// Boots a cluster and waits until its nodes are ready.
    ///
    /// # Errors
    /// When a part ends or the nodes do not become ready; the parts' logs are in the error.
    pub fn start(options: Options) -> Result<Cluster> {
        let mut cluster = Self::prepare(options)?;
        cluster.boot()?;
        cluster.wait_nodes()?;
        Ok(cluster)
    }

    /// Boots a cluster, gives it to a test, and takes it away again; nothing of it may be left then.
    ///
    /// # Errors
    /// The test's own, with the ends of all logs, the whole of which are kept; or what the cluster left behind.
    pub fn with(options: Options, test: impl FnOnce(&mut Cluster) -> Result<()>) -> Result<()> {
        let mut cluster = Self::prepare(options)?;
        let outcome = cluster.boot().and_then(|()| cluster.wait_nodes()).and_then(|()| test(&mut cluster));
        if let Err(error) = outcome {
            let logs = cluster.logs();
            cluster.clean();
            let kept = cluster.folder.take().map(TempDir::keep).unwrap_or_default();
            return Err(error.context(format!("the cluster's folder is kept: {}\n{logs}", kept.display())));
        }
        let (nodes, folder) = (cluster.node_names(), cluster.folder().to_owned());
        let real = cluster.options.runtime != "hollow";
        drop(cluster);
        let left = if real { crate::traces::of(&nodes, &folder)? } else { Vec::new() };
        if left.is_empty() { Ok(()) } else { bail!("the cluster left behind: {left:#?}") }
    }

    fn prepare(options: Options) -> Result<Cluster> {
        let folder = tempfile::Builder::new().prefix("orlop-e2e-").tempdir()?;
        Ok(Cluster {
            port: tool::free_port()?,
            folder: Some(folder),
            options,
            cidr: pod_network(),
            parts: BTreeMap::new(),
            ready_in: Duration::ZERO,
        })
    }

    fn boot(&mut self) -> Result<()> {
        let started = Instant::now();
        if self.options.form == Form::Nodes {
            let flags: Vec<&str> = self.options.cluster_flags.iter().map(String::as_str).collect();
            self.local().create(self.options.nodes, &self.options.images, &flags)?;
            self.ready_in = started.elapsed();
            return Ok(());
        }
        match self.options.form {
            Form::Up => self.start_part("up")?,
            Form::Apart | Form::Nodes => self.start_part("apiserver")?,
        }
        self.wait_ready()?;
        self.ready_in = started.elapsed();
        if self.options.form == Form::Apart {
            for part in self.part_names() {
                self.start_part(&part)?;
            }
        }
        Ok(())
    }

    /// The cluster's folder: data directories, kubeconfigs, logs.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().map_or(Path::new("/"), TempDir::path)
    }

    /// The cluster as `orlop cluster` knows it, for [`Form::Nodes`].
    pub fn local(&self) -> Nodes {
        let nodes = Nodes::new(&self.folder().join("clusters"), &self.node_prefix());
        nodes.with_environment(self.options.environment.clone())
    }

    /// The control plane's data directory.
    pub fn data_dir(&self) -> PathBuf {
        match self.options.form {
            Form::Nodes => self.local().folder().join("control-plane"),
            Form::Up | Form::Apart => self.folder().join("data"),
        }
    }

    /// The data directory of a node's agent: of `agent-1` for `1`.
    pub fn agent_dir(&self, node: &str) -> PathBuf {
        match self.options.form {
            Form::Up => self.data_dir().join("nodes").join(self.node_name(node)),
            Form::Apart => self.folder().join(format!("agent-{node}")),
            Form::Nodes => self.local().folder().join("nodes").join(self.node_name(node)),
        }
    }

    /// The addresses of all its pods.
    pub fn cidr(&self) -> &str {
        &self.cidr
    }

    /// The runtime of the nodes.
    pub fn runtime(&self) -> &'static str {
        self.options.runtime
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        match self.options.form {
            Form::Nodes => self.local().kubeconfig(),
            Form::Up | Form::Apart => self.data_dir().join("kubeconfig"),
        }
    }

    /// `https://127.0.0.1:…`, or the first node's address.
    pub fn url(&self) -> String {
        if self.options.form == Form::Nodes {
            return format!("https://{}:6443", self.local().address(1).unwrap_or_default());
        }
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The real kubectl for this cluster.
    ///
    /// # Errors
    /// When there is none.
    pub fn kubectl(&self) -> Result<Kubectl> {
        Kubectl::new(&self.kubeconfig())
    }

    /// Our own `orlop` for this cluster.
    ///
    /// # Errors
    /// When it is not built.
    pub fn orlop(&self) -> Result<Kubectl> {
        Kubectl::with_program(tool::ours("orlop")?, &self.kubeconfig())
    }

    /// Starts a part that does not run: `up`, `apiserver`, `scheduler`, `controllers`, `agent-1`; `scheduler-2` is a second scheduler.
    ///
    /// # Errors
    /// When its program cannot be started.
    pub fn start_part(&mut self, part: &str) -> Result<()> {
        let mut command = self.command(part)?;
        let child = Child::start(part, self.folder(), &mut command)?;
        self.parts.insert(part.to_owned(), child);
        Ok(())
    }

    /// A running part.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn part(&mut self, name: &str) -> Result<&mut Child> {
        self.parts.get_mut(name).with_context(|| format!("there is no part {name}"))
    }

    /// The process id of a running part.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn process(&self, name: &str) -> Result<u32> {
        self.parts.get(name).map(Child::id).with_context(|| format!("there is no part {name}"))
    }

    /// kill -9, and start again.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn kill_and_restart(&mut self, part: &str) -> Result<()> {
        self.part(part)?.kill();
        self.start_part(part)
    }

    /// kill -9 of an agent, and its start with other flags.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn restart_agent_with(&mut self, part: &str, flags: &'static [&'static str]) -> Result<()> {
        self.options.agent_flags = flags;
        self.kill_and_restart(part)
    }

    /// Waits until `/readyz` says 200.
    ///
    /// # Errors
    /// When the server ends or takes too long.
    pub fn wait_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        let probe = crate::client::Probe::new(self.port, &self.data_dir());
        let form = self.options.form;
        loop {
            if probe.ready() {
                return Ok(());
            }
            let part = self.part(if form == Form::Up { "up" } else { "apiserver" })?;
            if !part.runs() || Instant::now() > deadline {
                bail!("the API server is not ready: {}", part.tail());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until every node is ready.
    ///
    /// # Errors
    /// When they are not in time; the parts' logs are in the error.
    pub fn wait_nodes(&mut self) -> Result<()> {
        let wanted = if self.options.hollow_nodes > 0 { self.options.hollow_nodes } else { self.options.nodes };
        let kubectl = self.kubectl()?;
        let outcome = wait::until("the nodes become ready", READY_LIMIT, || {
            let nodes = kubectl.items(&["nodes"])?;
            let ready = nodes.iter().filter(|it| condition(it, "Ready") == Some("True")).count();
            if ready == wanted { Ok(()) } else { bail!("{ready} of {wanted} are") }
        });
        outcome.map_err(|error| error.context(self.logs()))
    }

    /// The ends of all parts' logs.
    pub fn logs(&self) -> String {
        if self.options.form == Form::Nodes {
            return self.local().logs();
        }
        self.parts.values().map(Child::tail).collect::<Vec<_>>().join("\n")
    }

    /// Asks a pod over the network.
    ///
    /// # Errors
    /// When there is no answer within a few seconds.
    pub fn get(&self, address: &str, path: &str) -> Result<load::Answer> {
        load::get(address, path, Duration::from_secs(3))
    }

    fn clean(&mut self) {
        for (_, mut part) in std::mem::take(&mut self.parts) {
            part.kill();
        }
        if self.options.form == Form::Nodes {
            let there = self.local().record().is_ok();
            if let Err(error) = there.then(|| self.local().run(&["delete", self.local().name()])).transpose() {
                eprintln!("deleting the cluster: {error:#}");
            }
            return;
        }
        if self.options.runtime == "hollow" {
            return;
        }
        // What agents leave behind on purpose (pods outlive them) is taken away by the command that users have for it.
        if let Ok(program) = tool::ours("orlop") {
            for node in 1..=self.options.nodes {
                let mut command = Command::new(&program);
                command.args(["node", "clean", &self.node_name(&node.to_string())]);
                command.arg("--data-dir").arg(self.agent_dir(&node.to_string()));
                if let Err(error) = tool::run(&mut command) {
                    eprintln!("cleaning up {}: {error:#}", self.node_name(&node.to_string()));
                }
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.clean();
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("{}\nthe cluster's folder is kept: {}", self.logs(), folder.keep().display());
        }
    }
}

/// The status of an object's condition.
pub fn condition<'a>(object: &'a serde_json::Value, kind: &str) -> Option<&'a str> {
    let conditions = object["status"]["conditions"].as_array()?;
    conditions.iter().find(|it| it["type"] == kind)?["status"].as_str()
}
