//! Looks at the node every ten seconds, and acts: thin, what to do is decided elsewhere.
//!
//! One thing at a time: pods beyond their own limits first, then, where a threshold is met, what nobody needs, and then one pod, whose end is waited for before
//! the next look. A round reads a few files; pods are looked at where something is short, or where they have limits.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use orlop_client::events::Severity;
use orlop_client::{clock, random};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::decide::{Memory, Shortage, decide};
use super::limits::{Taken, exceeded, has_limits};
use super::rank::{PodUse, message, rank};
use super::settings::Eviction;
use super::signals::{Observation, Observations, Signal, Starved};
use super::{EVICTED, is_critical};
use crate::agent::Bells;
use crate::host::Host;
use crate::images::collect::{Policy, is_of};
use crate::machine::world::{Evicted, spec};
use crate::runtime::Phase;
use crate::usage::disk::{self, DiskSample, VolumeUse};
use crate::usage::machine;
use crate::usage::sample::{FileSystem, PodSample};

/// How often it looks: the kubelet's `monitoringInterval`.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often images are looked through: the kubelet's `ImageGCPeriod`.
const IMAGES_EVERY: Duration = Duration::from_secs(300);
/// How long a pod's end is waited for: the kubelet's `podCleanupTimeout`.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether a pod has ended.
const END_LOOK: Duration = Duration::from_millis(500);
/// What a pod that has to go at once is given to end: the kubelet's `immediateEvictionGracePeriodSeconds`.
const AT_ONCE: Duration = Duration::from_secs(1);
/// The kubelet's default of `terminationGracePeriodSeconds`.
const DEFAULT_GRACE: i64 = 30;

/// Keeps one node from running short.
pub struct Keeper {
    pub host: Arc<Host>,
    pub bells: Bells,
    pub settings: Eviction,
    pub images: Policy,
}

/// What a round remembers.
#[derive(Default)]
struct State {
    memory: Memory,
    /// Where images lie, once the runtime has told.
    images_at: Option<PathBuf>,
    /// The signals that were told about, so that each is told once.
    told: Option<Signal>,
    /// When images were looked through last.
    images_seen: Option<Instant>,
}

