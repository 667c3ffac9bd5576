//! `kubectl patch --subresource resize`: other limits for containers that run.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, container, whole_id};
use orlop_e2e::wait;
use serde_json::{Value, json};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let pod = |name: &str, policy: &str| {
        format!(
            r#"
---
apiVersion: v1
kind: Pod
metadata: {{ name: {name} }}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: main
      image: {TOOLS}
      command: [sleep, "600"]
      resizePolicy: [{{ resourceName: memory, restartPolicy: {policy} }}]
      resources:
        requests: {{ cpu: 100m, memory: 24Mi }}
        limits: {{ cpu: 250m, memory: 48Mi }}
"#
        )
    };
    scene.apply(&[pod("stays", "NotRequired"), pod("restarts", "RestartContainer")].concat())?;
    let before = scene.ready("stays")?;
    scene.ready("restarts")?;
    let own = container(&before, "main");
    ensure!(own["allocatedResources"] == json!({"cpu": "100m", "memory": "24Mi"}), "{own}");
    ensure!(own["resources"]["limits"] == json!({"cpu": "250m", "memory": "48Mi"}), "{own}");
    // They can only come when the agent has seen the change.
    let generation = before["metadata"]["generation"].as_i64().unwrap_or_default();

    // More, at once and without a restart.
    ask(scene, "stays", "150m", "500m", "64Mi")?;
    let pod = scene.until("stays", "has more", |it| has(it, "500m", "64Mi") && pending(it).is_null())?;
    ensure!(container(&pod, "main")["allocatedResources"]["cpu"] == "150m", "{}", pod["status"]);
    ensure!(container(&pod, "main")["restartCount"] == 0, "{}", pod["status"]);
    ensure!(whole_id(&pod, "main")? == whole_id(&before, "main")?, "{}", pod["status"]);
    ensure!(pod["metadata"]["generation"].as_i64() > Some(generation), "{}", pod["metadata"]);
    kernel(scene, "stays", "50000", "67108864")?;
    let asked = r#"{"containers":[{"name":"main","resources":{"limits":{"cpu":"500m","memory":"64Mi"},"requests":{"cpu":"150m","memory":"24Mi"}}}],"generation":"#;
    scene.event("stays", "ResizeStarted", &format!("Pod resize started: {asked}"))?;
    scene.event("stays", "ResizeCompleted", &format!("Pod resize completed: {asked}"))?;

    // Less, too.
    ask(scene, "stays", "100m", "200m", "32Mi")?;
    scene.until("stays", "has less", |it| has(it, "200m", "32Mi"))?;
    kernel(scene, "stays", "20000", "33554432")?;

    // More than the node has: said, and nothing is done, until it is taken back.
    ask(scene, "stays", "1k", "1k", "32Mi")?;
    let pod = scene.until("stays", "is told why not", |it| pending(it)["status"] == "True")?;
    let condition = pending(&pod);
    ensure!(condition["reason"] == "Infeasible", "{condition}");
    let message = condition["message"].as_str().unwrap_or_default();
    scene.event(
        "stays",
        "ResizeInfeasible",
        "\"error\":\"Node didn't have enough capacity: cpu, requested: 1000000",
    )?;
    ensure!(message.starts_with("Node didn't have enough capacity: cpu, requested: 1000000, capacity: "), "{message}");
    ensure!(
        has(&pod, "200m", "32Mi") && container(&pod, "main")["allocatedResources"]["cpu"] == "100m",
        "{}",
        pod["status"]
    );
    kernel(scene, "stays", "20000", "33554432")?;
    ask(scene, "stays", "100m", "200m", "32Mi")?;
    scene.until("stays", "asks for nothing any more", |it| pending(it).is_null())?;

    // One that has to be started anew for it.
    ask(scene, "restarts", "100m", "250m", "64Mi")?;
    let pod = scene.until("restarts", "was started anew with more", |it| {
        container(it, "main")["restartCount"] == 1 && has(it, "250m", "64Mi")
    })?;
    ensure!(pod["status"]["phase"] == "Running", "{}", pod["status"]);
    scene.event("restarts", "ResizeCompleted", r#""limits":{"cpu":"250m","memory":"64Mi"}"#)?;
    scene.event("restarts", "Killing", "Container main resize requires restart")?;
    kernel(scene, "restarts", "25000", "67108864")
}

fn ask(scene: &Scene<'_>, pod: &str, request: &str, cpu: &str, memory: &str) -> Result<()> {
    let resources = json!({"requests": {"cpu": request}, "limits": {"cpu": cpu, "memory": memory}});
    let patch = json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}).to_string();
    scene.run(&["patch", "pod", pod, "--subresource=resize", "-p", &patch]).map(drop)
}

/// Whether the status says that the container has these limits.
fn has(pod: &Value, cpu: &str, memory: &str) -> bool {
    let it = container(pod, "main");
    it["state"]["running"].is_object() && it["resources"]["limits"] == json!({"cpu": cpu, "memory": memory})
}

/// The condition of a change that is not done, if there is one.
fn pending(pod: &Value) -> &Value {
    let conditions = pod["status"]["conditions"].as_array();
    let of_resize = |it: &&Value| it["type"].as_str().is_some_and(|it| it.starts_with("PodResize"));
    conditions.into_iter().flatten().find(of_resize).unwrap_or(&Value::Null)
}

/// What the kernel has, in version 1 of cgroups or version 2.
fn kernel(scene: &Scene<'_>, pod: &str, quota: &str, memory: &str) -> Result<()> {
    let read = |old: &str, new: &str| {
        let command = format!("cat /sys/fs/cgroup/{old} 2>/dev/null || cat /sys/fs/cgroup/{new}");
        scene.inside(pod, "main", &["sh", "-c", &command])
    };
    wait::until("the kernel has the limits", POD_LIMIT, || {
        let found = read("memory/memory.limit_in_bytes", "memory.max")?;
        ensure!(found.trim() == memory, "the limit of memory is {found}");
        let found = read("cpu/cpu.cfs_quota_us", "cpu.max")?;
        ensure!(found.split_whitespace().next() == Some(quota), "the processor's quota is {found}");
        Ok(())
    })
}
