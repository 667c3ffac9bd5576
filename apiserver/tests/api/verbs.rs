//! Every verb, through the whole pipeline, over the memory store and without a socket.

use crate::support::{Answer, Cluster};
use http::StatusCode;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PODS: &str = "/api/v1/namespaces/default/pods";

fn map(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name, "labels": { "app": name } }, "data": { "k": "v" } })
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
        "spec": { "containers": [{ "name": "c", "image": "i" }], "automountServiceAccountToken": false },
    })
}

#[track_caller]
fn refused(answer: &Answer, code: u16, reason: &str, text: &str) {
    assert_eq!(answer.code.as_u16(), code, "{}", answer.json);
    assert_eq!(answer.json["kind"], "Status");
    assert_eq!(answer.json["reason"], reason, "{}", answer.json);
    let message = answer.json["message"].as_str().unwrap();
    assert!(message.contains(text), "{message}");
}

#[tokio::test]
async fn an_object_lives_and_dies() {
    let cluster = Cluster::start().await;
    let created = cluster.post(MAPS, &map("a")).await;
    assert_eq!(created.code, StatusCode::CREATED);
    assert!(created.json["metadata"]["uid"].is_string());
    let path = format!("{MAPS}/a");
    let got = cluster.get(&path).await;
    assert_eq!(got.json, created.json);
    refused(&cluster.post(MAPS, &map("a")).await, 409, "AlreadyExists", "configmaps \"a\" already exists");

    let mut changed = got.json.clone();
    changed["data"]["k"] = "w".into();
    let put = cluster.put(&path, &changed).await;
    assert_eq!((put.code, &put.json["data"]["k"]), (StatusCode::OK, &json!("w")));
    refused(&cluster.put(&path, &changed).await, 409, "Conflict", "the object has been modified");
    let again = cluster.put(&path, &put.json).await;
    assert_eq!(again.json["metadata"]["resourceVersion"], put.json["metadata"]["resourceVersion"], "nothing changed");

    let merged =
        cluster.patch(&path, "application/merge-patch+json", &json!({ "data": { "k": null, "l": "x" } })).await;
    assert_eq!(merged.json["data"], json!({ "l": "x" }));
    let patched = json!([{ "op": "replace", "path": "/data/l", "value": "y" }]);
    let patched = cluster.patch(&path, "application/json-patch+json", &patched).await;
    assert_eq!(patched.json["data"]["l"], "y");
    let strategic = json!({ "metadata": { "labels": { "b": "c" } } });
    let strategic = cluster.patch(&path, "application/strategic-merge-patch+json", &strategic).await;
    assert_eq!(strategic.json["metadata"]["labels"], json!({ "app": "a", "b": "c" }));
    refused(&cluster.patch(&path, "text/plain", &json!({})).await, 415, "UnsupportedMediaType", "accepted media types");

    let deleted = cluster.delete(&path, None).await;
    assert_eq!((deleted.code, &deleted.json["status"]), (StatusCode::OK, &json!("Success")));
    assert_eq!(deleted.json["details"]["kind"], "configmaps");
    refused(&cluster.get(&path).await, 404, "NotFound", "configmaps \"a\" not found");
    refused(&cluster.put(&path, &map("a")).await, 404, "NotFound", "configmaps \"a\" not found");
}

#[tokio::test]
async fn applies_create_and_change() {
    let cluster = Cluster::start().await;
    let path = format!("{MAPS}/a?fieldManager=me");
    let created = cluster.patch(&path, "application/apply-patch+yaml", &map("a")).await;
    assert_eq!(created.code, StatusCode::CREATED, "{}", created.json);
    let mut config = map("a");
    config["data"] = json!({ "other": "v" });
    let applied = cluster.patch(&path, "application/apply-patch+yaml", &config).await;
    assert_eq!((applied.code, &applied.json["data"]), (StatusCode::OK, &json!({ "other": "v" })));
    let nobody = cluster.patch(&format!("{MAPS}/a"), "application/apply-patch+yaml", &config).await;
    refused(&nobody, 422, "Invalid", "fieldManager: Required value");
}

