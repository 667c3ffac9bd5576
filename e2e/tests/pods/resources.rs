//! Limits, as the kernel has them; and a container that takes more memory than it may.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, container, expect_words};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: limited }}
spec:
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "600"]
      resources:
        requests: {{ cpu: 100m, memory: 24Mi }}
        limits: {{ cpu: 250m, memory: 48Mi }}
---
apiVersion: v1
kind: Pod
metadata: {{ name: greedy }}
spec:
  containers:
    - name: main
      image: {TOOLS}
      command: [dd, if=/dev/zero, of=/dev/null, bs=96M, count=1]
      resources:
        limits: {{ memory: 24Mi }}
"#
    ))?;
    let pod = scene.ready("limited")?;
    ensure!(pod["status"]["qosClass"] == "Burstable", "the class is {}", pod["status"]["qosClass"]);
    // Version 1 of cgroups, or version 2.
    let read = |old: &str, new: &str| {
        let command = format!("cat /sys/fs/cgroup/{old} 2>/dev/null || cat /sys/fs/cgroup/{new}");
        scene.inside("limited", "main", &["sh", "-c", &command])
    };
    let memory = read("memory/memory.limit_in_bytes", "memory.max")?;
    ensure!(memory.trim() == "50331648", "the limit of memory is {memory}");
    let quota = read("cpu/cpu.cfs_quota_us", "cpu.max")?;
    ensure!(quota.split_whitespace().next() == Some("25000"), "the processor's quota is {quota}");
    let shares = read("cpu/cpu.shares", "cpu.weight")?;
    ensure!(["102", "4"].contains(&shares.trim()), "the processor's share is {shares}");

    // What is bound past the scheduler is judged by the node.
    let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
    scene.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{ name: huge }}\nspec:\n  nodeName: {node}\n  containers:\n    \
         - {{ name: main, image: {TOOLS:?}, command: [sleep, '600'], resources: {{ requests: {{ cpu: 1k }} }} }}\n"
    ))?;
    let huge = scene.until("huge", "is refused", |it| it["status"]["phase"] == "Failed")?;
    ensure!(huge["status"]["reason"] == "OutOfcpu", "it is refused for {}", huge["status"]);
    let why = huge["status"]["message"].as_str().unwrap_or_default();
    expect_words(why, &["Node didn't have enough resource: cpu, requested: 1000000, used: "])?;

    let pod = scene.until("greedy", "is killed for its memory, and again, and waits", |it| {
        let it = container(it, "main");
        it["lastState"]["terminated"]["reason"] == "OOMKilled"
            && it["restartCount"].as_i64() >= Some(1)
            && it["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    })?;
    let ended = &container(&pod, "main")["lastState"]["terminated"];
    ensure!(ended["exitCode"] == 137, "it ended with {ended}");
    expect_words(&scene.run(&["get", "pod", "greedy"])?, &["CrashLoopBackOff"])?;
    expect_words(&scene.run(&["describe", "pod", "greedy"])?, &["OOMKilled", "Exit Code:    137"])
}
