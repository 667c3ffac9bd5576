//! How many pods a budget is about, and how many of them must be healthy.
//!
//! In: a budget, the pods it selects, the workloads behind them. Out: two numbers, or why they cannot be had. A percentage, and `maxUnavailable`, are
//! of what the pods' workloads ask for, so that pods which are missing count.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::view::*;
use crate::world::World;
use orlop_client::Key;

/// Two numbers of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// How many there should be.
    pub count: i32,
    /// How many must be healthy.
    pub desired: i32,
}

/// The numbers of a budget.
///
/// # Errors
/// Why there are none.
pub fn of(budget: &BudgetView, pods: &[Arc<PodView>], world: &World) -> Result<Expected, String> {
    if let Some(unavailable) = &budget.spec.max_unavailable {
        let count = asked_for(pods, world)?;
        let desired = count.saturating_sub(scaled(unavailable, count)?).max(0);
        return Ok(Expected { count, desired });
    }
    match &budget.spec.min_available {
        None => Ok(Expected { count: 0, desired: 0 }),
        Some(IntOrString::Int(desired)) => {
            Ok(Expected { count: i32::try_from(pods.len()).unwrap_or(i32::MAX), desired: *desired })
        }
        Some(part) => {
            let count = asked_for(pods, world)?;
            Ok(Expected { count, desired: scaled(part, count)? })
        }
    }
}

/// How many pods the workloads of these pods ask for together. Pods without one count for nothing.
fn asked_for(pods: &[Arc<PodView>], world: &World) -> Result<i32, String> {
    let mut scales: BTreeMap<String, i32> = BTreeMap::new();
    for pod in pods {
        if controller_of(&pod.metadata).is_none() {
            continue;
        }
        let (uid, scale) =
            workload(pod, world).ok_or_else(|| format!("found no controllers for pod {:?}", name_of(&pod.metadata)))?;
        scales.insert(uid, scale);
    }
    Ok(scales.values().fold(0, |sum, it| sum.saturating_add(*it)))
}

/// The uid of what a pod is a replica of, and how many of it there should be: its ReplicationController, its Deployment, or else its
/// ReplicaSet.
fn workload(pod: &PodView, world: &World) -> Option<(String, i32)> {
    if let Some(key) = controller_key(&pod.metadata, REPLICATION_CONTROLLERS.kind) {
        let found = world.replication_controllers.get(&key)?;
        let same = controller_of(&pod.metadata).is_some_and(|it| it.uid == uid_of(&found.metadata));
        return same.then(|| (uid_of(&found.metadata).to_owned(), found.spec.replicas.unwrap_or(1)));
    }
    let set = world.replica_sets.get(&controller_key(&pod.metadata, "ReplicaSet")?)?;
    let same = controller_of(&pod.metadata).is_some_and(|it| it.uid == uid_of(&set.metadata));
    if !same {
        return None;
    }
    match controller_of(&set.metadata) {
        Some(owner) if owner.kind == "Deployment" => {
            let deployment = world.deployments.get(&Key::new(namespace_of(&set.metadata), &owner.name))?;
            (uid_of(&deployment.metadata) == owner.uid)
                .then(|| (owner.uid.clone(), deployment.spec.replicas.unwrap_or(1)))
        }
        _ => Some((uid_of(&set.metadata).to_owned(), set.spec.replicas.unwrap_or(1))),
    }
}

/// A number, or a percentage of `whole`, rounded up.
fn scaled(part: &IntOrString, whole: i32) -> Result<i32, String> {
    match part {
        IntOrString::Int(number) => Ok(*number),
        IntOrString::String(text) => {
            let percent: Option<i64> = text.strip_suffix('%').and_then(|it| it.parse().ok());
            let percent = percent.ok_or_else(|| {
                format!("invalid value for IntOrString: invalid type: string is not a percentage: {text:?}")
            })?;
            let parts = percent.saturating_mul(whole.into());
            Ok(i32::try_from(parts.div_euclid(100) + i64::from(parts.rem_euclid(100) > 0)).unwrap_or(i32::MAX))
        }
    }
}
