//! Filters: which nodes a pod can run on, and for the others, why not.
//!
//! A filter looks at one pod and one node. [`FILTERS`] is the order in which they are asked; the first that objects speaks for the node, as
//! in Kubernetes. A filter is skipped for pods on which it has nothing to say. A new filter is a file below and a line in the list.

mod host_ports;
mod node_affinity;
mod node_name;
mod resources;
mod taints;
mod unschedulable;
pub mod volume_binding;
mod volume_restrictions;

use crate::pod::Pod;
use crate::snapshot::Node;

/// Something that happened in the cluster and may make room for a pod that had none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Happening {
    /// A node came, or got more room.
    NodeRoom,
    /// A node's labels changed.
    NodeLabels,
    /// A node's taints or its schedulability changed.
    NodeTaints,
    /// A pod left its node.
    PodLeft,
    /// A claim, a volume or a storage class came, changed or went.
    Storage,
}

/// One reason why a pod may not run on a node.
pub trait Filter: Sync {
    /// The plugin's name in Kubernetes.
    fn name(&self) -> &'static str;

    /// Whether this filter has anything to say about this pod.
    fn concerns(&self, pod: &Pod) -> bool;

    /// Whether the pod can run on the node.
    fn check(&self, pod: &Pod, node: &Node) -> bool;

    /// Why it cannot, in the words that Kubernetes puts behind the number of nodes. Several reasons may hold.
    fn explain(&self, pod: &Pod, node: &Node) -> Vec<String>;

    /// Whether this may have made a node fit that did not before.
    fn woken_by(&self, happening: Happening) -> bool;
}

/// All filters, cheapest and most decisive first.
pub static FILTERS: &[&dyn Filter] = &[
    &unschedulable::Unschedulable,
    &node_name::NodeName,
    &taints::Taints,
    &node_affinity::Affinity,
    &host_ports::HostPorts,
    &resources::Fit,
    &volume_restrictions::VolumeRestrictions,
    &volume_binding::VolumeBinding,
];

#[cfg(test)]
pub(crate) mod testing {
    use super::Filter;
    use crate::pod::Pod;
    use crate::snapshot::Cluster;

    /// Checks what one filter says of a pod on a node, both given as JSON; an empty list means that it fits.
    pub(crate) fn check(filter: &dyn Filter, pod: &str, node: &str, expected: &[&str]) {
        let pod = Pod::new(&serde_json::from_str(pod).unwrap());
        let mut cluster = Cluster::default();
        cluster.set_node(&serde_json::from_str(node).unwrap());
        let node = &cluster.nodes()[0];
        let fits = !filter.concerns(&pod) || filter.check(&pod, node);
        let reasons = if fits { Vec::new() } else { filter.explain(&pod, node) };
        assert_eq!(reasons, expected);
        assert_eq!(fits, expected.is_empty());
    }
}
