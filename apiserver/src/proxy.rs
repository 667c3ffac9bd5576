//! `pods/proxy`, `services/proxy` and `nodes/proxy`: HTTP handed on to what runs in the cluster, and its answer back; and sessions with
//! containers, handed on to their agents.
//!
//! In: a request with any method, whose body is still to come. Out: the target's answer as it comes. [`target`] says where a name leads,
//! [`streams`] where a session is to be had,
//! [`headers`] what goes along, [`links`] how addresses in an answer lead back through the proxy; here is only the way there and back. Connections
//! that change their protocol are handed on byte by byte. Nothing is kept between requests: each has its own connection. The credentials with which
//! the client came stay here. Source: `k8s.io/apimachinery/pkg/util/proxy`, `pkg/registry/core/{pod,service,node}/rest`.

pub mod headers;
pub mod links;
pub mod streams;
pub mod target;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::header::{self, HeaderValue};
use http::{Method, Response as HttpResponse, StatusCode, Uri};
use http_body_util::{BodyExt, BodyStream, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use orlop_api::kind::Sub;
use orlop_api::status::{self, Reason, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;

use crate::admission::Sight;
use crate::connect::log_proxy;
use crate::pki::Pair;
use crate::present::body::BodyError;
use crate::present::{Body, Response, Session};
use crate::request::Request;
use crate::serve::{ServeError, tls};
use crate::stage::Authorized;
use target::{Scheme, Target};

/// How long the connection and the handshake may take, each.
const STEP_MAX: Duration = Duration::from_secs(30);

/// How long the target may think before it answers. A watch or a long poll answers at once, or says that it does not.
const ANSWER_MAX: Duration = Duration::from_secs(600);

/// Bytes of a connection that has changed its protocol that are under way, in each direction.
const COPY_BYTES: usize = 32 << 10;

/// The largest page whose links are rewritten; what is larger is handed on as it is.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// Hands requests on.
pub struct Proxies {
    sight: Sight,
    /// For agents: they are known by the cluster's CA, and know us.
    agents: Arc<ClientConfig>,
    /// For pods that speak TLS: nobody has told whose certificate they show.
    strangers: Arc<ClientConfig>,
    draining: CancellationToken,
}

impl Proxies {
    /// Trusts agents with certificates of `ca`, and shows them `client`. What is handed on byte by byte ends when the server drains.
    ///
    /// # Errors
    /// [`ServeError::Certificate`] where either cannot be used.
    pub fn new(ca: &str, client: &Pair, sight: Sight, draining: CancellationToken) -> Result<Self, ServeError> {
        let strangers = tls::trusting_anyone()?;
        Ok(Proxies {
            sight,
            agents: Arc::new(log_proxy::tls_of(ca, client)?),
            strangers: Arc::new(strangers),
            draining,
        })
    }

    /// Hands a request on.
    ///
    /// # Errors
    /// `BadRequest` for names that lead nowhere, `ServiceUnavailable` for targets that cannot be reached.
    pub async fn serve(&self, it: &Authorized, body: Body) -> status::Result<Response> {
        let request = it.request();
        let Some(kind) = request.kind else { return Err(Status::no_such_path()) };
        if request.name.is_empty() || (kind.namespaced() && request.namespace.is_empty()) {
            return Err(Status::no_such_path());
        }
        let path = target::path(&request.path, kind.namespaced());
        let upgrades = headers::upgrade_of(&request.headers).is_some();
        if path.is_empty() && matches!(request.method, Method::GET | Method::HEAD) && !upgrades {
            return Ok(redirect(request));
        }
        let target = target::find(&self.sight, kind, &request.namespace, &request.name).await?;
        self.forward(request, &target, path, body).await
    }

    /// Hands a session on: the client's change of protocol to the pod's agent, whose answer is the client's.
    ///
    /// # Errors
    /// As [`streams::find`]; `BadRequest` where no change of protocol is asked for, `InternalError` where the agent cannot be reached.
    pub async fn session(&self, it: &Authorized, sub: Sub) -> status::Result<Response> {
        let request = it.request();
        if !matches!(request.method, Method::GET | Method::POST) {
            return Err(Status::method_not_allowed());
        }
        let (target, path) = streams::find(&self.sight, request, sub).await?;
        if headers::upgrade_of(&request.headers).is_none() {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let mut head = http::Request::builder().method(request.method.clone()).uri(path);
        if let Some(given) = head.headers_mut() {
            *given = headers::onward(request, &target.authority());
        }
        let asked = head.body(Body::Whole(Bytes::new())).map_err(|error| Status::bad_request(error.to_string()))?;
        let unreachable = |why| Status::new(Reason::InternalError, format!("error dialing backend: {why}"));
        let mut answer = self.ask(&target, asked).await.map_err(unreachable)?;
        let code = answer.status();
        if code == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(request, &mut answer);
        }
        if code.as_u16() < 400 {
            return Err(Status::internal(format!("invalid upgrade response: status code {}", code.as_u16())));
        }
        // The agent's refusal, in its words.
        let (mut head, body) = answer.into_parts();
        headers::strip_hops(&mut head.headers);
        let mut response = HttpResponse::new(pieces(body));
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    async fn forward(&self, request: &Request, target: &Target, path: &str, body: Body) -> status::Result<Response> {
        let authority = target.authority();
        let unreachable = |why: String| {
            tracing::debug!(%authority, %why, "a proxied request did not reach its target");
            Status::new(Reason::ServiceUnavailable, format!("error trying to reach service: {why}"))
        };
        let mut head = http::Request::builder().method(request.method.clone()).uri(uri(path, &request.query));
        let prefix = request.path.strip_suffix(path).unwrap_or(&request.path);
        if let Some(given) = head.headers_mut() {
            *given = headers::onward(request, &authority);
        }
        let asked = head.body(body).map_err(|error| Status::bad_request(error.to_string()))?;
        let mut answer = self.ask(target, asked).await.map_err(unreachable)?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return self.switch(request, &mut answer);
        }
        if headers::upgrade_of(&request.headers).is_some() && answer.status().as_u16() < 400 {
            let code = answer.status().as_u16();
            return Err(Status::internal(format!("invalid upgrade response: status code {code}")));
        }
        let place = links::Place { prefix, target: &authority, host: headers::host(request) };
        let (mut head, body) = answer.into_parts();
        headers::strip_hops(&mut head.headers);
        links::redirect(&mut head.headers, &place);
        let body = if links::is_page(&head.headers) {
            page(&mut head.headers, body, &place).await.map_err(unreachable)?
        } else {
            pieces(body)
        };
        let mut response = HttpResponse::new(body);
        *response.status_mut() = head.status;
        *response.headers_mut() = head.headers;
        Ok(response)
    }

    /// Connects, asks, and gives the answer, whose body is still to come.
    async fn ask(&self, target: &Target, request: http::Request<Body>) -> Result<HttpResponse<Incoming>, String> {
        let authority = target.authority();
        let stream = timeout(STEP_MAX, TcpStream::connect((target.host.as_str(), target.port)))
            .await
            .map_err(|_| format!("dial tcp {authority}: i/o timeout"))?
            .map_err(|error| format!("dial tcp {authority}: connect: {}", log_proxy::in_words(&error)))?;
        let _ = stream.set_nodelay(true);
        let (config, name) = match (&target.agent, target.scheme) {
            (Some(node), _) => (&self.agents, node.as_str()),
            (None, Scheme::Https) => (&self.strangers, target.host.as_str()),
            (None, Scheme::Http) => return converse(stream, request).await,
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|error| error.to_string())?;
        let stream = timeout(STEP_MAX, TlsConnector::from(config.clone()).connect(name, stream))
            .await
            .map_err(|_| "net/http: TLS handshake timeout".to_owned())?
            .map_err(|error| format!("tls: {error}"))?;
        converse(stream, request).await
    }

    /// Both sides have changed their protocol: what follows is theirs.
    fn switch(&self, request: &Request, answer: &mut HttpResponse<Incoming>) -> status::Result<Response> {
        let no_way = || Status::bad_request("this connection cannot change its protocol");
        let client = request.upgrade.clone().ok_or_else(no_way)?;
        let backend = hyper::upgrade::on(&mut *answer);
        let mut response = HttpResponse::new(Body::Whole(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        // Here, and only here, what concerns the connection concerns both.
        *response.headers_mut() = answer.headers().clone();
        let draining = self.draining.clone();
        Session::put(&mut response, async move {
            tokio::select! {
                () = draining.cancelled() => {}
                ended = join(client, backend) => if let Err(error) = ended {
                    tracing::debug!(%error, "a proxied connection broke");
                }
            }
        });
        Ok(response)
    }
}

/// Copies between two connections that have changed their protocol, until both ends are silent.
async fn join(client: OnUpgrade, backend: OnUpgrade) -> std::io::Result<()> {
    let (client, backend) = tokio::try_join!(client, backend).map_err(std::io::Error::other)?;
    let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
    tokio::io::copy_bidirectional_with_sizes(&mut client, &mut backend, COPY_BYTES, COPY_BYTES).await?;
    Ok(())
}

/// Speaks HTTP/1.1 over a connection that is there.
async fn converse<S>(stream: S, request: http::Request<Body>) -> Result<HttpResponse<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = http1::handshake::<_, Body>(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    // Ends with the answer's body, or when that is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a proxied target broke");
        }
    });
    timeout(ANSWER_MAX, sender.send_request(request))
        .await
        .map_err(|_| "net/http: timeout awaiting response headers".to_owned())?
        .map_err(|error| error.to_string())
}

/// A page, its links leading back through the proxy.
async fn page(headers: &mut http::HeaderMap, body: Incoming, place: &links::Place<'_>) -> Result<Body, String> {
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|it| it > PAGE_BYTES_MAX) {
        return Ok(pieces(body));
    }
    let read = timeout(ANSWER_MAX, Limited::new(body, PAGE_BYTES_MAX).collect()).await;
    let read = read.map_err(|_| "the page did not come in time".to_owned())?;
    let text = read.map_err(|error| format!("the page could not be read: {error}"))?.to_bytes();
    let rewritten = links::page(&text, headers, PAGE_BYTES_MAX, place);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(rewritten.len()));
    Ok(Body::Whole(rewritten))
}

fn pieces(body: Incoming) -> Body {
    Body::pieces(BodyStream::new(body).filter_map(|frame| async {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(BodyError::from(error))),
        }
    }))
}

/// The path of the target with the query that the client gave.
fn uri(path: &str, query: &str) -> Uri {
    let path = if path.is_empty() { "/" } else { path };
    let whole = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
    whole.parse().unwrap_or_else(|_| Uri::from_static("/"))
}

/// Without a path, relative links in the answer would lead beside it.
fn redirect(request: &Request) -> Response {
    let query = if request.query.is_empty() { String::new() } else { format!("?{}", request.query) };
    let mut response = HttpResponse::new(Body::Whole(Bytes::new()));
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(value) = HeaderValue::from_str(&format!("{}/{query}", request.path)) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

#[cfg(test)]
mod tests;
