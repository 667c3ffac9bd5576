//! `NodeAffinity`, the preferred part: the weights of the preferences that a node satisfies.

use super::{Score, scale_to_largest};
use crate::affinity;
use crate::pod::Pod;
use crate::snapshot::{Cluster, Node};

pub(super) struct PreferredAffinity;

impl Score for PreferredAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn concerns(&self, pod: &Pod) -> bool {
        !pod.preferred_affinity.is_empty()
    }

    fn rate(&self, pod: &Pod, node: &Node, _: &Cluster) -> i64 {
        let holds = pod.preferred_affinity.iter().filter(|it| affinity::term_matches(&it.preference, node));
        holds.map(|it| i64::from(it.weight)).sum()
    }

    fn normalize(&self, ratings: &mut [i64]) {
        scale_to_largest(ratings);
    }

    fn explain(&self, pod: &Pod, node: &Node, cluster: &Cluster) -> String {
        let total: i64 = pod.preferred_affinity.iter().map(|it| i64::from(it.weight)).sum();
        format!("preferences worth {} of {total} hold", self.rate(pod, node, cluster))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::check;
    use super::PreferredAffinity;

    #[test]
    fn adds_the_weights_of_what_holds() {
        let pod = r#"{"spec":{"affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[
            {"weight":30,"preference":{"matchExpressions":[{"key":"disk","operator":"Exists"}]}},
            {"weight":10,"preference":{"matchExpressions":[{"key":"gpu","operator":"Exists"}]}}]}}}}"#;
        let disk = r#"{"metadata":{"name":"a","labels":{"disk":""}}}"#;
        let both = r#"{"metadata":{"name":"b","labels":{"disk":"","gpu":""}}}"#;
        let none = r#"{"metadata":{"name":"c"}}"#;
        check(&PreferredAffinity, pod, &[disk, both, none], &[], &[75, 100, 0]);
    }
}
