//! A snapshot of a cluster that runs, brought back under another name beside the cluster itself, and in its place.

use anyhow::{Result, ensure};
use orlop_e2e::cluster::{Cluster, Form, Options};
use orlop_e2e::image::{self, TOOLS};
use orlop_e2e::kubectl::Kubectl;
use orlop_e2e::nodes::Nodes;
use orlop_e2e::wait;

use crate::web::{self, NODE_PORT, within};

pub fn play() -> Result<()> {
    let images = image::archives()?[1..].to_vec();
    let options = Options { form: Form::Nodes, runtime: "native", nodes: 2, images, ..Options::default() };
    Cluster::with(options, |cluster| {
        let (local, kubectl) = (cluster.local(), cluster.kubectl()?);
        let pods = web::make(&kubectl, &cluster.node_names())?;
        kubectl.run(&["create", "secret", "generic", "kept", "--from-literal=it=secret"])?;
        kubectl.apply(&stores())?;
        web::ready(&kubectl, "stores")?;
        within(&local, &pods[1], &["sh", "-c", "echo written > /data/it"])?;
        let file = cluster.folder().join("it.snapshot");
        local.run(&["snapshot", local.name(), &file.display().to_string()])?;
        kubectl.run(&["delete", "secret", "kept"])?;

        // The one that was copied has not noticed.
        let after = web::ready(&kubectl, "web-2")?;
        ensure!(after["status"]["containerStatuses"] == pods[1]["status"]["containerStatuses"], "{after:#}");
        web::until_everybody(2, &format!("{}:{NODE_PORT}", local.address(1)?))?;

        let copy = Nodes::new(&cluster.folder().join("clusters"), "copy");
        let outcome = copied(&copy, &file);
        let record = copy.record();
        if record.is_ok() {
            copy.run(&["delete", "copy"])?;
        }
        outcome?;
        let left = copy.traces(&record?)?;
        ensure!(left.is_empty(), "{left:#?}");

        // In its own place.
        let taken = local.run(&["restore", local.name(), &file.display().to_string()]);
        let said = taken.err().map(|it| it.to_string()).unwrap_or_default();
        ensure!(said.contains("there is a cluster"), "{said}");
        local.run(&["delete", local.name()])?;
        local.run(&["restore", local.name(), &file.display().to_string()])?;
        as_before(&local, &kubectl)?;

        // Half a snapshot is none.
        let bytes = std::fs::read(&file)?;
        std::fs::write(&file, &bytes[..bytes.len() / 2])?;
        let said = copy.run(&["restore", "copy", &file.display().to_string()]);
        let said = said.err().map(|it| it.to_string()).unwrap_or_default();
        ensure!(said.contains("is no snapshot of a cluster, or damaged") && !copy.folder().exists(), "{said}");
        Ok(())
    })
}

/// A pod that stores in a claim's volume, and tells what it finds there.
fn stores() -> String {
    format!(
        "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{ name: stores }}
spec: {{ accessModes: [ReadWriteOnce], resources: {{ requests: {{ storage: 1Mi }} }} }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: stores }}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{ name: own, persistentVolumeClaim: {{ claimName: stores }} }}]
  containers:
    - name: main
      image: {TOOLS:?}
      command: [sh, -c, 'cat /own/file; echo kept >/own/file; trap exit TERM; while :; do sleep 0.2; done']
      volumeMounts: [{{ name: own, mountPath: /own }}]
"
    )
}

fn copied(copy: &Nodes, file: &std::path::Path) -> Result<()> {
    let said = copy.run(&["restore", "copy", &file.display().to_string()])?;
    ensure!(said.contains("cluster \"copy\" restored in "), "{said}");
    as_before(copy, &Kubectl::new(&copy.kubeconfig())?)
}

/// Objects, secrets, images and volumes are those of the moment of the snapshot.
fn as_before(cluster: &Nodes, kubectl: &Kubectl) -> Result<()> {
    let kept = kubectl.json(&["secret", "kept"])?;
    ensure!(kept["data"]["it"] == "c2VjcmV0", "{kept}");
    web::ready(kubectl, "web-1")?;
    let second = web::ready(kubectl, "web-2")?;
    ensure!(within(cluster, &second, &["cat", "/data/it"])? == "written\n", "the pod's volume is the same");
    let told = || {
        let said = kubectl.run(&["logs", "stores"])?;
        ensure!(said.contains("kept"), "the claim's volume holds {said:?}");
        Ok(())
    };
    wait::until("what a claim stores is found", web::LIMIT, told)?;
    web::until_everybody(2, &format!("{}:{NODE_PORT}", cluster.address(2)?))
}
