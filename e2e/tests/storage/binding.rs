//! Claims are bound to volumes that were made by hand: the smallest that does, the one that is named, the one that is kept for them.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};

use super::texts::{claim, volume};

fn bound(scene: &Scene<'_>, claim: &str, volume: &str) -> Result<()> {
    let path = scene.path(&format!("persistentvolumeclaims/{claim}"));
    let it = scene.api.until(&path, "is bound", POD_LIMIT, |it| it["status"]["phase"] == "Bound")?;
    ensure!(it["spec"]["volumeName"] == volume, "{claim} has {}", it["spec"]["volumeName"]);
    Ok(())
}

fn phase(scene: &Scene<'_>, volume: &str, phase: &str) -> Result<()> {
    let path = format!("/api/v1/persistentvolumes/{volume}");
    scene.api.until(&path, phase, POD_LIMIT, |it| it["status"]["phase"] == phase).map(drop)
}

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let path = "  hostPath: { path: /nowhere }";
    let labelled =
        volume("b-labelled", "b", "2Gi", path).replace("name: b-labelled", "name: b-labelled, labels: { disk: ssd }");
    scene.apply(&(volume("b-small", "b", "1Gi", path) + &volume("b-large", "b", "10Gi", path) + &labelled))?;
    for it in ["b-small", "b-large", "b-labelled"] {
        phase(scene, it, "Available")?;
    }
    scene.apply(&claim("fits", "b", "3Gi", ""))?;
    bound(scene, "fits", "b-large")?;
    phase(scene, "b-large", "Bound")?;
    let shown = scene.run(&["get", "pv", "b-large"])?;
    expect_words(&shown, &["10Gi", "RWO", "Retain", "Bound", &format!("{}/fits", scene.namespace), "b"])?;
    scene.apply(&claim("chooses", "b", "1Gi", "  selector: { matchLabels: { disk: ssd } }"))?;
    bound(scene, "chooses", "b-labelled")?;
    // Nothing is left that is large enough, and nobody makes more.
    scene.apply(&claim("waits", "b", "5Gi", ""))?;
    scene.event("waits", "ProvisioningFailed", "storageclass.storage.k8s.io \"b\" not found")?;
    scene.apply(&claim("no-class", "", "1Gi", ""))?;
    let words = "no persistent volumes available for this claim and no storage class is set";
    scene.event("no-class", "FailedBinding", words)?;
    scene.apply(&volume("b-late", "b", "6Gi", path))?;
    bound(scene, "waits", "b-late")?;
    // One that is named and too small; and the right one.
    scene.apply(&claim("greedy", "b", "2Gi", "  volumeName: b-small"))?;
    scene.event(
        "greedy",
        "VolumeMismatch",
        "Cannot bind to requested volume \"b-small\": requested PV is too small",
    )?;
    scene.apply(&claim("modest", "b", "1Gi", "  volumeName: b-small"))?;
    bound(scene, "modest", "b-small")?;
    scene.event("greedy", "FailedBinding", "volume \"b-small\" already bound to a different claim.")?;
    // Kept for a claim that comes later, though a smaller one would do.
    let kept = format!("{path}\n  claimRef: {{ namespace: {}, name: awaited }}", scene.namespace);
    scene.apply(&(volume("b-kept", "b", "9Gi", &kept) + &volume("b-other", "b", "1Gi", path)))?;
    phase(scene, "b-kept", "Available")?;
    scene.apply(&claim("awaited", "b", "1Gi", ""))?;
    bound(scene, "awaited", "b-kept")?;

    // Released, and then available again by hand.
    scene.run(&["delete", "pvc", "fits"])?;
    phase(scene, "b-large", "Released")?;
    scene.run(&["patch", "pv", "b-large", "--type=json", "-p", r#"[{"op": "remove", "path": "/spec/claimRef"}]"#])?;
    phase(scene, "b-large", "Available")?;
    // A claim whose volume is taken away by force is lost.
    scene.run(&["delete", "pv", "b-kept", "--wait=false"])?;
    scene.run(&["patch", "pv", "b-kept", "--type=merge", "-p", r#"{"metadata": {"finalizers": null}}"#])?;
    let path = scene.path("persistentvolumeclaims/awaited");
    scene.api.until(&path, "is lost", POD_LIMIT, |it| it["status"]["phase"] == "Lost")?;
    scene.event("awaited", "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")?;
    scene.run(&["delete", "pvc", "--all"])?;
    for it in ["b-small", "b-labelled", "b-late"] {
        phase(scene, it, "Released")?;
    }
    scene.run(&["delete", "pv", "b-small", "b-large", "b-labelled", "b-late", "b-other"]).map(drop)
}
