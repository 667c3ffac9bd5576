//! Pods as objects, over the API, while they run ("Pods should be submitted and removed", "... be updated", "... allow activeDeadlineSeconds to be
//! updated", "... patch a pod status", "... run through the lifecycle of Pods and PodStatus", "... delete a collection of pods", "Pods Extended: QOS
//! Class should be set", "RuntimeClass should ...", "Ephemeral Containers ...").

use std::future::Future;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use orlop_e2e::cluster::condition;
use orlop_e2e::image::{GREETER, TOOLS};
use orlop_e2e::scene::{self, POD_LIMIT, Scene, expect_words, is_ready, name};
use orlop_e2e::wait;
use orlop_e2e::watch::Watch;
use serde_json::{Value, json};

pub fn play(scene: &Scene<'_>) -> Result<()> {
    let pods = Pods { scene, api: kube::Api::namespaced(scene.api.parts().1.clone(), &scene.namespace) };
    // Those that go of themselves begin first.
    pods.create("ending", json!({ "name": "ending" }), &json!({}), sleeper(&json!({})))?;
    classes(&pods)?;
    from_beginning_to_end(&pods)?;
    statuses(&pods)?;
    many(&pods)?;
    deadlines(&pods)
}

/// The scenario's pods, as a typed client has them.
struct Pods<'a> {
    scene: &'a Scene<'a>,
    api: kube::Api<Pod>,
}

impl Pods<'_> {
    fn ask<T>(&self, asking: impl Future<Output = kube::Result<T>>) -> Result<T> {
        Ok(self.scene.api.parts().0.block_on(asking)?)
    }

    fn create(&self, name: &str, labels: Value, spec: &Value, container: Value) -> Result<Value> {
        let mut spec = spec.clone();
        spec["terminationGracePeriodSeconds"] = json!(5);
        spec["containers"] = json!([container]);
        let pod = json!({ "metadata": { "name": name, "labels": labels }, "spec": spec });
        let made = self.ask(self.api.create(&PostParams::default(), &serde_json::from_value(pod)?))?;
        Ok(serde_json::to_value(made)?)
    }

    /// The names of the pods with these labels.
    fn selected(&self, labels: &str) -> Result<Vec<String>> {
        let listed = self.ask(self.api.list(&ListParams::default().labels(labels)))?;
        let mut names: Vec<String> = listed.items.into_iter().filter_map(|it| it.metadata.name).collect();
        names.sort();
        Ok(names)
    }

    fn none(&self, labels: &str) -> Result<()> {
        wait::until(&format!("no pod has {labels}"), POD_LIMIT, || {
            let left = self.selected(labels)?;
            ensure!(left.is_empty(), "there are {left:?}");
            Ok(())
        })
    }

    /// Replaces a pod by itself, changed.
    fn replace(&self, name: &str, change: impl Fn(&mut Pod)) -> Result<Value> {
        wait::until(&format!("{name} is replaced"), POD_LIMIT, || {
            // Its agent may have written it in between.
            let mut pod = self.ask(self.api.get(name))?;
            change(&mut pod);
            let replaced = self.ask(self.api.replace(name, &PostParams::default(), &pod))?;
            Ok(serde_json::to_value(replaced)?)
        })
    }
}

/// Runs, and ends when it is asked to.
const SLEEP: &str = "trap 'exit 0' TERM; sleep 600 & wait";

fn sleeper(resources: &Value) -> Value {
    json!({ "name": "main", "image": TOOLS, "command": ["sh", "-c", SLEEP], "resources": resources })
}

fn from_beginning_to_end(pods: &Pods<'_>) -> Result<()> {
    let (selector, path) = ("time=first", pods.scene.path("pods?labelSelector=kind%3Dwhole"));
    ensure!(pods.selected(selector)?.is_empty(), "nothing is there yet");
    let mut watch = Watch::open(pods.scene.api, &path)?;
    pods.create("whole", json!({ "kind": "whole", "time": "first" }), &json!({}), sleeper(&json!({})))?;
    watch.sees("ADDED", "the pod", |it| name(it) == "whole")?;
    ensure!(pods.selected(selector)? == ["whole"], "it is found by its label");
    watch.sees("MODIFIED", "it runs", |it| it["status"]["phase"] == "Running" && is_ready(it))?;

    // Updated: found by what it has, not by what it had.
    pods.replace("whole", |it| {
        drop(it.metadata.labels.get_or_insert_default().insert("time".into(), "second".into()))
    })?;
    watch.sees("MODIFIED", "its new label", |it| it["metadata"]["labels"]["time"] == "second")?;
    ensure!(pods.selected(selector)?.is_empty(), "the old label finds it");
    ensure!(pods.selected("time=second")? == ["whole"], "the new label does not find it");

    // Removed: first it is told when, then it is gone.
    let asked = pods.ask(pods.api.delete("whole", &DeleteParams::default().grace_period(30)))?;
    let asked = asked.left().context("the pod comes back from its deletion")?;
    ensure!(asked.metadata.deletion_grace_period_seconds == Some(30), "{:?}", asked.metadata);
    let told = watch.sees("MODIFIED", "it is to go", |it| it["metadata"]["deletionTimestamp"].is_string())?;
    ensure!(told["metadata"]["deletionGracePeriodSeconds"] == 30, "{}", told["metadata"]);
    let last = watch.sees("DELETED", "it is gone", |it| name(it) == "whole")?;
    ensure!(last["metadata"]["deletionTimestamp"].is_string(), "{}", last["metadata"]);
    ensure!(pods.selected("kind=whole")?.is_empty(), "it is still found");
    Ok(())
}

