//! `pods/<name>/log`: finds the agent that runs the pod and hands its answer on as it comes.
//!
//! In: a request for a log. Out: the agent's stream. The agent's address and port come from its Node's status; it must show a certificate of the
//! cluster's CA for the node's name, and is shown `kube-apiserver-kubelet-client`. Bytes are read from the agent only as fast as
//! the client takes them, and when the client goes, the connection to the agent is closed. Source:
//! `pkg/registry/core/pod` (LogLocation) and `pkg/kubelet/client`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HOST};
use http_body_util::{BodyExt, BodyStream, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use orlop_api::field::Errors;
use orlop_api::kind::Sub;
use orlop_api::status::{self, Reason, Status};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::admission::Sight;
use crate::authenticate::Found;
use crate::pki::Pair;
use crate::present::body::BodyError;
use crate::present::{Body, Response};
use crate::request::{Request, Verb};
use crate::serve::ServeError;
use crate::serve::tls;
use crate::stage::{Authorized, Connector};
use crate::websocket;

/// How long the connection and the handshake may take, each.
const STEP_MAX: Duration = Duration::from_secs(10);

/// How long an agent may take until it begins to answer: it asks its runtime first, and a Docker Engine or a containerd that is busy keeps it waiting. As
/// long as a request may take that is no stream; kube-apiserver sets no limit.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// How much of an agent's refusal is handed on.
const REFUSAL_BYTES_MAX: usize = 50_000;

/// How nodes name their runtime whose pods exist only as words.
const HOLLOW: &str = "hollow://";

/// Which addresses of a node are tried, in this order. The certificate is judged by the node's name, whichever is used.
const ADDRESS_TYPES: [&str; 3] = ["InternalIP", "Hostname", "ExternalIP"];

/// Hands logs on.
pub struct LogProxy {
    tls: Arc<ClientConfig>,
    sight: Sight,
}

impl LogProxy {
    /// Trusts agents with certificates of `ca`, and shows them `client`.
    ///
    /// # Errors
    /// [`ServeError::Certificate`] where either cannot be used.
    pub fn new(ca: &str, client: &Pair, sight: Sight) -> Result<Self, ServeError> {
        Ok(LogProxy { tls: Arc::new(tls_of(ca, client)?), sight })
    }
}

/// Asks an agent; its answer's body is still to come.
///
/// # Errors
/// Why it does not answer, in Go's words.
pub(crate) async fn get(tls: &Arc<ClientConfig>, at: &Place, path: &str) -> Result<http::Response<Incoming>, String> {
    let url = format!("https://{}{path}", at.authority());
    let failed = |what: String| format!("Get {url:?}: {what}");
    let authority = at.authority();
    let dialed = timeout(STEP_MAX, TcpStream::connect((at.host.as_str(), at.port))).await;
    let stream = match dialed {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(failed(format!("dial tcp {authority}: connect: {}", in_words(&error)))),
        Err(_) => return Err(failed(format!("dial tcp {authority}: i/o timeout"))),
    };
    let _ = stream.set_nodelay(true);
    let name = ServerName::try_from(at.node.clone()).map_err(|error| failed(error.to_string()))?;
    let stream = timeout(STEP_MAX, TlsConnector::from(tls.clone()).connect(name, stream))
        .await
        .map_err(|_| failed("net/http: TLS handshake timeout".to_owned()))?
        .map_err(|error| failed(format!("tls: {error}")))?;
    let (mut sender, connection) =
        http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await.map_err(|error| failed(error.to_string()))?;
    // Ends with the response's body, or when that is dropped.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to an agent broke");
        }
    });
    let request = http::Request::get(path).header(HOST, authority).body(Empty::new());
    let request = request.map_err(|error| failed(error.to_string()))?;
    timeout(ANSWER_MAX, sender.send_request(request))
        .await
        .map_err(|_| failed("net/http: timeout awaiting response headers".to_owned()))?
        .map_err(|error| failed(error.to_string()))
}

