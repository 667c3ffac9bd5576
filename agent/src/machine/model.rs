//! A model of a machine, for tests: a runtime, an image store and an API in one struct, on a clock that only tests move.
//!
//! It does what a plan says and remembers it as the real runner does; crashes are made by the test.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::back_off::later;
use super::resize::{Room, Share};
use super::{Action, Failure, ImageState, Memory, NodeFacts, Plan, PodWorld, VolumeState, decide, decide_gone};
use crate::runtime::{ContainerState, Image, Inventory, Phase, PodRef, SandboxState};

/// One pod on one machine.
pub struct Model {
    /// The pod in the API; none once it was deleted.
    pub pod: Option<Pod>,
    pub inventory: Inventory,
    pub memory: Memory,
    pub now: Timestamp,
    pub address: bool,
    pub room: Room,
    /// Images that cannot be pulled.
    pub broken_image: bool,
    /// All actions that were done, as text.
    pub log: Vec<String>,
    /// How many containers were ever made.
    pub made: usize,
    node: NodeFacts,
}

impl Model {
    /// A pod with this `spec`, bound to the machine a moment ago.
    pub fn new(spec: serde_json::Value) -> Self {
        let pod = serde_json::json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec, "status": {"phase": "Pending"}
        });
        Model {
            pod: Some(serde_json::from_value(pod).expect("the test's pod is a pod")),
            inventory: Inventory::default(),
            memory: Memory::default(),
            now: Timestamp::from_second(1_700_000_000).expect("a time"),
            address: false,
            room: Room { capacity: Share { cpu_milli: 4000, memory_bytes: 1 << 33 }, ..Room::default() },
            broken_image: false,
            log: Vec::new(),
            made: 0,
            node: NodeFacts { host_ips: "10.0.0.1".parse().ok(), runtime: "fake".into() },
        }
    }

    /// What the machine would do now.
    pub fn plan(&self) -> Plan {
        let seen = self.seen();
        match &self.pod {
            Some(pod) => decide(pod, &seen),
            None => decide_gone(&seen),
        }
    }

    fn seen(&self) -> PodWorld<'_> {
        PodWorld {
            now: self.now,
            node: &self.node,
            inventory: &self.inventory,
            address: if self.address { "10.244.0.2".parse().ok() } else { None },
            room: self.room,
            memory: &self.memory,
        }
    }

    /// Decides and does, until nothing more is to be done now. Gives the last plan.
    ///
    /// # Panics
    /// It does not come to rest: the machine goes round in circles.
    pub fn settle(&mut self) -> Plan {
        for _ in 0..100 {
            let plan = self.plan();
            if let (Some(pod), Some(status)) = (&mut self.pod, &plan.status) {
                pod.status = Some(status.clone());
            }
            let gone =
                self.pod.is_none() && self.inventory.containers.is_empty() && self.inventory.sandboxes.is_empty();
            if plan.actions.is_empty() || gone {
                return plan;
            }
            for action in plan.actions {
                self.log.push(action.to_string());
                self.act(action);
                // A second is the grain of the API's times.
                self.now = later(self.now, Duration::from_millis(10));
            }
        }
        panic!("the machine does not come to rest: {:#?}", &self.log[self.log.len().saturating_sub(12)..]);
    }

    /// The clock moves on, and what was due is done.
    pub fn pass(&mut self, time: Duration) -> Plan {
        self.now = later(self.now, time);
        self.settle()
    }

    /// The agent dies and comes back: it has forgotten everything.
    pub fn restart_agent(&mut self) {
        self.memory = Memory::default();
    }

    /// The running container `name` ends.
    pub fn exit(&mut self, name: &str, code: i32) {
        let now = self.now;
        for it in self.inventory.containers.iter_mut().filter(|it| it.name == name) {
            end(it, code, now);
        }
    }

    /// The sandbox dies; containers in it live on, as they do under Docker.
    pub fn lose_sandbox(&mut self) {
        self.inventory.sandboxes.iter_mut().for_each(|it| it.running = false);
    }

    /// The API is told to delete the pod with `grace`.
    pub fn delete(&mut self, grace: i64) {
        let deadline = later(self.now, Duration::from_secs(grace.unsigned_abs()));
        if let Some(pod) = &mut self.pod {
            pod.metadata.deletion_timestamp = Some(super::status::time(deadline));
            pod.metadata.deletion_grace_period_seconds = Some(grace);
        }
    }

    /// How many containers run.
    pub fn running(&self) -> usize {
        self.inventory.containers.iter().filter(|it| matches!(it.phase, Phase::Running { .. })).count()
    }

    /// Notes what a container is given: what the pod asks for, or what it has while that is pending.
    fn allot(&mut self, container: &str) {
        let Some(pod) = self.pod.clone() else { return };
        let seen = self.seen();
        let view = super::world::View::of(&pod, &seen);
        let resize = super::resize::decide(&pod, &seen, &view);
        let allotted = super::resize::allotted(&pod, &seen, &view, &resize);
        let given = super::ending::find(&allotted, container).and_then(|it| it.resources.clone()).unwrap_or_default();
        self.memory.allotted.insert(container.to_owned(), given);
    }

    fn act(&mut self, action: Action) {
        let pod_ref = PodRef { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        match action {
            Action::MountVolumes => self.memory.volumes = VolumeState::Ready,
            Action::RunSandbox { attempt } => self.inventory.sandboxes.push(SandboxState {
                id: format!("s{attempt}"),
                pod: pod_ref,
                attempt,
                running: true,
                pid: Some(1),
                created: self.now,
            }),
            Action::AttachNetwork { sandbox, .. } => {
                self.memory.attached = Some(sandbox);
                self.address = true;
                self.memory.last_address = "10.244.0.2".parse().ok();
            }
            Action::PullImage { container, attempt } => {
                let failed_before = match self.memory.images.get(&container) {
                    Some(ImageState::Failed { failure, .. }) => Some(failure.clone()),
                    _ => None,
                };
                let state = if self.broken_image {
                    let mut failure =
                        Failure::after(failed_before.as_ref(), "ErrImagePull", "no such image".into(), self.now);
                    failure.retry_at = later(self.now, Duration::from_secs(10));
                    ImageState::Failed { attempt, failure }
                } else {
                    let image = Image { id: "i".into(), tags: vec![], digests: vec![], size_bytes: 1, user: None };
                    ImageState::Ready { attempt, image }
                };
                self.memory.images.insert(container, state);
            }
            Action::RunContainer { container, sandbox, attempt, back_off } => {
                assert!(
                    self.inventory.sandboxes.iter().any(|it| it.id == sandbox && it.running),
                    "no sandbox {sandbox}"
                );
                assert!(
                    !self
                        .inventory
                        .containers
                        .iter()
                        .any(|it| it.name == container && matches!(it.phase, Phase::Running { .. })),
                    "{container} would run twice"
                );
                self.made += 1;
                self.allot(&container);
                self.memory.ran(&container, back_off, self.now);
                self.inventory.containers.push(ContainerState {
                    id: format!("{container}-{attempt}"),
                    pod: pod_ref,
                    name: container,
                    attempt,
                    image: "i".into(),
                    phase: Phase::Running { started: self.now },
                    pid: Some(2),
                });
            }
            Action::ResizeContainer { container, .. } => self.allot(&container),
            Action::StartContainer { id, .. } => {
                let now = self.now;
                let it = self.inventory.containers.iter_mut().find(|it| it.id == id).expect("it was made");
                it.phase = Phase::Running { started: now };
            }
            Action::StopContainer { id, .. } => {
                let now = self.now;
                let it = self.inventory.containers.iter_mut().find(|it| it.id == id).expect("it was made");
                end(it, 143, now);
            }
            Action::RemoveContainer { id } => self.inventory.containers.retain(|it| it.id != id),
            Action::StopSandbox { id } => {
                let now = self.now;
                self.inventory.containers.iter_mut().for_each(|it| end(it, 137, now));
                self.inventory.sandboxes.iter_mut().filter(|it| it.id == id).for_each(|it| it.running = false);
            }
            Action::RemoveSandbox { id } => self.inventory.sandboxes.retain(|it| it.id != id),
            Action::DetachNetwork => {
                self.address = false;
                self.memory.attached = None;
            }
            Action::RemoveVolumes => {
                self.memory.volumes = VolumeState::Unknown;
                self.memory.cleaned = true;
            }
            Action::DeletePod => self.pod = None,
            Action::Announce { key, .. } => drop(self.memory.announced.insert(key)),
        }
        self.memory.forget_all_but(&self.inventory);
    }
}

fn end(it: &mut ContainerState, exit_code: i32, now: Timestamp) {
    if let Phase::Running { started } = it.phase {
        it.phase = Phase::Exited {
            started: Some(started),
            finished: now,
            exit_code,
            signal: None,
            oom_killed: false,
            message: String::new(),
        };
    }
}
