//! A kind of one's own, derived from a Rust type: its definition, its objects in every way that kube-rs has for them, and a controller that
//! cleans up behind them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::controller::Action;
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// How long the definition or the controller may take, with both cores busy.
const LIMIT: Duration = Duration::from_secs(60);
const FINALIZER: &str = "paints.kube-rs.example.com/cleanup";

#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "kube-rs.example.com",
    version = "v1",
    kind = "Paint",
    namespaced,
    status = "PaintStatus",
    shortname = "pt",
    derive = "PartialEq",
    selectable = ".spec.color",
    printcolumn(name = "Color", type_ = "string", json_path = ".spec.color"),
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct PaintSpec {
    #[schemars(length(min = 1))]
    pub color: String,
    #[serde(default = "one")]
    #[schemars(range(min = 0, max = 9))]
    pub replicas: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaintStatus {
    #[serde(default)]
    pub replicas: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    #[serde(default)]
    pub ready: bool,
}

fn one() -> i32 {
    1
}

pub fn paint(name: &str, color: &str) -> Paint {
    Paint::new(name, PaintSpec { color: color.to_owned(), replicas: 2, note: None })
}

/// Has the kind served, as an operator does it when it starts.
pub async fn define(client: &Client) -> Result<Api<Paint>> {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let params = PatchParams::apply("kube-rs-test").force();
    crds.patch(Paint::crd_name(), &params, &Patch::Apply(Paint::crd())).await?;
    let established = await_condition(crds, Paint::crd_name(), conditions::is_crd_established());
    tokio::time::timeout(LIMIT, established).await.context("the definition is established")??;
    Ok(Api::namespaced(client.clone(), "default"))
}

fn code(outcome: kube::Result<impl std::fmt::Debug>) -> Result<(u16, String)> {
    match outcome {
        Err(kube::Error::Api(it)) => Ok((it.code, it.message)),
        other => bail!("it should be refused: {other:?}"),
    }
}

/// Created, read, selected, replaced, patched and deleted by its type.
pub async fn objects(paints: &Api<Paint>) -> Result<()> {
    let made = paints.create(&PostParams::default(), &paint("a", "red")).await?;
    ensure!(made.spec == paint("a", "red").spec && made.metadata.generation == Some(1), "{made:?}");
    paints.create(&PostParams::default(), &paint("b", "blue")).await?;
    let (status, message) = code(paints.create(&PostParams::default(), &paint("c", "")).await)?;
    let why = "spec.color: Invalid value: \"\": spec.color in body should be at least 1 chars long";
    ensure!(status == 422 && message.contains(why), "{status} {message}");
    let red = paints.list(&ListParams::default().fields("spec.color=red")).await?;
    ensure!(red.items == [made.clone()], "{red:?}");
    ensure!(paints.get_opt("c").await?.is_none(), "what was refused is not there");

    let mut changed = paints.get("a").await?;
    changed.spec.note = Some("mine".to_owned());
    let changed = paints.replace("a", &PostParams::default(), &changed).await?;
    ensure!(changed.metadata.generation == Some(2), "{changed:?}");
    let (status, message) = code(paints.replace("a", &PostParams::default(), &made).await)?;
    ensure!(status == 409, "{message}");
    let patch = Patch::Merge(json!({"spec": {"note": null, "replicas": 3}}));
    let merged = paints.patch("a", &PatchParams::default(), &patch).await?;
    ensure!((merged.spec.note.as_deref(), merged.spec.replicas) == (None, 3), "{merged:?}");
    let (status, _) =
        code(paints.patch("a", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 10}}))).await)?;
    ensure!(status == 422, "ten are too many");

    let status = PaintStatus { replicas: 3, selector: Some("paint=a".to_owned()), ready: false };
    let patched = paints.patch_status("a", &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await?;
    ensure!(patched.status == Some(status) && patched.metadata.generation == merged.metadata.generation, "{patched:?}");
    let mut replaced = paints.get_status("a").await?;
    replaced.spec.color = "not taken".to_owned();
    replaced.status = Some(PaintStatus { ready: true, selector: Some("paint=a".to_owned()), replicas: 3 });
    let replaced = paints.replace_status("a", &PostParams::default(), &replaced).await?;
    ensure!(replaced.spec.color == "red" && replaced.status.as_ref().is_some_and(|it| it.ready), "{replaced:?}");

    let scale = paints.get_scale("a").await?;
    ensure!(scale.spec.as_ref().and_then(|it| it.replicas) == Some(3), "{scale:?}");
    ensure!(scale.status.as_ref().and_then(|it| it.selector.clone()) == Some("paint=a".to_owned()), "{scale:?}");
    let scaled =
        paints.patch_scale("a", &PatchParams::default(), &Patch::Merge(json!({"spec": {"replicas": 5}}))).await?;
    ensure!(scaled.spec.and_then(|it| it.replicas) == Some(5), "it is scaled");
    ensure!(paints.get("a").await?.spec.replicas == 5, "and so is the object");
    for name in ["a", "b"] {
        paints.delete(name, &DeleteParams::default()).await?;
    }
    Ok(())
}

