//! Managed fields of every writer, and server-side apply.

use http::Request;
use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const APPLY: &str = "application/apply-patch+yaml";
const MERGE: &str = "application/merge-patch+json";

fn map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

fn deployment(replicas: u32) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    })
}

/// Manager, operation and subresource of each entry.
fn writers(answer: &Answer) -> Vec<String> {
    let entries = answer.json["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    let mut out: Vec<String> = entries
        .iter()
        .map(|it| format!("{} {} {}", text(&it["manager"]), text(&it["operation"]), text(&it["subresource"])))
        .map(|it| it.trim_end().to_owned())
        .collect();
    out.sort();
    out
}

fn fields(answer: &Answer, manager: &str) -> Value {
    let entries = answer.json["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    entries.into_iter().find(|it| it["manager"] == manager).map_or(Value::Null, |it| it["fieldsV1"].clone())
}

async fn apply(cluster: &Cluster, path: &str, manager: &str, config: &Value) -> Answer {
    cluster.patch(&format!("{path}?fieldManager={manager}"), APPLY, config).await
}

#[tokio::test]
async fn every_writer_is_recorded() {
    let cluster = Cluster::start().await;
    let request = Request::post(MAPS).header("User-Agent", "kubectl/v1.35.0 (linux/amd64) kubernetes/x");
    let made = cluster.send(request.body(map(&json!({"x": "1"})).to_string().into()).unwrap()).await;
    assert_eq!(writers(&made), ["kubectl Update"]);
    assert_eq!(fields(&made, "kubectl"), json!({"f:data": {".": {}, "f:x": {}}}));
    let entry = &made.json["metadata"]["managedFields"][0];
    assert_eq!((&entry["apiVersion"], &entry["fieldsType"]), (&json!("v1"), &json!("FieldsV1")));
    assert_eq!(entry["time"], made.json["metadata"]["creationTimestamp"]);

    let path = format!("{MAPS}/a");
    let patched = cluster.patch(&format!("{path}?fieldManager=p"), MERGE, &json!({"data": {"y": "2"}})).await;
    assert_eq!(fields(&patched, "p"), json!({"f:data": {"f:y": {}}}));
    let mut whole = patched.json.clone();
    whole["data"]["x"] = "3".into();
    let put = cluster.put(&format!("{path}?fieldManager=u"), &whole).await;
    assert_eq!(writers(&put), ["kubectl Update", "p Update", "u Update"]);
    assert_eq!(fields(&put, "kubectl"), json!({"f:data": {}}));

    // A write that changes nothing leaves everything as it is.
    let again = cluster.put(&format!("{path}?fieldManager=other"), &put.json).await;
    assert_eq!(again.json, put.json);
    let nobody = cluster.patch(&path, MERGE, &json!({"data": {"z": "1"}})).await;
    assert!(writers(&nobody).contains(&"unknown Update".to_owned()));
    let stored = cluster.get(&path).await;
    assert_eq!(stored.json, nobody.json);
}

#[tokio::test]
async fn the_oldest_updates_become_one() {
    let cluster = Cluster::start().await;
    cluster.post(&format!("{MAPS}?fieldManager=m0"), &map(&json!({"k0": "v"}))).await;
    let path = format!("{MAPS}/a");
    let mut last = None;
    for it in 1..=12 {
        let patch = json!({"data": {format!("k{it}"): "v"}});
        last = Some(cluster.patch(&format!("{path}?fieldManager=m{it}"), MERGE, &patch).await);
    }
    let last = last.unwrap();
    assert_eq!(writers(&last).len(), 10);
    assert!(writers(&last).contains(&"ancient-changes Update".to_owned()));
}

#[tokio::test]
async fn clients_may_clear_managed_fields_but_not_break_them() {
    let cluster = Cluster::start().await;
    let made = cluster.post(&format!("{MAPS}?fieldManager=a"), &map(&json!({"x": "1"}))).await;
    let path = format!("{MAPS}/a");
    let mut broken = made.json.clone();
    broken["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Steal"}]);
    assert_eq!(writers(&cluster.put(&path, &broken).await), ["a Update"]);
    let patch = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
    let cleared = cluster.patch(&path, "application/json-patch+json", &patch).await;
    assert_eq!(cleared.json["metadata"].get("managedFields"), None, "{}", cleared.text);
    let after = cluster.patch(&path, MERGE, &json!({"data": {"y": "1"}})).await;
    assert!(writers(&after).is_empty(), "it is tracked again from the first apply on");
    let applied = apply(&cluster, &path, "me", &map(&json!({"z": "1"}))).await;
    assert_eq!(writers(&applied), ["before-first-apply Update", "me Apply"]);
}

