//! Calls of webhooks, those of admission and those that convert: HTTPS to an address that a configuration names.
//!
//! In: where to call, whom to trust, the body. Out: the answer's body, or what went wrong in the words of Go's client. Connections are kept
//! for the next call, a few a place; a call anywhere closes those of places that were not called for a while. The size of an answer is bounded,
//! the time of a call is the caller's to bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Endpoints, Service};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::admission::Sight;
use crate::admission::lister::Lister;
use crate::serve::tls;

/// How many unused connections are kept for one place: more calls at once open their own and close them.
const IDLE_MAX: usize = 8;

/// How long a place is remembered to which nobody calls: as long as Go keeps a connection (`IdleConnTimeout`).
const PLACE_AGE_MAX: Duration = Duration::from_secs(90);

/// How many places are remembered at once, each with some kilobytes of certificates: beyond that those go that were called longest ago.
const PLACES_MAX: usize = 512;

/// Where this machine keeps the certificates it trusts, for webhooks without a CA of their own.
const SYSTEM_ROOTS: &[&str] =
    &["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Where a webhook is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    Url { host: String, port: u16, path: String },
    Service { namespace: String, name: String, port: u16, path: String },
}

impl Place {
    /// Reads a URL that was checked before it was stored.
    pub fn of_url(url: &str) -> Option<Self> {
        let uri: http::Uri = url.parse().ok()?;
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(443);
        Some(Place::Url { host, port, path: uri.path().to_owned() })
    }

    /// The host as certificates and URLs name it.
    fn host(&self) -> String {
        match self {
            Place::Url { host, .. } => host.clone(),
            Place::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    fn port(&self) -> u16 {
        match self {
            Place::Url { port, .. } | Place::Service { port, .. } => *port,
        }
    }

    fn path(&self) -> &str {
        match self {
            Place::Url { path, .. } | Place::Service { path, .. } => path,
        }
    }

    fn authority(&self) -> String {
        let (host, port) = (self.host(), self.port());
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        match (self, port) {
            (Place::Url { .. }, 443) => host,
            _ => format!("{host}:{port}"),
        }
    }

    /// The URL of a call.
    pub fn shown(&self, timeout_seconds: i32) -> String {
        format!("https://{}{}", self.authority(), self.target(timeout_seconds))
    }

    /// The path with the time the call may take, which webhooks read.
    fn target(&self, timeout_seconds: i32) -> String {
        let path = if self.path().is_empty() { "/" } else { self.path() };
        format!("{path}?timeout={timeout_seconds}s")
    }
}

/// One call.
#[derive(Debug)]
pub struct Call<'a> {
    pub place: &'a Place,
    /// The authorities that the other end's certificate may come from, in PEM; those of this machine where it is empty.
    pub ca: &'a Bytes,
    /// What the other end is told of how long it may take.
    pub timeout_seconds: i32,
    /// The largest answer.
    pub answer_bytes_max: usize,
}

type Sender = SendRequest<Full<Bytes>>;

/// Whom to trust, and the connections that are open.
struct Pool {
    tls: Arc<ClientConfig>,
    idle: Vec<Sender>,
    used: Instant,
}

/// Calls webhooks.
pub struct Caller {
    services: Lister,
    endpoints: Lister,
    /// By place and CA.
    pools: Mutex<HashMap<(Place, Bytes), Pool>>,
}

impl Caller {
    /// Finds services there.
    pub fn new(sight: &Sight) -> Self {
        Caller {
            services: Lister::new(sight, "", "Service"),
            endpoints: Lister::new(sight, "", "Endpoints"),
            pools: Mutex::default(),
        }
    }

