//! The paths that are no resources: health, version, metrics, discovery and OpenAPI documents.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use orlop_api::status::{self, Status};
use orlop_api::{discovery, openapi};
use serde_json::{Value, json};

use crate::authenticate::service_account::{ISSUER, Issuer};
use crate::core::Core;
use crate::fairness::Fairness;
use crate::metrics::Metrics;
use crate::present::{self, Response};
use crate::registry::Kinds;
use crate::request::accept::Form;
use crate::request::{Request, Verb};

/// How long a health check waits for the store.
const STORE_CHECK_MAX: std::time::Duration = std::time::Duration::from_secs(2);

/// How long a document that is named by its fingerprint may be kept: the year that is the most that HTTP knows.
const DOCUMENT_HOURS: i64 = 365 * 24;

/// What the plain paths show.
#[derive(Debug)]
pub struct Plain {
    /// Where clients reach the server, for `/api`.
    pub address: String,
    /// Who signs service accounts' tokens, for its discovery documents.
    pub issuer: Arc<Issuer>,
}

/// How long clients may keep what the issuer says of itself, in seconds, as kube-apiserver has it.
const ISSUER_CACHE: &str = "public, max-age=3600";

impl Plain {
    /// Serves a path that is no resource's.
    ///
    /// # Errors
    /// `NotFound` for paths that do not exist.
    pub async fn serve(
        &self,
        core: &Core,
        fairness: &Fairness,
        metrics: &Metrics,
        request: &Request,
    ) -> status::Result<Response> {
        if !matches!(request.method, Method::GET | Method::HEAD) {
            return Err(Status::method_not_allowed());
        }
        let kinds = core.cache.registry().kinds();
        let path = request.path.trim_end_matches('/');
        let segments: Vec<&str> = path.split('/').filter(|it| !it.is_empty()).collect();
        if matches!(segments.first(), Some(&("api" | "apis"))) {
            // Discovery is negotiated, as objects are.
            request.accept.check(Verb::Get)?;
        }
        match segments.as_slice() {
            [] => json_of(request, &paths(&kinds)),
            [check @ ("livez" | "readyz" | "healthz"), rest @ ..] => health(core, request, check, rest).await,
            [".well-known", "openid-configuration"] => Ok(of_issuer("application/json", &self.issuer_metadata())),
            ["openid", "v1", "jwks"] => Ok(of_issuer("application/jwk-set+json", &self.issuer.keys())),
            ["version"] => json_of(request, &version()),
            ["metrics"] => {
                let text = metrics.text(core, fairness).map_err(Status::internal)?;
                let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                Ok(present::with_type(StatusCode::OK, content_type, text))
            }
            ["openapi", "v2"] => Ok(openapi_v2(request, &kinds)),
            ["openapi", "v3"] => Ok(document(request, kinds.documents.v3_index(), "application/json")),
            ["openapi", "v3", rest @ ..] => {
                let found = kinds.documents.v3(&rest.join("/")).ok_or_else(Status::no_such_path)?;
                Ok(pinned(request, &found, document(request, &found, "application/json")))
            }
            ["api"] if request.accept.form == Form::AggregatedDiscovery => Ok(aggregated(request, &kinds, true)),
            ["apis"] if request.accept.form == Form::AggregatedDiscovery => Ok(aggregated(request, &kinds, false)),
            ["api"] => json_of(request, &discovery::api_versions(&kinds.all, &self.address)),
            ["apis"] => json_of(request, &discovery::api_group_list(&kinds.all)),
            ["api", version] => found(request, discovery::api_resource_list(&kinds.all, "", version)),
            ["apis", group] => found(request, discovery::api_group(&kinds.all, group)),
            ["apis", group, version] => found(request, discovery::api_resource_list(&kinds.all, group, version)),
            _ => Err(Status::no_such_path()),
        }
    }
}

