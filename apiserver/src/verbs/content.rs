//! The body of a write: JSON, YAML or protobuf that says of which kind it is.

use std::borrow::Cow;

use http::header::CONTENT_TYPE;
use orlop_api::json::{Strictness, syntax};
use orlop_api::kind::{Body, Kind};
use orlop_api::kinds::KINDS;
use orlop_api::protobuf;
use orlop_api::status::{self, Details, Reason, Status};
use orlop_manifests::document::ReadError;
use serde::Deserialize;
use serde_json::Value;

use crate::request::Request;

/// The deepest nesting of a YAML body, serde_json's own limit for JSON.
const DEPTH_MAX: usize = 128;

/// Where Kubernetes' list of kinds stands, as its messages name it.
const SCHEME: &str = "pkg/api/legacyscheme/scheme.go:30";

/// The Go package of the types into which Kubernetes converts objects of a version: `core` for `v1`, `apps` for `apps/v1`.
fn internal_package(api_version: &str) -> &str {
    match api_version.split_once('/') {
        None => "core",
        Some((group, _)) => group.split('.').next().unwrap_or(group),
    }
}

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

/// The body as an object of a kind. JSON stays text, so that its kind can tell duplicate fields; the second part are the warnings for those
/// of YAML, which no value can tell.
///
/// # Errors
/// `UnsupportedMediaType`, or `BadRequest` for what cannot be read or is of another kind, or has a key twice where that is forbidden.
pub fn object<'a>(request: &Request, kind: &Kind, body: &'a [u8]) -> status::Result<(Body<'a>, Vec<String>)> {
    if media_type(request) != "application/yaml" {
        return Ok((object_of(request, kind.kind, &kind.api_version(), body)?, Vec::new()));
    }
    let (value, twice) = yaml_with_repeats(body)?;
    TypeMeta::of(&value).check(kind.kind, &kind.api_version())?;
    match request.options.strictness {
        Strictness::Strict if !twice.is_empty() => {
            let mut problems = vec![told_by_yaml(&twice)];
            problems.extend(kind.unknown_fields(&value)?);
            Err(Status::bad_request(format!(
                "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
                kind.kind,
                kind.version,
                kind.kind,
                problems.join(", ")
            )))
        }
        Strictness::Ignore => Ok((Body::Value(value), Vec::new())),
        _ => Ok((Body::Value(value), twice)),
    }
}

/// Keys that stand twice, in the words of Go's YAML reader.
pub fn told_by_yaml(twice: &[String]) -> String {
    format!("yaml: unmarshal errors:\n  {}", twice.join("\n  "))
}

/// How many bytes of a body that makes no sense its refusal shows.
const SHOWN_BYTES_MAX: usize = 30;

/// The refusal of a body of which not even version and kind can be read, in Go's words where they are known.
fn unrecognized(kind: &str, body: &[u8], otherwise: &str) -> Status {
    let word = |value: &Value| match value {
        Value::Object(_) => "object",
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
    };
    let complaint = syntax::complaint(body).or_else(|| {
        let value: Value = serde_json::from_slice(body).ok()?;
        if !value.is_object() {
            let of = r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
            return Some(format!("json: cannot unmarshal {} into Go value of type {of}", word(&value)));
        }
        let wrong = ["apiVersion", "kind"].into_iter().find(|it| !value[it].is_string() && !value[it].is_null())?;
        Some(format!("json: cannot unmarshal {} into Go struct field .{wrong} of type string", word(&value[wrong])))
    });
    let shown = &body[..body.len().min(SHOWN_BYTES_MAX)];
    let mut shown = match body.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(shown).into_owned(),
        Some(_) => shown.iter().map(|it| format!("{it:02x}")).collect(),
    };
    if body.len() > SHOWN_BYTES_MAX {
        shown.push_str(" ...");
    }
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: {} ({shown})",
        complaint.as_deref().unwrap_or(otherwise)
    ))
}

