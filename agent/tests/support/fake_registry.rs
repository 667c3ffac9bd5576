//! A registry that misbehaves as it is told, in this process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use http::header::{AUTHORIZATION, RANGE, WWW_AUTHENTICATE};
use parking_lot::Mutex;
use tokio_util::task::AbortOnDropHandle;

use crate::layers::{Made, digest};

/// What goes wrong.
#[derive(Default)]
pub struct Manners {
    /// A user and password that a token is given for.
    pub login: Option<(String, String)>,
    /// The first answers with a blob break off in the middle.
    pub breaks: usize,
    /// Whether a range that is asked for is given.
    pub ranges: bool,
    /// Blobs stop in the middle and say nothing more.
    pub stalls: bool,
    /// What is given instead of a blob or manifest.
    pub instead: HashMap<String, Vec<u8>>,
}

struct Inner {
    address: String,
    content: HashMap<String, Vec<u8>>,
    manners: Mutex<Manners>,
    asked: Mutex<Vec<String>>,
}

/// The registry; it ends with the test.
pub struct FakeRegistry {
    inner: Arc<Inner>,
    _server: AbortOnDropHandle<()>,
}

/// The name of its one image.
pub const NAME: &str = "team/app";
const TOKEN: &str = "a-token";

impl FakeRegistry {
    /// Serves one image under the tags `1` and `2`.
    pub async fn start(images: [&Made; 2], manners: Manners) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let mut content = HashMap::new();
        for (image, tag) in images.into_iter().zip(["1", "2"]) {
            content.insert(tag.to_owned(), image.manifest.clone());
            content.insert(digest(&image.manifest), image.manifest.clone());
            content.extend(image.blobs.iter().map(|it| (digest(it), it.clone())));
        }
        let inner = Inner { address, content, manners: Mutex::new(manners), asked: Mutex::default() };
        let inner = Arc::new(inner);
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serving") });
        FakeRegistry { inner, _server: AbortOnDropHandle::new(server) }
    }

    /// The image under a tag.
    pub fn reference(&self, tag: &str) -> String {
        format!("{}/{NAME}:{tag}", self.inner.address)
    }

    /// From now on it has other manners.
    pub fn behave(&self, manners: Manners) {
        *self.inner.manners.lock() = manners;
    }

    /// What was asked for, with the range; and forgets it.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.inner.asked.lock())
    }
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let header = |it| request.headers().get(it).and_then(|it| it.to_str().ok()).unwrap_or_default().to_owned();
    let (authorization, range) = (header(AUTHORIZATION), header(RANGE));
    let mut manners = inner.manners.lock();
    if let Some((user, password)) = &manners.login {
        use base64::Engine as _;
        if path == "/token" {
            let basic = base64::prelude::BASE64_STANDARD.encode(format!("{user}:{password}"));
            let query = request.uri().query().unwrap_or_default();
            let right = authorization == format!("Basic {basic}")
                && query.contains("service=fake")
                && query.contains("scope=repository%3Ateam%2Fapp%3Apull");
            return match right {
                true => axum::Json(serde_json::json!({ "token": TOKEN })).into_response(),
                false => refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "incorrect username or password"),
            };
        }
        if authorization != format!("Bearer {TOKEN}") {
            let realm = format!(
                "Bearer realm=\"http://{}/token\",service=\"fake\",scope=\"repository:{NAME}:pull\"",
                inner.address
            );
            let mut response = refuse(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication required");
            response.headers_mut().insert(WWW_AUTHENTICATE, realm.parse().expect("a header"));
            return response;
        }
    }
    let what = path.rsplit('/').next().unwrap_or_default().to_owned();
    inner.asked.lock().push(format!("{what} {range}").trim_end().to_owned());
    let Some(bytes) = manners.instead.get(&what).or_else(|| inner.content.get(&what)).cloned() else {
        return refuse(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", "manifest unknown");
    };
    let from = range.strip_prefix("bytes=").and_then(|it| it.strip_suffix('-')).and_then(|it| it.parse::<usize>().ok());
    let (status, bytes) = match from.filter(|_| manners.ranges) {
        Some(from) => (StatusCode::PARTIAL_CONTENT, bytes[from..].to_vec()),
        None => (StatusCode::OK, bytes),
    };
    let whole = bytes.len();
    let is_large_blob = path.contains("/blobs/") && whole > 1000;
    if is_large_blob && (manners.breaks > 0 || manners.stalls) {
        manners.breaks = manners.breaks.saturating_sub(1);
        let half = futures::stream::iter([Ok(Bytes::from(bytes).slice(..whole / 2))]);
        let body = match manners.stalls {
            true => Body::from_stream(half.chain(futures::stream::pending::<Result<Bytes, std::io::Error>>())),
            false => Body::from_stream(half.chain(futures::stream::once(async {
                // So that the first half is on its way.
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(std::io::Error::other("it breaks off"))
            }))),
        };
        return (status, [("content-length", whole.to_string())], body).into_response();
    }
    (status, bytes).into_response()
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    (status, axum::Json(serde_json::json!({ "errors": [{ "code": code, "message": message }] }))).into_response()
}
