//! Taints set by hand, on a node that is well ("NoExecuteTaintManager Multiple Pods evicts pods with minTolerationSeconds", "... Single Pod removing
//! taint cancels eviction").

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, condition};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::watch::Watch;
use serde_json::{Value, json};

const TAINT: &str = "orlop.test/evict-pods";
/// For how long pods tolerate it: those that go, and one whose time is not over when the taint is taken away.
const BRIEF_SECONDS: u64 = 2;
const LONG_SECONDS: u64 = 6;
/// How far both cores' other work, and the API's whole seconds, may put an eviction off.
const SLACK: Duration = Duration::from_secs(3);

pub fn play(cluster: &mut Cluster) -> Result<()> {
    let api = Api::new(&cluster.kubeconfig())?;
    let scene = Scene::new(cluster, &api, "taints")?;
    let node = api.items("/api/v1/nodes")?.first().and_then(|it| it["metadata"]["name"].as_str()).map(str::to_owned);
    let node = node.context("there is a node")?;
    let tolerated = |seconds: u64| json!({ "key": TAINT, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds });
    for (name, tolerations) in [
        ("plain", json!([])),
        ("brief", json!([tolerated(BRIEF_SECONDS)])),
        ("briefest", json!([tolerated(600), tolerated(BRIEF_SECONDS)])),
        ("long", json!([tolerated(LONG_SECONDS)])),
        ("ever", json!([{ "key": TAINT, "operator": "Equal", "value": "now" }])),
    ] {
        scene.apply(&pod(name, None, tolerations))?;
    }
    for name in ["plain", "brief", "briefest", "long", "ever"] {
        scene.ready(name)?;
    }

    let mut watch = Watch::open(&api, &scene.path("pods?fieldSelector=metadata.name%3Dplain"))?;
    scene.kubectl.run(&["taint", "node", &node, &format!("{TAINT}=now:NoExecute")])?;
    let tainted = Instant::now();
    let late = Instant::now();
    scene.apply(&pod("late", Some(&node), json!([tolerated(BRIEF_SECONDS)])))?;
    let goes = |name: &str, since: Instant, seconds: u64| -> Result<()> {
        let limit = Duration::from_secs(seconds);
        api.gone(&scene.path(&format!("pods/{name}")), POD_LIMIT)?;
        let after = since.elapsed();
        ensure!(after >= limit && after < limit + SLACK, "{name} tolerates {limit:?} and went after {after:?}");
        Ok(())
    };
    let told =
        watch.sees("MODIFIED", "plain is told why it goes", |it| condition(it, "DisruptionTarget") == Some("True"))?;
    ensure!(told["status"]["conditions"].to_string().contains("DeletionByTaintManager"), "{}", told["status"]);
    goes("plain", tainted, 0)?;
    scene.event("plain", "TaintManagerEviction", "Marking for deletion Pod taints/plain")?;
    goes("brief", tainted, BRIEF_SECONDS)?;
    goes("briefest", tainted, BRIEF_SECONDS)?;
    goes("late", late, BRIEF_SECONDS)?;

    // Taken away in time, it evicts nobody.
    ensure!(tainted.elapsed() < Duration::from_secs(LONG_SECONDS), "it took {:?} to get here", tainted.elapsed());
    scene.kubectl.run(&["taint", "node", &node, &format!("{TAINT}-")])?;
    std::thread::sleep((Duration::from_secs(LONG_SECONDS) + SLACK).saturating_sub(tainted.elapsed()));
    for name in ["long", "ever"] {
        let left = scene.pod(name)?;
        ensure!(left["metadata"]["deletionTimestamp"].is_null(), "{name} is to go: {}", left["metadata"]);
    }
    Ok(())
}

fn pod(name: &str, node: Option<&str>, tolerations: Value) -> String {
    let spec = json!({ "nodeName": node, "tolerations": tolerations, "terminationGracePeriodSeconds": 0,
        "containers": [{ "name": "main", "image": "none" }] });
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name }, "spec": spec }).to_string()
}
