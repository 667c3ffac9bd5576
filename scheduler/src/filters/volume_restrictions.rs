//! `VolumeRestrictions`: a claim of the mode `ReadWriteOncePod` is one pod's at a time, wherever that pod is.

use super::{Filter, Happening};
use crate::pod::Pod;
use crate::snapshot::Node;

pub(super) struct VolumeRestrictions;

impl Filter for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn concerns(&self, pod: &Pod) -> bool {
        pod.storage.as_ref().is_some_and(|it| it.is_taken)
    }

    fn check(&self, _: &Pod, _: &Node) -> bool {
        false
    }

    fn explain(&self, _: &Pod, _: &Node) -> Vec<String> {
        vec!["node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode".into()]
    }

    fn woken_by(&self, happening: Happening) -> bool {
        matches!(happening, Happening::PodLeft | Happening::Storage)
    }
}
