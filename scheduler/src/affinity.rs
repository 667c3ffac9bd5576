//! Whether a node selector term matches a node.

use k8s_openapi::api::core::v1::NodeSelectorTerm;
use orlop_client::storage::affinity;

use crate::snapshot::Node;

/// Whether every requirement of the term holds. A term without any matches no node.
pub fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    affinity::term_matches(term, |key| node.labels.get(key).map(String::as_str), &node.name)
}
