//! What runs in the cluster, reached through the server: where names lead, who may, and an agent that answers.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use orlop_apiserver::pki::Pair;
use orlop_apiserver::present::{Body, Response};
use orlop_apiserver::serve::tls::Identification;
use orlop_apiserver::serve::{Limits, Listener};
use orlop_apiserver::stage::Peer;
use serde_json::{Value, json};

use crate::support::Cluster;

/// Tells who asked for what.
#[derive(Clone)]
struct Agent;

impl tower_service::Service<Request<hyper::body::Incoming>> for Agent {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<hyper::body::Incoming>) -> Self::Future {
        let peer = request.extensions().get::<Arc<Peer>>().unwrap();
        let user = peer.identity.as_ref().map_or("nobody", |it| it.user.as_str());
        ready(Ok(Response::new(Body::from(format!("{user} {} {}", request.method(), request.uri())))))
    }
}

async fn patch_status(cluster: &Cluster, path: &str, status: &Value) {
    let patch = json!({ "status": status });
    let answer = cluster.patch(&format!("{path}/status"), "application/merge-patch+json", &patch).await;
    assert_eq!(answer.code, 200, "{}", answer.text);
}

#[tokio::test]
async fn agents_answer_through_their_nodes() {
    let cluster = Cluster::start().await;
    let pki = cluster.server.pki();
    let files = pki.write_node("n1", &[], "https://127.0.0.1:1", orlop_client::clock::now()).unwrap();
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
    let serving = Pair { certificate: read(files.certificate), key: read(files.key) };
    let tls = Arc::new(Identification::new(pki.ca(), &serving).unwrap());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let port = listener.address().port();
    tokio::spawn(listener.run(tls, Limits::default(), Agent, cluster.stop.clone()));
    cluster.post("/api/v1/nodes", &json!({ "metadata": { "name": "n1" } })).await;
    let status = json!({
        "addresses": [{ "type": "InternalIP", "address": "127.0.0.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": port } },
    });
    patch_status(&cluster, "/api/v1/nodes/n1", &status).await;
    for name in ["n1".to_owned(), format!("n1:{port}"), format!("https:n1:{port}")] {
        let answer = cluster.get(&format!("/api/v1/nodes/{name}/proxy/pods?x=1")).await;
        assert_eq!(answer.text, "kube-apiserver-kubelet-client GET /pods?x=1", "{name}");
    }
    let posted = cluster.post("/api/v1/nodes/n1/proxy/run", &json!({})).await;
    assert_eq!(posted.text, "kube-apiserver-kubelet-client POST /run");
    let redirect = cluster.get("/api/v1/nodes/n1/proxy?x=1").await;
    assert_eq!(redirect.code, 301);
    assert_eq!(redirect.headers["location"], "/api/v1/nodes/n1/proxy/?x=1");
    // Other ports of the machine itself are nobody's business.
    let other = cluster.get("/api/v1/nodes/n1:22/proxy/").await;
    assert_eq!((other.code.as_u16(), &other.json["message"]), (400, &json!("address not allowed")));
    let refused = cluster.send_as("jane", Request::get("/api/v1/nodes/n1/proxy/pods").body(Vec::new()).unwrap()).await;
    assert_eq!(refused.code, 403);
    assert!(refused.text.contains("cannot get resource \\\"nodes/proxy\\\""), "{}", refused.text);
}

#[tokio::test]
async fn names_that_lead_nowhere_are_told() {
    let cluster = Cluster::start().await;
    let in_room = |rest: &str| format!("/api/v1/namespaces/default/{rest}");
    let pod = json!({ "metadata": { "name": "web" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    assert_eq!(cluster.post(&in_room("pods"), &pod).await.code, 201);
    patch_status(&cluster, &in_room("pods/web"), &json!({ "podIP": "127.0.0.1", "podIPs": [{ "ip": "127.0.0.1" }] }))
        .await;
    let service = json!({ "metadata": { "name": "web" }, "spec": { "ports": [{ "name": "http", "port": 80 }] } });
    assert_eq!(cluster.post(&in_room("services"), &service).await.code, 201);
    let endpoints = json!({ "metadata": { "name": "web" } });
    assert_eq!(cluster.post(&in_room("endpoints"), &endpoints).await.code, 201);
    for (path, code, message) in [
        ("pods/none/proxy/", 404, "pods \"none\" not found"),
        ("pods/web/proxy/", 400, "address not allowed"),
        ("pods/ftp:web:21/proxy/", 400, "invalid pod request \"ftp:web:21\""),
        ("services/none/proxy/", 404, "endpoints \"none\" not found"),
        ("services/web:81/proxy/", 503, "no service port 81 found for service \"web\""),
        ("services/web:80/proxy/", 503, "no endpoints available for service \"web\""),
        ("services/a:b:c:d/proxy/", 400, "invalid service request \"a:b:c:d\""),
    ] {
        let answer = cluster.get(&in_room(path)).await;
        assert_eq!((answer.code.as_u16(), answer.json["message"].as_str().unwrap()), (code, message), "{path}");
    }
    assert_eq!(cluster.get(&in_room("configmaps/x/proxy/")).await.code, 404);
}
