//! The pod machine: what to do next about one pod.
//!
//! In flow the pod as the API has it, the runtime's inventory of it and what the agent remembers ([`PodWorld`]); out flows a
//! [`Plan`]: actions in order, the status to report, the probes that should run, and when to look again. The plan is made anew from the
//! whole world each time; which event caused the look is not an input, so a restart of the agent, a lost event and a repeated one are
//! the same path. Pure: no tokio, no clock, no randomness. It knows neither how an action is done nor how long it takes; an action that
//! takes long is started once and shows up in [`Memory`] until it ends.

pub mod back_off;
pub mod conditions;
pub mod containers;
pub mod ending;
pub mod plan;
pub mod resize;
pub mod running;
pub mod status;
pub mod world;

#[cfg(test)]
mod model;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod storm;

use k8s_openapi::api::core::v1::Pod;

pub use plan::{Action, Plan, ProbeKind, ProbeWanted};
pub use world::{Evicted, Failure, ImageState, Memory, NodeFacts, PodWorld, ProbeResults, Rejection, VolumeState};

use world::View;

/// What a pod is on its way to, as far as the agent is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Course {
    /// Its containers should run, or have yet to.
    Run,
    /// It will never run again but stays in the API: it succeeded, failed, was refused by the node or outlived its deadline.
    End,
    /// The API marks it for deletion: stop it and then delete it for good.
    Delete,
}

/// Decides what to do about a pod that the API has.
pub fn decide(pod: &Pod, seen: &PodWorld<'_>) -> Plan {
    let view = View::of(pod, seen);
    let status = status::compute(pod, seen, &view);
    let mut plan = Plan::reporting(status);
    match course(pod, &plan) {
        Course::Run => running::extend(&mut plan, pod, seen, &view),
        Course::End => ending::end(&mut plan, pod, seen, &view),
        Course::Delete => ending::delete(&mut plan, pod, seen, &view),
    }
    plan
}

/// Decides what to do about what is left of a pod that the API no longer has: everything goes, at once and without hooks, because
/// its successor may already run elsewhere.
pub fn decide_gone(seen: &PodWorld<'_>) -> Plan {
    let mut plan = Plan::default();
    ending::remove_everything(&mut plan, seen, true);
    plan
}

fn course(pod: &Pod, plan: &Plan) -> Course {
    if pod.metadata.deletion_timestamp.is_some() {
        return Course::Delete;
    }
    match plan.status.as_ref().and_then(|it| it.phase.as_deref()) {
        Some("Succeeded" | "Failed") => Course::End,
        _ => Course::Run,
    }
}
