//! The garbage collector, all of whose eight conformance tests are here ("Garbage collector should ..."), and owners that are absent or of
//! another namespace.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use orlop_e2e::wait;
use serde_json::{Value, json};

use super::plain::{Http, STRATEGIC, count, meta};

const CONTROLLER: &str = "replicationcontrollers";

fn template(name: &str) -> Value {
    json!({ "metadata": { "labels": { "app": name } }, "spec": { "terminationGracePeriodSeconds": 1,
        "containers": [{ "name": "c", "image": "registry.local/web:1" }] } })
}

/// Makes a replication controller and waits until its pods are there.
fn controller(it: &Scene<'_>, name: &str, replicas: usize) -> Result<Value> {
    let body = json!({ "metadata": { "name": name }, "spec": { "replicas": replicas, "selector": { "app": name },
        "template": template(name) } });
    Http::of(it).post(&it.path(CONTROLLER), &body)?.is(201)?;
    let path = it.path(&format!("{CONTROLLER}/{name}"));
    it.api.until(&path, "has its pods", POD_LIMIT, |it| {
        it["status"]["replicas"].as_u64().unwrap_or(0) == replicas as u64
    })?;
    let found = it.api.get(&path)?;
    ensure!(count(&it.api.get(&pods(it, name))?) == replicas, "there are as many pods as its status says");
    Ok(found)
}

fn pods(it: &Scene<'_>, name: &str) -> String {
    it.path(&format!("pods?labelSelector=app={name}"))
}

/// Deletes with this propagation policy (none if it is null), this very object.
fn delete(it: &Scene<'_>, path: &str, object: &Value, policy: Value) -> Result<()> {
    let mut options = json!({ "preconditions": { "uid": meta(object, "uid") } });
    if !policy.is_null() {
        options["propagationPolicy"] = policy;
    }
    Http::of(it).delete(path, &options)?.is(200).map(drop)
}

/// Background: the pods go after it. Orphan, and no option at all, as this kind's default: they stay, without it.
pub fn controllers(it: &Scene<'_>) -> Result<()> {
    let path = |name: &str| it.path(&format!("{CONTROLLER}/{name}"));
    let found = controller(it, "back", 2)?;
    let stranger = json!({ "preconditions": { "uid": "00000000-0000-0000-0000-000000000000" } });
    let words = "Precondition failed: UID in precondition: 00000000-0000-0000-0000-000000000000, UID in object meta:";
    Http::of(it).delete(&path("back"), &stranger)?.refuses(409, words)?;
    delete(it, &path("back"), &found, json!("Background"))?;
    it.api.gone(&path("back"), POD_LIMIT)?;
    it.api.until(&pods(it, "back"), "are gone", POD_LIMIT, |it| count(it) == 0)?;

    let both = json!({ "propagationPolicy": "Orphan", "orphanDependents": true });
    let words = "orphanDependents and deletionPropagation cannot be both set";
    Http::of(it).delete(&path("back"), &both)?.refuses(422, words)?;
    for (name, policy) in [("orphan", json!("Orphan")), ("nothing", Value::Null)] {
        let found = controller(it, name, 2)?;
        delete(it, &path(name), &found, policy)?;
        it.api.gone(&path(name), POD_LIMIT)?;
        // The references went before it did, so that nobody can take the pods for garbage.
        let left = it.api.items(&pods(it, name))?;
        ensure!(left.len() == 2, "{name}: {left:?}");
        for pod in &left {
            ensure!(pod["metadata"]["ownerReferences"].is_null(), "{name}: {}", pod["metadata"]);
            ensure!(pod["metadata"]["deletionTimestamp"].is_null(), "{name}: {}", pod["metadata"]);
        }
        // One of the same selector takes them over, and makes none.
        controller(it, name, 2)?;
        it.api.until(&pods(it, name), "are adopted", POD_LIMIT, |it| {
            let owned = |it: &&Value| it["metadata"]["ownerReferences"][0]["kind"] == "ReplicationController";
            it["items"].as_array().into_iter().flatten().filter(owned).count() == 2 && count(it) == 2
        })?;
    }
    Ok(())
}

