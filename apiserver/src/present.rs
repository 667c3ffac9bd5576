//! What goes back: objects, lists and failures in the form that the client accepts.
//!
//! In: cached objects, or a `Status`. Out: a [`Response`]. The common case, JSON, copies an object's bytes; the other forms are
//! made from what the cache keeps, or, for YAML, decoded and written anew.

pub mod body;
pub mod gzip;
pub mod list;
pub mod pretty;

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response as HttpResponse, StatusCode};
use orlop_api::kind::Kind;
use orlop_api::protobuf::answer;
use orlop_api::status::{self, Status};
use orlop_api::table::{self, Include, ListMeta};
use parking_lot::Mutex;
use serde_json::Value;

use crate::cache::Object;
use crate::request::Request;
use crate::request::accept::{Accept, Encoding, Form};

pub use body::Body;

/// What the server answers.
pub type Response = HttpResponse<Body>;

/// What goes on over a connection once its protocol was changed: it travels with the response that says so, and is begun by who keeps the
/// request's seat.
#[derive(Clone)]
pub struct Session(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

impl Session {
    /// Gives a response what follows it.
    pub fn put(response: &mut Response, follows: impl Future<Output = ()> + Send + 'static) {
        response.extensions_mut().insert(Session(Arc::new(Mutex::new(Some(follows.boxed())))));
    }

    /// Takes what follows a response.
    pub fn take(response: &mut Response) -> Option<BoxFuture<'static, ()>> {
        response.extensions_mut().remove::<Session>()?.0.lock().take()
    }
}

/// JSON as it is.
pub fn json(code: StatusCode, json: impl Into<Bytes>) -> Response {
    with_type(code, "application/json", json)
}

/// A body of some type.
pub fn with_type(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = HttpResponse::new(Body::Whole(body.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    response
}

/// A body that is complete, compressed if it is large and the client takes that.
fn complete(code: StatusCode, content_type: &'static str, body: Bytes, accept: &Accept) -> Response {
    if accept.gzip && body.len() > gzip::LARGE_BYTES {
        let mut response = with_type(code, content_type, Bytes::new());
        gzip::whole(&mut response, &body);
        return response;
    }
    with_type(code, content_type, body)
}

/// JSON in the encoding that the client accepts: as it is, indented, as YAML or as protobuf. What has no protobuf message stays JSON, and says so.
///
/// # Errors
/// When the bytes are no JSON.
pub fn encoded(code: StatusCode, json_bytes: Bytes, accept: &Accept, pretty: bool) -> status::Result<Response> {
    let content_type = accept.encoding.content_type();
    match accept.encoding {
        Encoding::Json if !pretty => Ok(complete(code, content_type, json_bytes, accept)),
        Encoding::Json => Ok(complete(code, content_type, pretty::indent(&json_bytes).into(), accept)),
        Encoding::Yaml => {
            let value: Value = serde_json::from_slice(&json_bytes).map_err(Status::internal)?;
            let text = serde_saphyr::to_string(&value).map_err(Status::internal)?;
            Ok(complete(code, content_type, text.into(), accept))
        }
        Encoding::Protobuf => {
            let value: Value = serde_json::from_slice(&json_bytes).map_err(Status::internal)?;
            Ok(match answer::of_value(&value) {
                Some(body) => complete(code, content_type, body.into(), accept),
                None => complete(code, Encoding::Json.content_type(), json_bytes, accept),
            })
        }
    }
}

/// One object in the form that the client accepts.
///
/// # Errors
/// When a form cannot be made.
pub fn object(request: &Request, kind: &'static Kind, code: StatusCode, it: &Arc<Object>) -> status::Result<Response> {
    let accept = &request.accept;
    let bytes = match accept.form {
        Form::Table => {
            let revision = it.revision.to_string();
            let list = ListMeta { resource_version: &revision, ..ListMeta::default() };
            let include = Include::parse(&request.options.include_object)?;
            table_of(kind, std::slice::from_ref(it), &list, include, true).into()
        }
        Form::Metadata if accept.encoding == Encoding::Protobuf => {
            let body = answer::body(META, "PartialObjectMetadata", it.partial_message());
            return Ok(complete(code, accept.encoding.content_type(), body.into(), accept));
        }
        Form::Metadata => it.partial().clone(),
        _ if accept.encoding == Encoding::Protobuf => {
            let body = answer::body(&kind.api_version(), kind.kind, it.message(kind));
            return Ok(complete(code, accept.encoding.content_type(), body.into(), accept));
        }
        Form::Whole | Form::AggregatedDiscovery => it.json.clone(),
    };
    encoded(code, bytes, accept, request.options.pretty)
}

/// The group version of Kubernetes' own forms of objects.
pub(crate) const META: &str = "meta.k8s.io/v1";

/// A whole table.
pub fn table_of(
    kind: &'static Kind,
    objects: &[Arc<Object>],
    list: &ListMeta<'_>,
    include: Include,
    with_columns: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    table::begin(&mut out, kind, list, with_columns);
    let now = orlop_client::clock::now();
    for (at, object) in objects.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_row(&mut out, kind, object, include, now);
    }
    table::end(&mut out);
    out
}

/// One row of a table.
pub(crate) fn write_row(out: &mut Vec<u8>, kind: &Kind, object: &Object, include: Include, now: jiff::Timestamp) {
    let Some(row) = object.row(kind) else { return };
    let carried = match include {
        Include::None => None,
        Include::Metadata => Some(object.partial()),
        Include::Object => Some(&object.json),
    };
    row.write_row(out, now, carried.map(|it| &it[..]));
}

/// A failure.
pub fn failure(status: &Status, accept: &Accept, pretty: bool) -> Response {
    let code = StatusCode::from_u16(status.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let retry_after = status.details.as_ref().map_or(0, |it| it.retry_after_seconds);
    let bytes = Bytes::from(status.to_json().to_string());
    let accept = if accept.refused { Accept::default() } else { *accept };
    let mut response = encoded(code, bytes.clone(), &accept, pretty).unwrap_or_else(|_| json(code, bytes));
    if retry_after > 0 {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
    }
    response
}

/// What a deletion answers when nothing is left to show.
pub fn success(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = serde_json::json!({ "name": name, "kind": kind.names.plural });
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    if !uid.is_empty() {
        details["uid"] = uid.into();
    }
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    })
}

