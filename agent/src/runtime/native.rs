//! The runtime `native`: sandboxes and containers without a daemon, by a shim process for each pod.
//!
//! Everything is in folders below `<data-dir>/native/pods`, one for a sandbox, each file put in place whole ([`record`]): a restarted agent reads
//! what there is and takes up with the shims that live ([`shims`]). The shim (crate `orlop-shim`) holds the namespaces and runs containers; the
//! agent writes their bundles ([`spec`]), mounts their images, and asks over a socket ([`line`]). Nothing is polled: changes come from the shims,
//! and the death of one is the end of its connection. Deciding is not done here.

mod cgroup_root;
mod contact;
mod container;
mod etc;
mod identity;
pub mod images;
mod inside;
mod inventory;
mod line;
mod logs;
mod machine;
mod names;
mod program;
mod record;
mod sandbox;
mod session;
mod shims;
mod source;
mod spec;
mod terminal;
mod usage;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::feed::Feed;
use super::session::{AttachSpec, ExecSpec, Session};
use super::{
    ContainerSpec, DiskUse, ExecOutput, Id, Image, Inventory, LogOptions, LogStream, PullProgress, RegistryAuth,
    Resources, Runtime, RuntimeError, RuntimeEvent, RuntimeInfo, SandboxSpec, SandboxState,
};
use contact::Contact;
use machine::Machine;
use program::Program;
use shims::Shims;

pub use cgroup_root::keep as keep_cgroup_root;
pub use program::find as find_shim;
pub use source::Images;

/// Changes that are kept for a slow listener, who is told to look at everything when there were more.
const EVENTS: usize = 1024;

/// Shims that are taken up with at once after a restart.
const ADOPTIONS: usize = 16;

/// What a container's log may take of the disk, by the kubelet's names `containerLogMaxSize` and `containerLogMaxFiles`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One file, in bytes.
    pub log_max_bytes: u64,
    /// The current one among them.
    pub log_max_files: u32,
}

impl Default for Limits {
    /// The kubelet's: five files of 10 MiB.
    fn default() -> Self {
        Self { log_max_bytes: 10 << 20, log_max_files: 5 }
    }
}

/// What all calls share.
pub(in crate::runtime) struct Node {
    pods: PathBuf,
    /// Compiled system call filters, by the shims' helpers.
    filters: PathBuf,
    images: Arc<dyn Images>,
    program: Program,
    machine: Machine,
    shims: Arc<Shims>,
    contact: Contact,
    limits: Limits,
    cgroup_root: String,
}

/// The runtime of one node. Dropping it leaves its pods running.
pub struct NativeRuntime {
    node: Arc<Node>,
    _stop: DropGuard,
}

impl NativeRuntime {
    /// Opens the runtime below a folder (`<data-dir>/native`), with the program of the shim, and takes up with the pods that run. Where the node had no
    /// contact with the API server for longer than `fence_after`, pods end by themselves, whether this process lives or not.
    ///
    /// # Errors
    /// The folder or the program cannot be used.
    pub async fn open(
        folder: &Path,
        shim: &Path,
        images: Arc<dyn Images>,
        limits: Limits,
        fence_after: Option<Duration>,
    ) -> Result<Self, RuntimeError> {
        let pods = folder.join("pods");
        std::fs::create_dir_all(&pods).map_err(|it| record::failed(&pods, it))?;
        let pods = pods.canonicalize().map_err(|it| record::failed(&pods, it))?;
        // What is in there is its owner's alone: sockets, logs, roots.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&pods, private).map_err(|it| record::failed(&pods, it))?;
        let stop = CancellationToken::new();
        let shims = Arc::new(Shims::new(pods.clone(), Feed::new(EVENTS), stop.clone()));
        let cgroup_root = cgroup_root::read(folder).map_err(|it| record::failed(folder, it))?;
        let program = Program::load(shim).await?;
        let contact =
            Contact::none_yet(fence_after).map_err(|it| RuntimeError::Other(format!("a file in memory: {it}")))?;
        let filters = pods.with_file_name("filters");
        let node =
            Node { pods, filters, images, program, machine: Machine::look(), shims, contact, limits, cgroup_root };
        let runtime = Self { node: Arc::new(node), _stop: stop.drop_guard() };
        runtime.adopt().await?;
        Ok(runtime)
    }

