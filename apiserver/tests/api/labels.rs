//! Labels as things one can list: counts per kind, selected, as a table, watched, and guarded.

use crate::support::Cluster;
use http::Request;
use serde_json::{Value, json};

const LABELS: &str = "/apis/orlop.dev/v1/labels";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn object(name: &str, labels: Value) -> Value {
    json!({ "metadata": { "name": name, "labels": labels } })
}

/// `key=value: objects` of each item.
fn summary(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap().iter();
    let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
    items.map(|it| format!("{}={}: {}", text(&it["key"]), text(&it["value"]), it["objects"])).collect()
}

async fn filled() -> Cluster {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &object("a", json!({ "app": "web", "tier": "front" }))).await;
    cluster.post(MAPS, &object("b", json!({ "app": "web" }))).await;
    cluster.post(MAPS, &object("c", json!({ "app": "db" }))).await;
    let secret = object("a", json!({ "app": "web" }));
    assert_eq!(cluster.post("/api/v1/namespaces/default/secrets", &secret).await.code, 201);
    cluster
}

#[tokio::test]
async fn labels_are_counted_by_kind() {
    let cluster = filled().await;
    let list = cluster.get(&format!("{LABELS}?labelSelector=app")).await;
    assert_eq!(list.json["kind"], "LabelList");
    assert_eq!(summary(&list.json), ["app=db: 1", "app=web: 3"]);
    let web = &list.json["items"][1];
    let expected = json!([{ "resource": "configmaps", "objects": 2 }, { "resource": "secrets", "objects": 1 }]);
    assert_eq!(web["kinds"], expected);
    let name = web["metadata"]["name"].as_str().unwrap();
    let mut one = cluster.get(&format!("{LABELS}/{name}")).await.json;
    assert_eq!((one["kind"].take(), one["apiVersion"].take()), (json!("Label"), json!("orlop.dev/v1")));
    one.as_object_mut().unwrap().retain(|_, it| !it.is_null());
    assert_eq!(&one, web, "in a list, each is of the list's kind");
    for (query, expected) in [
        ("fieldSelector=key%3Dtier", &["tier=front: 1"][..]),
        ("fieldSelector=key%3Dapp,value%3Ddb", &["app=db: 1"]),
        ("labelSelector=app%3Dweb", &["app=web: 3"]),
        ("labelSelector=app&limit=1", &["app=db: 1"]),
    ] {
        assert_eq!(summary(&cluster.get(&format!("{LABELS}?{query}")).await.json), expected, "{query}");
    }
    cluster.delete(&format!("{MAPS}/c"), None).await;
    assert_eq!(summary(&cluster.get(&format!("{LABELS}?labelSelector=app")).await.json), ["app=web: 3"]);
    assert_eq!(cluster.get(&format!("{LABELS}/none")).await.code, 404);
    assert_eq!(cluster.get(&format!("{LABELS}?fieldSelector=kind%3Dpods")).await.code, 400);
}

#[tokio::test]
async fn labels_are_shown_found_and_described() {
    let cluster = filled().await;
    let table =
        cluster.accept(&format!("{LABELS}?labelSelector=app"), "application/json;as=Table;g=meta.k8s.io;v=v1").await;
    let names: Vec<&str> =
        table.json["columnDefinitions"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["Key", "Value", "Objects", "Kinds", "Name"]);
    let cells = &table.json["rows"][1]["cells"];
    assert_eq!((&cells[0], &cells[1], &cells[2]), (&json!("app"), &json!("web"), &json!(3)));
    assert_eq!(cells[3], "configmaps:2,secrets:1");
    let found = cluster.get("/apis/orlop.dev/v1").await.json;
    assert_eq!(found["resources"][0]["verbs"], json!(["get", "list", "watch"]));
    let document = cluster.get("/openapi/v3/apis/orlop.dev/v1").await.json;
    let schema = &document["components"]["schemas"]["dev.orlop.v1.Label"];
    assert_eq!(schema["properties"]["objects"]["type"], "integer", "{schema}");
    assert!(document["components"]["schemas"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"].is_object());
    let paths = document["paths"].as_object().unwrap();
    assert!(paths[LABELS]["get"].is_object() && paths[LABELS]["post"].is_null());
}

#[tokio::test]
async fn labels_are_watched() {
    let cluster = filled().await;
    let list = cluster.get(LABELS).await;
    let at = list.json["metadata"]["resourceVersion"].as_str().unwrap();
    let mut lines = cluster.watch(&format!("{LABELS}?watch=1&resourceVersion={at}&labelSelector=app")).await;
    cluster.post(MAPS, &object("d", json!({ "app": "db" }))).await;
    let event = lines.next().await.unwrap();
    assert_eq!((&event["type"], &event["object"]["objects"]), (&json!("MODIFIED"), &json!(2)));
    cluster.delete(&format!("{MAPS}/c"), None).await;
    cluster.delete(&format!("{MAPS}/d"), None).await;
    // Both changes are told as one, or one after another.
    let mut event = lines.next().await.unwrap();
    if event["type"] == "MODIFIED" {
        event = lines.next().await.unwrap();
    }
    assert_eq!((&event["type"], &event["object"]["value"]), (&json!("DELETED"), &json!("db")));
    let mut state = cluster.watch(&format!("{LABELS}?watch=1&labelSelector=tier")).await;
    assert_eq!(state.next().await.unwrap()["object"]["value"], "front");
}

#[tokio::test]
async fn labels_cannot_be_written_and_are_guarded() {
    let cluster = filled().await;
    assert_eq!(cluster.post(LABELS, &object("x", json!({}))).await.code, 405);
    assert_eq!(cluster.delete(LABELS, None).await.code, 405);
    let list = cluster.get(LABELS).await;
    let name = list.json["items"][0]["metadata"]["name"].as_str().unwrap();
    assert_eq!(cluster.delete(&format!("{LABELS}/{name}"), None).await.code, 405);
    let asked = || Request::get(LABELS).body(Vec::new()).unwrap();
    let refused = cluster.send_as("jane", asked()).await;
    assert_eq!(refused.code, 403);
    assert!(
        refused
            .text
            .contains("cannot list resource \\\"labels\\\" in API group \\\"orlop.dev\\\" at the cluster scope")
    );
    let role = json!({
        "metadata": { "name": "labels" },
        "rules": [{ "apiGroups": ["orlop.dev"], "resources": ["labels"], "verbs": ["list"] }],
    });
    cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterroles", &role).await;
    let binding = json!({
        "metadata": { "name": "labels" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "labels" },
        "subjects": [{ "kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io" }],
    });
    cluster.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &binding).await;
    assert_eq!(cluster.send_as("jane", asked()).await.code, 200);
}