/// Foreground: it stays until its last pod is gone.
pub fn foreground(it: &Scene<'_>) -> Result<()> {
    let found = controller(it, "front", 3)?;
    let path = it.path(&format!("{CONTROLLER}/front"));
    let one = it.api.items(&pods(it, "front"))?;
    let held = it.path(&format!("pods/{}", meta(&one[0], "name")));
    let finalizers = |all: Value| json!({ "metadata": { "finalizers": all } });
    let http = Http::of(it);
    http.patch(&held, super::plain::MERGE, &finalizers(json!(["example.com/hold"])))?.is(200)?;
    delete(it, &path, &found, json!("Foreground"))?;
    it.api.until(&pods(it, "front"), "go but for the one that is held", POD_LIMIT, |it| count(it) == 1)?;
    let waiting = it.api.get(&path)?;
    ensure!(waiting["metadata"]["deletionTimestamp"].is_string(), "it waits: {}", waiting["metadata"]);
    ensure!(waiting["metadata"]["finalizers"] == json!(["foregroundDeletion"]), "it waits: {}", waiting["metadata"]);
    http.patch(&held, super::plain::MERGE, &finalizers(Value::Null))?.is(200)?;
    it.api.gone(&path, POD_LIMIT)?;
    ensure!(count(&it.api.get(&pods(it, "front"))?) == 0, "no pod outlives it");
    Ok(())
}

/// A pod with another owner, that stays, stays.
pub fn two_owners(it: &Scene<'_>) -> Result<()> {
    let going = controller(it, "going", 4)?;
    let staying = controller(it, "staying", 0)?;
    let all = it.api.items(&pods(it, "going"))?;
    let owner =
        json!({ "apiVersion": "v1", "kind": "ReplicationController", "name": "staying", "uid": meta(&staying, "uid") });
    let patch = json!({ "metadata": { "ownerReferences": [owner] } });
    for pod in &all[..2] {
        let path = it.path(&format!("pods/{}", meta(pod, "name")));
        let patched = Http::of(it).patch(&path, STRATEGIC, &patch)?.is(200)?;
        ensure!(patched["metadata"]["ownerReferences"].as_array().is_some_and(|it| it.len() == 2), "{patched}");
    }
    delete(it, &it.path(&format!("{CONTROLLER}/going")), &going, json!("Foreground"))?;
    it.api.gone(&it.path(&format!("{CONTROLLER}/going")), POD_LIMIT)?;
    let left = it.api.items(&pods(it, "going"))?;
    ensure!(left.len() == 2, "half of them stay: {left:?}");
    for pod in &left {
        let metadata = &pod["metadata"];
        ensure!(metadata["deletionTimestamp"].is_null(), "{metadata}");
        ensure!(metadata["ownerReferences"].as_array().is_some_and(|it| it.len() == 1), "{metadata}");
        ensure!(metadata["ownerReferences"][0]["name"] == "staying", "{metadata}");
    }
    Ok(())
}

/// Three pods, each owned by the next: one is deleted, and all go.
pub fn a_circle(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let mut uids = Vec::new();
    for name in ["one", "two", "three"] {
        let mut body = template(name);
        body["metadata"]["name"] = name.into();
        uids.push((name, meta(&http.post(&it.path("pods"), &body)?.is(201)?, "uid").to_owned()));
    }
    for (at, (name, _)) in uids.iter().enumerate() {
        let (owner, uid) = &uids[(at + 2) % 3];
        let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": owner, "uid": uid, "controller": true,
            "blockOwnerDeletion": true });
        let patch = json!({ "metadata": { "ownerReferences": [owner] } });
        http.patch(&it.path(&format!("pods/{name}")), STRATEGIC, &patch)?.is(200)?;
    }
    let options = json!({ "propagationPolicy": "Foreground", "preconditions": { "uid": uids[0].1 } });
    http.delete(&it.path("pods/one"), &options)?.is(200)?;
    it.api.until(&it.path("pods"), "are gone", POD_LIMIT, |it| count(it) == 0)?;
    Ok(())
}

