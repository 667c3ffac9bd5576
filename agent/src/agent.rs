//! The agent of one node: gives each pod its worker, and wakes it when something happens.
//!
//! At its start it reconciles before it runs anything: containers of pods that the API no longer has are killed first, because their
//! successors may run elsewhere. When its shutdown comes it leaves all pods running; the next start finds them again.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use orlop_client::informer::Change;
use orlop_client::{Store, clock, random};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::{Allocatable, NODE_AFFINITY, admit};
use crate::host::Host;
use crate::machine::Rejection;
use crate::machine::back_off::later;
use crate::machine::resize::counted;
use crate::machine::status::time;
use crate::node::within;
use crate::power_off;
use crate::pressure::refuses;
use crate::runtime::RuntimeEvent;
use crate::statics::keeper::Keeper;
use crate::statics::manifest::key;
use crate::statics::{Assigned, Origin, Statics, mirror};
use crate::sync::{Bell, Worker};

/// How long what is gone may hold up what is new, at a start.
const GONE_FIRST: Duration = Duration::from_secs(20);
/// How long a pod has to end, if it does not say: Kubernetes' default.
const GRACE_SECONDS: i64 = 30;
/// The waits between attempts to hear the runtime.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// A pod's worker, as the agent holds it.
struct Handle {
    pod: watch::Sender<Option<Assigned>>,
    bell: Arc<Bell>,
    /// The node took the pod: it counts against what the node has.
    taken: bool,
}

impl Handle {
    fn now(&self) -> Option<Arc<Pod>> {
        self.pod.borrow().as_ref().map(|it| Arc::clone(&it.pod))
    }

    fn is_static(&self) -> bool {
        self.pod.borrow().as_ref().is_some_and(|it| it.origin != Origin::Api)
    }

    /// Tells the worker of a static pod what stands for it in the API.
    fn mirrored(&self, by: Option<Arc<Pod>>) {
        self.pod.send_modify(|it| {
            if let Some(Assigned { origin: Origin::File { mirror }, .. }) = it {
                *mirror = by;
            }
        });
    }
}

/// The bells of all workers, by the pod's uid; shared with whatever wakes pods.
pub type Bells = Arc<Mutex<HashMap<String, Arc<Bell>>>>;

/// One node's agent.
pub struct Agent {
    host: Arc<Host>,
    bells: Bells,
    allocatable: Allocatable,
    labels: std::collections::BTreeMap<String, String>,
    handles: HashMap<String, Handle>,
    workers: JoinSet<String>,
    /// The runtime has something of these pods from before the agent's start.
    adopted: BTreeSet<String>,
    /// The pods that lie in files, where the node has some.
    statics: Option<Statics>,
    /// The lease was lost for too long: no pod of the API runs.
    fenced: bool,
    shutdown: CancellationToken,
}

impl Agent {
    /// An agent without pods.
    pub fn new(
        host: Arc<Host>,
        bells: Bells,
        allocatable: Allocatable,
        labels: std::collections::BTreeMap<String, String>,
        shutdown: CancellationToken,
    ) -> Self {
        Agent {
            host,
            bells,
            allocatable,
            labels,
            handles: HashMap::new(),
            workers: JoinSet::new(),
            adopted: BTreeSet::new(),
            statics: None,
            fenced: false,
            shutdown,
        }
    }

    /// Has it run the pods of files, too.
    pub fn with_statics(mut self, files: Option<watch::Receiver<Vec<Arc<Pod>>>>) -> Self {
        self.statics = files.map(Statics::of);
        self
    }

