//! `VolumeBinding`: the node must reach the volumes that the pod's claims have, and there must be some for those that have none yet.

use super::{Filter, Happening};
use crate::pod::Pod;
use crate::snapshot::Node;

pub(super) struct VolumeBinding;

/// The plugin's name in Kubernetes; what a pod's claims lack altogether is told in its name, too.
pub const NAME: &str = "VolumeBinding";

impl Filter for VolumeBinding {
    fn name(&self) -> &'static str {
        NAME
    }

    fn concerns(&self, pod: &Pod) -> bool {
        pod.storage.is_some()
    }

    fn check(&self, pod: &Pod, node: &Node) -> bool {
        pod.storage.as_ref().is_none_or(|it| it.complaints(node).is_empty())
    }

    fn explain(&self, pod: &Pod, node: &Node) -> Vec<String> {
        let complaints = pod.storage.as_ref().map(|it| it.complaints(node)).unwrap_or_default();
        complaints.into_iter().map(str::to_owned).collect()
    }

    fn woken_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::Storage | Happening::NodeRoom | Happening::NodeLabels)
    }
}