/// A pod's status is read, patched and replaced by itself, and its spec stays.
fn statuses(pods: &Pods<'_>) -> Result<()> {
    pods.create("told", json!({ "kind": "told" }), &json!({}), sleeper(&json!({})))?;
    let running = pods.scene.ready("told")?;
    let changes =
        json!({ "status": { "message": "said by a test", "reason": "Test" }, "spec": { "activeDeadlineSeconds": 1 } });
    let patched = pods.ask(pods.api.patch_status("told", &PatchParams::default(), &Patch::Strategic(changes)))?;
    let status = serde_json::to_value(&patched.status)?;
    ensure!(status["message"] == "said by a test" && status["reason"] == "Test", "{status}");
    ensure!(status["podIP"] == running["status"]["podIP"], "the rest stays: {status}");
    ensure!(patched.spec.is_some_and(|it| it.active_deadline_seconds.is_none()), "a status's patch changes the spec");

    let replaced = wait::until("the status is replaced", POD_LIMIT, || {
        let mut pod = serde_json::to_value(pods.ask(pods.api.get_status("told"))?)?;
        let condition =
            json!({ "type": "orlop.test/told", "status": "True", "reason": "Told", "message": "by a test" });
        pod["status"]["conditions"].as_array_mut().context("a running pod has conditions")?.push(condition);
        pods.ask(pods.api.replace_status("told", &PostParams::default(), &serde_json::from_value(pod)?))
    })?;
    ensure!(condition(&serde_json::to_value(&replaced)?, "orlop.test/told") == Some("True"), "{:?}", replaced.status);

    // The pod itself, by a patch of what may change; what others said of it is not the agent's to take back.
    let changes = json!({ "metadata": { "labels": { "time": "patched" } },
        "spec": { "containers": [{ "name": "main", "image": GREETER }] } });
    let patched = pods.ask(pods.api.patch("told", &PatchParams::default(), &Patch::Strategic(changes)))?;
    let image = patched.spec.and_then(|it| it.containers.first().and_then(|it| it.image.clone()));
    ensure!(image.as_deref() == Some(GREETER), "its image is {image:?}");
    ensure!(pods.selected("time=patched,kind=told")? == ["told"], "it is found by both labels");
    let pod = pods.scene.until("told", "runs its new image", |it| {
        let main = scene::container(it, "main");
        main["image"] == GREETER && main["restartCount"] == 1 && is_ready(it)
    })?;
    ensure!(condition(&pod, "orlop.test/told") == Some("True") && is_ready(&pod), "{}", pod["status"]["conditions"]);
    added(pods)?;
    let mut watch = Watch::open(pods.scene.api, &pods.scene.path("pods?labelSelector=kind%3Dtold"))?;
    pods.ask(pods.api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("kind=told")))?;
    watch.sees("DELETED", "it is gone", |it| name(it) == "told").map(drop)
}

/// Containers that are added to a pod that runs: one by a patch, another by a replacement.
fn added(pods: &Pods<'_>) -> Result<()> {
    let container = |name: &str| json!({ "name": name, "image": TOOLS, "command": ["sh", "-c", SLEEP] });
    let one = Patch::Strategic(json!({ "spec": { "ephemeralContainers": [container("one")] } }));
    pods.ask(pods.api.patch_ephemeral_containers("told", &PatchParams::default(), &one))?;
    let runs = |names: &[&str]| {
        pods.scene.until("told", "runs what was added", |it| {
            let all = it["spec"]["ephemeralContainers"].as_array().map_or(0, Vec::len);
            all == names.len() && names.iter().all(|name| scene::container(it, name)["state"]["running"].is_object())
        })
    };
    runs(&["one"])?;
    wait::until("the containers are replaced", POD_LIMIT, || {
        let mut pod = serde_json::to_value(pods.ask(pods.api.get_ephemeral_containers("told"))?)?;
        pod["spec"]["ephemeralContainers"].as_array_mut().context("there is one")?.push(container("two"));
        let pod = serde_json::from_value(pod)?;
        pods.ask(pods.api.replace_ephemeral_containers("told", &PostParams::default(), &pod))
    })?;
    runs(&["one", "two"]).map(drop)
}

