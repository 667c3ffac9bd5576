//! The status of a pod, computed from what is seen; the same world gives the same status, so that it is written only when it changes.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState as ReportedState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Pod, PodIP, PodStatus, VolumeMount, VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::back_off::{go_duration, later};
use super::conditions;
use super::containers::{self, Exit, Policy, Role, Verdict};
use super::ending::find;
use super::resize::{self, Resize};
use super::world::{self, ImageState, PodWorld, View, app_containers, full_name, init_containers};
use crate::resources;
use crate::runtime::{ContainerState, Phase};

/// How long a failed pull shows its own error before it shows as back-off.
pub const ERROR_SHOWS_FOR: Duration = Duration::from_secs(2);

/// A time as the API keeps it: whole seconds.
pub fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

/// The status that the API should have of the pod.
pub fn compute(pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>) -> PodStatus {
    let old = pod.status.clone().unwrap_or_default();
    let generation = pod.metadata.generation;
    let mut status = PodStatus {
        observed_generation: generation,
        qos_class: old.qos_class.clone().or_else(|| Some(resources::qos_class(pod).word().to_owned())),
        start_time: old.start_time.clone().or_else(|| Some(time(seen.now))),
        ..old.clone()
    };
    if let Some(rejection) = &seen.memory.rejected {
        status.phase = Some("Failed".into());
        status.reason = Some(rejection.reason.clone());
        status.message = Some(rejection.message.clone());
        return status;
    }
    let over = matches!(old.phase.as_deref(), Some("Succeeded" | "Failed"));
    if over && seen.inventory.containers.is_empty() && seen.inventory.sandboxes.is_empty() {
        // Nothing is left to look at: what was said last stays said.
        return status;
    }
    addresses(&mut status, pod, seen);

    let sidecars: Vec<_> = init_containers(pod).iter().map(|it| (it, containers::init_role(it))).collect();
    let apps: Vec<_> = app_containers(pod).iter().map(|it| (it, Role::App)).collect();
    let of = |it: &[(&Container, Role)]| -> Option<Vec<ContainerStatus>> {
        let all: Vec<_> = it.iter().map(|(it, role)| container(pod, it, *role, seen, view)).collect();
        Some(all).filter(|it| !it.is_empty())
    };
    status.init_container_statuses = of(&sidecars);
    status.container_statuses = of(&apps);
    let resize = resize::decide(pod, seen, view);
    tell_resources(&mut status, pod, seen, view, &resize);
    let added: Vec<_> = world::ephemeral_containers(pod).iter().map(world::plain).collect();
    let added: Vec<_> = added.iter().map(|it| (it, Role::Ephemeral)).collect();
    status.ephemeral_container_statuses = of(&added);

    let initialized = is_initialized(pod, seen, view);
    if !over {
        status.phase = Some(phase(pod, &status, initialized, seen, view).to_owned());
        if deadline(pod, &status).is_some_and(|it| seen.now >= it) {
            status.phase = Some("Failed".into());
            status.reason = Some("DeadlineExceeded".into());
            status.message = Some("Pod was active on the node longer than the specified deadline".into());
        }
        if let Some(evicted) = &seen.memory.evicted {
            status.phase = Some("Failed".into());
            status.reason = Some(evicted.reason.into());
            status.message = Some(evicted.message.clone());
        }
    }
    let sandbox_ready = view.running_sandbox().is_some() && (world::host_network(pod) || seen.address.is_some());
    let mut all = conditions::compute(pod, &status, initialized, sandbox_ready, &resize, seen);
    if let Some(evicted) = seen.memory.evicted.as_ref().filter(|it| it.disrupts) {
        conditions::disrupted(&mut all, &evicted.message, status.observed_generation, seen.now);
    }
    status.conditions = Some(all);
    status
}

