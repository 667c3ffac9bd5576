//! What runs containers: the contract between the pod machine and a container runtime, shaped like the CRI.
//!
//! A runtime makes sandboxes, containers and images and tells what became of them; it never decides when. It knows no pods
//! beyond the names and labels given to it, no volumes beyond mounts of host paths, no probes, no API. Every object it makes carries
//! [`Labels`] by which it is found again after a restart of the agent; what does not carry them is never touched.

pub mod cri;
pub mod docker;
pub mod feed;
pub mod hollow;
pub mod loader;
pub mod native;
pub mod reference;
pub mod session;

mod labels;
mod log_files;
mod oom;
mod resolver;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::network::HostPort;
use session::{AttachSpec, ExecSpec, Session};

/// The labels by which a runtime's objects are found again: `dev.orlop.node`, `dev.orlop.pod-uid` and so on.
pub type Labels = BTreeMap<String, String>;

/// The runtime's name for a sandbox, a container or an image.
pub type Id = String;

/// Which pod a sandbox or container belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PodRef {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

/// How to make a pod's sandbox: the namespaces that its containers share.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    pub pod: PodRef,
    pub hostname: String,
    /// How many sandboxes this pod has had before.
    pub attempt: u32,
    pub host_network: bool,
    pub host_pid: bool,
    pub host_ipc: bool,
    /// Whether the pod's containers see one another's processes. On the host's processes it says nothing.
    pub share_processes: bool,
    /// Lines of `/etc/resolv.conf`; empty leaves the host's.
    pub nameservers: Vec<IpAddr>,
    pub searches: Vec<String>,
    pub dns_options: Vec<String>,
    pub sysctls: BTreeMap<String, String>,
    /// Ports of the host that lead to it, for a runtime that makes the network itself.
    pub host_ports: Vec<HostPort>,
    /// Whether the pod may be started elsewhere when the node is silent ([`Runtime::had_contact`]).
    pub fenced: bool,
    /// What the pod's RuntimeClass calls that which runs its containers (KEP-585); empty is what the runtime takes by itself.
    pub handler: String,
}

/// A mount of a path of the host into a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    pub host_path: PathBuf,
    pub container_path: String,
    pub read_only: bool,
    /// Whether what is mounted below the path is read-only, too.
    pub recursive: Recursive,
    pub propagation: Propagation,
}

/// Whether a read-only mount makes read-only what is mounted below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recursive {
    #[default]
    No,
    /// Where the runtime can.
    IfPossible,
    /// Or the container does not start.
    Yes,
}

/// Who sees what is mounted below a mount's path later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// Who mounts it.
    #[default]
    None,
    /// The container sees what the host mounts.
    HostToContainer,
    /// Each sees what the other mounts.
    Bidirectional,
}

/// Limits in the kernel's units; zero or none means no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub cpu_shares: u64,
    /// CPU time per period, in microseconds of a period of 100,000 µs.
    pub cpu_quota_us: Option<i64>,
    pub memory_limit_bytes: Option<i64>,
    pub oom_score_adj: i32,
    /// What it may use of huge pages, by their size, both in bytes; of the sizes that are not named it may use none. The Docker Engine knows no such
    /// limit, and where the kernel's controller `hugetlb` is not mounted none holds.
    pub huge_pages: BTreeMap<u64, u64>,
}

/// Whose processes a container sees, in a sandbox that is not on the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Processes {
    #[default]
    Own,
    /// Those of all containers of the pod that see the pod's, in one with [`SandboxSpec::share_processes`].
    Pods,
    /// Those of another container, which runs.
    Of(Id),
}

/// Which system calls a container may make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// Those of the runtime's own list.
    #[default]
    RuntimeDefault,
    /// All.
    Unconfined,
    /// Those of a profile in this file of the machine, as the OCI writes it.
    Profile(PathBuf),
}

/// How to make one container in a sandbox.
#[derive(Clone, Debug)]
pub struct ContainerSpec {
    pub pod: PodRef,
    pub name: String,
    /// How many containers of this name the pod has had before: the restart count.
    pub attempt: u32,
    /// The image's id or digest, as [`Runtime::image`] told it.
    pub image: Id,
    /// `command` of the API: replaces the image's entry point. Empty keeps it.
    pub command: Vec<String>,
    /// `args` of the API: replaces the image's command. Empty keeps it (unless `command` is given).
    pub args: Vec<String>,
    pub working_dir: Option<String>,
    pub env: Vec<(String, String)>,
    pub mounts: Vec<Mount>,
    pub resources: Resources,
    pub user: Option<String>,
    pub supplementary_groups: Vec<i64>,
    pub privileged: bool,
    pub read_only_root: bool,
    pub no_new_privileges: bool,
    pub capabilities_add: Vec<String>,
    pub capabilities_drop: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    /// Whether the end of the first attached client's input is the end of the process's.
    pub stdin_once: bool,
    pub processes: Processes,
    /// A privileged one may make all.
    pub seccomp: Seccomp,
    /// The most processes and threads of its pod at a time; of the container under `docker`, which has no cgroup for a pod, and none under `cri`.
    pub pids_limit: Option<u64>,
}

