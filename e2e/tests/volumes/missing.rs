//! A ConfigMap, a Secret or a key of one that must be there and is not: the pod waits, says for what, and starts as soon as it is there.
//!
//! Stands for "ConfigMap" and "Secrets Should fail non-optional pod creation due to the … object (key in the … object) does not exist", and the
//! same of projected volumes, which are slow tests in Kubernetes and no conformance tests.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, container};
use serde_json::{Value, json};

use super::ways::{WAYS, Way, manifest, objects};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest(&WAYS.map(pod)))?;
    for way in WAYS {
        let words = format!("{} \"data\" not found", if way.is_secret { "secret" } else { "configmap" });
        waits(scene, way, &words)?;
    }
    scene.apply(&manifest(&objects("data", &[("data-1", "value-1")])))?;
    for way in WAYS {
        let words =
            if way.is_secret { "references non-existent secret" } else { "configmap references non-existent config" };
        waits(scene, way, &format!("{words} key: data-2"))?;
    }
    scene.apply(&manifest(&objects("data", &[("data-1", "value-1"), ("data-2", "value-2")])))?;
    for way in WAYS {
        scene.succeeded(way.name)?;
        let text = scene.logs(way.name, &[])?;
        ensure!(text == way.value("value-2"), "{} shows {text:?}", way.name);
    }
    Ok(())
}

fn waits(scene: &Scene<'_>, way: Way, words: &str) -> Result<()> {
    scene.event(way.name, "FailedMount", &format!("MountVolume.SetUp failed for volume \"data\" : {words}"))?;
    let pod = scene.pod(way.name)?;
    let reason = &container(&pod, "main")["state"]["waiting"]["reason"];
    ensure!(pod["status"]["phase"] == "Pending" && reason == "ContainerCreating", "{}", pod["status"]);
    Ok(())
}

fn pod(way: Way) -> Value {
    let items = json!({ "items": [{ "key": "data-2", "path": "data-2" }], "optional": false });
    let mut volume = way.source("data", None, &items);
    volume["name"] = "data".into();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": way.name },
        "spec": {
            "restartPolicy": "Never",
            "volumes": [volume],
            "containers": [{
                "name": "main",
                "image": TOOLS,
                "command": ["cat", "/data/data-2"],
                "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
            }],
        },
    })
}
