//! Pods that wait for their claims say for what, and run when it is there.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{Scene, container};

use super::texts::{claim, pod, volume};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&pod("missing", "absent", ""))?;
    scene.event(
        "missing",
        "FailedScheduling",
        "0/1 nodes are available: persistentvolumeclaim \"absent\" not found.",
    )?;
    scene.apply(&(claim("unbound", "w", "1Gi", "") + &pod("unbound", "unbound", "")))?;
    let words = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.";
    scene.event("unbound", "FailedScheduling", words)?;
    // Bound past the scheduler, it waits on its node.
    let node = scene.cluster.node_name("1");
    scene.apply(&pod("placed", "unbound", &format!("  nodeName: {node}")))?;
    let words = format!("error processing PVC {}/unbound: PVC is not bound", scene.namespace);
    scene.event("placed", "FailedMount", &words)?;
    let placed = scene.pod("placed")?;
    let reason = &container(&placed, "main")["state"]["waiting"]["reason"];
    ensure!(*reason == "ContainerCreating", "{placed}");
    // A class without a provisioner waits for a volume that somebody makes.
    let class = r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: by-hand }
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
"#;
    scene.apply(&(class.to_owned() + &claim("later", "by-hand", "1Gi", "") + &pod("later", "later", "")))?;
    let words = "0/1 nodes are available: 1 node(s) didn't find available persistent volumes to bind.";
    scene.event("later", "FailedScheduling", words)?;
    scene.event("later", "WaitForPodScheduled", "waiting for pod later to be scheduled")?;

    let folder = scene.cluster.folder().join("waiting");
    let path = format!("  hostPath: {{ path: {}, type: DirectoryOrCreate }}", folder.display());
    scene.apply(&(volume("w-unbound", "w", "1Gi", &path) + &volume("w-later", "by-hand", "1Gi", &path)))?;
    scene.apply(&claim("absent", "local", "1Gi", ""))?;
    for it in ["missing", "unbound", "placed", "later"] {
        scene.ready(it)?;
    }
    scene.run(&["delete", "pod", "missing", "unbound", "placed", "later", "--grace-period=1"])?;
    scene.run(&["delete", "pvc", "--all"])?;
    scene.run(&["delete", "pv", "w-unbound", "w-later"]).map(drop)
}
