//! The runtime `docker` against a real Docker Engine.

#![allow(clippy::unwrap_used, reason = "a test says what it expects by panicking, in its helpers too")]

#[path = "support/distribution.rs"]
mod distribution;
#[path = "support/engine.rs"]
mod engine;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/registry.rs"]
mod registry;
#[path = "support/suite.rs"]
mod suite;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{CreateContainerOptions, RemoveContainerOptions};
use engine::{BUSYBOX, client, sandbox, script, unique, with_node};
use futures::StreamExt;
use orlop_agent::runtime::docker::DockerRuntime;
use orlop_agent::runtime::{Phase, RegistryAuth, Runtime, RuntimeError, RuntimeEvent};
use suite::Words;

const WORDS: Words = Words { name: "docker", not_started: 127, absent_image: "No such image", bad_user: "nobody-here" };

#[tokio::test]
async fn a_pod_lives_and_dies() {
    with_node(|runtime, _| async move { suite::a_pod_lives_and_dies(&*runtime, &WORDS).await }).await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    with_node(|runtime, _| async move { suite::what_cannot_start_says_why(&*runtime, &WORDS).await }).await;
}

#[tokio::test]
async fn what_the_kernel_cannot_execute_says_why_in_its_log() {
    with_node(|runtime, _| async move {
        suite::what_the_kernel_cannot_execute_says_why_in_its_log(&*runtime).await;
    })
    .await;
}

#[tokio::test]
async fn limits_hold() {
    with_node(|runtime, _| async move { suite::limits_hold(&*runtime).await }).await;
}