/// What is said of a seccomp profile that cannot be used, as containerd says it.
fn unusable_profile(path: &std::path::Path, why: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::CreateContainer(format!("cannot load seccomp profile {:?}: {why}", path.display().to_string()))
}

impl ContainerSpec {
    /// For runtimes without recursive read-only mounts.
    ///
    /// # Errors
    /// The container must have one.
    fn without_recursive(&self) -> Result<(), RuntimeError> {
        let Some(it) = self.mounts.iter().find(|it| it.recursive == Recursive::Yes) else { return Ok(()) };
        let why = format!("a recursive read-only mount at {:?} is not supported by this runtime", it.container_path);
        Err(RuntimeError::CreateContainer(why))
    }
}

/// A sandbox as the runtime sees it.
#[derive(Clone, Debug)]
pub struct SandboxState {
    pub id: Id,
    pub pod: PodRef,
    pub attempt: u32,
    pub running: bool,
    /// The process that holds the namespaces, for the network to be made in `/proc/<pid>/ns/net`.
    pub pid: Option<u32>,
    pub created: Timestamp,
}

/// A container's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Created,
    Running {
        started: Timestamp,
    },
    Exited {
        started: Option<Timestamp>,
        finished: Timestamp,
        exit_code: i32,
        signal: Option<i32>,
        oom_killed: bool,
        message: String,
    },
}

/// A container as the runtime sees it.
#[derive(Clone, Debug)]
pub struct ContainerState {
    pub id: Id,
    pub pod: PodRef,
    pub name: String,
    pub attempt: u32,
    pub image: Id,
    pub phase: Phase,
    /// The main process while it runs.
    pub pid: Option<u32>,
}

/// Everything of ours that the runtime has.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    pub sandboxes: Vec<SandboxState>,
    pub containers: Vec<ContainerState>,
}

/// Something changed; the machine looks at the inventory of that pod again. Events carry no state to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A sandbox or container of this pod started, died or was removed.
    Pod { uid: String },
    /// Events may have been lost: look at everything again.
    Resync,
}

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub id: Id,
    pub tags: Vec<String>,
    pub digests: Vec<String>,
    pub size_bytes: u64,
    /// The user the image's configuration names, if any.
    pub user: Option<String>,
}

/// Room that files take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// What they occupy of the disk, which may be less than their length.
    pub bytes: u64,
    /// None where the runtime does not tell.
    pub inodes: Option<u64>,
}

/// What a container takes of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContainerRoom {
    /// What it has written to its root.
    pub root: Room,
    pub log: Room,
}

/// What the runtime takes of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUse {
    /// A folder of the file system on which images and containers' roots lie; none where nothing lies anywhere.
    pub images_at: Option<PathBuf>,
    /// All images.
    pub images: Room,
    /// This node's containers, dead ones too.
    pub containers: BTreeMap<Id, ContainerRoom>,
}

/// Credentials for a registry, from a pull secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistryAuth {
    pub username: String,
    pub password: String,
}

/// How far a pull has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PullProgress {
    pub layers_done: u32,
    pub layers: u32,
    pub bytes: u64,
}

/// What a finished exec left.
#[derive(Clone, Debug, Default)]
pub struct ExecOutput {
    pub exit_code: i32,
    /// Standard output and error together, cut at the limit that the caller gave.
    pub output: Vec<u8>,
}

/// One line (or part of one) that a container wrote, with its newline if the line has ended.
#[derive(Clone, Debug)]
pub struct LogChunk {
    pub time: Timestamp,
    pub stderr: bool,
    pub bytes: bytes::Bytes,
}

/// Which part of a container's log to read.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    pub follow: bool,
    pub tail_lines: Option<u64>,
    pub since: Option<Timestamp>,
}

/// A log as it is read: chunks in order.
pub type LogStream = BoxStream<'static, Result<LogChunk, RuntimeError>>;

