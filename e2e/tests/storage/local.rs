//! The class `local`, which claims get that name none: a folder is made where the first pod goes, outlives its pods, and goes with its claim.

use anyhow::{Context, Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};
use orlop_e2e::wait;
use serde_json::json;

use super::texts::{claim, pod};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let classes = scene.run(&["get", "storageclass", "local"])?;
    expect_words(&classes, &["local (default)", "orlop.dev/local", "Delete", "WaitForFirstConsumer", "true"])?;
    // Without a class in the manifest: the default one.
    let unnamed = claim("data", "x", "1Gi", "").replace("  storageClassName: \"x\"\n", "");
    scene.apply(&unnamed)?;
    scene.event("data", "WaitForFirstConsumer", "waiting for first consumer to be created before binding")?;
    let waiting = scene.api.get(&scene.path("persistentvolumeclaims/data"))?;
    ensure!(waiting["spec"]["storageClassName"] == "local" && waiting["status"]["phase"] == "Pending", "{waiting}");

    scene.apply(&pod("first", "data", ""))?;
    let first = scene.ready("first")?;
    scene.inside("first", "main", &["sh", "-c", "echo kept > /data/line && chown 7:7 /data/line"])?;
    let bound = scene.api.get(&scene.path("persistentvolumeclaims/data"))?;
    ensure!(bound["status"]["phase"] == "Bound" && bound["status"]["capacity"]["storage"] == "1Gi", "{bound}");
    ensure!(
        bound["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == first["spec"]["nodeName"],
        "{bound}"
    );
    let name = bound["spec"]["volumeName"].as_str().context("it has a volume")?.to_owned();
    let at = format!("/api/v1/persistentvolumes/{name}");
    let made = scene.api.get(&at)?;
    let folder = scene.cluster.agent_dir("1").join("volumes").join(&name);
    let affinity = &made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
    ensure!(made["spec"]["local"]["path"] == folder.display().to_string(), "{made}");
    ensure!(
        affinity["key"] == "kubernetes.io/hostname" && affinity["values"][0] == first["spec"]["nodeName"],
        "{made}"
    );
    ensure!(made["metadata"]["annotations"]["pv.kubernetes.io/provisioned-by"] == "orlop.dev/local", "{made}");
    ensure!(made["status"]["phase"] == "Bound" && made["spec"]["persistentVolumeReclaimPolicy"] == "Delete", "{made}");
    ensure!(std::fs::read_to_string(folder.join("line"))? == "kept\n", "the folder is another");
    scene.event("data", "ProvisioningSucceeded", &format!("Successfully provisioned volume {name}"))?;

    // The next pod finds it, and one beside it, too.
    scene.run(&["delete", "pod", "first", "--grace-period=1"])?;
    scene.apply(&(pod("second", "data", "") + &pod("third", "data", "")))?;
    for it in ["second", "third"] {
        scene.ready(it)?;
        let text = scene.inside(it, "main", &["sh", "-c", "cat /data/line; stat -c %u:%g /data/line"])?;
        ensure!(text == "kept\n7:7\n", "{it} finds {text:?}");
    }
    scene.run(&["delete", "pod", "second", "third", "--grace-period=1"])?;
    scene.run(&["delete", "pvc", "data"])?;
    scene.api.gone(&at, POD_LIMIT)?;
    ensure!(!folder.exists(), "{} was left behind", folder.display());

    retained(scene)?;
    unused(scene)?;
    refused(scene)
}