/// Some pods of one label, each of its class, that go together.
fn many(pods: &Pods<'_>) -> Result<()> {
    let of = |cpu: &str| json!({ "cpu": cpu, "memory": "32Mi" });
    for (class, resources) in [
        ("Guaranteed", json!({ "requests": of("20m"), "limits": of("20m") })),
        ("Burstable", json!({ "requests": of("10m"), "limits": of("20m") })),
        ("BestEffort", json!({})),
    ] {
        let name = class.to_lowercase();
        let made = pods.create(&name, json!({ "kind": "many" }), &json!({}), sleeper(&resources))?;
        ensure!(made["status"]["qosClass"] == class, "{class}: {}", made["status"]);
    }
    pods.create("alone", json!({ "kind": "one" }), &json!({}), sleeper(&json!({})))?;
    ensure!(
        pods.selected("kind=many")? == ["besteffort", "burstable", "guaranteed"],
        "{:?}",
        pods.selected("kind=many")
    );
    let pod = pods.scene.ready("guaranteed")?;
    ensure!(pod["status"]["qosClass"] == "Guaranteed", "its agent says {}", pod["status"]["qosClass"]);
    pods.ask(pods.api.delete_collection(&DeleteParams::default(), &ListParams::default().labels("kind=many")))?;
    pods.none("kind=many")?;
    ensure!(pods.selected("kind=one")? == ["alone"], "one that was not asked for is gone");
    Ok(())
}

/// A time that a pod is given while it runs.
fn deadlines(pods: &Pods<'_>) -> Result<()> {
    pods.scene.ready("ending")?;
    ensure!(pods.selected("name=ending")? == ["ending"], "it is found by its label");
    pods.replace("ending", |it| it.spec.get_or_insert_default().active_deadline_seconds = Some(1))?;
    let pod = pods.scene.until("ending", "is out of time", |it| it["status"]["phase"] == "Failed")?;
    ensure!(pod["status"]["reason"] == "DeadlineExceeded", "{}", pod["status"]);
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    expect_words(message, &["Pod was active on the node longer than the specified deadline"])
}

/// A class of runtime with an overhead and one without, one that is gone, and one that never was.
fn classes(pods: &Pods<'_>) -> Result<()> {
    let class = |it: &str| format!("{}-{it}", pods.scene.namespace);
    let manifest = |it: &str, overhead: Value| {
        json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": class(it) }, "handler": "runc",
            "overhead": overhead })
        .to_string()
    };
    let cost = json!({ "cpu": "10m", "memory": "1Mi" });
    pods.scene.kubectl.apply(&manifest("plain", Value::Null))?;
    pods.scene.kubectl.apply(&manifest("dear", json!({ "podFixed": cost })))?;
    for (name, overhead) in [("plain", &Value::Null), ("dear", &cost)] {
        let spec = json!({ "runtimeClassName": class(name) });
        let made = pods.create(name, json!({ "kind": "classed" }), &spec, sleeper(&json!({})))?;
        ensure!(made["spec"]["overhead"] == *overhead, "{name}: {}", made["spec"]);
    }
    // Its handler is asked for by its name.
    pods.scene.kubectl.apply(&manifest("odd", Value::Null).replace("runc", "no-such-handler"))?;
    pods.create("odd", json!({}), &json!({ "runtimeClassName": class("odd") }), sleeper(&json!({})))?;
    pods.scene.event("odd", "FailedCreatePodSandBox", "no-such-handler")?;
    for name in ["plain", "dear"] {
        pods.scene.ready(name)?;
    }
    pods.scene.run(&["delete", "runtimeclass", &class("plain"), &class("dear"), &class("odd")])?;
    for it in ["plain", "never"] {
        let spec = json!({ "runtimeClassName": class(it) });
        let made = pods.create("classless", json!({}), &spec, sleeper(&json!({})));
        let refused = made.err().with_context(|| format!("there is no class {it}"))?;
        let words = format!("pod rejected: RuntimeClass \"{}\" not found", class(it));
        expect_words(&format!("{refused:#}"), &["\"classless\" is forbidden", &words])?;
    }
    Ok(())
}
