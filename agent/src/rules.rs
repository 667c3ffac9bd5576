//! Tables of packet rules that are kept as something wants them: what Services and network policies have in common.
//!
//! Owners (a Service, a pod) add a [`fragment`] each; together they are the tables as they should be ([`wanted`]). What differs from
//! what the kernel has ([`listing`]) goes there as one transaction of `nft` ([`changes`]). [`kernel`] is the only part that waits or runs
//! anything. What the rules are for is not known here.

pub mod table;

pub mod fragment;
pub mod wanted;

pub mod changes;
pub mod listing;

pub mod kernel;