/// TLS that trusts agents with certificates of `ca`, and shows them `client`.
///
/// # Errors
/// [`ServeError::Certificate`] where either cannot be used.
pub(crate) fn tls_of(ca: &str, client: &Pair) -> Result<ClientConfig, ServeError> {
    let unusable = |error: tokio_rustls::rustls::Error| ServeError::Certificate(error.to_string());
    let (chain, key) = tls::chain(client)?;
    ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(tls::roots(ca)?)
        .with_client_auth_cert(chain, key)
        .map_err(unusable)
}

/// Why a connection was not made, in Go's words.
pub(crate) fn in_words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) node: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// As the Node's status tells.
    ///
    /// # Errors
    /// `BadRequest` for hollow nodes, `InternalError` for nodes without addresses.
    pub(crate) fn of(node: &str, found: &Found) -> status::Result<Self> {
        Self::of_json(node, &found.json)
    }

    /// The same, of the Node's bytes.
    ///
    /// # Errors
    /// As [`Place::of`].
    pub(crate) fn of_json(node: &str, json: &[u8]) -> status::Result<Self> {
        let object: Value = serde_json::from_slice(json).map_err(Status::internal)?;
        let port = object["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
        let port = port.and_then(|it| u16::try_from(it).ok()).filter(|it| *it != 0);
        let runtime = object["status"]["nodeInfo"]["containerRuntimeVersion"].as_str().unwrap_or_default();
        if port.is_none() && runtime.starts_with(HOLLOW) {
            // Nobody listens for it: its address is only a word, behind which a stranger may be.
            return Err(Status::bad_request(format!(
                "the pods of node {node:?} are hollow: they run no processes and write no logs"
            )));
        }
        let addresses = object["status"]["addresses"].as_array();
        let host = ADDRESS_TYPES
            .iter()
            .find_map(|wanted| addresses.into_iter().flatten().find(|it| it["type"] == *wanted)?["address"].as_str());
        let host = host.ok_or_else(|| {
            plain(format!("no preferred addresses found; known addresses: {}", object["status"]["addresses"]))
        })?;
        Ok(Place { node: node.to_owned(), host: host.to_owned(), port: port.unwrap_or(10250) })
    }
}

/// A failure that Kubernetes tells without "Internal error occurred".
fn plain(message: String) -> Status {
    Status::new(Reason::InternalError, message)
}

/// The options of a log request that are handed on.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    container: String,
    /// As the agent reads them.
    query: String,
}

impl Options {
    fn parse(query: &str) -> status::Result<Self> {
        let mut out = Options::default();
        let mut errors = Errors::default();
        let mut since = 0;
        let mut handed = form_urlencoded::Serializer::new(String::new());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "container" => out.container = value.into_owned(),
                "follow" | "previous" | "timestamps" => {
                    let yes = matches!(&*value, "" | "true" | "1" | "True" | "TRUE" | "t" | "T");
                    let no = matches!(&*value, "false" | "0" | "False" | "FALSE" | "f" | "F");
                    if !yes && !no {
                        return Err(Status::bad_request(format!(
                            "strconv.ParseBool: parsing {value:?}: invalid syntax"
                        )));
                    }
                    if yes {
                        handed.append_pair(&key, "true");
                    }
                }
                "tailLines" | "limitBytes" | "sinceSeconds" if !value.is_empty() => {
                    let number: i64 = value.parse().map_err(|_| {
                        Status::bad_request(format!("strconv.ParseInt: parsing {value:?}: invalid syntax"))
                    })?;
                    let least = if key == "tailLines" { 0 } else { 1 };
                    if number < least {
                        let why =
                            if least == 0 { "must be greater than or equal to 0" } else { "must be greater than 0" };
                        errors.invalid(key.as_ref(), number, why);
                    }
                    since += usize::from(key == "sinceSeconds");
                    handed.append_pair(&key, &number.to_string());
                }
                "sinceTime" if !value.is_empty() => {
                    let time: jiff::Timestamp = value
                        .parse()
                        .map_err(|_| Status::bad_request(format!("parsing time {value:?}: not a time of RFC 3339")))?;
                    since += 1;
                    handed.append_pair("sinceTime", &time.to_string());
                }
                _ => {}
            }
        }
        if since > 1 {
            errors.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified");
        }
        if !errors.is_empty() {
            return Err(Status::invalid("", "PodLogOptions", "", &errors));
        }
        out.query = handed.finish();
        Ok(out)
    }
}

