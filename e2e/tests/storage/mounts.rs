//! How a volume looks from inside: hostPath and local, read-only, subPath, the pod's group, and what is no volume here.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};
use serde_json::json;

use super::texts::{claim, pod, volume};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let host = scene.cluster.folder().join("by-hand");
    let local = scene.cluster.folder().join("by-hand-local");
    std::fs::create_dir_all(&local)?;
    std::fs::write(local.join("file"), "of the machine\n")?;
    let by_host = format!("  hostPath: {{ path: {}, type: DirectoryOrCreate }}", host.display());
    let node = scene.cluster.node_name("1");
    let of_node = |path: &str, node: &str| {
        format!(
            "  local: {{ path: {path} }}\n  nodeAffinity: {{ required: {{ nodeSelectorTerms: [{{ matchExpressions: [{{ key: \
             kubernetes.io/hostname, operator: In, values: [{node}] }}] }}] }} }}"
        )
    };
    let by_local = of_node(&local.display().to_string(), &node);
    scene.apply(
        &(volume("mounts-host", "m-host", "1Gi", &by_host) + &volume("mounts-local", "m-local", "1Gi", &by_local)),
    )?;
    scene.apply(&(claim("host", "m-host", "1Gi", "") + &claim("local", "m-local", "1Gi", "")))?;
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: both }}
spec:
  terminationGracePeriodSeconds: 1
  securityContext: {{ fsGroup: 4321 }}
  volumes:
    - {{ name: host, persistentVolumeClaim: {{ claimName: host }} }}
    - {{ name: local, persistentVolumeClaim: {{ claimName: local }} }}
    - {{ name: closed, persistentVolumeClaim: {{ claimName: local, readOnly: true }} }}
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "3600"]
      env: [{{ name: NAME, valueFrom: {{ fieldRef: {{ fieldPath: metadata.name }} }} }}]
      securityContext: {{ runAsUser: 1000 }}
      volumeMounts:
        - {{ name: host, mountPath: /host }}
        - {{ name: local, mountPath: /local }}
        - {{ name: closed, mountPath: /closed }}
        - {{ name: local, mountPath: /also-closed, readOnly: true }}
        - {{ name: local, mountPath: /sub, subPath: below/here }}
        - {{ name: local, mountPath: /expanded, subPathExpr: of-$(NAME) }}
"#
    ))?;
    scene.ready("both")?;
    let inside = |command: &str| scene.inside("both", "main", &["sh", "-c", command]);
    ensure!(
        inside("cat /local/file /closed/file /also-closed/file")? == "of the machine\n".repeat(3),
        "the files differ"
    );
    for closed in ["/closed", "/also-closed"] {
        let refused = inside(&format!("echo no > {closed}/file 2>&1"));
        ensure!(refused.is_err(), "{closed} was written to: {refused:?}");
    }
    // A local volume's files are given to the pod's group, which its user of no name is in; those of a hostPath are not.
    ensure!(inside("stat -c '%g %a' /local/file")? == "4321 664\n", "{:?}", inside("stat -c '%g %a' /local/file"));
    inside("echo mine >> /local/file && echo new > /local/new")?;
    ensure!(inside("stat -c %g /local/new")? == "4321\n", "new files are not the group's");
    ensure!(inside("stat -c %g /host")? == "0\n", "a hostPath was given away");
    ensure!(std::fs::metadata(local.join("below/here"))?.is_dir(), "the subPath was not made");
    ensure!(std::fs::metadata(local.join("of-both"))?.is_dir(), "the expression was not expanded");
    scene.run(&["delete", "pod", "both", "--grace-period=1"])?;
    ensure!(host.is_dir() && local.join("new").is_file(), "volumes made by hand went with the pod");

    // A pod that names its node itself may be where its volume is not.
    let far = of_node("/", "elsewhere");
    scene.apply(&(volume("mounts-far", "m-far", "1Gi", &far) + &claim("far", "m-far", "1Gi", "")))?;
    scene.apply(&pod("strayed", "far", &format!("  nodeName: {node}")))?;
    scene.event("strayed", "FailedMount", "no matching NodeSelectorTerms")?;
    let waits = scene.pod("strayed")?;
    ensure!(
        waits["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == json!("ContainerCreating"),
        "{waits}"
    );
    // What there is no plugin for.
    let nfs = volume("mounts-nfs", "m-nfs", "1Gi", "  nfs: { server: 192.0.2.1, path: / }");
    scene.apply(&(nfs + &claim("nfs", "m-nfs", "1Gi", "") + &pod("remote", "nfs", "")))?;
    scene.event("remote", "FailedMount", "no volume plugin matched: nfs is not supported by this node")?;
    let absent = of_node("/nowhere-at-all", &node);
    scene.apply(&(volume("mounts-absent", "m-absent", "1Gi", &absent) + &claim("absent", "m-absent", "1Gi", "")))?;
    scene.apply(&pod("early", "absent", ""))?;
    scene.event("early", "FailedMount", "path \"/nowhere-at-all\" does not exist")?;
    expect_words(&scene.run(&["describe", "pod", "early"])?, &["FailedMount", "does not exist"])?;

    // Made by hand and to be deleted with its claim: nobody here can, and it says so.
    scene.run(&["patch", "pv", "mounts-host", "-p", r#"{"spec": {"persistentVolumeReclaimPolicy": "Delete"}}"#])?;
    scene.run(&["delete", "pvc", "host"])?;
    let failed = "/api/v1/persistentvolumes/mounts-host";
    let it = scene.api.until(failed, "has failed", POD_LIMIT, |it| it["status"]["phase"] == "Failed")?;
    expect_words(it["status"]["message"].as_str().unwrap_or_default(), &["no deletable volume plugin matched"])?;
    scene.run(&["delete", "pod", "strayed", "remote", "early", "--grace-period=0", "--force"])?;
    scene.run(&["delete", "pvc", "--all"])?;
    scene.run(&["delete", "pv", "mounts-host", "mounts-local", "mounts-far", "mounts-nfs", "mounts-absent"])?;
    Ok(())
}
