//! Services in the data path of one node: nftables instead of a proxy process.
//!
//! Services and EndpointSlices flow from two informers ([`view`]) into what each service adds ([`backends`], [`fragment`]), which together are
//! the tables as they should be ([`table`]); what differs from the kernel goes there as one transaction ([`crate::rules`]). [`keeper`] is the
//! only part that waits or runs anything; all before it are functions of values.
//!
//! A packet costs one lookup, whether there is one service or ten thousand, and so does a change: an endpoint is an element of a map that
//! all services share, and the chains that draw among endpoints are named by how many there are. Measured with `nft` 1.0.6 on two busy
//! cores: a chain a service for ten thousand took 12 s to load and 13 s to list; as elements they take well under a second.
//!
//! Several nodes may share one network namespace. Each has tables of its own, any of which leads a packet right, for all know all services;
//! the first sees it. Only `Local` policies are not exact there: what is local is decided by the first table. A node's own namespace is the
//! form in which they are.
//!
//! Deliberately absent: `healthCheckNodePort`, and addresses for LoadBalancers, which a controller assigns.

pub mod view;

pub mod backends;
pub mod fragment;
pub mod protocol;
pub mod stale;
pub mod table;

pub(crate) mod bridged;
mod flows;
pub mod keeper;

#[cfg(test)]
mod scenarios;