/// What containers were promised, and what they have.
fn tell_resources(status: &mut PodStatus, pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>, resize: &Resize) {
    let allotted = resize::allotted(pod, seen, view, resize);
    let lists = [&mut status.init_container_statuses, &mut status.container_statuses];
    for it in lists.into_iter().flatten().flatten() {
        let Some(promised) = find(&allotted, &it.name) else { continue };
        let running = it.state.as_ref().is_some_and(|it| it.running.is_some());
        let has = if running { resize::with(promised, seen, view) } else { promised.clone() };
        it.allocated_resources = promised.resources.as_ref().and_then(|it| it.requests.clone());
        it.resources = Some(has.resources.unwrap_or_default());
    }
}

/// When the pod's `activeDeadlineSeconds` is over.
pub fn deadline(pod: &Pod, status: &PodStatus) -> Option<Timestamp> {
    let seconds = world::spec(pod)?.active_deadline_seconds?;
    Some(later(status.start_time.as_ref()?.0, Duration::from_secs(seconds.max(0).unsigned_abs())))
}

fn addresses(status: &mut PodStatus, pod: &Pod, seen: &PodWorld<'_>) {
    if let Some(host) = seen.node.host_ips {
        status.host_ip = Some(host.primary().to_string());
        status.host_ips = Some(host.iter().map(|it| HostIP { ip: it.to_string() }).collect());
    }
    let own = if world::host_network(pod) { seen.node.host_ips } else { seen.address.or(seen.memory.last_address) };
    if let Some(own) = own {
        status.pod_ip = Some(own.primary().to_string());
        status.pod_ips = Some(own.iter().map(|it| PodIP { ip: it.to_string() }).collect());
    }
}

/// Whether all init containers have done their part for the sandbox that is now.
pub fn is_initialized(pod: &Pod, seen: &PodWorld<'_>, view: &View<'_>) -> bool {
    let app_begun =
        app_containers(pod).iter().any(|it| view.life(&it.name).latest.is_some_and(|it| view.in_current_sandbox(it)));
    app_begun
        || init_containers(pod).iter().all(|it| {
            let role = containers::init_role(it);
            match containers::verdict(pod, it, role, view, seen) {
                Verdict::Done(exit) => exit.code == 0,
                Verdict::Running(state) => {
                    role == Role::Sidecar && containers::has_started(it, state, &view.life(&it.name), seen)
                }
                _ => false,
            }
        })
}

/// An init container that failed and is not tried again.
pub fn failed_init<'a>(pod: &'a Pod, seen: &PodWorld<'_>, view: &View<'_>) -> Option<&'a Container> {
    init_containers(pod).iter().find(|it| {
        let verdict = containers::verdict(pod, it, containers::init_role(it), view, seen);
        matches!(verdict, Verdict::Done(exit) if exit.code != 0)
    })
}

/// The phase, by the kubelet's counting of states.
fn phase(pod: &Pod, status: &PodStatus, initialized: bool, seen: &PodWorld<'_>, view: &View<'_>) -> &'static str {
    if !initialized && failed_init(pod, seen, view).is_some() {
        return "Failed";
    }
    let (mut running, mut waiting, mut stopped, mut succeeded) = (0, 0, 0, 0);
    for it in status.container_statuses.iter().flatten() {
        let state = it.state.clone().unwrap_or_default();
        let last = it.last_state.as_ref().and_then(|it| it.terminated.as_ref());
        match (state.running, state.terminated, last) {
            (Some(_), _, _) => running += 1,
            (None, Some(it), _) => {
                stopped += 1;
                succeeded += usize::from(it.exit_code == 0);
            }
            (None, None, Some(_)) => stopped += 1,
            (None, None, None) => waiting += 1,
        }
    }
    match (running, waiting, stopped) {
        (_, 1.., _) | (0, 0, 0) => "Pending",
        (1.., _, _) => "Running",
        _ => match containers::policy(pod) {
            Policy::Always => "Running",
            _ if stopped == succeeded => "Succeeded",
            Policy::Never => "Failed",
            Policy::OnFailure => "Running",
        },
    }
}

