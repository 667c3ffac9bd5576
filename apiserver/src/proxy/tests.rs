//! Requests to a real server on loopback and its answers back, and a connection that changes its protocol.

use std::net::SocketAddr;

use http_body_util::Full;
use hyper::service::service_fn;
use orlop_store::memory::Memory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::cache::Cache;
use crate::pki::{Names, Pki};
use crate::registry::Registry;

const PREFIX: &str = "/api/v1/namespaces/d/pods/web/proxy";

fn proxies() -> (Proxies, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let now = orlop_client::clock::now();
    let pki = Pki::open(dir.path(), &Names::default(), "10.96.0.1".parse().unwrap(), now).unwrap();
    let sight = Sight { objects: Arc::new(Cache::default()), store: Arc::new(Memory::default()) };
    let made = Proxies::new(pki.ca(), &pki.kubelet_client, sight, CancellationToken::new()).unwrap();
    (made, dir)
}

fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let mut head = http::Request::builder().method(method).uri(format!("{PREFIX}{path}"));
    for (name, value) in headers {
        head = head.header(*name, *value);
    }
    Request::parse(head.body(()).unwrap().into_parts().0, &Registry::default()).unwrap()
}

/// A server that answers what `answer` makes of a request and its body.
async fn target<F>(answer: F) -> Target
where
    F: Fn(http::request::Parts, String) -> HttpResponse<Full<Bytes>> + Clone + Send + Sync + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request: http::Request<Incoming>| {
                let answer = answer.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map(|it| it.to_bytes()).unwrap_or_default();
                    Ok::<_, std::convert::Infallible>(answer(head, String::from_utf8_lossy(&body).into_owned()))
                }
            });
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Target { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port: address.port(), agent: None }
}

async fn text(response: Response) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn requests_go_there_and_answers_come_back() {
    let (proxies, _dir) = proxies();
    let target = target(|head, body| {
        let told = |name: &str| head.headers.get(name).map_or("-", |it| it.to_str().unwrap()).to_owned();
        let text = format!("{} {} {} {} {body}", head.method, head.uri, told("authorization"), told("x-forwarded-uri"));
        let mut response = HttpResponse::new(Full::from(text));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response.headers_mut().insert("x-theirs", HeaderValue::from_static("1"));
        response
    })
    .await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] {
        let request = request(method, "/a%20b/c?x=1&y=%2F", &[("authorization", "Bearer secret")]);
        let body = match method {
            "GET" => Body::Whole(Bytes::new()),
            _ => Body::pieces(futures::stream::iter(["one ", "two"].map(|it| Ok(Bytes::from(it))))),
        };
        let answer = proxies.forward(&request, &target, "/a%20b/c", body).await.unwrap();
        assert_eq!(answer.status(), StatusCode::IM_A_TEAPOT);
        assert_eq!(answer.headers()["x-theirs"], "1");
        let body = if method == "GET" { "" } else { "one two" };
        assert_eq!(text(answer).await, format!("{method} /a%20b/c?x=1&y=%2F - {PREFIX}/a%20b/c {body}"));
    }
}

#[tokio::test]
async fn redirects_and_pages_lead_back() {
    let (proxies, _dir) = proxies();
    let target = target(|head, _| {
        let mut response = HttpResponse::new(Full::from("<a href=\"/next\">next</a>"));
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
        if head.uri.path() == "/old" {
            *response.status_mut() = StatusCode::FOUND;
            response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/new?x=1"));
        }
        response
    })
    .await;
    let ask = async |path: &str| {
        proxies.forward(&request("GET", path, &[]), &target, path, Body::Whole(Bytes::new())).await.unwrap()
    };
    assert_eq!(ask("/old").await.headers()[header::LOCATION], format!("{PREFIX}/new?x=1"));
    let page = ask("/page").await;
    let expected = format!("<a href=\"{PREFIX}/next\">next</a>");
    assert_eq!(page.headers()[header::CONTENT_LENGTH], expected.len().to_string().as_str());
    assert_eq!(text(page).await, expected);
}

#[tokio::test]
async fn who_is_not_there_is_told() {
    let (proxies, _dir) = proxies();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = Target { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port: closed.port(), agent: None };
    let refused = proxies.forward(&request("GET", "/", &[]), &target, "/", Body::Whole(Bytes::new())).await;
    let status = refused.unwrap_err();
    assert_eq!(status.code(), 503);
    let expected = format!("error trying to reach service: dial tcp {closed}: connect: connection refused");
    assert_eq!(status.message, expected);
}

#[tokio::test]
async fn connections_change_their_protocol() {
    let (proxies, _dir) = proxies();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(String::from_utf8(head).unwrap().to_lowercase().contains("upgrade: echo"));
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    });
    let target = Target { scheme: Scheme::Http, host: "127.0.0.1".to_owned(), port, agent: None };
    // The proxy stands behind a server of its own, so that the client's side is a real connection, too.
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let proxies = Arc::new(proxies);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (proxies, target) = (proxies.clone(), target.clone());
        async move {
            let request = Request::parse(request.into_parts().0, &Registry::default()).unwrap();
            let answer = proxies.forward(&request, &target, "/", Body::Whole(Bytes::new())).await;
            let mut answer = answer.unwrap();
            tokio::spawn(Session::take(&mut answer).unwrap());
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    tokio::spawn(
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service).with_upgrades(),
    );
    let head = format!("GET {PREFIX}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(client.read_u8().await.unwrap());
    }
    assert!(answer.starts_with(b"HTTP/1.1 101 "));
    client.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    client.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"hello");
}
