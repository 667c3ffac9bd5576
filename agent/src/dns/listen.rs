//! The server: takes questions by UDP and TCP and sends answers.
//!
//! A question about the cluster is answered where it is read, without a task: it takes microseconds. One that others must be asked gets a task;
//! how many there are is bounded ([`super::upstream`]). Connections are bounded, too, and end when nothing comes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use orlop_client::random;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::message::{Question, Unasked, absolute};
use super::upstream::Upstream;
use super::zone::{Answer, World};
use crate::services::view::Known;

/// Where the host's own servers are named.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The port of the DNS.
const PORT: u16 = 53;
/// Questions are read in as many places at once: they share a socket.
const READERS: usize = 2;
/// Connections at one time.
const CONNECTIONS_MOST: usize = 256;
/// How long a connection may be silent, and an answer may take to be sent.
const SILENCE: Duration = Duration::from_secs(10);
/// A question has a name of 255 bytes at most, and options; nobody sends larger ones.
const QUESTION_BYTES: usize = 4096;
/// After a failure of a socket.
const RETRY: Duration = Duration::from_millis(100);

/// What a server answers from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's domain: `cluster.local`.
    pub domain: String,
    /// The address that pods know it by.
    pub address: IpAddr,
}

/// A server that has its sockets.
pub struct Listener {
    udp: Arc<UdpSocket>,
    tcp: TcpListener,
}

impl Listener {
    /// Binds to an address, to port 53 or, if that is taken, to any.
    ///
    /// # Errors
    /// The address is not one of this namespace.
    pub async fn bind(address: IpAddr) -> io::Result<Self> {
        let udp = match UdpSocket::bind((address, PORT)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => UdpSocket::bind((address, 0)).await,
            other => other,
        }?;
        let tcp = match TcpListener::bind((address, PORT)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => TcpListener::bind((address, 0)).await,
            other => other,
        }?;
        Ok(Listener { udp: Arc::new(udp), tcp })
    }

    /// The ports, of UDP and of TCP.
    ///
    /// # Errors
    /// The kernel does not tell.
    pub fn ports(&self) -> io::Result<(u16, u16)> {
        Ok((self.udp.local_addr()?.port(), self.tcp.local_addr()?.port()))
    }

    /// Answers until `shutdown`.
    pub async fn run(self, settings: Settings, known: Known, upstream: Option<Upstream>, shutdown: CancellationToken) {
        let own = self.udp.local_addr().map(|it| it.ip());
        let own = own.into_iter().chain([settings.address]).collect();
        let upstream = upstream.unwrap_or_else(|| Upstream::new(Path::new(RESOLV_CONF).to_owned(), own));
        let server = Arc::new(Server { settings, known, upstream });
        let readers =
            (0..READERS).map(|_| tokio::spawn(by_udp(Arc::clone(&server), Arc::clone(&self.udp), shutdown.clone())));
        let readers: Vec<_> = readers.collect();
        by_tcp(server, self.tcp, shutdown).await;
        for it in readers {
            // A reader ends with the same token; one that panicked has been told of already.
            let _ = it.await;
        }
    }
}

struct Server {
    settings: Settings,
    known: Known,
    upstream: Upstream,
}

/// What comes of a question.
enum Outcome {
    Answer(Vec<u8>),
    Ask(Asking),
    Silence,
}

/// A question that others must be asked.
struct Asking {
    question: Question,
    /// The name to ask for in place of the question's.
    alias: Option<String>,
}

impl Server {
    fn take(&self, bytes: &[u8], tcp: bool) -> Outcome {
        let question = match Question::read(bytes, tcp) {
            Ok(it) => it,
            Err(Unasked::Answer(it)) => return Outcome::Answer(it),
            Err(Unasked::Silence) => return Outcome::Silence,
        };
        let Settings { domain, address } = &self.settings;
        let world = World { domain, server: *address, known: &self.known };
        let kind = question.query.query_type();
        let answer = world.answer(&question.name(), kind);
        let turn = usize::try_from(random::below(1 << 16)).unwrap_or(0);
        match answer {
            Answer::Elsewhere => match self.upstream.cached(question.query.name(), &question.query) {
                Some(it) => Outcome::Answer(question.forwarded(it)),
                None => Outcome::Ask(Asking { question, alias: None }),
            },
            // What is not there may only be not known yet.
            _ if !self.known.is_synced() => Outcome::Answer(question.failed(ResponseCode::ServFail)),
            Answer::Alias(target) if kind == hickory_proto::rr::RecordType::CNAME => {
                Outcome::Answer(question.aliased(&target, None))
            }
            Answer::Alias(target) => Outcome::Ask(Asking { question, alias: Some(target) }),
            answer => Outcome::Answer(question.answered(domain, &answer, turn)),
        }
    }