/// As [`object`], of any kind by name.
///
/// # Errors
/// As [`object`].
pub fn object_of<'a>(request: &Request, kind: &str, api_version: &str, body: &'a [u8]) -> status::Result<Body<'a>> {
    match media_type(request) {
        "application/json" => {
            // serde takes a list for a struct too.
            let is_list = body.trim_ascii_start().first() == Some(&b'[');
            let types: Result<TypeMeta<'_>, _> = serde_json::from_slice(body);
            let types = match types {
                Ok(types) if !is_list => types,
                Ok(_) => return Err(unrecognized(kind, body, "")),
                Err(error) => return Err(unrecognized(kind, body, &error.to_string())),
            };
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
        "application/json" => {
            serde_json::from_slice(body).map_err(|error| unrecognized(kind, body, &error.to_string()))
        }
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
    shallow(orlop_manifests::document::read_one("the request's body", body))
}

/// The same, of a body in which keys may stand twice; what is to be said of those is given beside it.
///
/// # Errors
/// As [`yaml`].
pub fn yaml_with_repeats(body: &[u8]) -> status::Result<(Value, Vec<String>)> {
    let (value, repeats) = match orlop_manifests::document::read_one_with_repeats("the request's body", body) {
        Ok((value, repeats)) => (Ok(value), repeats),
        Err(error) => (Err(error), Vec::new()),
    };
    Ok((shallow(value)?, repeats))
}

fn shallow(read: Result<Value, ReadError>) -> status::Result<Value> {
    let value = read.map_err(|error| Status::bad_request(format!("error converting YAML to JSON: {error}")))?;
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
        let given = self.kind.as_deref().filter(|it| !it.is_empty()).unwrap_or(kind);
        let given_version = self.api_version.as_deref().filter(|it| !it.is_empty()).unwrap_or(api_version);
        if given == kind && given_version == api_version {
            return Ok(());
        }
        let (group, version) = given_version.rsplit_once('/').unwrap_or(("", given_version));
        let known = |it: &&Kind| it.kind == given && it.version == version && it.group == group;
        // Both forms of events are one kind within.
        let one_within = given == kind && KINDS.iter().filter(|it| it.kind == given).count() > 1;
        Err(Status::bad_request(match KINDS.iter().find(known) {
            Some(_) if one_within => format!(
                "the API version in the data ({given_version}) does not match the expected API version ({api_version})"
            ),
            Some(it) => format!(
                "{given} in version {version:?} cannot be handled as a {kind}: converting ({}.{given}) to ({}.{kind}): unknown conversion",
                it.version,
                internal_package(api_version)
            ),
            None => format!(
                "{given} in version {version:?} cannot be handled as a {kind}: no kind {given:?} is registered for version {given_version:?} in scheme {SCHEME:?}"
            ),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &str, api_version: &str, body: &str, expected: Option<&str>) {
        let head = http::Request::builder().method("POST").uri("/api/v1/namespaces/d/pods").body(()).unwrap();
        let request = Request::parse(head.into_parts().0, &Default::default()).unwrap();
        let got = object_of(&request, kind, api_version, body.as_bytes()).err().map(|it| it.message);
        assert_eq!(got.as_deref(), expected, "{body}");
    }

    #[test]
    fn bodies_of_no_or_another_kind_are_refused_in_kubernetes_words() {
        check("Pod", "v1", "{}", None);
        check("Pod", "v1", r#"{"kind":"Pod","apiVersion":"v1"}"#, None);
        let start =
            "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: ";
        for (body, text) in [
            ("", "unexpected end of JSON input (<empty>)"),
            ("hello", "invalid character 'h' looking for beginning of value (68656c6c6f)"),
            (
                "{\"metadata\": {\"name\": \"webs\"} x",
                "invalid character 'x' after object key:value pair ({\"metadata\": {\"name\": \"webs\"}  ...)",
            ),
            (
                "{\"kind\": 7}",
                "json: cannot unmarshal number into Go struct field .kind of type string ({\"kind\": 7})",
            ),
            (
                "[]",
                "json: cannot unmarshal array into Go value of type struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" } (5b5d)",
            ),
        ] {
            check("Pod", "v1", body, Some(&format!("{start}{text}")));
        }
        for (kind, api_version, body, text) in [
            (
                "Pod",
                "v1",
                r#"{"kind":"Service","apiVersion":"v1"}"#,
                "Service in version \"v1\" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion",
            ),
            (
                "Deployment",
                "apps/v1",
                r#"{"kind":"Pod","apiVersion":"v1"}"#,
                "Pod in version \"v1\" cannot be handled as a Deployment: converting (v1.Pod) to (apps.Deployment): unknown conversion",
            ),
            (
                "Pod",
                "v1",
                r#"{"kind":"pod"}"#,
                "pod in version \"v1\" cannot be handled as a Pod: no kind \"pod\" is registered for version \"v1\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            ),
            (
                "Deployment",
                "apps/v1",
                r#"{"kind":"Deployment","apiVersion":"apps/v7"}"#,
                "Deployment in version \"v7\" cannot be handled as a Deployment: no kind \"Deployment\" is registered for version \"apps/v7\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
            ),
            (
                "Event",
                "v1",
                r#"{"kind":"Event","apiVersion":"events.k8s.io/v1"}"#,
                "the API version in the data (events.k8s.io/v1) does not match the expected API version (v1)",
            ),
        ] {
            check(kind, api_version, body, Some(text));
        }
    }
}
