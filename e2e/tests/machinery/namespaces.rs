//! Namespaces ("Namespaces should patch a Namespace", "... apply an update to a Namespace", "... apply a finalizer to a Namespace", "... apply
//! changes to a namespace status", "... ensure that all pods are removed when a namespace is deleted", "... all services ..."), the order in
//! which what is in one goes, and the conditions that tell of it.

use anyhow::{Context, Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::{Value, json};

use super::plain::{Http, MERGE, STRATEGIC, count};

const NAMESPACES: &str = "/api/v1/namespaces";

fn condition<'a>(namespace: &'a Value, kind: &str) -> &'a Value {
    let all = namespace["status"]["conditions"].as_array();
    all.into_iter().flatten().find(|it| it["type"] == kind).unwrap_or(&Value::Null)
}

/// Patched, updated, finalized, its status written.
pub fn writes(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let name = format!("{}-other", it.namespace);
    let path = format!("{NAMESPACES}/{name}");
    let made = http.post(NAMESPACES, &json!({ "metadata": { "name": name } }))?.is(201)?;
    ensure!(made["metadata"]["labels"]["kubernetes.io/metadata.name"] == name.as_str(), "{made}");
    ensure!(made["spec"]["finalizers"] == json!(["kubernetes"]) && made["status"]["phase"] == "Active", "{made}");
    let patched =
        http.patch(&path, STRATEGIC, &json!({ "metadata": { "labels": { "testLabel": "testValue" } } }))?.is(200)?;
    ensure!(patched["metadata"]["labels"]["testLabel"] == "testValue", "{patched}");
    let mut updated = http.get(&path)?.is(200)?;
    updated["metadata"]["labels"]["updated"] = "yes".into();
    // Finalizers of the spec are not for this door.
    updated["spec"]["finalizers"] = json!([]);
    let updated = http.put(&path, &updated)?.is(200)?;
    ensure!(
        updated["metadata"]["labels"]["updated"] == "yes" && updated["spec"]["finalizers"] == json!(["kubernetes"]),
        "{updated}"
    );

    let mut finalized = updated;
    finalized["spec"]["finalizers"] = json!(["kubernetes", "example.com/hold"]);
    let mut finalized = http.put(&format!("{path}/finalize"), &finalized)?.is(200)?;
    ensure!(finalized["spec"]["finalizers"] == json!(["kubernetes", "example.com/hold"]), "{finalized}");
    finalized["spec"]["finalizers"] = json!(["kubernetes"]);
    let finalized = http.put(&format!("{path}/finalize"), &finalized)?.is(200)?;
    ensure!(finalized["spec"]["finalizers"] == json!(["kubernetes"]), "{finalized}");

    let status = http.get(&format!("{path}/status"))?.is(200)?;
    ensure!(status["kind"] == "Namespace" && status["status"]["phase"] == "Active", "{status}");
    let told = json!({ "type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by a test" });
    let patch = json!({ "metadata": { "annotations": { "patched": "yes" } }, "status": { "conditions": [told] } });
    let mut told = http.patch(&format!("{path}/status"), STRATEGIC, &patch)?.is(200)?;
    ensure!(condition(&told, "StatusPatch")["message"] == "Patched by a test", "{told}");
    ensure!(told["metadata"]["annotations"]["patched"] == "yes", "{told}");
    let more = json!({ "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated by a test" });
    told["status"]["conditions"].as_array_mut().context("there are conditions")?.push(more);
    told["spec"]["finalizers"] = json!([]);
    let told = http.put(&format!("{path}/status"), &told)?.is(200)?;
    ensure!(
        condition(&told, "StatusUpdate")["reason"] == "E2E" && told["spec"]["finalizers"] == json!(["kubernetes"]),
        "{told}"
    );
    let wrong = json!({ "status": { "phase": "Terminating" } });
    http.patch(&format!("{path}/status"), MERGE, &wrong)?
        .refuses(422, "may only be 'Active' if `deletionTimestamp` is empty")?;
    http.delete(&path, &Value::Null)?.is(200)?;
    it.api.gone(&path, POD_LIMIT)
}

