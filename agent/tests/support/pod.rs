//! A runtime `native` for a test: a folder of its own, an image of one program, and nothing left behind.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use oci_spec::image::ImageConfiguration;
use orlop_agent::runtime::native::{Images, Limits, NativeRuntime, find_shim};
use orlop_agent::runtime::{
    ContainerSpec, ContainerState, Image, LogOptions, Phase, PodRef, PullProgress, RegistryAuth, Resources, Runtime,
    RuntimeError, SandboxSpec,
};
use tokio::sync::mpsc;

use futures::StreamExt;

/// The one image there is.
pub const BUSYBOX: &str = "sha256:busybox";

/// How long anything may take that is waited for.
pub const WITHIN: Duration = Duration::from_secs(30);

/// Images in a folder: one root with a static busybox, over which each container has an overlay.
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    fn new(root: &Path) -> Self {
        let image = root.join("image");
        for it in ["bin", "etc", "tmp"] {
            std::fs::create_dir_all(image.join(it)).expect("a folder");
        }
        std::fs::copy("/bin/busybox", image.join("bin/busybox")).expect("these tests need Debian's busybox-static");
        for it in ["sh", "sleep", "true", "cat", "id", "hostname"] {
            std::os::unix::fs::symlink("busybox", image.join("bin").join(it)).expect("a link");
        }
        std::fs::write(image.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/srv:/bin/sh\n")
            .expect("a file");
        std::fs::write(image.join("etc/group"), "root:x:0:\nweb:x:102:\nextra:x:50:web\n").expect("a file");
        Self { root: root.to_owned() }
    }

    fn of(&self, container: &str) -> PathBuf {
        self.root.join("containers").join(container)
    }
}