#[tokio::test]
async fn parts_have_their_own_writers() {
    let cluster = Cluster::start().await;
    cluster.post(&format!("{DEPLOYMENTS}?fieldManager=a"), &deployment(1)).await;
    let path = format!("{DEPLOYMENTS}/web");
    let status = json!({"status": {"replicas": 1, "observedGeneration": 1}, "spec": {"paused": true}});
    let patched = cluster.patch(&format!("{path}/status?fieldManager=c"), MERGE, &status).await;
    assert_eq!(fields(&patched, "c"), json!({"f:status": {"f:observedGeneration": {}, "f:replicas": {}}}));
    assert_eq!(writers(&patched), ["a Update", "c Update status"]);

    let scale = cluster.patch(&format!("{path}/scale?fieldManager=s"), MERGE, &json!({"spec": {"replicas": 4}})).await;
    assert_eq!(scale.json["spec"]["replicas"], 4, "{}", scale.text);
    let after = cluster.get(&path).await;
    assert_eq!(writers(&after), ["a Update", "c Update status", "s Update scale"]);
    assert_eq!(fields(&after, "s"), json!({"f:spec": {"f:replicas": {}}}));
    assert!(fields(&after, "a")["f:spec"].get("f:replicas").is_none());
    let mut config = deployment(2);
    let refused = apply(&cluster, &path, "me", &config).await;
    assert_eq!(
        refused.json["message"],
        "Apply failed with 1 conflict: conflict with \"s\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
    let by_scale =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}});
    let refused = apply(&cluster, &format!("{path}/scale"), "me", &by_scale).await;
    assert_eq!(refused.code, 409, "{}", refused.text);
    let forced = cluster.patch(&format!("{path}/scale?fieldManager=me&force=true"), APPLY, &by_scale).await;
    assert_eq!(forced.json["spec"]["replicas"], 5, "{}", forced.text);
    assert!(writers(&cluster.get(&path).await).contains(&"me Apply scale".to_owned()));
    config["spec"].as_object_mut().unwrap().remove("replicas");
    assert_eq!(apply(&cluster, &path, "me", &config).await.json["spec"]["replicas"], 5);
}

#[tokio::test]
async fn conflicts_are_told_and_forced() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/web");
    let made = apply(&cluster, &path, "one", &deployment(1)).await;
    assert_eq!((made.code.as_u16(), writers(&made)), (201, vec!["one Apply".to_owned()]));
    let mut other = deployment(2);
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "j".into();
    let refused = apply(&cluster, &path, "two", &other).await;
    assert_eq!((refused.code.as_u16(), &refused.json["reason"]), (409, &json!("Conflict")));
    assert_eq!(
        refused.json["message"],
        "Apply failed with 2 conflicts: conflicts with \"one\":\n- .spec.replicas\n- .spec.template.spec.containers[name=\"c\"].image"
    );
    let cause =
        json!({"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".spec.replicas"});
    assert_eq!(refused.json["details"]["causes"][0], cause);
    let forced = cluster.patch(&format!("{path}?fieldManager=two&force=true"), APPLY, &other).await;
    assert_eq!(forced.json["spec"]["replicas"], 2);
    // Who stated a field that another took has lost it, and takes nothing away by stating less.
    let less = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let left = apply(&cluster, &path, "one", &less).await;
    assert_eq!(left.json["spec"]["replicas"], 2, "{}", left.text);
    assert_eq!(writers(&left), ["two Apply"]);
}

#[tokio::test]
async fn an_apply_that_changes_nothing_writes_nothing() {
    let cluster = Cluster::start().await;
    let path = format!("{DEPLOYMENTS}/web");
    let mut config = deployment(1);
    config["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1000m"}});
    let made = apply(&cluster, &path, "one", &config).await;
    let again = apply(&cluster, &path, "one", &config).await;
    assert_eq!(again.json, made.json, "though 1000m is stored as 1");
    let dry = cluster.patch(&format!("{path}?fieldManager=two&dryRun=All"), APPLY, &deployment(1)).await;
    assert!(writers(&dry).contains(&"two Apply".to_owned()));
    assert_eq!(cluster.get(&path).await.json, made.json);
    let revision = made.json["metadata"]["resourceVersion"].clone();
    let mut pinned = deployment(3);
    pinned["metadata"]["resourceVersion"] = revision;
    assert_eq!(apply(&cluster, &path, "one", &pinned).await.code, 200);
    let late = apply(&cluster, &path, "one", &pinned).await;
    assert_eq!(late.code, 409, "{}", late.text);
}

