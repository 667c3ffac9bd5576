//! One repository of a registry, as far as pulling needs it: manifests and blobs over HTTP (OCI distribution specification, "Pull").
//!
//! Registries on this machine's loopback are spoken to in plain HTTP, as the Docker Engine allows; all others by TLS, to which a redirect may not
//! put an end. It is not `oci-client` because that reads manifests, tokens and errors of any size into memory: see
//! `docs/decisions/010-own-registry-client.md`. Every answer has a limit here, every silence a timeout. Retries are the caller's.

pub mod challenge;

use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue, RANGE, WWW_AUTHENTICATE};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use serde::Deserialize;

use super::digest::Digest;
use super::fault::Fault;
use crate::runtime::RegistryAuth;
use crate::runtime::reference::Reference;
use challenge::Challenge;

/// The largest manifest in bytes: what registries accept themselves.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// The largest answer of a token service, and the most of an error that is read.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// The most of an error's text that is told.
const MAX_TOLD_CHARS: usize = 512;
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
/// How long an answer may say nothing.
const SILENCE: Duration = Duration::from_secs(60);
const MAX_REDIRECTS: usize = 10;
/// What a manifest may be: an image or an index of images, in OCI's or Docker's form.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// HTTP clients, made when first needed and kept for their connections.
#[derive(Debug, Default)]
pub struct Clients {
    tls: OnceLock<Client>,
    plain: OnceLock<Client>,
}

