//! One container's verdict: leave it, start it, run it again, wait, or let it rest.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::back_off::{self, BackOff, Restart};
use super::world::{Life, PodWorld, View, spec};
use crate::runtime::{ContainerState, Id, Phase};

/// The exit code of a container whose command could not be started, as containerd gives it.
const START_ERROR_CODE: i32 = 128;
/// The exit code that stands for one nobody saw: as if killed.
const UNKNOWN_CODE: i32 = 137;

/// What part a container plays in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Runs to its end before the next one starts.
    Init,
    /// An init container that keeps running (`restartPolicy: Always`).
    Sidecar,
    App,
    /// Added to a pod that runs, to look at the others; it runs once, whatever becomes of it.
    Ephemeral,
}

/// A pod's restart policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Always,
    OnFailure,
    Never,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub id: Option<Id>,
    pub code: i32,
    pub signal: Option<i32>,
    pub reason: String,
    pub message: Option<String>,
    pub started: Option<Timestamp>,
    pub finished: Option<Timestamp>,
}

/// What a container should do next.
#[derive(Clone, Debug)]
pub enum Verdict<'a> {
    Running(&'a ContainerState),
    /// It was made and not started.
    Start(&'a ContainerState),
    /// Make and start it; `next` is the delay that holds for the restart after.
    Run {
        attempt: u32,
        next: Option<Duration>,
        last: Option<Exit>,
    },
    /// It waits for its restart.
    BackOff {
        until: Timestamp,
        delay: Duration,
        attempt: u32,
        last: Exit,
    },
    /// It rests for good.
    Done(Exit),
}

/// The part an init container plays.
pub fn init_role(container: &Container) -> Role {
    if container.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init }
}

/// The pod's restart policy.
pub fn policy(pod: &Pod) -> Policy {
    match spec(pod).and_then(|it| it.restart_policy.as_deref()) {
        Some("Never") => Policy::Never,
        Some("OnFailure") => Policy::OnFailure,
        _ => Policy::Always,
    }
}

