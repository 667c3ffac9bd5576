//! The end of a pod: its containers stop beside each other, then sandbox, network and volumes go, then the pod itself.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::back_off::{later, since};
use super::containers::{Role, init_role};
use super::plan::{Action, Plan};
use super::world::{PodWorld, View, app_containers, init_containers, spec};
use crate::runtime::{ContainerState, Phase};

/// The least time a container gets to stop, hook or not, as the kubelet gives it.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// Kubernetes' default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: Duration = Duration::from_secs(30);
/// How soon a pod that was deleted but is still there (a finalizer holds it) is looked at again.
const HELD_RECHECK: Duration = Duration::from_secs(300);

/// A pod that will never run again but stays: nothing of it runs, its dead containers stay for their logs.
pub fn end(plan: &mut Plan, pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>) {
    if stop_all(plan, pod, seen) {
        return;
    }
    if seen.memory.cleaned {
        if seen.memory.collected {
            let containers = seen.inventory.containers.iter().map(|it| Action::RemoveContainer { id: it.id.clone() });
            let sandboxes = seen.inventory.sandboxes.iter().map(|it| Action::RemoveSandbox { id: it.id.clone() });
            containers.chain(sandboxes).for_each(|it| plan.push(it));
        }
        return;
    }
    if !seen.inventory.sandboxes.is_empty() {
        plan.push(Action::DetachNetwork);
    }
    if let Some(sandbox) = view.running_sandbox() {
        plan.push(Action::StopSandbox { id: sandbox.id.clone() });
    }
    plan.push(Action::RemoveVolumes);
}

/// A pod that the API wants gone.
pub fn delete(plan: &mut Plan, pod: &Pod, seen: &PodWorld<'_>, _view: &View<'_>) {
    if stop_all(plan, pod, seen) {
        return;
    }
    if seen.memory.deleted {
        plan.recheck_at(super::back_off::later(seen.now, HELD_RECHECK));
        return;
    }
    remove_everything(plan, seen, false);
    plan.push(Action::DeletePod);
}

/// Everything that is left of the pod on this machine goes; what still runs is killed.
pub fn remove_everything(plan: &mut Plan, seen: &PodWorld<'_>, at_once: bool) {
    for it in &seen.inventory.sandboxes {
        if at_once && it.running {
            plan.push(Action::StopSandbox { id: it.id.clone() });
        }
    }
    plan.push(Action::DetachNetwork);
    for it in &seen.inventory.containers {
        plan.push(Action::RemoveContainer { id: it.id.clone() });
    }
    for it in &seen.inventory.sandboxes {
        plan.push(Action::RemoveSandbox { id: it.id.clone() });
    }
    plan.push(Action::RemoveVolumes);
}

/// Stops all that runs: sidecars after the others. Says whether something still does.
fn stop_all(plan: &mut Plan, pod: &Pod, seen: &PodWorld<'_>) -> bool {
    let alive: Vec<_> =
        seen.inventory.containers.iter().filter(|it| matches!(it.phase, Phase::Running { .. })).collect();
    let is_sidecar =
        |it: &ContainerState| init_containers(pod).iter().any(|c| c.name == it.name && init_role(c) == Role::Sidecar);
    let (sidecars, others): (Vec<_>, Vec<_>) = alive.iter().copied().partition(|it| is_sidecar(it));
    for it in if others.is_empty() { &sidecars } else { &others } {
        stop(plan, pod, it, seen, None, format!("Stopping container {}", it.name));
    }
    !alive.is_empty()
}

/// Stops a container unless that is under way. `grace` is the pod's where none is given.
pub fn stop(
    plan: &mut Plan,
    pod: &Pod,
    it: &ContainerState,
    seen: &PodWorld<'_>,
    grace: Option<Duration>,
    message: String,
) {
    if seen.memory.stopping.contains(&it.id) {
        return;
    }
    let container = find(pod, &it.name);
    let pre_stop = container.and_then(|it| it.lifecycle.as_ref()).is_some_and(|it| it.pre_stop.is_some());
    plan.push(Action::StopContainer {
        container: it.name.clone(),
        id: it.id.clone(),
        grace: grace.unwrap_or_else(|| pod_grace(pod, seen)).max(LEAST_GRACE),
        pre_stop,
        message,
    });
}

/// The time the pod's containers have to stop. Where this agent saw the deletion, it counts from then; else the deadline is the API's, so that an
/// agent that comes back late does not begin the wait anew.
fn pod_grace(pod: &Pod, seen: &PodWorld<'_>) -> Duration {
    let seconds = |it: i64| Duration::from_secs(it.max(0).unsigned_abs());
    let of_spec = spec(pod).and_then(|it| it.termination_grace_period_seconds).map_or(DEFAULT_GRACE, seconds);
    let of_spec = seen.memory.evicted.as_ref().map_or(of_spec, |it| it.grace.min(of_spec));
    let Some(deadline) = &pod.metadata.deletion_timestamp else { return of_spec };
    let asked = pod.metadata.deletion_grace_period_seconds.map_or(of_spec, seconds);
    // Who was told to go at once does not get more time by being deleted.
    let asked = if seen.memory.evicted.is_some() { asked.min(of_spec) } else { asked };
    let left = match seen.memory.told_to_end {
        // Set back meanwhile, the clock says nothing of how long ago that was.
        Some(told) if told > seen.now => return asked,
        Some(told) => since(seen.now, later(told, asked)).as_millis(),
        // The API keeps whole seconds and drops the rest: the deadline was meant to be up to a second later.
        None => since(seen.now, deadline.0).as_millis().saturating_add(1000),
    };
    // Runtimes count in whole seconds, too.
    asked.min(Duration::from_secs(left.div_ceil(1000).try_into().unwrap_or(u64::MAX)))
}

/// A container of the pod by its name; not one that was added later.
pub fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a Container> {
    app_containers(pod).iter().chain(init_containers(pod)).find(|it| it.name == name)
}
