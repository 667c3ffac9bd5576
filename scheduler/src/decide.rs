//! One decision: a pod, the cluster, and where to begin looking give a node, or the reasons why there is none.
//!
//! Pure. What is random in Kubernetes (which of the best nodes) follows from `turn`, a number that the caller raises with every
//! decision, so that a replay decides alike.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use orlop_client::Key;

use crate::filters::{FILTERS, Filter, Happening, volume_binding};
use crate::pod::Pod;
use crate::scores::{SCORES, Score};
use crate::snapshot::{Cluster, Node};
use crate::storage::Choice;

/// With no more nodes than this, all are looked at.
const ALWAYS_LOOK_AT_NODES: usize = 100;
/// However large the cluster, at least this share of the nodes is looked at, in percent.
const LOOK_AT_LEAST_PERCENT: usize = 5;
/// The share starts at this, in percent, and sinks by one for every [`NODES_PER_PERCENT`].
const LOOK_AT_MOST_PERCENT: usize = 50;
const NODES_PER_PERCENT: usize = 125;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The pod goes to this node.
    Bind {
        node: Box<str>,
        /// Nodes looked at, and how many of them would have done.
        looked_at: usize,
        feasible: usize,
        /// How those of its claims that have no volume get one there.
        claims: Vec<(Key, Choice)>,
    },
    /// It fits nowhere.
    Unschedulable(Diagnosis),
}

/// Why a pod fits nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnosis {
    pub nodes: usize,
    /// What stands in its way whatever the node.
    pub hindrance: Option<String>,
    /// How many nodes failed for each reason.
    pub reasons: BTreeMap<String, usize>,
    /// Indexes into [`FILTERS`] of those that rejected a node: what may wake the pod.
    pub rejected_by: Vec<usize>,
}

impl Diagnosis {
    /// Whether this happening may have made room. A cluster without nodes waits for the first one.
    pub fn woken_by(&self, happening: Happening) -> bool {
        (self.nodes == 0 && happening == Happening::NodeRoom)
            || self.rejected_by.iter().any(|at| FILTERS[*at].woken_by(happening))
    }
}

impl fmt::Display for Diagnosis {
    /// `0/5 nodes are available: 2 Insufficient cpu, 3 node(s) were unschedulable.`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nodes == 0 {
            return f.write_str("no nodes available to schedule pods");
        }
        write!(f, "0/{} nodes are available: ", self.nodes)?;
        if let Some(it) = &self.hindrance {
            return write!(f, "{it}.");
        }
        let mut texts: Vec<String> = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        texts.sort();
        write!(f, "{}.", texts.join(", "))
    }
}

/// How many feasible nodes are enough, of `nodes` in all (Kubernetes' adaptive `percentageOfNodesToScore`).
pub fn enough(nodes: usize) -> usize {
    if nodes <= ALWAYS_LOOK_AT_NODES {
        return nodes;
    }
    let percent = LOOK_AT_MOST_PERCENT.saturating_sub(nodes / NODES_PER_PERCENT).max(LOOK_AT_LEAST_PERCENT);
    (nodes * percent / 100).max(ALWAYS_LOOK_AT_NODES)
}

/// Decides where a pod goes. Nodes are looked at from `start` on, round the ring; `turn` chooses among the best.
pub fn decide(pod: &Pod, cluster: &Cluster, start: usize, turn: u64) -> Decision {
    let nodes = cluster.nodes();
    let prepared = match prepare(pod, cluster) {
        Ok(it) => it,
        Err(hindrance) => return Decision::Unschedulable(hindered(nodes.len(), hindrance)),
    };
    let pod = prepared.as_ref().unwrap_or(pod);
    let filters: Vec<(usize, &dyn Filter)> =
        FILTERS.iter().enumerate().filter(|(_, it)| it.concerns(pod)).map(|(at, it)| (at, *it)).collect();
    let wanted = enough(nodes.len());
    let mut feasible: Vec<&Node> = Vec::with_capacity(wanted);
    let mut rejected: Vec<(usize, &Node)> = Vec::new();
    let mut looked_at = 0;
    for step in 0..nodes.len() {
        let node = &nodes[(start + step) % nodes.len()];
        looked_at += 1;
        match filters.iter().find(|(_, filter)| !filter.check(pod, node)) {
            Some((at, _)) => rejected.push((*at, node)),
            None => feasible.push(node),
        }
        if feasible.len() >= wanted {
            break;
        }
    }
    match best(pod, cluster, &feasible, turn) {
        Some(node) => {
            let claims = pod.storage.as_ref().and_then(|it| it.choose(node)).unwrap_or_default();
            Decision::Bind { node: node.name.clone(), looked_at, feasible: feasible.len(), claims }
        }
        None => Decision::Unschedulable(diagnose(pod, nodes.len(), &rejected)),
    }
}

