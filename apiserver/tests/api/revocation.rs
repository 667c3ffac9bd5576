//! Certificates of nodes that are revoked, who may revoke, and what nodes and those who join may do.

use std::time::Duration;

use http::Request;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::{Answer, Cluster};

const MAPS: &str = "/api/v1/namespaces/kube-system/configmaps";
const REVOKED: &str = "/api/v1/namespaces/kube-system/configmaps/orlop-revoked-nodes";
const MERGE: &str = "application/merge-patch+json";

/// The code of the answer to a request for a path.
async fn code(stream: &mut TlsStream<TcpStream>, path: &str) -> u16 {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    String::from_utf8_lossy(&start[9..]).parse().unwrap()
}

async fn write_as(cluster: &Cluster, user: &str, method: &str, path: &str, content: &str, body: &Value) -> Answer {
    let request = Request::builder().method(method).uri(path).header("content-type", content);
    cluster.send_as(user, request.body(body.to_string().into_bytes()).unwrap()).await
}

#[tokio::test]
async fn a_revoked_node_is_out_until_it_has_another_certificate() {
    let cluster = Cluster::listening().await;
    let now = orlop_client::clock::now();
    let before = now - SignedDuration::from_secs(60);
    let (node, other) = ("system:node:n1", "system:node:n2");
    for name in ["n1", "n2"] {
        cluster.post("/api/v1/nodes", &json!({ "metadata": { "name": name } })).await;
    }
    let mut watching = cluster.connection_as(node, "system:nodes", before).await;
    let watch = "/api/v1/nodes?watch=true&fieldSelector=metadata.name%3Dn1";
    assert_eq!(code(&mut watching, watch).await, 200);
    let mut of_other = cluster.connection_as(other, "system:nodes", before).await;
    assert_eq!(code(&mut of_other, watch.replace("n1", "n2").as_str()).await, 200);

    let revoked =
        cluster.post(MAPS, &json!({ "metadata": { "name": "orlop-revoked-nodes" }, "data": { "n1": "" } })).await;
    assert_eq!(revoked.code, 201, "{}", revoked.text);
    let at: jiff::Timestamp = revoked.json["data"]["n1"].as_str().unwrap().parse().unwrap();
    assert!(now.duration_since(at).as_secs().abs() < 60, "the server puts its own time there: {at}");

    // What was open is closed, and what is opened anew says nothing any more.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(30), watching.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the watch of the revoked node goes on");
    let mut again = cluster.connection_as(node, "system:nodes", before).await;
    assert_eq!(code(&mut again, "/api/v1/nodes/n1").await, 401);
    // Made five minutes before its own time, as every certificate: that does not make it older than the revocation.
    let mut renewed = cluster.connection_as(node, "system:nodes", at + SignedDuration::from_secs(1)).await;
    assert_eq!(code(&mut renewed, "/api/v1/nodes/n1").await, 200);
    let mut untouched = cluster.connection_as(other, "system:nodes", before).await;
    assert_eq!(code(&mut untouched, "/api/v1/nodes/n2").await, 200);
}

#[tokio::test]
async fn revocations_hold_over_a_restart() {
    let cluster = Cluster::open("embedded").await;
    let body = json!({ "metadata": { "name": "orlop-revoked-nodes" }, "data": { "n1": "" } });
    assert_eq!(cluster.post(MAPS, &body).await.code, 201);
    let cluster = cluster.restart().await;
    assert_eq!(cluster.get(REVOKED).await.json["data"]["n1"].as_str().map(str::is_empty), Some(false));
}