#[async_trait]
impl Images for Folder {
    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        Ok(self.images().await?.into_iter().find(|it| it.id == reference))
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        let image = Image { id: BUSYBOX.into(), tags: Vec::new(), digests: Vec::new(), size_bytes: 1, user: None };
        Ok(vec![image])
    }

    async fn pull(
        &self,
        reference: &str,
        _: Option<&RegistryAuth>,
        _: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError> {
        Err(RuntimeError::ImagePull(reference.to_owned()))
    }

    async fn config(&self, _: &str) -> Result<ImageConfiguration, RuntimeError> {
        let text = r#"{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "history": [],
            "config": {"Env": ["PATH=/bin", "FROM=image"], "Cmd": ["/bin/true"], "StopSignal": "SIGUSR1"}}"#;
        Ok(serde_json::from_str(text).expect("a configuration"))
    }

    async fn mount(&self, _: &str, container: &str, at: &Path) -> Result<(), RuntimeError> {
        let (upper, work) = (self.of(container).join("upper"), self.of(container).join("work"));
        std::fs::create_dir_all(&upper).and_then(|()| std::fs::create_dir_all(&work)).expect("folders");
        let lower = self.root.join("image");
        let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
        mount(Some("overlay"), at, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
            .map_err(|it| RuntimeError::CreateContainer(format!("overlay: {it}")))
    }

    async fn unmount(&self, container: &str, at: &Path) -> Result<(), RuntimeError> {
        let _ = umount2(at, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir_all(self.of(container));
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        Err(RuntimeError::Other(format!("{id} stays: other tests use it")))
    }

    fn written(&self, container: &str) -> Option<PathBuf> {
        Some(self.of(container).join("upper")).filter(|it| it.is_dir())
    }

    fn root(&self) -> PathBuf {
        self.root.clone()
    }
}

/// A node: its folder, and the runtime that a test may drop and open again.
pub struct Node {
    pub folder: PathBuf,
    pub limits: Limits,
}

impl Node {
    /// The runtime of this node, as an agent opens it when it starts.
    pub async fn open(&self) -> NativeRuntime {
        self.open_fenced(None).await
    }

    /// The same with `--fence-after`.
    pub async fn open_fenced(&self, after: Option<Duration>) -> NativeRuntime {
        let shim = find_shim(None).expect("cargo build --workspace --bins makes orlop-shim");
        let images = Arc::new(Folder { root: self.folder.clone() });
        let folder = self.folder.join("native");
        NativeRuntime::open(&folder, &shim, images, self.limits, after).await.expect("a runtime")
    }
}

/// Runs a test with a node of its own, and sees that it leaves nothing.
pub async fn with_node<F: Future<Output = ()>>(test: impl FnOnce(Arc<Node>) -> F) {
    let dir = tempfile::tempdir().expect("a folder");
    Folder::new(dir.path());
    let limits = Limits { log_max_bytes: 10_000, log_max_files: 3 };
    let node = Arc::new(Node { folder: dir.path().canonicalize().expect("a path"), limits });
    let outcome =
        AssertUnwindSafe(tokio::time::timeout(Duration::from_secs(120), test(Arc::clone(&node)))).catch_unwind().await;
    let runtime = node.open().await;
    runtime.remove_all().await.expect("removing what the test made");
    let inside = node.folder.display().to_string();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let left: Vec<_> = mounts.lines().filter(|it| it.contains(&inside)).collect();
    assert!(left.is_empty(), "mounts are left: {left:?}");
    let pods = std::fs::read_dir(node.folder.join("native/pods")).expect("a folder");
    assert_eq!(pods.count(), 0, "folders are left");
    let mine: Vec<_> = processes_in(&node.folder).collect();
    assert!(mine.is_empty(), "processes are left: {mine:?}");
    match outcome {
        Ok(in_time) => in_time.expect("the test takes less than two minutes"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Processes whose working directory is in a folder: shims.
pub fn processes_in(folder: &Path) -> impl Iterator<Item = i32> + use<> {
    let folder = folder.to_owned();
    std::fs::read_dir("/proc").expect("processes").flatten().filter_map(move |it| {
        let pid = it.file_name().to_str()?.parse().ok()?;
        std::fs::read_link(it.path().join("cwd")).ok()?.starts_with(&folder).then_some(pid)
    })
}

/// Cgroups in which a pod has anything, in every hierarchy.
pub fn cgroups_of(uid: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten().map(|it| it.path());
    for hierarchy in hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]) {
        for class in ["kubepods", "kubepods/burstable", "kubepods/besteffort"] {
            let it = hierarchy.join(class).join(format!("pod{uid}"));
            found.extend(it.exists().then_some(it));
        }
    }
    found
}

/// A name that no other test of this or another run has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_micros();
    format!("{prefix}-{}-{now:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A sandbox of a pod of its own.
pub fn sandbox(name: &str) -> SandboxSpec {
    SandboxSpec {
        pod: PodRef { namespace: "default".into(), name: name.into(), uid: unique("uid") },
        hostname: name.into(),
        attempt: 0,
        host_network: false,
        host_pid: false,
        host_ipc: false,
        share_processes: false,
        fenced: false,
        handler: String::new(),
        host_ports: Vec::new(),
        nameservers: Vec::new(),
        searches: Vec::new(),
        dns_options: Vec::new(),
        sysctls: Default::default(),
    }
}

/// A container of a pod that runs a shell script.
pub fn script(pod: &PodRef, name: &str, text: &str) -> ContainerSpec {
    let words = |it: &[&str]| it.iter().map(|it| it.to_string()).collect();
    ContainerSpec {
        pod: pod.clone(),
        name: name.into(),
        attempt: 0,
        image: BUSYBOX.into(),
        command: words(&["/bin/sh", "-c"]),
        args: words(&[text]),
        working_dir: None,
        env: Vec::new(),
        mounts: Vec::new(),
        resources: Resources { oom_score_adj: 1000, ..Resources::default() },
        user: None,
        supplementary_groups: Vec::new(),
        privileged: false,
        read_only_root: false,
        no_new_privileges: false,
        capabilities_add: Vec::new(),
        capabilities_drop: Vec::new(),
        tty: false,
        stdin: false,
        stdin_once: false,
        processes: orlop_agent::runtime::Processes::Own,
        seccomp: orlop_agent::runtime::Seccomp::RuntimeDefault,
        pids_limit: None,
    }
}

/// What a container wrote, standard output and error together.
pub async fn log(runtime: &NativeRuntime, id: &str, options: LogOptions) -> String {
    let mut text = Vec::new();
    let mut chunks = runtime.logs(id, &options).await.expect("a log");
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk.expect("a line").bytes);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A container of the inventory.
pub async fn container(runtime: &NativeRuntime, pod: &PodRef, id: &str) -> ContainerState {
    let inventory = runtime.pod_inventory(&pod.uid).await.expect("an inventory");
    inventory.containers.into_iter().find(|it| it.id == id).expect("the container is in the inventory")
}

/// Waits by the runtime's events, as the agent does, until a container has ended.
pub async fn ended(runtime: &NativeRuntime, pod: &PodRef, id: &str) -> Phase {
    let waiting = async {
        let mut events = runtime.events().await.expect("events");
        loop {
            let phase = container(runtime, pod, id).await.phase;
            if matches!(phase, Phase::Exited { .. }) {
                return phase;
            }
            events.next().await.expect("the events go on");
        }
    };
    tokio::time::timeout(WITHIN, waiting).await.expect("the container ends")
}

/// Runs a container to its end: its exit code and all that it wrote.
pub async fn run(runtime: &NativeRuntime, sandbox: &str, spec: &ContainerSpec) -> (i32, String) {
    let id = runtime.create_container(sandbox, spec).await.expect("a container");
    runtime.start_container(&id).await.expect("a start");
    let Phase::Exited { exit_code, .. } = ended(runtime, &spec.pod, &id).await else { unreachable!("it has ended") };
    let text = log(runtime, &id, LogOptions::default()).await;
    (exit_code, text)
}
