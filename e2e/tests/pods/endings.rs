//! Init containers and restart policies: what ends, what begins again, and how long that waits.

use anyhow::{Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{POD_LIMIT, Scene, container, expect_words, is_ready};
use serde_json::Value;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    scene.apply(&manifest())?;

    // Init containers: one after another, then the others.
    let pod = scene.succeeded("staged")?;
    let order = scene.logs("staged", &["-c", "main"])?;
    ensure!(order == "one\ntwo\nmain\n", "the order was {order:?}");
    ensure!(container(&pod, "two")["state"]["terminated"]["reason"] == "Completed", "{}", pod["status"]);
    ensure!(orlop_e2e::cluster::condition(&pod, "Initialized") == Some("True"), "{}", pod["status"]);

    // One that fails ends a pod that restarts nothing; the others never run.
    let pod = scene.until("misbegun", "fails", |it| it["status"]["phase"] == "Failed")?;
    ensure!(container(&pod, "main")["state"]["waiting"]["reason"] == "PodInitializing", "{}", pod["status"]);
    ensure!(container(&pod, "init")["state"]["terminated"]["reason"] == "Error", "{}", pod["status"]);
    expect_words(&scene.run(&["get", "pod", "misbegun"])?, &["Init:Error"])?;

    // Never.
    let pod = scene.until("never", "fails", |it| it["status"]["phase"] == "Failed")?;
    let ended = ended(&pod);
    ensure!(ended["exitCode"] == 3 && ended["reason"] == "Error", "it ended with {ended}");
    ensure!(container(&pod, "main")["restartCount"] == 0 && !is_ready(&pod), "{}", pod["status"]);
    expect_words(&scene.run(&["get", "pod", "never"])?, &["Error", "0/1"])?;

    // OnFailure: until it succeeds, and not once more.
    let pod = scene.succeeded("on-failure")?;
    ensure!(container(&pod, "main")["restartCount"] == 1 && !is_ready(&pod), "{}", pod["status"]);
    ensure!(container(&pod, "other")["restartCount"] == 0, "{}", pod["status"]);
    expect_words(&scene.run(&["get", "pod", "on-failure"])?, &["Completed", "0/2"])?;

    // Always: at once the first time, then later and later.
    let pod = scene.until("always", "waits for its restart", |it| {
        container(it, "main")["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    })?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let whole = format!("always_{}({uid})", scene.namespace);
    let message = container(&pod, "main")["state"]["waiting"]["message"].as_str().unwrap_or_default();
    // 10 s, or the next that double it where this test came late.
    let said =
        message.strip_prefix("back-off ").and_then(|it| it.split_once("s restarting failed container=main pod="));
    ensure!(said.is_some_and(|(after, of)| ["10", "20", "40"].contains(&after) && of == whole), "{message}");
    scene.event("always", "BackOff", &format!("Back-off restarting failed container main in pod {whole}"))?;
    let listed = scene.run(&["get", "pod", "always"])?;
    expect_words(&listed, &["CrashLoopBackOff", "0/1"])?;
    let pod = scene.until("always", "waits longer, and runs", |it| {
        let it = container(it, "main");
        it["restartCount"].as_i64() >= Some(2) && it["state"]["running"].is_object()
    })?;
    ensure!(pod["status"]["phase"] == "Running" && container(&pod, "main")["restartCount"] == 2, "{}", pod["status"]);
    ensure!(is_ready(&pod), "what runs again is ready: {}", pod["status"]["conditions"]);

    // A sidecar: it has started before the others begin, is kept alive, and ends after them.
    let pod = scene.succeeded("accompanied")?;
    ensure!(container(&pod, "side")["state"]["terminated"].is_object(), "{}", pod["status"]);
    expect_words(&scene.logs("accompanied", &["-c", "main"])?, &["beside me: side"])?;

    // Whatever has become of them, they can be deleted.
    let all = ["never", "on-failure", "always", "misbegun"];
    scene.run(&[&["delete", "pod", "--wait=false"], &all[..]].concat())?;
    all.iter().try_for_each(|it| scene.api.gone(&scene.path(&format!("pods/{it}")), POD_LIMIT))
}

fn ended(pod: &Value) -> &Value {
    &container(pod, "main")["state"]["terminated"]
}

fn manifest() -> String {
    let pod = |name: &str, rest: &str| {
        let mount = "volumeMounts: [{ name: shared, mountPath: /shared }]";
        let rest = rest.replace("IMAGE", TOOLS).replace("MOUNT", mount);
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name} }}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
             volumes: [{{ name: shared, emptyDir: {{}} }}]\n{rest}"
        )
    };
    [
        pod(
            "staged",
            r#"
  restartPolicy: Never
  initContainers:
    - { name: one, image: IMAGE, command: [sh, -c, "sleep 1; echo one >> /shared/order"], MOUNT }
    - { name: two, image: IMAGE, command: [sh, -c, "echo two >> /shared/order"], MOUNT }
  containers:
    - { name: main, image: IMAGE, command: [sh, -c, "echo main >> /shared/order; cat /shared/order"], MOUNT }
"#,
        ),
        pod(
            "misbegun",
            r#"
  restartPolicy: Never
  initContainers:
    - { name: init, image: IMAGE, command: ["false"] }
  containers:
    - { name: main, image: IMAGE, command: ["true"] }
"#,
        ),
        pod(
            "never",
            r#"
  restartPolicy: Never
  containers:
    - { name: main, image: IMAGE, command: [sh, -c, "exit 3"] }
"#,
        ),
        pod(
            "on-failure",
            r#"
  restartPolicy: OnFailure
  containers:
    - { name: main, image: IMAGE, command: [sh, -c, "test -f /shared/been || { touch /shared/been; exit 1; }"], MOUNT }
    - { name: other, image: IMAGE, command: ["true"] }
"#,
        ),
        pod(
            "always",
            r#"
  containers:
    - { name: main, image: IMAGE, command: [sh, -c, "echo >> /shared/runs; [ $(wc -l < /shared/runs) = 3 ] && sleep 600"], MOUNT }
"#,
        ),
        pod(
            "accompanied",
            r#"
  restartPolicy: Never
  initContainers:
    - name: side
      image: IMAGE
      restartPolicy: Always
      command: [sh, -c, "trap 'exit 0' TERM; echo side > /shared/side; while true; do sleep 0.2; done"]
      startupProbe: { exec: { command: [test, -f, /shared/side] }, periodSeconds: 1 }
      MOUNT
  containers:
    - { name: main, image: IMAGE, command: [sh, -c, "echo beside me: $(cat /shared/side)"], MOUNT }
"#,
        ),
    ]
    .concat()
}
