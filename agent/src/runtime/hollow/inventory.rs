//! What a hollow node has: sandboxes and containers as a few words of memory each. Pure; the time is an argument.
//!
//! Ids are made from the pod's uid, the attempt and the name, so that an id leads to its pod without an index:
//! `<uid>_<attempt>` is a sandbox, `<uid>_<attempt>_c-<container>` a container. Container names and attempts have no `_` in
//! them, so reading from the right is unambiguous whatever the uid is. Specs are not kept: ten thousand pods take a few megabytes.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::runtime::{ContainerSpec, ContainerState, Id, Inventory, Phase, PodRef, RuntimeError, SandboxState};

/// All pods of one hollow node.
#[derive(Debug, Default)]
pub struct HollowPods {
    pods: HashMap<Box<str>, HollowPod>,
}

#[derive(Debug)]
struct HollowPod {
    namespace: Box<str>,
    name: Box<str>,
    sandboxes: Vec<HollowSandbox>,
    containers: Vec<HollowContainer>,
}

#[derive(Debug)]
struct HollowSandbox {
    attempt: u32,
    running: bool,
    created: Timestamp,
}

#[derive(Debug)]
struct HollowContainer {
    name: Box<str>,
    image: Box<str>,
    /// The attempt of the sandbox it lives in.
    sandbox: u32,
    attempt: u32,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
}

/// What an id names.
#[derive(Debug, PartialEq, Eq)]
struct Name<'a> {
    uid: &'a str,
    attempt: u32,
    container: Option<&'a str>,
}

impl<'a> Name<'a> {
    fn parse(id: &'a str) -> Option<Self> {
        let (rest, last) = id.rsplit_once('_')?;
        if let Ok(attempt) = last.parse() {
            return Some(Self { uid: rest, attempt, container: None });
        }
        let (uid, attempt) = rest.rsplit_once('_')?;
        Some(Self { uid, attempt: attempt.parse().ok()?, container: Some(last) })
    }

    fn sandbox(id: &'a str) -> Option<Self> {
        Self::parse(id).filter(|it| it.container.is_none())
    }
}

/// A container whose name is all digits would read as a sandbox's attempt, so names are marked.
fn container_id(uid: &str, attempt: u32, name: &str) -> Id {
    format!("{uid}_{attempt}_c-{name}")
}

fn sandbox_id(uid: &str, attempt: u32) -> Id {
    format!("{uid}_{attempt}")
}

fn not_found(id: &str) -> RuntimeError {
    RuntimeError::NotFound(id.to_owned())
}

impl HollowPods {
    /// Makes a running sandbox, or finds the one of this attempt running already.
    pub fn run_sandbox(&mut self, pod: &PodRef, attempt: u32, now: Timestamp) -> SandboxState {
        let entry = self.pods.entry(pod.uid.as_str().into()).or_insert_with(|| HollowPod {
            namespace: pod.namespace.as_str().into(),
            name: pod.name.as_str().into(),
            sandboxes: Vec::with_capacity(1),
            containers: Vec::with_capacity(1),
        });
        match entry.sandboxes.iter_mut().find(|it| it.attempt == attempt) {
            Some(sandbox) => sandbox.running = true,
            None => entry.sandboxes.push(HollowSandbox { attempt, running: true, created: now }),
        }
        let created = entry.sandboxes.iter().find(|it| it.attempt == attempt).map_or(now, |it| it.created);
        SandboxState { id: sandbox_id(&pod.uid, attempt), pod: pod.clone(), attempt, running: true, pid: None, created }
    }

