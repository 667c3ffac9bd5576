//! The pod network: who gives a pod its address and what makes that address reachable.
//!
//! The pod machine attaches a sandbox's network namespace under the pod's uid and gets an address; it detaches it when the pod is
//! gone. `bridge` makes the links, routes and rules of the kernel; `cni` leaves that to a runtime's plugins; `hollow` hands out addresses only. Neither knows pods beyond their uid,
//! a runtime, Services or the API. `overlay` leads to the pods of other nodes. Every call may be repeated, and after a death at any point the next call puts things right.

pub mod absent;
pub mod addresses;
pub mod bridge;
pub mod cni;
pub(crate) mod command;
pub mod forward;
pub mod hollow;
pub mod ips;
mod ledger;
mod link;
pub(crate) mod names;
pub mod namespace;
pub mod overlay;
pub mod ruleset;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use self::ips::Ips;

/// How long [`tend`] waits between two looks at what others may have rewritten, without its jitter of up to a half more. A Docker
/// Engine that starts late sets its FORWARD policy once; half a minute without forwarding is the price of not watching it.
const TEND_EVERY: Duration = Duration::from_secs(20);

/// The transport of a host port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

/// A port of the host that leads to a port of a pod (`hostPort` of a container's port).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostPort {
    /// The address of the host to listen on; none is all of them (`hostIP` empty or `0.0.0.0`).
    pub host_ip: Option<IpAddr>,
    pub host_port: u16,
    pub container_port: u16,
    pub protocol: Protocol,
}

impl HostPort {
    /// Sees that nobody on the host listens on the port: the rules that lead it to the pod would take his connections away.
    ///
    /// # Errors
    /// [`NetworkError::PortInUse`]; what cannot be tried counts as free.
    fn is_free(&self) -> Result<(), NetworkError> {
        let ip = self.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let at = SocketAddr::new(ip, self.host_port);
        let version = if ip.is_ipv4() { 4 } else { 6 };
        let (name, tried) = match self.protocol {
            Protocol::Tcp => ("tcp", std::net::TcpListener::bind(at).map(drop)),
            Protocol::Udp => ("udp", std::net::UdpSocket::bind(at).map(drop)),
            Protocol::Sctp => return Ok(()),
        };
        match tried {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                Err(NetworkError::PortInUse { port: self.host_port, at: format!("{name}{version} {at}") })
            }
            _ => Ok(()),
        }
    }
}

/// Why the network did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// All addresses of the node are taken.
    #[error("no addresses available in {0}: a pod must go before another can come")]
    Exhausted(String),
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
    /// Somebody else on the host listens on a pod's host port.
    #[error("cannot open hostport {port}: listen {at}: bind: address already in use")]
    PortInUse { port: u16, at: String },
    /// The sandbox's process is gone, and its namespace with it.
    #[error("the sandbox's network namespace is gone (process {0})")]
    NamespaceGone(u32),
    /// The kernel refused.
    #[error("{what}: {reason}")]
    Kernel { what: String, reason: String },
    /// A program that sets rules failed.
    #[error("{program} failed: {reason}")]
    Command { program: String, reason: String },
    /// The address ledger could not be read or written.
    #[error("address ledger {path}: {source}")]
    Ledger { path: String, source: std::io::Error },
    /// It took longer than it may.
    #[error("timed out: {0}")]
    Timeout(String),
}

/// A pod network as the pod machine uses it.
#[async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Gives the pod its addresses and connects the network namespace of process `netns_pid`. A pod that is attached keeps its addresses; a
    /// new sandbox of it gets the same ones. `netns_pid` is none where there are no processes.
    async fn attach(&self, pod_uid: &str, netns_pid: Option<u32>, host_ports: &[HostPort])
    -> Result<Ips, NetworkError>;

    /// The pod's addresses, if it has any.
    fn address_of(&self, pod_uid: &str) -> Option<Ips>;

    /// Takes the pod's link, rules and address away. Detaching what is not attached succeeds.
    async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError>;

    /// Takes away everything of pods that are not among `pod_uids`: what a death between two steps left behind.
    async fn reconcile(&self, pod_uids: &[&str]) -> Result<(), NetworkError>;

    /// Puts back the node's own links and rules where something else has removed them.
    async fn refresh(&self) -> Result<(), NetworkError>;

    /// Takes everything of this node away: links, rules, state.
    async fn teardown(&self) -> Result<(), NetworkError>;
}

/// Refreshes a network at slow, jittered intervals until `shutdown`. Failures are told once each, not at every turn.
pub async fn tend(network: Arc<dyn PodNetwork>, shutdown: CancellationToken) {
    let mut last_failure = String::new();
    loop {
        let pause = TEND_EVERY + TEND_EVERY.mul_f64(rand::random_range(0.0..0.5));
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        let failure = network.refresh().await.err().map(|it| it.to_string()).unwrap_or_default();
        if failure != last_failure {
            match failure.as_str() {
                "" => tracing::info!("the pod network is whole again"),
                reason => tracing::warn!(reason, "the pod network could not be refreshed"),
            }
            last_failure = failure;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_free() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host_port = taken.local_addr().unwrap().port();
        let port = HostPort { host_ip: None, host_port, container_port: 80, protocol: Protocol::Tcp };
        let words = port.is_free().unwrap_err().to_string();
        assert_eq!(
            words,
            format!("cannot open hostport {host_port}: listen tcp4 0.0.0.0:{host_port}: bind: address already in use")
        );
        drop(taken);
        port.is_free().unwrap();
    }
}
