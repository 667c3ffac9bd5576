//! How long it takes from a Service to its endpoints ("Service endpoints latency should not be very high").

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{Api, PostParams, WatchEvent, WatchParams};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::json;

use crate::crew::Member;

/// As many as in Kubernetes' test.
const SERVICES: usize = 100;
/// As many at a time.
const BESIDE: usize = 15;
/// What half of them, nine of ten and all but one may take. Kubernetes allows 20 s and 50 s.
const LIMITS: [(usize, Duration); 3] =
    [(50, Duration::from_secs(5)), (90, Duration::from_secs(8)), (99, Duration::from_secs(10))];

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&Member { name: "server", app: "server", ..Member::default() }.manifest())?;
    scene.ready("server")?;
    let (runtime, client) = scene.api.parts();
    let measured = runtime.block_on(async { tokio::time::timeout(POD_LIMIT, measure(client, &scene.namespace)).await });
    let mut measured = measured.context("not all have endpoints in time")??;
    measured.sort();
    let at = |percent: usize| measured[(measured.len() * percent).div_ceil(100) - 1];
    println!("latency: {} Services, 50% {:?}, 90% {:?}, 99% {:?}", measured.len(), at(50), at(90), at(99));
    for (percent, limit) in LIMITS {
        ensure!(at(percent) <= limit, "{percent}% take {:?}: {measured:?}", at(percent));
    }
    Ok(())
}

/// From before each Service is sent until a watch has brought a slice of it with a ready endpoint.
async fn measure(client: &kube::Client, namespace: &str) -> Result<Vec<Duration>> {
    let (services, slices) =
        (Api::<Service>::namespaced(client.clone(), namespace), Api::namespaced(client.clone(), namespace));
    let start = services.list(&Default::default()).await?.metadata.resource_version.unwrap_or_default();
    let create = async {
        let name = |number: usize| format!("latency-{number:03}");
        let one = |number: usize| {
            let (services, name) = (services.clone(), name(number));
            let object = json!({ "metadata": { "name": name }, "spec": {
                "selector": { "app": "server" }, "ports": [{ "port": 80, "targetPort": 8080 }] } });
            async move {
                let began = Instant::now();
                services.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
                anyhow::Ok((name, began))
            }
        };
        stream::iter(0..SERVICES).map(one).buffer_unordered(BESIDE).try_collect::<BTreeMap<String, Instant>>().await
    };
    let (created, seen) = tokio::try_join!(create, watch(&slices, &start))?;
    let took = |(name, began): (&String, &Instant)| {
        let seen = seen.get(name).with_context(|| format!("no endpoint of {name} was seen"))?;
        Ok(seen.duration_since(*began))
    };
    created.iter().map(took).collect()
}

/// When the first ready endpoint of each Service was seen.
async fn watch(slices: &Api<EndpointSlice>, start: &str) -> Result<BTreeMap<String, Instant>> {
    let mut seen = BTreeMap::new();
    let mut events = slices.watch(&WatchParams::default(), start).await?.boxed();
    while seen.len() < SERVICES {
        let slice = match events.try_next().await?.context("the watch has ended")? {
            WatchEvent::Added(it) | WatchEvent::Modified(it) => it,
            _ => continue,
        };
        let ready = |it: &k8s_openapi::api::discovery::v1::Endpoint| {
            it.conditions.as_ref().is_some_and(|it| it.ready == Some(true))
        };
        let service = slice.metadata.labels.iter().flatten().find(|it| it.0 == "kubernetes.io/service-name");
        if let Some((_, service)) = service.filter(|_| slice.endpoints.iter().any(ready)) {
            seen.entry(service.clone()).or_insert_with(Instant::now);
        }
    }
    Ok(seen)
}
