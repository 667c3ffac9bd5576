//! Scores: which of the nodes that can run a pod should.
//!
//! A score rates every feasible node from 0 to [`MAX_SCORE`]; the weighted sum decides. [`SCORES`] holds Kubernetes' default weights. A
//! new score is a file below and a line in the list.

mod balanced_allocation;
mod image_locality;
mod least_allocated;
mod node_affinity;
mod spreading;
mod taints;

use crate::pod::Pod;
use crate::snapshot::{Cluster, Node};

/// The best a node can get from one score.
pub const MAX_SCORE: i64 = 100;

/// One way to rate nodes.
pub trait Score: Sync {
    /// The plugin's name in Kubernetes.
    fn name(&self) -> &'static str;

    /// Whether this score tells any nodes apart for this pod.
    fn concerns(&self, pod: &Pod) -> bool;

    /// The raw rating of a node; larger is better unless [`Score::normalize`] turns it round.
    fn rate(&self, pod: &Pod, node: &Node, cluster: &Cluster) -> i64;

    /// Brings the raw ratings of all feasible nodes into 0 to [`MAX_SCORE`].
    fn normalize(&self, _ratings: &mut [i64]) {}

    /// What the rating of this node rests on, in words.
    fn explain(&self, pod: &Pod, node: &Node, cluster: &Cluster) -> String;
}

/// All scores with their weights.
pub static SCORES: &[(&dyn Score, i64)] = &[
    (&taints::TaintToleration, 3),
    (&node_affinity::PreferredAffinity, 2),
    (&spreading::Spreading, 2),
    (&least_allocated::LeastAllocated, 1),
    (&balanced_allocation::BalancedAllocation, 1),
    (&image_locality::ImageLocality, 1),
];

/// Scales ratings so that the largest becomes [`MAX_SCORE`]; all zeros stay so.
fn scale_to_largest(ratings: &mut [i64]) {
    let largest = ratings.iter().copied().max().unwrap_or(0);
    if largest > 0 {
        ratings.iter_mut().for_each(|it| *it = *it * MAX_SCORE / largest);
    }
}

/// Turns ratings round, so that none of what was counted is best. All alike become [`MAX_SCORE`].
fn fewest_is_best(ratings: &mut [i64]) {
    scale_to_largest(ratings);
    ratings.iter_mut().for_each(|it| *it = MAX_SCORE - *it);
}

#[cfg(test)]
pub(crate) mod testing {
    use super::Score;
    use crate::pod::Pod;
    use crate::snapshot::Cluster;

    /// Checks how one score rates a pod on nodes given as JSON, after normalization.
    pub(crate) fn check(score: &dyn Score, pod: &str, nodes: &[&str], placed: &[(&str, &str)], expected: &[i64]) {
        let pod = Pod::new(&serde_json::from_str(pod).unwrap());
        let mut cluster = Cluster::default();
        for node in nodes {
            cluster.set_node(&serde_json::from_str(node).unwrap());
        }
        for (at, (other, node)) in placed.iter().enumerate() {
            let other = Pod { uid: format!("{at}").into(), ..Pod::new(&serde_json::from_str(other).unwrap()) };
            cluster.place(&other, node, true);
        }
        let mut ratings: Vec<i64> = cluster.nodes().iter().map(|it| score.rate(&pod, it, &cluster)).collect();
        score.normalize(&mut ratings);
        assert_eq!(ratings, expected);
        for node in cluster.nodes() {
            assert!(!score.explain(&pod, node, &cluster).is_empty());
        }
    }
}
