//! PodDisruptionBudgets: how many of the pods that one selects are healthy, and how many may be disrupted.
//!
//! In: budgets, pods, and the workloads that say how many pods there should be. Out: the budgets' status, from which evictions take what they are
//! allowed. A pod that an eviction has taken counts as gone for [`DELETION_TIMEOUT`]; if it is still there then, it counts again. Of workloads
//! it knows Deployments, ReplicaSets and ReplicationControllers, which are those that have controllers here; percentages of others fail,
//! and then nothing is allowed. Source: `pkg/controller/disruption`.

mod expected;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::selector::label;
use orlop_client::Key;
use orlop_client::events::Severity;
use orlop_client::write::Action;
use serde_json::{Value, json};

use self::expected::Expected;
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// How long an evicted pod may take to be deleted before it counts again.
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_mins(2);

/// The controller.
pub struct Disruption;

impl Controller for Disruption {
    fn name(&self) -> &'static str {
        "controllermanager"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.budgets);
        // Most namespaces have no budget, and those that have one have few.
        let budgets = world.budgets.clone();
        wires.on_either(&world.pods, move |pod| {
            let labels = labels_of(&pod.metadata);
            let in_reach = budgets.list_in(namespace_of(&pod.metadata));
            let selecting = in_reach.iter().filter(|it| selector(it).is_some_and(|it| it.matches(labels)));
            selecting.map(|it| key_of(&it.metadata)).collect()
        });
        fn all(budgets: &[std::sync::Arc<BudgetView>]) -> Vec<Key> {
            budgets.iter().map(|it| key_of(&it.metadata)).collect()
        }
        let budgets = world.budgets.clone();
        wires.on_either(&world.replica_sets, move |it| all(&budgets.list_in(namespace_of(&it.metadata))));
        let budgets = world.budgets.clone();
        wires.on_either(&world.replication_controllers, move |it| all(&budgets.list_in(namespace_of(&it.metadata))));
        let budgets = world.budgets.clone();
        wires.on_either(&world.deployments, move |it| all(&budgets.list_in(namespace_of(&it.metadata))));
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(budget) = world.budgets.get(key).filter(|it| it.metadata.deletion_timestamp.is_none()) else {
            return plan;
        };
        let selector = selector(&budget);
        let pods: Vec<_> = world
            .pods
            .list_in(key.namespace())
            .into_iter()
            .filter(|it| selector.as_ref().is_some_and(|selector| selector.matches(labels_of(&it.metadata))))
            .collect();
        let about = || reference(BUDGETS, &budget.metadata);
        let changed = budget.status.observed_generation != budget.metadata.generation;
        if pods.is_empty() && changed {
            plan.tell(about(), Severity::Normal, "NoPods", "No matching pods found");
        }
        let status = match expected::of(&budget, &pods, world) {
            Ok(expected) => {
                let disrupted = still_disrupted(&budget, &pods, now, &mut plan);
                status(&budget, &expected, healthy(&pods, &disrupted), &disrupted, now)
            }
            Err(why) => {
                if changed {
                    let text = format!("Failed to calculate the number of expected pods: {why}");
                    plan.tell(about(), Severity::Warning, "CalculateExpectedPodCountFailed", text);
                }
                failed(&budget, &why, now)
            }
        };
        let stands = serde_json::to_value(&budget.status).unwrap_or_default();
        if status != stands {
            let body = budget.with_status(status);
            plan.act(Action::Sub { resource: BUDGETS, key: key.clone(), sub: "status", put: true, body });
        }
        plan
    }
}

/// What a budget selects: nothing if it does not say, everything in its namespace if it says nothing of it.
fn selector(budget: &BudgetView) -> Option<label::Selector> {
    label::Selector::from_label_selector(budget.spec.selector.as_ref()?).ok()
}

/// The pods that evictions have taken and that are not being deleted yet; those that should have been long ago are told of.
fn still_disrupted(
    budget: &BudgetView,
    pods: &[std::sync::Arc<PodView>],
    now: Timestamp,
    plan: &mut Plan,
) -> BTreeMap<String, Time> {
    let mut out = BTreeMap::new();
    let Some(disrupted) = &budget.status.disrupted_pods else { return out };
    for pod in pods.iter().filter(|it| it.metadata.deletion_timestamp.is_none()) {
        let Some(since) = disrupted.get(name_of(&pod.metadata)) else { continue };
        let due = since.0 + DELETION_TIMEOUT;
        if due < now {
            let (namespace, name) = (namespace_of(&budget.metadata), name_of(&budget.metadata));
            let text = format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
            plan.tell(reference(PODS, &pod.metadata), Severity::Warning, "NotDeleted", text);
        } else {
            plan.recheck_in(Duration::try_from(now.duration_until(due)).unwrap_or_default());
            out.insert(name_of(&pod.metadata).to_owned(), since.clone());
        }
    }
    out
}

fn healthy(pods: &[std::sync::Arc<PodView>], disrupted: &BTreeMap<String, Time>) -> i32 {
    let counts = |it: &PodView| {
        it.metadata.deletion_timestamp.is_none() && it.is_ready() && !disrupted.contains_key(name_of(&it.metadata))
    };
    i32::try_from(pods.iter().filter(|it| counts(it)).count()).unwrap_or(i32::MAX)
}

fn status(
    budget: &BudgetView,
    expected: &Expected,
    healthy: i32,
    disrupted: &BTreeMap<String, Time>,
    now: Timestamp,
) -> Value {
    // A budget without pods allows nothing: its first ones must not go before they are counted.
    let allowed = if expected.count <= 0 { 0 } else { healthy.saturating_sub(expected.desired).max(0) };
    let (state, reason) = if allowed > 0 { ("True", "SufficientPods") } else { ("False", "InsufficientPods") };
    let mut out = json!({
        "currentHealthy": healthy, "desiredHealthy": expected.desired, "expectedPods": expected.count,
        "disruptionsAllowed": allowed, "conditions": conditions(budget, state, reason, "", now),
    });
    if let Some(generation) = budget.metadata.generation {
        out["observedGeneration"] = generation.into();
    }
    if !disrupted.is_empty() {
        out["disruptedPods"] = json!(disrupted);
    }
    out
}

/// What a budget says that cannot be kept: nothing may go.
fn failed(budget: &BudgetView, why: &str, now: Timestamp) -> Value {
    let mut out = serde_json::to_value(&budget.status).unwrap_or_default();
    out["disruptionsAllowed"] = 0.into();
    out["conditions"] = conditions(budget, "False", "SyncFailed", why, now);
    out
}

fn conditions(budget: &BudgetView, state: &str, reason: &str, message: &str, now: Timestamp) -> Value {
    const TYPE: &str = "DisruptionAllowed";
    let mut all = serde_json::to_value(&budget.status.conditions).unwrap_or_default();
    let standing = all.as_array().and_then(|them| them.iter().find(|it| it["type"] == TYPE)).cloned();
    let since = match &standing {
        Some(it) if it["status"] == state => it["lastTransitionTime"].clone(),
        _ => now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into(),
    };
    let mut condition =
        json!({ "type": TYPE, "status": state, "reason": reason, "message": message, "lastTransitionTime": since });
    if let Some(generation) = budget.metadata.generation {
        condition["observedGeneration"] = generation.into();
    }
    match all.as_array_mut() {
        Some(them) => match them.iter_mut().find(|it| it["type"] == TYPE) {
            Some(it) => *it = condition,
            None => them.push(condition),
        },
        None => all = json!([condition]),
    }
    all
}

#[cfg(test)]
mod tests;
