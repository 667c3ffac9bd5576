//! Hooks and graceful ends: postStart, preStop before SIGTERM, the grace period and its limit.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use orlop_e2e::image::{TOOLS, WEB};
use orlop_e2e::scene::{Scene, container};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let host = scene.cluster.folder().join("hooks");
    std::fs::create_dir_all(&host)?;
    scene.apply(&manifest(&host.display().to_string()))?;
    let text = |name: &str| std::fs::read_to_string(host.join(name)).unwrap_or_default();

    // A pod is ready only after its postStart hook.
    scene.ready("polite")?;
    ensure!(text("polite").lines().any(|it| it == "post"), "ready before its hook ended: {}", text("polite"));
    let began = Instant::now();
    scene.run(&["delete", "pod", "polite"])?;
    let took = began.elapsed();
    let lines = text("polite");
    ensure!(lines.ends_with("pre\nterm\n"), "the order is {lines:?}");
    ensure!(took < Duration::from_secs(20), "a pod that ends by itself took {took:?} of its 30 s");

    // Deaf to SIGTERM: killed when its time is over, not before.
    scene.ready("deaf")?;
    let began = Instant::now();
    scene.run(&["delete", "pod", "deaf"])?;
    let took = began.elapsed();
    // Engines count in whole ticks of their own, and may be a little early.
    ensure!(took >= Duration::from_millis(2_900), "a deaf pod with 3 s of grace went after {took:?}");

    // A hook that fails takes the container with it; the pod tells.
    scene.event("failing", "FailedPostStartHook", "")?;
    scene.until("failing", "is restarted", |it| container(it, "main")["restartCount"].as_i64() >= Some(1))?;

    // At once, where no time is given.
    scene.ready("forced")?;
    let began = Instant::now();
    scene.run(&["delete", "pod", "forced", "--grace-period=0", "--force"])?;
    let gone = began.elapsed();
    ensure!(gone < Duration::from_secs(10), "a forced deletion took {gone:?}");

    // A real server ends its requests.
    scene.ready("server")?;
    scene.run(&["delete", "pod", "server"])?;
    scene.event("server", "Killing", "Stopping container nginx").map(drop)
}

fn manifest(host: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: polite }}
spec:
  volumes: [{{ name: host, hostPath: {{ path: {host} }} }}]
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, "trap 'echo term >> /host/polite; exit 0' TERM; while true; do sleep 0.2; done"]
      volumeMounts: [{{ name: host, mountPath: /host }}]
      lifecycle:
        postStart: {{ exec: {{ command: [sh, -c, "sleep 1; echo post >> /host/polite"] }} }}
        preStop: {{ exec: {{ command: [sh, -c, "sleep 1; echo pre >> /host/polite"] }} }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: deaf }}
spec:
  terminationGracePeriodSeconds: 3
  containers:
    - name: main
      image: {TOOLS}
      # The first process of a container ignores what it has no handler for.
      command: [sleep, "600"]
---
apiVersion: v1
kind: Pod
metadata: {{ name: failing }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "600"]
      lifecycle:
        postStart: {{ exec: {{ command: ["false"] }} }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: forced }}
spec:
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "600"]
---
apiVersion: v1
kind: Pod
metadata: {{ name: server }}
spec:
  containers:
    - name: nginx
      image: {WEB}
      readinessProbe: {{ httpGet: {{ path: /alive, port: 8080 }}, periodSeconds: 1 }}
      lifecycle:
        preStop: {{ exec: {{ command: [/usr/sbin/nginx, -s, quit] }} }}
"#
    )
}
