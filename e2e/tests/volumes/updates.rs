//! Files follow their ConfigMaps and Secrets under the eyes of a container that runs: one that comes later, one that changes, one that goes.
//!
//! Stands for "ConfigMap", "Secrets", "Projected configMap" and "Projected secret optional updates should be reflected in volume", and for the
//! "updates" of both kinds of ConfigMap volume.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::wait;
use serde_json::{Value, json};

use super::ways::{WAYS, Way, manifest, objects};

/// What each way has a volume for: its name, the object, and whether that may be missing.
const VOLUMES: [(&str, &str, bool); 4] =
    [("changed", "changed", true), ("gone", "gone", true), ("late", "late", true), ("needed", "changed", false)];

/// How often they change.
const CHANGES: usize = 20;

/// Every file below the volumes with its text, without those that only the volumes' writer knows.
const SHOW: &str =
    "find -L /volumes -name '..*' -prune -o -type f -print | sort | while read it; do echo \"$it $(cat $it)\"; done";

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let mut all = objects("changed", &[("data-1", "value-1"), ("kept", "kept")]).to_vec();
    all.extend(objects("gone", &[("data-1", "value-1")]));
    all.push(pod());
    scene.apply(&manifest(&all))?;
    scene.ready("following")?;
    let show = || scene.inside("following", "main", &["sh", "-c", SHOW]);
    let first = expected(&[
        ("changed/data-1", "value-1"),
        ("changed/kept", "kept"),
        ("gone/data-1", "value-1"),
        ("needed/data-1", "value-1"),
        ("needed/kept", "kept"),
    ]);
    let shown = show()?;
    ensure!(shown == first, "at first there is\n{shown}instead of\n{first}");

    scene.apply(&manifest(&objects("late", &[("data-1", "value-1")])))?;
    scene.run(&["delete", "configmap/gone", "secret/gone"])?;
    change(scene)?;
    let then = expected(&[
        ("changed/data-3", "value-3"),
        ("changed/kept", "kept"),
        ("late/data-1", "value-1"),
        ("needed/data-3", "value-3"),
        ("needed/kept", "kept"),
    ]);
    wait::until("the files follow", POD_LIMIT, || {
        let shown = show()?;
        ensure!(shown == then, "there is\n{shown}instead of\n{then}");
        Ok(())
    })?;
    let status = &scene.pod("following")?["status"]["containerStatuses"][0];
    ensure!(status["restartCount"] == 0 && status["ready"] == true, "the container was touched: {status}");
    Ok(())
}

/// Changes both objects many times in a row: what they hold at last is shown, however fast that came.
fn change(scene: &Scene<'_>) -> Result<()> {
    let (runtime, client) = scene.api.parts();
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &scene.namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &scene.namespace);
    let params = PatchParams::default();
    runtime.block_on(async {
        for turn in (3..3 + CHANGES).rev() {
            let patch = json!({ "data": { "data-1": null, "data-3": format!("value-{turn}") } });
            config_maps.patch("changed", &params, &Patch::Merge(&patch)).await?;
            let patch =
                json!({ "data": { "data-1": null }, "stringData": { "data-3": format!("secret-value-{turn}") } });
            secrets.patch("changed", &params, &Patch::Merge(&patch)).await?;
        }
        Ok(())
    })
}

/// What [`SHOW`] prints when each way shows these files.
fn expected(files: &[(&str, &str)]) -> String {
    let line = |way: Way, (path, text): (&str, &str)| format!("/volumes/{}/{path} {}\n", way.name, way.value(text));
    let mut lines: Vec<_> = WAYS.into_iter().flat_map(|way| files.iter().map(move |it| line(way, *it))).collect();
    lines.sort();
    lines.concat()
}

fn pod() -> Value {
    let (mut volumes, mut mounts) = (Vec::new(), Vec::new());
    for way in WAYS {
        for (what, object, optional) in VOLUMES {
            let name = format!("{}-{what}", way.name);
            let mut volume = way.source(object, None, &json!({ "optional": optional }));
            volume["name"] = name.as_str().into();
            volumes.push(volume);
            mounts.push(json!({ "name": name, "mountPath": format!("/volumes/{}/{what}", way.name) }));
        }
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "following" },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "volumes": volumes,
            "containers": [{
                "name": "main", "image": TOOLS, "command": ["sleep", "600"], "volumeMounts": mounts,
            }],
        },
    })
}
