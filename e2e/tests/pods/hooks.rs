//! Hooks and graceful ends: postStart, preStop before SIGTERM, the grace period and its limit; hooks that ask a server's pod ("Container Lifecycle
//! Hook ...", "PreStop should call prestop when killing a pod").

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use orlop_e2e::image::{TOOLS, WEB};
use orlop_e2e::scene::{POD_LIMIT, Scene, address, container};
use orlop_e2e::wait;

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
    scene.event("server", "Killing", "Stopping container nginx")?;
    asking(scene)
}

/// Hooks that ask a server in another pod, by a request of their own and by a command: it tells what it was asked for.
fn asking(scene: &Scene<'_>) -> Result<()> {
    let server = address(&scene.ready("listener")?)?.to_owned();
    let by_http = |path: &str| format!("{{ httpGet: {{ host: {server}, port: 8080, path: /{path} }} }}");
    let by_command = |path: &str| format!("{{ exec: {{ command: [wget, -qO-, http://{server}:8080/{path}] }} }}");
    let pod = |name: &str, start: String, stop: String| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  terminationGracePeriodSeconds: 5\n  containers:\n    \
             - name: main\n      image: {TOOLS}\n      command: [sh, -c, \"trap 'exit 0' TERM; sleep 600 & wait\"]\n      \
             lifecycle: {{ postStart: {start}, preStop: {stop} }}\n"
        )
    };
    let pods = [
        // What the server says to a request does not matter, only that it was made.
        pod("by-http", by_http("absent/started"), by_http("absent/stopping")),
        pod("by-command", by_command("started"), by_command("stopping")),
    ];
    scene.apply(&pods.concat())?;
    let told = |what: &str, paths: &[&str]| {
        wait::until(&format!("the server was asked {what}"), POD_LIMIT, || {
            let log = scene.logs("listener", &[])?;
            let asked = |it: &str| log.lines().filter(|line| line.ends_with(&format!(" url:/{it}"))).count();
            ensure!(paths.iter().all(|it| asked(it) == 1), "it was asked {log}");
            Ok(())
        })
    };
    for name in ["by-http", "by-command"] {
        let pod = scene.ready(name)?;
        ensure!(container(&pod, "main")["restartCount"] == 0, "{}", pod["status"]);
    }
    told("after the starts", &["absent/started", "started"])?;
    let log = scene.logs("listener", &[])?;
    ensure!(!log.contains("stopping"), "nothing stops yet: {log}");
    scene.run(&["delete", "pod", "by-http", "by-command"])?;
    told("before the ends", &["absent/stopping", "stopping"])
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
---
apiVersion: v1
kind: Pod
metadata: {{ name: listener }}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: main
      image: {TOOLS}
      command: [sh, -c, "mkdir /www && touch /www/started /www/stopping && exec httpd -f -vv -p 8080 -h /www"]
      readinessProbe: {{ tcpSocket: {{ port: 8080 }}, periodSeconds: 1 }}
"#
    )
}
