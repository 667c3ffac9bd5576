//! A real Docker Engine for a test: found or started, an image of one program, and a node's runtime that leaves nothing behind.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::ImportImageOptions;
use futures::{FutureExt, TryStreamExt};
use orlop_agent::runtime::docker::DockerRuntime;
use orlop_agent::runtime::docker::archive::{self, Config, File};
use orlop_agent::runtime::{ContainerSpec, PodRef, Resources, Runtime, SandboxSpec};

/// How long a test may take.
const TEST_LIMIT: Duration = Duration::from_secs(120);

/// The name of the image whose one program is a static busybox.
pub const BUSYBOX: &str = "orlop.test/busybox:1";

/// Makes sure that an Engine answers, once a test binary.
pub fn start() {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    started(&STARTED, "dockerd-start", "a Docker Engine");
}

/// Runs the script that starts something, once, and says why it is not there.
pub fn started(once: &OnceLock<Result<(), String>>, script: &str, what: &str) {
    let started = once.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(script);
        let output = Command::new(&script).output().map_err(|it| format!("{}: {it}", script.display()))?;
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(reason) }
    });
    if let Err(reason) = started {
        panic!("these tests need {what}, and there is none: {reason}");
    }
}

/// Runs a test within its time, has `remove` take away what it made, also when it fails, and sees that nothing is left.
pub async fn to_the_end(runtime: &dyn Runtime, test: impl Future<Output = ()>, remove: impl AsyncFnOnce()) {
    let outcome = AssertUnwindSafe(tokio::time::timeout(TEST_LIMIT, Box::pin(test))).catch_unwind().await;
    remove().await;
    let left = runtime.inventory().await.expect("an inventory");
    assert!(left.sandboxes.is_empty() && left.containers.is_empty(), "left behind: {left:?}");
    match outcome {
        Ok(in_time) => in_time.expect("the test takes less than two minutes"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A plain client, for what the runtime does not do.
pub fn client() -> Docker {
    Docker::connect_with_local_defaults().expect("a Docker client")
}

/// Runs a test with a runtime for a node of its own, and removes what it made, also when it fails.
pub async fn with_node<F: Future<Output = ()>>(test: impl FnOnce(std::sync::Arc<DockerRuntime>, String) -> F) {
    start();
    load_busybox().await;
    let node = unique("node");
    let runtime = std::sync::Arc::new(DockerRuntime::from_env(&node).expect("a runtime"));
    let remove = async || runtime.remove_all().await.expect("removing what the test made");
    to_the_end(&*runtime, test(runtime.clone(), node), remove).await;
}

/// A name that no other test of this or another run has.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_micros();
    format!("{prefix}-{}-{now:x}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

async fn load_busybox() {
    let program = std::fs::read("/bin/busybox").expect("scripts/dockerd-start installs busybox-static");
    let files = [File { path: "bin/busybox", mode: 0o755, bytes: &program }];
    load(BUSYBOX, &files).await;
}

/// Makes an image of these files.
pub async fn load(reference: &str, files: &[File<'_>]) {
    let config = Config { env: &["PATH=/bin"], ..Config::default() };
    let image = archive::image(reference, files, &config).expect("an archive");
    let client = client();
    let load = client.import_image(ImportImageOptions::default(), bollard::body_full(image.into()), None);
    load.try_collect::<Vec<_>>().await.expect("loading a test image");
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
        command: words(&["/bin/busybox", "sh", "-c"]),
        args: words(&[text]),
        working_dir: None,
        env: Vec::new(),
        mounts: Vec::new(),
        resources: Resources::default(),
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