#[tokio::test]
async fn bad_input_gets_kubernetes_answers() {
    let cluster = Cluster::start().await;
    refused(&cluster.get("/api/v1/nothings").await, 404, "NotFound", "could not find the requested resource");
    refused(&cluster.get("/nothing").await, 404, "NotFound", "could not find the requested resource");
    refused(&cluster.put(MAPS, &map("a")).await, 405, "MethodNotAllowed", "does not allow this method");
    refused(&cluster.get(&format!("{MAPS}?limit=x")).await, 400, "BadRequest", "strconv.ParseInt: parsing \"x\"");
    refused(&cluster.get(&format!("{MAPS}?continue=x")).await, 400, "BadRequest", "continue key is not valid");
    refused(&cluster.get(&format!("{MAPS}?labelSelector=a%20b")).await, 400, "BadRequest", "");
    refused(
        &cluster.get(&format!("{MAPS}?fieldSelector=x=y")).await,
        400,
        "BadRequest",
        "\"x\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    );
    refused(&cluster.post(MAPS, &json!({ "kind": "Pod", "apiVersion": "v1" })).await, 400, "BadRequest", "ConfigMap");
    refused(&cluster.post(MAPS, &map("Not A Name")).await, 422, "Invalid", "metadata.name");
    let mut unknown = map("a");
    unknown["dota"] = json!({});
    let strict = cluster.post(&format!("{MAPS}?fieldValidation=Strict"), &unknown).await;
    refused(&strict, 400, "BadRequest", "unknown field \"dota\"");
    let warned = cluster.post(MAPS, &unknown).await;
    assert_eq!(warned.code, StatusCode::CREATED);
    assert!(warned.headers[http::header::WARNING].to_str().unwrap().contains("unknown field"));
    let huge = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": { "k": "x".repeat(4 << 20) } });
    refused(&cluster.post(MAPS, &huge).await, 413, "RequestEntityTooLarge", "limit is 3145728");
    refused(&cluster.raw("POST", MAPS, "application/json", "{").await, 400, "BadRequest", "json");
    refused(&cluster.raw("POST", MAPS, "text/plain", "a").await, 415, "UnsupportedMediaType", "accepted media types");
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    refused(&cluster.raw("POST", MAPS, "application/json", &deep).await, 400, "BadRequest", "");
    let yaml = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: text\ndata:\n  k: v\n";
    let created = cluster.raw("POST", MAPS, "application/yaml", yaml).await;
    assert_eq!(created.code, StatusCode::CREATED, "{}", created.json);
}

#[tokio::test]
async fn dry_runs_change_nothing() {
    let cluster = Cluster::start().await;
    let created = cluster.post(&format!("{MAPS}?dryRun=All"), &map("a")).await;
    assert_eq!(created.code, StatusCode::CREATED);
    refused(&cluster.get(&format!("{MAPS}/a")).await, 404, "NotFound", "");
    cluster.post(MAPS, &map("a")).await;
    refused(&cluster.post(&format!("{MAPS}?dryRun=All"), &map("a")).await, 409, "AlreadyExists", "");
    let patch = json!({ "data": { "k": "w" } });
    let patched = cluster.patch(&format!("{MAPS}/a?dryRun=All"), "application/merge-patch+json", &patch).await;
    assert_eq!(patched.json["data"]["k"], "w");
    cluster.delete(&format!("{MAPS}/a?dryRun=All"), None).await;
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.json["data"]["k"], "v");
}