/// The pod with what its claims ask of a node; none where it has no claims, so that such pods cost nothing here.
fn prepare(pod: &Pod, cluster: &Cluster) -> Result<Option<Pod>, String> {
    if pod.claims.is_empty() {
        return Ok(None);
    }
    let demand = cluster.storage.demand(pod)?;
    Ok(Some(Pod { storage: Some(Arc::new(demand)), ..pod.clone() }))
}

fn hindered(nodes: usize, hindrance: String) -> Diagnosis {
    let filter = FILTERS.iter().position(|it| it.name() == volume_binding::NAME);
    Diagnosis { nodes, hindrance: Some(hindrance), rejected_by: filter.into_iter().collect(), ..Diagnosis::default() }
}

/// Reasons are worded only once a pod fits nowhere: the usual case pays nothing for them.
fn diagnose(pod: &Pod, nodes: usize, rejected: &[(usize, &Node)]) -> Diagnosis {
    let mut out = Diagnosis { nodes, ..Diagnosis::default() };
    for (at, node) in rejected {
        for reason in FILTERS[*at].explain(pod, node) {
            *out.reasons.entry(reason).or_default() += 1;
        }
        if !out.rejected_by.contains(at) {
            out.rejected_by.push(*at);
        }
    }
    out
}

fn best<'a>(pod: &Pod, cluster: &Cluster, feasible: &[&'a Node], turn: u64) -> Option<&'a Node> {
    if let [only] = feasible {
        return Some(only);
    }
    let totals = totals(pod, cluster, feasible);
    let highest = totals.iter().copied().max()?;
    let ties = totals.iter().filter(|it| **it == highest).count() as u64;
    let chosen = totals.iter().enumerate().filter(|(_, it)| **it == highest).nth(mix(turn) as usize % ties as usize)?;
    Some(feasible[chosen.0])
}

fn concerned(pod: &Pod) -> impl Iterator<Item = (&'static dyn Score, i64)> {
    SCORES.iter().filter(|(it, _)| it.concerns(pod)).map(|(it, weight)| (*it, *weight))
}

fn totals(pod: &Pod, cluster: &Cluster, nodes: &[&Node]) -> Vec<i64> {
    let mut totals = vec![0; nodes.len()];
    let mut ratings = Vec::with_capacity(nodes.len());
    for (score, weight) in concerned(pod) {
        ratings.clear();
        ratings.extend(nodes.iter().map(|it| score.rate(pod, it, cluster)));
        score.normalize(&mut ratings);
        for (total, rating) in totals.iter_mut().zip(&ratings) {
            *total += weight * rating;
        }
    }
    totals
}

/// Spreads consecutive numbers (splitmix64's finalizer).
fn mix(turn: u64) -> u64 {
    let mut it = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
    it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (it ^ (it >> 31)) >> 1
}