/// What a class keeps stays, released, until somebody says otherwise.
fn retained(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&format!(
        "{}{}{}",
        r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: keeps }
provisioner: orlop.dev/local
reclaimPolicy: Retain
"#,
        claim("kept", "keeps", "1Gi", ""),
        pod("writer", "kept", "")
    ))?;
    scene.ready("writer")?;
    scene.inside("writer", "main", &["sh", "-c", "echo precious > /data/line"])?;
    let name = scene.run(&["get", "pvc", "kept", "-o", "jsonpath={.spec.volumeName}"])?;
    scene.run(&["delete", "pod", "writer", "--grace-period=1"])?;
    scene.run(&["delete", "pvc", "kept"])?;
    let at = format!("/api/v1/persistentvolumes/{name}");
    scene.api.until(&at, "is released", POD_LIMIT, |it| it["status"]["phase"] == "Released")?;
    let folder = scene.cluster.agent_dir("1").join("volumes").join(&name);
    // A new claim of the same name is another one, and does not get it.
    scene.apply(&claim("kept", "keeps", "1Gi", ""))?;
    scene.api.until(&scene.path("persistentvolumeclaims/kept"), "has a volume of its own", POD_LIMIT, |it| {
        it["status"]["phase"] == "Bound" && it["spec"]["volumeName"] != name.as_str()
    })?;
    // An administrator gives the old one on, as the documentation of Kubernetes has it.
    scene.run(&["patch", "pv", &name, "--type=json", "-p", r#"[{"op": "remove", "path": "/spec/claimRef"}]"#])?;
    scene.api.until(&at, "is available", POD_LIMIT, |it| it["status"]["phase"] == "Available")?;
    scene.apply(&(claim("again", "keeps", "1Gi", &format!("  volumeName: {name}")) + &pod("reader", "again", "")))?;
    scene.ready("reader")?;
    ensure!(scene.inside("reader", "main", &["cat", "/data/line"])? == "precious\n", "it is another folder");
    scene.run(&["delete", "pod", "reader", "--grace-period=1"])?;
    scene.run(&["delete", "pvc", "again", "kept"])?;
    scene.api.until(&at, "is released again", POD_LIMIT, |it| it["status"]["phase"] == "Released")?;
    // A retained volume goes without its data.
    scene.run(&["delete", "pv", &name])?;
    scene.api.gone(&at, POD_LIMIT)?;
    ensure!(std::fs::read_to_string(folder.join("line"))? == "precious\n", "the data went with the object");
    Ok(())
}

/// A class that is bound at once makes a volume that no pod has; it goes without a folder.
fn unused(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&format!(
        "{}{}",
        r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: at-once }
provisioner: orlop.dev/local
volumeBindingMode: Immediate
"#,
        claim("early", "at-once", "1Gi", "")
    ))?;
    let path = scene.path("persistentvolumeclaims/early");
    let early = scene.api.until(&path, "is bound", POD_LIMIT, |it| it["status"]["phase"] == "Bound")?;
    let name = early["spec"]["volumeName"].as_str().context("it has a volume")?.to_owned();
    scene.run(&["delete", "pvc", "early"])?;
    scene.api.gone(&format!("/api/v1/persistentvolumes/{name}"), POD_LIMIT)?;
    ensure!(!scene.cluster.agent_dir("1").join("volumes").join(&name).exists(), "a folder was made for nobody");
    Ok(())
}

/// What a folder cannot be is told, and nothing is made.
fn refused(scene: &Scene<'_>) -> Result<()> {
    let block = claim("raw", "at-once", "1Gi", "  volumeMode: Block");
    scene.apply(&block)?;
    scene.event("raw", "ProvisioningFailed", "orlop.dev/local does not support block volume provisioning")?;
    // A claim that is asked for a node which is not there is given another.
    scene.apply(&claim("lost", "local", "1Gi", ""))?;
    scene.run(&["annotate", "pvc", "lost", "volume.kubernetes.io/selected-node=nowhere"])?;
    scene.event("lost", "ProvisioningFailed", "node \"nowhere\" not found")?;
    let lost = scene.path("persistentvolumeclaims/lost");
    let annotation = "volume.kubernetes.io/selected-node";
    scene
        .api
        .until(&lost, "is to be placed anew", POD_LIMIT, |it| it["metadata"]["annotations"][annotation].is_null())?;
    scene.apply(&pod("finder", "lost", ""))?;
    scene.ready("finder")?;
    // A volume whose folder is gone has lost its data: that is told, and not mended by an empty one.
    let name = scene.run(&["get", "pvc", "lost", "-o", "jsonpath={.spec.volumeName}"])?;
    scene.run(&["delete", "pod", "finder", "--grace-period=1"])?;
    let folder = scene.cluster.agent_dir("1").join("volumes").join(&name);
    std::fs::remove_dir_all(&folder)?;
    scene.apply(&pod("finder", "lost", ""))?;
    let words = format!(
        "MountVolume.NewMounter initialization failed for volume {name:?} : path {:?} does not exist",
        folder.display().to_string()
    );
    scene.event("finder", "FailedMount", &words)?;
    let waits = scene.pod("finder")?;
    let reason = &waits["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
    ensure!(*reason == json!("ContainerCreating"), "{waits}");
    std::fs::create_dir(&folder)?;
    scene.ready("finder")?;
    scene.run(&["delete", "pod", "finder", "--grace-period=1"])?;
    scene.run(&["delete", "pvc", "lost", "raw"])?;
    wait::until("the folder is gone", POD_LIMIT, || {
        ensure!(!folder.exists(), "{} is there", folder.display());
        Ok(())
    })?;
    Ok(())
}
