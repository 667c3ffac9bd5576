//! One pod's worker: looks, lets the machine decide, does what the plan says, and waits for something to happen.
//!
//! It chooses nothing. What wakes it is a changed pod, a runtime event, a probe's verdict, the end of something that took long, a changed
//! ConfigMap or Secret, or the time the plan named; each only makes it look again. Long work (pulls, mounts, stops, hooks, writes to
//! the API) runs beside it, so that an API server that is away holds up no container.

mod act;
mod container;
mod filling;
mod hooks;
mod report;
mod termination;
mod tokens;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use orlop_client::{clock, random};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::host::Host;
use crate::machine::resize::{self, Share};
use crate::machine::world::View;
use crate::machine::{
    Evicted, Failure, Memory, Plan, PodWorld, ProbeKind, Rejection, VolumeState, decide, decide_gone,
};
use crate::network::ips::Ips;
use crate::power_off::{Seen, was_terminated};
use crate::probes::{ProbeSet, Verdict};
use crate::runtime::{Id, Image, Inventory, Phase};
use crate::statics::{Assigned, Origin};

/// How long a pod is left alone at most, though nothing happens: a guard against a lost event, not a way to work.
const RESYNC: Duration = Duration::from_secs(240);
/// Probe verdicts that may wait for the worker: three for each of some twenty containers.
const VERDICTS: usize = 64;
/// How long a pod that changes in a loop is held before each further look.
const BREATH: Duration = Duration::from_millis(20);
/// Looks in a row without waiting, after which the worker takes a breath: more than any plan needs.
const LOOKS_IN_A_ROW: u32 = 50;

/// How others wake a worker.
#[derive(Debug, Default)]
pub struct Bell {
    runtime: AtomicBool,
    references: AtomicBool,
    collects: AtomicBool,
    evicted: Mutex<Option<Evicted>>,
    rung: Notify,
    /// What the worker shows of its pod.
    seen: watch::Sender<Seen>,
}

impl Bell {
    /// The runtime changed something of the pod.
    pub fn runtime_changed(&self) {
        self.runtime.store(true, Ordering::Release);
        self.rung.notify_one();
    }

    /// The pod has to go.
    pub fn evict(&self, it: Evicted) {
        *self.evicted.lock() = Some(it);
        self.rung.notify_one();
    }

    /// The pod as its worker has it; none when nothing of it is left.
    pub fn pod(&self) -> Option<Arc<Pod>> {
        self.seen.borrow().pod.clone()
    }

    /// Waits until the worker shows this. It never does where the pod was gone before.
    pub async fn sees(&self, what: impl FnMut(&Seen) -> bool) {
        // The sender is ours: it does not go.
        let _ = self.seen.subscribe().wait_for(what).await;
    }

    /// What is left of the pod, if it is over, has to go.
    pub fn collect(&self) {
        self.collects.store(true, Ordering::Release);
        self.runtime_changed();
    }

    /// A ConfigMap or Secret of the pod changed.
    pub fn references_changed(&self) {
        self.references.store(true, Ordering::Release);
        self.rung.notify_one();
    }
}

/// The end of something that took long.
enum Outcome {
    /// Volumes were made; tokens in them last until the given time.
    Volumes(Result<Option<Instant>, String>),
    Image {
        container: String,
        attempt: u32,
        result: Result<Image, Failure>,
    },
    Stopped {
        id: Id,
        failed: Option<String>,
    },
    PostStart {
        id: Id,
        failed: Option<String>,
    },
    Reported(report::Reported),
}

/// One pod's worker.
pub struct Worker {
    host: Arc<Host>,
    uid: String,
    /// The pod as the API or its file has it; none once it is gone.
    pod: Option<Arc<Pod>>,
    origin: Origin,
    /// A pod of a file was stopped for good: what the agent still says of it is old.
    over: bool,
    /// The API had the pod no more when it was looked at last.
    given_up: bool,
    memory: Memory,
    inventory: Inventory,
    /// The inventory may be old.
    dirty: bool,
    tasks: JoinSet<Outcome>,
    probes: ProbeSet,
    verdicts: mpsc::Receiver<Verdict>,
    report: report::Report,
    /// Why the last plan was not done to its end; the next one waits for its time.
    trouble: Option<Failure>,
    filling: filling::Filling,
}