/// The container that is meant.
///
/// # Errors
/// `BadRequest` where there are several and none is named, or none has the name.
pub(crate) fn container(pod: &Value, name: &str, asked: &str) -> status::Result<String> {
    let names = |field: &str| -> Vec<String> {
        let list = pod["spec"][field].as_array();
        list.into_iter().flatten().filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
    };
    let (containers, init, ephemeral) = (names("containers"), names("initContainers"), names("ephemeralContainers"));
    if !asked.is_empty() {
        let all = [&containers, &init, &ephemeral];
        if all.iter().any(|it| it.iter().any(|it| it == asked)) {
            return Ok(asked.to_owned());
        }
        return Err(Status::bad_request(format!("container {asked} is not valid for pod {name}")));
    }
    match containers.as_slice() {
        [only] => Ok(only.clone()),
        [] => Err(Status::bad_request(format!("a container name must be specified for pod {name}"))),
        many => {
            let mut text =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", many.join(" "));
            if !init.is_empty() {
                let _ = write!(text, " or one of the init containers: [{}]", init.join(" "));
            }
            if !ephemeral.is_empty() {
                let _ = write!(text, " or one of the ephemeral containers: [{}]", ephemeral.join(" "));
            }
            Err(Status::bad_request(text))
        }
    }
}

/// What the client hears of an agent that does not give the log.
async fn refusal(code: StatusCode, body: Incoming, name: &str) -> Status {
    let read = timeout(STEP_MAX, Limited::new(body, REFUSAL_BYTES_MAX).collect()).await;
    let bytes = read.ok().and_then(Result::ok).map(|it| it.to_bytes()).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        StatusCode::INTERNAL_SERVER_ERROR => Status::internal(text),
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status::new(
            Reason::NotFound,
            format!("the server could not find the requested resource ( pods/log {name}): {text}"),
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            plain(format!("the agent refused the API server's credentials ({code}): {text}"))
        }
        other => plain(format!("the agent answered {other}: {text}")),
    }
}

#[async_trait]
impl Connector for LogProxy {
    fn serves(&self) -> (&'static str, Sub) {
        ("pods", Sub::Log)
    }

    async fn connect(&self, it: &Authorized, _body: Bytes) -> status::Result<Response> {
        let request = it.request();
        if request.verb != Verb::Get {
            return Err(Status::method_not_allowed());
        }
        let (namespace, name) = (request.namespace.as_str(), request.name.as_str());
        let options = Options::parse(&request.query)?;
        let found = self.sight.find("Pod", namespace, name).await?;
        let found = found.ok_or_else(|| Status::not_found("", "pods", name))?;
        let pod: Value = serde_json::from_slice(&found.json).map_err(Status::internal)?;
        let container = container(&pod, name, &options.container)?;
        let Some(node) = pod["spec"]["nodeName"].as_str().filter(|it| !it.is_empty()) else {
            // Not placed yet, so nothing has been said.
            return told(request, futures::stream::empty());
        };
        let found = self.sight.find("Node", "", node).await?;
        let found = found.ok_or_else(|| Status::not_found("", "nodes", node))?;
        let place = Place::of(node, &found)?;
        let mut path = format!("/containerLogs/{namespace}/{name}/{container}");
        if !options.query.is_empty() {
            let _ = write!(path, "?{}", options.query);
        }
        let answer = get(&self.tls, &place, &path).await.map_err(plain)?;
        let (head, body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return Err(refusal(head.status, body, name).await);
        }
        let pieces = BodyStream::new(body).filter_map(|frame| async {
            match frame {
                Ok(frame) => frame.into_data().ok().map(Ok),
                Err(error) => Some(Err(BodyError::from(error))),
            }
        });
        told(request, pieces)
    }
}