/// The longest warning, in bytes, and the most bytes of all (`k8s.io/apiserver/pkg/endpoints/filters/warning.go`).
const WARNING_BYTES_MAX: usize = 256;
const WARNINGS_BYTES_MAX: usize = 4096;

/// Adds warnings to a response, one header each: `299 - "text"`.
pub fn warn(headers: &mut HeaderMap, warnings: &[String]) {
    let mut left = WARNINGS_BYTES_MAX;
    for text in warnings {
        let mut quoted = String::with_capacity(text.len() + 8);
        for it in text.chars() {
            if quoted.len() >= WARNING_BYTES_MAX {
                break;
            }
            match it {
                '"' | '\\' => quoted.extend(['\\', it]),
                it if it.is_control() => quoted.push(' '),
                it => quoted.push(it),
            }
        }
        let Some(rest) = left.checked_sub(quoted.len()) else { return };
        left = rest;
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            headers.append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_quoted_and_bounded() {
        let mut headers = HeaderMap::new();
        warn(&mut headers, &["unknown field \"spec.x\"".to_owned(), "é\n".to_owned()]);
        let values: Vec<_> = headers.get_all(header::WARNING).iter().map(|it| it.as_bytes().to_vec()).collect();
        assert_eq!(values[0], br#"299 - "unknown field \"spec.x\"""#);
        assert_eq!(values[1], "299 - \"é \"".as_bytes());
        let mut headers = HeaderMap::new();
        warn(&mut headers, &vec!["x".repeat(1000); 100]);
        assert_eq!(headers.get_all(header::WARNING).iter().count(), WARNINGS_BYTES_MAX / WARNING_BYTES_MAX);
    }

    #[test]
    fn failures_say_when_to_come_again() {
        let response = failure(&Status::too_many_requests("full", 1), &Accept::default(), false);
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
