//! The worker's hands: doing each action of a plan, and noting what came of it.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use kube::api::{Api, DeleteParams, Preconditions};
use orlop_client::clock;
use orlop_client::write::WRITE_TIMEOUT;
use tokio::task::JoinError;
use tokio::time::Instant;

use super::{Outcome, Worker, container, hooks};
use crate::aside;
use crate::dns::listen::RESOLV_CONF;
use crate::dns::resolv_conf::ResolvConf;
use crate::machine::ending::find;
use crate::machine::resize::{self, Resize, Share};
use crate::machine::world::{PostStart, View, ephemeral_containers, host_network, plain};
use crate::machine::{Action, Failure, ImageState, VolumeState};
use crate::resources;
use crate::runtime::{ContainerSpec, Id, Processes, RuntimeError};
use crate::statics::Origin;

/// How long a container waits for the services to be read, whose addresses are among its variables.
const SERVICES_WITHIN: Duration = Duration::from_secs(10);

/// How long a container that could not be stopped is left before it is tried again.
const STOP_RETRY: Duration = Duration::from_secs(2);

impl Worker {
    /// Does one action. An error ends the plan; what the machine must know is in its memory.
    pub(super) async fn act(&mut self, action: Action) -> Result<(), String> {
        tracing::debug!(pod = %self.uid, %action);
        let host = Arc::clone(&self.host);
        let runtime = &host.runtime;
        let told = |it: RuntimeError| it.to_string();
        match action {
            Action::MountVolumes => self.fill_volumes(),
            Action::PullImage { container, attempt } => self.spawn_image(container, attempt),
            Action::RunSandbox { attempt } => self.run_sandbox(attempt).await,
            Action::AttachNetwork { sandbox, pid } => self.attach(sandbox, pid).await,
            Action::RunContainer { container, sandbox, attempt, back_off } => {
                self.run_container(&container, &sandbox, attempt, back_off).await;
            }
            Action::ResizeContainer { container, id } => self.resize(&container, &id).await,
            Action::StartContainer { container, id } => self.start_container(&container, id).await,
            Action::StopContainer { container, id, grace, pre_stop, message } => {
                self.spawn_stop(container, id, grace, pre_stop, message);
            }
            Action::RemoveContainer { id } => {
                self.dirty = true;
                runtime.remove_container(&id).await.map_err(told)?;
            }
            Action::StopSandbox { id } => {
                self.dirty = true;
                runtime.stop_sandbox(&id).await.map_err(told)?;
            }
            Action::RemoveSandbox { id } => {
                self.dirty = true;
                runtime.remove_sandbox(&id).await.map_err(told)?;
            }
            Action::DetachNetwork => {
                self.memory.attached = None;
                host.network.detach(&self.uid).await.map_err(|it| it.to_string())?;
                if let Some(it) = &host.policies {
                    it.gone(&self.uid);
                }
            }
            Action::RemoveVolumes => {
                self.settle_volumes().await;
                let (volumes, uid) = (host.volumes.clone(), self.uid.clone());
                let removed = aside::run(move || volumes.remove(&uid)).await;
                removed.map_err(|it| it.to_string())?.map_err(|it| format!("removing volumes: {it}"))?;
                self.memory.volumes = VolumeState::Unknown;
                self.memory.cleaned = true;
                host.references.forget(&self.uid);
            }
            Action::DeletePod => self.delete_pod().await?,
            Action::Announce { key, warning, reason, message, container } => {
                if let Some(pod) = &self.pod {
                    let name = container.as_deref();
                    if warning {
                        host.teller.warning(pod, name, reason, message);
                    } else {
                        host.teller.normal(pod, name, reason, message);
                    }
                }
                self.memory.announced.insert(key);
            }
        }
        Ok(())
    }

