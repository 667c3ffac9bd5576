//! A containerd for a test: started if there is none, an image of one program, and a node's runtime that leaves nothing behind.

use std::future::Future;
use std::sync::{Arc, OnceLock};

use orlop_agent::runtime::cri::CriRuntime;
use orlop_agent::runtime::docker::archive::{self, Config, File};
use orlop_agent::runtime::loader::Loader;

use crate::engine::{BUSYBOX, started, to_the_end, unique};

/// Where `scripts/containerd-start` has it listen.
pub const ENDPOINT: &str = "unix:///run/orlop-containerd/containerd.sock";

fn start() {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    started(&STARTED, "containerd-start", "containerd");
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
    let remove = async || runtime.remove_all().await.expect("removing what the test made");
    to_the_end(&*runtime, test(runtime.clone()), remove).await;
}