/// The replica set of a Deployment goes with it, or stays without it.
pub fn deployments(it: &Scene<'_>) -> Result<()> {
    let sets = |name: &str| it.path(&format!("replicasets?labelSelector=app={name}"));
    for (name, policy) in [("back", "Background"), ("orphan", "Orphan")] {
        let body = json!({ "metadata": { "name": name }, "spec": { "replicas": 2, "selector": { "matchLabels": { "app": name } },
            "template": template(name) } });
        let made = Http::of(it).post(&it.path("deployments"), &body)?.is(201)?;
        it.api.until(&sets(name), "is made", POD_LIMIT, |it| count(it) == 1)?;
        it.api.until(&pods(it, name), "are made", POD_LIMIT, |it| count(it) == 2)?;
        let path = it.path(&format!("deployments/{name}"));
        delete(it, &path, &made, json!(policy))?;
        it.api.gone(&path, POD_LIMIT)?;
        if policy == "Background" {
            it.api.until(&sets(name), "is gone", POD_LIMIT, |it| count(it) == 0)?;
            it.api.until(&pods(it, name), "are gone", POD_LIMIT, |it| count(it) == 0)?;
            continue;
        }
        let left = it.api.items(&sets(name))?;
        ensure!(left.len() == 1 && left[0]["metadata"]["ownerReferences"].is_null(), "{left:?}");
        let owned = it.api.items(&pods(it, name))?;
        ensure!(owned.len() == 2, "{owned:?}");
        ensure!(owned.iter().all(|it| it["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"), "{owned:?}");
    }
    Ok(())
}

/// Owners that never were, or that are in another namespace: what names them goes, and the latter is told.
pub fn owners_that_are_none(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let maps = it.path("configmaps");
    let owned = |name: &str, kind: &str, owner: &str, uid: &str| {
        let owner = json!({ "apiVersion": "v1", "kind": kind, "name": owner, "uid": uid });
        json!({ "metadata": { "name": name, "ownerReferences": [owner] } })
    };
    let never = "11111111-2222-3333-4444-555555555555";
    http.post(&maps, &owned("absent", "ConfigMap", "nobody", never))?.is(201)?;
    it.api.gone(&format!("{maps}/absent"), POD_LIMIT)?;
    // One of that name, but another one.
    let there = http.post(&maps, &json!({ "metadata": { "name": "owner" } }))?.is(201)?;
    http.post(&maps, &owned("other", "ConfigMap", "owner", never))?.is(201)?;
    it.api.gone(&format!("{maps}/other"), POD_LIMIT)?;

    let elsewhere = "/api/v1/namespaces/default/configmaps";
    let foreign = format!("{}-foreign", it.namespace);
    http.post(elsewhere, &owned(&foreign, "ConfigMap", "owner", meta(&there, "uid")))?.is(201)?;
    it.api.gone(&format!("{elsewhere}/{foreign}"), POD_LIMIT)?;
    let told = format!("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={foreign}");
    let event = wait::until("it is told", POD_LIMIT, || {
        let all = it.api.items(&told)?;
        all.into_iter().next().ok_or_else(|| anyhow::anyhow!("there is no event"))
    })?;
    let (uid, name) = (meta(&there, "uid"), "owner");
    let words = format!(
        "ownerRef [v1/ConfigMap, namespace: default, name: {name}, uid: {uid}] does not exist in namespace \"default\""
    );
    ensure!(event["reason"] == "OwnerRefInvalidNamespace" && event["type"] == "Warning", "{event}");
    ensure!(event["message"] == words, "{event}");

    // An owner of the cluster is one for everybody; one of a kind that nobody serves is left for somebody else to judge.
    let namespace = it.api.get(&format!("/api/v1/namespaces/{}", it.namespace))?;
    http.post(&maps, &owned("of-the-cluster", "Namespace", &it.namespace, meta(&namespace, "uid")))?.is(201)?;
    http.post(&maps, &owned("of-a-stranger", "Stranger", "x", never))?.is(201)?;
    // What is made after them and collected shows that they were looked at.
    http.post(&maps, &owned("last", "ConfigMap", "nobody", never))?.is(201)?;
    it.api.gone(&format!("{maps}/last"), POD_LIMIT)?;
    for name in ["of-the-cluster", "of-a-stranger", "owner"] {
        http.get(&format!("{maps}/{name}"))?.is(200)?;
    }
    Ok(())
}
