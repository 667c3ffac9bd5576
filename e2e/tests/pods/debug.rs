//! `kubectl debug`: containers that are added to a pod, copies of a pod, and a pod that has its node before it.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, container, expect_words};
use serde_json::Value;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: target }}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - {{ name: main, image: {TOOLS}, command: [sleep, "601"] }}
    - {{ name: other, image: {TOOLS}, command: [sleep, "602"] }}
"#
    ))?;
    scene.ready("target")?;
    added(scene)?;
    ended(scene)?;
    early(scene)?;
    copied(scene)?;
    on_a_node(scene)
}

/// One that sees the processes of another, with a log, commands in it, and a conversation with it.
fn added(scene: &Scene<'_>) -> Result<()> {
    let script = "echo looking; while read it; do echo got $it; [ $it != two ] || exit 0; done";
    let image = format!("--image={TOOLS}");
    scene.run(&[
        "debug",
        "target",
        &image,
        "--target=main",
        "-c",
        "looker",
        "--",
        "sh",
        "-c",
        "echo looking; sleep 603",
    ])?;
    let pod = scene.until("target", "has its looker", |it| runs(it, "looker"))?;
    let status = container(&pod, "looker");
    ensure!(status["ready"] == false && status["restartCount"] == 0 && status["started"].is_null(), "{status}");
    ensure!(orlop_e2e::cluster::condition(&pod, "Ready") == Some("True"), "{}", pod["status"]);
    ensure!(scene.logs("target", &["-c", "looker"])? == "looking\n", "the log is another");
    let seen = scene.run(&["exec", "target", "-c", "looker", "--", "ps", "-o", "pid,args"])?;
    expect_words(&seen, &["    1 sleep 601", "sleep 603"])?;
    ensure!(!seen.contains("sleep 602"), "it sees a container that was not its target: {seen}");
    let through = scene.run(&["exec", "target", "-c", "looker", "--", "readlink", "/proc/1/ns/net"])?;
    let own = scene.run(&["exec", "target", "-c", "looker", "--", "readlink", "/proc/self/ns/net"])?;
    ensure!(own == through, "the network is {own} and not {through}");
    expect_words(&scene.run(&["describe", "pod", "target"])?, &["Ephemeral Containers:", "looker:"])?;
    let field = r#"jsonpath={.items[?(@.reason=="Started")].involvedObject.fieldPath}"#;
    expect_words(&scene.run(&["get", "events", "-o", field])?, &["spec.ephemeralContainers{looker}"])?;

    // A conversation, from a terminal of this side as people have it.
    converse(scene, &format!("debug -it target {image} -c talker -- sh -c '{script}'"))
}

/// Types into kubectl, in a terminal, until that is answered; then what ends it. The input stays open: whoever closes it leaves.
fn converse(scene: &Scene<'_>, arguments: &str) -> Result<()> {
    let line = format!("{} -n {} {arguments}", scene.kubectl.program().display(), scene.namespace);
    let mut command = Command::new("timeout");
    command.args(["90", "script", "-q", "-e", "-c", &line, "/dev/null"]);
    command.env("KUBECONFIG", scene.kubectl.kubeconfig()).env("HOME", scene.cluster.folder());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("it has an input")?;
    let mut stdout = child.stdout.take().context("it has an output")?;
    let mut screen = String::new();
    let mut bytes = [0; 4096];
    let (heard, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok(count @ 1..) = stdout.read(&mut bytes) {
            if heard.send(String::from_utf8_lossy(&bytes[..count]).into_owned()).is_err() {
                return;
            }
        }
    });
    // What is typed before the terminal is handed on may be lost.
    while !screen.contains("got one") {
        stdin.write_all(b"one\n").with_context(|| format!("on the screen: {screen}"))?;
        if let Ok(it) = told.recv_timeout(Duration::from_secs(1)) {
            screen.push_str(&it);
        }
    }
    stdin.write_all(b"two\n")?;
    let status = child.wait()?;
    screen.extend(told);
    ensure!(status.success() && screen.contains("got two"), "{status}, on the screen: {screen}");
    Ok(())
}