#[tokio::test]
async fn lists_are_paged_from_one_snapshot() {
    let cluster = Cluster::start().await;
    for at in 0..25 {
        cluster.post(MAPS, &map(&format!("m{at:02}"))).await;
    }
    let first = cluster.get(&format!("{MAPS}?limit=10")).await.json;
    assert_eq!((first["items"].as_array().unwrap().len(), &first["metadata"]["remainingItemCount"]), (10, &json!(15)));
    // What is written between two pages belongs to neither.
    cluster.post(MAPS, &map("m99")).await;
    cluster.delete(&format!("{MAPS}/m15"), None).await;
    let mut names = Vec::new();
    let mut page = first.clone();
    loop {
        names.extend(page["items"].as_array().unwrap().iter().map(|it| it["metadata"]["name"].clone()));
        assert_eq!(page["metadata"]["resourceVersion"], first["metadata"]["resourceVersion"]);
        let Some(token) = page["metadata"]["continue"].as_str() else { break };
        page = cluster.get(&format!("{MAPS}?limit=10&continue={token}")).await.json;
    }
    let expected: Vec<Value> = (0..25).map(|at| json!(format!("m{at:02}"))).collect();
    assert_eq!(names, expected);
    let selected = cluster.get(&format!("{MAPS}?labelSelector=app%3Dm03")).await.json;
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
    let exact = first["metadata"]["resourceVersion"].as_str().unwrap();
    let then = cluster.get(&format!("{MAPS}?resourceVersion={exact}&resourceVersionMatch=Exact")).await.json;
    assert_eq!(then["items"].as_array().unwrap().len(), 25);
    let gone = cluster.raw("DELETE", &format!("{MAPS}?labelSelector=app%20in%20(m01,m02)"), "", "").await;
    assert_eq!(gone.json["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn forms_are_negotiated() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a")).await;
    let table = cluster.accept(MAPS, "application/json;as=Table;v=v1;g=meta.k8s.io").await.json;
    assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let meta = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let metadata = cluster.accept(MAPS, meta).await.json;
    assert!(metadata["items"][0]["data"].is_null() && metadata["items"][0]["metadata"]["name"] == "a");
    refused(&cluster.accept(MAPS, "text/html").await, 406, "NotAcceptable", "application/json");
    let yaml = cluster.accept(&format!("{MAPS}/a"), "application/yaml").await;
    assert!(yaml.text.contains("kind: ConfigMap"), "{}", yaml.text);
}

#[tokio::test]
async fn pods_are_bound_once_and_deleted_with_grace() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        let created = cluster.post(PODS, &pod(name)).await;
        assert_eq!(created.code, StatusCode::CREATED, "{}", created.json);
    }
    let gone = cluster.delete(&format!("{PODS}/b"), None).await;
    assert_eq!(gone.code, StatusCode::OK);
    refused(&cluster.get(&format!("{PODS}/b")).await, 404, "NotFound", "");
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "a" }, "target": { "kind": "Node", "name": "n1" },
    });
    let bound = cluster.post(&format!("{PODS}/a/binding"), &binding).await;
    assert_eq!(bound.code, StatusCode::CREATED, "{}", bound.json);
    let running = cluster.get(&format!("{PODS}/a")).await.json;
    assert_eq!(running["spec"]["nodeName"], "n1");
    let twice = cluster.post(&format!("{PODS}/a/binding"), &binding).await;
    refused(
        &twice,
        409,
        "Conflict",
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"n1\"",
    );
    let deleting = cluster.delete(&format!("{PODS}/a"), None).await.json;
    assert_eq!(deleting["metadata"]["deletionGracePeriodSeconds"], 30);
    let late = cluster.delete(&format!("{PODS}/a"), Some(&json!({ "preconditions": { "uid": "x" } }))).await;
    refused(&late, 409, "Conflict", "Precondition failed: UID in precondition: x");
    cluster.delete(&format!("{PODS}/a"), Some(&json!({ "gracePeriodSeconds": 0 }))).await;
    refused(&cluster.get(&format!("{PODS}/a")).await, 404, "NotFound", "");
}

#[tokio::test]
async fn finalizers_hold_and_let_go() {
    let cluster = Cluster::start().await;
    let mut held = map("a");
    held["metadata"]["finalizers"] = json!(["example.com/x"]);
    cluster.post(MAPS, &held).await;
    let path = format!("{MAPS}/a");
    let marked = cluster.delete(&path, None).await.json;
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    let again = cluster.post(MAPS, &map("a")).await;
    refused(&again, 409, "AlreadyExists", "object is being deleted: configmaps \"a\" already exists");
    cluster.patch(&path, "application/merge-patch+json", &json!({ "metadata": { "finalizers": null } })).await;
    refused(&cluster.get(&path).await, 404, "NotFound", "");

    cluster.post("/api/v1/namespaces", &json!({ "metadata": { "name": "room" } })).await;
    let leaving = cluster.delete("/api/v1/namespaces/room", None).await.json;
    assert_eq!(leaving["status"]["phase"], "Terminating");
    let mut empty = cluster.get("/api/v1/namespaces/room").await.json;
    empty["spec"]["finalizers"] = json!([]);
    cluster.put("/api/v1/namespaces/room/finalize", &empty).await;
    refused(&cluster.get("/api/v1/namespaces/room").await, 404, "NotFound", "");
}

