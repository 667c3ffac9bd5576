//! `ImageLocality`: nodes that have the pod's images already, the larger the better.
//!
//! An image counts by its size times the share of nodes that have it, so that one node with an image does not draw every replica.

use super::{MAX_SCORE, Score};
use crate::pod::Pod;
use crate::snapshot::{Cluster, Node};

pub(super) struct ImageLocality;

/// Less than this is quicker to pull than to care about: 23 MB.
const SMALLEST_BYTES: i64 = 23 * 1024 * 1024;
/// More than this per container does not count: 1,000 MB.
const LARGEST_PER_CONTAINER_BYTES: i64 = 1000 * 1024 * 1024;

fn present_bytes(pod: &Pod, node: &Node, cluster: &Cluster) -> i64 {
    let total = cluster.nodes().len().max(1) as i64;
    let share = |image: &str, size: i64| size / total * cluster.nodes_with_image(image) as i64;
    pod.images.iter().filter_map(|it| node.images.get(it).map(|size| share(it, *size))).sum()
}

impl Score for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn concerns(&self, pod: &Pod) -> bool {
        !pod.images.is_empty()
    }

    fn rate(&self, pod: &Pod, node: &Node, cluster: &Cluster) -> i64 {
        if node.images.is_empty() {
            return 0;
        }
        let largest = LARGEST_PER_CONTAINER_BYTES * pod.images.len() as i64;
        let present = present_bytes(pod, node, cluster).clamp(SMALLEST_BYTES, largest);
        MAX_SCORE * (present - SMALLEST_BYTES) / (largest - SMALLEST_BYTES)
    }

    fn explain(&self, pod: &Pod, node: &Node, _: &Cluster) -> String {
        let here = pod.images.iter().filter(|it| node.images.contains_key(*it)).count();
        format!("{here} of {} images are there", pod.images.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::ImageLocality;

    #[test]
    fn prefers_nodes_that_have_the_image() {
        let pod = r#"{"spec":{"containers":[{"image":"r/big"}]}}"#;
        let with =
            r#"{"metadata":{"name":"a"},"status":{"images":[{"names":["r/big:latest"],"sizeBytes":2000000000}]}}"#;
        let without = r#"{"metadata":{"name":"b"},"status":{"images":[{"names":["r/small:latest"],"sizeBytes":100}]}}"#;
        check(&ImageLocality, pod, &[with, without], &[], &[95, 0]);
    }
}
