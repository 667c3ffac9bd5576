//! The runtime `docker`: sandboxes and containers of the Docker Engine on this machine, over its unix socket.
//!
//! A sandbox is a container of the pause image with no network of Docker's; the pod's containers join its network and IPC namespaces.
//! Everything is labelled with the node's name and found by it, so that two agents on one Engine see only their own, and what has no
//! such label is never touched. Nothing is polled: changes come from the Engine's events. Deciding is not done here.

pub mod archive;
mod container;
mod engine;
mod events;
mod exec;
mod hijack;
mod image;
mod inventory;

mod load;
mod logs;
mod pause;
mod progress;
mod sandbox;
mod session;
mod usage;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use tokio::sync::mpsc;

use super::session::{AttachSpec, ExecSpec, Session};
use super::{
    ContainerSpec, DiskUse, ExecOutput, Id, Image, Inventory, LogOptions, LogStream, PullProgress, RegistryAuth,
    Resources, Runtime, RuntimeError, RuntimeEvent, RuntimeInfo, SandboxSpec, SandboxState,
};
use engine::{Engine, QUICK};

/// The program that a sandbox runs: a static binary that sleeps.
pub fn pause_program() -> &'static [u8] {
    pause::PAUSE
}

/// The Docker Engine as one node's runtime.
#[derive(Debug)]
pub struct DockerRuntime {
    engine: Arc<Engine>,
}

impl DockerRuntime {
    /// The Engine at `$DOCKER_HOST` (`unix://…`) or `/var/run/docker.sock`, for the node of this name. It need not be running yet.
    pub fn from_env(node_name: &str) -> Result<Self, RuntimeError> {
        Ok(Self { engine: Arc::new(Engine::from_env(node_name)?) })
    }

    /// The Engine at a unix socket, for the node of this name.
    pub fn at_socket(socket: &str, node_name: &str) -> Self {
        Self { engine: Arc::new(Engine::at_socket(socket, node_name)) }
    }

    /// Removes every sandbox and container of this node. For `orlop down` and tests; what is not ours stays.
    pub async fn remove_all(&self) -> Result<(), RuntimeError> {
        let inventory = self.inventory().await?;
        for container in &inventory.containers {
            self.engine.remove(&container.id).await?;
        }
        for sandbox in &inventory.sandboxes {
            self.engine.remove(&sandbox.id).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        let info = self.engine.call("info", QUICK, |docker| async move { docker.info().await }).await?;
        Ok(RuntimeInfo {
            name: "docker".to_owned(),
            version: info.server_version.unwrap_or_default(),
            cgroup_driver: info.cgroup_driver.map(|it| it.to_string()).unwrap_or_default(),
            trouble: None,
        })
    }

    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        inventory::list(&self.engine, None).await
    }

    async fn pod_inventory(&self, pod_uid: &str) -> Result<Inventory, RuntimeError> {
        inventory::list(&self.engine, Some(pod_uid)).await
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        events::listen(&self.engine).await
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError> {
        sandbox::run(&self.engine, spec).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        sandbox::stop(&self.engine, id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        sandbox::remove(&self.engine, id).await
    }

    async fn create_container(&self, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError> {
        container::create(&self.engine, sandbox, spec).await
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        container::start(&self.engine, id).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        container::stop(&self.engine, id, grace).await
    }

    async fn update_container(&self, id: &str, resources: &Resources) -> Result<(), RuntimeError> {
        container::update(&self.engine, id, resources).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        self.engine.remove(id).await
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<ExecOutput, RuntimeError> {
        exec::run(&self.engine, id, command, timeout, limit_bytes).await
    }

    async fn exec_session(&self, id: &str, spec: &ExecSpec) -> Result<Session, RuntimeError> {
        session::exec(&self.engine, id, spec).await
    }

    async fn attach_session(&self, id: &str, spec: &AttachSpec) -> Result<Session, RuntimeError> {
        session::attach(&self.engine, id, spec).await
    }

    async fn logs(&self, id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        logs::read(&self.engine, id, options).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        image::inspect(&self.engine, reference).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        image::list(&self.engine).await
    }

    async fn remove_image(&self, image: &Image) -> Result<(), RuntimeError> {
        image::remove(&self.engine, image).await
    }

    async fn disk_use(&self) -> Result<DiskUse, RuntimeError> {
        usage::disk(&self.engine).await
    }

    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError> {
        image::pull(&self.engine, reference, auth, progress).await
    }
}