#[tokio::test]
async fn workloads_are_scaled_and_services_addressed() {
    let cluster = Cluster::start().await;
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let web = json!({
        "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } },
        },
    });
    let created = cluster.post(deployments, &web).await;
    assert_eq!(created.code, StatusCode::CREATED, "{}", created.json);
    let scale = format!("{deployments}/web/scale");
    assert_eq!(cluster.get(&scale).await.json["spec"]["replicas"], 1);
    let scaled = cluster.patch(&scale, "application/merge-patch+json", &json!({ "spec": { "replicas": 3 } })).await;
    assert_eq!(scaled.json["spec"]["replicas"], 3, "{}", scaled.json);
    assert_eq!(cluster.get(&format!("{deployments}/web")).await.json["spec"]["replicas"], 3);

    let services = "/api/v1/namespaces/default/services";
    let service = |name: &str, address: &str| {
        let mut out = json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }] } });
        if !address.is_empty() {
            out["spec"]["clusterIP"] = address.into();
        }
        out
    };
    let first = cluster.post(services, &service("a", "10.96.0.77")).await;
    assert_eq!(first.json["spec"]["clusterIPs"], json!(["10.96.0.77"]), "{}", first.json);
    let taken = cluster.post(services, &service("b", "10.96.0.77")).await;
    refused(&taken, 422, "Invalid", "provided IP is already allocated");
    let any = cluster.post(services, &service("b", "")).await;
    assert!(any.json["spec"]["clusterIP"].as_str().unwrap().starts_with("10.96."), "{}", any.json);
    cluster.delete(&format!("{services}/a"), None).await;
    assert_eq!(cluster.post(services, &service("c", "10.96.0.77")).await.code, StatusCode::CREATED);
}

#[tokio::test]
async fn plain_paths_answer() {
    let cluster = Cluster::start().await;
    for path in ["/livez", "/readyz", "/healthz", "/readyz/store"] {
        assert_eq!(cluster.get(path).await.text, "ok", "{path}");
    }
    assert!(cluster.get("/readyz?verbose").await.text.ends_with("readyz check passed\n"));
    assert_eq!(cluster.get("/version").await.json["minor"], "35");
    assert_eq!(cluster.get("/api").await.json["versions"], json!(["v1"]));
    assert_eq!(cluster.get("/apis/apps/v1").await.json["kind"], "APIResourceList");
    let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let aggregated = cluster.accept("/apis", discovery).await;
    assert_eq!(aggregated.json["kind"], "APIGroupDiscoveryList");
    assert!(aggregated.headers.contains_key(http::header::ETAG));
    assert!(cluster.get("/openapi/v3").await.json["paths"]["api/v1"].is_object());
    let metrics = cluster.get("/metrics").await.text;
    assert!(metrics.contains("apiserver_storage_objects{resource=\"pods\"} 0"), "{metrics}");
    assert!(metrics.contains("apiserver_request_total{"), "{metrics}");
}

#[tokio::test]
async fn fenced_writes_need_their_lease() {
    let cluster = Cluster::start().await;
    let lease = json!({ "metadata": { "name": "l" }, "spec": { "holderIdentity": "me", "leaseTransitions": 3 } });
    cluster.post("/apis/coordination.k8s.io/v1/namespaces/default/leases", &lease).await;
    let held = cluster.fenced(MAPS, &map("a"), "default/l/me/3").await;
    assert_eq!(held.code, StatusCode::CREATED);
    refused(&cluster.fenced(MAPS, &map("b"), "default/l/me/2").await, 409, "Conflict", "fenced");
    refused(&cluster.fenced(MAPS, &map("b"), "default/l/you/3").await, 409, "Conflict", "fenced");
}

