//! Volumes that live as long as their pod: the claim is the pod's, and goes with it and its folder.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene};

use super::texts::claim;

fn pod(name: &str) -> String {
    format!(
        r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
    - name: scratch
      ephemeral:
        volumeClaimTemplate:
          metadata: {{ labels: {{ made: for-a-pod }} }}
          spec:
            accessModes: [ReadWriteOnce]
            storageClassName: local
            resources: {{ requests: {{ storage: 1Gi }} }}
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "3600"]
      volumeMounts: [{{ name: scratch, mountPath: /scratch }}]
"#
    )
}

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&pod("worker"))?;
    let worker = scene.ready("worker")?;
    scene.inside("worker", "main", &["sh", "-c", "echo x > /scratch/file"])?;
    let path = scene.path("persistentvolumeclaims/worker-scratch");
    let made = scene.api.get(&path)?;
    let owner = &made["metadata"]["ownerReferences"][0];
    ensure!(owner["uid"] == worker["metadata"]["uid"] && owner["controller"] == true, "{made}");
    ensure!(made["metadata"]["labels"]["made"] == "for-a-pod" && made["status"]["phase"] == "Bound", "{made}");
    let volume = made["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();
    let folder = scene.cluster.agent_dir("1").join("volumes").join(&volume);
    ensure!(folder.join("file").is_file(), "{} is not it", folder.display());
    scene.run(&["delete", "pod", "worker", "--grace-period=1"])?;
    scene.api.gone(&path, POD_LIMIT)?;
    scene.api.gone(&format!("/api/v1/persistentvolumes/{volume}"), POD_LIMIT)?;
    ensure!(!folder.exists(), "{} was left behind", folder.display());

    // A claim of that name that is somebody else's is not used.
    scene.apply(&(claim("other-scratch", "local", "1Gi", "") + &pod("other")))?;
    let why = format!("PVC {0}/other-scratch was not created for pod {0}/other (pod is not owner)", scene.namespace);
    scene.event("other", "FailedBinding", &format!("ephemeral volume scratch: {why}"))?;
    scene.event("other", "FailedScheduling", &why)?;
    // Not waiting: kubectl may see the next claim of the name before it has seen that the first is gone, and would wait for the end of that.
    scene.run(&["delete", "pvc", "other-scratch", "--wait=false"])?;
    scene.ready("other")?;
    scene.run(&["delete", "pod", "other", "--grace-period=1"]).map(drop)
}
