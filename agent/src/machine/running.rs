//! A pod that should run: volumes and sandbox, then init containers one after another, then the others beside each other.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod};

use super::back_off::{self, BackOff, Restart, later};
use super::containers::{self, Policy, Role, Verdict};
use super::ending::stop;
use super::plan::{Action, Plan, ProbeKind, ProbeWanted};
use super::resize::{self, Resize};
use super::status::{self, ERROR_SHOWS_FOR};
use super::world::{
    Failure, ImageState, Life, PodWorld, PostStart, View, VolumeState, app_containers, ephemeral_containers, full_name,
    host_network, init_containers, plain,
};
use crate::runtime::{ContainerState, Phase, SandboxState};

/// How soon a change of resources that the node has no room for is looked at again.
const DEFERRED_RECHECK: Duration = Duration::from_secs(5);

/// A container that should be made, and what is known of its restart.
struct Wanted<'a> {
    container: Cow<'a, Container>,
    attempt: u32,
    next: Option<Duration>,
}

/// Adds what a pod needs that should run.
pub fn extend(plan: &mut Plan, pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>) {
    if let Some(at) = plan.status.as_ref().and_then(|it| status::deadline(pod, it)) {
        plan.recheck_at(at);
    }
    remove_old_dead(plan, seen);
    if lost_sandbox(plan, pod, seen, view) {
        return;
    }
    resize(plan, pod, seen, view);
    let (wanted, starts) = containers_to_run(plan, pod, seen, view);
    if wanted.is_empty() && starts.is_empty() {
        // The sandbox is still looked after: an agent that was restarted must know that the pod is attached.
        if view.running_sandbox().is_some() {
            ground(plan, pod, seen, view);
        }
        return;
    }
    for it in &wanted {
        image(plan, it, seen);
    }
    let Some(sandbox) = ground(plan, pod, seen, view) else { return };
    if !matches!(seen.memory.volumes, VolumeState::Ready) {
        return;
    }
    for state in starts {
        plan.push(Action::StartContainer { container: state.name.clone(), id: state.id.clone() });
    }
    for it in &wanted {
        let ready = matches!(seen.memory.images.get(&it.container.name), Some(ImageState::Ready { attempt, .. }) if *attempt == it.attempt);
        if ready && due(plan, seen.memory.create_failures.get(&it.container.name), seen.now) {
            plan.push(Action::RunContainer {
                container: it.container.name.clone(),
                sandbox: sandbox.id.clone(),
                attempt: it.attempt,
                back_off: it.next,
            });
        }
    }
}

/// Gives running containers the resources that they ask for now, as far as the node has them.
fn resize(plan: &mut Plan, pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>) {
    let resize = resize::decide(pod, seen, view);
    for (key, warning, reason, message) in resize::tidings(pod, seen, view, &resize) {
        if !seen.memory.announced.contains(&key) {
            plan.push(Action::Announce { key, warning, reason, message, container: None });
        }
    }
    let containers = match resize {
        Resize::None => return,
        // Others may leave, or take less.
        Resize::Pending { reason, .. } => {
            if reason == "Deferred" {
                plan.recheck_at(later(seen.now, DEFERRED_RECHECK));
            }
            return;
        }
        Resize::InProgress { containers } => containers,
    };
    if !due(plan, seen.memory.resize_failure.as_ref(), seen.now) {
        return;
    }
    for (name, restart) in containers {
        let Some(state) = view.life(&name).latest else { continue };
        if restart {
            stop(plan, pod, state, seen, None, format!("Container {name} resize requires restart"));
        } else {
            plan.push(Action::ResizeContainer { container: name, id: state.id.clone() });
        }
    }
}

/// Of each container's dead, the newest two are kept: one for its state, one for `logs --previous`.
fn remove_old_dead(plan: &mut Plan, seen: &PodWorld<'_>) {
    for it in &seen.inventory.containers {
        let newer =
            seen.inventory.containers.iter().filter(|other| other.name == it.name && other.attempt > it.attempt);
        if newer.count() >= 2 && !matches!(it.phase, Phase::Running { .. }) {
            plan.push(Action::RemoveContainer { id: it.id.clone() });
        }
    }
    let mut sandboxes: Vec<_> = seen.inventory.sandboxes.iter().collect();
    sandboxes.sort_by_key(|it| std::cmp::Reverse(it.attempt));
    for it in sandboxes.iter().skip(2) {
        plan.push(Action::RemoveSandbox { id: it.id.clone() });
    }
}