/// It runs once: neither its end nor its failure is anybody's but its own.
fn ended(scene: &Scene<'_>) -> Result<()> {
    let image = format!("--image={TOOLS}");
    scene.run(&["debug", "target", &image, "-c", "short", "--", "sh", "-c", "echo here; exit 7"])?;
    scene.run(&["debug", "target", &image, "-c", "wrong", "--", "no-such-program"])?;
    let pod = scene.until("target", "has seen both end", |it| {
        ["short", "wrong"].iter().all(|name| container(it, name)["state"]["terminated"].is_object())
    })?;
    let end = &container(&pod, "short")["state"]["terminated"];
    ensure!(end["exitCode"] == 7 && end["reason"] == "Error", "it ended with {end}");
    let end = &container(&pod, "wrong")["state"]["terminated"];
    ensure!(end["exitCode"] == 128 && end["reason"] == "StartError", "it ended with {end}");
    ensure!(scene.logs("target", &["-c", "short"])? == "here\n", "the log is another");
    // A restart of another container makes the agent look at all of them.
    let kill = format!("kill -9 {}", scene.pid("target", "other")?);
    orlop_e2e::tool::run(Command::new("sh").args(["-c", &kill]))?;
    let pod = scene.until("target", "runs its other container anew", |it| {
        container(it, "other")["restartCount"].as_i64() >= Some(1) && runs(it, "other")
    })?;
    for name in ["short", "wrong"] {
        let it = container(&pod, name);
        ensure!(it["state"]["terminated"].is_object() && it["restartCount"] == 0, "{it}");
    }
    ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
    ensure!(runs(&pod, "looker"), "{}", pod["status"]);
    Ok(())
}

/// They start while the pod is still made ready, but for one whose target is not there yet.
fn early(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: early }}
spec:
  terminationGracePeriodSeconds: 0
  initContainers:
    - {{ name: first, image: {TOOLS}, command: [sh, -c, "until test -f /go; do sleep 0.2; done"] }}
  containers:
    - {{ name: main, image: {TOOLS}, command: [sleep, "601"] }}
"#
    ))?;
    scene.until("early", "runs its init container", |it| runs(it, "first"))?;
    let image = format!("--image={TOOLS}");
    scene.run(&["debug", "early", &image, "--target=main", "-c", "lost", "--", "sleep", "603"])?;
    scene.run(&["debug", "early", &image, "--target=first", "-c", "found", "--", "sleep", "603"])?;
    let pod = scene.until("early", "has one of both", |it| {
        runs(it, "found") && container(it, "lost")["state"]["waiting"]["reason"] == "CreateContainerConfigError"
    })?;
    let message = &container(&pod, "lost")["state"]["waiting"]["message"];
    ensure!(message == "unable to find target container main", "it waits for {message}");
    ensure!(pod["status"]["phase"] == "Pending", "{}", pod["status"]);
    // The container ends as soon as it sees the file, and what made it with it, perhaps before that has ended by itself: what counts is what follows.
    let _ = scene.inside("early", "first", &["touch", "/go"]);
    scene
        .until("early", "is ready, and has its last container", |it| {
            orlop_e2e::cluster::condition(it, "Ready") == Some("True") && runs(it, "lost")
        })
        .map(drop)
}

/// A copy whose containers see one another.
fn copied(scene: &Scene<'_>) -> Result<()> {
    let image = format!("--image={TOOLS}");
    let all = ["debug", "target", "--copy-to=copy", &image, "--share-processes", "-c", "looker", "--", "sleep", "604"];
    scene.run(&all)?;
    scene.ready("copy")?;
    let seen = scene.run(&["exec", "copy", "-c", "looker", "--", "ps", "-o", "args"])?;
    expect_words(&seen, &["/pause", "sleep 601", "sleep 602", "sleep 604"])
}

/// A pod on the node's processes and network, with the node's files at `/host`.
fn on_a_node(scene: &Scene<'_>) -> Result<()> {
    let node = scene.pod("target")?["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
    let image = format!("--image={TOOLS}");
    let said = scene.run(&["debug", &format!("node/{node}"), &image, "--", "sleep", "605"])?;
    let name = said.split_whitespace().find(|it| it.starts_with("node-debugger-"));
    let name = name.with_context(|| format!("kubectl says {said:?}"))?.to_owned();
    scene.ready(&name)?;
    let here = std::fs::read_to_string("/etc/os-release")?;
    let seen = scene.run(&["exec", &name, "--", "cat", "/host/etc/os-release"])?;
    ensure!(seen == here, "/host is another machine's: {seen}");
    for kind in ["pid", "ipc", "net"] {
        let own = std::fs::read_link(format!("/proc/self/ns/{kind}"))?.display().to_string();
        let seen = scene.run(&["exec", &name, "--", "readlink", &format!("/proc/self/ns/{kind}")])?;
        ensure!(seen.trim() == own, "its {kind} namespace is {seen}, the host's {own}");
    }
    let hostname = scene.run(&["exec", &name, "--", "hostname"])?;
    ensure!(hostname == std::fs::read_to_string("/proc/sys/kernel/hostname")?, "the host's name is {hostname}");
    scene.run(&["delete", "pod", &name, "--now"]).map(drop)
}

fn runs(pod: &Value, name: &str) -> bool {
    container(pod, name)["state"]["running"].is_object()
}
