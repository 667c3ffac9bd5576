//! The call of a conversion webhook: HTTPS to where its definition says.
//!
//! In: an address or a service, whom to trust, the body. Out: the answer's body, or what went wrong. A connection serves one call; the caller
//! bounds its time.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use orlop_api::custom::definition::ClientConfig as Address;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::core::Core;
use crate::registry;
use crate::serve::tls;

/// The largest answer: a page of a list, converted, with room for what a version adds.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The port of HTTPS.
const PORT: u16 = 443;

/// Where a call goes.
struct Place {
    /// As the certificate names it.
    host: String,
    port: u16,
    path: String,
    /// Where to dial.
    dial: (String, u16),
}

fn place(core: &Core, address: &Address) -> Result<Place, String> {
    if let Some(url) = &address.url {
        let uri: http::Uri = url.parse().map_err(|error| format!("{url:?}: {error}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(PORT);
        return Ok(Place { dial: (host.clone(), port), host, port, path: uri.path().to_owned() });
    }
    let service = address.service.as_ref().ok_or("the definition names neither url nor service")?;
    let port = service.port.and_then(|it| u16::try_from(it).ok()).unwrap_or(PORT);
    let dial = endpoint(core, &service.namespace, &service.name, port)?;
    let path = service.path.clone().unwrap_or_else(|| "/".to_owned());
    Ok(Place { host: format!("{}.{}.svc", service.name, service.namespace), port, path, dial })
}

/// A ready endpoint of a service: the way to service addresses is the nodes' matter.
fn endpoint(core: &Core, namespace: &str, name: &str, port: u16) -> Result<(String, u16), String> {
    let find = |kind: &str| {
        let found = core.cache.get(registry::named("", kind)?, namespace, name)?;
        Some(found.value())
    };
    let service = find("Service").ok_or_else(|| format!("service {name:?} not found"))?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let of_service = list(&service["spec"]["ports"]).into_iter().find(|it| it["port"] == port);
    let of_service = of_service.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let none = || format!("no endpoints available for service {name:?}");
    let endpoints = find("Endpoints").ok_or_else(none)?;
    let found = list(&endpoints["subsets"]).into_iter().find_map(|subset| {
        let ports = list(&subset["ports"]);
        let port = ports.iter().find(|it| it["name"] == of_service["name"])?["port"].as_u64()?;
        Some((subset["addresses"][0]["ip"].as_str()?.to_owned(), u16::try_from(port).ok()?))
    });
    found.ok_or_else(none)
}

/// Posts a review and reads the answer.
///
/// # Errors
/// What went wrong.
pub async fn post(core: &Core, address: &Address, body: Bytes) -> Result<Bytes, String> {
    let place = place(core, address)?;
    let url = format!("https://{}:{}{}", place.host, place.port, place.path);
    let failed = |what: String| format!("Post \"{url}?timeout=30s\": {what}");
    exchange(&place, address, body).await.map_err(failed)
}

async fn exchange(place: &Place, address: &Address, body: Bytes) -> Result<Bytes, String> {
    let pem =
        address.ca_bundle.as_deref().map(|it| STANDARD.decode(it)).transpose().map_err(|error| error.to_string())?;
    let roots = match pem {
        Some(pem) => tls::roots(&String::from_utf8_lossy(&pem))
            .map_err(|error| format!("unable to load root certificates: {error}"))?,
        None => RootCertStore::empty(),
    };
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let (host, port) = &place.dial;
    let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("dial tcp {host}:{port}: connect: connection refused"),
        _ => format!("dial tcp {host}:{port}: {error}"),
    })?;
    let name = ServerName::try_from(place.host.clone()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(|error| format!("tls: failed to verify certificate: {error}"))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends with the sender.
    let driven = tokio::spawn(connection);
    let request = http::Request::post(format!("{}?timeout=30s", place.path))
        .header(HOST, format!("{}:{}", place.host, place.port))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(|error| error.to_string())?;
    let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
    let code = answer.status();
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(|error| format!("error reading the response: {error}"))?.to_bytes();
    driven.abort();
    if code.is_success() {
        return Ok(body);
    }
    Err(match code.as_u16() {
        404 => "the server could not find the requested resource".to_owned(),
        code if code >= 500 => "an error on the server has prevented the request from succeeding".to_owned(),
        code => format!("the server rejected our request for an unknown reason (code {code})"),
    })
}
