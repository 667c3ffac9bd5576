//! Nodes that run short, and pods that take more than they may.
//!
//! Nothing is filled: a threshold that no machine keeps is set when the agent is started anew, over pods that run already.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::{Cluster, Options, condition};
use orlop_e2e::image::{self, REDIS, TOOLS};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::registry::Registry;
use orlop_e2e::scene::expect_words;
use orlop_e2e::wait;
use serde_json::Value;

/// The node looks every ten seconds, measures disks every minute, and acts once a look.
const LIMIT: Duration = Duration::from_secs(150);

/// Memory that no machine has free.
const SHORT_OF_MEMORY: &[&str] =
    &["--eviction-hard", "memory.available<99.99%", "--eviction-pressure-transition-period", "1s"];
/// Disk that no machine has free.
const SHORT_OF_DISK: &[&str] = &[
    "--eviction-hard",
    "nodefs.available<99.99%",
    "--eviction-pressure-transition-period",
    "1s",
    "--minimum-image-ttl-duration",
    "1s",
];
/// Nothing is ever short.
const SHORT_OF_NOTHING: &[&str] = &[
    "--eviction-hard",
    "memory.available<1,nodefs.available<1",
    "--eviction-pressure-transition-period",
    "1s",
    "--system-reserved",
    "cpu=100m,memory=100Mi",
    "--kube-reserved",
    "cpu=50m,ephemeral-storage=1Gi",
];

fn native() -> Result<Options> {
    let images: Vec<PathBuf> = image::archives()?.to_vec();
    Ok(Options { runtime: "native", images, agent_flags: SHORT_OF_NOTHING, ..Options::default() })
}

/// A pod of one container that tolerates everything.
fn pod(name: &str, more: &str, container: &str, script: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  tolerations: [{{ operator: Exists }}]\n  {more}\n  containers:\n    \
         - name: main\n      image: {TOOLS}\n      command: [sh, -c, {script:?}]\n      {container}\n"
    )
}

fn runs(kubectl: &Kubectl, name: &str) -> Result<Value> {
    kubectl.until(&["pod", name], LIMIT, |it| condition(it, "Ready") == Some("True"))
}

fn evicted(kubectl: &Kubectl, name: &str) -> Result<Value> {
    kubectl.until(&["pod", name], LIMIT, |it| it["status"]["phase"] == "Failed" && it["status"]["reason"] == "Evicted")
}

fn message(pod: &Value) -> &str {
    pod["status"]["message"].as_str().unwrap_or_default()
}

