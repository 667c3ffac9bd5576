//! The runtime `hollow`: pods that exist only as words, so that one process can be five thousand nodes.
//!
//! Sandboxes and containers are made in memory and run at once (or after a configured delay); every image is present; a log is one
//! fixed line; every exec succeeds. Nothing outlives the process. One instance is one node; it costs an empty map and a short
//! ring of events. It runs no timers and no tasks: a start delay is waited for by whoever starts the container.

mod inventory;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::feed::Feed;
use super::session::{AttachSpec, ExecSpec, Session};
use super::{
    ContainerSpec, DiskUse, ExecOutput, Id, Image, Inventory, LogChunk, LogOptions, LogStream, PullProgress,
    RegistryAuth, Resources, Runtime, RuntimeError, RuntimeEvent, RuntimeInfo, SandboxSpec, SandboxState,
};
use inventory::HollowPods;
use orlop_client::clock;

/// Events kept for a slow listener. A slot takes about 64 bytes: 5,000 nodes in one process pay 10 MB for 32 of them. A listener that
/// falls behind is told to look again, which costs it one inventory of at most a node's pods.
const EVENTS: usize = 32;

/// The one line that every hollow container wrote.
const LOG_LINE: &[u8] = b"This container is hollow: it runs no process and writes no log.\n";

/// There is nobody to talk to.
const NO_PROCESS: &str = "this container is hollow: it runs no process";

/// What hollow images claim to weigh, in bytes.
const IMAGE_SIZE_BYTES: u64 = 1 << 20;

/// How a hollow node behaves.
#[derive(Clone, Debug, Default)]
pub struct HollowOptions {
    /// How long a container takes from its start to running.
    pub start_delay: Duration,
}

/// One hollow node.
#[derive(Debug)]
pub struct Hollow {
    options: HollowOptions,
    pods: Arc<Mutex<HollowPods>>,
    feed: Feed,
}

impl Hollow {
    /// A node with no pods.
    pub fn new(options: HollowOptions) -> Self {
        Self { options, pods: Arc::default(), feed: Feed::new(EVENTS) }
    }

    fn tell(&self, changed: Option<&str>) {
        if let Some(uid) = changed {
            self.feed.pod_changed(uid);
        }
    }
}

fn image_of(reference: &str) -> Image {
    Image {
        id: reference.to_owned(),
        tags: vec![reference.to_owned()],
        digests: Vec::new(),
        size_bytes: IMAGE_SIZE_BYTES,
        user: None,
    }
}

#[async_trait]
impl Runtime for Hollow {
    fn runs_nothing(&self) -> bool {
        true
    }

    async fn info(&self) -> Result<RuntimeInfo, RuntimeError> {
        Ok(RuntimeInfo {
            name: "hollow".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            trouble: None,
        })
    }

    async fn inventory(&self) -> Result<Inventory, RuntimeError> {
        Ok(self.pods.lock().inventory(None))
    }

    async fn pod_inventory(&self, pod_uid: &str) -> Result<Inventory, RuntimeError> {
        Ok(self.pods.lock().inventory(Some(pod_uid)))
    }

