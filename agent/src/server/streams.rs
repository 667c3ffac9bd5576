//! Exec, attach and port-forward: from the request to the conversation.
//!
//! In: a request with the kubelet's paths and parameters. Out: a refusal, or the change of protocol and what follows it, for as long as the client
//! stays, something goes over the connection, and the agent runs. Which container is meant is found here; [`super::terminal`] and
//! [`super::forward`] do the rest. Source: `pkg/kubelet/server/server.go` (getExec, getAttach, getPortForward).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::StatusCode;
use http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::idle::{self, Watched};
use super::terminal::outcome::Asked;
use super::terminal::{self, Wanted};
use super::upgrade::{self, Offer, Spoken};
use super::websocket::{self, tunnel};
use super::{OPENING_MAX, Shared, forward};
use crate::host::Host;
use crate::runtime::session::{AttachSpec, ExecSpec};
use crate::runtime::{ContainerState, Inventory, Phase};

/// Sessions at once on one node. One holds at most 1 MiB of what is under way (a port-forward with all its streams 8 MiB).
pub const SESSIONS: usize = 256;

/// How long nothing may go over a session's connection: the kubelet's default. Clients and we ask each other oftener than that.
const IDLE_MAX: Duration = Duration::from_secs(4 * 60 * 60);

/// Bytes of a tunnel that may wait for who speaks through it.
const TUNNEL_BYTES: usize = 64 << 10;

/// The connection of a session.
type Io = Watched<TokioIo<hyper::upgrade::Upgraded>>;

/// What follows the change of protocol.
type Follows = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Places for sessions.
#[derive(Clone)]
pub struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        Places(Arc::new(Semaphore::new(SESSIONS)))
    }
}

/// Which pod is meant.
#[derive(Clone, Copy, Debug)]
struct PodName<'a> {
    namespace: &'a str,
    name: &'a str,
    /// Empty: whichever has the name.
    uid: &'a str,
}

/// `/exec/{namespace}/{pod}/{container}`.
pub async fn exec(
    State(shared): State<Shared>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let pod = PodName { namespace: &namespace, name: &pod, uid: "" };
    terminal(&shared, pod, &container, Asked::Exec, request).await.unwrap_or_else(|it| it)
}

/// `/exec/{namespace}/{pod}/{uid}/{container}`.
pub async fn exec_by_uid(
    State(shared): State<Shared>,
    Path((namespace, pod, uid, container)): Path<(String, String, String, String)>,
    request: Request,
) -> Response {
    let pod = PodName { namespace: &namespace, name: &pod, uid: &uid };
    terminal(&shared, pod, &container, Asked::Exec, request).await.unwrap_or_else(|it| it)
}

