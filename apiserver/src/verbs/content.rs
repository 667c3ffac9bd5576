//! The body of a write: JSON, YAML or protobuf that says of which kind it is.

use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use orlop_api::kind::{Body, Kind};
use orlop_api::protobuf;
use orlop_api::status::{self, Details, Reason, Status};
use serde::Deserialize;
use serde_json::Value;

use crate::request::Request;

/// The deepest nesting of a YAML body, serde_json's own limit for JSON.
const DEPTH_MAX: usize = 128;

/// The forms in which objects are read.
const ACCEPTED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// The media type of a body, without parameters; JSON if none is named.
pub fn media_type(request: &Request) -> &str {
    let given = request.headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
    match given.split(';').next().unwrap_or_default().trim() {
        "" => "application/json",
        given => given,
    }
}

/// The refusal of a body in a form that is not read here.
pub fn unsupported(accepted: &str) -> Status {
    let text = format!("the body of the request was in an unknown format - accepted media types include: {accepted}");
    Status::new(Reason::UnsupportedMediaType, text).with_details(Details::default())
}

/// The body as an object of a kind. JSON stays text, so that its kind can tell duplicate fields.
///
/// # Errors
/// `UnsupportedMediaType`, or `BadRequest` for what cannot be read or is of another kind.
pub fn object<'a>(request: &Request, kind: &Kind, body: &'a [u8]) -> status::Result<Body<'a>> {
    object_of(request, kind.kind, &kind.api_version(), body)
}

/// As [`object`], of any kind by name.
///
/// # Errors
/// As [`object`].
pub fn object_of<'a>(request: &Request, kind: &str, api_version: &str, body: &'a [u8]) -> status::Result<Body<'a>> {
    match media_type(request) {
        "application/json" => {
            let types: TypeMeta<'_> = serde_json::from_slice(body).map_err(|error| {
                Status::bad_request(format!(
                    "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {error}"
                ))
            })?;
            types.check(kind, api_version)?;
            Ok(Body::Bytes(body))
        }
        "application/yaml" => {
            let value = yaml(body)?;
            TypeMeta::of(&value).check(kind, api_version)?;
            Ok(Body::Value(value))
        }
        protobuf::MEDIA_TYPE => {
            let value = decoded(kind, api_version, body)?;
            TypeMeta::of(&value).check(kind, api_version)?;
            Ok(Body::Value(value))
        }
        _ => Err(unsupported(ACCEPTED)),
    }
}

/// The body as a value, whatever it says of its kind: for options and for objects that are looked through by hand.
///
/// # Errors
/// As [`object`], but for other kinds.
pub fn value_of(request: &Request, kind: &str, api_version: &str, body: &[u8]) -> status::Result<Value> {
    match media_type(request) {
        "application/json" => serde_json::from_slice(body)
            .map_err(|error| Status::bad_request(format!("unable to decode the body as {kind}: json: {error}"))),
        "application/yaml" => yaml(body),
        protobuf::MEDIA_TYPE => decoded(kind, api_version, body),
        _ => Err(unsupported(ACCEPTED)),
    }
}

/// A protobuf body as a value.
fn decoded(kind: &str, api_version: &str, body: &[u8]) -> status::Result<Value> {
    protobuf::decode(body, kind, api_version).map_err(|error| {
        Status::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {error}"))
    })
}

/// A YAML text as a value.
///
/// # Errors
/// `BadRequest` with the parser's own words.
pub fn yaml(body: &[u8]) -> status::Result<Value> {
    let value = orlop_manifests::document::read_one("the request's body", body)
        .map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?;
    if deeper_than(&value, DEPTH_MAX) {
        return Err(Status::bad_request("error converting YAML to JSON: nesting is too deep"));
    }
    Ok(value)
}

fn deeper_than(value: &Value, depth: usize) -> bool {
    match value {
        Value::Object(_) | Value::Array(_) if depth == 0 => true,
        Value::Object(it) => it.values().any(|it| deeper_than(it, depth - 1)),
        Value::Array(it) => it.iter().any(|it| deeper_than(it, depth - 1)),
        _ => false,
    }
}

#[derive(Deserialize)]
struct TypeMeta<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default, rename = "apiVersion")]
    api_version: Option<Cow<'a, str>>,
}

impl<'a> TypeMeta<'a> {
    fn of(value: &'a Value) -> Self {
        TypeMeta {
            kind: value["kind"].as_str().map(Cow::Borrowed),
            api_version: value["apiVersion"].as_str().map(Cow::Borrowed),
        }
    }

    fn check(&self, kind: &str, api_version: &str) -> status::Result<()> {
        if let Some(given) = self.kind.as_deref().filter(|it| !it.is_empty() && *it != kind) {
            let given_version = self.api_version.as_deref().unwrap_or_default();
            return Err(Status::bad_request(format!(
                "{given} in version \"{given_version}\" cannot be handled as a {kind}: the object provided is unrecognized (must be of type {kind})"
            )));
        }
        if let Some(given) = self.api_version.as_deref().filter(|it| !it.is_empty() && *it != api_version) {
            return Err(Status::bad_request(format!(
                "the API version in the data ({given}) does not match the expected API version ({api_version})"
            )));
        }
        Ok(())
    }
}
