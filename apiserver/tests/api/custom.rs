//! Kinds that definitions make: from the definition to the last object.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CRONTABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

/// A definition with most of what one may have.
pub fn crontabs() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "kind": "CronTab", "shortNames": ["ct"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "required": ["cronSpec"], "properties": {
                        "cronSpec": {"type": "string", "pattern": "^[^ ]+$", "description": "When."},
                        "image": {"type": "string", "default": "busybox"},
                        "replicas": {"type": "integer", "minimum": 1, "maximum": 10, "default": 1},
                        "port": {"x-kubernetes-int-or-string": true},
                        "note": {"type": "string", "nullable": true},
                        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    }},
                    "status": {"type": "object", "properties": {
                        "replicas": {"type": "integer"}, "labelSelector": {"type": "string"},
                    }},
                }}},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.labelSelector",
                }},
                "additionalPrinterColumns": [
                    {"name": "Spec", "type": "string", "jsonPath": ".spec.cronSpec", "description": "The cron spec"},
                    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.image"}],
            }],
        },
    })
}

fn crontab(name: &str) -> Value {
    json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": {"cronSpec": "*/5"}})
}

/// Waits until a condition holds, a second at most: that is how long a definition may take.
pub async fn within_a_second<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(1), "{what} took too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Makes a definition, and waits until it is served.
pub async fn define(cluster: &Cluster, definition: &Value) -> Value {
    let created = cluster.post(DEFINITIONS, definition).await;
    assert_eq!(created.code, 201, "{}", created.text);
    let path = format!("{DEFINITIONS}/{}", definition["metadata"]["name"].as_str().unwrap());
    within_a_second("the definition", || async {
        let read = cluster.get(&path).await;
        read.json["status"]["conditions"]
            .as_array()
            .is_some_and(|it| it.iter().any(|it| it["type"] == "Established" && it["status"] == "True"))
    })
    .await;
    cluster.get(&path).await.json
}

