//! kube-rs: a reflector and a `Controller` converge while objects are created at full speed and the server is killed again and again; and a kind
//! derived from a Rust type is served, controlled and judged by programs written with it.

#[path = "kube_rs/admission.rs"]
mod admission;
#[path = "kube_rs/typed.rs"]
mod typed;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::{Controller, WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use orlop_e2e::server::Server;

/// As many as a busy controller has at once.
const WRITERS: usize = 16;
const OBJECTS: usize = 2_000;
const RESTARTS: usize = 5;
/// How long everything may take to agree after the last write.
const AGREE_LIMIT: Duration = Duration::from_secs(90);
const MARK: &str = "orlop.test/seen";

async fn client(server: &Server) -> Result<Client> {
    let file = kube::config::Kubeconfig::read_from(server.kubeconfig())?;
    Ok(Client::try_from(
        kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await?,
    )?)
}

fn named(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() },
        data: Some(BTreeMap::from([("n".into(), name.into())])),
        ..ConfigMap::default()
    }
}

/// Creates until the server has said that it is there.
async fn create(api: &Api<ConfigMap>, name: &str) -> Result<()> {
    let mut uncertain = false;
    for _ in 0..2_000 {
        match api.create(&PostParams::default(), &named(name)).await {
            Ok(_) => return Ok(()),
            // An attempt that was broken off may have been kept.
            Err(kube::Error::Api(it)) if it.code == 409 && uncertain => return Ok(()),
            Err(kube::Error::Api(it)) if it.code < 500 && it.code != 429 => return Err(kube::Error::Api(it).into()),
            Err(_) => uncertain = true,
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    anyhow::bail!("{name} could not be created")
}

struct Context_ {
    api: Api<ConfigMap>,
    marked: AtomicU64,
}

/// Marks an object that is not marked.
async fn reconcile(object: Arc<ConfigMap>, context: Arc<Context_>) -> Result<Action, kube::Error> {
    if !object.annotations().contains_key(MARK) {
        let patch = serde_json::json!({"metadata": {"annotations": {MARK: object.name_any()}}});
        context.api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
        context.marked.fetch_add(1, Relaxed);
    }
    Ok(Action::await_change())
}

#[tokio::test(flavor = "multi_thread")]
async fn watchers_converge_while_the_server_dies_five_times() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-kube-rs-").tempdir()?;
    let mut server = Server::start(&folder.path().join("data"), "embedded")?;
    let client = client(&server).await?;
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), "default");

    let (store, writer) = reflector::store();
    let reflecting = tokio::spawn({
        let stream = reflector(writer, watcher(api.clone(), watcher::Config::default()).default_backoff());
        stream.touched_objects().for_each(|_| async {})
    });
    let context = Arc::new(Context_ { api: api.clone(), marked: AtomicU64::new(0) });
    let controlling = tokio::spawn(
        Controller::new(api.clone(), watcher::Config::default())
            .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(200)), context.clone())
            .for_each(|_| async {}),
    );

    let created = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (api, created) = (api.clone(), created.clone());
            tokio::spawn(async move {
                let mut names = Vec::new();
                for turn in (writer..OBJECTS).step_by(WRITERS) {
                    let name = format!("load-{turn:05}");
                    create(&api, &name).await?;
                    created.fetch_add(1, Relaxed);
                    names.push(name);
                }
                anyhow::Ok(names)
            })
        })
        .collect();
    // Killed in the midst of the load, spread over it.
    for restart in 1..=RESTARTS {
        while created.load(Relaxed) < OBJECTS * restart / (RESTARTS + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            ensure!(
                !writers.iter().all(tokio::task::JoinHandle::is_finished),
                "the writers gave up: {}",
                server.child().tail()
            );
        }
        tokio::task::block_in_place(|| server.kill_and_restart())?;
    }
    let mut acknowledged = BTreeSet::new();
    for writer in writers {
        acknowledged.extend(writer.await??);
    }
    ensure!(acknowledged.len() == OBJECTS, "{} of {OBJECTS} were created", acknowledged.len());

    let mut disagreement = String::new();
    let agreed = tokio::time::timeout(AGREE_LIMIT, async {
        loop {
            match compare(&api, &store, &acknowledged).await {
                Ok(()) => return,
                Err(error) => disagreement = format!("{error:#}"),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    let agreed = agreed.await;
    ensure!(agreed.is_ok(), "not within {AGREE_LIMIT:?}: {disagreement}\n{}", server.child().tail());
    ensure!(context.marked.load(Relaxed) > 0, "the controller did its part");
    ensure!(!reflecting.is_finished() && !controlling.is_finished(), "the streams went on");
    reflecting.abort();
    controlling.abort();
    Ok(())
}

/// Nothing is lost, everything is marked, and the reflector holds exactly what a fresh list says.
async fn compare(
    api: &Api<ConfigMap>,
    store: &reflector::Store<ConfigMap>,
    acknowledged: &BTreeSet<String>,
) -> Result<()> {
    let list = api.list(&ListParams::default()).await.context("list")?;
    let listed: BTreeMap<String, ConfigMap> = list.items.into_iter().map(|it| (it.name_any(), it)).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|it| !listed.contains_key(*it)).collect();
    ensure!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let unmarked = acknowledged.iter().filter(|it| !listed[*it].annotations().contains_key(MARK)).count();
    ensure!(unmarked == 0, "{unmarked} objects are not marked");
    let reflected: BTreeMap<String, Arc<ConfigMap>> = store.state().into_iter().map(|it| (it.name_any(), it)).collect();
    ensure!(reflected.len() == listed.len(), "the reflector has {}, the list {}", reflected.len(), listed.len());
    for (name, object) in &listed {
        ensure!(
            reflected.get(name).is_some_and(|it| **it == *object),
            "{name} differs: {object:?} and {:?}",
            reflected.get(name)
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_derived_kind_is_served_controlled_and_judged() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-kube-rs-").tempdir()?;
    let mut server = Server::start(&folder.path().join("data"), "memory")?;
    let client = client(&server).await?;
    let played = async {
        let paints = typed::define(&client).await.context("the definition")?;
        typed::objects(&paints).await.context("objects")?;
        typed::applied(&paints).await.context("server-side apply")?;
        typed::controlled(&client, &paints).await.context("the controller")?;
        admission::judged(&client, &paints).await.context("the webhook")
    };
    let outcome: Result<()> = played.await;
    outcome.with_context(|| server.child().tail())
}
