//! A cluster that is stopped and started, loses its agent, and goes through what a reboot of the machine leaves.

use anyhow::{Result, ensure};
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::image::TOOLS;
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::nodes::Nodes;
use orlop_e2e::{image, tool, wait};
use serde_json::Value;

use crate::web::{self, LIMIT, NODE_PORT, within};

pub fn play() -> Result<()> {
    let images = image::archives()?[1..].to_vec();
    let port = tool::free_port()?;
    let statics = tempfile::tempdir()?;
    std::fs::write(statics.path().join("fixed.yaml"), fixed())?;
    let flags = vec![format!("--port={port}:{NODE_PORT}"), format!("--pod-manifest-path={}", statics.path().display())];
    let options =
        Options { form: Form::Nodes, runtime: "native", nodes: 2, images, cluster_flags: flags, ..Options::default() };
    Cluster::with(options, |cluster| {
        let (local, kubectl) = (cluster.local(), cluster.kubectl()?);
        let name = local.name().to_owned();
        let names = cluster.node_names();
        let pods = web::make(&kubectl, &names)?;
        kubectl.run(&["create", "configmap", "kept", "--from-literal=it=stays"])?;
        within(&local, &pods[0], &["sh", "-c", "echo written > /data/it"])?;
        web::until_everybody(2, &format!("127.0.0.1:{port}"))?;

        // What lies in the folder runs on the first node, and nowhere else.
        web::ready(&kubectl, &format!("fixed-{}", names[0]))?;
        let fixed = kubectl.items(&["pods", "-l", "app=fixed"])?;
        ensure!(fixed.len() == 1 && fixed[0]["spec"]["nodeName"] == names[0].as_str(), "{fixed:#?}");

        // An agent that dies leaves its pods running, and comes back to them.
        local.kill(&format!("agent-{}", names[0]))?;
        wait::until("the list tells", LIMIT, || {
            let listed = local.run(&["list"])?;
            ensure!(listed.contains(&format!("Degraded (agent-{})", names[0])), "{listed}");
            Ok(())
        })?;
        local.run(&["start", &name])?;
        let after = web::ready(&kubectl, "web-1")?;
        ensure!(restarts(&after) == 0, "{after:#}");
        // A second start has nothing to do.
        local.run(&["start", &name])?;

        // Stopped: nothing runs, everything is there.
        let record = local.record()?;
        local.run(&["stop", &name, "--time", "1"])?;
        let left = local.traces(&record)?;
        ensure!(left == [format!("files: {}", local.folder().display())], "{left:#?}");
        let listed = local.run(&["list"])?;
        ensure!(listed.contains("Stopped"), "{listed}");
        local.run(&["stop", &name])?;
        local.run(&["start", &name])?;
        back(&local, &kubectl, port, 1)?;

        // The machine goes down without a word.
        local.reboot()?;
        local.run(&["start", &name])?;
        back(&local, &kubectl, port, 2)
    })
}

/// Everything is as before, and pods have been started again.
fn back(local: &Nodes, kubectl: &Kubectl, port: u16, times: u64) -> Result<()> {
    let kept = kubectl.json(&["configmap", "kept"])?;
    ensure!(kept["data"]["it"] == "stays", "{kept}");
    for pod in ["web-1", "web-2"] {
        let restarted =
            |it: &Value| restarts(it) >= times && orlop_e2e::cluster::condition(it, "Ready") == Some("True");
        kubectl.until(&["pod", pod], LIMIT, restarted)?;
    }
    web::ready(kubectl, &format!("fixed-{}", local.names()?[0]))?;
    let first = kubectl.json(&["pod", "web-1"])?;
    ensure!(within(local, &first, &["cat", "/data/it"])? == "written\n", "the pod's volume is the same");
    web::until_everybody(2, &format!("127.0.0.1:{port}"))
}

/// A static pod.
fn fixed() -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: fixed, labels: {{ app: fixed }} }}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         containers: [{{ name: main, image: '{TOOLS}', command: [sleep, '100000'] }}]\n"
    )
}

fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(u64::MAX)
}