impl Keeper {
    /// Looks until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut state = State::default();
        loop {
            if shutdown.run_until_cancelled(self.round(&mut state)).await.is_none() {
                return;
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(random::jitter(LOOK_EVERY, 0.1))).await.is_none() {
                return;
            }
        }
    }

    async fn round(&self, state: &mut State) {
        if state.images_at.is_none() {
            state.images_at = self.host.meter.disk(&self.host).await.and_then(|it| it.runtime.images_at.clone());
        }
        let seen = self.observe(state.images_at.clone()).await;
        let verdict = decide(&mut state.memory, &self.settings, &seen, clock::now());
        self.host.pressure.set(verdict.conditions);
        if state.images_seen.is_none_or(|it| it.elapsed() >= IMAGES_EVERY) {
            state.images_seen = Some(Instant::now());
            self.keep_images_low(state.images_at.clone()).await;
        }
        if self.end_those_beyond_their_limits().await {
            return;
        }
        let Some(shortage) = verdict.shortage else {
            state.told = None;
            return;
        };
        if state.told != Some(shortage.signal) {
            state.told = Some(shortage.signal);
            let (signal, available, least) = (shortage.signal, shortage.seen.available, shortage.least);
            tracing::warn!(%signal, available, least, "the node is short of something");
            let message = format!("Attempting to reclaim {}", signal.starved().name());
            self.host.tell_of_node(Severity::Warning, "EvictionThresholdMet", &message);
        }
        if matches!(shortage.signal.starved(), Starved::Disk | Starved::Inodes) {
            self.collect_ended().await;
            self.remove_images(u64::MAX).await;
            if !shortage.holds(&self.observe(state.images_at.clone()).await) {
                return;
            }
        }
        self.end_one(&shortage).await;
    }

    /// Removes images where the disk is fuller than the policy has it.
    async fn keep_images_low(&self, images_at: Option<PathBuf>) {
        let Some(on) = images_at.and_then(|it| machine::file_system(&it)) else { return };
        let wanted = self.images.to_free(on.available_bytes, on.capacity_bytes);
        // Looked through even where nothing has to go, so that it is known when each was used last.
        let freed = self.remove_images(wanted.unwrap_or_default()).await;
        if let Some(wanted) = wanted.filter(|it| freed < *it) {
            let message = format!(
                "Failed to garbage collect required amount of images. Attempted to free {wanted} bytes, but only found {freed} bytes eligible to free."
            );
            self.host.tell_of_node(Severity::Warning, "FreeDiskSpaceFailed", &message);
        }
    }

    /// Removes images that were pulled and that nobody uses, until so many bytes are free. Gives how many they are.
    async fn remove_images(&self, bytes: u64) -> u64 {
        let runtime = &self.host.runtime;
        let (images, inventory) = match tokio::try_join!(runtime.images(), runtime.inventory()) {
            Ok(it) => it,
            Err(error) => {
                tracing::debug!(%error, "images cannot be looked through");
                return 0;
            }
        };
        let now = clock::now();
        let here = |id: &str| images.iter().find(|it| it.id == id);
        let used = |id: &str| here(id).is_some_and(|it| inventory.containers.iter().any(|of| is_of(it, &of.image)));
        let pulled = self.host.images.ledger().see(|id| here(id).is_some(), used, now);
        let (chosen, _) = self.images.choose(&images, &pulled, &inventory.containers, bytes, now);
        let mut freed = 0;
        for it in chosen {
            match runtime.remove_image(it).await {
                Ok(()) => {
                    tracing::info!(image = it.id, bytes = it.size_bytes, "an image that nobody uses is removed");
                    freed += it.size_bytes;
                }
                Err(error) => tracing::warn!(%error, image = it.id, "an image that nobody uses could not be removed"),
            }
        }
        freed
    }

    async fn observe(&self, images_at: Option<PathBuf>) -> Observations {
        let (node_at, capacity) = (self.host.volumes.root().to_owned(), self.host.memory_bytes);
        let looking = move || observe(&node_at, images_at.as_deref(), capacity);
        tokio::task::spawn_blocking(looking).await.unwrap_or_default()
    }

    /// The pods that run here or have yet to.
    fn active(&self) -> Vec<Arc<Pod>> {
        let over = |it: &Pod| {
            let phase = it.status.as_ref().and_then(|it| it.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed")) || it.metadata.deletion_timestamp.is_some()
        };
        self.host.pods.list().into_iter().filter(|it| !over(it)).collect()
    }

    /// Ends pods that take more of the disk than they may. Whether there were any.
    async fn end_those_beyond_their_limits(&self) -> bool {
        let limited: Vec<Arc<Pod>> = self.active().into_iter().filter(|it| has_limits(it)).collect();
        if limited.is_empty() {
            return false;
        }
        let Ok(sample) = self.host.meter.sample(&self.host).await else { return false };
        let disk = self.host.meter.disk(&self.host).await;
        let mut any = false;
        for pod in limited {
            let (of, volumes) = (Arc::clone(&pod), self.host.volumes.clone());
            let measured = tokio::task::spawn_blocking(move || disk::of_pod(&of, &volumes)).await.unwrap_or_default();
            let running = sample.pods.iter().find(|it| Some(&it.pod.uid) == pod.metadata.uid.as_ref());
            if let Some(why) = exceeded(&pod, &taken(&measured, running, disk.as_deref())) {
                any |= self.end(&pod, why, AT_ONCE, false).await;
            }
        }
        any
    }

    /// Has the dead containers of pods that are over removed.
    async fn collect_ended(&self) {
        let over =
            self.host.pods.list().into_iter().filter(|it| {
                matches!(it.status.as_ref().and_then(|it| it.phase.as_deref()), Some("Succeeded" | "Failed"))
            });
        for pod in over {
            if let Some(bell) = pod.metadata.uid.as_ref().and_then(|it| self.bells.lock().get(it).cloned()) {
                bell.collect();
            }
        }
    }

    /// Ends the first of the pods that may be ended.
    async fn end_one(&self, shortage: &Shortage) {
        let of = shortage.signal.starved();
        let Ok(sample) = self.host.meter.sample(&self.host).await else { return };
        let disk = match of {
            Starved::Disk | Starved::Inodes => self.host.meter.disk(&self.host).await,
            Starved::Memory | Starved::Pids => None,
        };
        let find = |pod: &Pod| sample.pods.iter().find(|it| Some(&it.pod.uid) == pod.metadata.uid.as_ref());
        let pods: Vec<_> = self
            .active()
            .into_iter()
            .map(|it| (Arc::clone(&it), find(&it).and_then(|sample| used(sample, of, disk.as_deref()))))
            .collect();
        for (pod, used) in rank(pods, of) {
            if is_critical(&pod) {
                continue;
            }
            let why = shortage.message() + &used.map(|it| message(&pod, &it, of)).unwrap_or_default();
            let grace = if shortage.hard { AT_ONCE } else { self.soft_grace(&pod) };
            if self.end(&pod, why, grace, true).await {
                return;
            }
        }
        tracing::warn!(signal = %shortage.signal, "the node is short of something, and there is no pod that may be ended");
    }

    fn soft_grace(&self, pod: &Pod) -> Duration {
        let own = spec(pod).and_then(|it| it.termination_grace_period_seconds).unwrap_or(DEFAULT_GRACE);
        Duration::from_secs(own.max(0).unsigned_abs()).min(self.settings.max_pod_grace)
    }

    /// Ends a pod, and waits for that. Whether it was one that can be ended.
    async fn end(&self, pod: &Pod, message: String, grace: Duration, disrupts: bool) -> bool {
        let Some(uid) = pod.metadata.uid.as_deref().filter(|_| !is_critical(pod)) else { return false };
        let Some(bell) = self.bells.lock().get(uid).cloned() else { return false };
        tracing::warn!(pod = uid, message, "a pod is evicted");
        self.host.teller.warning(pod, None, EVICTED, &message);
        bell.evict(Evicted { reason: EVICTED, message, grace, disrupts });
        let ended = async {
            loop {
                tokio::time::sleep(END_LOOK).await;
                let runs = |it: &crate::runtime::ContainerState| matches!(it.phase, Phase::Running { .. });
                match self.host.runtime.pod_inventory(uid).await {
                    Ok(it) if !it.containers.iter().any(runs) => return,
                    _ => {}
                }
            }
        };
        if tokio::time::timeout(END_WITHIN.max(grace * 2), ended).await.is_err() {
            tracing::warn!(pod = uid, "an evicted pod has not ended in time");
        }
        true
    }
}