    /// Takes in the end of something that took long.
    pub(super) fn ended(&mut self, outcome: Result<Outcome, JoinError>) {
        let Ok(outcome) =
            outcome.inspect_err(|error| tracing::error!(%error, pod = %self.uid, "a task of the pod failed"))
        else {
            return;
        };
        match outcome {
            Outcome::Volumes(it) => self.filled(it),
            Outcome::Image { container, attempt, result } => {
                let state = match result {
                    Ok(image) => ImageState::Ready { attempt, image },
                    Err(failure) => ImageState::Failed { attempt, failure },
                };
                self.memory.images.insert(container, state);
            }
            Outcome::Stopped { id, failed } => {
                self.memory.stopping.remove(&id);
                self.dirty = true;
                if let Some(why) = failed {
                    tracing::warn!(pod = %self.uid, %id, why, "a container could not be stopped; it is tried again");
                }
            }
            Outcome::PostStart { id, failed: Some(message) } => {
                self.memory.post_start.insert(id, PostStart::Failed(message));
            }
            Outcome::PostStart { id, failed: None } => drop(self.memory.post_start.remove(&id)),
            Outcome::Reported(it) => {
                if let Some(pod) = self.report.written(it)
                    && self.pod.is_some()
                {
                    match self.origin {
                        Origin::Api => self.see(Some(pod)),
                        Origin::File { .. } => self.take_mirror(Some(pod)),
                    }
                }
            }
        }
    }

    fn spawn_image(&mut self, name: String, attempt: u32) {
        let Some((pod, container)) = self.container(&name) else { return };
        let failed_before = match self.memory.images.get(&name) {
            Some(ImageState::Failed { failure, .. }) => Some(failure.clone()),
            _ => None,
        };
        let state = ImageState::Pulling { attempt, failed_before: failed_before.clone() };
        self.memory.images.insert(name.clone(), state);
        let host = Arc::clone(&self.host);
        self.tasks.spawn(async move {
            // Without its pull secrets an image may still be public: the registry has the last word.
            let found = host.references.snapshot(&pod).await.unwrap_or_default();
            let result = host.images.ensure(&pod, &container, &found, failed_before.as_ref()).await;
            Outcome::Image { container: name, attempt, result }
        });
    }

    async fn run_sandbox(&mut self, attempt: u32) {
        let Some(pod) = self.pod.clone() else { return };
        self.dirty = true;
        let host_dns = tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default();
        let host_dns = ResolvConf::parse(&host_dns);
        let of_api = self.origin == Origin::Api;
        let handler = match container::handler(&self.host, &pod).await {
            Ok(it) => it,
            Err(why) => return self.sandbox_failed(&pod, &format!("Failed to create pod sandbox: {why}")),
        };
        let spec = container::sandbox(&self.host, &pod, of_api, attempt, &host_dns, handler);
        match self.host.runtime.run_sandbox(&spec).await {
            Ok(_) => self.memory.sandbox_failure = None,
            Err(error) => self.sandbox_failed(&pod, &format!("Failed to create pod sandbox: {error}")),
        }
    }

    async fn attach(&mut self, sandbox: Id, pid: Option<u32>) {
        let Some(pod) = self.pod.clone() else { return };
        let attached = match self.host.network.attach(&self.uid, pid, &container::host_ports(&pod)).await {
            Ok(address) => match &self.host.policies {
                // No container runs before the rules that isolate it are there. A static pod may be what the API server needs, which knows them.
                Some(it) if self.origin != Origin::Api && !it.are_known() => Ok(address),
                Some(it) => it.ready(&pod, address).await.map(|()| address).map_err(|it| it.to_string()),
                None => Ok(address),
            },
            Err(error) => Err(error.to_string()),
        };
        match attached {
            Ok(address) => {
                self.memory.last_address = Some(address);
                self.memory.attached = Some(sandbox);
                self.memory.sandbox_failure = None;
            }
            Err(error) => {
                self.dirty = true;
                let message =
                    format!("Failed to create pod sandbox: failed to set up the network of sandbox {sandbox}: {error}");
                self.sandbox_failed(&pod, &message);
            }
        }
    }

    fn sandbox_failed(&mut self, pod: &Pod, message: &str) {
        self.host.teller.warning(pod, None, "FailedCreatePodSandBox", message);
        let before = self.memory.sandbox_failure.as_ref();
        let failure = Failure::after(before, "FailedCreatePodSandBox", message.to_owned(), clock::now());
        self.memory.sandbox_failure = Some(failure);
    }