#[tokio::test]
async fn logs_are_read_as_asked() {
    with_node(|runtime, _| async move { suite::logs_are_read_as_asked(&*runtime).await }).await;
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_killed() {
    with_node(|runtime, _| async move { suite::a_command_that_takes_too_long_is_killed(&*runtime).await }).await;
}

#[tokio::test]
async fn a_session_has_streams_that_end_apart_and_an_end_of_its_own() {
    with_node(|runtime, _| async move {
        suite::a_session_has_streams_that_end_apart_and_an_end_of_its_own(&*runtime).await
    })
    .await;
}

#[tokio::test]
async fn the_hosts_namespaces_are_joined_when_asked_for() {
    with_node(|runtime, _| async move { suite::the_hosts_namespaces_are_joined_when_asked_for(&*runtime).await }).await;
}

#[tokio::test]
async fn nodes_see_their_own_and_foreign_containers_survive() {
    let docker = client();
    let foreign = unique("orlop-test-foreign");
    with_node(|one, _| async move {
        with_node(|other, _| {
            let one = one.clone();
            let (docker, foreign) = (docker.clone(), foreign.clone());
            async move {
                let body = ContainerCreateBody {
                    image: Some(BUSYBOX.into()),
                    cmd: Some(vec!["/bin/busybox".into(), "sleep".into(), "300".into()]),
                    labels: Some(HashMap::from([("app".into(), "foreign".into())])),
                    ..ContainerCreateBody::default()
                };
                let options = CreateContainerOptions { name: Some(foreign.clone()), ..Default::default() };
                let id = docker.create_container(Some(options), body).await.unwrap().id;
                docker.start_container(&id, None).await.unwrap();

                let spec = sandbox("mine");
                let state = one.run_sandbox(&spec).await.unwrap();
                assert_eq!(one.inventory().await.unwrap().sandboxes.len(), 1);
                assert!(other.inventory().await.unwrap().sandboxes.is_empty());
                assert!(other.pod_inventory(&spec.pod.uid).await.unwrap().sandboxes.is_empty());
                let mut refused = Vec::new();
                for id in [&id, &state.id] {
                    refused.push(other.remove_sandbox(id).await);
                    refused.push(other.stop_sandbox(id).await);
                    refused.push(other.remove_container(id).await);
                    refused.push(other.stop_container(id, Duration::ZERO).await);
                }
                assert!(refused.iter().all(Result::is_err), "{refused:?}");
                other.remove_all().await.unwrap();
                assert!(one.inventory().await.unwrap().sandboxes[0].running);
                one.remove_all().await.unwrap();

                let found = docker.inspect_container(&id, None).await.unwrap();
                assert_eq!(found.state.and_then(|it| it.running), Some(true), "the foreign container still runs");
                let options = RemoveContainerOptions { force: true, ..Default::default() };
                docker.remove_container(&id, Some(options)).await.unwrap();
            }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_sandbox_takes_its_containers_with_it() {
    with_node(|runtime, _| async move {
        let spec = sandbox("group");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        for name in ["a", "b"] {
            let id = runtime.create_container(&state.id, &script(&spec.pod, name, "sleep 300")).await.unwrap();
            runtime.start_container(&id).await.unwrap();
        }
        let before = Instant::now();
        runtime.stop_sandbox(&state.id).await.unwrap();
        assert!(before.elapsed() < Duration::from_secs(8), "at once, not after a grace period");
        let stopped = runtime.pod_inventory(&spec.pod.uid).await.unwrap();
        assert!(stopped.containers.iter().all(|it| matches!(it.phase, Phase::Exited { exit_code: 137, .. })));
        runtime.remove_sandbox(&state.id).await.unwrap();
        assert!(runtime.pod_inventory(&spec.pod.uid).await.unwrap().containers.is_empty());
        // A second sandbox of the pod, and one whose first life was cut short.
        let mut next = spec.clone();
        next.attempt = 1;
        let second = runtime.run_sandbox(&next).await.unwrap();
        runtime.stop_sandbox(&second.id).await.unwrap();
        let third = runtime.run_sandbox(&next).await.unwrap();
        assert!(third.running && third.id != second.id && third.attempt == 1);
    })
    .await;
}

#[tokio::test]
async fn images_are_found_and_pulls_say_why_they_fail() {
    with_node(|runtime, _| async move {
        let image = runtime.image(BUSYBOX).await.unwrap().expect("the test image");
        assert_eq!(image.tags, [BUSYBOX]);
        assert_eq!(runtime.image(&image.id).await.unwrap().expect("by id").id, image.id);
        assert!(image.size_bytes > 100_000);
        assert!(runtime.images().await.unwrap().iter().any(|it| it.id == image.id));
        assert_eq!(runtime.image("orlop.test/absent:1").await.unwrap(), None);
        let (progress, _steps) = tokio::sync::mpsc::channel(1);
        let error = runtime.pull("127.0.0.1:1/absent:1", None, progress.clone()).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::ImagePull(it) if it.contains("connection refused")), "{error:?}");
        for wrong in ["", "UPPER", "a b"] {
            let error = runtime.pull(wrong, None, progress.clone()).await.unwrap_err();
            assert!(matches!(&error, RuntimeError::InvalidImageName(it, _) if it == wrong), "{error:?}");
            assert!(matches!(runtime.image(wrong).await, Err(RuntimeError::InvalidImageName(..))));
        }
    })
    .await;
}

#[tokio::test]
async fn an_image_is_pulled_from_a_registry_that_asks_for_a_password() {
    with_node(|runtime, _| async move {
        let registry = registry::Registry::start("orlop").await;
        let reference = format!("{}/web/busybox:v1", registry.address);
        registry.push(&reference).await;
        assert_eq!(runtime.image(&reference).await.unwrap(), None, "only the registry has it");
        let auth = |password: &str| RegistryAuth { username: "orlop".into(), password: password.into() };
        let (progress, mut steps) = tokio::sync::mpsc::channel(64);
        for wrong in [None, Some(auth("guess"))] {
            let error = runtime.pull(&reference, wrong.as_ref(), progress.clone()).await.unwrap_err();
            assert!(matches!(&error, RuntimeError::ImagePull(_)), "{error:?}");
        }
        let right = auth(distribution::PASSWORD);
        let absent = format!("{}/web/busybox:v2", registry.address);
        let error = runtime.pull(&absent, Some(&right), progress.clone()).await.unwrap_err();
        assert!(matches!(&error, RuntimeError::ImagePull(it) if it.contains("manifest unknown")), "{error:?}");
        let image = runtime.pull(&reference, Some(&right), progress).await.unwrap();
        assert!(image.tags.contains(&reference) && image.digests.len() == 1, "{image:?}");
        let digest = image.digests[0].clone();
        assert_eq!(runtime.image(&digest).await.unwrap().expect("by digest").id, image.id);
        let mut last = None;
        while let Some(step) = steps.recv().await {
            last = Some(step);
        }
        let last = last.expect("progress was told");
        assert_eq!((last.layers_done, last.layers), (1, 1));
        registry.forget(&reference).await;
    })
    .await;
}

#[tokio::test]
async fn an_engine_that_goes_away_comes_back() {
    with_node(|_, node| async move {
        let mut proxy = proxy::Proxy::start().await;
        let runtime = DockerRuntime::at_socket(&proxy.socket, &node);
        let mut events = runtime.events().await.unwrap();
        let spec = sandbox("away");
        let state = runtime.run_sandbox(&spec).await.unwrap();
        assert_eq!(events.next().await, Some(RuntimeEvent::Pod { uid: spec.pod.uid.clone() }));
        proxy.stop().await;
        let end = tokio::time::timeout(Duration::from_secs(10), events.count()).await;
        assert!(end.is_ok(), "the stream ends with the Engine's");
        for error in [runtime.info().await.err(), runtime.inventory().await.err(), runtime.events().await.err()] {
            assert!(matches!(&error, Some(RuntimeError::Unavailable(it)) if it.contains("start it")), "{error:?}");
        }
        proxy.resume().await;
        assert_eq!(runtime.inventory().await.unwrap().sandboxes[0].id, state.id);
        assert!(runtime.events().await.is_ok());
    })
    .await;
}
