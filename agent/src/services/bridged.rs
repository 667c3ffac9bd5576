//! Whether packets between two pods of one node pass the rules.
//!
//! Such packets are bridged. The answer of an endpoint to a client on the same bridge goes there directly, and unless bridged packets are shown to the
//! rules (`br_netfilter`, which Kubernetes asks of every node), nobody puts the service's address back into it. Where the module cannot be had,
//! such connections are masqueraded instead, so that the answer comes through the node: the client's address is lost, the connection is not.

use crate::network::command;

/// The switches of either family, which are there when the module is.
const SWITCHES: [&str; 2] =
    ["/proc/sys/net/bridge/bridge-nf-call-iptables", "/proc/sys/net/bridge/bridge-nf-call-ip6tables"];

/// Sees that bridged packets pass the rules in this namespace; tells whether they do.
pub async fn pass() -> bool {
    if tokio::fs::metadata(SWITCHES[0]).await.is_err() {
        // Not there, or without modules at all: what comes of it shows below.
        if let Err(error) = command::try_run("modprobe", &["br_netfilter"], "").await {
            tracing::debug!(%error, "br_netfilter could not be loaded");
        }
    }
    for switch in SWITCHES {
        let on = match tokio::fs::read_to_string(switch).await {
            Ok(it) if it.trim() == "1" => true,
            Ok(_) => tokio::fs::write(switch, "1").await.is_ok(),
            Err(_) => false,
        };
        if !on {
            return false;
        }
    }
    true
}