    async fn run_container(&mut self, name: &str, sandbox: &str, attempt: u32, back_off: Option<Duration>) {
        let Some((pod, mut it)) = self.container(name) else { return };
        let given = self.allotted(&pod, &it);
        it.resources.clone_from(&given.resources);
        let Some(ImageState::Ready { image, .. }) = self.memory.images.get(name).cloned() else { return };
        let pod_ips = if host_network(&pod) { self.host.facts.host_ips } else { self.address() };
        let of_api = self.origin == Origin::Api;
        if let Some(known) = self.host.services.as_ref().filter(|_| of_api) {
            // Only just after the agent's start is there anything to wait for; if it takes too long, the container's failure says so.
            let _ = tokio::time::timeout(SERVICES_WITHIN, known.services.synced()).await;
        }
        let spec = match self.host.references.snapshot(&pod).await {
            Ok(found) => container::service_links(&self.host, &pod, of_api).and_then(|links| {
                let around = container::Around { found: &found, links, pod_ips };
                container::spec(&self.host, &pod, &it, &image, attempt, around)
            }),
            Err(error) => Err(error.to_string()),
        };
        let spec = spec.and_then(|it| Ok(ContainerSpec { processes: self.processes(&pod, name)?, ..it }));
        let spec = match spec {
            Ok(it) => it,
            Err(message) => return self.create_failed(&pod, name, "CreateContainerConfigError", message),
        };
        self.dirty = true;
        match self.host.runtime.create_container(sandbox, &spec).await {
            Ok(id) => {
                self.memory.allotted.insert(name.to_owned(), given.resources.unwrap_or_default());
                self.memory.ran(name, back_off, clock::now());
                self.host.teller.normal(&pod, Some(name), "Created", format!("Created container: {name}"));
                self.start_container(name, id).await;
            }
            Err(error) => self.create_failed(&pod, name, "CreateContainerError", error.to_string()),
        }
    }

    /// A container with what it is to be given: what it asks for, or what it had while the node has no room for that.
    fn allotted(&self, pod: &Pod, container: &Container) -> Container {
        let seen = self.seen();
        let view = View::of(pod, &seen);
        match resize::decide(pod, &seen, &view) {
            Resize::Pending { .. } => resize::with(container, &seen, &view),
            Resize::None | Resize::InProgress { .. } => container.clone(),
        }
    }

    /// Gives a running container the resources that it asks for now.
    async fn resize(&mut self, name: &str, id: &str) {
        let Some((pod, it)) = self.container(name) else { return };
        // Another pod may have taken meanwhile what there was; the next look says so.
        if !self.host.shares.take(&self.uid, Share::of(&pod)) {
            return;
        }
        let numbers = resources::of_container(&pod, &it, self.host.memory_bytes);
        match self.host.runtime.update_container(id, &numbers).await {
            Ok(()) => {
                self.memory.allotted.insert(name.to_owned(), it.resources.unwrap_or_default());
                self.memory.resize_failure = None;
            }
            Err(error) => {
                let before = self.memory.resize_failure.as_ref();
                let failure = Failure::after(before, "Error", error.to_string(), clock::now());
                self.memory.resize_failure = Some(failure);
            }
        }
    }

    /// Whose processes a container sees.
    ///
    /// # Errors
    /// The kubelet's words for a container to look at that has never been there.
    fn processes(&self, pod: &Pod, name: &str) -> Result<Processes, String> {
        let added = ephemeral_containers(pod).iter().find(|it| it.name == name);
        let target = added.and_then(|it| it.target_container_name.as_deref()).filter(|it| !it.is_empty());
        if let Some(target) = target {
            let of_it = self.inventory.containers.iter().filter(|it| it.name == target);
            let found = of_it.max_by_key(|it| it.attempt);
            return found
                .map(|it| Processes::Of(it.id.clone()))
                .ok_or_else(|| format!("unable to find target container {target}"));
        }
        Ok(if container::shares_processes(pod) { Processes::Pods } else { Processes::Own })
    }

    fn create_failed(&mut self, pod: &Pod, name: &str, reason: &'static str, message: String) {
        self.host.teller.warning(pod, Some(name), "Failed", format!("Error: {message}"));
        let before = self.memory.create_failures.get(name);
        let failure = Failure::after(before, reason, message, clock::now());
        self.memory.create_failures.insert(name.to_owned(), failure);
    }