/// Each applies to what the others have just written, and none has named a state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn appliers_at_once_do_not_refuse_each_other() {
    const APPLIERS: usize = 8;
    const TURNS: usize = 10;
    let cluster = Cluster::start().await;
    let web = format!("{DEPLOYMENTS}/web");
    assert_eq!(apply(&cluster, &web, "first", &deployment(1)).await.code, 201);
    let one = async |applier: usize| {
        let (path, manager) = (format!("{MAPS}/a"), format!("m{applier}"));
        for turn in 0..TURNS {
            let done = apply(&cluster, &path, &manager, &map(&json!({ &manager: turn.to_string() }))).await;
            assert!(done.code.is_success(), "{}", done.text);
            let scale = json!({
                "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": turn},
            });
            let path = format!("{web}/scale?force=true&fieldManager={manager}");
            let done = cluster.patch(&path, APPLY, &scale).await;
            assert_eq!(done.code, 200, "{}", done.text);
        }
    };
    futures::future::join_all((0..APPLIERS).map(one)).await;
    let data = cluster.get(&format!("{MAPS}/a")).await.json["data"].clone();
    let last = (TURNS - 1).to_string();
    let expected = (0..APPLIERS).map(|it| (format!("m{it}"), json!(last))).collect();
    assert_eq!(data, Value::Object(expected));
}

#[tokio::test]
async fn what_is_no_configuration_is_refused() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/a");
    let said = |answer: Answer| (answer.code.as_u16(), answer.json["message"].as_str().unwrap_or_default().to_owned());
    let mut config = map(&json!({"x": "1"}));
    config["dato"] = json!({});
    assert_eq!(
        said(apply(&cluster, &path, "m", &config).await),
        (
            400,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .dato: field not declared in schema"
                .to_owned()
        )
    );
    let mut config = map(&json!({}));
    config["metadata"]["managedFields"] = json!([]);
    assert_eq!(
        said(apply(&cluster, &path, "m", &config).await),
        (400, "metadata.managedFields must be nil".to_owned())
    );
    let other = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}});
    assert_eq!(
        said(apply(&cluster, &path, "m", &other).await),
        (400, "invalid object type: /v1, Kind=Secret".to_owned())
    );
    let mut other = map(&json!({}));
    other["metadata"]["uid"] = "u-1".into();
    let (code, text) = said(apply(&cluster, &path, "m", &other).await);
    assert_eq!(code, 409);
    assert!(
        text.ends_with("uid mismatch: the provided object specified uid u-1, and no existing object was found"),
        "{text}"
    );
    let twice = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}]}});
    let (code, text) = said(apply(&cluster, "/api/v1/namespaces/default/services/s", "m", &twice).await);
    assert_eq!(code, 400);
    assert!(text.ends_with(r#".spec.ports: duplicate entries for key [port=80,protocol="TCP"]"#), "{text}");
}

#[tokio::test]
async fn kubectl_moves_from_the_clients_side() {
    let cluster = Cluster::start().await;
    let config = map(&json!({"x": "1", "y": "1"}));
    let mut made = config.clone();
    let note = config.to_string() + "\n";
    made["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": note});
    cluster.post(&format!("{MAPS}?fieldManager=kubectl-client-side-apply"), &made).await;
    let path = format!("{MAPS}/a");
    let next = map(&json!({"x": "2", "y": "1"}));
    assert_eq!(apply(&cluster, &path, "helm", &next).await.code, 409);
    let moved = apply(&cluster, &path, "kubectl", &next).await;
    assert_eq!(moved.code, 200, "{}", moved.text);
    let note =
        moved.json["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap();
    assert!(note.contains("\"x\":\"2\"") && note.ends_with('\n'), "{note}");
}

#[tokio::test]
async fn addresses_that_the_server_gives_belong_to_nobody() {
    let cluster = Cluster::start().await;
    let services = "/api/v1/namespaces/default/services";
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"},
        "spec": {"selector": {"a": "b"}, "type": "NodePort", "ports": [{"port": 80}]}});
    let made = cluster.post(&format!("{services}?fieldManager=a"), &service).await;
    assert!(made.json["spec"]["clusterIP"].is_string() && made.json["spec"]["ports"][0]["nodePort"].is_number());
    let owned = fields(&made, "a").to_string();
    assert!(!owned.contains("clusterIP") && !owned.contains("nodePort"), "{owned}");
    assert!(owned.contains("f:selector") && owned.contains("f:targetPort"), "{owned}");
}

