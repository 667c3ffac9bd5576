//! Liveness over longer: what fails only later restarts a container, each time anew; what goes on to answer does not; readiness never does
//! ("Probing container should be restarted with a /healthz http liveness probe", "... with a GRPC liveness probe", "... should *not* be restarted with
//! a tcp:8080 liveness probe", "... with a /healthz http liveness probe", "... should have monotonically increasing restart count", "... with
//! readiness probe should not be ready before initial delay and never restart", "... that fails should never be ready and never restart").

use std::cell::Cell;

use anyhow::{Context, Result, ensure};
use k8s_openapi::jiff::Timestamp;
use orlop_e2e::cluster::condition;
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, container};
use serde_json::Value;

/// How long the probe waits that is to wait.
const DELAY_SECONDS: i64 = 4;
/// For how long a page is there that goes.
const THERE_SECONDS: i64 = 4;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest())?;

    // Ready when the delay is over, and not before: not for a moment, as the time of the change tells.
    let pod = scene.ready("delayed")?;
    let began = time(&container(&pod, "main")["state"]["running"]["startedAt"])?;
    let conditions = pod["status"]["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|it| it["type"] == "Ready").context("it is ready")?;
    let waited = time(&ready["lastTransitionTime"])? - began;
    ensure!(waited >= DELAY_SECONDS, "it began at {began} and was ready {waited} s later");

    // A page that goes: twice the same end, and the count only grows.
    let (count, back) = (Cell::new(0), Cell::new(false));
    let restarts = |pod: &Value, name: &str| container(pod, name)["restartCount"].as_i64().unwrap_or_default();
    let grows = |pod: &Value, to: i64| {
        let now = restarts(pod, "page");
        back.set(back.get() || now < count.replace(now));
        now >= to
    };
    for run in 1..=2 {
        let pod = scene.until("watched", "is restarted", |it| grows(it, run))?;
        let ended = &container(&pod, "page")["lastState"]["terminated"];
        let lived = time(&ended["finishedAt"])? - time(&ended["startedAt"])?;
        ensure!(restarts(&pod, "page") == run && lived >= THERE_SECONDS - 1, "run {run}: {lived} s, {}", pod["status"]);
    }
    ensure!(!back.get(), "the count of restarts went back");
    scene.event("watched", "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 404")?;
    scene.event("watched", "Killing", "Container page failed liveness probe, will be restarted")?;

    // Nobody speaks gRPC where it is asked for.
    scene.until("mute", "is restarted for want of gRPC", |it| restarts(it, "main") >= 1)?;
    scene.event("mute", "Killing", "Container main failed liveness probe, will be restarted")?;

    // By now the pages have been gone for long.
    let pod = scene.pod("watched")?;
    for name in ["socket", "kept"] {
        ensure!(restarts(&pod, name) == 0, "{name} was restarted: {}", pod["status"]);
    }
    scene.event("unready", "Unhealthy", "Readiness probe failed")?;
    let pod = scene.pod("unready")?;
    let unready = container(&pod, "main");
    ensure!(unready["ready"] == false && unready["state"]["running"].is_object(), "{unready}");
    ensure!(restarts(&pod, "main") == 0 && condition(&pod, "Ready") == Some("False"), "{}", pod["status"]);
    ensure!(restarts(&scene.pod("delayed")?, "main") == 0, "readiness restarts nothing");
    Ok(())
}

fn time(value: &Value) -> Result<i64> {
    let text = value.as_str().with_context(|| format!("{value} is no time"))?;
    Ok(text.parse::<Timestamp>()?.as_second())
}

fn manifest() -> String {
    // A server whose page goes after a while, where `then` takes it away.
    let server = |name: &str, port: u16, then: &str, probe: &str| {
        let script = format!(
            "trap exit TERM; mkdir /www; touch /www/healthz; httpd -f -p {port} -h /www & sleep {THERE_SECONDS}; {then}; wait"
        );
        format!(
            "    - name: {name}\n      image: {TOOLS}\n      command: [sh, -c, {script:?}]\n      \
             livenessProbe: {{ {probe}, initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 2 }}\n"
        )
    };
    let healthz = |port: u16| format!("httpGet: {{ path: /healthz, port: {port} }}");
    let servers = [
        server("page", 8080, "rm /www/healthz", &healthz(8080)),
        server("kept", 8081, "true", &healthz(8081)),
        server("socket", 8082, "rm /www/healthz", "tcpSocket: { port: 8082 }"),
    ];
    let sleeper = |name: &str, probe: &str| {
        format!(
            r#"---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{ name: main, image: {TOOLS}, command: [sleep, "600"], {probe} }}
"#
        )
    };
    let mute = "livenessProbe: { grpc: { port: 2379 }, periodSeconds: 1, failureThreshold: 1 }";
    let unready = r#"readinessProbe: { exec: { command: ["false"] }, periodSeconds: 1 }"#;
    let delayed = format!(
        r#"readinessProbe: {{ exec: {{ command: ["true"] }}, initialDelaySeconds: {DELAY_SECONDS}, periodSeconds: 1 }}"#
    );
    let watched = "apiVersion: v1\nkind: Pod\nmetadata: { name: watched }\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n";
    let pods = [sleeper("mute", mute), sleeper("unready", unready), sleeper("delayed", &delayed)];
    [watched.to_owned(), servers.concat(), pods.concat()].concat()
}
