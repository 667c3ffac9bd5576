//! Connectors through the stages before them: a token that is then believed, and a log from an agent over TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use orlop_api::status::Status;
use orlop_store::memory::Memory;
use orlop_store::{Commit, Expect};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::authenticate::{Credentials, Found, Objects};
use crate::authorize::Policy;
use crate::pki::Names;
use crate::present::{Body, Response};
use crate::registry;
use crate::request::Request;
use crate::serve::tls::Identification;
use crate::serve::{Limits, Listener};
use crate::stage::{self, Authenticator, Authorized, Identity, Peer};

/// A cache that has seen nothing: everything is found in the store.
struct Unseen;

impl Objects for Unseen {
    fn find(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Found> {
        None
    }
}

struct Scene {
    pki: Pki,
    issuer: Arc<Issuer>,
    sight: Sight,
    connectors: Vec<Arc<dyn Connector>>,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = orlop_client::clock::now();
        let pki = Pki::open(dir.path(), &Names::default(), "10.96.0.1".parse().unwrap(), now).unwrap();
        let issuer = Arc::new(Issuer::new(&pki.service_account).unwrap());
        let sight = Sight { objects: Arc::new(Unseen), store: Arc::new(Memory::default()) };
        let connectors = connectors(&pki, &issuer, &sight, &[]).unwrap();
        Scene { pki, issuer, sight, connectors, _dir: dir }
    }

    async fn put(&self, kind: &str, object: Value) {
        let kind = registry::named("", kind).unwrap();
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        let key = kind.key(&text("namespace"), &text("name")).into();
        let value = Some(Bytes::from(object.to_string()));
        self.sight.store.commit(Commit { key, expect: Expect::Absent, value }).await.unwrap();
    }

    async fn ask(&self, user: &str, method: &str, path: &str, body: Value) -> Result<Response, Status> {
        let authorized = authorized(user, method, path);
        let sub = path.split('?').next().unwrap().rsplit('/').next().unwrap();
        let connector = self.connectors.iter().find(|it| it.serves().1.segment() == sub).unwrap();
        connector.connect(&authorized, Bytes::from(body.to_string())).await
    }
}

/// A request that has come through the stages, of a user who may do everything.
fn authorized(user: &str, method: &str, path: &str) -> Authorized {
    let (head, ()) = http::Request::builder().method(method).uri(path).body(()).unwrap().into_parts();
    let identity = Some(Arc::new(Identity::new(user, &["system:masters", "system:nodes"])));
    let peer = Peer { identity, ..Peer::default() };
    let known = stage::authenticate(Request::parse(head, &Default::default()).unwrap(), &peer, &Believes).unwrap();
    stage::authorize(known, &Policy::default()).unwrap()
}

struct Believes;

impl Authenticator for Believes {
    fn authenticate(&self, _: &HeaderMap, peer: &Peer) -> Result<Option<Arc<Identity>>, String> {
        Ok(peer.identity.clone())
    }

