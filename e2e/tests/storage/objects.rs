//! The objects themselves, as the conformance tests of sig-storage ask for them: made, listed, patched, updated, their statuses, removed together.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};

use super::texts::{claim, volume};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&(volume("o-1", "o", "1Gi", "  hostPath: { path: /nowhere }") + &claim("o-1", "o", "1Gi", "")))?;
    let (at_claim, at_volume) = (scene.path("persistentvolumeclaims/o-1"), "/api/v1/persistentvolumes/o-1");
    scene.api.until(&at_claim, "is bound", POD_LIMIT, |it| it["status"]["phase"] == "Bound")?;
    // What others write into a status stays, beside the phase.
    let patch =
        |kind: &str, text: &str| scene.run(&["patch", kind, "o-1", "--subresource=status", "--type=merge", "-p", text]);
    patch("pv", r#"{"status": {"message": "told by hand", "reason": "Patched"}}"#)?;
    patch("pvc", r#"{"status": {"conditions": [{"type": "Told", "status": "True", "reason": "Patched"}]}}"#)?;
    scene.run(&["label", "pv", "o-1", "set=o"])?;
    scene.run(&["label", "pvc", "o-1", "set=o"])?;
    let shown = scene.api.get(at_volume)?;
    ensure!(shown["status"]["message"] == "told by hand" && shown["status"]["phase"] == "Bound", "{shown}");
    ensure!(shown["status"]["lastPhaseTransitionTime"].is_string(), "{shown}");
    let shown = scene.api.get(&at_claim)?;
    ensure!(shown["status"]["conditions"][0]["type"] == "Told" && shown["status"]["phase"] == "Bound", "{shown}");

    let class = |name: &str| {
        format!(
            "---\napiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {{ name: {name}, labels: {{ set: o }} }}\nprovisioner: example.com/o\n"
        )
    };
    scene.apply(&(class("o-1") + &class("o-2")))?;
    scene.run(&["patch", "storageclass", "o-1", "-p", r#"{"metadata": {"annotations": {"told": "yes"}}}"#])?;
    let listed = scene.kubectl.items(&["storageclasses", "-l", "set=o"])?;
    ensure!(listed.len() == 2 && listed[0]["metadata"]["annotations"]["told"] == "yes", "{listed:?}");
    let refused =
        scene.kubectl.fails(&["patch", "storageclass", "o-1", "-p", r#"{"provisioner": "example.com/p"}"#], "")?;
    ensure!(refused.contains("updates to provisioner are forbidden"), "{refused}");
    for kind in ["pvc", "pv", "storageclasses"] {
        scene.run(&["delete", kind, "-l", "set=o"])?;
    }
    scene.api.gone(&at_claim, POD_LIMIT)?;
    scene.api.gone(at_volume, POD_LIMIT)?;
    scene.api.gone("/apis/storage.k8s.io/v1/storageclasses/o-1", POD_LIMIT)
}