/// A log as plain text, or as the messages of a WebSocket, where the client asks to go on as one.
fn told(
    request: &Request,
    pieces: impl Stream<Item = Result<Bytes, BodyError>> + Send + 'static,
) -> status::Result<Response> {
    if websocket::is_asked(&request.headers) {
        return websocket::stream(request, pieces.filter_map(|it| async { it.ok() }));
    }
    let mut response = Response::new(Body::pieces(pieces));
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_container(spec: Value, asked: &str, expected: Result<&str, &str>) {
        let got = container(&json!({ "spec": spec }), "web", asked);
        match expected {
            Ok(name) => assert_eq!(got.unwrap(), name),
            Err(text) => assert_eq!(got.unwrap_err().message, text),
        }
    }

    #[test]
    fn chooses_the_container_as_kubernetes_does() {
        let two = json!({"containers":[{"name":"a"},{"name":"b"}]});
        check_container(json!({"containers":[{"name":"a"}],"initContainers":[{"name":"i"}]}), "", Ok("a"));
        check_container(json!({"containers":[{"name":"a"}],"initContainers":[{"name":"i"}]}), "i", Ok("i"));
        check_container(two.clone(), "b", Ok("b"));
        check_container(two.clone(), "", Err("a container name must be specified for pod web, choose one of: [a b]"));
        check_container(two, "c", Err("container c is not valid for pod web"));
        check_container(
            json!({"containers":[{"name":"a"},{"name":"b"}],"initContainers":[{"name":"i"}]}),
            "",
            Err(
                "a container name must be specified for pod web, choose one of: [a b] or one of the init containers: [i]",
            ),
        );
    }

    #[test]
    fn options_are_judged_at_the_door() {
        let check = |query: &str, expected: Result<&str, u16>| match expected {
            Ok(handed) => assert_eq!(Options::parse(query).unwrap().query, handed, "{query}"),
            Err(code) => assert_eq!(Options::parse(query).unwrap_err().code(), code, "{query}"),
        };
        check("follow=true&container=a&tailLines=10&pretty=1", Ok("follow=true&tailLines=10"));
        check("previous=false&timestamps=true&limitBytes=5", Ok("timestamps=true&limitBytes=5"));
        check("sinceTime=2026-01-01T00%3A00%3A00Z", Ok("sinceTime=2026-01-01T00%3A00%3A00Z"));
        check("tailLines=-1", Err(422));
        check("sinceSeconds=0", Err(422));
        check("tailLines=many", Err(400));
        check("follow=perhaps", Err(400));
        check("sinceSeconds=5&sinceTime=2026-01-01T00%3A00%3A00Z", Err(422));
    }

    #[test]
    fn agents_are_found_by_their_nodes_status() {
        let place = |status: Value| {
            let json = json!({ "status": status }).to_string().into();
            Place::of("n1", &Found { uid: String::new(), deleting: false, json })
        };
        let status = json!({"addresses":[{"type":"Hostname","address":"n1"},{"type":"InternalIP","address":"192.0.2.1"}],
            "daemonEndpoints":{"kubeletEndpoint":{"Port":31000}}});
        assert_eq!(place(status).unwrap().authority(), "192.0.2.1:31000");
        let plain = json!({"addresses":[{"type":"InternalIP","address":"2001:db8::1"}]});
        assert_eq!(place(plain).unwrap().authority(), "[2001:db8::1]:10250");
        let hollow = json!({"addresses":[{"type":"InternalIP","address":"192.0.2.1"}], "nodeInfo":{"containerRuntimeVersion":"hollow://1"}});
        assert_eq!(place(hollow).unwrap_err().code(), 400);
        assert!(place(json!({})).unwrap_err().message.starts_with("no preferred addresses found"));
    }
}
