//! Static pods: what lies in a folder runs, whatever the API server says or whether there is one, and stands in the API for all to see.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::{Cluster, Options};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, container, whole_id};
use orlop_e2e::{api::Api, image, wait};
use serde_json::Value;

/// The most processes of a pod.
const MOST_PIDS: &str = "40";

#[test]
fn static_pods_need_nobody() -> Result<()> {
    image::ready()?;
    let images = image::archives()?.to_vec();
    let folder = tempfile::tempdir()?;
    let manifests = folder.path().join("manifests");
    let path: &'static str = Box::leak(manifests.display().to_string().into_boxed_str());
    let flags: &'static [&'static str] =
        Box::leak(Box::new(["--pod-manifest-path", path, "--pod-max-pids", MOST_PIDS]));
    let options = Options { runtime: "native", images, agent_flags: flags, ..Options::default() };
    Cluster::with(options, |cluster| {
        let files = Files { manifests: manifests.clone(), marks: folder.path().join("marks") };
        std::fs::create_dir_all(&files.marks)?;
        in_the_api(cluster, &files)?;
        bounded(cluster, &files)?;
        without_the_api(cluster, &files)?;
        // Nothing may be left of them when the cluster is taken away.
        std::fs::remove_dir_all(&files.manifests)?;
        gone(cluster, "early")
    })
}

struct Files {
    manifests: PathBuf,
    /// Where pods leave what they have to say.
    marks: PathBuf,
}

impl Files {
    fn put(&self, name: &str, fields: &str, script: &str) -> Result<()> {
        std::fs::create_dir_all(&self.manifests)?;
        let text = format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{ name: {name}, labels: {{ app: {name} }} }}
spec:
  terminationGracePeriodSeconds: 1
{fields}
  volumes: [{{ name: marks, hostPath: {{ path: "{}" }} }}]
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, "{script}; sleep 600"]
      volumeMounts: [{{ name: marks, mountPath: /marks }}]
"#,
            self.marks.display()
        );
        let beside = self.manifests.join(format!(".{name}"));
        std::fs::write(&beside, text)?;
        Ok(std::fs::rename(beside, self.path(name))?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.manifests.join(format!("{name}.yaml"))
    }
}

fn scene(cluster: &Cluster) -> Result<(Api, String)> {
    let api = Api::new(&cluster.kubeconfig())?;
    let nodes = api.items("/api/v1/nodes")?;
    let node = nodes.first().and_then(|it| it["metadata"]["name"].as_str()).context("there is no node")?.to_owned();
    Ok((api, node))
}

fn in_the_api(cluster: &Cluster, files: &Files) -> Result<()> {
    let (api, node) = scene(cluster)?;
    let scene = Scene { cluster, api: &api, kubectl: cluster.kubectl()?, namespace: "default".into() };
    let name = format!("plain-{node}");

    // The folder comes while the agent runs, and the file with it.
    files.put("plain", "", "echo first")?;
    let pod = until_there(&scene, &name, ready)?;
    let notes = &pod["metadata"]["annotations"];
    let hash = &notes["kubernetes.io/config.hash"];
    ensure!(hash.is_string() && notes["kubernetes.io/config.mirror"] == *hash, "its notes are {notes}");
    ensure!(notes["kubernetes.io/config.source"] == "file", "its notes are {notes}");
    let owner = &pod["metadata"]["ownerReferences"][0];
    ensure!(owner["kind"] == "Node" && owner["name"] == node.as_str() && owner["controller"] == true, "{owner}");
    ensure!(pod["metadata"]["labels"]["app"] == "plain" && pod["spec"]["nodeName"] == node.as_str(), "{pod}");
    ensure!(pod["status"]["podIP"].is_string(), "{}", pod["status"]);
    ensure!(scene.logs(&name, &[])? == "first\n", "the log is another");
    ensure!(scene.run(&["exec", &name, "--", "hostname"])?.trim() == name, "the name is another");
    // Its Events are found by its own id.
    let described = scene.run(&["describe", "pod", &name])?;
    ensure!(described.contains("Started container main"), "{described}");

    // Whoever deletes what stands for it deletes nothing else, and it comes back.
    let (uid, id) = (pod["metadata"]["uid"].clone(), whole_id(&pod, "main")?.to_owned());
    scene.run(&["delete", "pod", &name])?;
    let pod = until_there(&scene, &name, |it| it["metadata"]["uid"] != uid && ready(it))?;
    ensure!(whole_id(&pod, "main")? == id && container(&pod, "main")["restartCount"] == 0, "{}", pod["status"]);

    // Another content is another pod, in the place of the first when that has ended.
    files.put("plain", "", "echo second")?;
    let pod = until_there(&scene, &name, |it| {
        it["metadata"]["annotations"]["kubernetes.io/config.hash"] != *hash && ready(it)
    })?;
    ensure!(whole_id(&pod, "main")? != id, "{}", pod["status"]);
    ensure!(scene.logs(&name, &[])? == "second\n", "the log is another");

    std::fs::remove_file(files.path("plain"))?;
    gone(cluster, "plain")
}