#[tokio::test]
async fn mistakes_are_told_as_kubernetes_tells_them() {
    let cluster = Cluster::start().await;
    let asked = cluster.post(&format!("{MAPS}?fieldValidation=Hard"), &map("a")).await;
    let why = "CreateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Hard\"";
    refused(&asked, 422, "Invalid", why);
    // The namespace is looked at before the object is.
    let nowhere = "/api/v1/namespaces/nowhere/configmaps";
    refused(&cluster.post(nowhere, &map("Bad Name")).await, 404, "NotFound", "namespaces \"nowhere\" not found");
    cluster.post(MAPS, &map("a")).await;
    let mut wrong = map("a");
    wrong["metadata"]["resourceVersion"] = "abc".into();
    let put = cluster.put(&format!("{MAPS}/a"), &wrong).await;
    refused(&put, 400, "BadRequest", "strconv.ParseUint: parsing \"abc\": invalid syntax");
    let typed = cluster.post(MAPS, &json!({"metadata": {"name": "b"}, "data": {"a": 1}})).await;
    let why = "json: cannot unmarshal number into Go struct field ConfigMap.data of type string";
    refused(&typed, 400, "BadRequest", why);
    let unknown = cluster.get(&format!("{MAPS}?fieldSelector=data.a%3D1")).await;
    refused(&unknown, 400, "BadRequest", "\"data.a\" is not a known field selector: only \"metadata.name\"");
    // What Go leaves out when it is empty is not kept empty.
    let node = json!({"metadata": {"name": "n", "labels": {}}, "spec": {"podCIDRs": []}});
    let node = cluster.post("/api/v1/nodes", &node).await;
    assert_eq!(
        (node.code.as_u16(), node.json["spec"].get("podCIDRs"), node.json["metadata"].get("labels")),
        (201, None, None)
    );
}

#[tokio::test]
async fn reviews_are_listed_and_answered() {
    let cluster = Cluster::start().await;
    let list = cluster.get("/apis/authentication.k8s.io/v1").await;
    assert_eq!(list.json["resources"][1]["name"], "tokenreviews");
    let who = cluster.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await;
    assert_eq!((who.code.as_u16(), &who.json["kind"]), (201, &json!("SelfSubjectReview")));
    assert_eq!(who.json["status"]["userInfo"]["username"], "kubernetes-admin");
    let token = json!({"spec": {"token": "nobody's"}});
    let token = cluster.post("/apis/authentication.k8s.io/v1/tokenreviews", &token).await;
    assert!(token.json["status"]["error"].as_str().unwrap().starts_with("invalid bearer token"), "{}", token.json);
    let base = "/apis/authorization.k8s.io/v1";
    let rules = json!({"spec": {"namespace": "default"}});
    let rules = cluster.post(&format!("{base}/selfsubjectrulesreviews"), &rules).await;
    let all = json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]});
    assert!(rules.json["status"]["resourceRules"].as_array().unwrap().contains(&all), "{}", rules.json);
    assert_eq!(rules.json["status"]["incomplete"], false);
    let none = cluster.post(&format!("{base}/selfsubjectrulesreviews"), &json!({})).await;
    refused(&none, 400, "BadRequest", "no namespace on request");
    let may = json!({"spec": {"user": "ann", "resourceAttributes": {"namespace": "default", "verb": "get", "resource": "pods"}}});
    let local = cluster.post(&format!("{base}/namespaces/default/localsubjectaccessreviews"), &may).await;
    assert_eq!((local.code.as_u16(), &local.json["status"]["allowed"]), (201, &json!(false)));
    let elsewhere = cluster.post(&format!("{base}/namespaces/x/localsubjectaccessreviews"), &may).await;
    refused(&elsewhere, 422, "Invalid", "must match metadata.namespace");
    assert_eq!(cluster.get(&format!("{base}/subjectaccessreviews")).await.code.as_u16(), 405);
    let explained = cluster.get("/openapi/v3/apis/authorization.k8s.io/v1").await;
    assert!(explained.json["components"]["schemas"]["io.k8s.api.authorization.v1.SubjectAccessReview"].is_object());
}