    async fn ask(&self, Asking { question, alias }: Asking) -> Vec<u8> {
        let name = match &alias {
            Some(it) => absolute(it),
            None => Some(question.query.name().clone()),
        };
        let Some(name) = name else { return question.failed(ResponseCode::ServFail) };
        if let Some(target) = &alias
            && let Some(bytes) = self.own_alias(&question, target)
        {
            return bytes;
        }
        match self.upstream.ask(&name, &question.query).await {
            Ok(found) => match &alias {
                Some(target) => question.aliased(target, Some(found)),
                None => question.forwarded(found),
            },
            Err(error) => {
                tracing::debug!(%error, %name, "a name outside the cluster was not found out");
                match &alias {
                    // The other name is known even where its address is not.
                    Some(target) => question.aliased(target, None),
                    None => question.failed(ResponseCode::ServFail),
                }
            }
        }
    }

    /// The answer for an alias of a name of the cluster's, if it is one. An alias of an alias is not followed.
    fn own_alias(&self, question: &Question, target: &str) -> Option<Vec<u8>> {
        let Settings { domain, address } = &self.settings;
        let world = World { domain, server: *address, known: &self.known };
        let answer = match world.answer(target, question.query.query_type()) {
            Answer::Elsewhere => return None,
            Answer::Alias(_) => Answer::NoData,
            other => other,
        };
        let mut asked = question.clone();
        asked.query.set_name(absolute(target)?);
        let found = hickory_proto::op::Message::from_vec(&asked.answered(domain, &answer, 0)).ok();
        Some(question.aliased(target, found))
    }
}

async fn by_udp(server: Arc<Server>, socket: Arc<UdpSocket>, shutdown: CancellationToken) {
    let mut buffer = vec![0; QUESTION_BYTES];
    loop {
        let received = tokio::select! {
            () = shutdown.cancelled() => return,
            it = socket.recv_from(&mut buffer) => it,
        };
        let (length, from) = match received {
            Ok(it) => it,
            Err(error) => {
                // Mostly a client that was gone when its answer came: no reason to wait long, and none to stop.
                tracing::debug!(%error, "a question was not received");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        match server.take(buffer.get(..length).unwrap_or_default(), false) {
            Outcome::Answer(answer) => send(&socket, &answer, from).await,
            Outcome::Silence => {}
            Outcome::Ask(asking) => {
                let (server, socket) = (Arc::clone(&server), Arc::clone(&socket));
                // It ends by itself: every server that is asked has a time, and how many are asked at once is bounded.
                tokio::spawn(async move {
                    let answer = server.ask(asking).await;
                    send(&socket, &answer, from).await;
                });
            }
        }
    }
}

async fn send(socket: &UdpSocket, answer: &[u8], to: SocketAddr) {
    if let Err(error) = socket.send_to(answer, to).await {
        tracing::debug!(%error, %to, "an answer was not sent");
    }
}

async fn by_tcp(server: Arc<Server>, listener: TcpListener, shutdown: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => return,
            it = listener.accept() => it,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was not taken");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        // Without a place it is closed at once: the client has other servers, or comes again.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (server, shutdown) = (Arc::clone(&server), shutdown.clone());
        tokio::spawn(async move {
            let _ = shutdown.run_until_cancelled(converse(&server, stream)).await;
            drop(place);
        });
    }
}

/// Answers the questions of a connection, one after the other, until it ends or is silent for too long.
async fn converse(server: &Server, mut stream: TcpStream) -> Option<()> {
    loop {
        let length = usize::from(timeout(SILENCE, stream.read_u16()).await.ok()?.ok()?);
        if length > QUESTION_BYTES {
            return None;
        }
        let mut question = vec![0; length];
        timeout(SILENCE, stream.read_exact(&mut question)).await.ok()?.ok()?;
        let answer = match server.take(&question, true) {
            Outcome::Answer(it) => it,
            Outcome::Silence => return None,
            Outcome::Ask(asking) => server.ask(asking).await,
        };
        let mut bytes = u16::try_from(answer.len()).ok()?.to_be_bytes().to_vec();
        bytes.extend(answer);
        timeout(SILENCE, stream.write_all(&bytes)).await.ok()?.ok()?;
    }
}