    async fn start_container(&mut self, name: &str, id: Id) {
        let Some((pod, it)) = self.container(name) else { return };
        self.dirty = true;
        if let Err(error) = self.host.runtime.start_container(&id).await {
            self.host.teller.warning(&pod, Some(name), "Failed", format!("Error: {error}"));
            self.memory.start_errors.insert(id, (error.to_string(), clock::now()));
            return;
        }
        self.host.teller.normal(&pod, Some(name), "Started", format!("Started container {name}"));
        let Some(hook) = it.lifecycle.as_ref().and_then(|it| it.post_start.clone()) else { return };
        self.memory.post_start.insert(id.clone(), PostStart::Running);
        let (host, address) = (Arc::clone(&self.host), self.address());
        self.tasks.spawn(async move {
            let failed = hooks::run(&host, &pod, &it, &id, &hook, address, hooks::POST_START_WITHIN).await.err();
            if failed.is_some() {
                host.teller.warning(&pod, Some(&it.name), "FailedPostStartHook", "PostStartHook failed");
            }
            Outcome::PostStart { id, failed }
        });
    }

    fn spawn_stop(&mut self, name: String, id: Id, grace: Duration, pre_stop: bool, message: String) {
        self.memory.stopping.insert(id.clone());
        let found = self.container(&name);
        let (host, address) = (Arc::clone(&self.host), self.address());
        self.tasks.spawn(async move {
            let began = Instant::now();
            if let Some((pod, it)) = &found {
                host.teller.normal(pod, Some(&name), "Killing", message);
                let hook = it.lifecycle.as_ref().and_then(|it| it.pre_stop.as_ref()).filter(|_| pre_stop);
                if let Some(hook) = hook
                    && let Err(why) = hooks::run(&host, pod, it, &id, hook, address, grace).await
                {
                    tracing::debug!(why, container = name, "a preStop hook failed");
                    host.teller.warning(pod, Some(&name), "FailedPreStopHook", "PreStopHook failed");
                }
            }
            // A hook that took all the time leaves the kubelet's two seconds.
            let left = grace.saturating_sub(began.elapsed()).max(STOP_RETRY);
            let failed = host.runtime.stop_container(&id, left).await.err().map(|it| it.to_string());
            if failed.is_some() {
                tokio::time::sleep(STOP_RETRY).await;
            }
            Outcome::Stopped { id, failed }
        });
    }

    async fn delete_pod(&mut self) -> Result<(), String> {
        let Some(pod) = &self.pod else { return Ok(()) };
        if self.origin != Origin::Api {
            // It is in no API; what stands for it there is the keeper's, who hears of its end.
            (self.pod, self.over) = (None, true);
            return Ok(());
        }
        let api: Api<Pod> =
            Api::namespaced(self.host.client.clone(), pod.metadata.namespace.as_deref().unwrap_or_default());
        let only_this = Preconditions { uid: Some(self.uid.clone()), resource_version: None };
        let params =
            DeleteParams { grace_period_seconds: Some(0), preconditions: Some(only_this), ..DeleteParams::default() };
        let deleting = api.delete(pod.metadata.name.as_deref().unwrap_or_default(), &params);
        match tokio::time::timeout(WRITE_TIMEOUT, deleting).await {
            Err(_) => Err("deleting the pod: the API server does not answer".into()),
            // Gone already, or another pod bears its name: both are what was wanted.
            Ok(Err(kube::Error::Api(it))) if it.code == 404 || it.code == 409 => {
                self.memory.deleted = true;
                Ok(())
            }
            Ok(Err(error)) => Err(format!("deleting the pod: {error}")),
            Ok(Ok(_)) => {
                self.memory.deleted = true;
                Ok(())
            }
        }
    }

    pub(super) fn container(&self, name: &str) -> Option<(Arc<Pod>, Container)> {
        let pod = self.pod.clone()?;
        let own = find(&pod, name).cloned();
        let container = own.or_else(|| ephemeral_containers(&pod).iter().find(|it| it.name == name).map(plain))?;
        Some((pod, container))
    }
}
