//! Pods that wait: for a port, for a node that fits, for a volume's content. Each says for what, and runs when it is there.

use std::time::Duration;

use anyhow::{Result, ensure};
use orlop_e2e::image::{TOOLS, WEB};
use orlop_e2e::scene::{POD_LIMIT, Scene, container, expect_words};
use orlop_e2e::{load, tool, wait};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let port = tool::free_port()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let taken_port = taken.local_addr()?.port();
    let server = |name: &str, port: u16| {
        format!(
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: nginx
      image: {WEB}
      ports: [{{ containerPort: 8080, hostPort: {port} }}]
      readinessProbe: {{ httpGet: {{ path: /alive, port: 8080 }}, periodSeconds: 1 }}
"#
        )
    };
    scene.apply(&server("holder", port))?;
    // Not a pod of ours but a process of the host has this one: it keeps it, and the pod says what it waits for.
    scene.apply(&server("contender", taken_port))?;
    let words =
        format!("cannot open hostport {taken_port}: listen tcp4 0.0.0.0:{taken_port}: bind: address already in use");
    scene.event("contender", "FailedCreatePodSandBox", &words)?;
    expect_words(&scene.run(&["describe", "pod", "contender"])?, &[&words])?;
    drop(taken);
    scene.ready("holder")?;
    let ask = || load::get(&format!("127.0.0.1:{port}"), "/alive", Duration::from_secs(2));
    ensure!(ask()?.body == "ok\n", "the host's port leads to the pod");
    scene.apply(&format!(
        r#"{}
---
apiVersion: v1
kind: Pod
metadata: {{ name: nowhere }}
spec:
  nodeSelector: {{ colour: red }}
  containers: [{{ name: main, image: {TOOLS}, command: [sleep, "600"] }}]
---
apiVersion: v1
kind: Pod
metadata: {{ name: huge }}
spec:
  containers:
    - {{ name: main, image: {TOOLS}, command: [sleep, "600"], resources: {{ requests: {{ memory: 9Ti }} }} }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: unfilled }}
spec:
  volumes:
    - {{ name: config, configMap: {{ name: absent }} }}
  containers:
    - name: main
      image: {TOOLS}
      # A log has whole lines only.
      command: [sh, -c, "echo $(cat /config/key); sleep 600"]
      volumeMounts: [{{ name: config, mountPath: /config }}]
"#,
        server("waiter", port)
    ))?;

    // The scheduler's words, filter by filter.
    let waits = [
        ("waiter", "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."),
        ("nowhere", "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."),
        ("huge", "0/1 nodes are available: 1 Insufficient memory."),
    ];
    for (name, words) in waits {
        scene.event(name, "FailedScheduling", words)?;
        let pod = scene.pod(name)?;
        ensure!(pod["status"]["phase"] == "Pending", "{}", pod["status"]);
        let condition =
            pod["status"]["conditions"].as_array().and_then(|it| it.iter().find(|it| it["type"] == "PodScheduled"));
        let reason = condition.map(|it| it["reason"].clone()).unwrap_or_default();
        ensure!(reason == "Unschedulable", "{name}: {}", pod["status"]);
        expect_words(&scene.run(&["describe", "pod", name])?, &[words, "FailedScheduling"])?;
    }
    scene.run(&["delete", "pod", "holder"])?;
    scene.ready("waiter")?;
    wait::until("the port leads to the next pod", Duration::from_secs(10), || ask().map(drop))?;
    scene.ready("contender")?;
    let node = scene.cluster.node_name("1");
    scene.run(&["label", "node", &node, "colour=red"])?;
    scene.ready("nowhere")?;

    let words = "MountVolume.SetUp failed for volume \"config\" : configmap \"absent\" not found";
    scene.event("unfilled", "FailedMount", words)?;
    let pod = scene.pod("unfilled")?;
    ensure!(container(&pod, "main")["state"]["waiting"]["reason"] == "ContainerCreating", "{}", pod["status"]);
    expect_words(&scene.run(&["describe", "pod", "unfilled"])?, &[words])?;
    scene.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: { name: absent }\ndata: { key: here now }\n")?;
    scene.ready("unfilled")?;
    wait::until("the file is read", POD_LIMIT, || expect_words(&scene.logs("unfilled", &[])?, &["here now"]))
}