impl Worker {
    /// A worker of the pod `uid`; `rejected` is why the node does not take it, if so.
    pub fn new(host: Arc<Host>, uid: String, rejected: Option<Rejection>) -> Self {
        let (sender, verdicts) = mpsc::channel(VERDICTS);
        Worker {
            probes: ProbeSet::new(Arc::clone(&host), sender),
            host,
            uid,
            pod: None,
            origin: Origin::Api,
            over: false,
            given_up: false,
            memory: Memory { rejected, ..Memory::default() },
            inventory: Inventory::default(),
            dirty: true,
            tasks: JoinSet::new(),
            verdicts,
            report: report::Report::default(),
            trouble: None,
            filling: filling::Filling::default(),
        }
    }

    /// Works until nothing of the pod is left in the API or here, or until `shutdown`, which leaves everything as it is.
    pub async fn run(
        mut self,
        mut pods: watch::Receiver<Option<Assigned>>,
        bell: Arc<Bell>,
        shutdown: CancellationToken,
    ) {
        self.take_changes(&mut pods);
        let mut looks = 0;
        loop {
            // On the heap while it lasts: a worker that waits, as most do, is then a fourth as large.
            let turn = Box::pin(self.turn()).await;
            self.show(&bell);
            let recheck = match turn {
                Turn::Over => break,
                Turn::Again if looks < LOOKS_IN_A_ROW => {
                    looks += 1;
                    if shutdown.is_cancelled() {
                        return;
                    }
                    self.take_changes(&mut pods);
                    continue;
                }
                Turn::Again => BREATH,
                Turn::Wait(it) => it,
            };
            looks = 0;
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = pods.changed() => if changed.is_err() { return },
                () = bell.rung.notified() => {}
                Some(it) = self.verdicts.recv() => self.note(it),
                Some(it) = self.tasks.join_next() => self.ended(it),
                () = tokio::time::sleep(recheck) => {}
            }
            self.take_changes(&mut pods);
            while let Ok(it) = self.verdicts.try_recv() {
                self.note(it);
            }
            if bell.runtime.swap(false, Ordering::AcqRel) {
                self.dirty = true;
            }
            if let Some(it) = bell.evicted.lock().take() {
                self.memory.evicted = Some(it);
            }
            self.memory.collected |= bell.collects.load(Ordering::Acquire);
            let due = self.filling.due().is_some_and(|it| it <= Instant::now());
            if bell.references.swap(false, Ordering::AcqRel) || due {
                self.references_changed();
            }
        }
        bell.seen.send_replace(Seen { pod: None, ended: true, reported: true });
        self.host.references.forget(&self.uid);
        self.host.shares.give_back(&self.uid);
    }

    /// Shows the pod, and how far its end is.
    fn show(&self, bell: &Bell) {
        let runs = self.inventory.containers.iter().any(|it| matches!(it.phase, Phase::Running { .. }));
        let ended = self.memory.evicted.is_some() && !runs && self.memory.cleaned;
        let of_api = match &self.origin {
            Origin::Api => self.pod.as_ref(),
            Origin::File { mirror } => mirror.as_ref(),
        };
        let over = |it: &Arc<Pod>| {
            let phase = it.status.as_ref().and_then(|it| it.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let reported = of_api.is_none_or(over);
        bell.seen.send_if_modified(|it| {
            let same = match (&it.pod, &self.pod) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (a, b) => a.is_none() && b.is_none(),
            };
            let same = same && (it.ended, it.reported) == (ended, reported);
            if !same {
                *it = Seen { pod: self.pod.clone(), ended, reported };
            }
            !same
        });
    }

    fn take_changes(&mut self, pods: &mut watch::Receiver<Option<Assigned>>) {
        // Waiting for a change marks it as seen, so that only the value itself tells.
        let new = pods.borrow_and_update().clone();
        let new = match new {
            Some(Assigned { pod, origin: Origin::Api }) => Some(pod),
            Some(Assigned { pod, origin: Origin::File { mirror } }) => return self.take_file(&pod, mirror),
            None => None,
        };
        // The answer to a write may be ahead of the watch. Where both say the same, the watch's is taken: the store has it anyway, and a pod takes some 10 kB.
        let ahead = |own: &Arc<Pod>, new: &Arc<Pod>| report::revision(own) > report::revision(new);
        match (&self.pod, &new) {
            (Some(own), Some(new)) if ahead(own, new) || Arc::ptr_eq(own, new) => {}
            _ => {
                // A pod that comes back after it was given up (a fence) starts with a clear mind; one that is new has been judged already.
                if self.given_up && new.is_some() {
                    self.memory = Memory::default();
                }
                self.given_up = new.is_none();
                self.see(new);
            }
        }
    }

    /// Takes the pod of a file as it is now, and what stands for it in the API. What is said of it is known here before it is known there.
    fn take_file(&mut self, pod: &Arc<Pod>, mirror: Option<Arc<Pod>>) {
        if self.over {
            return;
        }
        let of_api = |it: &Arc<Pod>| it.status.clone().filter(|it| it.start_time.is_some());
        let status = match &self.pod {
            Some(own) => own.status.clone(),
            // What the machine's last end has ended begins anew.
            None => mirror.as_ref().and_then(of_api).filter(|it| !was_terminated(it)),
        };
        self.take_mirror(mirror);
        self.pod = Some(Arc::new(Pod { status, ..Pod::clone(pod) }));
    }

    /// Takes what stands for the pod in the API. The answer to a write may be ahead of the watch.
    fn take_mirror(&mut self, new: Option<Arc<Pod>>) {
        let behind = match (&self.origin, &new) {
            (Origin::File { mirror: Some(own) }, Some(new)) => {
                own.metadata.uid == new.metadata.uid && report::revision(own) >= report::revision(new)
            }
            _ => false,
        };
        if !behind {
            self.origin = Origin::File { mirror: new };
        }
    }

    /// Takes the pod as it is now. A downward API volume shows its labels and annotations, and follows them.
    fn see(&mut self, new: Option<Arc<Pod>>) {
        let shown = |it: &Arc<Pod>| (it.metadata.labels.clone(), it.metadata.annotations.clone());
        let ends = |it: &Arc<Pod>| it.metadata.deletion_timestamp.is_some();
        if matches!((&self.pod, &new), (Some(own), Some(new)) if !ends(own) && ends(new)) {
            self.memory.told_to_end = Some(clock::now());
        }
        let refill = matches!((&self.pod, &new), (Some(own), Some(new)) if shown(own) != shown(new));
        self.pod = new;
        if refill && matches!(self.memory.volumes, VolumeState::Ready | VolumeState::Mounting { .. }) {
            self.fill_volumes();
        }
    }

    /// One look, one decision, and what follows from it.
    async fn turn(&mut self) -> Turn {
        if self.dirty {
            match self.host.runtime.pod_inventory(&self.uid).await {
                Ok(it) => {
                    self.memory.forget_all_but(&it);
                    self.inventory = it;
                    self.dirty = false;
                    self.read_messages().await;
                }
                Err(error) => return self.hold("the runtime's inventory", &error.to_string()),
            }
        }
        self.note_share();
        let plan = self.plan();
        let address = self.address().map(|it| it.primary());
        self.probes.sync(self.pod.as_ref(), address, &plan.probes);
        self.tell(&plan);
        if let Some(trouble) = self.trouble.as_ref().filter(|it| it.waits(clock::now())) {
            return Turn::Wait(clock::until(trouble.retry_at, clock::now()));
        }
        let gone = plan.status.is_none();
        if plan.actions.is_empty() {
            self.trouble = None;
            return Turn::Wait(self.rest(&plan));
        }
        for action in plan.actions {
            if let Err(failure) = self.act(action).await {
                return self.hold("a step of the pod", &failure);
            }
        }
        self.trouble = None;
        if gone {
            self.probes.clear();
            self.dirty = true;
            let left = self.host.runtime.pod_inventory(&self.uid).await;
            return match left {
                Ok(it) if it.containers.is_empty() && it.sandboxes.is_empty() => Turn::Over,
                Ok(_) => self.hold("what is left of the pod", "it is still there"),
                Err(error) => self.hold("the runtime's inventory", &error.to_string()),
            };
        }
        Turn::Again
    }

    /// Has the API told what is to be said of the pod, where that is another thing than it has.
    fn tell(&mut self, plan: &Plan) {
        let (Some(pod), Some(status)) = (&self.pod, &plan.status) else { return };
        let of_api = match &self.origin {
            Origin::Api => Some(Arc::clone(pod)),
            Origin::File { mirror } => mirror.clone(),
        };
        if let Some(write) = of_api.and_then(|it| self.report.write(&self.host, &it, status)) {
            self.tasks.spawn(async move { Outcome::Reported(write.await) });
        }
        if self.origin != Origin::Api && pod.status.as_ref() != Some(status) {
            self.pod = Some(Arc::new(Pod { status: Some(status.clone()), ..Pod::clone(pod) }));
        }
    }

    fn plan(&self) -> Plan {
        let seen = self.seen();
        match &self.pod {
            Some(pod) => decide(pod, &seen),
            None => decide_gone(&seen),
        }
    }

    fn seen(&self) -> PodWorld<'_> {
        PodWorld {
            now: clock::now(),
            node: &self.host.facts,
            inventory: &self.inventory,
            address: self.address(),
            room: self.host.shares.room(&self.uid),
            memory: &self.memory,
        }
    }

    /// Notes what the pod has of the node. More than it had is taken before it is given (see [`Self::resize`]).
    fn note_share(&self) {
        let over = self.pod.as_ref().and_then(|it| it.status.as_ref()?.phase.clone());
        match &self.pod {
            Some(pod) if self.memory.rejected.is_none() && !matches!(over.as_deref(), Some("Succeeded" | "Failed")) => {
                let seen = self.seen();
                let view = View::of(pod, &seen);
                let has = resize::current(pod, &seen, &view);
                self.host.shares.note(&self.uid, Share::of(&has));
            }
            _ => self.host.shares.give_back(&self.uid),
        }
    }

    fn address(&self) -> Option<Ips> {
        self.host.network.address_of(&self.uid)
    }

    /// How long until the next look, if nothing happens.
    fn rest(&self, plan: &Plan) -> Duration {
        let named = plan.recheck.map(|it| clock::until(it, clock::now()) + Duration::from_millis(1));
        let filling = self.filling.due().map(|it| it.saturating_duration_since(Instant::now()));
        let report = self.report.retry_in();
        [named, filling, report].into_iter().flatten().fold(random::jitter(RESYNC, 0.5), Duration::min)
    }

    /// Something failed that the machine has no word for: told once, tried again after a wait that grows.
    fn hold(&mut self, what: &str, why: &str) -> Turn {
        let failure = Failure::after(self.trouble.as_ref(), "", why.to_owned(), clock::now());
        if self.trouble.as_ref().is_none_or(|it| it.message != why) {
            tracing::warn!(pod = %self.uid, what, why, "it failed and is tried again");
        }
        self.dirty = true;
        let wait = clock::until(failure.retry_at, clock::now());
        self.trouble = Some(failure);
        Turn::Wait(random::jitter(wait, 0.2))
    }

    fn note(&mut self, verdict: Verdict) {
        self.memory.probes.entry(verdict.id).or_default().note(verdict.kind, verdict.healthy);
        if verdict.kind == ProbeKind::Startup && verdict.healthy {
            tracing::debug!(pod = %self.uid, "a container has started");
        }
    }

    /// What waits for a ConfigMap or Secret is tried again at once, and volumes are filled anew.
    fn references_changed(&mut self) {
        self.memory.create_failures.clear();
        self.filling.forget_due();
        match &self.memory.volumes {
            VolumeState::Ready | VolumeState::Mounting { .. } => self.fill_volumes(),
            VolumeState::Failed(_) => self.memory.volumes = VolumeState::Unknown,
            VolumeState::Unknown => {}
        }
    }
}

/// What comes after a look.
enum Turn {
    /// Look again at once: something was done.
    Again,
    /// Wait for something to happen, or for so long.
    Wait(Duration),
    /// Nothing of the pod is left.
    Over,
}