#[test]
fn a_node_that_runs_short_evicts_by_rank_and_says_so() -> Result<()> {
    Cluster::with(native()?, |cluster| {
        let kubectl = cluster.kubectl()?;
        let node = cluster.node_name("1");
        let stays = "while :; do sleep 0.2; done";
        // In a variable it is in memory.
        let takes = format!("x=$(head -c 40000000 /dev/zero | tr '\\0' a); echo ${{#x}}; {stays}");
        let asks = |memory: &str| format!("resources: {{ requests: {{ memory: {memory} }} }}");
        kubectl.apply(&(pod("greedy", "", &asks("1Mi"), &takes) + &pod("modest", "", &asks("200Mi"), stays)))?;
        runs(&kubectl, "greedy")?;
        runs(&kubectl, "modest")?;
        wait::until("the memory is taken", LIMIT, || expect_words(&kubectl.run(&["logs", "greedy"])?, &["40000000"]))?;
        kubectl.apply(&pod("done", "restartPolicy: Never", "", "true"))?;
        kubectl.until(&["pod", "done"], LIMIT, |it| it["status"]["phase"] == "Succeeded")?;

        // What is kept back.
        let found = kubectl.json(&["node", &node])?;
        let amount = |of: &str, what: &str| orlop_amount(&found["status"][of][what]);
        ensure!(amount("capacity", "cpu")? - amount("allocatable", "cpu")? == 150, "{found:#}");
        let kept = amount("capacity", "memory")? - amount("allocatable", "memory")?;
        ensure!((kept - (100 << 20) * 1000).abs() <= 1024 * 1000, "{kept}: {found:#}");
        ensure!(condition(&found, "MemoryPressure") == Some("False"), "{found:#}");

        cluster.restart_agent_with("agent-1", SHORT_OF_MEMORY)?;
        let greedy = evicted(&kubectl, "greedy")?;
        let words = [
            "The node was low on resource: memory. Threshold quantity: ",
            ", available: ",
            "Container main was using ",
            "request is 1Mi, has larger consumption of memory. ",
        ];
        expect_words(message(&greedy), &words)?;
        ensure!(condition(&greedy, "DisruptionTarget") == Some("True"), "{greedy:#}");
        let events =
            kubectl.run(&["get", "events", "--field-selector", "involvedObject.name=greedy,reason=Evicted"])?;
        expect_words(&events, &["Warning", "Evicted", "The node was low on resource: memory."])?;
        let short = kubectl.until(&["node", &node], LIMIT, |it| {
            let taints = it["spec"]["taints"].as_array().into_iter().flatten();
            condition(it, "MemoryPressure") == Some("True")
                && taints.into_iter().any(|it| it["key"] == "node.kubernetes.io/memory-pressure")
        })?;
        ensure!(condition(&short, "Ready") == Some("True"), "{short:#}");
        // The next look takes the next pod; what it asked for did not save it, only its turn.
        let modest = evicted(&kubectl, "modest")?;
        let at = |it: &Value| {
            let all = it["status"]["conditions"].as_array().into_iter().flatten();
            let found = all.into_iter().find(|it| it["type"] == "DisruptionTarget").cloned().unwrap_or_default();
            found["lastTransitionTime"].as_str().unwrap_or_default().to_owned()
        };
        ensure!(at(&greedy) < at(&modest), "{} {}", at(&greedy), at(&modest));
        ensure!(!message(&modest).contains("larger consumption"), "{modest:#}");
        // Whoever asked for nothing is not taken, whatever it tolerates of others.
        kubectl.apply(
            &pod("late", "nodeName: NODE", "", stays)
                .replace("NODE", &node)
                .replace("operator: Exists", "key: x, operator: Exists"),
        )?;
        let late = evicted(&kubectl, "late")?;
        ensure!(message(&late) == "The node had condition: [MemoryPressure]. ", "{late:#}");

        // With the disk it begins with what nobody needs.
        let left = |name: &str| -> Result<usize> {
            let uid = kubectl.json(&["pod", name])?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let pods = std::fs::read_dir(cluster.folder().join("agent-1/native/pods"))?.flatten();
            Ok(pods.filter(|it| it.file_name().to_string_lossy().contains(&uid)).count())
        };
        ensure!(left("done")? > 0, "its log is there yet");
        cluster.restart_agent_with("agent-1", SHORT_OF_NOTHING)?;
        kubectl.until(&["node", &node], LIMIT, |it| condition(it, "MemoryPressure") == Some("False"))?;
        kubectl.apply(&pod("again", "", "", stays))?;
        runs(&kubectl, "again")?;
        cluster.restart_agent_with("agent-1", SHORT_OF_DISK)?;
        let again = evicted(&kubectl, "again")?;
        expect_words(message(&again), &["The node was low on resource: ephemeral-storage. Threshold quantity: "])?;
        wait::until("what is left of a pod that is over goes", LIMIT, || {
            let pods = cluster.folder().join("agent-1/native/pods");
            let uid = kubectl.json(&["pod", "done"])?["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            let left = std::fs::read_dir(pods)?.flatten().filter(|it| it.file_name().to_string_lossy().contains(&uid));
            ensure!(left.count() == 0, "it is still there");
            Ok(())
        })?;
        kubectl.until(&["node", &node], LIMIT, |it| condition(it, "DiskPressure") == Some("True"))?;
        Ok(())
    })
}

#[test]
fn an_image_that_was_pulled_and_is_idle_goes_when_the_disk_is_short() -> Result<()> {
    image::ready()?;
    let mut registry = Registry::start()?;
    let (idle, used) = (registry.push(TOOLS)?, registry.push(REDIS)?);
    let options = Options { runtime: "native", agent_flags: SHORT_OF_NOTHING, ..Options::default() };
    Cluster::with(options, |cluster| {
        let kubectl = cluster.kubectl()?;
        let node = cluster.node_name("1");
        let of = |name: &str, image: &str, more: &str| pod(name, more, "", "true").replace(TOOLS, image);
        kubectl.apply(&of("idle", &idle, "restartPolicy: Never"))?;
        kubectl.until(&["pod", "idle"], LIMIT, |it| it["status"]["phase"] == "Succeeded")?;
        // The cluster cannot do without it, so that it stays and its image with it.
        kubectl.apply(&format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{ name: used }}\nspec:\n  tolerations: [{{ operator: Exists }}]\n  \
             priorityClassName: system-node-critical\n  containers: [{{ name: main, image: {used} }}]\n"
        ))?;
        runs(&kubectl, "used")?;
        let has = |it: &Value, image: &str| {
            let names = it["status"]["images"].as_array().into_iter().flatten();
            names.flat_map(|it| it["names"].as_array().into_iter().flatten()).any(|it| it == image)
        };
        kubectl.until(&["node", &node], LIMIT, |it| has(it, &idle) && has(it, &used))?;
        cluster.restart_agent_with("agent-1", SHORT_OF_DISK)?;
        let left = kubectl.until(&["node", &node], LIMIT, |it| !has(it, &idle))?;
        ensure!(has(&left, &used), "{left:#}");
        let used = kubectl.json(&["pod", "used"])?;
        ensure!(used["status"]["phase"] == "Running", "{used:#}");
        Ok(())
    })
}