impl Clients {
    fn of(&self, plain: bool) -> Result<Client, Fault> {
        let cell = if plain { &self.plain } else { &self.tls };
        if let Some(it) = cell.get() {
            return Ok(it.clone());
        }
        // Harmless where one is installed already: the workspace has only this one.
        let _ = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = Client::builder()
            .user_agent(concat!("orlop/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_WITHIN)
            .read_timeout(SILENCE)
            .redirect(Policy::custom(|attempt| {
                let secure = attempt.previous().last().is_some_and(|it| it.scheme() == "https");
                if attempt.previous().len() > MAX_REDIRECTS {
                    return attempt.error("too many redirects");
                }
                if secure && attempt.url().scheme() != "https" {
                    return attempt.error("a redirect from TLS to plain HTTP");
                }
                attempt.follow()
            }));
        if plain {
            // No proxy stands between this machine and itself, and no certificate is needed to trust it.
            builder = builder.no_proxy().tls_certs_only([]);
        }
        let made =
            builder.build().map_err(|it| Fault::Registry(format!("cannot set up an HTTP client: {}", words(&it))))?;
        Ok(cell.get_or_init(|| made).clone())
    }
}

/// A repository, and how one is let in.
#[derive(Debug)]
pub struct Repository {
    client: Client,
    reference: Reference,
    base: Url,
    path: String,
    auth: Option<RegistryAuth>,
    /// The `Authorization` that worked last.
    let_in: Mutex<Option<HeaderValue>>,
}

impl Repository {
    /// The repository of a reference. Nothing is asked yet.
    ///
    /// # Errors
    /// When no client can be made or the registry's name makes no URL.
    pub fn open(clients: &Clients, reference: &Reference, auth: Option<&RegistryAuth>) -> Result<Self, Fault> {
        let (host, path) = reference.registry_and_path();
        let plain = is_loopback(&host);
        // Docker's registry answers under another name than the one it goes by.
        let host = if host == "docker.io" { "registry-1.docker.io" } else { &host };
        let scheme = if plain { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{host}/"));
        let base = base.map_err(|it| Fault::Registry(format!("{host} is no registry: {it}")))?;
        let client = clients.of(plain)?;
        Ok(Self { client, reference: reference.clone(), base, path, auth: auth.cloned(), let_in: Mutex::default() })
    }

    /// The manifest under a tag or digest, with its digest. A digest that was asked for is what it has.
    ///
    /// # Errors
    /// When it is not there, may not be read, is too large or is not what was asked for.
    pub async fn manifest(&self, version: &str) -> Result<(Vec<u8>, Digest), Fault> {
        let response = self.get(&format!("manifests/{version}"), MANIFESTS, None).await?;
        let bytes = limited(response, MAX_MANIFEST_BYTES).await?;
        let digest = Digest::of(&bytes);
        match version.contains(':').then(|| Digest::parse(version)).transpose()? {
            Some(asked) if asked != digest => {
                Err(Fault::bad(format!("the manifest that the registry gave for {asked} has the digest {digest}")))
            }
            _ => Ok((bytes, digest)),
        }
    }

    /// A blob's bytes from an offset on, and the offset they really begin at: zero where the registry knows no ranges.
    ///
    /// # Errors
    /// When it is not there or may not be read.
    pub async fn blob(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<(u64, impl Stream<Item = Result<Bytes, Fault>> + Send + Unpin + use<>), Fault> {
        let range = (offset > 0).then(|| format!("bytes={offset}-"));
        let response = self.get(&format!("blobs/{digest}"), "*/*", range).await?;
        let begins = if response.status() == StatusCode::PARTIAL_CONTENT { offset } else { 0 };
        let host = self.host();
        let stream = response.bytes_stream().map(move |it| it.map_err(|it| lost(&host, &it)));
        Ok((begins, Box::pin(stream)))
    }

    async fn get(&self, what: &str, accept: &'static str, range: Option<String>) -> Result<Response, Fault> {
        let url = self.base.join(&format!("v2/{}/{what}", self.path));
        let url = url.map_err(|it| Fault::Registry(format!("{what} makes no URL: {it}")))?;
        let send = || {
            let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
            if let Some(it) = self.let_in.lock().clone() {
                request = request.header(AUTHORIZATION, it);
            }
            if let Some(range) = &range {
                request = request.header(RANGE, range);
            }
            request.send()
        };
        let mut response = send().await.map_err(|it| lost(&self.host(), &it))?;
        if response.status() == StatusCode::UNAUTHORIZED {
            let header = self.authorization(response.headers()).await?;
            *self.let_in.lock() = Some(header);
            response = send().await.map_err(|it| lost(&self.host(), &it))?;
        }
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let told = said(&limited(response, MAX_ANSWER_BYTES).await.unwrap_or_default());
        Err(self.refusal(what, status, told))
    }

    /// What to show a registry that asks who one is (RFC 7235; Docker's token authentication).
    async fn authorization(&self, headers: &HeaderMap) -> Result<HeaderValue, Fault> {
        let values = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|it| it.to_str().ok());
        let challenges: Vec<Challenge> = values.flat_map(challenge::parse).collect();
        let find = |scheme: &str| challenges.iter().find(|it| it.scheme.eq_ignore_ascii_case(scheme));
        if let Some(bearer) = find("bearer") {
            return secret("Bearer", &self.token(bearer).await?);
        }
        let denied = |why: &str| Fault::Registry(format!("pull access denied for {}: {why}", self.reference.name));
        match (find("basic"), &self.auth) {
            (Some(_), Some(auth)) => secret("Basic", &basic(auth)),
            (Some(_), None) => Err(denied("no basic auth credentials")),
            (None, _) => Err(denied("unauthorized: the registry asks for a kind of authentication that is not known")),
        }
    }

    async fn token(&self, bearer: &Challenge) -> Result<String, Fault> {
        let realm = bearer.get("realm").unwrap_or_default();
        let mut url = Url::parse(realm)
            .map_err(|_| Fault::Registry(format!("the registry names {realm:?} to get a token, which is no URL")))?;
        // Passwords go nowhere in the clear but within this machine.
        if url.scheme() != "https" && !(self.base.scheme() == "http" && url.host_str().is_some_and(is_loopback)) {
            return Err(Fault::Registry(format!("the registry names {realm:?} to get a token, which is not secure")));
        }
        let scope = bearer.get("scope").map_or_else(|| format!("repository:{}:pull", self.path), str::to_owned);
        let service = bearer.get("service").map(|it| ("service", it));
        url.query_pairs_mut().extend_pairs(service).append_pair("scope", &scope);
        let host = url.host_str().unwrap_or_default().to_owned();
        let mut request = self.client.get(url);
        if let Some(auth) = &self.auth {
            request = request.header(AUTHORIZATION, secret("Basic", &basic(auth))?);
        }
        let response = request.send().await.map_err(|it| lost(&host, &it))?;
        let status = response.status();
        let body = limited(response, MAX_ANSWER_BYTES).await?;
        if !status.is_success() {
            return Err(self.refusal("token", status, said(&body)));
        }
        #[derive(Deserialize)]
        struct Token {
            token: Option<String>,
            access_token: Option<String>,
        }
        let token = serde_json::from_slice::<Token>(&body).ok().and_then(|it| it.token.or(it.access_token));
        token.ok_or_else(|| Fault::Registry(format!("{host} gave no token")))
    }

    fn host(&self) -> String {
        self.reference.registry_and_path().0
    }

    fn refusal(&self, what: &str, status: StatusCode, told: Option<String>) -> Fault {
        let told_or = |it: &str| told.clone().unwrap_or_else(|| it.to_owned());
        let name = &self.reference.name;
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let told = told_or("it does not say why");
            return Fault::Lost(format!("the registry of {name} answered {status} to {what}: {told}"));
        }
        Fault::Registry(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => format!(
                "pull access denied for {name}, repository does not exist or may require authorization: {}",
                told_or("unauthorized: authentication required")
            ),
            StatusCode::NOT_FOUND if what.starts_with("manifests/") => {
                format!("manifest for {} not found: {}", self.reference.full(), told_or("manifest unknown"))
            }
            _ => format!("the registry of {name} answered {status} to {what}: {}", told_or("it does not say why")),
        })
    }
}

/// Whether a registry is on this machine: `localhost`, `127.0.0.0/8` or `::1`, with or without a port.
pub fn is_loopback(registry: &str) -> bool {
    let host = match registry.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    };
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|it| it.is_loopback())
}