impl Plain {
    /// What relying parties have to know of the issuer (OpenID Connect Discovery 1.0, 3).
    fn issuer_metadata(&self) -> Value {
        json!({
            "issuer": ISSUER,
            "jwks_uri": format!("https://{}/openid/v1/jwks", self.address),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

fn of_issuer(content_type: &'static str, value: &Value) -> Response {
    let mut response = present::with_type(StatusCode::OK, content_type, value.to_string());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(ISSUER_CACHE));
    response
}

fn found(request: &Request, value: Option<Value>) -> status::Result<Response> {
    json_of(request, &value.ok_or_else(Status::no_such_path)?)
}

fn json_of(request: &Request, value: &Value) -> status::Result<Response> {
    present::encoded(StatusCode::OK, Bytes::from(value.to_string()), &request.accept, request.options.pretty)
}

/// The paths that the root lists.
fn paths(kinds: &Kinds) -> Value {
    let groups = discovery::groups(&kinds.all);
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned()];
    for (group, versions) in groups {
        if group.is_empty() {
            paths.extend(versions.iter().map(|it| format!("/api/{it}")));
        } else {
            paths.push(format!("/apis/{group}"));
            paths.extend(versions.iter().map(|it| format!("/apis/{group}/{it}")));
        }
    }
    for it in [
        "/.well-known/openid-configuration",
        "/openid/v1/jwks",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/version",
    ] {
        paths.push(it.to_owned());
    }
    paths.sort();
    json!({ "paths": paths })
}

/// `/version`: the Kubernetes version whose API this is, and our own behind the plus sign.
fn version() -> Value {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    json!({
        "major": "1", "minor": "35",
        "gitVersion": concat!("v1.35.0+orlop-", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "", "buildDate": "",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{arch}", std::env::consts::OS),
    })
}

/// One part of the server's health.
async fn check(core: &Core, name: &str) -> Result<(), String> {
    match name {
        "store" => match tokio::time::timeout(STORE_CHECK_MAX, core.store.revision()).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        },
        "informer-sync" if core.cache.revision() == 0 => Err("the cache is not filled yet".to_owned()),
        "shutdown" if core.stopping.is_cancelled() => Err("process is shutting down".to_owned()),
        _ => Ok(()),
    }
}

async fn health(core: &Core, request: &Request, path: &str, rest: &[&str]) -> status::Result<Response> {
    // A live server may be without its store: to restart it would not help. A ready one has it.
    let checks: &[&str] = match path {
        "livez" => &["ping"],
        "healthz" => &["ping", "store"],
        _ => &["ping", "store", "informer-sync", "shutdown"],
    };
    if let [only] = rest {
        let name = checks.iter().find(|it| *it == only).ok_or_else(Status::no_such_path)?;
        return Ok(match check(core, name).await {
            Ok(()) => text(StatusCode::OK, "ok".to_owned()),
            Err(why) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
        });
    }
    let mut excluded = Vec::new();
    let mut verbose = false;
    for (name, value) in form_urlencoded::parse(request.query.as_bytes()) {
        match &*name {
            "verbose" => verbose = true,
            "exclude" => excluded.push(value.into_owned()),
            _ => {}
        }
    }
    let mut lines = String::new();
    let mut failed = false;
    for name in checks {
        if excluded.iter().any(|it| it == name) {
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check(core, name).await {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            Err(why) => {
                failed = true;
                tracing::warn!(check = %name, %why, "a health check failed");
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
            }
        }
    }
    Ok(match (failed, verbose) {
        (true, _) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}{path} check failed\n")),
        (false, true) => text(StatusCode::OK, format!("{lines}{path} check passed\n")),
        (false, false) => text(StatusCode::OK, "ok".to_owned()),
    })
}

fn text(code: StatusCode, body: String) -> Response {
    let mut response = present::with_type(code, "text/plain; charset=utf-8", body);
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// `/openapi/v2`: as the protobuf that kubectl asks for, or as JSON.
fn openapi_v2(request: &Request, kinds: &Kinds) -> Response {
    let asked = request.headers.get_all(header::ACCEPT).iter().filter_map(|it| it.to_str().ok());
    let protobuf = asked.into_iter().any(|it| it.contains(openapi::V2_PROTOBUF_ASKED));
    match protobuf {
        true => document(request, kinds.documents.v2_protobuf(), openapi::V2_PROTOBUF),
        false => document(request, kinds.documents.v2(), "application/json"),
    }
}

fn document(request: &Request, it: &openapi::Document, content_type: &'static str) -> Response {
    cached(request, &it.body, &it.etag, content_type)
}

/// `/api` and `/apis` in one document each.
fn aggregated(request: &Request, kinds: &Kinds, core: bool) -> Response {
    let content_type = match request.accept.beta {
        true => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        false => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
    };
    let (body, etag) = kinds.aggregated(core, request.accept.beta);
    cached(request, body, etag, content_type)
}

/// A document that was asked for by its fingerprint never changes; one that has another now is elsewhere. Source: `k8s.io/kube-openapi/pkg/handler3`.
fn pinned(request: &Request, it: &openapi::Document, mut response: Response) -> Response {
    let Some((_, hash)) = form_urlencoded::parse(request.query.as_bytes()).find(|(name, _)| name == "hash") else {
        return response;
    };
    let headers = response.headers_mut();
    if !hash.is_empty() && hash != it.etag {
        let to = HeaderValue::from_str(&format!("{}?hash={}", request.path, it.etag));
        let mut moved = present::with_type(StatusCode::MOVED_PERMANENTLY, "text/html; charset=utf-8", Bytes::new());
        if let Ok(to) = to {
            moved.headers_mut().insert(header::LOCATION, to);
        }
        return moved;
    }
    if !hash.is_empty() {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        let expires = orlop_client::clock::now() + jiff::SignedDuration::from_hours(DOCUMENT_HOURS);
        if let Ok(expires) = HeaderValue::from_str(&expires.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()) {
            headers.insert(header::EXPIRES, expires);
        }
    }
    response
}

fn cached(request: &Request, body: &Bytes, etag: &str, content_type: &'static str) -> Response {
    let quoted = format!("\"{etag}\"");
    let known = request.headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|it| it.to_str().ok());
    // Compared weakly (RFC 9110, 13.1.2): `W/` in front says nothing here.
    let mut known = known.flat_map(|it| it.split(',')).map(|it| it.trim().trim_start_matches("W/"));
    let mut response = match known.any(|it| it == "*" || it == quoted) {
        true => present::with_type(StatusCode::NOT_MODIFIED, content_type, Bytes::new()),
        false => present::with_type(StatusCode::OK, content_type, body.clone()),
    };
    if let Ok(value) = HeaderValue::from_str(&quoted) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}
