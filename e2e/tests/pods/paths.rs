//! Paths below a volume that have variables in them, and the hosts file, which is one of the pod's unless a container brings its own ("Variable
//! Expansion ...", "KubeletManagedEtcHosts", "Kubelet when scheduling an agnhost Pod with hostAliases").

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, container, expect_words};
use orlop_e2e::wait;
use serde_json::{Value, json};

/// How the file begins that is the pod's.
const MANAGED: &str = "# Kubernetes-managed hosts file.\n";

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest())?;
    // Up and out of the volume, and to a place of the machine's.
    let pod = scene.until("astray", "says which paths it does not take", |it| {
        ["up", "whole"].iter().all(|name| waits(it, name) == "CreateContainerConfigError")
    })?;
    for (name, path) in [("up", ".."), ("whole", "/tmp")] {
        let status = container(&pod, name);
        expect_words(status["state"]["waiting"]["message"].as_str().unwrap_or_default(), &[path])?;
        ensure!(status["containerID"].as_str().is_none_or(str::is_empty), "it has been made: {status}");
    }

    // A path below a volume holds the container up until its variable has a value.
    let mut pod = scene
        .until("paths", "says which variable is missing", |it| waits(it, "main") == "CreateContainerConfigError")?;
    let message = container(&pod, "main")["state"]["waiting"]["message"].as_str().unwrap_or_default();
    expect_words(message, &["missing value for FOLDER"])?;
    pod["metadata"]["annotations"]["folder"] = json!("mine");
    // Whatever its agent has said of it in the meantime.
    pod["metadata"]["resourceVersion"].take();
    scene.kubectl.run_with(&["replace", "-f", "-"], &pod.to_string())?;
    scene.ready("paths")?;
    let full = format!("\tpaths.below.{}.svc.cluster.local\tpaths\n", scene.namespace);
    let aliases = "\n# Entries added by HostAliases.\n10.11.12.13\taliased\talso.aliased\n";
    let hosts = [&format!("here\n{MANAGED}"), full.as_str(), aliases];
    wait::until("what is written below is found above, and who the pod is", POD_LIMIT, || {
        expect_words(&scene.logs("paths", &["-c", "main"])?, &hosts)
    })?;
    // What was made with one value stays with it, and another does not keep the pod from going.
    scene.run(&["annotate", "--overwrite", "pod", "paths", "folder=others"])?;
    let script = "echo later > /below/later; cat /whole/mine/paths/later; ls /whole";
    let said = scene.inside("paths", "main", &["sh", "-c", script])?;
    ensure!(said == "later\nmine\n", "it has {said}");

    // A file of a container's own is left alone; on the host's network it is the host's, which says so.
    let node = std::fs::read_to_string("/etc/hosts")?;
    let own = scene.logs("paths", &["-c", "own"])?;
    ensure!(own == node, "the node's is {node}, and the container's {own}");
    scene.succeeded("at-home")?;
    let home = scene.logs("at-home", &[])?;
    ensure!(home.starts_with("# Kubernetes-managed hosts file (host network).\n") && home.ends_with(&node), "{home}");
    scene.run(&["delete", "pod", "paths", "astray"]).map(drop)
}

fn waits<'a>(pod: &'a Value, name: &str) -> &'a str {
    container(pod, name)["state"]["waiting"]["reason"].as_str().unwrap_or_default()
}

fn manifest() -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: paths }}
spec:
  terminationGracePeriodSeconds: 0
  subdomain: below
  hostAliases: [{{ ip: 10.11.12.13, hostnames: [aliased, also.aliased] }}]
  volumes: [{{ name: own, emptyDir: {{}} }}, {{ name: hosts, hostPath: {{ path: /etc/hosts, type: File }} }}]
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, 'echo here > /below/file; cat /whole/mine/paths/file /etc/hosts; sleep 600']
      env:
        - {{ name: NAME, valueFrom: {{ fieldRef: {{ fieldPath: metadata.name }} }} }}
        - {{ name: FOLDER, valueFrom: {{ fieldRef: {{ fieldPath: "metadata.annotations['folder']" }} }} }}
      volumeMounts:
        - {{ name: own, mountPath: /below, subPathExpr: $(FOLDER)/$(NAME) }}
        - {{ name: own, mountPath: /whole }}
    - name: own
      image: {TOOLS}
      command: [sh, -c, 'cat /etc/hosts; sleep 600']
      volumeMounts: [{{ name: hosts, mountPath: /etc/hosts }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: astray }}
spec:
  terminationGracePeriodSeconds: 0
  volumes: [{{ name: own, emptyDir: {{}} }}]
  containers:
    - name: up
      image: {TOOLS}
      command: [sleep, "600"]
      env: [{{ name: FOLDER, value: ".." }}]
      volumeMounts: [{{ name: own, mountPath: /below, subPathExpr: $(FOLDER) }}]
    - name: whole
      image: {TOOLS}
      command: [sleep, "600"]
      env: [{{ name: FOLDER, value: /tmp }}]
      volumeMounts: [{{ name: own, mountPath: /below, subPathExpr: $(FOLDER) }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: at-home }}
spec:
  hostNetwork: true
  restartPolicy: Never
  containers:
    - {{ name: main, image: {TOOLS}, command: [cat, /etc/hosts] }}
"#
    )
}