    /// Posts a review and reads the answer.
    ///
    /// # Errors
    /// What Kubernetes says behind `failed to call webhook: `.
    pub async fn post(&self, call: &Call<'_>, body: Bytes) -> Result<Bytes, String> {
        let target = call.place.target(call.timeout_seconds);
        let failed = |what: String| format!("Post \"https://{}{target}\": {what}", call.place.authority());
        // A connection that was kept may have been closed meanwhile: then a new one is opened, once.
        let kept = self.kept(call);
        if let Some(sender) = kept.filter(|it| !it.is_closed()) {
            match self.exchange(sender, call, &target, body.clone()).await {
                Err(Broken::BeforeAnswer(_)) => {}
                outcome => return outcome.map_err(|it| it.told(&failed)),
            }
        }
        let sender = self.connect(call.place, call.ca).await.map_err(&failed)?;
        self.exchange(sender, call, &target, body).await.map_err(|it| it.told(&failed))
    }

    async fn exchange(&self, mut sender: Sender, call: &Call<'_>, target: &str, body: Bytes) -> Result<Bytes, Broken> {
        let request = http::Request::post(target)
            .header(HOST, call.place.authority())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|error| Broken::BeforeAnswer(error.to_string()))?;
        sender.ready().await.map_err(|error| Broken::BeforeAnswer(error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(|error| {
            Broken::BeforeAnswer(if error.is_incomplete_message() { "EOF".to_owned() } else { error.to_string() })
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, call.answer_bytes_max).collect().await;
        let body = body.map_err(|error| Broken::Answer(format!("error reading the response: {error}")))?.to_bytes();
        self.give_back(call, sender);
        if head.status.is_success() {
            return Ok(body);
        }
        Err(Broken::Refused(match head.status.as_u16() {
            404 => "the server could not find the requested resource".to_owned(),
            code => {
                let text: String = String::from_utf8_lossy(&body).chars().take(REFUSAL_CHARS_MAX).collect();
                match serde_json::from_slice::<serde_json::Value>(&body) {
                    Ok(status) if status["kind"] == "Status" => status["message"].as_str().unwrap_or(&text).to_owned(),
                    _ if code >= 500 => {
                        format!("an error on the server ({text:?}) has prevented the request from succeeding")
                    }
                    _ => format!("the server rejected our request for an unknown reason (code {code})"),
                }
            }
        }))
    }

    fn give_back(&self, call: &Call<'_>, sender: Sender) {
        let mut pools = self.pools.lock();
        if let Some(pool) = pools.get_mut(&(call.place.clone(), call.ca.clone())) {
            pool.used = Instant::now();
            if pool.idle.len() < IDLE_MAX && !sender.is_closed() {
                pool.idle.push(sender);
            }
        }
    }

    /// A connection that an earlier call has left.
    fn kept(&self, call: &Call<'_>) -> Option<Sender> {
        let mut pools = self.pools.lock();
        pools.retain(|_, it| it.used.elapsed() < PLACE_AGE_MAX);
        pools.get_mut(&(call.place.clone(), call.ca.clone()))?.idle.pop()
    }

    /// Makes room for another place.
    fn make_room(pools: &mut HashMap<(Place, Bytes), Pool>) {
        while pools.len() >= PLACES_MAX {
            let oldest = pools.iter().min_by_key(|(_, it)| it.used).map(|(key, _)| key.clone());
            let Some(oldest) = oldest else { return };
            pools.remove(&oldest);
        }
    }

    async fn connect(&self, place: &Place, ca: &Bytes) -> Result<Sender, String> {
        let tls = self.tls(place, ca)?;
        let (host, port) = self.resolve(place).await?;
        let shown = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::ConnectionRefused => format!("dial tcp {shown}: connect: connection refused"),
            std::io::ErrorKind::HostUnreachable => format!("dial tcp {shown}: connect: no route to host"),
            std::io::ErrorKind::NetworkUnreachable => format!("dial tcp {shown}: connect: network is unreachable"),
            _ => format!("dial tcp {shown}: {error}"),
        })?;
        let _ = stream.set_nodelay(true);
        let name = ServerName::try_from(place.host()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(|error| in_words(&error))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        // Ends when the sender is dropped or the other end closes.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a webhook broke");
            }
        });
        Ok(sender)
    }

    /// The settings for a CA, made once a place and kept as long as it is called.
    fn tls(&self, place: &Place, ca: &Bytes) -> Result<Arc<ClientConfig>, String> {
        let key = (place.clone(), ca.clone());
        if let Some(pool) = self.pools.lock().get(&key) {
            return Ok(pool.tls.clone());
        }
        let mut roots = RootCertStore::empty();
        if ca.is_empty() {
            for path in SYSTEM_ROOTS.iter().filter(|it| std::path::Path::new(it).exists()).take(1) {
                let found = CertificateDer::pem_file_iter(path).map_err(|error| error.to_string())?;
                roots.add_parsable_certificates(found.flatten());
            }
        } else {
            for certificate in CertificateDer::pem_slice_iter(ca).flatten() {
                // One that cannot be read is passed over, as Go does.
                let _ = roots.add(certificate);
            }
            if roots.is_empty() {
                return Err("unable to load root certificates: unable to parse bytes as PEM block".to_owned());
            }
        }
        let config = ClientConfig::builder_with_provider(tls::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = Arc::new(config);
        let mut pools = self.pools.lock();
        Self::make_room(&mut pools);
        pools.insert(key, Pool { tls: tls.clone(), idle: Vec::new(), used: Instant::now() });
        Ok(tls)
    }

    /// Where to dial: for a service one of its ready endpoints, since the way to service addresses is the nodes' matter.
    async fn resolve(&self, place: &Place) -> Result<(String, u16), String> {
        let Place::Service { namespace, name, port, .. } = place else {
            return Ok((place.host(), place.port()));
        };
        let service: Option<Service> = self.services.get(namespace, name).await.map_err(|error| error.message)?;
        let spec = service.and_then(|it| it.spec).ok_or_else(|| format!("service {name:?} not found"))?;
        if spec.type_.as_deref() == Some("ExternalName") {
            return Ok((spec.external_name.unwrap_or_default(), *port));
        }
        let ports = spec.ports.unwrap_or_default();
        let of_service = ports.iter().find(|it| it.port == i32::from(*port));
        let of_service = of_service.ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        let endpoints: Option<Endpoints> = self.endpoints.get(namespace, name).await.map_err(|error| error.message)?;
        let none = || format!("no endpoints available for service {name:?}");
        let subsets = endpoints.and_then(|it| it.subsets).ok_or_else(none)?;
        let found = subsets.iter().find_map(|subset| {
            let address = subset.addresses.as_ref()?.first()?;
            let named = |it: &&k8s_openapi::api::core::v1::EndpointPort| {
                it.name.as_deref().unwrap_or_default() == of_service.name.as_deref().unwrap_or_default()
            };
            let port = subset.ports.as_ref()?.iter().find(named)?;
            Some((address.ip.clone(), u16::try_from(port.port).ok()?))
        });
        found.ok_or_else(none)
    }
}

/// How much of a refusal is told.
const REFUSAL_CHARS_MAX: usize = 1024;

/// How a call failed.
enum Broken {
    /// Before there was an answer: another connection may do better.
    BeforeAnswer(String),
    Answer(String),
    /// By an answer that is none.
    Refused(String),
}

impl Broken {
    fn told(self, failed: &impl Fn(String) -> String) -> String {
        match self {
            Broken::BeforeAnswer(what) | Broken::Answer(what) => failed(what),
            Broken::Refused(what) => what,
        }
    }
}

/// What a failed handshake is called.
fn in_words(error: &std::io::Error) -> String {
    use tokio_rustls::rustls::{CertificateError, Error};
    let inner = error.get_ref().and_then(|it| it.downcast_ref::<Error>());
    let what = match inner {
        Some(Error::InvalidCertificate(why)) => match why {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "x509: certificate signed by unknown authority".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "x509: certificate has expired or is not yet valid".to_owned()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "x509: certificate is not valid for the name of the webhook".to_owned()
            }
            other => format!("x509: {other}"),
        },
        _ => return format!("tls: {error}"),
    };
    format!("tls: failed to verify certificate: {what}")
}
