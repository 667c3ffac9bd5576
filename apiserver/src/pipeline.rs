//! The way in, composed: `request → authenticate → authorize → fairness → (body) → verb`.
//!
//! In: an HTTP request with its [`Peer`], from the listener or from a client in process. Out: a [`Response`], always; a failure is a
//! `Status`. Nothing is read of a body before its sender is known to be allowed.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::Version;
use http::header::{CONNECTION, HeaderName, HeaderValue};
use http_body_util::{BodyExt, BodyStream};
use orlop_api::kind::Sub;
use orlop_api::status::{self, Details, Reason, Status};
use tokio::time::Instant;

use crate::aside;
use crate::config::Limits;
use crate::core::Core;
use crate::fairness::{self, Fairness, Seat};
use crate::metrics::Metrics;
use crate::plain::Plain;
use crate::present::body::BodyError;
use crate::present::{self, Body, Response, Session};
use crate::proxy::streams;
use crate::request::accept::Accept;
use crate::request::{Request, Verb};
use crate::reviews;
use crate::stage::{self, Authenticator, Authorized, Authorizer, Peer};
use crate::verbs;

/// The service that listener and clients in process share.
#[derive(Clone)]
pub struct Pipeline {
    inner: Arc<Inner>,
}

struct Inner {
    core: Arc<Core>,
    authenticator: Arc<dyn Authenticator>,
    authorizer: Arc<dyn Authorizer>,
    fairness: Fairness,
    metrics: Metrics,
    plain: Plain,
    limits: Limits,
}

impl Pipeline {
    /// Composes the stages.
    pub fn new(
        core: Arc<Core>,
        authenticator: Arc<dyn Authenticator>,
        authorizer: Arc<dyn Authorizer>,
        limits: Limits,
        plain: Plain,
    ) -> Self {
        let (fairness, metrics) = (Fairness::new(limits), Metrics::default());
        Pipeline { inner: Arc::new(Inner { core, authenticator, authorizer, fairness, metrics, plain, limits }) }
    }

    /// What the verbs work with.
    pub fn core(&self) -> &Arc<Core> {
        &self.inner.core
    }

    /// Answers a request.
    pub async fn handle<B>(&self, request: http::Request<B>) -> Response
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let begun = Instant::now();
        let (head, body) = request.into_parts();
        let peer = head.extensions.get::<Arc<Peer>>().cloned().unwrap_or_default();
        let version = head.version;
        let request = match Request::parse(head, self.inner.core.cache.registry()) {
            Ok(request) => request,
            // Nobody is told more than that before it is known who asks.
            Err(status) => return pass_over(body, version, present::failure(&status, &Accept::default(), false)).await,
        };
        let accept = request.accept;
        let audit_id = audit_id(&request);
        let pretty = request.options.pretty;
        let inner = &*self.inner;
        let authorized = stage::authenticate(request, &peer, &*inner.authenticator)
            .and_then(|it| stage::impersonate(it, &*inner.authorizer))
            .and_then(|it| stage::authorize(it, &*inner.authorizer));
        let refusal = |status: &Status| present::failure(status, &accept, pretty);
        let authorized = match authorized {
            Ok(authorized) => authorized,
            Err(status) => return pass_over(body, version, named(refusal(&status), audit_id)).await,
        };
        let response = match inner.seat(&authorized) {
            Ok(seat) => inner.serve(&authorized, seat, body).await.unwrap_or_else(|it| refusal(&it)),
            Err(status) => pass_over(body, version, refusal(&status)).await,
        };
        inner.metrics.answered(authorized.request(), response.status().as_u16(), begun.elapsed());
        named(response, audit_id)
    }
}

impl Inner {
    /// A place among what is under way, for requests about resources whose options make sense.
    fn seat(&self, it: &Authorized) -> status::Result<Option<Seat>> {
        let request = it.request();
        if !request.is_resource() {
            return Ok(None);
        }
        request.options.check(request.verb)?;
        self.fairness.seat(it).map(Some)
    }