    /// Takes up with the shims that live, and puts to rest what is left of those that died.
    async fn adopt(&self) -> Result<(), RuntimeError> {
        let node = &self.node;
        let found = futures::stream::iter(inventory::sandboxes(&node.pods)?);
        found
            .for_each_concurrent(ADOPTIONS, |name| async move {
                let folder = name.folder(&node.pods);
                let done = match node.shims.adopt(&name).await {
                    Ok(_) => sandbox::fence(node, &folder).await,
                    Err(_) if folder.join(record::SANDBOX).exists() => shims::settle(&folder).await,
                    // A sandbox that never was whole.
                    Err(_) => sandbox::remove(node, &name.to_string()).await,
                };
                if let Err(error) = done {
                    tracing::warn!(%error, sandbox = %name, "a sandbox of before could not be put in order");
                }
            })
            .await;
        Ok(())
    }

    /// Removes every sandbox and container. For `orlop down` and tests.
    ///
    /// # Errors
    /// Something cannot be removed; the rest is.
    pub async fn remove_all(&self) -> Result<(), RuntimeError> {
        let mut outcome = Ok(());
        for name in inventory::sandboxes(&self.node.pods)? {
            if let Err(error) = sandbox::remove(&self.node, &name.to_string()).await {
                outcome = Err(error);
            }
        }
        outcome?;
        match self.node.cgroup_root.as_str() {
            "" => Ok(()),
            root => shims::remove_cgroup(root).await,
        }
    }

    /// Ends every pod, as before the machine goes down: containers are asked to, and killed after `grace`. What they were stays on disk, for an agent
    /// to find.
    ///
    /// # Errors
    /// Something does not end; the rest does.
    pub async fn stop_all(&self, grace: Duration) -> Result<(), RuntimeError> {
        let inventory = self.inventory().await?;
        let running = inventory.containers.iter().filter(|it| it.pid.is_some());
        let containers = running.map(|it| self.stop_container(&it.id, grace));
        let mut outcome = futures::future::join_all(containers).await.into_iter().collect::<Result<(), _>>();
        let sandboxes = inventory.sandboxes.iter().map(|it| self.stop_sandbox(&it.id));
        for it in futures::future::join_all(sandboxes).await {
            outcome = outcome.and(it);
        }
        outcome
    }
}

#[async_trait]
impl Runtime for NativeRuntime {
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        Ok(RuntimeInfo {
            name: "native".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            trouble: None,
        })
    }

    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        inventory::list(&self.node, None).await
    }

    async fn pod_inventory(&self, pod_uid: &str) -> Result<Inventory, RuntimeError> {
        inventory::list(&self.node, Some(pod_uid)).await
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        Ok(self.node.shims.feed.listen())
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError> {
        sandbox::run(&self.node, spec).await
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        sandbox::stop(&self.node, id).await
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        sandbox::remove(&self.node, id).await
    }

    async fn create_container(&self, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError> {
        container::create(&self.node, sandbox, spec).await
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        container::start(&self.node, id).await
    }

    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError> {
        container::stop(&self.node, id, grace).await
    }

    async fn update_container(&self, id: &str, resources: &Resources) -> Result<(), RuntimeError> {
        container::update(&self.node, id, resources).await
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        container::remove(&self.node, id).await
    }

    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<ExecOutput, RuntimeError> {
        container::exec(&self.node, id, command, timeout, limit_bytes).await
    }

    async fn exec_session(&self, id: &str, spec: &ExecSpec) -> Result<Session, RuntimeError> {
        session::exec(&self.node, id, spec).await
    }

    async fn attach_session(&self, id: &str, spec: &AttachSpec) -> Result<Session, RuntimeError> {
        session::attach(&self.node, id, spec).await
    }

    async fn logs(&self, id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        logs::read(&self.node.pods, id, options).await
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        self.node.images.image(reference).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        self.node.images.images().await
    }

    async fn remove_image(&self, image: &Image) -> Result<(), RuntimeError> {
        self.node.images.remove(&image.id).await
    }

    async fn disk_use(&self) -> Result<DiskUse, RuntimeError> {
        usage::disk(&self.node).await
    }

    fn had_contact(&self, ago: Duration) {
        self.node.contact.note(ago);
    }

    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError> {
        self.node.images.pull(reference, auth, progress).await
    }
}
