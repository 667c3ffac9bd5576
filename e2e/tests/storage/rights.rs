//! What a node may do about storage: read what its pods have, hold its own volumes, and nothing else.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{Scene, expect_words};

use super::texts::{claim, pod};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene
        .apply(&(claim("data", "local", "1Gi", "") + &pod("user", "data", "") + &claim("other", "local", "1Gi", "")))?;
    scene.ready("user")?;
    let name = scene.run(&["get", "pvc", "data", "-o", "jsonpath={.spec.volumeName}"])?;
    let node = scene.cluster.node_name("1");
    let may = |user: &str, arguments: &[&str]| -> Result<bool> {
        let user = format!("--as=system:node:{user}");
        let whole = [&["-n", &scene.namespace, "auth", "can-i", &user, "--as-group=system:nodes"], arguments].concat();
        let output = scene.kubectl.output(&whole, "")?;
        Ok(output.stdout.trim() == "yes")
    };
    let volume = format!("persistentvolumes/{name}");
    for (user, arguments, allowed) in [
        (node.as_str(), ["get", "persistentvolumeclaims/data"], true),
        (&node, ["get", "persistentvolumeclaims/other"], false),
        (&node, ["get", &*volume], true),
        (&node, ["patch", &volume], true),
        (&node, ["delete", &volume], false),
        (&node, ["list", "persistentvolumes"], false),
        ("another", ["get", &volume], false),
        ("another", ["patch", &volume], false),
    ] {
        ensure!(may(user, &arguments)? == allowed, "{user} {arguments:?} should be {allowed}");
    }
    // Allowed to patch, it changes nothing but its hold.
    let user = format!("--as=system:node:{node}");
    for patch in [
        r#"{"metadata": {"labels": {"orlop.dev/node": "another"}}}"#,
        r#"{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}"#,
        r#"{"metadata": {"finalizers": null}}"#,
    ] {
        let arguments = ["patch", "pv", &name, "--type=merge", "-p", patch, &user, "--as-group=system:nodes"];
        expect_words(&scene.kubectl.fails(&arguments, "")?, &["can change nothing of a volume but the finalizer"])?;
    }
    scene.run(&["delete", "pod", "user", "--grace-period=1"])?;
    scene.run(&["delete", "pvc", "data", "other"]).map(drop)
}
