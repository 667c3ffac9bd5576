//! NetworkPolicy on one node: nftables instead of another daemon.
//!
//! Policies, pods and namespaces flow from three informers ([`view`]) into what each policy says ([`spec`]), the chain of all policies that
//! select a pod ([`chain`]), and the sets of pods that these chains name ([`selection`]). Together they are the tables as they should
//! be ([`state`], [`table`]), which [`crate::rules`] keeps in the kernel. [`keeper`] is the only part that waits or runs anything.
//!
//! A node enforces the policies of its own pods: what comes to them, what goes from them. A packet that begins a connection costs a lookup
//! for where it comes from and one for where it goes; others pass, for their connection was judged. Pods that are selected by the
//! same policies share a chain, and a pod more or less among the peers is an element more or less.
//!
//! Semantics are Kubernetes' (`networking.k8s.io/v1`, KEP-2079 for port ranges). Addresses are those after the translation of Services. What the node itself
//! sends to its pods always passes, and so does what pods send to their node, but for the cluster's DNS, which is judged as what it is
//! elsewhere: a pod `k8s-app: kube-dns` of the namespace `kube-system`. Pods on the node's network are the node.
//!
//! Deliberately absent: connections that exist are not cut when a policy comes (Kubernetes leaves that open).

pub mod view;

pub mod spec;

pub mod chain;
pub mod selection;
pub mod state;
pub mod table;

pub mod keeper;

#[cfg(test)]
mod scenarios;
