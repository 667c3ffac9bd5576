//! Custom objects that own and are owned ("Garbage collector should support cascading deletion of custom resources", "... orphan deletion of
//! custom resources").

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::{Value, json};

use super::plain::{Http, meta};

const GROUP: &str = "garbage.example.com";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

fn definition() -> Value {
    let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    json!({
        "metadata": { "name": format!("owners.{GROUP}") },
        "spec": { "group": GROUP, "scope": "Cluster", "names": { "plural": "owners", "singular": "owner", "kind": "Owner",
            "listKind": "OwnerList" }, "versions": [{ "name": "v1", "served": true, "storage": true, "schema": schema }] },
    })
}

pub fn custom_objects(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    http.post(DEFINITIONS, &definition())?.is(201)?;
    let path = format!("{DEFINITIONS}/owners.{GROUP}");
    it.api.until(&path, "is established", POD_LIMIT, |it| {
        let all = it["status"]["conditions"].as_array();
        all.into_iter().flatten().any(|it| it["type"] == "Established" && it["status"] == "True")
    })?;
    let owners = format!("/apis/{GROUP}/v1/owners");
    let (version, kind) = (format!("{GROUP}/v1"), "Owner");
    let make = |path: &str, version: &str, kind: &str, name: &str, owner: Option<&Value>| -> Result<Value> {
        let mut body = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name } });
        if let Some(owner) = owner {
            body["metadata"]["ownerReferences"] = json!([{ "apiVersion": owner["apiVersion"], "kind": owner["kind"],
                "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true }]);
        }
        http.post(path, &body)?.is(201)
    };
    let maps = it.path("configmaps");
    // Cascading: a custom object and a built-in one of a custom owner.
    let first = make(&owners, &version, kind, "first", None)?;
    make(&owners, &version, kind, "dependent", Some(&first))?;
    make(&maps, "v1", "ConfigMap", "dependent", Some(&first))?;
    http.delete(&format!("{owners}/first"), &json!({ "propagationPolicy": "Background" }))?.is(200)?;
    for path in [format!("{owners}/first"), format!("{owners}/dependent"), format!("{maps}/dependent")] {
        it.api.gone(&path, POD_LIMIT)?;
    }
    // In the foreground: the owner goes last.
    let second = make(&owners, &version, kind, "second", None)?;
    let held = make(&maps, "v1", "ConfigMap", "held", Some(&second))?;
    let finalizers = |all: Value| json!({ "metadata": { "finalizers": all, "uid": meta(&held, "uid") } });
    let held = format!("{maps}/held");
    http.patch(&held, super::plain::MERGE, &finalizers(json!(["example.com/hold"])))?.is(200)?;
    http.delete(&format!("{owners}/second"), &json!({ "propagationPolicy": "Foreground" }))?.is(200)?;
    it.api.until(&held, "is deleted", POD_LIMIT, |it| it["metadata"]["deletionTimestamp"].is_string())?;
    http.get(&format!("{owners}/second"))?.is(200)?;
    http.patch(&held, super::plain::MERGE, &finalizers(Value::Null))?.is(200)?;
    it.api.gone(&format!("{owners}/second"), POD_LIMIT)?;
    // Orphaned.
    let third = make(&owners, &version, kind, "third", None)?;
    make(&owners, &version, kind, "orphan", Some(&third))?;
    make(&maps, "v1", "ConfigMap", "orphan", Some(&third))?;
    http.delete(&format!("{owners}/third"), &json!({ "propagationPolicy": "Orphan" }))?.is(200)?;
    it.api.gone(&format!("{owners}/third"), POD_LIMIT)?;
    for path in [format!("{owners}/orphan"), format!("{maps}/orphan")] {
        let left = http.get(&path)?.is(200)?;
        ensure!(left["metadata"]["ownerReferences"].is_null(), "{left}");
    }
    // Custom objects go with their definition.
    make(&owners, &version, kind, "fourth", None)?;
    http.delete(&path, &Value::Null)?.is(200)?;
    it.api.gone(&path, POD_LIMIT)?;
    http.get(&owners)?.refuses(404, "the server could not find the requested resource")
}