    fn review(&self, _: &str, _: &[String]) -> Result<Option<(Arc<Identity>, Vec<String>)>, String> {
        Ok(None)
    }
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_token_that_was_given_is_believed() {
    let it = Scene::new();
    it.put("ServiceAccount", json!({"metadata":{"namespace":"d","name":"bot","uid":"sa"}})).await;
    it.put("Pod", json!({"metadata":{"namespace":"d","name":"p","uid":"pod"},"spec":{"serviceAccountName":"bot","nodeName":"n1"}})).await;
    it.put("Pod", json!({"metadata":{"namespace":"d","name":"q","uid":"q"},"spec":{"serviceAccountName":"other"}}))
        .await;
    let path = "/api/v1/namespaces/d/serviceaccounts/bot/token";
    let bound = |name: &str| json!({"spec":{"boundObjectRef":{"kind":"Pod","apiVersion":"v1","name":name}}});
    let check = async |user: &str, path: &str, body: Value, expected: Result<(), u16>| match (
        it.ask(user, "POST", path, body).await,
        expected,
    ) {
        (Ok(response), Ok(())) => {
            assert_eq!(response.status(), StatusCode::CREATED);
            let answer: Value = serde_json::from_str(&text(response).await).unwrap();
            answer["status"]["token"].as_str().unwrap().to_owned()
        }
        (Err(status), Err(code)) => {
            assert_eq!(status.code(), code, "{status}");
            String::new()
        }
        (got, expected) => panic!("{got:?} is not {expected:?}"),
    };
    let token = check("admin", path, json!({}), Ok(())).await;
    check("admin", path, bound("p"), Ok(())).await;
    check("admin", path, bound("q"), Err(400)).await;
    check("admin", path, bound("missing"), Err(404)).await;
    check("admin", "/api/v1/namespaces/d/serviceaccounts/none/token", json!({}), Err(404)).await;
    check("admin", path, json!({"spec":{"expirationSeconds":5}}), Err(422)).await;
    // A node gets tokens for the pods that run on it, and no others.
    check("system:node:n1", path, bound("p"), Ok(())).await;
    check("system:node:n1", path, json!({}), Err(403)).await;
    check("system:node:n2", path, bound("p"), Err(403)).await;
    struct Account;
    impl Objects for Account {
        fn find(&self, _: &str, kind: &str, _: &str, name: &str) -> Option<Found> {
            (kind == "ServiceAccount" && name == "bot").then(|| Found {
                uid: "sa".to_owned(),
                deleting: false,
                json: Bytes::from_static(b"{}"),
            })
        }
    }
    let credentials = Credentials::new(None, it.issuer.clone(), Arc::new(Account)).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    let known = credentials.authenticate(&headers, &Peer::default()).unwrap().unwrap();
    assert_eq!(known.user, "system:serviceaccount:d:bot");
}

/// An agent that tells who asked and for what; its log has a second line once it is let go.
#[derive(Clone)]
struct Agent(Arc<Notify>);

impl tower_service::Service<http::Request<hyper::body::Incoming>> for Agent {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> Self::Future {
        let peer = request.extensions().get::<Arc<Peer>>().unwrap();
        let user = peer.identity.as_ref().map_or("nobody", |it| it.user.as_str());
        if request.uri().path().ends_with("/waiting") {
            let text = "container \"waiting\" in pod \"p\" is waiting to start: ContainerCreating";
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            return std::future::ready(Ok(response));
        }
        let first = format!("{user} {}\n", request.uri());
        let go = self.0.clone();
        let lines = stream::unfold(Some(first), move |line| {
            let go = go.clone();
            async move {
                match line {
                    Some(line) => Some((Ok(Bytes::from(line)), None)),
                    None => {
                        go.notified().await;
                        None
                    }
                }
            }
        });
        std::future::ready(Ok(Response::new(Body::pieces(lines))))
    }
}

#[tokio::test]
async fn a_log_comes_from_the_agent_as_it_is_written() {
    let it = Scene::new();
    let now = orlop_client::clock::now();
    let serving = |pki: &Pki, node: &str| {
        let files = pki.write_node(node, &[], "https://127.0.0.1:1", now).unwrap();
        let read = |path: std::path::PathBuf| std::fs::read_to_string(path).unwrap();
        crate::pki::Pair { certificate: read(files.certificate), key: read(files.key) }
    };
    let (go, stop) = (Arc::new(Notify::new()), CancellationToken::new());
    let start = async |serving: crate::pki::Pair| -> SocketAddr {
        let tls = Arc::new(Identification::new(it.pki.ca(), &serving).unwrap());
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.address();
        tokio::spawn(listener.run(tls, Limits::default(), Agent(go.clone()), stop.clone()));
        address
    };
    let good = start(serving(&it.pki, "n1")).await;
    let stranger = start(serving(&Scene::new().pki, "n2")).await;
    // A port that nobody listens on any more.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (node, address) in [("n1", good), ("n2", stranger), ("n3", closed)] {
        it.put(
            "Node",
            json!({"metadata":{"name":node,"uid":node},"status":{
            "addresses":[{"type":"InternalIP","address":"127.0.0.1"}],
            "daemonEndpoints":{"kubeletEndpoint":{"Port":address.port()}}}}),
        )
        .await;
        let containers = json!([{"name":"c"},{"name":"waiting"}]);
        it.put(
            "Pod",
            json!({"metadata":{"namespace":"d","name":format!("on-{node}"),"uid":node},
            "spec":{"nodeName":node,"containers":containers}}),
        )
        .await;
    }
    let log =
        async |path: &str| it.ask("admin", "GET", &format!("/api/v1/namespaces/d/pods/{path}"), Value::Null).await;

    let response = log("on-n1/log?container=c&follow=true&tailLines=3").await.unwrap();
    let mut body = response.into_body();
    // The first line is here while the agent still writes.
    let line = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(line, "kube-apiserver-kubelet-client /containerLogs/d/on-n1/c?follow=true&tailLines=3\n");
    go.notify_one();
    assert!(body.frame().await.is_none());

    let check = async |path: &str, code: u16, expected: &str| {
        let status = log(path).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message.contains(expected), "{status}");
    };
    check("on-n1/log?container=waiting", 400, "is waiting to start: ContainerCreating").await;
    check("on-n1/log", 400, "choose one of: [c waiting]").await;
    check("on-n1/log?container=x", 400, "container x is not valid for pod on-n1").await;
    check("none/log", 404, "pods \"none\" not found").await;
    check("on-n2/log?container=c", 500, "tls: ").await;
    check("on-n3/log?container=c", 500, "connect: connection refused").await;
    stop.cancel();
}