/// What is seen of the machine. Blocks.
fn observe(node_at: &std::path::Path, images_at: Option<&std::path::Path>, memory_bytes: i64) -> Observations {
    let number = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
    let of = |available, capacity| Observation { available: number(available), capacity: number(capacity) };
    let mut seen = Observations::new();
    if let Some(available) = machine::memory(memory_bytes).and_then(|it| it.available_bytes) {
        seen.insert(Signal::MemoryAvailable, Observation { available: number(available), capacity: memory_bytes });
    }
    let mut disk = |it: Option<FileSystem>, bytes: Signal, inodes: Signal| {
        let Some(it) = it else { return };
        seen.insert(bytes, of(it.available_bytes, it.capacity_bytes));
        // A file system that makes inodes as it needs them has no number of them.
        if it.inodes > 0 {
            seen.insert(inodes, of(it.inodes_free, it.inodes));
        }
    };
    disk(machine::file_system(node_at), Signal::NodefsAvailable, Signal::NodefsInodesFree);
    disk(images_at.and_then(machine::file_system), Signal::ImagefsAvailable, Signal::ImagefsInodesFree);
    if let Some(it) = machine::processes() {
        seen.insert(Signal::PidAvailable, of(it.max.saturating_sub(it.current), it.max));
    }
    seen
}

/// What a pod takes of the disk.
fn taken(volumes: &[VolumeUse], running: Option<&PodSample>, disk: Option<&DiskSample>) -> Taken {
    let mut taken = Taken::default();
    for it in volumes {
        taken.volumes.insert(it.name.clone(), it.used.bytes);
        if it.ephemeral {
            taken.total += it.used.bytes;
        }
    }
    for it in running.iter().flat_map(|it| &it.containers) {
        let Some(room) = disk.and_then(|disk| disk.container(&it.id)) else { continue };
        let bytes = room.root.bytes + room.log.bytes;
        taken.containers.insert(it.name.clone(), bytes);
        taken.total += bytes;
    }
    taken
}

/// What a pod uses of what is short; none where that is not known.
fn used(pod: &PodSample, of: Starved, disk: Option<&DiskSample>) -> Option<PodUse> {
    let number = |it: u64| i64::try_from(it).unwrap_or(i64::MAX);
    let rooms = |inodes: bool| {
        let disk = disk?;
        let amount = |it: crate::runtime::Room| if inodes { it.inodes.unwrap_or_default() } else { it.bytes };
        let containers: Vec<_> = pod
            .containers
            .iter()
            .filter_map(|it| {
                disk.container(&it.id).map(|room| (it.name.clone(), number(amount(room.root) + amount(room.log))))
            })
            .collect();
        let volumes = disk.volumes.get(&pod.pod.uid).into_iter().flatten().filter(|it| it.ephemeral);
        let volumes: u64 = volumes.map(|it| amount(it.used)).sum();
        Some(PodUse {
            total: containers.iter().map(|it| it.1).sum::<i64>().saturating_add(number(volumes)),
            containers,
        })
    };
    match of {
        Starved::Memory => {
            let memory = pod.memory()?;
            let containers =
                pod.containers.iter().filter_map(|it| Some((it.name.clone(), number(it.memory?.working_set_bytes))));
            Some(PodUse { total: number(memory.working_set_bytes), containers: containers.collect() })
        }
        Starved::Pids => {
            let total = pod.containers.iter().map(|it| number(it.processes)).sum();
            Some(PodUse { total, containers: Vec::new() })
        }
        Starved::Disk => rooms(false),
        Starved::Inodes => rooms(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_room() {
        let seen = observe(std::path::Path::new("/"), Some(std::path::Path::new("/")), 1 << 40);
        for signal in [Signal::MemoryAvailable, Signal::NodefsAvailable, Signal::ImagefsAvailable, Signal::PidAvailable]
        {
            let it = seen.get(&signal).copied().unwrap_or(Observation { available: 0, capacity: 0 });
            assert!(it.available > 0 && it.available <= it.capacity, "{signal}: {it:?}");
        }
    }
}
