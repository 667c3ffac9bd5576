//! A server over the memory store, asked in process.

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use orlop_apiserver::{Config, Server};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// What a request was answered.
pub struct Answer {
    pub code: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
    /// Null if the answer is no JSON.
    pub json: Value,
}

/// One server in a directory of its own.
pub struct Cluster {
    pub server: Server,
    pub stop: CancellationToken,
    client: kube::Client,
    _dir: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Cluster {
    /// A server with the namespace `default` and its service account.
    pub async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let stop = CancellationToken::new();
        let server = Server::start(Config::new("memory", dir.path()), stop.clone()).await.unwrap();
        let client = server.client("kubernetes-admin", &["system:masters"]);
        let cluster = Cluster { server, stop, client, _dir: dir };
        let room = serde_json::json!({ "metadata": { "name": "default" } });
        cluster.post("/api/v1/namespaces", &room).await;
        cluster.post("/api/v1/namespaces/default/serviceaccounts", &room).await;
        cluster
    }

    /// Sends a request; the answer is read to its end.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Answer {
        answer(&self.client, request).await
    }

    /// Sends a request as somebody who is no administrator.
    pub async fn send_as(&self, user: &str, request: Request<Vec<u8>>) -> Answer {
        answer(&self.server.client(user, &[]), request).await
    }

    async fn with_body(&self, method: Method, path: &str, content_type: &str, body: Vec<u8>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !content_type.is_empty() {
            request = request.header(http::header::CONTENT_TYPE, content_type);
        }
        self.send(request.body(body).unwrap()).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.with_body(Method::GET, path, "", Vec::new()).await
    }

    pub async fn accept(&self, path: &str, accept: &str) -> Answer {
        let request = Request::get(path).header(http::header::ACCEPT, accept);
        self.send(request.body(Vec::new()).unwrap()).await
    }

    pub async fn post(&self, path: &str, object: &Value) -> Answer {
        self.with_body(Method::POST, path, "application/json", object.to_string().into()).await
    }

    pub async fn fenced(&self, path: &str, object: &Value, fence: &str) -> Answer {
        let request = Request::post(path).header("Orlop-Fence", fence);
        self.send(request.body(object.to_string().into()).unwrap()).await
    }

    pub async fn put(&self, path: &str, object: &Value) -> Answer {
        self.with_body(Method::PUT, path, "application/json", object.to_string().into()).await
    }

    pub async fn patch(&self, path: &str, content_type: &str, patch: &Value) -> Answer {
        self.with_body(Method::PATCH, path, content_type, patch.to_string().into()).await
    }

    pub async fn delete(&self, path: &str, options: Option<&Value>) -> Answer {
        let body = options.map(|it| it.to_string().into_bytes()).unwrap_or_default();
        self.with_body(Method::DELETE, path, "application/json", body).await
    }

    pub async fn raw(&self, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        self.with_body(method.parse().unwrap(), path, content_type, body.as_bytes().to_vec()).await
    }

    /// Opens a watch; its lines come one by one.
    pub async fn watch(&self, path: &str) -> Lines {
        let request = Request::get(path).body(kube::client::Body::empty()).unwrap();
        let response = self.client.send(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let pieces = response.into_body().into_data_stream().map(|it| it.unwrap());
        Lines { pieces: pieces.boxed(), held: Vec::new() }
    }
}

async fn answer(client: &kube::Client, request: Request<Vec<u8>>) -> Answer {
    let response = client.send(request.map(kube::client::Body::from)).await.unwrap();
    let (head, body) = response.into_parts();
    let text = String::from_utf8_lossy(&body.collect().await.unwrap().to_bytes()).into_owned();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Answer { code: head.status, headers: head.headers, text, json }
}

/// The lines of a watch.
pub struct Lines {
    pieces: futures::stream::BoxStream<'static, Bytes>,
    held: Vec<u8>,
}

impl Lines {
    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.held.iter().position(|it| *it == b'\n') {
                let line: Vec<u8> = self.held.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            self.held.extend_from_slice(&self.pieces.next().await?);
        }
    }
}