fn basic(auth: &RegistryAuth) -> String {
    BASE64_STANDARD.encode(format!("{}:{}", auth.username, auth.password))
}

fn secret(scheme: &str, text: &str) -> Result<HeaderValue, Fault> {
    let value = HeaderValue::from_str(&format!("{scheme} {text}"));
    let mut value = value.map_err(|_| Fault::Registry("the registry's token is malformed".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

/// A body, if it is not larger than it may be.
async fn limited(response: Response, limit_bytes: usize) -> Result<Vec<u8>, Fault> {
    let host = response.url().host_str().unwrap_or_default().to_owned();
    let (mut body, mut stream) = (Vec::new(), response.bytes_stream());
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|it| lost(&host, &it))?;
        if body.len() + chunk.len() > limit_bytes {
            return Err(Fault::bad(format!("the answer of {host} has more than {limit_bytes} bytes")));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The first error in a registry's answer (OCI distribution specification, "Error Codes"): `manifest unknown: manifest unknown`.
fn said(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Answer {
        errors: Vec<Told>,
    }
    #[derive(Deserialize)]
    struct Told {
        code: String,
        #[serde(default)]
        message: String,
    }
    let first = serde_json::from_slice::<Answer>(body).ok()?.errors.into_iter().next()?;
    let text = format!("{}: {}", first.code.to_ascii_lowercase().replace('_', " "), first.message);
    Some(text.chars().filter(|it| !it.is_control()).take(MAX_TOLD_CHARS).collect())
}

/// Why there is no answer, or not all of it.
fn lost(host: &str, error: &reqwest::Error) -> Fault {
    Fault::Lost(format!("failed to do request to {host}: {}", words(error)))
}

/// The causes of an error, the outermost left out where it says nothing.
fn words(error: &reqwest::Error) -> String {
    let mut causes = Vec::new();
    let mut at = error.source();
    while let Some(it) = at {
        // The words that scripts look for, and that Docker has.
        let refused = it.downcast_ref::<io::Error>().is_some_and(|it| it.kind() == io::ErrorKind::ConnectionRefused);
        let text = if refused { "connect: connection refused".to_owned() } else { it.to_string() };
        if !causes.contains(&text) {
            causes.push(text);
        }
        at = it.source();
    }
    if error.is_timeout() {
        causes.push("i/o timeout".to_owned());
    }
    if causes.is_empty() { error.to_string() } else { causes.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_this_machine() {
        let check = |registry: &str, expected: bool| assert_eq!(is_loopback(registry), expected, "{registry}");
        check("localhost", true);
        check("localhost:5000", true);
        check("127.0.0.1:5000", true);
        check("127.9.9.9", true);
        check("[::1]:5000", true);
        check("10.0.0.1:5000", false);
        check("localhost.example", false);
        check("127.0.0.1.example:5000", false);
        check("docker.io", false);
    }

    #[test]
    fn errors_are_told_in_one_line() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\nunknown","detail":{}}]}"#;
        assert_eq!(said(body).as_deref(), Some("manifest unknown: manifestunknown"));
        assert_eq!(said(b"<html>"), None);
        assert_eq!(said(br#"{"errors":[]}"#), None);
    }
}
