//! `orlop down` and `orlop up` again: pods and their network go, what lies in a claim's volume stays.

use anyhow::Result;
use orlop_e2e::api::Api;
use orlop_e2e::cluster::Cluster;
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, expect_words};
use orlop_e2e::{tool, wait};

pub fn play(cluster: &mut Cluster) -> Result<()> {
    let manifest = format!(
        "---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{ name: data }}
spec: {{ accessModes: [ReadWriteOnce], resources: {{ requests: {{ storage: 1Mi }} }} }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: writer }}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{ name: own, persistentVolumeClaim: {{ claimName: data }} }}]
  containers:
    - name: main
      image: {TOOLS:?}
      command: [sh, -c, 'cat /own/file; echo kept >/own/file; trap exit TERM; while :; do sleep 0.2; done']
      volumeMounts: [{{ name: own, mountPath: /own }}]
"
    );
    let api = Api::new(&cluster.kubeconfig())?;
    let scene = Scene::new(cluster, &api, "down")?;
    scene.apply(&manifest)?;
    scene.ready("writer")?;
    drop(scene);
    let mut down = std::process::Command::new(tool::ours("orlop")?);
    tool::run(down.arg("down").arg("--data-dir").arg(cluster.data_dir()).env("HOME", cluster.folder()))?;
    cluster.part("up")?.kill();
    cluster.start_part("up")?;
    cluster.wait_ready()?;
    cluster.wait_nodes()?;
    // The same pod, in another container: its node was taken away under it.
    let kubectl = cluster.kubectl()?;
    wait::until("the pod finds what it wrote", POD_LIMIT, || {
        expect_words(&kubectl.run(&["-n", "down", "logs", "writer"])?, &["kept\n"])
    })
}
