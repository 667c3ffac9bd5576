//! Secrets at rest: what a start, a restart, a lost key and an older data directory do to them.

use std::path::Path;

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use orlop_apiserver::{Config, Server};
use orlop_store::Revision;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// A server over the embedded store of a directory.
struct Running {
    server: Server,
    stop: CancellationToken,
}

impl Running {
    async fn start(dir: &Path, provider_config: Option<&Path>) -> Self {
        let stop = CancellationToken::new();
        let mut config = Config::new("embedded", dir);
        config.encryption_provider_config = provider_config.map(Path::to_owned);
        let server = Server::start(config, stop.clone()).await.unwrap();
        Running { server, stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.server.stopped().await;
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let client = self.server.client("kubernetes-admin", &["system:masters"]);
        let response = client.send(request.body(kube::client::Body::from(body)).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (head.status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    async fn make(&self, plural: &str, field: &str, text: &str) {
        let object = json!({"metadata": {"name": "a"}, field: {"password": text}});
        let path = format!("/api/v1/namespaces/default/{plural}");
        let (code, answer) = self.send(Method::POST, &path, &object).await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");
    }
}

const SECRET: &str = "/api/v1/namespaces/default/secrets/a";
const MAP: &str = "/api/v1/namespaces/default/configmaps/a";

/// Whether a text stands in any file of the store.
fn stands_on_disk(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir.join("store")).unwrap().map(|it| it.unwrap().path());
    files.filter(|it| it.is_file()).any(|it| {
        let bytes = std::fs::read(it).unwrap();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[tokio::test]
async fn no_secret_stands_on_the_disk_and_a_lost_key_costs_secrets_only() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), None).await;
    running.make("secrets", "stringData", "correct horse battery staple").await;
    running.make("configmaps", "data", "in plain sight for everyone").await;
    let encoded = "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZQ==";
    let (code, read) = running.send(Method::GET, SECRET, &Value::Null).await;
    assert_eq!((code, read["data"]["password"].as_str()), (StatusCode::OK, Some(encoded)));
    running.stop().await;
    assert!(stands_on_disk(dir.path(), "in plain sight"), "the look must be able to find what is plain");
    for part in ["correct horse", encoded, "Y29ycmVjdCBob3JzZS"] {
        assert!(!stands_on_disk(dir.path(), part), "{part}");
    }

    // The key is found again.
    let running = Running::start(dir.path(), None).await;
    let (code, read) = running.send(Method::GET, SECRET, &Value::Null).await;
    assert_eq!((code, read["data"]["password"].as_str()), (StatusCode::OK, Some(encoded)));
    running.stop().await;

    // Without it the secret is an error that says why; everything else is served.
    std::fs::remove_file(dir.path().join("pki/encryption.yaml")).unwrap();
    let running = Running::start(dir.path(), None).await;
    let (code, read) = running.send(Method::GET, SECRET, &Value::Null).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    let expected = "Internal error occurred: unable to transform key \"/registry/secrets/default/a\": no matching key was found for the provided AES transformer";
    assert_eq!(read["message"], expected);
    let (code, _) = running.send(Method::GET, MAP, &Value::Null).await;
    assert_eq!(code, StatusCode::OK);
    // Nobody is told that it is gone: what lists it fails and names it, and what does not goes on.
    let state = "/api/v1/secrets?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=5";
    for path in ["/api/v1/secrets", "/api/v1/secrets?limit=5", "/api/v1/namespaces/default/secrets?resourceVersion=0"] {
        let (code, list) = running.send(Method::GET, path, &Value::Null).await;
        assert_eq!((code, &list["message"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(expected)), "{path}");
    }
    let (_, event) = running.send(Method::GET, state, &Value::Null).await;
    assert_eq!((&event["type"], &event["object"]["message"]), (&json!("ERROR"), &json!(expected)));
    let revision = |it: &Value| it["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    for path in
        ["/api/v1/namespaces/kube-system/secrets", "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name=b"]
    {
        let (code, list) = running.send(Method::GET, path, &Value::Null).await;
        assert_eq!((code, &list["items"]), (StatusCode::OK, &json!([])), "{path}");
        let path = format!("{path}{}resourceVersion={}", if path.contains('?') { "&" } else { "?" }, revision(&list));
        let (code, _) = running.send(Method::GET, &format!("{path}&resourceVersionMatch=Exact"), &Value::Null).await;
        assert_eq!(code, if path.contains("default") { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK });
    }
    let (code, answer) = running.send(Method::DELETE, SECRET, &Value::Null).await;
    assert_eq!((code, &answer["message"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!(expected)));
    // Pages come up to the one that lacks it.
    for namespace in ["a", "z"] {
        let made = json!({"metadata": {"name": namespace}});
        running.send(Method::POST, "/api/v1/namespaces", &made).await;
        let secret = json!({"metadata": {"name": "s"}});
        let path = format!("/api/v1/namespaces/{namespace}/secrets");
        let (code, answer) = running.send(Method::POST, &path, &secret).await;
        assert_eq!(code, StatusCode::CREATED, "{answer}");
    }
    let (code, first) = running.send(Method::GET, "/api/v1/secrets?limit=1", &Value::Null).await;
    assert_eq!((code, &first["items"][0]["metadata"]["namespace"]), (StatusCode::OK, &json!("a")));
    let rest = format!("/api/v1/secrets?limit=1&continue={}", first["metadata"]["continue"].as_str().unwrap());
    let (code, _) = running.send(Method::GET, &rest, &Value::Null).await;
    assert_eq!(code, StatusCode::INTERNAL_SERVER_ERROR);
    let (code, _) = running.send(Method::GET, "/api/v1/namespaces/default/secrets/b", &Value::Null).await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    running.stop().await;
}

#[tokio::test]
async fn plain_secrets_of_old_are_encrypted_by_their_next_write() {
    let dir = tempfile::tempdir().unwrap();
    let plain = dir.path().join("plain.yaml");
    let text = "{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: [{resources: [secrets], providers: [{identity: {}}]}]}";
    std::fs::write(&plain, text).unwrap();
    let running = Running::start(dir.path(), Some(&plain)).await;
    running.make("secrets", "stringData", "correct horse").await;
    running.stop().await;

    let running = Running::start(dir.path(), None).await;
    let (_, read) = running.send(Method::GET, SECRET, &Value::Null).await;
    let revision = |it: &Value| Revision(it["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap());
    let store = running.server.pipeline().core().store.clone();
    assert!(store.is_stale("/registry/secrets/default/a", revision(&read)));
    let (code, written) = running.send(Method::PUT, SECRET, &read).await;
    assert_eq!(code, StatusCode::OK);
    assert!(revision(&written) > revision(&read), "a write without a change writes it anew all the same");
    let (_, again) = running.send(Method::PUT, SECRET, &written).await;
    assert_eq!(revision(&again), revision(&written), "and the next does not");
    running.stop().await;
}
