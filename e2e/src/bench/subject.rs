//! What is benched: an API server of ours in a process of its own, on a store, Kubernetes' own, or one that somebody else runs.
//!
//! Out: a [`Subject`] with its target, the processes whose use is measured, and what a write's answer promises. Dropping it stops what was started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tempfile::TempDir;

use super::kubernetes::Kubernetes;
use super::target::Target;
use super::usage::Process;
use crate::child::Child;
use crate::client::Probe;
use crate::etcd::Etcd;
use crate::tool;

/// How long a server may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long to wait between two looks at `/readyz`: the exactness of "start to ready".
const PROBE_PAUSE: Duration = Duration::from_millis(1);

/// Where the API server keeps its objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// In its own process.
    Embedded,
    /// In an etcd that is started for it.
    Etcd,
    /// Somebody else's server, which no budget is about.
    Foreign,
}

/// A server to be benched.
pub struct Subject {
    /// As the tables call it.
    pub name: String,
    pub store: Store,
    pub target: Target,
    /// Server first, then etcd.
    pub processes: Vec<Process>,
    /// When a write is answered.
    pub durability: String,
    /// From the start of the process to the first 200 of `/readyz`; none for a server that ran already.
    pub ready_in: Option<Duration>,
    /// Dropped in this order: the server before its store.
    server: Option<Served>,
    _etcd: Option<Etcd>,
    _kubernetes: Option<Kubernetes>,
}

/// A program that serves the API, with its folder.
pub struct Served {
    pub child: Child,
    /// From the start of the process to the first 200 of `/readyz`.
    pub ready_in: Duration,
    folder: TempDir,
}

impl Served {
    /// Starts a program in a new folder and waits until it is ready. `arrange` is given the command, the data directory and the listen address.
    ///
    /// # Errors
    /// When it ends or does not become ready in time.
    pub fn start(program: &str, arrange: impl FnOnce(&mut Command, &Path, &str)) -> Result<Served> {
        let folder = tempfile::Builder::new().prefix("orlop-bench-").tempdir()?;
        let port = tool::free_port()?;
        let mut command = Command::new(tool::ours(program)?);
        arrange(&mut command, &folder.path().join("data"), &format!("127.0.0.1:{port}"));
        command.env("HOME", folder.path());
        let probe = Probe::new(port, &folder.path().join("data"));
        let started = Instant::now();
        let mut child = Child::start(program, folder.path(), &mut command)?;
        while !probe.ready() {
            if !child.runs() || started.elapsed() > READY_LIMIT {
                bail!("{program} is not ready: {}", child.tail());
            }
            std::thread::sleep(PROBE_PAUSE);
        }
        Ok(Served { child, ready_in: started.elapsed(), folder })
    }

    /// The API server alone.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn apiserver(store: &str) -> Result<Served> {
        Self::start("orlop-apiserver", |command, data, listen| {
            command.args(["--listen", listen, "--store", store]).arg("--data-dir").arg(data);
        })
    }

    /// `orlop up` with one hollow node: store, API server, controllers, scheduler and agent in one process.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn up() -> Result<Served> {
        Self::start("orlop", |command, data, listen| {
            command.args(["up", "--runtime", "hollow", "--nodes", "1", "--store", "embedded", "--listen", listen]);
            command.arg("--data-dir").arg(data).arg("--kubeconfig").arg(data.join("kubeconfig"));
        })
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A file of the data directory: `kubeconfig`, `scheduler.kubeconfig`.
    pub fn kubeconfig(&self, name: &str) -> PathBuf {
        self.data_dir().join(name)
    }

    /// Starts a component beside it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn component(&self, program: &str, kubeconfig: &str, arguments: &[&str]) -> Result<Child> {
        let mut command = Command::new(tool::ours(program)?);
        command.arg("--kubeconfig").arg(self.kubeconfig(kubeconfig)).args(arguments).env("HOME", self.folder.path());
        Child::start(program, self.folder.path(), &mut command)
    }

    /// The administrator's way in.
    ///
    /// # Errors
    /// When its kubeconfig cannot be used.
    pub fn target(&self) -> Result<Target> {
        Target::from_kubeconfig(&self.kubeconfig("kubeconfig"), None, false)
    }
}

impl Subject {
    /// Our API server on its embedded store.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn embedded() -> Result<Subject> {
        Self::ours(Store::Embedded, None, "an answer means fsynced (group commit)")
    }

    /// Our API server on a real etcd of one member.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn etcd(etcd: Etcd) -> Result<Subject> {
        Self::ours(Store::Etcd, Some(etcd), "an answer means fsynced by etcd (its default)")
    }

    fn ours(store: Store, etcd: Option<Etcd>, durability: &str) -> Result<Subject> {
        let served = Served::apiserver(&etcd.as_ref().map_or("embedded".to_owned(), Etcd::store))?;
        let mut processes = vec![Process { name: "server".into(), id: served.child.id() }];
        processes.extend(etcd.as_ref().map(|it| Process { name: "etcd".into(), id: it.id() }));
        Ok(Subject {
            name: if store == Store::Etcd { "Orlop on etcd" } else { "Orlop on the embedded store" }.into(),
            store,
            target: served.target()?,
            processes,
            durability: durability.into(),
            ready_in: Some(served.ready_in),
            server: Some(served),
            _etcd: etcd,
            _kubernetes: None,
        })
    }

    /// The real Kubernetes on an etcd of one member.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn kubernetes(programs: &Path) -> Result<Subject> {
        let it = Kubernetes::start(programs)?;
        let mut subject = Self::foreign(it.target()?, it.processes());
        subject.name = format!("Kubernetes {} on etcd", it.version);
        "an answer means fsynced by etcd (its default)".clone_into(&mut subject.durability);
        subject._kubernetes = Some(it);
        Ok(subject)
    }

    /// A server that runs already.
    pub fn foreign(target: Target, processes: Vec<Process>) -> Subject {
        Subject {
            name: format!("the server at {}", target.authority),
            store: Store::Foreign,
            target,
            processes,
            durability: "as its operator has set it".into(),
            ready_in: None,
            server: None,
            _etcd: None,
            _kubernetes: None,
        }
    }

    /// The end of the server's log, where it is ours.
    pub fn log(&self) -> String {
        self.server.as_ref().map(|it| it.child.tail()).unwrap_or_default()
    }
}