    /// Runs until its shutdown. `renewed` is when the node's lease was renewed last; after `fence_after` without that no pod runs.
    pub async fn run(mut self, mut renewed: watch::Receiver<Instant>, fence_after: Option<Duration>) {
        let shutdown = self.shutdown.clone();
        let store = self.host.pods.clone();
        let (_, mut changes) = store.subscribe();
        let mut runtime = std::pin::pin!(listen(Arc::clone(&self.host), Arc::clone(&self.bells), shutdown.clone()));
        if self.statics.is_some() {
            // They wait for nobody.
            let Some(found) = self.found().await else { return };
            self.adopted = found;
            self.take_files(&store).await;
            self.mind_power_off();
        }
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return self.leave().await,
                () = store.synced() => break,
                () = &mut runtime => {}
                () = files_changed(&mut self.statics) => self.take_files(&store).await,
                Some(Ok(uid)) = self.workers.join_next() => self.over(&uid, &store).await,
            }
        }
        self.reconcile(&store).await;
        self.keep_mirrors(&store);
        // What was there at the start is known now; changes since then may be told twice, which does no harm.
        for pod in store.list() {
            self.put(pod).await;
        }
        if self.statics.is_none() {
            self.mind_power_off();
        }
        let mut clock = std::pin::pin!(follow_clock(Arc::clone(&self.bells)));
        loop {
            // Seen with this: a renewal of before the fence must not lift it again.
            let last_renewal = *renewed.borrow_and_update();
            if self.fenced && fence_after.is_none_or(|it| last_renewal.elapsed() < it) {
                self.unfence(&store).await;
            }
            let fence_at = fence_after.filter(|_| !self.fenced).map(|it| last_renewal + it);
            let fence = async {
                match fence_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = &mut runtime => {}
                () = &mut clock => {}
                () = fence => self.fence(&renewed, fence_after),
                _ = renewed.changed(), if self.fenced => {}
                () = files_changed(&mut self.statics) => self.take_files(&store).await,
                first = changes.next() => {
                    let mut batch = vec![first];
                    while let Some(it) = changes.try_next() {
                        batch.push(it);
                    }
                    self.take(batch).await;
                }
                Some(Ok(uid)) = self.workers.join_next() => self.over(&uid, &store).await,
            }
        }
        self.leave().await;
    }

    /// Has the pods end when the machine goes down.
    fn mind_power_off(&self) {
        let keeper = power_off::keeper::Keeper { host: Arc::clone(&self.host), bells: Arc::clone(&self.bells) };
        tokio::spawn(keeper.run(self.shutdown.clone()));
    }

    /// Workers see the same shutdown and leave everything as it is.
    async fn leave(&mut self) {
        while self.workers.join_next().await.is_some() {}
    }

    /// The pods of which there is anything here; none when the shutdown comes first.
    async fn found(&self) -> Option<BTreeSet<String>> {
        let inventory = loop {
            match self.host.runtime.inventory().await {
                Ok(it) => break it,
                Err(error) => tracing::warn!(%error, "the runtime's inventory could not be taken; it is tried again"),
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = tokio::time::sleep(random::jitter(Duration::from_secs(1), 0.5)) => {}
            }
        };
        let of_sandboxes = inventory.sandboxes.iter().map(|it| it.pod.uid.clone());
        let of_containers = inventory.containers.iter().map(|it| it.pod.uid.clone());
        Some(of_sandboxes.chain(of_containers).chain(self.host.volumes.pods()).collect())
    }

    /// Starts the pods whose files came, and stops those whose files went; one that takes the place of another waits for its end.
    async fn take_files(&mut self, store: &Store<Pod>) {
        let Some(statics) = &mut self.statics else { return };
        let files = statics.files.borrow_and_update().clone();
        let wanted = |uid: &String| files.iter().any(|it| it.metadata.uid.as_ref() == Some(uid));
        for (_, handle) in self.handles.iter().filter(|(uid, it)| it.is_static() && !wanted(uid)) {
            handle.pod.send_if_modified(|it| it.as_mut().is_some_and(|it| end(&mut it.pod)));
        }
        for pod in files {
            let Some(uid) = pod.metadata.uid.clone() else { continue };
            let named_so = |it: &Handle| it.is_static() && it.now().is_some_and(|it| key(&it) == key(&pod));
            if self.handles.contains_key(&uid) || self.handles.values().any(named_so) {
                continue;
            }
            let rejected = self.rejection(&pod, &uid);
            if let Some(it) = &rejected {
                self.host.teller.warning(&pod, None, &it.reason, &it.message);
            }
            let mirror = store.get(&key(&pod)).filter(|it| mirror::is_one(it));
            self.work(&uid, Some(Assigned { pod, origin: Origin::File { mirror } }), rejected);
        }
        let own = self.handles.values().filter(|it| it.is_static()).filter_map(Handle::now).collect();
        if let Some(it) = &self.statics {
            it.lives.send_replace(Some(own));
        }
    }

    /// Starts what keeps the pods of the API that stand for static ones; also where there are none any more.
    fn keep_mirrors(&self, store: &Store<Pod>) {
        let lives = match &self.statics {
            Some(it) => it.lives.subscribe(),
            None => watch::channel(Some(Vec::new())).1,
        };
        let keeper =
            Keeper { node: self.host.node_name.clone(), client: self.host.client.clone(), pods: store.clone(), lives };
        tokio::spawn(keeper.run(self.shutdown.clone()));
    }

    /// Kills what belongs to pods that the API no longer has, before anything starts, and notes what is to be adopted.
    async fn reconcile(&mut self, store: &Store<Pod>) {
        let Some(found) = self.found().await else { return };
        let own = self.handles.keys().cloned();
        let here: BTreeSet<String> = store.list().iter().filter_map(|it| it.metadata.uid.clone()).chain(own).collect();
        let mut going = BTreeSet::new();
        for uid in found.difference(&here) {
            going.insert(uid.clone());
            tracing::info!(pod = uid, "a pod that the API no longer has is removed");
            self.work(uid, None, None);
        }
        self.adopted = found.intersection(&here).cloned().collect();
        let all_gone = async {
            while !going.is_empty()
                && let Some(done) = self.workers.join_next().await
            {
                if let Ok(uid) = done {
                    self.handles.remove(&uid);
                    self.bells.lock().remove(&uid);
                    going.remove(&uid);
                }
            }
        };
        if tokio::time::timeout(GONE_FIRST, all_gone).await.is_err() {
            tracing::warn!("some pods that are gone could not be removed yet");
        }
        let uids: Vec<&str> = here.iter().map(String::as_str).collect();
        if let Err(error) = self.host.network.reconcile(&uids).await {
            tracing::warn!(%error, "the network of pods that are gone could not be removed");
        }
    }

    /// Takes in changes: pods that went before pods that came.
    async fn take(&mut self, batch: Vec<Change<Pod>>) {
        for it in &batch {
            let old = it.old.as_ref().and_then(|it| it.metadata.uid.clone());
            let new = it.new.as_ref().and_then(|it| it.metadata.uid.clone());
            if let Some(old) = old.filter(|it| new.as_ref() != Some(it)) {
                self.gone(&old);
                if let Some(gone) = it.old.as_ref().filter(|it| mirror::is_one(it)) {
                    self.mirrored(gone, None);
                }
            }
        }
        for it in batch {
            if let Some(pod) = it.new {
                self.put(pod).await;
            }
        }
    }

    async fn put(&mut self, pod: Arc<Pod>) {
        let Some(uid) = pod.metadata.uid.clone() else { return };
        if mirror::is_one(&pod) {
            return self.mirrored(&pod, Some(Arc::clone(&pod)));
        }
        if self.fenced {
            return;
        }
        if let Some(handle) = self.handles.get(&uid) {
            // A worker that was told that its pod is gone ends; the pod is put again then.
            if handle.pod.borrow().is_some() {
                handle.pod.send_replace(Some(Assigned::of_api(pod)));
            }
            return;
        }
        let mut rejected = self.rejection(&pod, &uid);
        if rejected.as_ref().is_some_and(|it| it.reason == NODE_AFFINITY) {
            // The scheduler may have seen labels that are newer than ours.
            self.learn_labels().await;
            rejected = self.rejection(&pod, &uid);
        }
        if let Some(it) = &rejected {
            self.host.teller.warning(&pod, None, &it.reason, &it.message);
        }
        self.work(&uid, Some(Assigned::of_api(pod)), rejected);
    }

    /// Tells the static pod of this name what stands for it in the API.
    fn mirrored(&self, named: &Pod, by: Option<Arc<Pod>>) {
        let of = |it: &&Handle| it.is_static() && it.now().is_some_and(|it| key(&it) == key(named));
        if let Some(it) = self.handles.values().find(of) {
            it.mirrored(by);
        }
    }

    /// Reads the node's labels, which users may change; the old ones stay where that fails.
    async fn learn_labels(&mut self) {
        let api = Api::<Node>::all(self.host.client.clone());
        match within(api.get_metadata(&self.host.node_name)).await {
            Ok(it) => self.labels = it.metadata.labels.unwrap_or_default(),
            Err(error) => tracing::warn!(%error, "the node's labels could not be read"),
        }
    }

    /// Why the node does not take a pod that is new to it.
    fn rejection(&self, pod: &Pod, uid: &str) -> Option<Rejection> {
        let status = pod.status.as_ref();
        let known = status.is_some_and(|it| it.start_time.is_some()) || self.adopted.contains(uid);
        if known || pod.metadata.deletion_timestamp.is_some() {
            return None;
        }
        if let Some(it) = self.host.power_off.refuses() {
            return Some(it);
        }
        if let Some(it) = refuses(self.host.pressure.now(), pod) {
            return Some(it);
        }
        let running: Vec<Arc<Pod>> = self
            .handles
            .values()
            .filter(|it| it.taken)
            .filter_map(Handle::now)
            .map(counted)
            .filter(|it| !matches!(it.status.as_ref().and_then(|it| it.phase.as_deref()), Some("Succeeded" | "Failed")))
            .collect();
        let given = self.host.shares.of(running.iter().filter_map(|it| it.metadata.uid.as_deref()));
        admit(pod, running.iter().map(Arc::as_ref), given, &self.allocatable, &self.labels).err()
    }

    fn work(&mut self, uid: &str, pod: Option<Assigned>, rejected: Option<Rejection>) {
        let (sender, receiver) = watch::channel(pod);
        let bell = Arc::<Bell>::default();
        let taken = rejected.is_none();
        let worker = Worker::new(Arc::clone(&self.host), uid.to_owned(), rejected);
        let (own_bell, shutdown, uid) = (Arc::clone(&bell), self.shutdown.clone(), uid.to_owned());
        self.bells.lock().insert(uid.clone(), Arc::clone(&bell));
        self.handles.insert(uid.clone(), Handle { pod: sender, bell, taken });
        self.workers.spawn(async move {
            Box::pin(worker.run(receiver, own_bell, shutdown)).await;
            uid
        });
    }

    fn gone(&mut self, uid: &str) {
        if let Some(handle) = self.handles.get(uid) {
            handle.pod.send_replace(None);
        }
    }

    /// A worker has nothing left to do. Where the API has the pod again (a fence came and went), it gets a new one.
    async fn over(&mut self, uid: &str, store: &Store<Pod>) {
        if let Some(handle) = self.handles.remove(uid) {
            tracing::debug!(pod = uid, bells = Arc::strong_count(&handle.bell), "the pod is over");
        }
        self.bells.lock().remove(uid);
        self.adopted.remove(uid);
        let again = store.list().into_iter().find(|it| it.metadata.uid.as_deref() == Some(uid));
        if let Some(pod) = again {
            self.put(pod).await;
        }
        // Perhaps another file's pod has waited for the name.
        self.take_files(store).await;
    }

    fn fence(&mut self, renewed: &watch::Receiver<Instant>, after: Option<Duration>) {
        if after.is_none_or(|it| renewed.borrow().elapsed() < it) {
            return;
        }
        tracing::warn!("the node's lease was not renewed for too long: its pods are killed (--fence-after)");
        self.fenced = true;
        // Nobody runs a static pod elsewhere.
        let all: Vec<String> = self.handles.iter().filter(|it| !it.1.is_static()).map(|it| it.0.clone()).collect();
        all.iter().for_each(|it| self.gone(it));
    }

    async fn unfence(&mut self, store: &Store<Pod>) {
        tracing::info!("the node's lease is renewed again: its pods run again");
        self.fenced = false;
        for pod in store.list() {
            self.put(pod).await;
        }
    }
}

