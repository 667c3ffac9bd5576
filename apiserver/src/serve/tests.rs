//! Real connections on loopback: certificates good and bad, idle and slow peers, and the end in good order.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use super::*;
use crate::pki::{Names, Pair, Pki};
use crate::present::Body;

/// Answers with the peer's user; `/slow` waits until it is let go.
#[derive(Clone, Default)]
struct Echo {
    go: Arc<Notify>,
}

impl Service<http::Request<Incoming>> for Echo {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Incoming>) -> Self::Future {
        let go = self.go.clone();
        Box::pin(async move {
            if request.uri().path() == "/slow" {
                go.notified().await;
            }
            let peer = request.extensions().get::<Arc<Peer>>().expect("the listener adds the peer");
            let text = match (&peer.identity, &peer.refused) {
                (Some(identity), _) => format!("{} {:?}", identity.user, identity.groups),
                (None, Some(_)) => "refused".to_owned(),
                (None, None) => "nobody".to_owned(),
            };
            Ok(http::Response::new(Body::from(text)))
        })
    }
}

struct Scene {
    pki: Pki,
    address: SocketAddr,
    stop: CancellationToken,
    go: Arc<Notify>,
    ended: tokio::task::JoinHandle<()>,
    _dir: tempfile::TempDir,
}

async fn scene(limits: Limits) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let pki = pki(dir.path());
    let tls = Arc::new(Identification::new(pki.ca(), &pki.serving).unwrap());
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop, echo) = (listener.address(), CancellationToken::new(), Echo::default());
    let go = echo.go.clone();
    let ended = tokio::spawn(listener.run(tls, limits, echo, stop.clone()));
    Scene { pki, address, stop, go, ended, _dir: dir }
}

fn pki(dir: &std::path::Path) -> Pki {
    Pki::open(dir, &Names::default(), "10.96.0.1".parse().unwrap(), orlop_client::clock::now()).unwrap()
}

fn config(ca: &str, client: Option<&Pair>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(tls::roots(ca).unwrap());
    let mut config = match client {
        Some(pair) => {
            let (chain, key) = tls::chain(pair).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|it| it.to_vec()).collect();
    Arc::new(config)
}

impl Scene {
    async fn connect(&self, config: Arc<ClientConfig>) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(config).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    async fn get(&self, config: Arc<ClientConfig>, path: &str) -> io::Result<String> {
        let mut stream = self.connect(config).await?;
        let text = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }
}

fn now() -> jiff::Timestamp {
    orlop_client::clock::now()
}

#[tokio::test]
async fn certificates_tell_who_is_there() {
    let it = scene(Limits::default()).await;
    let dir = tempfile::tempdir().unwrap();
    let stranger = pki(dir.path());
    let check = async |client: Option<Pair>, expected: &str| {
        let answer = it.get(config(it.pki.ca(), client.as_ref(), &[]), "/").await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(expected), "{answer}");
    };
    check(None, "nobody").await;
    let ann = it.pki.issue_client("ann", &["ops"], now()).unwrap();
    check(Some(ann), "ann [\"ops\", \"system:authenticated\"]").await;
    check(Some(stranger.issue_client("ann", &["system:masters"], now()).unwrap()), "refused").await;
    let past = now() - jiff::SignedDuration::from_hours(24 * 400);
    check(Some(it.pki.issue_client("ann", &[], past).unwrap()), "refused").await;
    // A serving certificate is not a client's.
    check(Some(it.pki.serving.clone()), "refused").await;
    // Nor does a client trust a server of another CA.
    assert!(it.get(config(stranger.ca(), None, &[]), "/").await.is_err());
}

#[tokio::test]
async fn speaks_http2_where_agreed() {
    let it = scene(Limits::default()).await;
    let stream = it.connect(config(it.pki.ca(), None, &[b"h2", b"http/1.1"])).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake::<_, _, Empty<Bytes>>(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get("https://localhost/").body(Empty::new()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "nobody");
    drop(sender);
    driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn slow_peers_are_cut_off() {
    let short = Duration::from_millis(150);
    let it = scene(Limits { handshake: short, first_request: short, next_head: short, ..Limits::default() }).await;
    let begun = Instant::now();
    let mut rest = Vec::new();
    // No handshake at all.
    let mut raw = TcpStream::connect(it.address).await.unwrap();
    raw.read_to_end(&mut rest).await.unwrap();
    // A handshake, then silence: in both protocols.
    for alpn in [b"http/1.1".as_slice(), b"h2"] {
        let mut silent = it.connect(config(it.pki.ca(), None, &[alpn])).await.unwrap();
        let _ = silent.read_to_end(&mut rest).await;
    }
    // A head that never ends.
    let mut drip = it.connect(config(it.pki.ca(), None, &[])).await.unwrap();
    drip.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    let _ = drip.read_to_end(&mut rest).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
    // Who asks is still answered.
    assert!(it.get(config(it.pki.ca(), None, &[]), "/").await.unwrap().ends_with("nobody"));
}

#[tokio::test]
async fn heads_have_a_limit() {
    let it = scene(Limits::default()).await;
    let answer = it.get(config(it.pki.ca(), None, &[]), &format!("/{}", "x".repeat(2 * HEAD_BYTES_MAX))).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 414") || answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn too_many_connections_are_closed() {
    let it = scene(Limits { connections: 2, ..Limits::default() }).await;
    let client = config(it.pki.ca(), None, &[]);
    let first = it.connect(client.clone()).await.unwrap();
    let _second = it.connect(client.clone()).await.unwrap();
    assert!(it.connect(client.clone()).await.is_err());
    drop(first);
    // The place is free once the server has seen the end.
    let begun = Instant::now();
    while it.get(client.clone(), "/").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_stop_lets_requests_finish() {
    let it = scene(Limits::default()).await;
    let mut stream = it.connect(config(it.pki.ca(), None, &[])).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    // Another request on another connection, so that the first has arrived for sure: both go through one accept loop.
    assert!(it.get(config(it.pki.ca(), None, &[]), "/").await.is_ok());
    it.stop.cancel();
    let begun = Instant::now();
    while TcpStream::connect(it.address).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
    assert!(!it.ended.is_finished());
    it.go.notify_one();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("nobody"), "{answer}");
    it.ended.await.unwrap();
}

#[tokio::test]
async fn a_stop_has_an_end() {
    let it = scene(Limits { drain: Duration::from_millis(200), ..Limits::default() }).await;
    let mut stream = it.connect(config(it.pki.ca(), None, &[])).await.unwrap();
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    assert!(it.get(config(it.pki.ca(), None, &[]), "/").await.is_ok());
    it.stop.cancel();
    timeout(Duration::from_secs(5), it.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let it = scene(Limits::default()).await;
    let error = Listener::bind(it.address).await.unwrap_err();
    assert!(matches!(error, ServeError::InUse(address) if address == it.address));
}
