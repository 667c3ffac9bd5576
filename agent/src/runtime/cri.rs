//! The runtime `cri`: sandboxes and containers of a runtime of the CRI on this machine, as containerd, over its unix socket.
//!
//! The agent is to it what a kubelet is: everything is labelled with the node's name and found by it, logs are files in folders of the agent's, and
//! the network is the agent's own. A runtime of the CRI has its sandboxes' network made by CNI; what that made is replaced in the sandbox's namespace
//! (`scripts/cni-nothing` makes nothing), unless it is to stay (`--network cni`, [`network`]). Changes come from the runtime's events, or by looking, where it has none (containerd before 1.7).
//! Images from files go in by `ctr`: the CRI has no call for that. Deciding is not done here.

mod abandoned;
mod container;
mod endpoint;
mod events;
mod exec;
mod image;
mod inventory;
mod load;
mod logs;
mod network;
mod pause;
mod rotate;
mod sandbox;
mod session;
mod upgrade;
mod usage;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use k8s_cri::v1 as cri;
use tokio::sync::mpsc;

use super::session::{AttachSpec, ExecSpec, Session};
use super::{
    ContainerSpec, DiskUse, ExecOutput, Id, Image, Inventory, LogOptions, LogStream, PullProgress, RegistryAuth,
    Resources, Runtime, RuntimeError, RuntimeEvent, RuntimeInfo, SandboxSpec, SandboxState,
};
use endpoint::{Endpoint, QUICK};

/// Where containerd listens.
pub const CONTAINERD: &str = "unix:///run/containerd/containerd.sock";

/// A runtime of the CRI as one node's runtime.
#[derive(Debug)]
pub struct CriRuntime {
    endpoint: Arc<Endpoint>,
}

impl CriRuntime {
    /// The runtime at `endpoint` (`unix:///path`), for the node of this name, whose logs are kept below `folder`. It need not be running yet.
    ///
    /// # Errors
    /// The endpoint is no unix socket.
    pub fn open(endpoint: &str, node_name: &str, folder: &Path) -> Result<Self, RuntimeError> {
        Ok(Self { endpoint: Arc::new(Endpoint::open(endpoint, node_name, folder, false)?) })
    }

    /// The same, whose sandboxes have the network that its CNI plugins make.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn with_cni(endpoint: &str, node_name: &str, folder: &Path) -> Result<Self, RuntimeError> {
        Ok(Self { endpoint: Arc::new(Endpoint::open(endpoint, node_name, folder, true)?) })
    }

    /// Removes every sandbox and container of this node, and their logs. For `orlop down` and tests; what is not ours stays.
    ///
    /// # Errors
    /// The runtime is away or refuses.
    pub async fn remove_all(&self) -> Result<(), RuntimeError> {
        let inventory = self.inventory().await?;
        for it in &inventory.containers {
            container::remove(&self.endpoint, &it.id).await?;
        }
        for it in &inventory.sandboxes {
            sandbox::remove(&self.endpoint, &it.id).await?;
        }
        match tokio::fs::remove_dir_all(self.endpoint.logs()).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(RuntimeError::Other(error.to_string())),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl Runtime for CriRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let request = cri::VersionRequest { version: "v1".to_owned() };
        let version = self.endpoint.call("Version", QUICK, |mut it| async move { it.version(request).await }).await?;
        Ok(RuntimeInfo {
            name: version.runtime_name,
            version: version.runtime_version,
            // What it uses is its own affair: the agent sets no cgroups beside it.
            cgroup_driver: "cgroupfs".to_owned(),
            trouble: if self.endpoint.makes_network() { network::trouble(&self.endpoint).await? } else { None },
        })
    }

    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        inventory::list(&self.endpoint, None).await
    }

    async fn pod_inventory(&self, pod_uid: &str) -> Result<Inventory, RuntimeError> {
        inventory::list(&self.endpoint, Some(pod_uid)).await
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        events::listen(&self.endpoint).await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError> {
        sandbox::run(&self.endpoint, spec).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        sandbox::stop(&self.endpoint, id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        sandbox::remove(&self.endpoint, id).await
    }

    async fn create_container(&self, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError> {
        container::create(&self.endpoint, sandbox, spec).await
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        container::start(&self.endpoint, id).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        container::stop(&self.endpoint, id, grace).await
    }

    async fn update_container(&self, id: &str, resources: &Resources) -> Result<(), RuntimeError> {
        container::update(&self.endpoint, id, resources).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        container::remove(&self.endpoint, id).await
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<ExecOutput, RuntimeError> {
        exec::run(&self.endpoint, id, command, timeout, limit_bytes).await
    }

    async fn exec_session(&self, id: &str, spec: &ExecSpec) -> Result<Session, RuntimeError> {
        session::exec(&self.endpoint, id, spec).await
    }

    async fn attach_session(&self, id: &str, spec: &AttachSpec) -> Result<Session, RuntimeError> {
        session::attach(&self.endpoint, id, spec).await
    }

    async fn logs(&self, id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        logs::read(&self.endpoint, id, options).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        image::inspect(&self.endpoint, reference).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        image::list(&self.endpoint).await
    }

    async fn remove_image(&self, image: &Image) -> Result<(), RuntimeError> {
        image::remove(&self.endpoint, image).await
    }

    async fn disk_use(&self) -> Result<DiskUse, RuntimeError> {
        usage::disk(&self.endpoint).await
    }

    async fn network_address(&self, pod_uid: &str) -> Result<Option<IpAddr>, RuntimeError> {
        network::address(&self.endpoint, pod_uid).await
    }

    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError> {
        image::pull(&self.endpoint, reference, auth, progress).await
    }
}
