//! The runtime `cri` against Debian's containerd.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[path = "support/containerd.rs"]
mod containerd;
#[path = "support/engine.rs"]
mod engine;
#[path = "support/suite.rs"]
mod suite;

use std::time::Duration;

use containerd::with_node;
use engine::{sandbox, script};
use orlop_agent::runtime::cri::CriRuntime;
use orlop_agent::runtime::loader::Loader;
use orlop_agent::runtime::session::ExecSpec;
use orlop_agent::runtime::{LogOptions, Phase, Runtime, RuntimeError};
use suite::{Words, container};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const WORDS: Words =
    Words { name: "containerd", not_started: 128, absent_image: "orlop.test/absent:1", bad_user: "etc/passwd" };

#[tokio::test]
async fn a_pod_lives_and_dies() {
    with_node(|runtime| async move { suite::a_pod_lives_and_dies(&*runtime, &WORDS).await }).await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    with_node(|runtime| async move { suite::what_cannot_start_says_why(&*runtime, &WORDS).await }).await;
}

#[tokio::test]
async fn what_the_kernel_cannot_execute_says_why_in_its_log() {
    with_node(|runtime| async move {
        suite::what_the_kernel_cannot_execute_says_why_in_its_log(&*runtime).await;
    })
    .await;
}

#[tokio::test]
async fn limits_hold() {
    with_node(|runtime| async move { suite::limits_hold(&*runtime).await }).await;
}

#[tokio::test]
async fn logs_are_read_as_asked() {
    with_node(|runtime| async move { suite::logs_are_read_as_asked(&*runtime).await }).await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed() {
    with_node(|runtime| async move { suite::a_command_that_takes_too_long_is_killed(&*runtime).await }).await;
}

#[tokio::test]
async fn a_session_has_streams_that_end_apart_and_an_end_of_its_own() {
    with_node(
        |runtime| async move { suite::a_session_has_streams_that_end_apart_and_an_end_of_its_own(&*runtime).await },
    )
    .await;
}

#[tokio::test]
async fn the_hosts_namespaces_are_joined_when_asked_for() {
    with_node(|runtime| async move { suite::the_hosts_namespaces_are_joined_when_asked_for(&*runtime).await }).await;
}

#[tokio::test]
async fn a_command_that_stops_reading_ends() {
    with_node(|runtime| async move {
        let spec = sandbox("deaf");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        let id = runtime.create_container(&state.id, &script(&spec.pod, "main", "sleep 1000")).await.unwrap();
        runtime.start_container(&id).await.unwrap();
        let command = ["/bin/busybox", "sh", "-c", "head -c 3"].map(str::to_owned).to_vec();
        let command = ExecSpec { command, stdin: true, stdout: true, ..ExecSpec::default() };
        // A command that stops reading ends it all the same, though this containerd does not say how.
        let mut session = runtime.exec_session(&id, &command).await.unwrap();
        let mut stdin = session.stdin.take().unwrap();
        let feeding = tokio::spawn(async move {
            let _ = stdin.write_all("abc".repeat(100_000).as_bytes()).await;
            let _ = stdin.shutdown().await;
        });
        let mut out = String::new();
        session.stdout.take().unwrap().read_to_string(&mut out).await.unwrap();
        assert_eq!(out, "abc");
        let code = tokio::time::timeout(Duration::from_secs(40), session.exit).await.expect("it ends");
        let known = |it: &RuntimeError| it.to_string().contains("take its input");
        assert!(code.as_ref().is_ok_and(|it| *it == 0) || code.as_ref().is_err_and(known), "{code:?}");
        feeding.abort();
    })
    .await;
}

#[tokio::test]
async fn nodes_see_their_own() {
    with_node(|one| async move {
        with_node(|other| {
            let one = one.clone();
            async move {
                let spec = sandbox("mine");
                let state = one.run_sandbox(&spec).await.unwrap();
                let id = one.create_container(&state.id, &script(&spec.pod, "it", "sleep 60")).await.unwrap();
                one.start_container(&id).await.unwrap();
                assert!(other.inventory().await.unwrap().sandboxes.is_empty());
                other.remove_sandbox(&state.id).await.unwrap();
                other.remove_container(&id).await.unwrap();
                other.stop_container(&id, Duration::ZERO).await.unwrap();
                other.remove_all().await.unwrap();
                assert!(matches!(other.logs(&id, &LogOptions::default()).await.err(), Some(RuntimeError::NotFound(_))));
                assert!(matches!(container(&*one, &spec.pod, &id).await.phase, Phase::Running { .. }));
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn what_is_no_image_is_refused() {
    with_node(|runtime| async move {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no archive").unwrap();
        assert!(matches!(runtime.load(file.path()).await, Err(RuntimeError::Other(_))));
        assert!(matches!(runtime.image("Bad Name").await, Err(RuntimeError::InvalidImageName(..))));
        assert_eq!(runtime.image("orlop.test/absent:1").await.unwrap(), None);
        let (progress, _kept) = tokio::sync::mpsc::channel(1);
        // Nobody listens there.
        let error = runtime.pull("127.0.0.1:9/absent:1", None, progress).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::ImagePull(it) if it.contains("127.0.0.1:9")), "{error:?}");
        let images = orlop_agent::runtime::Runtime::images(&*runtime).await.unwrap();
        assert!(images.iter().any(|it| it.tags == [engine::BUSYBOX]), "{images:?}");
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_is_away_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let socket = format!("unix://{}/none.sock", folder.path().display());
    let runtime = CriRuntime::open(&socket, "n", folder.path()).unwrap();
    assert!(matches!(runtime.info().await, Err(RuntimeError::Unavailable(_))));
    assert!(matches!(runtime.events().await.err(), Some(RuntimeError::Unavailable(_))));
    assert!(CriRuntime::open("tcp://x:1", "n", folder.path()).is_err());
}