    /// Stops a sandbox and its containers; returns the pod's uid if there was something to stop.
    pub fn stop_sandbox<'a>(&mut self, id: &'a str, now: Timestamp) -> Option<&'a str> {
        let name = Name::sandbox(id)?;
        let pod = self.pods.get_mut(name.uid)?;
        let sandbox = pod.sandboxes.iter_mut().find(|it| it.attempt == name.attempt)?;
        sandbox.running = false;
        for container in pod.containers.iter_mut().filter(|it| it.sandbox == name.attempt) {
            container.finish(now);
        }
        Some(name.uid)
    }

    /// Forgets a sandbox and its containers; returns the pod's uid if there was something to forget.
    pub fn remove_sandbox<'a>(&mut self, id: &'a str) -> Option<&'a str> {
        let name = Name::sandbox(id)?;
        let pod = self.pods.get_mut(name.uid)?;
        let before = pod.sandboxes.len();
        pod.sandboxes.retain(|it| it.attempt != name.attempt);
        pod.containers.retain(|it| it.sandbox != name.attempt);
        let changed = pod.sandboxes.len() != before;
        if pod.sandboxes.is_empty() && pod.containers.is_empty() {
            self.pods.remove(name.uid);
        }
        changed.then_some(name.uid)
    }

    /// Makes a container in a running sandbox.
    pub fn create_container(&mut self, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError> {
        let name = Name::sandbox(sandbox).ok_or_else(|| not_found(sandbox))?;
        let pod = self.pods.get_mut(name.uid).ok_or_else(|| not_found(sandbox))?;
        if !pod.sandboxes.iter().any(|it| it.attempt == name.attempt && it.running) {
            return Err(not_found(sandbox));
        }
        let id = container_id(name.uid, spec.attempt, &spec.name);
        if !pod.containers.iter().any(|it| *it.name == *spec.name && it.attempt == spec.attempt) {
            pod.containers.push(HollowContainer {
                name: spec.name.as_str().into(),
                image: spec.image.as_str().into(),
                sandbox: name.attempt,
                attempt: spec.attempt,
                started: None,
                finished: None,
            });
        }
        Ok(id)
    }

    /// Starts a created container; returns the pod's uid.
    pub fn start_container<'a>(&mut self, id: &'a str, now: Timestamp) -> Result<&'a str, RuntimeError> {
        let (uid, container) = self.container(id).ok_or_else(|| not_found(id))?;
        container.started.get_or_insert(now);
        Ok(uid)
    }

    /// Ends a container; returns the pod's uid if there was something to end.
    pub fn stop_container<'a>(&mut self, id: &'a str, now: Timestamp) -> Option<&'a str> {
        let (uid, container) = self.container(id)?;
        container.finish(now).then_some(uid)
    }

    /// Forgets a container; returns the pod's uid if there was something to forget.
    pub fn remove_container<'a>(&mut self, id: &'a str) -> Option<&'a str> {
        let name = Name::parse(id)?;
        let wanted = name.container?.strip_prefix("c-")?;
        let pod = self.pods.get_mut(name.uid)?;
        let before = pod.containers.len();
        pod.containers.retain(|it| !(*it.name == *wanted && it.attempt == name.attempt));
        let changed = pod.containers.len() != before;
        if pod.sandboxes.is_empty() && pod.containers.is_empty() {
            self.pods.remove(name.uid);
        }
        changed.then_some(name.uid)
    }

    /// When a container started, if it is there and did.
    pub fn started(&self, id: &str) -> Result<Option<Timestamp>, RuntimeError> {
        self.peek(id).map(|it| it.started).ok_or_else(|| not_found(id))
    }

    /// Whether a container runs.
    pub fn is_running(&self, id: &str) -> Result<bool, RuntimeError> {
        self.peek(id).map(|it| it.started.is_some() && it.finished.is_none()).ok_or_else(|| not_found(id))
    }

    /// Everything, or what belongs to one pod.
    pub fn inventory(&self, pod_uid: Option<&str>) -> Inventory {
        let mut inventory = Inventory::default();
        match pod_uid {
            Some(uid) => {
                if let Some(pod) = self.pods.get(uid) {
                    pod.list(uid, &mut inventory);
                }
            }
            None => self.pods.iter().for_each(|(uid, pod)| pod.list(uid, &mut inventory)),
        }
        inventory
    }

    fn container<'a>(&mut self, id: &'a str) -> Option<(&'a str, &mut HollowContainer)> {
        let name = Name::parse(id)?;
        let wanted = name.container?.strip_prefix("c-")?;
        let pod = self.pods.get_mut(name.uid)?;
        let container = pod.containers.iter_mut().find(|it| *it.name == *wanted && it.attempt == name.attempt)?;
        Some((name.uid, container))
    }

    fn peek(&self, id: &str) -> Option<&HollowContainer> {
        let name = Name::parse(id)?;
        let wanted = name.container?.strip_prefix("c-")?;
        self.pods.get(name.uid)?.containers.iter().find(|it| *it.name == *wanted && it.attempt == name.attempt)
    }
}

impl HollowContainer {
    fn finish(&mut self, now: Timestamp) -> bool {
        let ends = self.started.is_some() && self.finished.is_none();
        if ends {
            self.finished = Some(now);
        }
        ends
    }

    fn phase(&self) -> Phase {
        match (self.started, self.finished) {
            (None, _) => Phase::Created,
            (Some(started), None) => Phase::Running { started },
            (Some(started), Some(finished)) => Phase::Exited {
                started: Some(started),
                finished,
                exit_code: 0,
                signal: None,
                oom_killed: false,
                message: String::new(),
            },
        }
    }
}

impl HollowPod {
    fn list(&self, uid: &str, inventory: &mut Inventory) {
        let pod = PodRef { namespace: self.namespace.to_string(), name: self.name.to_string(), uid: uid.to_owned() };
        inventory.sandboxes.extend(self.sandboxes.iter().map(|it| SandboxState {
            id: sandbox_id(uid, it.attempt),
            pod: pod.clone(),
            attempt: it.attempt,
            running: it.running,
            pid: None,
            created: it.created,
        }));
        inventory.containers.extend(self.containers.iter().map(|it| ContainerState {
            id: container_id(uid, it.attempt, &it.name),
            pod: pod.clone(),
            name: it.name.to_string(),
            attempt: it.attempt,
            image: it.image.to_string(),
            phase: it.phase(),
            pid: None,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back() {
        let check = |id: &str, uid: &str, attempt: u32, container: Option<&str>| {
            assert_eq!(Name::parse(id), Some(Name { uid, attempt, container }), "{id}");
        };
        check(&sandbox_id("1b-2c", 3), "1b-2c", 3, None);
        check(&container_id("1b-2c", 0, "web"), "1b-2c", 0, Some("c-web"));
        check(&container_id("under_score_7", 2, "80"), "under_score_7", 2, Some("c-80"));
        for bad in ["", "plain", "a_b_c", "a_b"] {
            assert_eq!(Name::parse(bad), None, "{bad}");
        }
    }
}
