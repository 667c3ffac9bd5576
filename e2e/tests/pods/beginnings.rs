//! Init containers under both kinds of restart ("InitContainer should invoke init containers on a RestartNever pod", "... on a RestartAlways pod",
//! "... should not start app containers if init containers fail on a RestartAlways pod", "... and fail the pod ... on a RestartNever pod").

use std::cell::RefCell;
use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use orlop_e2e::cluster::condition;
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::{Scene, container, name};
use orlop_e2e::watch::Watch;
use serde_json::Value;

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let watch = |begins: &str| Watch::open(scene.api, &scene.path(&format!("pods?labelSelector=begins%3D{begins}")));
    let (mut well, mut badly) = (watch("well")?, watch("badly")?);
    let pods = [
        pod("once", "well", "Never", ["sleep 1", "true"], "true"),
        pod("ever", "well", "Always", ["sleep 1", "true"], "sleep 600"),
        pod("lost", "badly", "Never", ["true", "false"], "true"),
        pod("stuck", "badly", "Always", ["false", "true"], "true"),
    ];
    scene.apply(&pods.concat())?;

    // Nothing of a pod begins before what comes before it has ended well, at any time.
    let disorder = RefCell::new(Vec::new());
    let look = |pod: &Value| {
        if !in_order(pod) {
            disorder.borrow_mut().push(pod["status"].to_string());
        }
    };
    let initialized = RefCell::new(BTreeSet::new());
    well.sees("MODIFIED", "both are initialized", |it| {
        look(it);
        if condition(it, "Initialized") == Some("True") {
            initialized.borrow_mut().insert(name(it));
        }
        initialized.borrow().len() == 2
    })?;
    let once = scene.succeeded("once")?;
    let ever = scene.ready("ever")?;
    for pod in [&once, &ever] {
        for each in ["one", "two"] {
            let status = container(pod, each);
            let ended = &status["state"]["terminated"];
            ensure!(
                status["ready"] == true && status["restartCount"] == 0 && ended["exitCode"] == 0,
                "{each}: {status}"
            );
        }
        ensure!(condition(pod, "Initialized") == Some("True"), "{}", pod["status"]["conditions"]);
    }
    ensure!(container(&once, "main")["state"]["terminated"]["exitCode"] == 0, "{}", once["status"]);
    ensure!(container(&ever, "main")["state"]["running"].is_object(), "{}", ever["status"]);

    // One that fails is the end of a pod that restarts nothing.
    let lost = scene.until("lost", "fails", |it| it["status"]["phase"] == "Failed")?;
    ensure!(container(&lost, "one")["state"]["terminated"]["exitCode"] == 0, "{}", lost["status"]);
    ensure!(container(&lost, "two")["state"]["terminated"]["exitCode"] == 1, "{}", lost["status"]);
    ensure!(container(&lost, "two")["restartCount"] == 0, "{}", lost["status"]);
    never_began(&lost, "main")?;
    uninitialized(&lost, "[two]")?;

    // Elsewhere it is run again, and nobody comes after it.
    let stuck = badly.sees("MODIFIED", "its first container has run three times", |it| {
        look(it);
        name(it) == "stuck" && container(it, "one")["restartCount"].as_i64() >= Some(2)
    })?;
    ensure!(disorder.borrow().is_empty(), "out of order: {:#?}", disorder.borrow());
    ensure!(stuck["status"]["phase"] == "Pending", "{}", stuck["status"]);
    never_began(&stuck, "two")?;
    never_began(&stuck, "main")?;
    uninitialized(&stuck, "[one two]")
}

fn never_began(pod: &Value, name: &str) -> Result<()> {
    let status = container(pod, name);
    ensure!(
        status["state"]["waiting"]["reason"] == "PodInitializing"
            && status["containerID"].as_str().is_none_or(str::is_empty)
            && status["lastState"].as_object().is_none_or(serde_json::Map::is_empty)
            && status["restartCount"] == 0,
        "{name} has not begun: {status}"
    );
    Ok(())
}

fn uninitialized(pod: &Value, incomplete: &str) -> Result<()> {
    let all = pod["status"]["conditions"].as_array();
    let condition = all.into_iter().flatten().find(|it| it["type"] == "Initialized").unwrap_or(&Value::Null);
    ensure!(
        condition["status"] == "False"
            && condition["reason"] == "ContainersNotInitialized"
            && condition["message"] == format!("containers with incomplete status: {incomplete}"),
        "{condition}"
    );
    Ok(())
}

/// Whether all before a container that has begun have ended.
fn in_order(pod: &Value) -> bool {
    let began = |name: &str| {
        let state = &container(pod, name)["state"];
        state["running"].is_object() || state["terminated"].is_object()
    };
    let ended = |name: &str| container(pod, name)["state"]["terminated"]["exitCode"] == 0;
    (!began("two") || ended("one")) && (!began("main") || (ended("one") && ended("two")))
}

fn pod(name: &str, begins: &str, policy: &str, inits: [&str; 2], main: &str) -> String {
    let container = |name: &str, script: &str| {
        format!(
            "    - {{ name: {name}, image: {TOOLS}, command: [sh, -c, {script:?}], resources: {{ limits: {{ cpu: 100m }} }} }}\n"
        )
    };
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{ name: {name}, labels: {{ begins: {begins} }} }}\nspec:\n  restartPolicy: {policy}\n  \
         terminationGracePeriodSeconds: 0\n  initContainers:\n{}{}  containers:\n{}",
        container("one", inits[0]),
        container("two", inits[1]),
        container("main", main)
    )
}