#[track_caller]
fn check(answer: &Answer, code: u16, text: &str) {
    assert!(answer.code == code && answer.text.contains(text), "{} {}", answer.code, answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_served_and_discovered() {
    let cluster = Cluster::start().await;
    assert_eq!(cluster.get(CRONTABS).await.code, 404);
    let index = cluster.get("/openapi/v3").await;
    assert!(index.json["paths"]["apis/stable.example.com/v1"].is_null());
    let made = define(&cluster, &crontabs()).await;
    assert_eq!(made["status"]["acceptedNames"]["listKind"], "CronTabList");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    let conditions: Vec<&str> =
        made["status"]["conditions"].as_array().unwrap().iter().map(|it| it["reason"].as_str().unwrap()).collect();
    assert_eq!(conditions, ["NoConflicts", "InitialNamesAccepted"]);

    let list = cluster.get("/apis/stable.example.com/v1").await.json;
    let names: Vec<&str> =
        list["resources"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["crontabs", "crontabs/scale", "crontabs/status"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["ct"]));
    assert_eq!(list["resources"][0]["categories"], json!(["all"]));
    let groups = cluster.get("/apis").await.json;
    let last = groups["groups"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["name"], &last["preferredVersion"]["version"]), (&json!("stable.example.com"), &json!("v1")));
    let aggregated =
        cluster.accept("/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").await;
    assert!(aggregated.text.contains("\"stable.example.com\""));

    let document = cluster.get("/openapi/v3/apis/stable.example.com/v1").await;
    let schema = &document.json["components"]["schemas"]["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["properties"]["cronSpec"]["description"], "When.");
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "CronTab");
    let index = cluster.get("/openapi/v3").await.json;
    let address = index["paths"]["apis/stable.example.com/v1"]["serverRelativeURL"].as_str().unwrap().to_owned();
    assert_eq!(document.headers["etag"].to_str().unwrap().trim_matches('"'), address.split_once("hash=").unwrap().1);
    let whole = cluster.get("/openapi/v2").await.json;
    assert!(whole["definitions"]["com.example.stable.v1.CronTab"]["properties"]["spec"].is_object());
    assert!(whole["definitions"]["io.k8s.api.core.v1.Pod"].is_object());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_pruned_defaulted_and_checked() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let mut object = crontab("a");
    object["spec"]["unknown"] = 1.into();
    object["spec"]["free"] = json!({"any": {"thing": [1]}});
    object["spec"]["note"] = Value::Null;
    object["spec"]["port"] = "http".into();
    object["status"] = json!({"replicas": 7});
    let created = cluster.post(CRONTABS, &object).await;
    assert_eq!(created.code, 201, "{}", created.text);
    assert_eq!(created.headers["warning"], "299 - \"unknown field \\\"spec.unknown\\\"\"");
    let spec = json!({"cronSpec": "*/5", "image": "busybox", "replicas": 1, "port": "http", "note": null, "free": {"any": {"thing": [1]}}});
    assert_eq!(created.json["spec"], spec);
    assert!(created.json["status"].is_null());
    assert_eq!(created.json["metadata"]["generation"], 1);
    assert_eq!(cluster.get(&format!("{CRONTABS}/a")).await.json, created.json);

    let strict = cluster.post(&format!("{CRONTABS}?fieldValidation=Strict"), &object).await;
    check(
        &strict,
        400,
        "CronTab in version \\\"v1\\\" cannot be handled as a CronTab: strict decoding error: unknown field \\\"spec.unknown\\\"",
    );
    for (spec, text) in [
        (
            json!({"cronSpec": "* *"}),
            "spec.cronSpec: Invalid value: \\\"* *\\\": spec.cronSpec in body should match '^[^ ]+$'",
        ),
        (json!({}), "spec.cronSpec: Required value"),
        (
            json!({"cronSpec": "x", "replicas": 11}),
            "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        ),
        (
            json!({"cronSpec": 5}),
            "spec.cronSpec: Invalid value: \\\"integer\\\": spec.cronSpec in body must be of type string",
        ),
    ] {
        let refused = cluster.post(CRONTABS, &json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "b"}, "spec": spec})).await;
        check(&refused, 422, text);
        check(&refused, 422, "CronTab.stable.example.com \\\"b\\\" is invalid");
    }
    let other = cluster.post(CRONTABS, &json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "b"}})).await;
    assert_eq!(other.code, 400, "{}", other.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_change_what_they_may() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let path = format!("{CRONTABS}/a");
    let mut object = cluster.post(CRONTABS, &crontab("a")).await.json;
    // A replacement names its state; the status stays out of it.
    object["spec"]["cronSpec"] = "*/6".into();
    object["status"] = json!({"replicas": 3});
    let mut unpinned = object.clone();
    unpinned["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    check(
        &cluster.put(&path, &unpinned).await,
        422,
        "metadata.resourceVersion: Invalid value: 0x0: must be specified for an update",
    );
    let replaced = cluster.put(&path, &object).await;
    assert_eq!(
        (replaced.code.as_u16(), &replaced.json["metadata"]["generation"]),
        (200, &json!(2)),
        "{}",
        replaced.text
    );
    assert!(replaced.json["status"].is_null());
    check(&cluster.put(&path, &object).await, 409, "the object has been modified");
    // The status has nothing but the status, and no generation.
    let mut status = replaced.json.clone();
    status["status"] = json!({"replicas": 3, "labelSelector": "app=a", "more": 1});
    status["spec"]["cronSpec"] = "changed".into();
    let written = cluster.put(&format!("{path}/status"), &status).await;
    assert_eq!(written.code, 200, "{}", written.text);
    assert_eq!(written.json["status"], json!({"replicas": 3, "labelSelector": "app=a"}));
    assert_eq!(
        (&written.json["spec"]["cronSpec"], &written.json["metadata"]["generation"]),
        (&json!("*/6"), &json!(2))
    );
    // Patches.
    let merged = cluster
        .patch(
            &path,
            "application/merge-patch+json",
            &json!({"spec": {"image": "x"}, "metadata": {"labels": {"l": "1"}}}),
        )
        .await;
    assert_eq!(
        (&merged.json["spec"]["image"], &merged.json["metadata"]["generation"]),
        (&json!("x"), &json!(3)),
        "{}",
        merged.text
    );
    let patched =
        cluster.patch(&path, "application/json-patch+json", &json!([{"op": "remove", "path": "/spec/image"}])).await;
    assert_eq!(patched.json["spec"]["image"], "busybox", "the default is back: {}", patched.text);
    let strategic = cluster.patch(&path, "application/strategic-merge-patch+json", &json!({"spec": {}})).await;
    check(&strategic, 415, "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml");
    let labels =
        cluster.patch(&path, "application/merge-patch+json", &json!({"metadata": {"labels": {"l": "2"}}})).await;
    assert_eq!(labels.json["metadata"]["generation"], 4, "labels are no part of it");
    // Scale.
    let scale = cluster.get(&format!("{path}/scale")).await.json;
    assert_eq!(
        (&scale["spec"]["replicas"], &scale["status"]),
        (&json!(1), &json!({"replicas": 3, "selector": "app=a"}))
    );
    let scaled = cluster
        .patch(&format!("{path}/scale"), "application/merge-patch+json", &json!({"spec": {"replicas": 5}}))
        .await;
    assert_eq!(scaled.json["spec"]["replicas"], 5, "{}", scaled.text);
    assert_eq!(cluster.get(&path).await.json["spec"]["replicas"], 5);
    check(
        &cluster
            .patch(&format!("{path}/scale"), "application/merge-patch+json", &json!({"spec": {"replicas": 50}}))
            .await,
        422,
        "should be less than or equal to 10",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_listed_watched_and_shown() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let mut watch = cluster.watch(&format!("{CRONTABS}?watch=true&fieldSelector=spec.image%3Dspecial")).await;
    for (name, image) in [("a", "busybox"), ("b", "special")] {
        let mut object = crontab(name);
        object["spec"]["image"] = image.into();
        assert_eq!(cluster.post(CRONTABS, &object).await.code, 201);
    }
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("b")));
    let list = cluster.get(CRONTABS).await.json;
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&json!("CronTabList"), 2));
    let some = cluster.get(&format!("{CRONTABS}?fieldSelector=spec.image%3Dspecial")).await.json;
    assert_eq!(some["items"].as_array().unwrap().len(), 1);
    check(
        &cluster.get(&format!("{CRONTABS}?fieldSelector=spec.other%3Dx")).await,
        400,
        "field label not supported: spec.other",
    );
    let table = cluster.accept(&format!("{CRONTABS}/b"), "application/json;as=Table;v=v1;g=meta.k8s.io").await.json;
    let columns: Vec<&Value> = table["columnDefinitions"].as_array().unwrap().iter().map(|it| &it["name"]).collect();
    assert_eq!(columns, ["Name", "Spec", "Replicas", "Age"]);
    assert_eq!(table["columnDefinitions"][1]["description"], "The cron spec");
    assert_eq!(table["columnDefinitions"][2]["priority"], 1);
    let cells = table["rows"][0]["cells"].as_array().unwrap();
    assert_eq!(cells[..3], [json!("b"), json!("*/5"), json!(1)]);
    assert!(cells[3].as_str().is_some_and(|it| it.ends_with('s')), "{cells:?}");
    let gone = cluster.delete(CRONTABS, None).await;
    assert_eq!((gone.code.as_u16(), &gone.json["kind"]), (200, &json!("CronTabList")), "{}", gone.text);
    assert_eq!(watch.next().await.unwrap()["type"], "DELETED");
    assert!(cluster.get(CRONTABS).await.json["items"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_with_its_objects() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let mut held = crontab("held");
    held["metadata"]["finalizers"] = json!(["example.com/wait"]);
    cluster.post(CRONTABS, &crontab("free")).await;
    cluster.post(CRONTABS, &held).await;
    let mut watch = cluster.watch(&format!("{CRONTABS}?watch=true&resourceVersion=0")).await;
    for _ in 0..2 {
        assert_eq!(watch.next().await.unwrap()["type"], "ADDED");
    }
    let path = format!("{DEFINITIONS}/crontabs.stable.example.com");
    let deleted = cluster.delete(&path, None).await;
    assert_eq!(
        deleted.json["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"]),
        "{}",
        deleted.text
    );
    let mut seen = Vec::new();
    for _ in 0..2 {
        seen.push(watch.next().await.unwrap()["type"].as_str().unwrap().to_owned());
    }
    seen.sort();
    assert_eq!(seen, ["DELETED", "MODIFIED"]);
    let terminating = cluster.get(&path).await.json;
    let condition = terminating["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["type"] == "Terminating")
        .unwrap()
        .clone();
    assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("InstanceDeletionInProgress")));
    check(
        &cluster.post(CRONTABS, &crontab("late")).await,
        405,
        "create not allowed while custom resource definition is terminating",
    );
    let released = cluster
        .patch(&format!("{CRONTABS}/held"), "application/merge-patch+json", &json!({"metadata": {"finalizers": null}}))
        .await;
    assert_eq!(released.code, 200, "{}", released.text);
    within_a_second("the end", || async { cluster.get(&path).await.code == 404 }).await;
    assert_eq!(cluster.get(CRONTABS).await.code, 404);
    assert_eq!(watch.next().await.unwrap()["type"], "DELETED");
    assert!(watch.next().await.is_none(), "the watch ends with the definition");
    assert!(cluster.get("/apis").await.text.find("stable.example.com").is_none());
    // The same names may come again, with nothing left of the first.
    define(&cluster, &crontabs()).await;
    assert!(cluster.get(CRONTABS).await.json["items"].as_array().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn names_are_granted_once() {
    let cluster = Cluster::start().await;
    define(&cluster, &crontabs()).await;
    let mut second = crontabs();
    second["metadata"]["name"] = "others.stable.example.com".into();
    second["spec"]["names"] = json!({"plural": "others", "kind": "CronTab", "listKind": "OtherList"});
    assert_eq!(cluster.post(DEFINITIONS, &second).await.code, 201);
    let path = format!("{DEFINITIONS}/others.stable.example.com");
    within_a_second("the conflict", || async {
        cluster.get(&path).await.json["status"]["conditions"][0]["reason"] == "KindConflict"
    })
    .await;
    assert_eq!(cluster.get("/apis/stable.example.com/v1/others").await.code, 404);
    cluster.delete(&format!("{DEFINITIONS}/crontabs.stable.example.com"), None).await;
    within_a_second("the name's return", || async {
        cluster.get("/apis/stable.example.com/v1/others").await.code == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_a_definition_are_followed() {
    let cluster = Cluster::start().await;
    let mut definition = define(&cluster, &crontabs()).await;
    cluster.post(CRONTABS, &crontab("a")).await;
    let before = cluster.get("/openapi/v3").await.json["paths"]["apis/stable.example.com/v1"].clone();
    // A new default and another version; what was stored shows both.
    let versions = definition["spec"]["versions"].as_array_mut().unwrap();
    versions[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["zone"] =
        json!({"type": "string", "default": "here"});
    let mut second = versions[0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].as_object_mut().unwrap().remove("image");
    second["selectableFields"] = json!([]);
    versions[0]["deprecated"] = true.into();
    versions.push(second);
    let put = cluster.put(&format!("{DEFINITIONS}/crontabs.stable.example.com"), &definition).await;
    assert_eq!(put.code, 200, "{}", put.text);
    let other = CRONTABS.replace("/v1/", "/v2/");
    within_a_second("the second version", || async { cluster.get(&other).await.code == 200 }).await;
    let read = cluster.get(&format!("{CRONTABS}/a")).await;
    assert_eq!(read.json["spec"]["zone"], "here");
    assert!(read.headers["warning"].to_str().unwrap().contains("stable.example.com/v1 CronTab is deprecated"));
    let converted = cluster.get(&format!("{other}/a")).await.json;
    assert_eq!(
        (&converted["apiVersion"], &converted["spec"]["image"]),
        (&json!("stable.example.com/v2"), &Value::Null)
    );
    assert_eq!(cluster.get("/apis/stable.example.com").await.json["preferredVersion"]["version"], "v2");
    assert_ne!(cluster.get("/openapi/v3").await.json["paths"]["apis/stable.example.com/v1"], before);
    // What is written in one version is read in the other.
    let mut object = crontab("b");
    object["apiVersion"] = "stable.example.com/v2".into();
    assert_eq!(cluster.post(&other, &object).await.code, 201);
    assert_eq!(cluster.get(&format!("{CRONTABS}/b")).await.json["apiVersion"], "stable.example.com/v1");
    let list = cluster.get(&other).await.json;
    assert!(list["items"].as_array().unwrap().iter().all(|it| it["apiVersion"] == "stable.example.com/v2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_converts_between_versions() {
    let (cluster, hooks) = (Cluster::start().await, crate::webhooks::Hooks::start().await);
    let mut definition = crontabs();
    let versions = definition["spec"]["versions"].as_array_mut().unwrap();
    let mut second = versions[0].clone();
    second["name"] = "v2".into();
    second["storage"] = false.into();
    second.as_object_mut().unwrap().remove("selectableFields");
    let fields = second["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].as_object_mut().unwrap();
    let image = fields.remove("image").unwrap();
    fields.insert("picture".to_owned(), image);
    versions.push(second);
    let through = |path: &str| json!({"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": hooks.url(path)}});
    definition["spec"]["conversion"] = through("convert");
    define(&cluster, &definition).await;
    let other = CRONTABS.replace("/v1/", "/v2/");
    let mut watch = cluster.watch(&format!("{other}?watch=true")).await;
    let mut first = crontab("a");
    first["spec"]["image"] = "one".into();
    assert_eq!(cluster.post(CRONTABS, &first).await.code, 201);
    let read = cluster.get(&format!("{other}/a")).await;
    assert_eq!(
        (&read.json["apiVersion"], &read.json["spec"]["picture"]),
        (&json!("stable.example.com/v2"), &json!("one")),
        "{}",
        read.text
    );
    let event = watch.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["spec"]["picture"]), (&json!("ADDED"), &json!("one")));
    let mut second = crontab("b");
    second["apiVersion"] = "stable.example.com/v2".into();
    second["spec"]["picture"] = "two".into();
    let created = cluster.post(&other, &second).await;
    assert_eq!(created.code, 201, "{}", created.text);
    assert_eq!(cluster.get(&format!("{CRONTABS}/b")).await.json["spec"]["image"], "two");
    let list = cluster.get(&other).await.json;
    let pictures: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|it| &it["spec"]["picture"]).collect();
    assert_eq!(pictures, ["one", "two"]);
    let patched = cluster
        .patch(&format!("{other}/b"), "application/merge-patch+json", &json!({"spec": {"picture": "three"}}))
        .await;
    assert_eq!(patched.code, 200, "{}", patched.text);
    assert_eq!(cluster.get(&format!("{CRONTABS}/b")).await.json["spec"]["image"], "three");
    // One that fails or lies is told of in Kubernetes' words.
    for (path, text) in [
        ("convert-fail", "conversion webhook for stable.example.com/v1, Kind=CronTab failed: not today"),
        ("convert-name", "returned invalid converted object at index 0: must have the same name: other != a"),
    ] {
        let place = format!("{DEFINITIONS}/crontabs.stable.example.com");
        let change = json!({"spec": {"conversion": through(path)}});
        assert_eq!(cluster.patch(&place, "application/merge-patch+json", &change).await.code, 200);
        within_a_second("the other webhook", || async { cluster.get(&format!("{other}/a")).await.text.contains(text) })
            .await;
        assert_eq!(cluster.get(&other).await.code, 500);
        assert_eq!(cluster.get(CRONTABS).await.code, 200, "the stored version needs nobody");
    }
}