/// Pods go first, and what is held is told; what is gone is gone for who makes the namespace anew.
pub fn order(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let name = format!("{}-other", it.namespace);
    let (path, place) = (format!("{NAMESPACES}/{name}"), format!("{NAMESPACES}/{name}"));
    http.post(NAMESPACES, &json!({ "metadata": { "name": name } }))?.is(201)?;
    it.api.until(&format!("{place}/serviceaccounts"), "has the default account", POD_LIMIT, |it| count(it) == 1)?;
    let pod = |name: &str, finalizers: Value| {
        json!({ "metadata": { "name": name, "finalizers": finalizers }, "spec": { "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "c", "image": "registry.local/web:1" }] } })
    };
    http.post(&format!("{place}/pods"), &pod("free", Value::Null))?.is(201)?;
    http.post(&format!("{place}/pods"), &pod("held", json!(["example.com/hold"])))?.is(201)?;
    http.post(
        &format!("{place}/services"),
        &json!({ "metadata": { "name": "web" }, "spec": { "ports": [{ "port": 80 }] } }),
    )?
    .is(201)?;
    let map = json!({ "metadata": { "name": "last", "finalizers": ["example.com/map"] } });
    http.post(&format!("{place}/configmaps"), &map)?.is(201)?;
    let event = json!({ "metadata": { "name": "told" }, "involvedObject": { "kind": "Pod", "namespace": name, "name": "held" },
        "reason": "Told", "message": "by a test", "type": "Normal" });
    http.post(&format!("{place}/events"), &event)?.is(201)?;
    let deleted = http.delete(&path, &Value::Null)?.is(200)?;
    ensure!(
        deleted["status"]["phase"] == "Terminating" && deleted["metadata"]["deletionTimestamp"].is_string(),
        "{deleted}"
    );
    let waits = it.api.until(&path, "waits for a pod", POD_LIMIT, |it| {
        condition(it, "NamespaceContentRemaining")["message"]
            == "Some resources are remaining: pods. has 1 resource instances"
            && condition(it, "NamespaceFinalizersRemaining")["status"] == "True"
    })?;
    let held = condition(&waits, "NamespaceFinalizersRemaining");
    ensure!(held["reason"] == "SomeFinalizersRemain", "{held}");
    ensure!(
        held["message"]
            == "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
        "{held}"
    );
    for (kind, reason) in [
        ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions"),
    ] {
        let found = condition(&waits, kind);
        ensure!(found["status"] == "False" && found["reason"] == reason, "{found}");
    }
    for what in ["services/web", "configmaps/last"] {
        let found = http.get(&format!("{place}/{what}"))?.is(200)?;
        ensure!(found["metadata"]["deletionTimestamp"].is_null(), "{what} goes after the pods: {found}");
    }
    let words = format!("unable to create new content in namespace {name} because it is being terminated");
    http.post(&format!("{place}/secrets"), &json!({ "metadata": { "name": "late" } }))?.refuses(403, &words)?;
    http.patch(&format!("{place}/pods/held"), MERGE, &json!({ "metadata": { "finalizers": null } }))?.is(200)?;
    it.api.until(&path, "waits for the map", POD_LIMIT, |it| {
        let message = condition(it, "NamespaceContentRemaining")["message"].as_str().unwrap_or_default().to_owned();
        message == "Some resources are remaining: configmaps. has 1 resource instances"
    })?;
    http.get(&format!("{place}/services/web"))?.refuses(404, "services \"web\" not found")?;
    ensure!(count(&http.get(&format!("{place}/pods"))?.is(200)?) == 0, "there is no pod");
    http.patch(&format!("{place}/configmaps/last"), MERGE, &json!({ "metadata": { "finalizers": null } }))?.is(200)?;
    it.api.gone(&path, POD_LIMIT)?;
    http.post(NAMESPACES, &json!({ "metadata": { "name": name } }))?.is(201)?;
    for what in ["pods", "services", "events"] {
        ensure!(count(&http.get(&format!("{place}/{what}"))?.is(200)?) == 0, "{what} of before are gone");
    }
    http.delete(&path, &Value::Null)?.is(200).map(drop)
}

/// Somebody refuses a deletion: that is told, holds back nothing else, and is over when it is over.
pub fn refused(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let name = format!("{}-other", it.namespace);
    let (path, policies) = (format!("{NAMESPACES}/{name}"), "/apis/admissionregistration.k8s.io/v1");
    http.post(NAMESPACES, &json!({ "metadata": { "name": name } }))?.is(201)?;
    http.post(&format!("{path}/configmaps"), &json!({ "metadata": { "name": "kept" } }))?.is(201)?;
    http.post(&format!("{path}/secrets"), &json!({ "metadata": { "name": "free" } }))?.is(201)?;
    let rule =
        json!({ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["DELETE"], "resources": ["configmaps"] });
    let policy = json!({ "metadata": { "name": name }, "spec": { "failurePolicy": "Fail",
        "matchConstraints": { "resourceRules": [rule] }, "validations": [{ "expression": "false", "message": "it is kept" }] } });
    http.post(&format!("{policies}/validatingadmissionpolicies"), &policy)?.is(201)?;
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": name } });
    let binding = json!({ "metadata": { "name": name }, "spec": { "policyName": name, "validationActions": ["Deny"],
        "matchResources": { "namespaceSelector": selector } } });
    http.post(&format!("{policies}/validatingadmissionpolicybindings"), &binding)?.is(201)?;
    let dry = format!("{path}/configmaps/kept?dryRun=All");
    orlop_e2e::wait::until("the policy holds", POD_LIMIT, || {
        http.delete(&dry, &Value::Null)?.refuses(422, "it is kept")
    })?;
    http.delete(&path, &Value::Null)?.is(200)?;
    let told = it.api.until(&path, "tells who refuses", POD_LIMIT, |it| {
        condition(it, "NamespaceDeletionContentFailure")["status"] == "True"
    })?;
    let told = condition(&told, "NamespaceDeletionContentFailure");
    let message = told["message"].as_str().unwrap_or_default();
    ensure!(told["reason"] == "ContentDeletionFailed", "{told}");
    ensure!(
        message.starts_with("Failed to delete all resource types, 1 remaining: ") && message.contains("it is kept"),
        "{told}"
    );
    it.api.gone(&format!("{path}/secrets/free"), POD_LIMIT)?;
    http.get(&format!("{path}/configmaps/kept"))?.is(200)?;
    http.delete(&format!("{policies}/validatingadmissionpolicybindings/{name}"), &Value::Null)?.is(200)?;
    http.delete(&format!("{policies}/validatingadmissionpolicies/{name}"), &Value::Null)?.is(200)?;
    it.api.gone(&path, POD_LIMIT)
}
