//! What the machine decides on: the runtime's inventory of the pod, and what the agent remembers between two decisions.
//!
//! Nothing in [`Memory`] is needed for correctness after a restart of the agent: what is lost is asked again (images, volumes, network) or
//! told from the inventory and the status in the API (restart counts, back-off, readiness).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, ContainerStatus, EphemeralContainer, Pod, PodSpec, ResourceRequirements};

use super::back_off::{BackOff, later};
use super::plan::ProbeKind;
use super::resize::Room;
use crate::network::ips::Ips;
use crate::runtime::{ContainerState, Id, Image, Inventory, Phase, SandboxState};

/// What a status says about the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    pub host_ips: Option<Ips>,
    /// The scheme of container ids: `docker`, `hollow`.
    pub runtime: String,
}

/// Why the node refuses a pod: it goes to phase Failed and never runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: String,
    pub message: String,
}

/// A pod that has to go for want of something, because it takes too much, or because its machine goes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evicted {
    pub reason: &'static str,
    pub message: String,
    /// What its containers are given to end, at the most.
    pub grace: Duration,
    /// It goes for the node's sake, and not for its own limits: the condition `DisruptionTarget` says so.
    pub disrupts: bool,
}

/// Something that failed and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub reason: &'static str,
    pub message: String,
    /// How many times in a row.
    pub count: u32,
    pub at: Timestamp,
    pub retry_at: Timestamp,
}

/// The first wait before a failed step is tried again; it doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest wait before a failed step is tried again. What it waits for usually wakes the pod earlier (a ConfigMap that appears).
const LONGEST_RETRY: Duration = Duration::from_secs(64);

impl Failure {
    /// The failure after `previous`, to be tried again after a wait that doubles.
    pub fn after(previous: Option<&Failure>, reason: &'static str, message: String, now: Timestamp) -> Self {
        let count = previous.map_or(1, |it| it.count.saturating_add(1));
        let wait = FIRST_RETRY.saturating_mul(1 << (count - 1).min(6)).min(LONGEST_RETRY);
        Failure { reason, message, count, at: now, retry_at: later(now, wait) }
    }

    /// Whether it is not to be tried again yet. One that lies in the future is: the clock was set back, and may stay behind for hours.
    pub fn waits(&self, now: Timestamp) -> bool {
        self.at <= now && now < self.retry_at
    }
}

/// How far the pod's volumes are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VolumeState {
    /// Not looked at since the agent started.
    #[default]
    Unknown,
    Mounting {
        failed_before: Option<Failure>,
    },
    Ready,
    Failed(Failure),
}

/// How far a container's image is, for one attempt at running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImageState {
    Pulling { attempt: u32, failed_before: Option<Failure> },
    Ready { attempt: u32, image: Image },
    Failed { attempt: u32, failure: Failure },
}

/// What the probes of one running container have said so far; none where they have yet to say something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProbeResults {
    pub startup: Option<bool>,
    pub readiness: Option<bool>,
    pub liveness: Option<bool>,
}

impl ProbeResults {
    /// Notes a result.
    pub fn note(&mut self, kind: ProbeKind, healthy: bool) {
        let place = match kind {
            ProbeKind::Startup => &mut self.startup,
            ProbeKind::Readiness => &mut self.readiness,
            ProbeKind::Liveness => &mut self.liveness,
        };
        *place = Some(healthy);
    }
}

/// How far a container's postStart hook is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostStart {
    Running,
    Failed(String),
}

/// What the agent remembers of a pod.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    pub rejected: Option<Rejection>,
    pub evicted: Option<Evicted>,
    /// The disk is short: what is left of a pod that is over goes.
    pub collected: bool,
    pub volumes: VolumeState,
    /// The sandbox that is connected to the pod network.
    pub attached: Option<Id>,
    /// The address that it was given last. A pod that has ended gave it back, perhaps before its status could be written.
    pub last_address: Option<Ips>,
    /// Why there is no sandbox, or why it is not connected.
    pub sandbox_failure: Option<Failure>,
    /// By container.
    pub images: BTreeMap<String, ImageState>,
    /// Why a container could not be made; by container.
    pub create_failures: BTreeMap<String, Failure>,
    /// Containers that were made but whose command could not be started.
    pub start_errors: BTreeMap<Id, (String, Timestamp)>,
    /// What containers left to be told of their end.
    pub messages: BTreeMap<Id, String>,
    /// By container.
    pub back_offs: BTreeMap<String, BackOff>,
    /// What containers were given last; by container.
    pub allotted: BTreeMap<String, ResourceRequirements>,
    /// Why what they are to be given could not be set.
    pub resize_failure: Option<Failure>,
    /// Containers that are being stopped.
    pub stopping: BTreeSet<Id>,
    pub post_start: BTreeMap<Id, PostStart>,
    pub probes: BTreeMap<Id, ProbeResults>,
    /// The announcements that were made.
    pub announced: BTreeSet<String>,
    /// Network and volumes are gone, for good.
    pub cleaned: bool,
    /// The API was told to delete the pod.
    pub deleted: bool,
    /// When this agent learned that the pod is to end, on its own clock, if it saw that happen: the API server's clock may be another.
    pub told_to_end: Option<Timestamp>,
}

impl Memory {
    /// Notes that a container was made, and the delay that holds for its next restart.
    pub fn ran(&mut self, container: &str, back_off: Option<Duration>, now: Timestamp) {
        self.create_failures.remove(container);
        match back_off {
            Some(delay) => drop(self.back_offs.insert(container.to_owned(), BackOff { delay, set: now })),
            None => drop(self.back_offs.remove(container)),
        }
    }

