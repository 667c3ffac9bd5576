//! The way to pods of other nodes: routes to their ranges, over the link that nodes share or through a tunnel.
//!
//! In: all Nodes, from an informer, and the addresses of this one. Which node is reached how is decided by [`peers`], a function of values;
//! [`keeper`] brings the [`kernel`] there when a node comes, changes or goes, and looks again from time to time, so that what somebody removed
//! comes back. The tunnel is VXLAN (RFC 7348): one device a node, with a fixed entry for every other node instead of learning. Pods keep their
//! address on the whole way, so the rules for what leaves the cluster ([`super::ruleset`]) leave these packets alone.
//!
//! With two families there are routes of both, and one tunnel, which goes by the primary one and carries both.
//!
//! Deliberately absent: encryption, and learning routes from anybody but the API.

pub mod peers;

pub mod keeper;
mod kernel;

pub use kernel::remove;
use orlop_api::ranges::Ranges;

/// How packets for pods of other nodes travel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Overlay {
    /// Plain routes to nodes of the same link, VXLAN to all others.
    #[default]
    Auto,
    /// VXLAN to all: for links that let only the nodes' own addresses pass, as those of most clouds.
    Vxlan,
    /// Plain routes, and none to nodes of other links: the network between them knows the way.
    Routes,
}

/// What a tunnel takes of each packet, in bytes: the outer headers of IPv4 (20), UDP (8) and VXLAN (8), and the inner one of Ethernet (14).
pub const TUNNEL_BYTES: u32 = 50;
/// What the outer header of IPv6 takes more than that of IPv4, in bytes.
const V6_BYTES: u32 = 20;

/// What a tunnel takes of each packet, in bytes, between nodes with these ranges: it goes by their primary family.
pub fn tunnel_bytes(ranges: Ranges) -> u32 {
    if ranges.primary().addr().is_ipv6() { TUNNEL_BYTES + V6_BYTES } else { TUNNEL_BYTES }
}

/// The number of our network in the tunnel's header.
const NETWORK: u32 = 1;
/// VXLAN's own port of UDP (RFC 7348).
const PORT: u16 = 4789;