    async fn serve<B>(&self, it: &Authorized, seat: Option<Seat>, body: B) -> status::Result<Response>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display,
    {
        let request = it.request();
        let Some(seat) = seat else {
            let served = self.plain.serve(&self.core, &self.fairness, &self.metrics, request);
            return in_time(self.limits, request, served).await;
        };
        if let Some(kind) = request.kind.filter(|it| request.subresource == Sub::Proxy.segment() && it.has(Sub::Proxy))
        {
            tracing::debug!(?kind, name = %request.name, "a request is proxied");
            aside::admit_connection(&self.core, it, kind).await?;
            return Ok(keep_seat(self.core.proxies.serve(it, streamed(body)).await?, seat));
        }
        if let (Some(kind), Some(sub)) = (request.kind, streams::asked(request)) {
            aside::admit_connection(&self.core, it, kind).await?;
            // WebSockets come by GET: what is asked for is the same (AuthorizePodWebsocketUpgradeCreatePermission).
            stage::authorize_as(it, Verb::Create, &*self.authorizer)?;
            return Ok(keep_seat(self.core.proxies.session(it, sub).await?, seat));
        }
        let serve = async {
            let body = if request.verb.reads() { Bytes::new() } else { read(body, self.limits.body_bytes).await? };
            if let Some(review) = reviews::asked(request) {
                return reviews::serve(it, review, &*self.authenticator, &*self.authorizer, &body);
            }
            let is_heavy = body.len() > HEAVY_BODY_BYTES;
            // In a box, for it is large and would otherwise stand here once for each way.
            let verb = Box::pin(verbs::serve(&self.core, it, body));
            if is_heavy { aside(verb).await } else { verb.await }
        };
        if fairness::is_long_running(request) {
            return Ok(keep_seat(serve.await?, seat));
        }
        let answered = in_time(self.limits, request, serve).await;
        drop(seat);
        answered
    }
}

/// The header by which a request is found again in logs: the client's own, or one made here.
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

fn audit_id(request: &Request) -> HeaderValue {
    let given = request.headers.get(AUDIT_ID).filter(|it| !it.is_empty()).cloned();
    given.unwrap_or_else(|| {
        let made = orlop_client::random::uid();
        HeaderValue::from_str(&made).unwrap_or(HeaderValue::from_static(""))
    })
}

fn named(mut response: Response, audit_id: HeaderValue) -> Response {
    response.headers_mut().insert(AUDIT_ID, audit_id);
    response
}

/// Bounds the time of a request that is not long-running: the server's limit, or the client's where that is shorter.
async fn in_time(
    limits: Limits,
    request: &Request,
    answer: impl Future<Output = status::Result<Response>> + Send,
) -> status::Result<Response> {
    let limit = request.timeout.map_or(limits.request_timeout, |it| it.min(limits.request_timeout));
    let bounded = tokio::time::timeout(limit, answer);
    bounded.await.unwrap_or_else(|_| {
        let text = "Timeout: request did not complete within requested timeout - context deadline exceeded";
        Err(Status::new(Reason::Timeout, text).with_details(Details::default()))
    })
}

/// Bodies above this may take seconds to be understood and checked. An honest Deployment has 3 kB, the largest object of most clusters (a
/// definition with its schema) a few hundred.
const HEAVY_BODY_BYTES: usize = 128 << 10;

/// Does heavy work beside the runtime's few threads, which meanwhile serve the others. There are no more of these at once than seats for
/// writes.
async fn aside<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Handle::current();
    match runtime.runtime_flavor() {
        tokio::runtime::RuntimeFlavor::MultiThread => tokio::task::block_in_place(|| runtime.block_on(work)),
        _ => work.await,
    }
}