/// What a container has mounted, and whether all below a read-only mount is so. The Docker Engine does not do that where it may be left.
fn mounts(it: &Container, runtime: &str) -> Option<Vec<VolumeMountStatus>> {
    let told = |it: &VolumeMount| {
        let whole = match it.recursive_read_only.as_deref() {
            Some("Enabled") => true,
            Some("IfPossible") => runtime != "docker",
            _ => false,
        };
        let read_only = it.read_only.unwrap_or(false);
        VolumeMountStatus {
            name: it.name.clone(),
            mount_path: it.mount_path.clone(),
            read_only: it.read_only,
            recursive_read_only: read_only.then(|| if whole { "Enabled" } else { "Disabled" }.to_owned()),
        }
    };
    it.volume_mounts.as_ref().filter(|it| !it.is_empty()).map(|all| all.iter().map(told).collect())
}

/// One container's status.
fn container(pod: &Pod, it: &Container, role: Role, seen: &PodWorld<'_>, view: &View<'_>) -> ContainerStatus {
    let life = view.life(&it.name);
    let verdict = containers::verdict(pod, it, role, view, seen);
    let exit = containers::last_exit(&life, seen);
    let settled = pod.metadata.deletion_timestamp.is_some();
    let id = |raw: &str| format!("{}://{raw}", seen.node.runtime);
    let reported_id = life.reported.and_then(|it| it.container_id.clone());

    let mut status = ContainerStatus {
        name: it.name.clone(),
        image: match life.latest {
            Some(latest) => containers::image_of(it, latest, &life).to_owned(),
            None => it.image.clone().unwrap_or_default(),
        },
        image_id: image_id(&it.name, life.latest, seen)
            .or_else(|| life.reported.map(|it| it.image_id.clone()))
            .unwrap_or_default(),
        container_id: life.latest.map(|it| id(&it.id)).or(reported_id),
        restart_count: life
            .latest
            .map_or(0, |it| i32::try_from(it.attempt).unwrap_or(i32::MAX))
            .max(life.reported.map_or(0, |it| it.restart_count)),
        // Nobody waits for one that was added: it is never said to have started or to be ready.
        started: (role != Role::Ephemeral).then_some(false),
        volume_mounts: mounts(it, &seen.node.runtime),
        ..ContainerStatus::default()
    };
    let before = life
        .previous
        .and_then(|it| containers::exit_of(it, seen))
        .map(|it| terminated(&it, &id))
        .or_else(|| life.reported.and_then(|it| it.last_state.clone()));

    match (&verdict, exit) {
        (Verdict::Running(state), _) => {
            let started_at = match &state.phase {
                Phase::Running { started } => Some(time(*started)),
                _ => None,
            };
            status.state =
                Some(ReportedState { running: Some(ContainerStateRunning { started_at }), ..ReportedState::default() });
            status.last_state = before;
            if role != Role::Ephemeral {
                status.started = Some(containers::has_started(it, state, &life, seen));
                // An init container is ready when it has done its part.
                status.ready = role != Role::Init && containers::is_ready(it, state, &life, seen);
            }
        }
        (Verdict::Start(_), _) | (Verdict::Run { last: None, .. }, None) => {
            status.state = Some(waiting(pod, it, seen));
            status.last_state = before;
        }
        (Verdict::BackOff { delay, last, .. }, _) if !settled => {
            let message = format!(
                "back-off {} restarting failed container={} pod={}",
                go_duration(*delay),
                it.name,
                full_name(pod)
            );
            status.state = Some(reason("CrashLoopBackOff", message));
            status.last_state = Some(terminated(last, &id));
        }
        (Verdict::Run { .. }, Some(exit)) if !settled && is_waiting(&it.name, &exit, seen) => {
            status.state = Some(match exit.reason.as_str() {
                "StartError" if trouble(it, seen).is_none() => {
                    reason("RunContainerError", exit.message.clone().unwrap_or_default())
                }
                _ => waiting(pod, it, seen),
            });
            status.last_state = Some(terminated(&exit, &id));
        }
        (_, Some(exit)) => {
            status.state = Some(terminated(&exit, &id));
            status.last_state = before;
            status.ready = role == Role::Init && exit.code == 0;
        }
        (_, None) => {
            status.state = Some(waiting(pod, it, seen));
            status.last_state = before;
        }
    }
    if status.last_state.is_none() {
        status.last_state = Some(ReportedState::default());
    }
    status
}

