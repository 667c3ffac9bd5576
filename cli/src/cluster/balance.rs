//! One address for several API servers: a connection goes to one that is well.
//!
//! Every server is asked for `/readyz` each second. One that says that it is not well, or twice says nothing, is passed over, and what is open to it is closed, so that
//! clients ask anew and come to another: an API server whose store is away, or that stands still, takes connections all the same. One that cannot be reached
//! is passed over at once. While none is well, all are tried and nothing is closed: an answer that says why is better than none, and where all are slow
//! more connections would make them slower.
//!
//! A machine that has fallen silent does not end its connections; they end after [`SILENCE`], for a watch that hears nothing looks like one that has
//! nothing to tell. Each node has such an address for its own parts, as with k3s, and the host has one for its users.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, Result};
use kube::config::{KubeConfigOptions, Kubeconfig};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

/// The pause between two questions to a server, and that after one that was not answered. A node whose server loses its store has to come to another
/// before its Lease of 8 s is over, of which it may have used 2 s.
const LOOK: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long an answer may take: longer than the 2 s after which a server says that its store does not answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);
/// After so many questions without an answer a server is not well.
const FAILURES_MOST: u32 = 2;
/// How long a connection may take to be made: all is on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// How long what was sent may stay unconfirmed: long enough for three repetitions of a lost packet, and short enough that a node has renewed its
/// Lease by another server before its 8 s are over.
const SILENCE: Duration = Duration::from_secs(3);
/// Where nothing is sent, so often it is asked whether somebody is there; [`SILENCE`] holds for the answer.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// The servers behind one address.
pub struct Balanced {
    servers: Vec<Server>,
    /// Where the next connection begins to look; none begins at the first each time.
    turn: Option<AtomicUsize>,
}

struct Server {
    address: SocketAddr,
    /// How often in a row it has not answered; one that says that it is not well counts as if it had not often enough.
    failures: AtomicU32,
    /// Told when what is open to it is to be closed.
    cut: watch::Sender<()>,
}

/// What a server says when it is asked how it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Well,
    NotWell,
    None,
}

impl Server {
    fn is_well(&self) -> bool {
        self.failures.load(Relaxed) < FAILURES_MOST
    }

    /// Notes that it was, or was not, well; whether that changes anything.
    fn note(&self, failures: u32) -> bool {
        let before = self.failures.swap(failures, Relaxed);
        (before < FAILURES_MOST) != (failures < FAILURES_MOST)
    }
}

impl Balanced {
    /// Servers that nothing is known of yet. With `in_turn` each connection begins at another, else the first is preferred.
    pub fn new(addresses: Vec<SocketAddr>, in_turn: bool) -> Arc<Self> {
        let server = |address| Server { address, failures: AtomicU32::new(FAILURES_MOST), cut: watch::Sender::new(()) };
        let servers = addresses.into_iter().map(server).collect();
        Arc::new(Balanced { servers, turn: in_turn.then(AtomicUsize::default) })
    }

    /// Asks each server how it is, for as long as it is polled. `ca` is the file of the CA that they are known by.
    ///
    /// # Errors
    /// There is no client.
    pub async fn look_after(self: Arc<Self>, ca: &Path) -> Result<()> {
        let mut clients = Vec::new();
        for server in &self.servers {
            clients.push(client(server.address, ca).await?);
        }
        futures::future::join_all((0..clients.len()).map(|at| self.ask(at, &clients[at]))).await;
        Ok(())
    }

    async fn ask(&self, at: usize, client: &kube::Client) {
        loop {
            self.judge(at, self.answer(at, client).await);
            let is_doubtful = (1..FAILURES_MOST).contains(&self.servers[at].failures.load(Relaxed));
            tokio::time::sleep(if is_doubtful { LOOK_AGAIN } else { LOOK }).await;
        }
    }

    /// What a server says of itself.
    async fn answer(&self, at: usize, client: &kube::Client) -> Answer {
        let server = &self.servers[at];
        // The client writes each failure into the log, and a server that is gone may stay so.
        let is_gone = async || !matches!(timeout(CONNECT_LIMIT, TcpStream::connect(server.address)).await, Ok(Ok(_)));
        if !server.is_well() && is_gone().await {
            return Answer::None;
        }
        let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else { return Answer::None };
        match timeout(ANSWER_LIMIT, client.request_text(request)).await {
            Ok(Ok(_)) => Answer::Well,
            Ok(Err(kube::Error::Api(_))) => Answer::NotWell,
            Ok(Err(_)) | Err(_) => Answer::None,
        }
    }

    fn judge(&self, at: usize, answer: Answer) {
        let server = &self.servers[at];
        let failures = match answer {
            Answer::Well => 0,
            Answer::NotWell => FAILURES_MOST,
            Answer::None => server.failures.load(Relaxed).saturating_add(1),
        };
        if server.note(failures) {
            tracing::info!(server = %server.address, well = server.is_well(), "an API server has changed");
        }
        if !server.is_well() && self.servers.iter().any(Server::is_well) {
            server.cut.send_replace(());
        }
    }