/// Where the sandbox died under its containers, they are stopped before there is another. Says whether that is so.
fn lost_sandbox(plan: &mut Plan, pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>) -> bool {
    let Some(sandbox) = view.sandbox.filter(|it| !it.running) else { return false };
    let orphans: Vec<_> =
        seen.inventory.containers.iter().filter(|it| matches!(it.phase, Phase::Running { .. })).collect();
    if orphans.is_empty() {
        return false;
    }
    plan.push(Action::Announce {
        key: format!("sandbox-changed/{}", sandbox.attempt),
        warning: false,
        reason: "SandboxChanged",
        message: "Pod sandbox changed, it will be killed and re-created.".into(),
        container: None,
    });
    for it in orphans {
        stop(plan, pod, it, seen, None, format!("Stopping container {}", it.name));
    }
    true
}

/// What should be made and what only started, in order; restarts that wait and unhealthy containers go into the plan at once.
fn containers_to_run<'a, 'b>(
    plan: &mut Plan,
    pod: &'a Pod,
    seen: &PodWorld<'_>,
    view: &View<'b>,
) -> (Vec<Wanted<'a>>, Vec<&'b ContainerState>) {
    let (mut wanted, mut starts) = (Vec::new(), Vec::new());
    // They look at whatever there is, so they wait for nobody.
    for container in ephemeral_containers(pod).iter().map(plain) {
        match containers::verdict(pod, &container, Role::Ephemeral, view, seen) {
            Verdict::Start(state) => starts.push(state),
            Verdict::Run { attempt, .. } => {
                wanted.push(Wanted { container: Cow::Owned(container), attempt, next: None });
            }
            Verdict::Running(_) | Verdict::BackOff { .. } | Verdict::Done(_) => {}
        }
    }
    let initialized = status::is_initialized(pod, seen, view);
    let mut go_on = true;
    let inits = init_containers(pod).iter().map(|it| (it, containers::init_role(it)));
    let apps = app_containers(pod).iter().map(|it| (it, Role::App));
    for (container, role) in inits.chain(apps) {
        if !go_on {
            break;
        }
        if role == Role::Init && initialized {
            continue;
        }
        let verdict = containers::verdict(pod, container, role, view, seen);
        let mut complete = role == Role::App;
        match verdict {
            Verdict::Running(state) => {
                let life = view.life(&container.name);
                if changed(pod, container, role, state, &life) {
                    let message = format!("Container {} definition changed, will be restarted", container.name);
                    stop(plan, pod, state, seen, None, message);
                } else {
                    running(plan, pod, container, state, seen);
                }
                complete |= role == Role::Sidecar && containers::has_started(container, state, &life, seen);
            }
            Verdict::Start(state) => starts.push(state),
            Verdict::Run { attempt, next, .. } => {
                wanted.push(Wanted { container: Cow::Borrowed(container), attempt, next });
            }
            Verdict::BackOff { until, attempt, .. } => {
                plan.recheck_at(until);
                plan.push(Action::Announce {
                    key: format!("back-off/{attempt}/{}", container.name),
                    warning: true,
                    reason: "BackOff",
                    message: format!(
                        "Back-off restarting failed container {} in pod {}",
                        container.name,
                        full_name(pod)
                    ),
                    container: Some(container.name.clone()),
                });
            }
            Verdict::Done(exit) => complete |= exit.code == 0,
        }
        go_on = complete || initialized;
    }
    plan.actions.retain(|it| !matches!(it, Action::Announce { key, .. } if seen.memory.announced.contains(key)));
    (wanted, starts)
}

/// Whether a container runs another image than the pod has for it now. Where the policy lets an end be the end, it runs on: the pod would be over.
fn changed(pod: &Pod, container: &Container, role: Role, state: &ContainerState, life: &Life<'_>) -> bool {
    let again = role == Role::Sidecar || (role == Role::App && containers::policy(pod) == Policy::Always);
    again && container.image.as_deref().is_some_and(|it| it != containers::image_of(container, state, life))
}

