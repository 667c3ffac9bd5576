//! Claims, volumes and classes of volumes' attributes that are used do not go ("PVC Protection", "PV Protection" of sig-storage, by objects
//! alone: nothing is mounted).

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::{Value, json};

use super::plain::{Http, MERGE};

pub fn protection(it: &Scene<'_>) -> Result<()> {
    claims(it)?;
    volumes(it)?;
    classes(it)
}

fn claim(name: &str, class: Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
        "volumeAttributesClassName": class, "resources": { "requests": { "storage": "1Gi" } } } })
}

fn claims(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let path = it.path("persistentvolumeclaims");
    let made = http.post(&path, &claim("data", Value::Null))?.is(201)?;
    ensure!(made["metadata"]["finalizers"] == json!(["kubernetes.io/pvc-protection"]), "{made}");
    let node = it.api.items("/api/v1/nodes")?[0]["metadata"]["name"].clone();
    let pod = json!({ "metadata": { "name": "user" }, "spec": { "nodeName": node, "containers": [{ "name": "c",
        "image": "registry.local/web:1" }], "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] } });
    http.post(&it.path("pods"), &pod)?.is(201)?;
    http.delete(&format!("{path}/data"), &Value::Null)?.is(200)?;
    // One that nobody uses, deleted after it, goes before it.
    http.post(&path, &claim("unused", Value::Null))?.is(201)?;
    http.delete(&format!("{path}/unused"), &Value::Null)?.is(200)?;
    it.api.gone(&format!("{path}/unused"), POD_LIMIT)?;
    let held = http.get(&format!("{path}/data"))?.is(200)?;
    ensure!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    http.delete(&it.path("pods/user"), &json!({ "gracePeriodSeconds": 0 }))?.is(200)?;
    it.api.gone(&format!("{path}/data"), POD_LIMIT)?;
    // Who takes the finalizer off an object that stays gets it back.
    http.post(&path, &claim("stripped", Value::Null))?.is(201)?;
    http.patch(&format!("{path}/stripped"), MERGE, &json!({ "metadata": { "finalizers": null } }))?.is(200)?;
    it.api.until(&format!("{path}/stripped"), "is held again", POD_LIMIT, |it| {
        it["metadata"]["finalizers"] == json!(["kubernetes.io/pvc-protection"])
    })?;
    Ok(())
}

fn volumes(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let path = format!("/api/v1/persistentvolumes/{}", it.namespace);
    let volume = json!({ "metadata": { "name": it.namespace }, "spec": { "capacity": { "storage": "1Gi" },
        "accessModes": ["ReadWriteOnce"], "storageClassName": "held", "hostPath": { "path": "/nowhere" } } });
    let made = http.post("/api/v1/persistentvolumes", &volume)?.is(201)?;
    ensure!(made["metadata"]["finalizers"] == json!(["kubernetes.io/pv-protection"]), "{made}");
    let claims = it.path("persistentvolumeclaims");
    let mut holder = claim("holder", Value::Null);
    holder["spec"]["storageClassName"] = "held".into();
    http.post(&claims, &holder)?.is(201)?;
    it.api.until(&path, "is bound", POD_LIMIT, |it| it["status"]["phase"] == "Bound")?;
    http.delete(&path, &Value::Null)?.is(200)?;
    let other = format!("{}-other", it.namespace);
    let mut free = volume;
    free["metadata"]["name"] = other.as_str().into();
    http.post("/api/v1/persistentvolumes", &free)?.is(201)?;
    let other = format!("/api/v1/persistentvolumes/{other}");
    http.delete(&other, &Value::Null)?.is(200)?;
    it.api.gone(&other, POD_LIMIT)?;
    ensure!(http.get(&path)?.is(200)?["metadata"]["deletionTimestamp"].is_string(), "it is bound");
    http.delete(&format!("{claims}/holder"), &Value::Null)?.is(200)?;
    it.api.gone(&path, POD_LIMIT)
}

fn classes(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let all = "/apis/storage.k8s.io/v1/volumeattributesclasses";
    let class =
        json!({ "metadata": { "name": it.namespace }, "driverName": "csi.example.com", "parameters": { "iops": "1" } });
    let made = http.post(all, &class)?.is(201)?;
    ensure!(made["metadata"]["finalizers"] == json!(["kubernetes.io/vac-protection"]), "{made}");
    let path = it.path("persistentvolumeclaims");
    http.post(&path, &claim("classed", json!(it.namespace)))?.is(201)?;
    let class = format!("{all}/{}", it.namespace);
    // The controller has seen the claim when it gives a stripped class its finalizer back after it.
    http.patch(&class, MERGE, &json!({ "metadata": { "finalizers": null } }))?.is(200)?;
    it.api.until(&class, "is held again", POD_LIMIT, |it| it["metadata"]["finalizers"].is_array())?;
    http.delete(&class, &Value::Null)?.is(200)?;
    let held = http.get(&class)?.is(200)?;
    ensure!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    http.delete(&format!("{path}/classed"), &Value::Null)?.is(200)?;
    it.api.gone(&format!("{path}/classed"), POD_LIMIT)?;
    it.api.gone(&class, POD_LIMIT)
}
