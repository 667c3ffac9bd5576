//! Names outside the cluster: asked of the servers that the host's `/etc/resolv.conf` names.
//!
//! Servers are asked in their order, twice, each with a time of its own; a datagram is taken for an answer only if it comes from the server, to
//! the port of the question, with its number and its name. An answer that was cut short is asked for again by TCP.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::Name;
use orlop_client::random;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::cache::{Asked, Cache};
use super::message;
use super::resolv_conf::ResolvConf;

/// How long one server may take.
const SERVER_WITHIN: Duration = Duration::from_millis(1500);
/// How often all servers are asked: clients ask again after five seconds.
const ROUNDS: usize = 2;
/// Questions under way. Each has a socket; what comes on top is refused, and its client asks again.
const UNDER_WAY_MOST: usize = 512;
/// How long the host's file counts before it is looked at again.
const FILE_HOLDS: Duration = Duration::from_secs(10);
const PORT: u16 = 53;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    #[error("there is no server to ask: {0} names none")]
    NoServer(String),
    #[error("too many questions are under way")]
    Busy,
    #[error("no server has answered")]
    Silence,
}

/// The host's servers.
pub struct Upstream {
    file: PathBuf,
    /// Addresses that lead back here.
    own: Vec<IpAddr>,
    port: u16,
    servers: Mutex<Option<(Instant, Vec<IpAddr>)>>,
    cache: Mutex<Cache>,
    places: Semaphore,
}

impl Upstream {
    /// The servers that `file` names, but for `own`.
    pub fn new(file: PathBuf, own: Vec<IpAddr>) -> Self {
        let places = Semaphore::new(UNDER_WAY_MOST);
        Upstream { file, own, port: PORT, servers: Mutex::default(), cache: Mutex::default(), places }
    }

    /// On another port than 53.
    pub fn on_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// An answer that still holds.
    pub fn cached(&self, name: &Name, query: &Query) -> Option<Message> {
        self.cache.lock().get(&asked(name, query), Instant::now())
    }

    /// Asks for `name` what `query` asks for.
    ///
    /// # Errors
    /// Nobody answers, or nobody may be asked.
    pub async fn ask(&self, name: &Name, query: &Query) -> Result<Message, UpstreamError> {
        if let Some(it) = self.cached(name, query) {
            return Ok(it);
        }
        let _place = self.places.try_acquire().map_err(|_| UpstreamError::Busy)?;
        let servers = self.servers().await;
        if servers.is_empty() {
            return Err(UpstreamError::NoServer(self.file.display().to_string()));
        }
        let mut failed = None;
        for server in std::iter::repeat_n(&servers, ROUNDS).flatten() {
            let at = SocketAddr::new(*server, self.port);
            let Ok(Some(answer)) = timeout(SERVER_WITHIN, one(at, name, query)).await else { continue };
            // A server that cannot says nothing about the name; the next one may know.
            if matches!(answer.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain) {
                self.cache.lock().put(asked(name, query), &answer, Instant::now());
                return Ok(answer);
            }
            failed = Some(answer);
        }
        failed.ok_or(UpstreamError::Silence)
    }

    async fn servers(&self) -> Vec<IpAddr> {
        if let Some((read, servers)) = &*self.servers.lock()
            && read.elapsed() < FILE_HOLDS
        {
            return servers.clone();
        }
        let text = tokio::fs::read_to_string(&self.file).await.unwrap_or_default();
        let mut servers = ResolvConf::parse(&text).servers;
        servers.retain(|it| !self.own.contains(it));
        *self.servers.lock() = Some((Instant::now(), servers.clone()));
        servers
    }
}

fn asked(name: &Name, query: &Query) -> Asked {
    (name.to_ascii().to_ascii_lowercase(), query.query_type())
}

/// Asks one server; none if it does not answer properly.
async fn one(server: SocketAddr, name: &Name, query: &Query) -> Option<Message> {
    let id = u16::try_from(random::below(1 << 16)).ok()?;
    let question = message::ask(id, name, query)?;
    let fits = |it: &Message| {
        it.metadata.id == id
            && matches!(it.queries.as_slice(), [own] if own.query_type() == query.query_type()
                && own.name().to_ascii().eq_ignore_ascii_case(&name.to_ascii()))
    };
    let here: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    // Connected: the kernel lets nobody else's datagrams in. The port is drawn by it for every question.
    let socket = UdpSocket::bind(here).await.ok()?;
    socket.connect(server).await.ok()?;
    socket.send(&question).await.ok()?;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let answer = loop {
        let length = socket.recv(&mut buffer).await.ok()?;
        match Message::from_vec(buffer.get(..length)?) {
            Ok(it) if fits(&it) => break it,
            _ => {}
        }
    };
    if !answer.metadata.truncation {
        return Some(answer);
    }
    let mut stream = TcpStream::connect(server).await.ok()?;
    stream.write_u16(u16::try_from(question.len()).ok()?).await.ok()?;
    stream.write_all(&question).await.ok()?;
    let length = usize::from(stream.read_u16().await.ok()?);
    stream.read_exact(buffer.get_mut(..length)?).await.ok()?;
    Message::from_vec(buffer.get(..length)?).ok().filter(fits)
}
