//! Two live schedulers: one acts, the other takes over when the first dies or freezes, and what a leader of yesterday writes is refused.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::scene::Scene;
use orlop_e2e::wait;
use serde_json::{Value, json};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler";
/// A lease lasts 15 s, and is tried for every few; the rest is for busy cores.
const TAKEN_OVER: Duration = Duration::from_secs(45);

/// Who leads, and how often that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Leader {
    holder: String,
    transitions: i64,
}

fn leader(api: &Api) -> Result<Leader> {
    let lease = api.get(LEASE)?;
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    ensure!(!holder.is_empty(), "nobody leads: {}", lease["spec"]);
    Ok(Leader { holder, transitions: lease["spec"]["leaseTransitions"].as_i64().unwrap_or_default() })
}

fn scene<'a>(cluster: &'a Cluster, api: &'a Api) -> Result<Scene<'a>> {
    Ok(Scene { cluster, api, kubectl: cluster.kubectl()?, namespace: "leaders".into() })
}

/// Runs a Deployment of four pods and sees that each is bound once, by one Event.
fn pods_are_placed(scene: &Scene<'_>, name: &str) -> Result<()> {
    scene.apply(&format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{ name: {name} }}\nspec:\n  replicas: 4\n  \
         selector: {{ matchLabels: {{ app: {name} }} }}\n  template:\n    metadata: {{ labels: {{ app: {name} }} }}\n    \
         spec: {{ containers: [{{ name: main, image: registry.local/a:1 }}] }}\n"
    ))?;
    scene.api.until(&scene.path(&format!("deployments/{name}")), "is ready", TAKEN_OVER, |it| {
        it["status"]["readyReplicas"] == 4
    })?;
    for pod in scene.api.items(&scene.path(&format!("pods?labelSelector=app={name}")))? {
        let pod = pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        scene.event(&pod, "Scheduled", "Successfully assigned")?;
        let bound = scene.events(&pod)?.iter().filter(|it| it.starts_with("Scheduled: ")).count();
        ensure!(bound == 1, "{pod} was bound {bound} times: {:?}", scene.events(&pod)?);
    }
    Ok(())
}

/// Creates a ConfigMap as somebody who leads, or believes so.
fn fenced_write(api: &Api, name: &str, as_leader: &Leader) -> Result<Value, kube::Error> {
    let fence = format!("kube-system/kube-scheduler/{}/{}", as_leader.holder, as_leader.transitions);
    let body = json!({"metadata": {"name": name}}).to_string().into_bytes();
    let request = http::Request::post("/api/v1/namespaces/leaders/configmaps")
        .header("Orlop-Fence", fence)
        .header("Content-Type", "application/json")
        .body(body)
        .map_err(kube::Error::HttpError)?;
    let (runtime, client) = api.parts();
    runtime.block_on(client.request(request))
}

fn refused(api: &Api, name: &str, as_leader: &Leader) -> Result<()> {
    match fenced_write(api, name, as_leader) {
        Err(kube::Error::Api(status)) => {
            ensure!(status.code == 409 && status.reason == "Conflict", "{status:?}");
            ensure!(status.message.contains("fenced"), "it says {:?}", status.message);
            Ok(())
        }
        other => anyhow::bail!("a write as {as_leader:?} should be refused, and gave {other:?}"),
    }
}

#[test]
fn one_leads_and_another_takes_over() -> Result<()> {
    let options = Options { hollow_nodes: 2, ..Options::default() };
    Cluster::with(options, |cluster| {
        let api = Api::new(&cluster.kubeconfig())?;
        drop(Scene::new(cluster, &api, "leaders")?);
        let first = wait::until("a scheduler leads", TAKEN_OVER, || leader(&api))?;
        cluster.start_part("scheduler-2")?;
        pods_are_placed(&scene(cluster, &api)?, "both")?;
        ensure!(leader(&api)? == first, "a second scheduler waits: {:?}", leader(&api)?);
        fenced_write(&api, "by-the-first", &first).context("the leader may write")?;

        let taken_over = |from: &Leader| {
            wait::until("another leads", TAKEN_OVER, || {
                let now = leader(&api)?;
                ensure!(now.holder != from.holder && now.transitions == from.transitions + 1, "it is {now:?}");
                Ok(now)
            })
        };
        cluster.part("scheduler")?.kill();
        let second = taken_over(&first)?;
        refused(&api, "by-the-dead", &first)?;
        refused(&api, "of-another-time", &Leader { transitions: first.transitions, ..second.clone() })?;
        fenced_write(&api, "by-the-second", &second).context("the new leader may write")?;
        pods_are_placed(&scene(cluster, &api)?, "second")?;

        // A leader that is frozen cannot know that it is none any more; thawed, it harms nothing.
        cluster.start_part("scheduler")?;
        cluster.part("scheduler-2")?.signal(Signal::SIGSTOP);
        let third = taken_over(&second);
        cluster.part("scheduler-2")?.signal(Signal::SIGCONT);
        let third = third?;
        pods_are_placed(&scene(cluster, &api)?, "third")?;
        ensure!(leader(&api)? == third, "the thawed scheduler has stepped back: {:?}", leader(&api)?);
        refused(&api, "by-the-thawed", &second)?;
        for part in ["scheduler", "scheduler-2"] {
            let log = cluster.part(part)?.log();
            ensure!(!log.contains("panicked"), "{log}");
        }
        Ok(())
    })
}
