//! What is used stays: a claim until its pod is gone, a volume until its claim is. A claim for one pod has one.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};

use super::texts::{claim, pod};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&(claim("data", "local", "1Gi", "") + &pod("user", "data", "")))?;
    scene.ready("user")?;
    let name = scene.run(&["get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}"])?;
    let (path, at) = (scene.path("persistentvolumeclaims/data"), format!("/api/v1/persistentvolumes/{name}"));
    let folder = scene.cluster.agent_dir("1").join("volumes").join(&name);
    scene.run(&["delete", "pv", &name, "--wait=false"])?;
    scene.run(&["delete", "pvc", "data", "--wait=false"])?;
    expect_words(&scene.run(&["describe", "pvc", "data"])?, &["Terminating", "Used By:", "user"])?;
    // Another pod does not get it any more.
    scene.apply(&pod("late", "data", ""))?;
    scene.event("late", "FailedScheduling", "persistentvolumeclaim \"data\" is being deleted")?;
    scene.inside("user", "main", &["sh", "-c", "echo still > /data/here"])?;
    for held in [&path, &at] {
        let it = scene.api.get(held)?;
        ensure!(it["metadata"]["deletionTimestamp"].is_string(), "{it}");
    }
    ensure!(folder.join("here").exists(), "the folder went under its pod");
    scene.run(&["delete", "pod", "user", "--grace-period=1"])?;
    scene.api.gone(&path, POD_LIMIT)?;
    scene.api.gone(&at, POD_LIMIT)?;
    ensure!(!folder.exists(), "{} was left behind", folder.display());
    scene.event("late", "FailedScheduling", "persistentvolumeclaim \"data\" not found")?;
    scene.run(&["delete", "pod", "late"])?;

    let once = claim("once", "local", "1Gi", "").replace("ReadWriteOnce", "ReadWriteOncePod");
    scene.apply(&(once + &pod("one", "once", "")))?;
    scene.ready("one")?;
    scene.apply(&pod("two", "once", ""))?;
    let words = "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode.";
    scene.event("two", "FailedScheduling", words)?;
    scene.run(&["delete", "pod", "one", "--grace-period=1"])?;
    scene.ready("two")?;
    scene.run(&["delete", "pod", "two", "--grace-period=1"])?;
    scene.run(&["delete", "pvc", "once"]).map(drop)
}