    /// Forgets containers that the runtime no longer has, so that a pod that restarts for ever does not grow.
    pub fn forget_all_but(&mut self, inventory: &Inventory) {
        let here = |id: &Id| inventory.containers.iter().any(|it| it.id == *id);
        self.start_errors.retain(|id, _| here(id));
        self.messages.retain(|id, _| here(id));
        self.post_start.retain(|id, _| here(id));
        self.probes.retain(|id, _| here(id));
        self.stopping.retain(here);
        // Announcements are keyed by attempt; the last few are enough to not repeat one.
        while self.announced.len() > MOST_ANNOUNCED {
            self.announced.pop_first();
        }
    }
}

/// How many announcements are remembered: a few for each of a pod's containers.
const MOST_ANNOUNCED: usize = 64;

/// All that a decision is made on, beside the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct PodWorld<'a> {
    pub now: Timestamp,
    pub node: &'a NodeFacts,
    /// What the runtime has of this pod.
    pub inventory: &'a Inventory,
    /// The pod's addresses in the pod network, if it has any.
    pub address: Option<Ips>,
    /// What the node has for it.
    pub room: Room,
    pub memory: &'a Memory,
}

/// One container's past and present.
#[derive(Clone, Copy, Debug, Default)]
pub struct Life<'a> {
    /// The last one that was made.
    pub latest: Option<&'a ContainerState>,
    /// The one before it, if it is still here.
    pub previous: Option<&'a ContainerState>,
    /// What the API was told last.
    pub reported: Option<&'a ContainerStatus>,
}

/// The inventory in the pod's order.
#[derive(Debug)]
pub struct View<'a> {
    /// The last sandbox that was made, running or not.
    pub sandbox: Option<&'a SandboxState>,
    lives: BTreeMap<&'a str, Life<'a>>,
}

impl<'a> View<'a> {
    /// Sorts the inventory by the pod's containers.
    pub fn of(pod: &'a Pod, seen: &PodWorld<'a>) -> Self {
        let sandbox = seen.inventory.sandboxes.iter().max_by_key(|it| it.attempt);
        let mut lives: BTreeMap<&str, Life<'_>> = BTreeMap::new();
        let reported = pod
            .status
            .iter()
            .flat_map(|it| [&it.init_container_statuses, &it.container_statuses, &it.ephemeral_container_statuses])
            .flat_map(|it| it.iter().flatten());
        for status in reported {
            lives.entry(&status.name).or_default().reported = Some(status);
        }
        let mut containers: Vec<_> = seen.inventory.containers.iter().collect();
        containers.sort_by_key(|it| it.attempt);
        for container in containers {
            let life = lives.entry(&container.name).or_default();
            life.previous = life.latest.replace(container);
        }
        View { sandbox, lives }
    }

    /// What is known of a container.
    pub fn life(&self, container: &str) -> Life<'a> {
        self.lives.get(container).copied().unwrap_or_default()
    }

    /// The sandbox, if it runs.
    pub fn running_sandbox(&self) -> Option<&'a SandboxState> {
        self.sandbox.filter(|it| it.running)
    }

    /// Whether a container was started in the sandbox that is now; a new sandbox begins anew with the init containers.
    pub fn in_current_sandbox(&self, container: &ContainerState) -> bool {
        let Some(sandbox) = self.running_sandbox() else { return false };
        match &container.phase {
            Phase::Created => true,
            Phase::Running { started } => *started >= sandbox.created,
            Phase::Exited { started, finished, .. } => started.unwrap_or(*finished) >= sandbox.created,
        }
    }
}

/// The pod's specification; a pod without one has no containers.
pub fn spec(pod: &Pod) -> Option<&PodSpec> {
    pod.spec.as_ref()
}

/// The containers that run beside each other.
pub fn app_containers(pod: &Pod) -> &[Container] {
    spec(pod).map_or(&[], |it| &it.containers)
}

/// The containers that run one after another before them.
pub fn init_containers(pod: &Pod) -> &[Container] {
    spec(pod).and_then(|it| it.init_containers.as_deref()).unwrap_or_default()
}

/// The containers that were added to look at the others.
pub fn ephemeral_containers(pod: &Pod) -> &[EphemeralContainer] {
    spec(pod).and_then(|it| it.ephemeral_containers.as_deref()).unwrap_or_default()
}

/// A container that was added, in the form that the others have: it has all that they have, but does not use some of it.
pub fn plain(it: &EphemeralContainer) -> Container {
    let it = it.clone();
    Container {
        args: it.args,
        command: it.command,
        env: it.env,
        env_from: it.env_from,
        image: it.image,
        image_pull_policy: it.image_pull_policy,
        lifecycle: None,
        liveness_probe: None,
        name: it.name,
        ports: None,
        readiness_probe: None,
        resize_policy: None,
        resources: it.resources,
        restart_policy: None,
        restart_policy_rules: None,
        security_context: it.security_context,
        startup_probe: None,
        stdin: it.stdin,
        stdin_once: it.stdin_once,
        termination_message_path: it.termination_message_path,
        termination_message_policy: it.termination_message_policy,
        tty: it.tty,
        volume_devices: it.volume_devices,
        volume_mounts: it.volume_mounts,
        working_dir: it.working_dir,
    }
}

/// Whether the pod uses the node's network and address.
pub fn host_network(pod: &Pod) -> bool {
    spec(pod).and_then(|it| it.host_network).unwrap_or(false)
}

/// The pod in the words of the kubelet's messages: `name_namespace(uid)`.
pub fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    format!("{}_{}({})", text(&meta.name), text(&meta.namespace), text(&meta.uid))
}