/// `/attach/{namespace}/{pod}/{container}`.
pub async fn attach(
    State(shared): State<Shared>,
    Path((namespace, pod, container)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let pod = PodName { namespace: &namespace, name: &pod, uid: "" };
    terminal(&shared, pod, &container, Asked::Attach, request).await.unwrap_or_else(|it| it)
}

/// `/attach/{namespace}/{pod}/{uid}/{container}`.
pub async fn attach_by_uid(
    State(shared): State<Shared>,
    Path((namespace, pod, uid, container)): Path<(String, String, String, String)>,
    request: Request,
) -> Response {
    let pod = PodName { namespace: &namespace, name: &pod, uid: &uid };
    terminal(&shared, pod, &container, Asked::Attach, request).await.unwrap_or_else(|it| it)
}

/// `/portForward/{namespace}/{pod}`.
pub async fn port_forward(
    State(shared): State<Shared>,
    Path((namespace, pod)): Path<(String, String)>,
    request: Request,
) -> Response {
    let pod = PodName { namespace: &namespace, name: &pod, uid: "" };
    ports(&shared, pod, request).await.unwrap_or_else(|it| it)
}

/// `/portForward/{namespace}/{pod}/{uid}`.
pub async fn port_forward_by_uid(
    State(shared): State<Shared>,
    Path((namespace, pod, uid)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    let pod = PodName { namespace: &namespace, name: &pod, uid: &uid };
    ports(&shared, pod, request).await.unwrap_or_else(|it| it)
}

/// An answer in words.
fn refuse(code: StatusCode, why: impl Into<String>) -> Response {
    (code, why.into()).into_response()
}

async fn inventory(shared: &Shared) -> Result<(Arc<Host>, Inventory), Response> {
    let host = shared.logs.host();
    let host = host.ok_or_else(|| refuse(StatusCode::SERVICE_UNAVAILABLE, "the agent is starting"))?;
    let inventory = host.runtime.inventory().await;
    let inventory = inventory.map_err(|it| refuse(StatusCode::INTERNAL_SERVER_ERROR, it.to_string()))?;
    Ok((host, inventory))
}

async fn terminal(
    shared: &Shared,
    pod: PodName<'_>,
    container: &str,
    asked: Asked,
    request: Request,
) -> Result<Response, Response> {
    let (mut parts, _) = request.into_parts();
    let (wanted, command) =
        options(parts.uri.query().unwrap_or_default()).map_err(|why| refuse(StatusCode::BAD_REQUEST, why))?;
    if asked == Asked::Exec && command.is_empty() {
        return Err(refuse(StatusCode::BAD_REQUEST, "you must specify a command"));
    }
    let (host, inventory) = inventory(shared).await?;
    let id = running(&inventory, pod, container)?;
    let session = async move {
        let Wanted { stdin, stdout, stderr, tty } = wanted;
        match asked {
            Asked::Exec => {
                let spec = ExecSpec { command, tty, stdin, stdout, stderr };
                host.runtime.exec_session(&id, &spec).await
            }
            Asked::Attach => host.runtime.attach_session(&id, &AttachSpec { stdin, stdout, stderr }).await,
        }
    };
    let session = session.boxed();
    follow(shared, &mut parts, &terminal::OFFER, move |io, spoken| match spoken {
        Spoken::WebSocket(protocol) => Box::pin(terminal::websocket::run(io, protocol, asked, wanted, session)),
        Spoken::Spdy(protocol) => Box::pin(terminal::spdy::run(io, protocol, asked, wanted, session)),
        Spoken::Tunnel(protocol) => {
            through(io, move |inner| Box::pin(terminal::spdy::run(inner, protocol, asked, wanted, session)))
        }
    })
}

async fn ports(shared: &Shared, pod: PodName<'_>, request: Request) -> Result<Response, Response> {
    let (mut parts, _) = request.into_parts();
    let (host, inventory) = inventory(shared).await?;
    let missing = || refuse(StatusCode::NOT_FOUND, "pod does not exist");
    let mut sandboxes: Vec<_> = inventory.sandboxes.into_iter().filter(|it| pod.is(&it.pod) && it.running).collect();
    sandboxes.sort_by_key(|it| it.created);
    let sandbox = sandboxes.pop().ok_or_else(missing)?;
    if host.runtime.runs_nothing() {
        return Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, "this pod is hollow: nobody listens in it"));
    }
    let pid = sandbox.pid.ok_or_else(missing)?;
    let target = forward::Pod { name: format!("{}_{}", pod.name, pod.namespace), uid: sandbox.pod.uid, pid };
    let asked = if websocket::is_asked(&parts.headers) && !is_tunnel(&parts) {
        let query = parts.uri.query().unwrap_or_default();
        forward::websocket::ports(query).map_err(|why| refuse(StatusCode::BAD_REQUEST, why))?
    } else {
        Vec::new()
    };
    follow(shared, &mut parts, &forward::OFFER, move |io, spoken| match spoken {
        Spoken::WebSocket(protocol) => Box::pin(forward::websocket::run(io, protocol, target, asked)),
        Spoken::Spdy(_) => Box::pin(forward::spdy::run(io, target)),
        Spoken::Tunnel(_) => through(io, move |inner| Box::pin(forward::spdy::run(inner, target))),
    })
}

/// Whether the ports will be named by streams, and not by the request.
fn is_tunnel(parts: &Parts) -> bool {
    matches!(upgrade::choose(&parts.headers, &forward::OFFER), Ok((Spoken::Tunnel(_), _)))
}

/// Speaks through a WebSocket.
fn through(io: Io, speak: impl FnOnce(tokio::io::DuplexStream) -> Follows + Send + 'static) -> Follows {
    Box::pin(async move {
        let (reader, writer, writing) = websocket::start(io);
        let (outer, inner) = tokio::io::duplex(TUNNEL_BYTES);
        let ((), ()) = tokio::join!(tunnel::run(reader, writer, outer), speak(inner));
        // What is queued is written, to whoever still reads.
        let _ = timeout(OPENING_MAX, writing).await;
    })
}

/// Changes the protocol, and goes on in a task of its own.
#[allow(clippy::result_large_err)] // It is an answer, and made once.
fn follow(
    shared: &Shared,
    parts: &mut Parts,
    offer: &Offer,
    speak: impl FnOnce(Io, Spoken) -> Follows + Send + 'static,
) -> Result<Response, Response> {
    let (spoken, headers) = upgrade::choose(&parts.headers, offer)?;
    let Some(on_upgrade) = parts.extensions.remove::<OnUpgrade>() else {
        return Err(refuse(StatusCode::BAD_REQUEST, "this connection cannot change its protocol"));
    };
    let place = Arc::clone(&shared.places.0).try_acquire_owned();
    let place = place.map_err(|_| {
        refuse(StatusCode::TOO_MANY_REQUESTS, format!("there are {SESSIONS} sessions on this node already"))
    })?;
    let shutdown = shared.shutdown.clone();
    shared.connections.spawn(async move {
        let _place = place;
        let upgraded = match timeout(OPENING_MAX, on_upgrade).await {
            Ok(Ok(it)) => it,
            Ok(Err(error)) => return tracing::debug!(%error, "a connection did not change its protocol"),
            Err(_) => return,
        };
        let (io, moved) = idle::watch(TokioIo::new(upgraded));
        tokio::select! {
            () = speak(io, spoken) => {}
            () = moved.idle(IDLE_MAX) => tracing::debug!("a session was idle for too long"),
            () = shutdown.cancelled() => {}
        }
    });
    let mut answer = StatusCode::SWITCHING_PROTOCOLS.into_response();
    *answer.headers_mut() = headers;
    Ok(answer)
}

