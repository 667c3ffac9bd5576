//! Two agents on one machine: one is killed, its pods run on the other within 20 s; it returns, and no pod runs twice. And a node that is well, whose
//! pods go because somebody says so.

#[path = "failover/taints.rs"]
mod taints;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use orlop_e2e::api::Api;
use orlop_e2e::cluster::{Cluster, Options, condition};
use orlop_e2e::image::{self, WEB};
use orlop_e2e::registry::docker;
use orlop_e2e::scene::Scene;
use orlop_e2e::wait;
use serde_json::Value;

/// What the issue promises.
const PROMISED: Duration = Duration::from_secs(20);
const REPLICAS: usize = 4;
/// How soon after its return an agent has removed what is not its own any more: it does that before anything else.
const AT_ONCE: Duration = Duration::from_secs(5);

#[test]
fn pods_of_a_dead_node_run_elsewhere_and_never_twice() -> Result<()> {
    image::ready()?;
    Cluster::with(Options { runtime: "docker", nodes: 2, ..Options::default() }, |cluster| {
        let over = AtomicBool::new(false);
        let nodes = cluster.node_names();
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| nothing_twice(&nodes, &over));
            let outcome = scenario(cluster);
            over.store(true, Relaxed);
            let looks = watching.join().map_err(|_| anyhow::anyhow!("the watch on Docker panicked"))?;
            outcome?;
            println!("looked at Docker {} times: no pod ran twice", looks?);
            Ok(())
        })
    })
}

#[test]
fn taints_set_by_hand_evict_pods_in_their_time() -> Result<()> {
    Cluster::with(Options { hollow_nodes: 1, ..Options::default() }, taints::play)
}

fn scenario(cluster: &mut Cluster) -> Result<()> {
    let api = Api::new(&cluster.kubeconfig())?;
    let (lost, kept) = (cluster.node_name("1"), cluster.node_name("2"));
    Scene::new(cluster, &api, "failover")?.apply(&manifest())?;
    let scene_path = "/api/v1/namespaces/failover/pods";
    let pods = wait::until("all pods are ready, on both nodes", Duration::from_secs(60), || {
        let pods = api.items(scene_path)?;
        let ready = pods.iter().filter(|it| condition(it, "Ready") == Some("True")).count();
        ensure!(ready == REPLICAS && on(&pods, &lost) > 0 && on(&pods, &kept) > 0, "{ready} are, {}", places(&pods));
        Ok(pods)
    })?;
    let before = containers(&lost)?;
    ensure!(before.len() == on(&pods, &lost), "Docker has {before:?} for {}", places(&pods));

    cluster.part("agent-1")?.kill();
    let began = Instant::now();
    wait::until("the pods run on the other node", 3 * PROMISED, || {
        let pods = api.items(scene_path)?;
        let ready = pods.iter().filter(|it| condition(it, "Ready") == Some("True") && it["spec"]["nodeName"] == *kept);
        ensure!(ready.count() == REPLICAS, "{}", places(&pods));
        Ok(())
    })?;
    let took = began.elapsed();
    println!("the pods of a killed agent ran on the other node after {:.1} s", took.as_secs_f32());
    ensure!(took < PROMISED, "it took {took:?}");
    let node = api.get(&format!("/api/v1/nodes/{lost}"))?;
    ensure!(condition(&node, "Ready") == Some("Unknown"), "{}", node["status"]["conditions"]);
    let taints = node["spec"]["taints"].to_string();
    ensure!(taints.contains("node.kubernetes.io/unreachable") && taints.contains("NoExecute"), "{taints}");
    // A machine that is only silent still runs what it ran.
    ensure!(containers(&lost)? == before, "nobody but its own agent touches a node's containers");

    cluster.start_part("agent-1")?;
    let returned = Instant::now();
    wait::until("the old containers are gone", AT_ONCE, || {
        let left = containers(&lost)?;
        ensure!(left.is_empty(), "there are {left:?}");
        Ok(())
    })?;
    println!("the returned agent had removed its old containers after {:.1} s", returned.elapsed().as_secs_f32());
    wait::until("the node is ready again, without taints", Duration::from_secs(30), || {
        let node = api.get(&format!("/api/v1/nodes/{lost}"))?;
        ensure!(condition(&node, "Ready") == Some("True"), "{}", node["status"]["conditions"]);
        ensure!(node["spec"]["taints"].as_array().is_none_or(Vec::is_empty), "{}", node["spec"]["taints"]);
        Ok(())
    })?;
    let pods = api.items(scene_path)?;
    ensure!(pods.len() == REPLICAS && on(&pods, &kept) == REPLICAS, "the pods stay where they are: {}", places(&pods));

    // It takes pods again.
    let kubectl = cluster.kubectl()?;
    kubectl.run(&["-n", "failover", "scale", "deployment/web", &format!("--replicas={}", REPLICAS + 2)])?;
    wait::until("new pods run on the returned node", Duration::from_secs(60), || {
        let pods = api.items(scene_path)?;
        let ready = pods.iter().filter(|it| condition(it, "Ready") == Some("True")).count();
        ensure!(ready == REPLICAS + 2 && on(&pods, &lost) > 0, "{}", places(&pods));
        Ok(())
    })
}