    /// Passes a connection on, to the first that takes it.
    ///
    /// # Errors
    /// It breaks.
    pub async fn pass(&self, mut client: TcpStream) -> Result<()> {
        let first = self.turn.as_ref().map_or(0, |it| it.fetch_add(1, Relaxed));
        let well: Vec<bool> = self.servers.iter().map(Server::is_well).collect();
        for at in order(&well, first) {
            let server = &self.servers[at];
            let mut cut = server.cut.subscribe();
            let Ok(Ok(mut stream)) = timeout(CONNECT_LIMIT, TcpStream::connect(server.address)).await else {
                self.lost(server);
                continue;
            };
            let _ = client.set_nodelay(true).and(stream.set_nodelay(true));
            mind_silence(&stream)?;
            let copied = tokio::select! {
                copied = tokio::io::copy_bidirectional(&mut client, &mut stream) => copied,
                _ = cut.changed() => return Ok(()),
            };
            if let Err(error) = &copied
                && matches!(
                    error.kind(),
                    ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable
                )
            {
                // Only the way to the server can be silent: the client is on this machine.
                self.lost(server);
            }
            copied?;
            return Ok(());
        }
        tracing::info!("no API server takes connections");
        Ok(())
    }

    fn lost(&self, server: &Server) {
        if server.note(FAILURES_MOST) {
            tracing::info!(server = %server.address, "an API server cannot be reached");
        }
    }
}

/// The places of the servers in the order in which they are tried: those that are well before the others, each from `first` on.
fn order(well: &[bool], first: usize) -> Vec<usize> {
    let count = well.len();
    let mut all: Vec<usize> = (0..count).map(|it| (first % count.max(1) + it) % count.max(1)).collect();
    // It keeps the order of equals.
    all.sort_by_key(|it| !well[*it]);
    all
}

/// Has the kernel end a connection to a machine that is silent.
fn mind_silence(stream: &TcpStream) -> Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE))?;
    // It also says how long such questions may stay without an answer (tcp(7)).
    Ok(socket.set_tcp_user_timeout(Some(SILENCE))?)
}

/// A client that shows nothing of itself: everybody may ask for `/readyz`.
async fn client(server: SocketAddr, ca: &Path) -> Result<kube::Client> {
    let kubeconfig: Kubeconfig = serde_json::from_value(serde_json::json!({
        "clusters": [{ "name": "it", "cluster": { "server": format!("https://{server}"), "certificate-authority": ca } }],
        "users": [{ "name": "it", "user": {} }],
        "contexts": [{ "name": "it", "context": { "cluster": "it", "user": "it" } }],
        "current-context": "it",
    }))?;
    let made = async { kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await };
    let mut config = made.await.with_context(|| format!("no client for {server} can be made"))?;
    config.connect_timeout = Some(CONNECT_LIMIT);
    Ok(kube::Client::try_from(config)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn those_that_are_well_come_first() {
        let check = |well: &[bool], first: usize, expected: &[usize]| assert_eq!(order(well, first), expected);
        check(&[true, true, true], 0, &[0, 1, 2]);
        check(&[true, true, true], 4, &[1, 2, 0]);
        check(&[false, true, true], 0, &[1, 2, 0]);
        check(&[false, true, false], 2, &[1, 2, 0]);
        check(&[false, false], 1, &[1, 0]);
        check(&[], 3, &[]);
    }

    async fn listener() -> (TcpListener, SocketAddr) {
        let it = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = it.local_addr().unwrap();
        (it, address)
    }

    /// A client's end of a connection through `balanced`.
    async fn connect(balanced: &Arc<Balanced>) -> TcpStream {
        let (front, address) = listener().await;
        let client = TcpStream::connect(address).await.unwrap();
        let (taken, _) = front.accept().await.unwrap();
        let balanced = balanced.clone();
        tokio::spawn(async move { balanced.pass(taken).await });
        client
    }

    #[tokio::test]
    async fn a_server_that_is_not_well_loses_its_connections_to_another() {
        let ((first, one), (second, two)) = (listener().await, listener().await);
        let balanced = Balanced::new(vec![one, two], false);
        balanced.judge(0, Answer::Well);
        let mut client = connect(&balanced).await;
        let (mut taken, _) = first.accept().await.unwrap();
        client.write_all(b"a").await.unwrap();
        assert_eq!(taken.read_u8().await.unwrap(), b'a');
        // While no other is well it keeps what it has, however it is.
        (0..3).for_each(|_| balanced.judge(0, Answer::None));
        client.write_all(b"b").await.unwrap();
        assert_eq!(taken.read_u8().await.unwrap(), b'b');
        balanced.judge(1, Answer::Well);
        balanced.judge(0, Answer::NotWell);
        assert_eq!(client.read(&mut [0]).await.unwrap_or_default(), 0, "it is closed");
        let _client = connect(&balanced).await;
        second.accept().await.unwrap();
        // Well again, it is the preferred one.
        balanced.judge(0, Answer::Well);
        let _client = connect(&balanced).await;
        first.accept().await.unwrap();
    }

    #[tokio::test]
    async fn one_that_cannot_be_reached_is_passed_over() {
        let ((first, one), (second, two)) = (listener().await, listener().await);
        drop(first);
        let balanced = Balanced::new(vec![one, two], false);
        [0, 1].into_iter().for_each(|it| balanced.judge(it, Answer::Well));
        let _client = connect(&balanced).await;
        second.accept().await.unwrap();
        assert!(!balanced.servers[0].is_well() && balanced.servers[1].is_well());
    }

    #[tokio::test]
    async fn connections_take_turns() {
        let ((first, one), (second, two)) = (listener().await, listener().await);
        let balanced = Balanced::new(vec![one, two], true);
        [0, 1].into_iter().for_each(|it| balanced.judge(it, Answer::Well));
        let _clients = (connect(&balanced).await, connect(&balanced).await);
        let (one, two) = tokio::join!(first.accept(), second.accept());
        assert!(one.is_ok() && two.is_ok());
    }
}
