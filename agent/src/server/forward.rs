//! Port-forward: connections from a client to ports inside a pod.
//!
//! In: a pod's sandbox, and from the client a pair of streams a connection. Out: TCP to the port on the pod's loopback, IPv4 first, then IPv6. The
//! socket is made inside the pod's network namespace and stays there, wherever it is read. [`spdy`] and [`websocket`] make the pairs of what they
//! speak. Source: `k8s.io/kubelet/pkg/cri/streaming/portforward`, containerd's `sandbox_portforward_linux.go`.

pub mod spdy;
pub mod websocket;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::upgrade::Offer;
use crate::network::NetworkError;
use crate::network::namespace::Namespace;

/// What is spoken: pairs of streams over SPDY, which may go through a WebSocket, or pairs of channels of a WebSocket.
pub const OFFER: Offer = Offer {
    websocket: &["v4.channel.k8s.io", "v4.base64.channel.k8s.io"],
    spdy: &["portforward.k8s.io"],
    unnamed: "portforward.k8s.io",
};

/// How long a port may take to answer, for each family of addresses. Loopback answers or refuses at once.
const CONNECT_MAX: Duration = Duration::from_secs(4);

/// What comes from a port is passed on in pieces of at most this.
const PIECE_BYTES: usize = 32 << 10;

/// A pod as the target of connections.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `name_namespace`, for messages.
    pub name: String,
    pub uid: String,
    /// A process in its network namespace.
    pub pid: u32,
}

/// Takes what a port sends.
#[async_trait::async_trait]
pub trait Outlet: Send {
    /// Passes a piece on, as fast as the client takes it.
    ///
    /// # Errors
    /// When the client has gone.
    async fn write(&mut self, bytes: Bytes) -> Result<(), ()>;
}

/// Forwards one connection to its end.
///
/// # Errors
/// In the kubelet's words, for the client's error stream.
pub async fn forward(pod: &Pod, port: u16, from: BoxStream<'static, Bytes>, to: &mut dyn Outlet) -> Result<(), String> {
    let failed = |why: String| format!("error forwarding port {port} to pod {}, uid {}: {why}", pod.name, pod.uid);
    let stream = connect(pod.pid, port).await.map_err(failed)?;
    join(stream, from, to).await.map_err(|it| failed(it.to_string()))
}

/// Connects to a port on the loopback of a process's network namespace, which may be the host's.
async fn connect(pid: u32, port: u16) -> Result<TcpStream, String> {
    let dialing = move || async move { Ok::<_, NetworkError>(dial(port).await) };
    let dialed = match Namespace::of_process(pid) {
        Ok(namespace) => namespace.run("port-forward", dialing).await.map_err(|it| it.to_string())?,
        // The pod has no network of its own.
        Err(NetworkError::Config(_)) => dial(port).await,
        Err(error) => return Err(error.to_string()),
    };
    let stream = dialed?;
    TcpStream::from_std(stream).map_err(|it| it.to_string())
}

async fn dial(port: u16) -> Result<std::net::TcpStream, String> {
    let mut reasons = Vec::new();
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        let address = SocketAddr::new(address, port);
        let why = match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                // Away from the namespace's own reactor, whose thread ends.
                return stream.into_std().map_err(|it| it.to_string());
            }
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "i/o timeout".to_owned(),
        };
        let family = if address.is_ipv4() { "IPv4: dial tcp4" } else { "IPv6 dial tcp6" };
        reasons.push(format!("{family} {address}: connect: {why}"));
    }
    Err(format!("failed to connect to localhost:{port} inside the pod's network namespace, {}", reasons.join(" ")))
}

/// Copies both ways. The client's end is passed on, and what the port has yet to say comes after it; the port's end is that of both.
async fn join(stream: TcpStream, mut from: BoxStream<'static, Bytes>, to: &mut dyn Outlet) -> std::io::Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let inward = async {
        while let Some(piece) = from.next().await {
            if writer.write_all(&piece).await.is_err() {
                // The port reads no more, and may have much to say yet.
                while from.next().await.is_some() {}
                break;
            }
        }
        let _ = writer.shutdown().await;
        std::future::pending::<()>().await;
    };
    let outward = async {
        loop {
            let mut piece = BytesMut::with_capacity(PIECE_BYTES);
            if reader.read_buf(&mut piece).await? == 0 || to.write(piece.freeze()).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        ended = outward => ended,
        () = inward => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    struct Kept(Vec<u8>);

    #[async_trait::async_trait]
    impl Outlet for Kept {
        async fn write(&mut self, bytes: Bytes) -> Result<(), ()> {
            self.0.extend_from_slice(&bytes);
            Ok(())
        }
    }

    fn pod() -> Pod {
        Pod { name: "web_d".to_owned(), uid: "u".to_owned(), pid: std::process::id() }
    }

    #[tokio::test]
    async fn the_clients_end_is_passed_on_and_the_answer_comes_after_it() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(address).await else { continue };
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut heard = Vec::new();
                stream.read_to_end(&mut heard).await.unwrap();
                stream.write_all(&heard.repeat(3)).await.unwrap();
            });
            let from = futures::stream::iter(["a", "b"].map(Bytes::from)).boxed();
            let mut kept = Kept(Vec::new());
            forward(&pod(), port, from, &mut kept).await.unwrap();
            assert_eq!(kept.0, b"ababab");
            server.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_port_that_refuses_is_told() {
        let port = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap().port()
        };
        let from = futures::stream::pending().boxed();
        let why = forward(&pod(), port, from, &mut Kept(Vec::new())).await.unwrap_err();
        assert!(
            why.starts_with(&format!("error forwarding port {port} to pod web_d, uid u: failed to connect")),
            "{why}"
        );
        assert!(why.contains("connection refused"), "{why}");
    }
}
