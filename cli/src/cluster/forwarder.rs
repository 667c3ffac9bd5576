//! Ports of the host that lead to ports of the nodes: a process that passes bytes on.
//!
//! Rules in the kernel would do without one, but not for 127.0.0.1 without opening the loopback to the nodes' network, and whoever reloads the host's
//! firewall would take them away. A connection goes to the first node that takes it.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::balance::Balanced;
use super::datagrams;

/// Connections at one time, of all ports: two sockets and two buffers of 8 KiB each, 16 MiB in all.
const CONNECTIONS_MOST: usize = 1024;
/// How long a node may take to answer before the next is tried: it is on this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// After a failure to accept: without descriptors there is nothing to do but wait.
const RETRY: Duration = Duration::from_millis(100);

/// Where one port leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub listen: SocketAddr,
    pub targets: Vec<SocketAddr>,
}

impl FromStr for Forward {
    type Err = String;

    /// `LISTEN=TARGET,TARGET`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not ADDRESS:PORT=ADDRESS:PORT[,ADDRESS:PORT]");
        let (listen, targets) = text.split_once('=').ok_or_else(wrong)?;
        let targets: Result<Vec<_>, _> = targets.split(',').map(str::parse).collect();
        Ok(Forward { listen: listen.parse().map_err(|_| wrong())?, targets: targets.map_err(|_| wrong())? })
    }
}

/// What is passed on.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Connections that go to the first target that takes them.
    pub connections: Vec<Forward>,
    /// Datagrams, which go to the first target.
    pub datagrams: Vec<Forward>,
    /// Connections that go to an API server that is well.
    pub api: Vec<Forward>,
    /// Whether each of those begins at another API server.
    pub in_turn: bool,
    /// The file of the CA by which API servers are known.
    pub ca_file: Option<PathBuf>,
}

/// Passes everything on until `shutdown`.
///
/// # Errors
/// A port is taken.
pub async fn run(passed: Passed, shutdown: CancellationToken) -> Result<()> {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MOST));
    let mut listeners = JoinSet::new();
    for it in passed.connections {
        let listener = listen(&it).await?;
        let targets: Arc<[SocketAddr]> = it.targets.into();
        let pass = move |client| pass(client, Arc::clone(&targets));
        listeners.spawn(serve(listener, pass, Arc::clone(&room)));
    }
    for it in passed.api {
        let listener = listen(&it).await?;
        let balanced = Balanced::new(it.targets, passed.in_turn);
        let ca = passed.ca_file.clone().context("API servers are known by a CA: give --ca-file")?;
        let (looked, through) = (Arc::clone(&balanced), Arc::clone(&room));
        listeners.spawn(async move {
            if let Err(error) = looked.look_after(&ca).await {
                tracing::error!(error = format!("{error:#}"), "API servers cannot be asked how they are");
            }
        });
        let pass = move |client| {
            let balanced = Arc::clone(&balanced);
            async move { balanced.pass(client).await }
        };
        listeners.spawn(serve(listener, pass, through));
    }
    for it in passed.datagrams {
        let Some(server) = it.targets.first().copied() else { continue };
        let socket = UdpSocket::bind(it.listen).await.with_context(|| format!("cannot listen on {}", it.listen))?;
        listeners.spawn(datagrams::serve(socket, server));
    }
    shutdown.cancelled().await;
    Ok(())
}

async fn listen(it: &Forward) -> Result<TcpListener> {
    let listener = TcpListener::bind(it.listen).await.with_context(|| format!("cannot listen on {}", it.listen))?;
    tracing::info!(listen = %it.listen, targets = ?it.targets, "the port is open");
    Ok(listener)
}

async fn serve<F>(listener: TcpListener, pass: impl Fn(TcpStream) -> F, room: Arc<Semaphore>)
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    // They end with the listener.
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((client, _)) => {
                let passing = pass(client);
                connections.spawn(async move {
                    if let Err(error) = passing.await {
                        tracing::debug!(%error, "a connection ended");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(RETRY).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(mut client: TcpStream, targets: Arc<[SocketAddr]>) -> Result<()> {
    let mut refusal = None;
    for target in &*targets {
        match tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await {
            Ok(Ok(mut server)) => {
                // Bytes are passed on as they come; nothing is gained by waiting for more.
                let _ = client.set_nodelay(true).and(server.set_nodelay(true));
                tokio::io::copy_bidirectional(&mut client, &mut server).await?;
                return Ok(());
            }
            Ok(Err(error)) => refusal = Some(error.to_string()),
            Err(_) => refusal = Some("no answer".to_owned()),
        }
    }
    tracing::info!(?targets, refusal, "no node takes connections");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn forwards_are_read() {
        let it: Forward = "127.0.0.1:80=172.30.0.2:30080,172.30.0.3:30080".parse().unwrap();
        assert_eq!((it.listen.port(), it.targets.len()), (80, 2));
        for wrong in ["", "127.0.0.1:80", "127.0.0.1:80=", "80=1.2.3.4:5", "127.0.0.1:80=x"] {
            assert!(wrong.parse::<Forward>().is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn the_first_node_that_answers_has_the_connection() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Taken and given back: nobody listens there.
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let front = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = front.local_addr().unwrap();
        let targets: Arc<[SocketAddr]> = [closed, server.local_addr().unwrap()].into();
        tokio::spawn(serve(front, move |it| pass(it, Arc::clone(&targets)), Arc::new(Semaphore::new(4))));
        let mut client = TcpStream::connect(listen).await.unwrap();
        let (mut taken, _) = server.accept().await.unwrap();
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut text = String::new();
        taken.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "question");
        taken.write_all(b"answer").await.unwrap();
        drop(taken);
        text.clear();
        client.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "answer");
    }

    #[tokio::test]
    async fn a_taken_port_is_told() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listen = taken.local_addr().unwrap();
        let passed = Passed { connections: vec![Forward { listen, targets: vec![listen] }], ..Passed::default() };
        let error = run(passed, CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().contains(&format!("cannot listen on {listen}")), "{error}");
    }
}