fn on(pods: &[Value], node: &str) -> usize {
    pods.iter().filter(|it| it["spec"]["nodeName"] == node).count()
}

fn places(pods: &[Value]) -> String {
    let words = |it: &Value| {
        format!("{} on {} ready {:?}", it["metadata"]["name"], it["spec"]["nodeName"], condition(it, "Ready"))
    };
    pods.iter().map(words).collect::<Vec<_>>().join(", ")
}

/// The running containers of a node's pods, by pod.
fn containers(node: &str) -> Result<BTreeMap<String, String>> {
    let filter = format!("label=dev.orlop.node={node}");
    let format = "{{.Label \"dev.orlop.pod-uid\"}} {{.ID}}";
    let kind = "label=dev.orlop.kind=container";
    let text = docker(&["ps", "--no-trunc", "--filter", &filter, "--filter", kind, "--format", format])?;
    let pairs = text.lines().filter_map(|it| it.split_once(' '));
    Ok(pairs.map(|(uid, id)| (uid.to_owned(), id.to_owned())).collect())
}

/// Looks at Docker until it is over: each container of each pod runs at most once, on whatever node. Gives the number of looks.
fn nothing_twice(nodes: &[String], over: &AtomicBool) -> Result<u32> {
    let mut looks = 0;
    while !over.load(Relaxed) {
        let mut seen = BTreeMap::<String, String>::new();
        for node in nodes {
            let filter = format!("label=dev.orlop.node={node}");
            let format = "{{.Label \"dev.orlop.pod-uid\"}}/{{.Label \"dev.orlop.kind\"}}/{{.Label \"dev.orlop.container\"}} {{.ID}}";
            for line in docker(&["ps", "--filter", &filter, "--format", format])?.lines() {
                let (what, id) = line.split_once(' ').with_context(|| format!("docker ps said {line}"))?;
                if let Some(other) = seen.insert(what.to_owned(), id.to_owned()).filter(|it| it != id) {
                    bail!("{what} runs twice: {other} and {id} on {node}");
                }
            }
        }
        looks += 1;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(looks)
}

fn manifest() -> String {
    format!(
        r#"
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: {REPLICAS}
  selector: {{ matchLabels: {{ app: web }} }}
  template:
    metadata: {{ labels: {{ app: web }} }}
    spec:
      terminationGracePeriodSeconds: 2
      containers:
        - name: nginx
          image: {WEB}
          readinessProbe: {{ httpGet: {{ path: /alive, port: 8080 }}, periodSeconds: 1 }}
"#
    )
}
