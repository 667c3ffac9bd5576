//! Whose processes, shared memory and messages a container sees: its own, its pod's, the host's.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, container, expect_words};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest())?;
    for name in ["apart", "shared", "on-host"] {
        scene.ready(name)?;
    }
    let inside = |pod: &str, name: &str, script: &str| scene.inside(pod, name, &["sh", "-c", script]);

    // Apart: its own command is the first process, and there is no other.
    let listed = inside("apart", "one", "ps -o pid,args")?;
    expect_words(&listed, &["    1 sleep 601"])?;
    ensure!(!listed.contains("sleep 602"), "a neighbour is seen: {listed}");

    // Shared: all are seen, and the sandbox is the first.
    let listed = inside("shared", "one", "ps -o pid,args")?;
    expect_words(&listed, &["    1 /pause", "sleep 601", "sleep 602"])?;
    let probed = scene.run(&["exec", "shared", "-c", "one", "--", "ps", "-o", "pid,args"])?;
    expect_words(&probed, &["    1 /pause", "sleep 602"])?;
    // Nothing of the machine is behind the first one; what is orphaned is taken in and gone when it ends.
    let root = inside("shared", "one", "ls /proc/1/root/usr/bin 2>&1; true")?;
    ensure!(root.contains("No such file") || root.contains("denied"), "the first process has programs: {root}");
    inside("shared", "one", "(sleep 0.2 & sleep 0.2 & true); sleep 1")?;
    let listed = inside("shared", "one", "ps -o stat,args")?;
    ensure!(!listed.lines().any(|it| it.trim_start().starts_with('Z')), "somebody is dead and not buried: {listed}");
    // The end of one container is its own: its neighbour and the sandbox live on.
    let kill = r#"ps -o pid,args | while read pid args; do [ "$args" != "sleep 602" ] || kill -9 $pid; done"#;
    inside("shared", "one", kill)?;
    let pod = scene.until("shared", "runs its second container anew", |it| {
        let it = container(it, "two");
        it["restartCount"] == 1 && it["state"]["running"].is_object()
    })?;
    ensure!(container(&pod, "one")["restartCount"] == 0, "{}", pod["status"]);
    expect_words(&inside("shared", "one", "ps -o pid,args")?, &["    1 /pause", "sleep 601", "sleep 602"])?;

    // The host's.
    let own =
        |it: &str| -> Result<String> { Ok(std::fs::read_link(format!("/proc/self/ns/{it}"))?.display().to_string()) };
    for (pod, same) in [("on-host", true), ("apart", false)] {
        for kind in ["pid", "ipc", "net"] {
            let seen = inside(pod, "one", &format!("readlink /proc/self/ns/{kind}"))?;
            ensure!(
                (seen.trim() == own(kind)?) == same,
                "{pod} has {seen} as its {kind} namespace, the host {}",
                own(kind)?
            );
        }
    }
    expect_words(&inside("on-host", "one", "ps -o args")?, &["sleep 601", "sleep 602"])
}

fn manifest() -> String {
    let pod = |name: &str, fields: &str| {
        format!(
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 0
{fields}
  containers:
    - {{ name: one, image: {TOOLS}, command: [sleep, "601"] }}
    - {{ name: two, image: {TOOLS}, command: [sleep, "602"] }}
"#
        )
    };
    let on_host = "  hostPID: true\n  hostIPC: true\n  hostNetwork: true";
    [pod("apart", ""), pod("shared", "  shareProcessNamespace: true"), pod("on-host", on_host)].concat()
}