/// Wakes pods when somebody has set the machine's clock, as they may have tokens by the old time.
async fn follow_clock(bells: Bells) {
    loop {
        let moved = clock::set().await;
        tracing::warn!(seconds = moved.as_secs(), "the machine's clock was set");
        bells.lock().values().for_each(|it| it.references_changed());
    }
}

/// Resolves when the files of static pods have changed; never without any.
async fn files_changed(statics: &mut Option<Statics>) {
    let changed = match statics {
        Some(it) => it.files.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending().await
    }
}

/// Marks a static pod as one that is to end, in its time; says whether it was not yet.
fn end(pod: &mut Arc<Pod>) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let grace = pod.spec.as_ref().and_then(|it| it.termination_grace_period_seconds).unwrap_or(GRACE_SECONDS).max(0);
    let at = later(clock::now(), Duration::from_secs(grace.unsigned_abs()));
    let meta = &mut Arc::make_mut(pod).metadata;
    meta.deletion_timestamp = Some(time(at));
    meta.deletion_grace_period_seconds = Some(grace);
    true
}

/// Wakes pods when the runtime tells of them, and all of them whenever events may have been lost.
async fn listen(host: Arc<Host>, bells: Bells, shutdown: CancellationToken) {
    let mut wait = FIRST_WAIT;
    loop {
        match host.runtime.events().await {
            Ok(mut events) => {
                wait = FIRST_WAIT;
                ring_all(&bells);
                while let Some(Some(event)) = shutdown.run_until_cancelled(events.next()).await {
                    match event {
                        RuntimeEvent::Pod { uid } => {
                            if let Some(it) = bells.lock().get(&uid) {
                                it.runtime_changed();
                            }
                        }
                        RuntimeEvent::Resync => ring_all(&bells),
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the runtime's events cannot be heard; it is tried again"),
        }
        if shutdown.is_cancelled() {
            return std::future::pending().await;
        }
        tokio::time::sleep(random::jitter(wait, 0.5)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
        tracing::debug!(at = %clock::now(), "asking for the runtime's events again");
    }
}

fn ring_all(bells: &Bells) {
    bells.lock().values().for_each(|it| it.runtime_changed());
}