/// Why the runtime did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Nothing under that name.
    #[error("{0} not found")]
    NotFound(String),
    /// The image is not in the registry, or may not be read.
    #[error("{0}")]
    ImagePull(String),
    /// The name is no image reference: it will never work.
    #[error("couldn't parse image reference {0:?}: {1}")]
    InvalidImageName(String, String),
    /// The container could not be made: a bad mount, user or setting.
    #[error("{0}")]
    CreateContainer(String),
    /// The command could not be started.
    #[error("{0}")]
    StartContainer(String),
    /// The runtime is away; try again.
    #[error("the runtime is unavailable: {0}")]
    Unavailable(String),
    /// It took longer than it may.
    #[error("timed out: {0}")]
    Timeout(String),
    #[error("{0}")]
    Other(String),
}

/// What the runtime is called and whether it works.
#[derive(Clone, Debug, Default)]
pub struct RuntimeInfo {
    /// `docker`, `native`, `hollow`, or what a runtime of the CRI calls itself: `containerd`.
    pub name: String,
    pub version: String,
    /// `cgroupfs` or `systemd`.
    pub cgroup_driver: String,
    /// Why it cannot run pods though it answers: its network is not there yet.
    pub trouble: Option<String>,
}

/// A container runtime. All methods are idempotent where the pod machine may repeat them after a crash: stopping what is stopped and
/// removing what is gone succeed.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Whether it only plays containers, so that nobody would read what is mounted into them.
    fn runs_nothing(&self) -> bool {
        false
    }

    /// Whether the runtime answers, and what it is.
    async fn info(&self) -> Result<RuntimeInfo, RuntimeError>;

    /// All sandboxes and containers of this node's agent.
    async fn inventory(&self) -> Result<Inventory, RuntimeError>;

    /// The sandboxes and containers of one pod.
    async fn pod_inventory(&self, pod_uid: &str) -> Result<Inventory, RuntimeError>;

    /// Changes from now on. The stream ends when the runtime goes away; the caller subscribes again and takes a new inventory.
    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError>;

    /// Makes and starts a sandbox.
    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError>;

    /// Stops the sandbox and every container in it at once.
    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError>;

    /// Removes a sandbox and what is left of its containers.
    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError>;

    /// Makes a container in a sandbox, without starting it.
    async fn create_container(&self, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError>;

    /// Starts a container that was created.
    async fn start_container(&self, id: &str) -> Result<(), RuntimeError>;

    /// Asks the container to stop (its stop signal) and kills it after `grace`.
    async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), RuntimeError>;

    /// Gives a running container other limits of CPU and memory.
    ///
    /// # Errors
    /// It does not run, or the kernel does not give them: it uses more memory than it would have.
    async fn update_container(&self, id: &str, resources: &Resources) -> Result<(), RuntimeError>;

    /// Removes a container and its log.
    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError>;

    /// Runs a command in a container to its end, for probes and hooks.
    async fn exec(
        &self,
        id: &str,
        command: &[String],
        timeout: Duration,
        limit_bytes: usize,
    ) -> Result<ExecOutput, RuntimeError>;

    /// Runs a command in a container, in conversation with a client. The command is killed when the session is dropped before its end.
    ///
    /// # Errors
    /// Where the container does not run, or the runtime cannot make the streams. A command that cannot be started may be told so, or by its exit
    /// code (126, 127).
    async fn exec_session(&self, id: &str, spec: &ExecSpec) -> Result<Session, RuntimeError>;

    /// Joins the streams of a container's own process.
    ///
    /// # Errors
    /// Where the container does not run, or the runtime cannot make the streams.
    async fn attach_session(&self, id: &str, spec: &AttachSpec) -> Result<Session, RuntimeError>;

    /// Reads a container's log.
    async fn logs(&self, id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError>;

    /// The image under this reference, if it is here.
    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError>;

    /// All images that are here.
    async fn images(&self) -> Result<Vec<Image>, RuntimeError>;

    /// Removes an image with all its names; one that is gone is no error.
    ///
    /// # Errors
    /// A container uses it, or the runtime is away.
    async fn remove_image(&self, image: &Image) -> Result<(), RuntimeError>;

    /// The address that the runtime itself has given the pod's sandbox, if it makes the pods' network (`--network cni`).
    async fn network_address(&self, _pod_uid: &str) -> Result<Option<IpAddr>, RuntimeError> {
        Ok(None)
    }

    /// The node had contact with the API server so long ago. Where pods are to end by themselves without it (`--fence-after`), a runtime whose pods
    /// outlive the agent sees to that; with the others the agent alone does.
    fn had_contact(&self, _ago: Duration) {}

    /// What images and containers take of the disk. It is measured, which takes as long as containers have written much.
    async fn disk_use(&self) -> Result<DiskUse, RuntimeError>;

    /// Pulls an image; progress goes to `progress`, which is bounded and may be dropped by the receiver.
    async fn pull(
        &self,
        reference: &str,
        auth: Option<&RegistryAuth>,
        progress: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError>;
}
