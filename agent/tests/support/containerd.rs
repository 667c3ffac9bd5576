//! A containerd for a test: started if there is none, an image of one program, and a node's runtime that leaves nothing behind.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures::FutureExt;
use orlop_agent::runtime::Runtime;
use orlop_agent::runtime::cri::CriRuntime;
use orlop_agent::runtime::docker::archive::{self, Config, File};
use orlop_agent::runtime::loader::Loader;

use crate::engine::{BUSYBOX, unique};

/// Where `scripts/containerd-start` has it listen.
pub const ENDPOINT: &str = "unix:///run/orlop-containerd/containerd.sock";

fn start() {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let started = STARTED.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/containerd-start");
        let output = Command::new(&script).output().map_err(|it| format!("{}: {it}", script.display()))?;
        let reason = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(()) } else { Err(reason) }
    });
    if let Err(reason) = started {
        panic!("these tests need containerd, and there is none: {reason}");
    }
}

/// Runs a test with a runtime for a node of its own, and removes what it made, also when it fails.
pub async fn with_node<F: Future<Output = ()>>(test: impl FnOnce(Arc<CriRuntime>) -> F) {
    start();
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = CriRuntime::open(ENDPOINT, &unique("node"), folder.path()).expect("a runtime");
    let program = std::fs::read("/bin/busybox").expect("scripts/install test installs busybox-static");
    let files = [File { path: "bin/busybox", mode: 0o755, bytes: &program }];
    let config = Config { env: &["PATH=/bin"], ..Config::default() };
    let file = folder.path().join("busybox.tar");
    std::fs::write(&file, archive::image(BUSYBOX, &files, &config).expect("an archive")).expect("a file");
    let images = runtime.load(&file).await.expect("loading a test image");
    assert_eq!(images[0].tags, [BUSYBOX]);
    let runtime = Arc::new(runtime);
    let limit = Duration::from_secs(120);
    let outcome = AssertUnwindSafe(tokio::time::timeout(limit, test(runtime.clone()))).catch_unwind().await;
    runtime.remove_all().await.expect("removing what the test made");
    let left = runtime.inventory().await.expect("an inventory");
    assert!(left.sandboxes.is_empty() && left.containers.is_empty(), "left behind: {left:?}");
    match outcome {
        Ok(in_time) => in_time.expect("the test takes less than two minutes"),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}
