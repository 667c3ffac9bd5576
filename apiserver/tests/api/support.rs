//! A server over the memory store, asked in process.

use bytes::Bytes;
use futures::StreamExt;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use orlop_apiserver::serve::tls;
use orlop_apiserver::{Config, Server};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;

/// What a request was answered.
pub struct Answer {
    pub code: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Bytes,
    pub text: String,
    /// Null if the answer is no JSON.
    pub json: Value,
}

/// One server in a directory of its own.
pub struct Cluster {
    pub server: Server,
    pub stop: CancellationToken,
    client: kube::Client,
    store: String,
    dir: Option<tempfile::TempDir>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Cluster {
    /// A server with the namespace `default` and its service account.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A server that listens on loopback, too.
    pub async fn listening() -> Self {
        Self::start_with(|config| config.listen = "127.0.0.1:0".parse().ok()).await
    }

    /// A server whose services have addresses out of these ranges.
    pub async fn with_services(ranges: &str) -> Self {
        Self::start_with(|config| config.service_cidr = ranges.parse().unwrap()).await
    }

    async fn start_with(configure: impl Fn(&mut Config)) -> Self {
        let cluster = Self::open_in("memory", tempfile::tempdir().unwrap(), configure).await;
        let room = serde_json::json!({ "metadata": { "name": "default" } });
        cluster.post("/api/v1/namespaces", &room).await;
        cluster.post("/api/v1/namespaces/default/serviceaccounts", &room).await;
        cluster
    }

    /// A server over this kind of store, with what it makes itself.
    pub async fn open(store: &str) -> Self {
        Self::open_in(store, tempfile::tempdir().unwrap(), |_| {}).await
    }

    async fn open_in(store: &str, dir: tempfile::TempDir, configure: impl Fn(&mut Config)) -> Self {
        let stop = CancellationToken::new();
        let start = async || {
            let mut config = Config::new(store, dir.path());
            configure(&mut config);
            Server::start(config, stop.clone()).await
        };
        // A client's last task may hold the store of the server before for a moment.
        let mut tries = 0;
        let server = loop {
            match start().await {
                Ok(server) => break server,
                Err(error) if tries == 500 => panic!("{error}"),
                Err(_) => tries += 1,
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        };
        let client = server.client("kubernetes-admin", &["system:masters"]);
        Cluster { server, stop, client, store: store.to_owned(), dir: Some(dir) }
    }

    /// Stops the server in good order and starts another over what it has left.
    pub async fn restart(mut self) -> Self {
        let dir = self.dir.take().unwrap();
        self.stop.cancel();
        self.server.stopped().await;
        let store = std::mem::take(&mut self.store);
        drop(self);
        Self::open_in(&store, dir, |_| {}).await
    }

    /// Sends a request; the answer is read to its end.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Answer {
        answer(&self.client, request).await
    }

    /// Sends a request as somebody who is no administrator.
    pub async fn send_as(&self, user: &str, request: Request<Vec<u8>>) -> Answer {
        answer(&self.server.client(user, &[]), request).await
    }

    /// Asks with a bearer token, as one who comes over the network would.
    pub async fn with_token(&self, token: &str, path: &str) -> Answer {
        let request = Request::get(path).header(http::header::AUTHORIZATION, format!("Bearer {token}"));
        let response =
            self.server.pipeline().handle(request.body(http_body_util::Empty::<Bytes>::new()).unwrap()).await;
        read(response).await
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

    /// A connection of the administrator's to a server that listens, for HTTP/1.1 written by hand.
    pub async fn connection(&self) -> TlsStream<TcpStream> {
        self.connection_as("kubernetes-admin", "system:masters", orlop_client::clock::now()).await
    }

    /// The same of a user of a group, by a certificate that was made at this time.
    pub async fn connection_as(&self, user: &str, group: &str, issued: jiff::Timestamp) -> TlsStream<TcpStream> {
        let pki = self.server.pki();
        let pair = pki.issue_client(user, &[group], issued).unwrap();
        let (chain, key) = tls::chain(&pair).unwrap();
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(tls::roots(pki.ca()).unwrap())
            .with_client_auth_cert(chain, key)
            .unwrap();
        let stream = TcpStream::connect(self.server.address().unwrap()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream).await.unwrap()
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
    read(client.send(request.map(kube::client::Body::from)).await.unwrap()).await
}

async fn read<B>(response: http::Response<B>) -> Answer
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::fmt::Debug,
{
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Answer { code: head.status, headers: head.headers, bytes, text, json }
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