/// Whether a container that ended and is about to run again is held up by something worth showing.
fn is_waiting(container: &str, exit: &Exit, seen: &PodWorld<'_>) -> bool {
    exit.reason == "StartError"
        || seen.memory.create_failures.contains_key(container)
        || matches!(seen.memory.images.get(container), Some(ImageState::Failed { .. }))
}

fn terminated(exit: &Exit, id: &impl Fn(&str) -> String) -> ReportedState {
    ReportedState {
        terminated: Some(ContainerStateTerminated {
            container_id: exit.id.as_deref().map(id),
            exit_code: exit.code,
            signal: exit.signal,
            reason: Some(exit.reason.clone()),
            message: exit.message.clone(),
            started_at: exit.started.map(time),
            finished_at: exit.finished.map(time),
        }),
        ..ReportedState::default()
    }
}

fn reason(reason: &str, message: String) -> ReportedState {
    ReportedState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: Some(message).filter(|it| !it.is_empty()),
        }),
        ..ReportedState::default()
    }
}

/// What keeps a container from being made, if something went wrong.
fn trouble(container: &Container, seen: &PodWorld<'_>) -> Option<(&'static str, String)> {
    if let Some(failure) = seen.memory.create_failures.get(&container.name) {
        return Some((failure.reason, failure.message.clone()));
    }
    let failure = match seen.memory.images.get(&container.name)? {
        ImageState::Failed { failure, .. } => failure,
        ImageState::Pulling { failed_before: Some(failure), .. } => failure,
        _ => return None,
    };
    if failure.reason == "ErrImagePull" && seen.now >= later(failure.at, ERROR_SHOWS_FOR) {
        let image = container.image.as_deref().unwrap_or_default();
        let message = format!("Back-off pulling image {image:?}: ErrImagePull: {}", failure.message);
        return Some(("ImagePullBackOff", message));
    }
    Some((failure.reason, failure.message.clone()))
}

fn waiting(pod: &Pod, container: &Container, seen: &PodWorld<'_>) -> ReportedState {
    match trouble(container, seen) {
        Some((word, message)) => reason(word, message),
        None if init_containers(pod).is_empty() => reason("ContainerCreating", String::new()),
        None => reason("PodInitializing", String::new()),
    }
}

fn image_id(container: &str, latest: Option<&ContainerState>, seen: &PodWorld<'_>) -> Option<String> {
    let latest = latest?;
    match seen.memory.images.get(container) {
        Some(ImageState::Ready { image, .. }) if image.id == latest.image => {
            Some(image.digests.first().unwrap_or(&image.id).clone())
        }
        _ => None,
    }
    .or_else(|| Some(latest.image.clone()).filter(|it| !it.is_empty()))
}

/// A status in one line, for plans that print as text.
pub fn brief(status: &PodStatus) -> String {
    let mut words = vec![status.phase.clone().unwrap_or_default()];
    words.extend(status.reason.clone());
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    for it in lists.into_iter().flatten().flatten() {
        let state = it.state.clone().unwrap_or_default();
        let state = match (state.running, state.terminated, state.waiting) {
            (Some(_), _, _) => "running".to_owned(),
            (_, Some(it), _) => format!("{} {}", it.reason.unwrap_or_default(), it.exit_code),
            (_, _, waiting) => waiting.and_then(|it| it.reason).unwrap_or_default(),
        };
        let ready = if it.ready { " ready" } else { "" };
        words.push(format!("{}={state}{ready} restarts={}", it.name, it.restart_count));
    }
    let holds = |it: &&k8s_openapi::api::core::v1::PodCondition| it.status == "True";
    words.extend(status.conditions.iter().flatten().filter(holds).map(|it| format!("+{}", it.type_)));
    words.join(" ")
}
