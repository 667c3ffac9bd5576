//! Many volumes of many pods at once, on one node.
//!
//! Stands for "EmptyDir wrapper volumes should not cause race condition when used for configmaps".

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, is_ready, name};
use serde_json::{Value, json};

use super::ways::manifest;

/// As many as Kubernetes' test has.
const VOLUMES: usize = 50;
const PODS: usize = 5;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let nodes = scene.api.items("/api/v1/nodes")?;
    let node = nodes.last().map(name).context("a cluster has nodes")?;
    let of_each = |make: fn(usize) -> Value| (0..VOLUMES).map(make).collect::<Vec<_>>();
    scene.apply(&manifest(&of_each(|it| {
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": format!("many-{it}") },
            "data": { "data-1": format!("value-{it}") } })
    })))?;
    let volumes = of_each(|it| json!({ "name": format!("v{it}"), "configMap": { "name": format!("many-{it}") } }));
    let mounts = of_each(|it| json!({ "name": format!("v{it}"), "mountPath": format!("/many/{it}") }));
    scene.apply(&manifest(&[json!({
        "apiVersion": "v1",
        "kind": "ReplicationController",
        "metadata": { "name": "many" },
        "spec": {
            "replicas": PODS,
            "selector": { "name": "many" },
            "template": {
                "metadata": { "labels": { "name": "many" } },
                "spec": {
                    "terminationGracePeriodSeconds": 0,
                    "nodeSelector": { "kubernetes.io/hostname": node },
                    "volumes": volumes,
                    "containers": [{
                        "name": "main",
                        "image": TOOLS,
                        "command": ["sh", "-c", "cat /many/*/data-1 > /all; sleep 600"],
                        "readinessProbe": { "exec": { "command": ["test", "-s", "/all"] }, "periodSeconds": 1 },
                        "volumeMounts": mounts,
                    }],
                },
            },
        },
    })]))?;
    let pods = scene.api.until(&scene.path("pods"), "are ready", POD_LIMIT, |it| {
        it["items"].as_array().is_some_and(|it| it.len() == PODS && it.iter().all(is_ready))
    })?;
    let events = scene.api.items(&scene.path("events"))?;
    let failed: Vec<_> = events.iter().filter(|it| it["reason"] == "FailedMount").map(|it| &it["message"]).collect();
    ensure!(failed.is_empty(), "pods waited for their volumes: {failed:?}");
    let mut expected: Vec<String> = (0..VOLUMES).map(|it| format!("value-{it}")).collect();
    expected.sort();
    for pod in pods["items"].as_array().into_iter().flatten() {
        // The texts end without a line's end.
        let text = scene.inside(
            &name(pod),
            "main",
            &["sh", "-c", "for it in /many/*/data-1; do echo $(cat $it); done | sort"],
        )?;
        ensure!(text.lines().eq(expected.iter().map(String::as_str)), "{} has {text}", name(pod));
    }
    Ok(())
}