/// An amount in thousandths.
fn orlop_amount(it: &Value) -> Result<i64> {
    let text = it.as_str().context("an amount")?;
    Ok(orlop_api::quantity::Quantity::parse(text)?.milli_value_ceil())
}

#[test]
fn pods_that_take_more_than_they_may_are_evicted() -> Result<()> {
    Cluster::with(native()?, |cluster| {
        let kubectl = cluster.kubectl()?;
        let stays = "while :; do sleep 0.2; done";
        let writes = |to: &str| format!("head -c 3000000 /dev/zero > {to}; {stays}");
        let volume = |limit: &str| format!("volumes: [{{ name: scratch, emptyDir: {{ sizeLimit: {limit} }} }}]");
        let mounts = "volumeMounts: [{ name: scratch, mountPath: /scratch }]";
        let limited = "resources: { limits: { ephemeral-storage: 1Mi } }";
        kubectl.apply(
            &[
                pod("volume", &volume("1Mi"), mounts, &writes("/scratch/a")),
                pod("root", "", limited, &writes("/a")),
                pod("keeps", &volume("100Mi"), mounts, &writes("/scratch/a")),
            ]
            .concat(),
        )?;
        let volume = evicted(&kubectl, "volume")?;
        ensure!(message(&volume) == "Usage of EmptyDir volume \"scratch\" exceeds the limit \"1Mi\". ", "{volume:#}");
        ensure!(condition(&volume, "DisruptionTarget").is_none(), "it is its own fault: {volume:#}");
        let root = evicted(&kubectl, "root")?;
        let expected = "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. ";
        ensure!(message(&root) == expected, "{root:#}");
        let keeps = runs(&kubectl, "keeps")?;
        ensure!(keeps["status"]["phase"] == "Running", "{keeps:#}");
        Ok(())
    })
}