/// What every filter or score says of a pod on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It cannot run there: the filter and its reasons.
    Rejected { filter: &'static str, reasons: Vec<String> },
    /// It can, rated so: score, weighted points, what they rest on.
    Rated { total: i64, scores: Vec<(&'static str, i64, String)> },
}

/// Says, node by node, why a pod can or cannot run there, and what it would be worth.
pub fn explain(pod: &Pod, cluster: &Cluster) -> Vec<(Box<str>, Verdict)> {
    let mut out = Vec::with_capacity(cluster.nodes().len());
    let mut feasible = Vec::new();
    let prepared = match prepare(pod, cluster) {
        Ok(it) => it,
        Err(why) => {
            let rejected = Verdict::Rejected { filter: volume_binding::NAME, reasons: vec![why] };
            return cluster.nodes().iter().map(|it| (it.name.clone(), rejected.clone())).collect();
        }
    };
    let pod = prepared.as_ref().unwrap_or(pod);
    for node in cluster.nodes() {
        match FILTERS.iter().filter(|it| it.concerns(pod)).find(|it| !it.check(pod, node)) {
            Some(filter) => {
                let reasons = filter.explain(pod, node);
                out.push((node.name.clone(), Verdict::Rejected { filter: filter.name(), reasons }));
            }
            None => feasible.push(node),
        }
    }
    let totals = totals(pod, cluster, &feasible);
    let mut points: Vec<Vec<(&'static str, i64, String)>> = vec![Vec::new(); feasible.len()];
    for (score, weight) in concerned(pod) {
        let mut ratings: Vec<i64> = feasible.iter().map(|it| score.rate(pod, it, cluster)).collect();
        score.normalize(&mut ratings);
        for ((node, rating), list) in feasible.iter().zip(ratings).zip(&mut points) {
            list.push((score.name(), weight * rating, score.explain(pod, node, cluster)));
        }
    }
    for ((node, total), scores) in feasible.iter().zip(totals).zip(points) {
        out.push((node.name.clone(), Verdict::Rated { total, scores }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(nodes: &[&str]) -> Cluster {
        let mut out = Cluster::default();
        for node in nodes {
            out.set_node(&serde_json::from_str(node).unwrap());
        }
        out
    }

    fn pod(requests: &str) -> Pod {
        let json = format!(
            r#"{{"metadata":{{"uid":"u","labels":{{"a":"b"}}}},"spec":{{"containers":[{{"image":"i","resources":{{"requests":{requests}}}}}]}}}}"#
        );
        Pod::new(&serde_json::from_str(&json).unwrap())
    }

    const SMALL: &str =
        r#"{"metadata":{"name":"small"},"status":{"allocatable":{"cpu":"1","memory":"1Gi","pods":"9"}}}"#;
    const LARGE: &str =
        r#"{"metadata":{"name":"large"},"status":{"allocatable":{"cpu":"8","memory":"8Gi","pods":"9"}}}"#;
    const CORDONED: &str = r#"{"metadata":{"name":"cordoned"},"spec":{"unschedulable":true},"status":{"allocatable":{"cpu":"8","memory":"8Gi","pods":"9"}}}"#;

    #[test]
    fn chooses_the_best_and_says_why_the_others_failed() {
        let all = cluster(&[SMALL, LARGE, CORDONED]);
        let it = decide(&pod(r#"{"cpu":"500m","memory":"100Mi"}"#), &all, 0, 0);
        assert_eq!(it, Decision::Bind { node: "large".into(), looked_at: 3, feasible: 2, claims: vec![] });
        let Decision::Unschedulable(why) = decide(&pod(r#"{"cpu":"9"}"#), &all, 1, 0) else {
            panic!("it fits nowhere")
        };
        assert_eq!(why.to_string(), "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.");
        assert!(why.woken_by(Happening::PodLeft) && why.woken_by(Happening::NodeTaints));
        assert!(!why.woken_by(Happening::NodeLabels));
    }

    #[test]
    fn an_empty_cluster_waits_for_a_node() {
        let Decision::Unschedulable(why) = decide(&pod("{}"), &Cluster::default(), 0, 0) else { panic!("no nodes") };
        assert_eq!(why.to_string(), "no nodes available to schedule pods");
        assert!(why.woken_by(Happening::NodeRoom));
    }

    #[test]
    fn explains_every_node() {
        let all = cluster(&[SMALL, CORDONED]);
        let said = explain(&pod(r#"{"cpu":"500m"}"#), &all);
        let rejected =
            Verdict::Rejected { filter: "NodeUnschedulable", reasons: vec!["node(s) were unschedulable".into()] };
        assert_eq!(said[0], ("cordoned".into(), rejected));
        let Verdict::Rated { total, scores } = &said[1].1 else { panic!("small fits") };
        assert_eq!(*total, scores.iter().map(|(_, points, _)| points).sum::<i64>());
    }

    #[test]
    fn looks_at_a_share_of_many_nodes() {
        assert_eq!((enough(50), enough(100), enough(1000), enough(5000)), (50, 100, 420, 500));
    }

    #[test]
    fn turns_spread_over_equal_nodes() {
        let names: Vec<String> = (0..4).map(|it| LARGE.replace("large", &format!("n{it}"))).collect();
        let all = cluster(&names.iter().map(String::as_str).collect::<Vec<_>>());
        let mut seen = std::collections::BTreeSet::new();
        for turn in 0..64 {
            if let Decision::Bind { node, .. } = decide(&pod("{}"), &all, 0, turn) {
                seen.insert(node);
            }
        }
        assert_eq!(seen.len(), 4);
    }
}