/// Several appliers own what they have applied.
pub async fn applied(paints: &Api<Paint>) -> Result<()> {
    let apply = |color: &str| {
        Patch::Apply(json!({"apiVersion": "kube-rs.example.com/v1", "kind": "Paint", "spec": {"color": color}}))
    };
    let first = paints.patch("applied", &PatchParams::apply("first"), &apply("red")).await?;
    ensure!(first.spec.replicas == 1, "what is left out has its default: {first:?}");
    let (status, message) = code(paints.patch("applied", &PatchParams::apply("second"), &apply("blue")).await)?;
    ensure!(status == 409 && message.contains("conflict with \"first\": .spec.color"), "{status} {message}");
    let forced = paints.patch("applied", &PatchParams::apply("second").force(), &apply("blue")).await?;
    ensure!(forced.spec.color == "blue", "{forced:?}");
    let owners: Vec<_> = forced.managed_fields().iter().filter_map(|it| it.manager.clone()).collect();
    ensure!(owners == ["second"], "who owns nothing is not named: {owners:?}");
    paints.delete("applied", &DeleteParams::default()).await?;
    Ok(())
}

/// What a controller did.
struct Work {
    client: Client,
    cleaned: AtomicUsize,
}

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failed(#[from] kube::Error);

/// Gives each paint a ConfigMap, says so in its status, and takes the ConfigMap away before the paint goes.
async fn reconcile(paint: Arc<Paint>, work: Arc<Work>) -> Result<Action, kube::runtime::finalizer::Error<Failed>> {
    let paints: Api<Paint> = Api::namespaced(work.client.clone(), "default");
    let maps: Api<ConfigMap> = Api::namespaced(work.client.clone(), "default");
    finalizer(&paints, FINALIZER, paint, async |event| match event {
        Event::Apply(paint) => {
            let owned = ConfigMap {
                metadata: ObjectMeta {
                    name: Some(paint.name_any()),
                    owner_references: paint.controller_owner_ref(&()).map(|it| vec![it]),
                    ..ObjectMeta::default()
                },
                data: Some(BTreeMap::from([("color".to_owned(), paint.spec.color.clone())])),
                ..ConfigMap::default()
            };
            let params = PatchParams::apply("painter").force();
            maps.patch(&paint.name_any(), &params, &Patch::Apply(owned)).await?;
            let ready = json!({"apiVersion": "kube-rs.example.com/v1", "kind": "Paint", "status": {"ready": true, "replicas": paint.spec.replicas}});
            paints.patch_status(&paint.name_any(), &params, &Patch::Apply(ready)).await?;
            Ok::<_, Failed>(Action::await_change())
        }
        Event::Cleanup(paint) => {
            match maps.delete(&paint.name_any(), &DeleteParams::default()).await {
                Err(kube::Error::Api(it)) if it.code == 404 => {}
                outcome => drop(outcome?),
            }
            work.cleaned.fetch_add(1, Relaxed);
            Ok(Action::await_change())
        }
    })
    .await
}

/// Waits until something holds.
async fn until<F: Future<Output = Result<bool>>>(what: &str, holds: impl Fn() -> F) -> Result<()> {
    let waiting = async {
        loop {
            if holds().await? {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(LIMIT, waiting).await.with_context(|| format!("{what}: not within {LIMIT:?}"))?
}

/// A controller with a finalizer: objects come, change and go, and nothing of theirs is left.
pub async fn controlled(client: &Client, paints: &Api<Paint>) -> Result<()> {
    const COUNT: usize = 20;
    let work = Arc::new(Work { client: client.clone(), cleaned: AtomicUsize::new(0) });
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let controller = tokio::spawn(
        Controller::new(paints.clone(), watcher::Config::default())
            .owns(maps.clone(), watcher::Config::default())
            .run(reconcile, |_, _, _| Action::requeue(Duration::from_millis(200)), work.clone())
            .for_each(|_| async {}),
    );
    for at in 0..COUNT {
        paints.create(&PostParams::default(), &paint(&format!("p{at}"), "green")).await?;
    }
    let ready = async || {
        let all = paints.list(&ListParams::default()).await?;
        let done = |it: &Paint| {
            it.status.as_ref().is_some_and(|it| it.ready) && it.finalizers().iter().any(|it| it == FINALIZER)
        };
        Ok(all.items.len() == COUNT && all.items.iter().all(done))
    };
    until("all paints are ready", ready).await?;
    // A change comes through, and so does the loss of what is owned.
    paints.patch("p0", &PatchParams::default(), &Patch::Merge(json!({"spec": {"color": "gold"}}))).await?;
    maps.delete("p1", &DeleteParams::default()).await?;
    let color = async |name: &str| -> Result<Option<String>> {
        let map = maps.get_opt(name).await?;
        Ok(map.and_then(|it| it.data?.get("color").cloned()))
    };
    until("the first has another color", async || Ok(color("p0").await?.as_deref() == Some("gold"))).await?;
    until("the second is made again", async || Ok(color("p1").await?.as_deref() == Some("green"))).await?;
    for at in 0..COUNT {
        paints.delete(&format!("p{at}"), &DeleteParams::default()).await?;
    }
    until("all are gone", async || Ok(paints.list(&ListParams::default()).await?.items.is_empty())).await?;
    ensure!(work.cleaned.load(Relaxed) >= COUNT, "each was cleaned up");
    let left = maps.list(&ListParams::default()).await?;
    ensure!(left.items.iter().all(|it| !it.name_any().starts_with('p')), "nothing is left: {left:?}");
    ensure!(!controller.is_finished(), "the controller went on");
    controller.abort();
    Ok(())
}