/// A body as it comes, for what is handed on.
fn streamed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    if body.is_end_stream() {
        return Body::Whole(Bytes::new());
    }
    Body::pieces(BodyStream::new(body).filter_map(|frame| {
        std::future::ready(match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(error) => Some(Err(BodyError::from(error.to_string()))),
        })
    }))
}

/// Holds a seat for as long as the response's body lasts, or what follows it.
fn keep_seat(mut response: Response, seat: Seat) -> Response {
    if let Some(follows) = Session::take(&mut response) {
        tokio::spawn(async move {
            follows.await;
            drop(seat);
        });
        return response;
    }
    response.map(|body| match body {
        Body::Pieces(pieces) => Body::pieces(pieces.map(move |it| {
            let _ = &seat;
            it
        })),
        whole => whole,
    })
}

/// How much of a body that is too large is read and thrown away: a client that is still sending when the answer comes would see a broken
/// connection instead of it.
const DRAIN_BYTES_MAX: usize = 64 << 20;

/// How much of the body of a refused request is read, and for how long, so that its connection can go on (`maxPostHandlerReadBytes` of Go's
/// server). Where more would come, the answer says that the connection ends.
const PASSED_OVER_BYTES_MAX: u64 = 256 << 10;
const PASSED_OVER_MAX: Duration = Duration::from_secs(5);

/// A refusal of a request whose body nobody has read. A client that uses the connection again would otherwise find it closed; over HTTP/2 it
/// would be told that its stream is reset while it still sends, and some take that for the answer.
async fn pass_over<B>(body: B, version: Version, mut refusal: Response) -> Response
where
    B: http_body::Body<Data = Bytes> + Send,
{
    if body.is_end_stream() {
        return refusal;
    }
    let mut body = std::pin::pin!(body);
    let announced = body.size_hint().lower();
    let read = async {
        let mut seen = 0;
        while let Some(frame) = body.frame().await {
            seen += frame.ok()?.data_ref().map_or(0, Bytes::len) as u64;
            if seen > PASSED_OVER_BYTES_MAX {
                return None;
            }
        }
        Some(())
    };
    let all =
        announced <= PASSED_OVER_BYTES_MAX && matches!(tokio::time::timeout(PASSED_OVER_MAX, read).await, Ok(Some(())));
    // HTTP/2 ends a stream, and not the connection.
    if !all && version < Version::HTTP_2 {
        refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    refusal
}

/// Throws the rest of a body away, up to a bound.
async fn drain<B>(mut body: Pin<&mut B>)
where
    B: http_body::Body<Data = Bytes> + Send,
{
    let mut seen = 0;
    while seen < DRAIN_BYTES_MAX {
        let Some(Ok(frame)) = body.frame().await else { return };
        seen += frame.data_ref().map_or(0, Bytes::len);
    }
}

/// Reads a body of no more than `limit` bytes.
async fn read<B>(body: B, limit: usize) -> status::Result<Bytes>
where
    B: http_body::Body<Data = Bytes> + Send,
    B::Error: std::fmt::Display,
{
    let too_large = || {
        let text = format!("Request entity too large: limit is {limit}");
        Status::new(Reason::RequestEntityTooLarge, text)
    };
    let announced = body.size_hint().lower();
    let mut body = std::pin::pin!(body);
    if announced > limit as u64 {
        drain(body).await;
        return Err(too_large());
    }
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut exceeded = false;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("the request's body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.as_ref().map_or(0, Bytes::len) + rest.len();
        if so_far + data.len() > limit {
            exceeded = true;
            break;
        }
        // Most bodies come in one piece, which is not copied.
        match first {
            None => first = Some(data),
            Some(_) => rest.extend_from_slice(&data),
        }
    }
    if exceeded {
        drain(body).await;
        return Err(too_large());
    }
    let first = first.unwrap_or_default();
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

impl<B> tower_service::Service<http::Request<B>> for Pipeline
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let pipeline = self.clone();
        Box::pin(async move { Ok(pipeline.handle(request).await) })
    }
}
