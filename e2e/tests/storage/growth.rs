//! Claims grow where their class lets them, and nowhere else.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};

use super::texts::{claim, pod};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&(claim("data", "local", "1Gi", "") + &pod("user", "data", "")))?;
    let more = r#"{"spec": {"resources": {"requests": {"storage": "3Gi"}}}}"#;
    scene.ready("user")?;
    scene.run(&["patch", "pvc", "data", "-p", more])?;
    let path = scene.path("persistentvolumeclaims/data");
    let grown = scene.api.until(&path, "has grown", POD_LIMIT, |it| it["status"]["capacity"]["storage"] == "3Gi")?;
    ensure!(grown["status"]["allocatedResources"]["storage"] == "3Gi", "{grown}");
    ensure!(grown["status"]["conditions"].as_array().is_none_or(Vec::is_empty), "{grown}");
    let name = grown["spec"]["volumeName"].as_str().unwrap_or_default().to_owned();
    let volume = scene.api.get(&format!("/api/v1/persistentvolumes/{name}"))?;
    ensure!(volume["spec"]["capacity"]["storage"] == "3Gi", "{volume}");
    scene.event("data", "VolumeResizeSuccessful", "Resize volume succeeded")?;
    let less = r#"{"spec": {"resources": {"requests": {"storage": "2Gi"}}}}"#;
    let refused = scene.kubectl.fails(&["-n", &scene.namespace, "patch", "pvc", "data", "-p", less], "")?;
    expect_words(&refused, &["field can not be less than status.capacity"])?;

    let fixed = r#"
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: { name: fixed }
provisioner: orlop.dev/local
volumeBindingMode: Immediate
"#;
    scene.apply(&(fixed.to_owned() + &claim("fixed", "fixed", "1Gi", "")))?;
    let path = scene.path("persistentvolumeclaims/fixed");
    scene.api.until(&path, "is bound", POD_LIMIT, |it| it["status"]["phase"] == "Bound")?;
    let refused = scene.kubectl.fails(&["-n", &scene.namespace, "patch", "pvc", "fixed", "-p", more], "")?;
    expect_words(&refused, &["only dynamically provisioned pvc can be resized"])?;
    scene.run(&["delete", "pod", "user", "--grace-period=1"])?;
    scene.run(&["delete", "pvc", "data", "fixed"]).map(drop)
}
