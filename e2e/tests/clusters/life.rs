//! A cluster that is stopped and started, loses its agent, and goes through what a reboot of the machine leaves.

use std::process::Command;

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::nodes::Nodes;
use orlop_e2e::{image, tool, wait};
use serde_json::Value;

use crate::web::{self, LIMIT, NODE_PORT, within};

pub fn play() -> Result<()> {
    let images = image::archives()?[1..].to_vec();
    let port = tool::free_port()?;
    let flags = vec![format!("--port={port}:{NODE_PORT}")];
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
        reboot(&local)?;
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
    let first = kubectl.json(&["pod", "web-1"])?;
    ensure!(within(local, &first, &["cat", "/data/it"])? == "written\n", "the pod's volume is the same");
    web::until_everybody(2, &format!("127.0.0.1:{port}"))
}

fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(u64::MAX)
}

/// What a reboot does to a cluster: processes, namespaces, links and mounts are gone.
fn reboot(local: &Nodes) -> Result<()> {
    let record = local.record()?;
    let folder = local.folder();
    // The parts first, so that no agent starts anew what is killed.
    for _ in 0..2 {
        for trace in local.traces(&record)? {
            let pid = trace.strip_prefix("process ").and_then(|it| it.split(':').next()?.parse().ok());
            if let Some(pid) = pid {
                // One that was another's child may be gone with it.
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
    wait::until("all processes are gone", LIMIT, || {
        let left: Vec<String> = local.traces(&record)?.into_iter().filter(|it| it.starts_with("process")).collect();
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    })?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let ours: Vec<&str> = mounts.lines().filter_map(|it| it.split(' ').nth(1)).collect();
    for at in ours.into_iter().rev().filter(|it| it.starts_with(&folder.display().to_string())) {
        tool::run(Command::new("umount").args(["--lazy", at]))?;
    }
    // With its namespaces the cable is gone.
    wait::until("the links are gone", LIMIT, || {
        let left: Vec<String> = local.traces(&record)?.into_iter().filter(|it| it.starts_with("ip:")).collect();
        ensure!(left.is_empty(), "{left:#?}");
        Ok(())
    })
}