#[tokio::test]
async fn only_who_may_revoke_nodes_writes_it_down() {
    let cluster = Cluster::start().await;
    // An editor of the namespace, as a team with the role `edit` in it would be.
    let binding = json!({ "metadata": { "name": "ann" }, "subjects": [{ "kind": "User", "name": "ann",
        "apiGroup": "rbac.authorization.k8s.io" }],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit" } });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/kube-system/rolebindings";
    assert_eq!(cluster.post(bindings, &binding).await.code, 201);
    let named = |name: &str| json!({ "metadata": { "name": name }, "data": { "n1": "" } });
    let refused = "configmaps \"orlop-revoked-nodes\" is forbidden: user not permitted to revoke nodes";
    let answer = write_as(&cluster, "ann", "POST", MAPS, "application/json", &named("orlop-revoked-nodes")).await;
    assert_eq!((answer.code.as_u16(), answer.json["message"].as_str()), (403, Some(refused)));
    let answer = write_as(&cluster, "ann", "POST", MAPS, "application/json", &named("hers")).await;
    assert_eq!(answer.code, 201, "{}", answer.text);

    assert_eq!(cluster.post(MAPS, &named("orlop-revoked-nodes")).await.code, 201);
    for (method, content, body) in [
        ("PATCH", MERGE, json!({ "data": { "n1": null } })),
        ("PATCH", MERGE, json!({ "metadata": { "labels": { "a": "b" } } })),
        ("PUT", "application/json", named("orlop-revoked-nodes")),
        ("DELETE", "application/json", json!({})),
    ] {
        let answer = write_as(&cluster, "ann", method, REVOKED, content, &body).await;
        assert_eq!((answer.code.as_u16(), answer.json["message"].as_str()), (403, Some(refused)), "{method}");
    }
    write_as(&cluster, "ann", "DELETE", MAPS, "application/json", &json!({})).await;
    assert_eq!(cluster.get(REVOKED).await.code, 200, "a deletion of all leaves it");

    // The controllers may, for nodes that leave.
    let controllers = "system:kube-controller-manager";
    let answer = write_as(&cluster, controllers, "PATCH", REVOKED, MERGE, &json!({ "data": { "n2": "" } })).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
    assert!(answer.json["data"]["n2"].as_str().is_some_and(|it| it.parse::<jiff::Timestamp>().is_ok()));
}

#[tokio::test]
async fn who_joins_may_no_more_than_that() {
    let cluster = Cluster::start().await;
    let secret = json!({ "metadata": { "name": "bootstrap-token-abcdef" }, "type": "bootstrap.kubernetes.io/token",
        "stringData": { "token-id": "abcdef", "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true" } });
    let made = cluster.post("/api/v1/namespaces/kube-system/secrets", &secret).await;
    assert_eq!(made.code, 201, "{}", made.text);
    cluster.post("/api/v1/nodes", &json!({ "metadata": { "name": "n1" } })).await;
    let token = "abcdef.0123456789abcdef";
    for (path, code) in [
        ("/api/v1/nodes/n1", 200),
        ("/api/v1/nodes", 403),
        ("/api/v1/namespaces/kube-system/secrets", 403),
        ("/apis/certificates.k8s.io/v1/certificatesigningrequests", 200),
    ] {
        let answer = cluster.with_token(token, path).await;
        assert_eq!(answer.code, code, "{path}: {}", answer.text);
    }
    let review = async |user: &str, group: &str, sub: &str| {
        let review = json!({ "spec": { "user": user, "groups": [group], "resourceAttributes": {
            "group": "certificates.k8s.io", "version": "v1", "resource": "certificatesigningrequests", "subresource": sub,
            "verb": "create" } } });
        let answer = cluster.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review).await;
        answer.json["status"]["allowed"] == true
    };
    assert!(review("system:bootstrap:abcdef", "system:bootstrappers", "nodeclient").await);
    assert!(!review("system:bootstrap:abcdef", "system:bootstrappers", "selfnodeclient").await);
    assert!(review("system:node:n1", "system:nodes", "selfnodeclient").await);
    assert!(!review("system:node:n1", "system:nodes", "nodeclient").await);
}

#[tokio::test]
async fn a_node_evicts_its_own_pods_and_no_others() {
    let cluster = Cluster::start().await;
    let node = cluster.server.client("system:node:n1", &["system:nodes"]);
    for (name, on) in [("mine", "n1"), ("other", "n2")] {
        let pod = json!({ "metadata": { "name": name }, "spec": { "nodeName": on,
            "containers": [{ "name": "a", "image": "a" }] } });
        let made = cluster.post("/api/v1/namespaces/default/pods", &pod).await;
        assert_eq!(made.code, 201, "{}", made.text);
    }
    let evict = async |name: &str| {
        let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name, "namespace": "default" } });
        let path = format!("/api/v1/namespaces/default/pods/{name}/eviction");
        let request = Request::post(path).header("content-type", "application/json");
        node.request::<Value>(request.body(body.to_string().into_bytes()).unwrap()).await
    };
    let refused = evict("other").await.unwrap_err().to_string();
    assert!(refused.contains("node \"n1\" can only evict pods with spec.nodeName set to itself"), "{refused}");
    evict("mine").await.unwrap();
    assert_eq!(
        cluster.get("/api/v1/namespaces/default/pods/other").await.json["metadata"]["deletionTimestamp"],
        Value::Null
    );
}