/// No pod has more processes than the node lets it.
fn bounded(cluster: &Cluster, files: &Files) -> Result<()> {
    let many = "n=0; while [ $n -lt 100 ]; do sleep 300 & n=$((n+1)); done";
    files.put("many", "", &format!("({many}) 2> /marks/many"))?;
    let said = mark(files, "many")?;
    ensure!(said.contains("fork"), "it says {said:?}");
    std::fs::remove_file(files.path("many"))?;
    gone(cluster, "many")
}

fn without_the_api(cluster: &mut Cluster, files: &Files) -> Result<()> {
    // The agent comes up without its API server, and has nothing but the files.
    cluster.part("agent-1")?.kill();
    cluster.part("apiserver")?.kill();
    files.put("early", "  hostNetwork: true", "echo > /marks/early")?;
    files.put("addressed", "", "ls /sys/class/net > /marks/addressed")?;
    cluster.start_part("agent-1")?;
    mark(files, "early")?;
    let links = mark(files, "addressed")?;
    ensure!(links.lines().count() > 1, "it has no network but {links}");

    // With the API server they are the same as before, and shown.
    cluster.start_part("apiserver")?;
    cluster.wait_ready()?;
    let (api, node) = scene(cluster)?;
    let scene = Scene { cluster, api: &api, kubectl: cluster.kubectl()?, namespace: "default".into() };
    for name in ["early", "addressed"] {
        let pod = until_there(&scene, &format!("{name}-{node}"), ready)?;
        ensure!(container(&pod, "main")["restartCount"] == 0, "{}", pod["status"]);
    }
    // A file that names what only the API has is no pod, and no other is the worse for it.
    files.put("needy", "  serviceAccountName: default", "true")?;
    std::fs::remove_file(files.path("addressed"))?;
    gone(cluster, "addressed")?;
    let listed = api.items("/api/v1/namespaces/default/pods")?;
    let names: Vec<_> = listed.iter().filter_map(|it| it["metadata"]["name"].as_str()).collect();
    ensure!(names == [format!("early-{node}")], "there are {names:?}");
    Ok(())
}

/// Waits until a pod is in the API, which it need not be yet, and satisfies `check`.
fn until_there(scene: &Scene<'_>, name: &str, check: impl Fn(&Value) -> bool) -> Result<Value> {
    wait::until(&format!("{name} is in the API as it should be"), POD_LIMIT, || {
        let pod = scene.pod(name)?;
        ensure!(check(&pod), "it is {pod}");
        Ok(pod)
    })
}

fn gone(cluster: &Cluster, name: &str) -> Result<()> {
    let (api, node) = scene(cluster)?;
    let name = format!("{name}-{node}");
    wait::until(&format!("{name} is gone"), POD_LIMIT, || {
        let listed = api.items("/api/v1/namespaces/default/pods")?;
        ensure!(listed.iter().all(|it| it["metadata"]["name"] != name.as_str()), "it is there");
        Ok(())
    })
}

fn ready(pod: &Value) -> bool {
    orlop_e2e::cluster::condition(pod, "Ready") == Some("True")
}

fn mark(files: &Files, name: &str) -> Result<String> {
    let path: &Path = &files.marks.join(name);
    wait::until(&format!("{name} has run"), POD_LIMIT, || {
        let text = std::fs::read_to_string(path)?;
        ensure!(!text.is_empty(), "it has said nothing");
        Ok(text)
    })
}