/// A running container: its probes, and its end where they say so.
fn running(plan: &mut Plan, pod: &Pod, container: &Container, state: &ContainerState, seen: &PodWorld<'_>) {
    let Phase::Running { started } = state.phase else { return };
    if seen.memory.stopping.contains(&state.id) {
        return;
    }
    match seen.memory.post_start.get(&state.id) {
        Some(PostStart::Running) => return,
        Some(PostStart::Failed(_)) => {
            return stop(plan, pod, state, seen, None, "FailedPostStartHook".into());
        }
        None => {}
    }
    let results = seen.memory.probes.get(&state.id).copied().unwrap_or_default();
    let unhealthy = match (results.startup, results.liveness) {
        (Some(false), _) => container.startup_probe.as_ref().map(|it| ("startup", it)),
        (_, Some(false)) => container.liveness_probe.as_ref().map(|it| ("liveness", it)),
        _ => None,
    };
    if let Some((word, probe)) = unhealthy {
        let grace = probe.termination_grace_period_seconds.map(|it| Duration::from_secs(it.max(0).unsigned_abs()));
        let message = format!("Container {} failed {word} probe, will be restarted", container.name);
        return stop(plan, pod, state, seen, grace, message);
    }
    let starting = container.startup_probe.is_some() && results.startup != Some(true);
    let mut want = |kind| {
        plan.probes.push(ProbeWanted { id: state.id.clone(), container: container.name.clone(), kind, started });
    };
    if starting {
        want(ProbeKind::Startup);
    } else {
        if container.readiness_probe.is_some() {
            want(ProbeKind::Readiness);
        }
        if container.liveness_probe.is_some() {
            want(ProbeKind::Liveness);
        }
    }
}

/// The image of a container that should be made.
fn image(plan: &mut Plan, wanted: &Wanted<'_>, seen: &PodWorld<'_>) {
    let name = &wanted.container.name;
    match seen.memory.images.get(name) {
        Some(ImageState::Ready { attempt, .. } | ImageState::Pulling { attempt, .. }) if *attempt == wanted.attempt => {
        }
        Some(ImageState::Failed { attempt, failure }) if *attempt == wanted.attempt && failure.waits(seen.now) => {
            plan.recheck_at(failure.retry_at);
            let turns = later(failure.at, ERROR_SHOWS_FOR);
            if failure.reason == "ErrImagePull" {
                if turns > seen.now {
                    plan.recheck_at(turns);
                } else {
                    announce_pull_back_off(plan, wanted, failure, seen);
                }
            }
        }
        _ => plan.push(Action::PullImage { container: name.clone(), attempt: wanted.attempt }),
    }
}

fn announce_pull_back_off(plan: &mut Plan, wanted: &Wanted<'_>, failure: &Failure, seen: &PodWorld<'_>) {
    let image = wanted.container.image.as_deref().unwrap_or_default();
    let texts = [
        (false, "BackOff", format!("Back-off pulling image {image:?}")),
        (true, "Failed", "Error: ImagePullBackOff".to_owned()),
    ];
    for (warning, reason, message) in texts {
        let key = format!("pull/{}/{}/{reason}/{}", wanted.attempt, failure.count, wanted.container.name);
        if !seen.memory.announced.contains(&key) {
            let container = Some(wanted.container.name.clone());
            plan.push(Action::Announce { key, warning, reason, message, container });
        }
    }
}

/// Whether something that failed may be tried again now; otherwise the plan looks again then.
fn due(plan: &mut Plan, failure: Option<&Failure>, now: Timestamp) -> bool {
    match failure {
        Some(it) if it.waits(now) => {
            plan.recheck_at(it.retry_at);
            false
        }
        _ => true,
    }
}

/// What containers stand on: volumes, a sandbox, the network. Gives the sandbox once it can be used.
fn ground<'a>(plan: &mut Plan, pod: &Pod, seen: &PodWorld<'_>, view: &View<'a>) -> Option<&'a SandboxState> {
    let memory = seen.memory;
    match &memory.volumes {
        VolumeState::Unknown => plan.push(Action::MountVolumes),
        VolumeState::Failed(failure) if due(plan, Some(failure), seen.now) => plan.push(Action::MountVolumes),
        _ => {}
    }
    let Some(sandbox) = view.running_sandbox() else {
        if due(plan, memory.sandbox_failure.as_ref(), seen.now) && sandbox_due(plan, seen, view) {
            plan.push(Action::RunSandbox { attempt: view.sandbox.map_or(0, |it| it.attempt + 1) });
        }
        return None;
    };
    if !host_network(pod) && memory.attached.as_ref() != Some(&sandbox.id) {
        if due(plan, memory.sandbox_failure.as_ref(), seen.now) {
            plan.push(Action::AttachNetwork { sandbox: sandbox.id.clone(), pid: sandbox.pid });
        }
        return None;
    }
    Some(sandbox)
}

/// Whether a sandbox that keeps dying may be made again.
fn sandbox_due(plan: &mut Plan, seen: &PodWorld<'_>, view: &View<'_>) -> bool {
    let Some(dead) = view.sandbox else { return true };
    let back_off = back_off::after(dead.attempt).map(|delay| BackOff { delay, set: dead.created });
    // When it died is not known; what is, is when it was made.
    match back_off::restart(back_off, dead.created, seen.now) {
        Restart::Now { .. } => true,
        Restart::At { at, .. } => {
            plan.recheck_at(at);
            false
        }
    }
}