/// How a container of the runtime ended, if it did.
pub fn exit_of(container: &ContainerState, seen: &PodWorld<'_>) -> Option<Exit> {
    if let Some((message, at)) = seen.memory.start_errors.get(&container.id) {
        return Some(Exit {
            id: Some(container.id.clone()),
            code: START_ERROR_CODE,
            signal: None,
            reason: "StartError".into(),
            message: Some(message.clone()),
            started: None,
            finished: Some(*at),
        });
    }
    let Phase::Exited { started, finished, exit_code, signal, oom_killed, message } = &container.phase else {
        return None;
    };
    let reason = match (oom_killed, exit_code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    Some(Exit {
        id: Some(container.id.clone()),
        code: *exit_code,
        signal: *signal,
        reason: reason.into(),
        message: said(message, seen.memory.messages.get(&container.id)),
        started: *started,
        finished: Some(*finished),
    })
}

/// What the runtime says of a container's end, and what the container left to be told.
fn said(runtime: &str, container: Option<&String>) -> Option<String> {
    let container = container.map(String::as_str).unwrap_or_default();
    let between = if runtime.is_empty() || container.is_empty() { "" } else { ": " };
    Some(format!("{runtime}{between}{container}")).filter(|it| !it.is_empty())
}

/// How a container ended that the runtime no longer has but that the API was told of.
fn reported_exit(life: &Life<'_>) -> Option<Exit> {
    let reported = life.reported?;
    reported.container_id.as_deref().filter(|it| !it.is_empty())?;
    let id = reported.container_id.as_deref().and_then(|it| it.split_once("://")).map(|(_, id)| id.to_owned());
    match reported.state.as_ref().and_then(|it| it.terminated.as_ref()) {
        Some(it) => Some(Exit {
            id,
            code: it.exit_code,
            signal: it.signal,
            reason: it.reason.clone().unwrap_or_default(),
            message: it.message.clone(),
            started: it.started_at.as_ref().map(|it| it.0),
            finished: it.finished_at.as_ref().map(|it| it.0),
        }),
        None => Some(Exit {
            id,
            code: UNKNOWN_CODE,
            signal: None,
            reason: "ContainerStatusUnknown".into(),
            message: Some("The container could not be located when the pod was terminated".into()),
            started: None,
            finished: None,
        }),
    }
}

/// How the last one ended, if it is not alive.
pub fn last_exit(life: &Life<'_>, seen: &PodWorld<'_>) -> Option<Exit> {
    match life.latest {
        Some(latest) => exit_of(latest, seen),
        None => reported_exit(life),
    }
}

/// Decides on one container, as if everything it stands on were there.
pub fn verdict<'a>(pod: &Pod, container: &Container, role: Role, view: &View<'a>, seen: &PodWorld<'_>) -> Verdict<'a> {
    let life = view.life(&container.name);
    if let Some(latest) = life.latest
        && !seen.memory.start_errors.contains_key(&latest.id)
    {
        match latest.phase {
            Phase::Running { .. } => return Verdict::Running(latest),
            Phase::Created => return Verdict::Start(latest),
            Phase::Exited { .. } => {}
        }
    }
    let Some(exit) = last_exit(&life, seen) else {
        let attempt = life.reported.map_or(0, |it| u32::try_from(it.restart_count).unwrap_or(0));
        return Verdict::Run { attempt, next: back_off::after(attempt), last: None };
    };
    let restarts = life.latest.map_or(0, |it| it.attempt);
    let attempt = restarts.max(life.reported.map_or(0, |it| u32::try_from(it.restart_count).unwrap_or(0))) + 1;
    // A new sandbox begins anew: what an init container did for the old one is gone with its network and processes.
    let of_old_sandbox = life.latest.is_some_and(|it| !view.in_current_sandbox(it));
    let again = match (role, policy(pod)) {
        (Role::Ephemeral, _) => false,
        (Role::Sidecar, _) | (Role::App, Policy::Always) => true,
        // The pod has failed with it: so it is also once its sandbox is stopped, and before the API knows.
        (Role::Init, Policy::Never) if exit.code != 0 => false,
        (Role::Init, _) if of_old_sandbox => true,
        (Role::Init, Policy::Always | Policy::OnFailure) | (Role::App, Policy::OnFailure) => exit.code != 0,
        (_, Policy::Never) => false,
    };
    if !again {
        return Verdict::Done(exit);
    }
    let remembered = seen.memory.back_offs.get(&container.name).copied().or_else(|| {
        let set = exit.started.or(exit.finished)?;
        back_off::after(attempt - 1).map(|delay| BackOff { delay, set })
    });
    // An init container that succeeded for an old sandbox has nothing to be punished for.
    let remembered = remembered.filter(|_| !(role == Role::Init && exit.code == 0));
    match back_off::restart(remembered, exit.finished.unwrap_or(Timestamp::MIN), seen.now) {
        Restart::Now { next } => Verdict::Run { attempt, next: Some(next), last: Some(exit) },
        Restart::At { at, delay } => Verdict::BackOff { until: at, delay, attempt, last: exit },
    }
}

/// Whether a running container has passed its startup probe, or has none.
pub fn has_started(container: &Container, state: &ContainerState, life: &Life<'_>, seen: &PodWorld<'_>) -> bool {
    if seen.memory.post_start.contains_key(&state.id) {
        return false;
    }
    match (&container.startup_probe, seen.memory.probes.get(&state.id).and_then(|it| it.startup)) {
        (None, _) => true,
        (Some(_), Some(passed)) => passed,
        // The agent was restarted: what it said before still holds until the probe says otherwise.
        (Some(_), None) => reported_for(state, life).is_some_and(|it| it.started == Some(true)),
    }
}

/// Whether a running container is ready for traffic.
pub fn is_ready(container: &Container, state: &ContainerState, life: &Life<'_>, seen: &PodWorld<'_>) -> bool {
    if !has_started(container, state, life, seen) {
        return false;
    }
    match (&container.readiness_probe, seen.memory.probes.get(&state.id).and_then(|it| it.readiness)) {
        (None, _) => true,
        (Some(_), Some(ready)) => ready,
        (Some(_), None) => reported_for(state, life).is_some_and(|it| it.ready),
    }
}

/// The image that a container was made of, which the pod may have changed since: as the API was told of it first.
pub fn image_of<'a>(container: &'a Container, state: &ContainerState, life: &Life<'a>) -> &'a str {
    let told = reported_for(state, life).map(|it| it.image.as_str()).filter(|it| !it.is_empty());
    told.or(container.image.as_deref()).unwrap_or_default()
}

/// What the API was told of exactly this container.
fn reported_for<'a>(
    state: &ContainerState,
    life: &Life<'a>,
) -> Option<&'a k8s_openapi::api::core::v1::ContainerStatus> {
    life.reported.filter(|it| it.container_id.as_deref().is_some_and(|id| id.ends_with(&format!("://{}", state.id))))
}