#[tokio::test]
async fn custom_objects_are_merged_by_their_schemas() {
    let cluster = Cluster::start().await;
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "racks.e.io"},
        "spec": {
            "group": "e.io", "scope": "Namespaced", "names": {"plural": "racks", "singular": "rack", "kind": "Rack"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}}, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "slots": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}},
                    }},
                    "status": {"type": "object", "properties": {"free": {"type": "integer"}}},
                },
            }}}],
        },
    });
    let made = cluster.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    assert_eq!(made.code, 201, "{}", made.text);
    // Somebody grants the names; here nobody else does.
    let granted = json!({"status": {
        "acceptedNames": definition["spec"]["names"], "storedVersions": ["v1"],
        "conditions": [
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": ""},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": ""},
        ],
    }});
    let status = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/racks.e.io/status";
    let answer = cluster.patch(status, MERGE, &granted).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    let path = "/apis/e.io/v1/namespaces/default/racks/r";
    let rack = |slots: Value| json!({"apiVersion": "e.io/v1", "kind": "Rack", "metadata": {"name": "r"}, "spec": {"slots": slots}});
    let mut one = apply(&cluster, path, "one", &rack(json!([{"name": "a", "size": 1}]))).await;
    for _ in 0..100 {
        if one.code == 201 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        one = apply(&cluster, path, "one", &rack(json!([{"name": "a", "size": 1}]))).await;
    }
    assert_eq!(one.code, 201, "{}", one.text);
    let both = apply(&cluster, path, "two", &rack(json!([{"name": "b", "size": 2}]))).await;
    assert_eq!(
        both.json["spec"]["slots"],
        json!([{"name": "a", "size": 1}, {"name": "b", "size": 2}]),
        "{}",
        both.text
    );
    let status = cluster.patch(&format!("{path}/status?fieldManager=c"), MERGE, &json!({"status": {"free": 3}})).await;
    assert_eq!(fields(&status, "c"), json!({"f:status": {".": {}, "f:free": {}}}));
    let refused =
        apply(&cluster, path, "two", &rack(json!([{"name": "a", "size": 9}, {"name": "b", "size": 2}]))).await;
    assert_eq!(
        refused.json["message"],
        "Apply failed with 1 conflict: conflict with \"one\": .spec.slots[name=\"a\"].size"
    );
    let gone = apply(&cluster, path, "one", &rack(json!([]))).await;
    assert_eq!(gone.json["spec"]["slots"], json!([{"name": "b", "size": 2}]), "{}", gone.text);
    let unknown = apply(&cluster, path, "one", &{
        let mut it = rack(json!([]));
        it["spec"]["colour"] = "red".into();
        it
    })
    .await;
    assert!(unknown.text.contains(".spec.colour: field not declared in schema"), "{}", unknown.text);
}
