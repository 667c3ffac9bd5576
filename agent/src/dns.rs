//! The cluster's DNS on one node: names of services and pods from what the agent knows, everything else from the host's own servers.
//!
//! A question comes in by UDP or TCP ([`listen`]), is read and answered as a message ([`message`]): names of the cluster's domain by a pure
//! lookup ([`zone`], the specification is `kubernetes/dns` 1.1.0), any other by the servers of the host's `/etc/resolv.conf`
//! ([`upstream`]), with a bounded cache ([`cache`]). It reads the same stores as the rules for services do, and they keep what they knew, so that it
//! answers while the API server is away.
//!
//! It listens on the address of the node's bridge, and a rule of the node's table ([`crate::services::table`]) leads what pods and the node send
//! to the cluster's address, 10.96.0.10, there. With that address on an interface, several nodes that share a network namespace would
//! share the address and have to agree on who takes it away; a rule for the packets of one bridge needs no agreement, and a node's pods are
//! answered by their own agent. Where something else has port 53 there, any other port serves as well.
//!
//! hickory-proto reads and writes messages; the loops are ours instead of hickory-server's, which starts a task a datagram, logs two
//! lines an answer and limits neither connections nor questions under way.

pub mod zone;

pub mod message;

mod cache;
pub mod resolv_conf;
pub mod upstream;

pub mod listen;

#[cfg(test)]
mod scenarios;