impl PodName<'_> {
    fn is(&self, it: &crate::runtime::PodRef) -> bool {
        it.namespace == self.namespace && it.name == self.name && (self.uid.is_empty() || it.uid == self.uid)
    }
}

/// The running container that is meant.
#[allow(clippy::result_large_err)] // It is an answer, and made once.
fn running(inventory: &Inventory, pod: PodName<'_>, container: &str) -> Result<String, Response> {
    if !inventory.sandboxes.iter().any(|it| pod.is(&it.pod)) {
        return Err(refuse(StatusCode::NOT_FOUND, "pod does not exist"));
    }
    let started = |it: &&ContainerState| match it.phase {
        Phase::Running { started } => Some(started),
        Phase::Created | Phase::Exited { .. } => None,
    };
    let of_it = inventory.containers.iter().filter(|it| pod.is(&it.pod) && it.name == container);
    // Of two pods of one name, the one that is going may still be here.
    let found = of_it.filter(|it| started(it).is_some()).max_by_key(started);
    let missing = || refuse(StatusCode::INTERNAL_SERVER_ERROR, format!("container not found ({container:?})"));
    found.map(|it| it.id.clone()).ok_or_else(missing)
}

/// The options of an exec or attach: which streams, and which command. The kubelet's parameters, which are not those of the API.
fn options(query: &str) -> Result<(Wanted, Vec<String>), String> {
    let (mut wanted, mut command) = (Wanted::default(), Vec::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let set = value == "1";
        match &*name {
            "input" => wanted.stdin = set,
            "output" => wanted.stdout = set,
            "error" => wanted.stderr = set,
            "tty" => wanted.tty = set,
            "command" => command.push(value.into_owned()),
            _ => {}
        }
    }
    // A terminal has one output.
    wanted.stderr &= !wanted.tty;
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err("you must specify at least 1 of stdin, stdout, stderr".to_owned());
    }
    Ok((wanted, command))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::runtime::{PodRef, SandboxState};

    #[test]
    fn options_are_the_kubelets() {
        let check = |query: &str, expected: Result<(Wanted, &[&str]), &str>| {
            let expected = expected.map(|(wanted, command)| (wanted, command.iter().map(|it| (*it).into()).collect()));
            assert_eq!(options(query), expected.map_err(str::to_owned), "{query}");
        };
        let output = Wanted { stdout: true, stderr: true, ..Wanted::default() };
        check("output=1&error=1&command=ls&command=-l%20a", Ok((output, &["ls", "-l a"])));
        let tty = Wanted { stdin: true, stdout: true, tty: true, ..Wanted::default() };
        check("input=1&output=1&error=1&tty=1", Ok((tty, &[])));
        check("tty=1&command=ls&output=true", Err("you must specify at least 1 of stdin, stdout, stderr"));
    }

    #[test]
    fn the_newest_running_container_is_meant() {
        let pod = |uid: &str| PodRef { namespace: "d".into(), name: "web".into(), uid: uid.into() };
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let container = |uid: &str, phase: Phase| ContainerState {
            id: format!("{uid}-{phase:?}").chars().take(9).collect(),
            pod: pod(uid),
            name: "main".into(),
            attempt: 0,
            image: "i".into(),
            phase,
            pid: None,
        };
        let sandbox = |uid: &str| SandboxState {
            id: uid.into(),
            pod: pod(uid),
            attempt: 0,
            running: true,
            pid: None,
            created: at(0),
        };
        let inventory = Inventory {
            sandboxes: vec![sandbox("a"), sandbox("b")],
            containers: vec![
                container("b", Phase::Running { started: at(2) }),
                container("a", Phase::Running { started: at(1) }),
                container("a", Phase::Created),
            ],
        };
        let name = |uid| PodName { namespace: "d", name: "web", uid };
        let check = |pod, container: &str, expected: Result<&str, u16>| {
            let found = running(&inventory, pod, container).map_err(|it| it.status().as_u16());
            assert_eq!(found, expected.map(str::to_owned));
        };
        check(name(""), "main", Ok("b-Running"));
        check(name("a"), "main", Ok("a-Running"));
        check(name("c"), "main", Err(404));
        check(name(""), "other", Err(500));
    }
}