    async fn events(&self) -> Result<BoxStream<'static, RuntimeEvent>, RuntimeError> {
        Ok(self.feed.listen())
    }

    async fn run_sandbox(&self, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError> {
        let state = self.pods.lock().run_sandbox(&spec.pod, spec.attempt, clock::now());
        self.tell(Some(&spec.pod.uid));
        Ok(state)
    }

    async fn stop_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let changed = self.pods.lock().stop_sandbox(id, clock::now());
        self.tell(changed);
        Ok(())
    }

    async fn remove_sandbox(&self, id: &str) -> Result<(), RuntimeError> {
        let changed = self.pods.lock().remove_sandbox(id);
        self.tell(changed);
        Ok(())
    }

    async fn create_container(&self, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError> {
        self.pods.lock().create_container(sandbox, spec)
    }

    async fn start_container(&self, id: &str) -> Result<(), RuntimeError> {
        if !self.options.start_delay.is_zero() {
            tokio::time::sleep(self.options.start_delay).await;
        }
        let changed = self.pods.lock().start_container(id, clock::now())?;
        self.tell(Some(changed));
        Ok(())
    }

    async fn stop_container(&self, id: &str, _grace: Duration) -> Result<(), RuntimeError> {
        let changed = self.pods.lock().stop_container(id, clock::now());
        self.tell(changed);
        Ok(())
    }

    async fn update_container(&self, _: &str, _: &Resources) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn remove_container(&self, id: &str) -> Result<(), RuntimeError> {
        let changed = self.pods.lock().remove_container(id);
        self.tell(changed);
        Ok(())
    }

    async fn exec(
        &self,
        id: &str,
        _command: &[String],
        _timeout: Duration,
        _limit_bytes: usize,
    ) -> Result<ExecOutput, RuntimeError> {
        if self.pods.lock().is_running(id)? {
            Ok(ExecOutput::default())
        } else {
            Err(RuntimeError::Other(format!("container {id} is not running")))
        }
    }

    async fn exec_session(&self, _id: &str, _spec: &ExecSpec) -> Result<Session, RuntimeError> {
        Err(RuntimeError::Other(NO_PROCESS.to_owned()))
    }

    async fn attach_session(&self, _id: &str, _spec: &AttachSpec) -> Result<Session, RuntimeError> {
        Err(RuntimeError::Other(NO_PROCESS.to_owned()))
    }

    async fn logs(&self, id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError> {
        let started = self.pods.lock().started(id)?;
        let line = started
            .filter(|it| options.since.is_none_or(|since| *it >= since) && options.tail_lines != Some(0))
            .map(|time| Ok(LogChunk { time, stderr: false, bytes: Bytes::from_static(LOG_LINE) }));
        let lines = futures::stream::iter(line);
        if !options.follow {
            return Ok(lines.boxed());
        }
        // A follower waits, as with a real container, until the container has ended. Listening comes before looking, so that an end
        // in between is not missed.
        let events = self.feed.listen();
        if !self.pods.lock().is_running(id)? {
            return Ok(lines.boxed());
        }
        let (pods, id) = (self.pods.clone(), id.to_owned());
        let end =
            events.take_while(move |_| ready(pods.lock().is_running(&id).unwrap_or(false))).filter_map(|_| ready(None));
        Ok(lines.chain(end).boxed())
    }

    async fn image(&self, reference: &str) -> Result<Option<Image>, RuntimeError> {
        Ok(Some(image_of(reference)))
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        // Every image is present, so there is no list of them; a node's status names none.
        Ok(Vec::new())
    }

    async fn remove_image(&self, _image: &Image) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn disk_use(&self) -> Result<DiskUse, RuntimeError> {
        Ok(DiskUse::default())
    }

    async fn pull(
        &self,
        reference: &str,
        _auth: Option<&RegistryAuth>,
        _progress: mpsc::Sender<PullProgress>,
    ) -> Result<Image, RuntimeError> {
        Ok(image_of(reference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Phase, PodRef, Resources};

    fn sandbox(uid: &str) -> SandboxSpec {
        SandboxSpec {
            pod: PodRef { namespace: "default".into(), name: format!("pod-{uid}"), uid: uid.into() },
            hostname: "pod".into(),
            attempt: 0,
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_processes: false,
            fenced: false,
            handler: String::new(),
            host_ports: Vec::new(),
            nameservers: Vec::new(),
            searches: Vec::new(),
            dns_options: Vec::new(),
            sysctls: Default::default(),
        }
    }

    fn container(uid: &str, attempt: u32) -> ContainerSpec {
        ContainerSpec {
            pod: sandbox(uid).pod,
            name: "web".into(),
            attempt,
            image: "nginx".into(),
            command: Vec::new(),
            args: Vec::new(),
            working_dir: None,
            env: Vec::new(),
            mounts: Vec::new(),
            resources: Resources::default(),
            user: None,
            supplementary_groups: Vec::new(),
            privileged: false,
            read_only_root: false,
            no_new_privileges: false,
            capabilities_add: Vec::new(),
            capabilities_drop: Vec::new(),
            tty: false,
            stdin: false,
            stdin_once: false,
            processes: crate::runtime::Processes::Own,
            seccomp: crate::runtime::Seccomp::RuntimeDefault,
            pids_limit: None,
        }
    }

    #[tokio::test]
    async fn a_pod_lives_and_dies() {
        let node = Hollow::new(HollowOptions::default());
        let mut events = node.events().await.unwrap();
        let state = node.run_sandbox(&sandbox("a")).await.unwrap();
        assert_eq!(node.run_sandbox(&sandbox("a")).await.unwrap().id, state.id);
        let id = node.create_container(&state.id, &container("a", 0)).await.unwrap();
        assert_eq!(node.create_container(&state.id, &container("a", 0)).await.unwrap(), id);
        assert_eq!(node.pod_inventory("a").await.unwrap().containers[0].phase, Phase::Created);
        node.start_container(&id).await.unwrap();
        assert!(matches!(node.inventory().await.unwrap().containers[0].phase, Phase::Running { .. }));
        assert_eq!(node.exec(&id, &["true".into()], Duration::from_secs(1), 10).await.unwrap().exit_code, 0);
        let options = LogOptions { follow: true, ..LogOptions::default() };
        let log = node.logs(&id, &options).await.unwrap();
        node.stop_sandbox(&state.id).await.unwrap();
        node.stop_container(&id, Duration::ZERO).await.unwrap();
        assert_eq!(log.count().await, 1, "the follower ends with the container");
        assert!(matches!(node.inventory().await.unwrap().containers[0].phase, Phase::Exited { exit_code: 0, .. }));
        node.remove_container(&id).await.unwrap();
        node.remove_sandbox(&state.id).await.unwrap();
        node.remove_sandbox(&state.id).await.unwrap();
        assert!(node.inventory().await.unwrap().sandboxes.is_empty());
        assert_eq!(events.next().await, Some(RuntimeEvent::Pod { uid: "a".into() }));
    }

    #[tokio::test]
    async fn what_is_not_there_is_not_found() {
        let node = Hollow::new(HollowOptions::default());
        assert!(matches!(node.create_container("a_0", &container("a", 0)).await, Err(RuntimeError::NotFound(_))));
        assert!(matches!(node.start_container("a_0_c-web").await, Err(RuntimeError::NotFound(_))));
        let none = node.exec("x", &[], Duration::ZERO, 0).await;
        assert!(matches!(none, Err(RuntimeError::NotFound(_))));
        node.stop_container("a_0_c-web", Duration::ZERO).await.unwrap();
        node.remove_container("x").await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_takes_its_delay() {
        let node = Hollow::new(HollowOptions { start_delay: Duration::from_secs(3) });
        let state = node.run_sandbox(&sandbox("a")).await.unwrap();
        let id = node.create_container(&state.id, &container("a", 1)).await.unwrap();
        let before = tokio::time::Instant::now();
        node.start_container(&id).await.unwrap();
        assert_eq!(before.elapsed(), Duration::from_secs(3));
    }
}
