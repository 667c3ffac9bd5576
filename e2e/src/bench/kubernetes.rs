//! The real Kubernetes, to stand beside ours in the same run: kube-apiserver on etcd, kube-scheduler and kube-controller-manager.
//!
//! In: the folder with the three programs, as `scripts/kubernetes` builds them from Debian's source package. They get what they need to show what they can:
//! none of their clients is slowed down by its limit of requests, and the API server takes as many at once as come.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::connection::{Connection, Request};
use super::target::{self, Target};
use super::usage::Process;
use crate::child::Child;
use crate::etcd::Etcd;
use crate::kubernetes::{self, Program};
use crate::{tool, wait};

/// How long kube-apiserver may take until it is ready.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// No limit in practice: the components' own are 20 to 50 requests a second, with which a scheduler binds no more pods than that.
const CLIENT_RATE: &str = "10000";
/// kube-apiserver's own limits are 400 reads and 200 writes at once.
const REQUESTS_AT_ONCE: &str = "3000";

/// A control plane of Kubernetes; dropping it stops it.
pub struct Kubernetes {
    programs: PathBuf,
    /// Before its etcd and its folder go.
    apiserver: Child,
    etcd: Etcd,
    folder: TempDir,
    /// `v1.20.2`, as it says itself.
    pub version: String,
}

impl Kubernetes {
    /// Starts etcd and kube-apiserver with the programs of a folder, and waits until it is ready.
    ///
    /// # Errors
    /// When a program is not there or does not become ready.
    pub fn start(programs: &Path) -> Result<Kubernetes> {
        let programs = programs.canonicalize().with_context(|| format!("no folder {}", programs.display()))?;
        let folder = tempfile::Builder::new().prefix("orlop-bench-kubernetes-").tempdir()?;
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("token.csv"), "bench,admin,admin,system:masters\n")?;
        let key = rcgen::KeyPair::generate()?;
        std::fs::write(file("accounts.key"), key.serialize_pem())?;
        std::fs::write(file("accounts.pub"), key.public_key_pem())?;
        let (etcd, port) = (Etcd::start()?, tool::free_port()?);
        std::fs::write(file("kubeconfig"), kubeconfig(port))?;
        let mut command = Command::new(programs.join("kube-apiserver"));
        command.arg("--etcd-servers").arg(etcd.store().trim_start_matches("etcd="));
        command.args(["--bind-address", "127.0.0.1", "--secure-port", &port.to_string()]);
        command.args(["--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16"]);
        command.args([
            "--max-requests-inflight",
            REQUESTS_AT_ONCE,
            "--max-mutating-requests-inflight",
            REQUESTS_AT_ONCE,
        ]);
        command.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
        command.arg("--token-auth-file").arg(file("token.csv")).arg("--cert-dir").arg(file("certificates"));
        command.arg("--service-account-signing-key-file").arg(file("accounts.key"));
        command.arg("--service-account-key-file").arg(file("accounts.pub"));
        let apiserver = Child::start("kube-apiserver", folder.path(), &mut command)?;
        let mut started = Kubernetes { programs, apiserver, etcd, folder, version: String::new() };
        started.version = started.wait_ready()?;
        Ok(started)
    }

    fn wait_ready(&mut self) -> Result<String> {
        let (target, runtime) = (self.target()?, target::runtime()?);
        wait::until("kube-apiserver becomes ready", READY_LIMIT, || {
            if !self.apiserver.runs() {
                bail!("it ended: {}", self.apiserver.tail());
            }
            let version = runtime.block_on(async {
                let mut connection = Connection::open(&target).await?;
                connection.ask(Request::get("/readyz")).await?;
                connection.ask(Request::get("/version")).await
            })?;
            let version: serde_json::Value = serde_json::from_slice(&version)?;
            version["gitVersion"].as_str().map(str::to_owned).context("it says no version")
        })
    }

    /// The administrator's way in.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used.
    pub fn target(&self) -> Result<Target> {
        Target::from_kubeconfig(&self.kubeconfig(), None, true)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// The API server and its etcd.
    pub fn processes(&self) -> Vec<Process> {
        let named = |name: &str, id| Process { name: name.to_owned(), id };
        vec![named("server", self.apiserver.id()), named("etcd", self.etcd.id())]
    }

    /// kube-controller-manager.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn controllers(&self) -> Result<Child> {
        let key = self.folder.path().join("accounts.key").display().to_string();
        self.component(Program::Controllers, &["--service-account-private-key-file", &key])
    }

    /// kube-scheduler.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn scheduler(&self) -> Result<Child> {
        self.component(Program::Scheduler, &[])
    }

    fn component(&self, program: Program, arguments: &[&str]) -> Result<Child> {
        let mut all = vec!["--leader-elect=false", "--kube-api-qps", CLIENT_RATE, "--kube-api-burst", CLIENT_RATE];
        all.extend(arguments);
        kubernetes::start(&self.programs, program, &self.kubeconfig(), self.folder.path(), &all)
    }
}

/// Its certificate is its own, in a folder of this run.
fn kubeconfig(port: u16) -> String {
    let cluster =
        serde_json::json!({ "server": format!("https://127.0.0.1:{port}"), "insecure-skip-tls-verify": true });
    serde_json::json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "bench",
        "clusters": [{ "name": "bench", "cluster": cluster }],
        "users": [{ "name": "bench", "user": { "token": "bench" } }],
        "contexts": [{ "name": "bench", "context": { "cluster": "bench", "user": "bench" } }]
    })
    .to_string()
}
