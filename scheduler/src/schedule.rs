//! The scheduler at work: changes in, decisions, bindings out.
//!
//! One task owns the snapshot and the queue, so that decisions need no locks; bindings run beside it, at most [`BINDINGS_LIMIT`] at a
//! time. Between two decisions it takes every change that has arrived: what it decides on is as new as what the API has told it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use orlop_client::agent;
use orlop_client::clock;
use orlop_client::events::{Recorder, Severity};
use orlop_client::informer::{Change, Informer, Subscription};
use orlop_client::lease;
use orlop_client::{Key, Store, View};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::bind::{self, Outcome};
use crate::config::{COMPONENT, Config};
use crate::decide::{Decision, Diagnosis, decide};
use crate::filters::Happening;
use crate::pod::Pod;
use crate::prebind::Prebinder;
use crate::queue::Queue;
use crate::snapshot::{Cluster, Node};
use crate::storage::{Choice, Storage};
use crate::view::{NodeView, PodView};

/// Bindings under way at once. At 2 ms each this allows 64,000 a second; more would only queue in the API server.
const BINDINGS_LIMIT: usize = 128;
/// Explanations being written at once: they must not crowd out bindings.
const EXPLANATIONS_LIMIT: usize = 16;
/// Pods that wait for their volumes at once: some kilobytes each. More are tried again later.
const WAITING_LIMIT: usize = 512;
/// Decisions between two looks at the changes: at 50 µs each, under a millisecond.
const DECISIONS_PER_TURN: usize = 16;
/// The lease that the acting copy holds: the one that the role system:kube-scheduler allows.
const LEASE: &str = "kube-scheduler";
/// Finished pods take no room: they are not even listed.
const UNFINISHED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Schedules whenever this process leads, until `shutdown`.
pub async fn run(config: Config, client: kube::Client, shutdown: CancellationToken) {
    let identity = config.identity.clone().unwrap_or_else(|| lease::Identity::unique(COMPONENT));
    let election = lease::Config::new("kube-system", LEASE, identity);
    let client = agent::named(&client, agent::SCHEDULER);
    let plain = client.clone();
    lease::lead(&client, &election, shutdown, |fence, term| {
        let config = config.clone();
        let client = fence.client(&plain);
        async move {
            match client {
                Ok(client) => Box::pin(Scheduler::start(config, client, &term).run(term)).await,
                Err(error) => tracing::error!(%error, "the identity cannot stand in a header"),
            }
        }
    })
    .await;
}

/// A binding that has ended.
struct Ended {
    pod: Arc<Pod>,
    node: Box<str>,
    outcome: Outcome,
}

struct Scheduler {
    config: Config,
    client: kube::Client,
    recorder: Recorder,
    cluster: Cluster,
    queue: Queue,
    pods: Subscription<PodView>,
    nodes: Subscription<NodeView>,
    prebinder: Prebinder,
    /// Changes whenever something of storage does.
    storage: watch::Receiver<u64>,
    /// Pods whose volumes are being bound.
    waiting: Arc<Semaphore>,
    term: CancellationToken,
    synced: futures::future::BoxFuture<'static, ()>,
    bindings: Arc<Semaphore>,
    explanations: Arc<Semaphore>,
    ended: (mpsc::Sender<Ended>, mpsc::Receiver<Ended>),
    /// What each waiting pod was last told, so that it is told once.
    told: HashMap<Box<str>, String>,
    turn: u64,
}

impl Scheduler {
    fn start(config: Config, client: kube::Client, term: &CancellationToken) -> Self {
        let pods = Informer::<PodView>::new(client.clone()).fields(UNFINISHED);
        let nodes = Informer::<NodeView>::new(client.clone());
        let ((_, pod_changes), (_, node_changes)) = (pods.store().subscribe(), nodes.store().subscribe());
        let (pods, nodes) = (pods.start(term.clone()), nodes.start(term.clone()));
        let cluster = Cluster::default();
        let storage = cluster.storage.clone();
        let changed = follow_storage(&storage, &client, term);
        let prebinder = Prebinder {
            client: client.clone(),
            storage: storage.clone(),
            pods: pods.clone(),
            changed: changed.clone(),
        };
        let synced = Box::pin(async move {
            pods.synced().await;
            nodes.synced().await;
            storage.claims.synced().await;
            storage.volumes.synced().await;
            storage.classes.synced().await;
        });
        Scheduler {
            recorder: Recorder::start(client.clone(), &config.scheduler_name, "", term.clone()),
            config,
            client,
            cluster,
            prebinder,
            storage: changed,
            waiting: Arc::new(Semaphore::new(WAITING_LIMIT)),
            term: term.clone(),
            queue: Queue::default(),
            pods: pod_changes,
            nodes: node_changes,
            synced,
            bindings: Arc::new(Semaphore::new(BINDINGS_LIMIT)),
            explanations: Arc::new(Semaphore::new(EXPLANATIONS_LIMIT)),
            ended: mpsc::channel(BINDINGS_LIMIT),
            told: HashMap::new(),
            turn: 0,
        }
    }

    async fn run(mut self, term: CancellationToken) {
        // Before everything is known, a node that looks empty may be full.
        if term.run_until_cancelled(&mut self.synced).await.is_none() {
            return;
        }
        loop {
            self.take_changes();
            let mut decided = false;
            for _ in 0..DECISIONS_PER_TURN {
                decided = self.decide_next();
                if !decided {
                    break;
                }
            }
            if decided {
                tokio::task::yield_now().await;
                if term.is_cancelled() {
                    return;
                }
                continue;
            }
            let now = clock::steady();
            let due = self.queue.next_due().map(|it| clock::until(it, now));
            let full = self.bindings.available_permits() == 0;
            tokio::select! {
                () = term.cancelled() => return,
                change = self.pods.next() => {
                    let mut happened = HashSet::new();
                    self.take_pod(change, &mut happened);
                    self.wake(happened);
                }
                change = self.nodes.next() => {
                    let mut happened = HashSet::new();
                    self.take_node(change, &mut happened);
                    self.wake(happened);
                }
                Ok(()) = self.storage.changed() => self.wake(HashSet::from([Happening::Storage])),
                Some(ended) = self.ended.1.recv() => self.take_ended(ended),
                () = tokio::time::sleep(due.unwrap_or_default()), if due.is_some() && !full => {}
            }
        }
    }

    /// Takes everything that has arrived, and wakes pods once for all of it.
    fn take_changes(&mut self) {
        let mut happened = HashSet::new();
        while let Some(change) = self.nodes.try_next() {
            self.take_node(change, &mut happened);
        }
        while let Some(change) = self.pods.try_next() {
            self.take_pod(change, &mut happened);
        }
        while let Ok(ended) = self.ended.1.try_recv() {
            self.take_ended(ended);
        }
        if self.storage.has_changed().unwrap_or(false) {
            self.storage.mark_unchanged();
            happened.insert(Happening::Storage);
        }
        self.wake(happened);
    }

    fn wake(&mut self, happened: HashSet<Happening>) {
        let now = clock::steady();
        for it in happened {
            self.queue.happened(it, now);
        }
    }

    fn take_node(&mut self, change: Change<NodeView>, happened: &mut HashSet<Happening>) {
        let Some(new) = change.new else {
            self.cluster.remove_node(change.key.name());
            return;
        };
        match change.old {
            None => {
                happened.insert(Happening::NodeRoom);
            }
            Some(old) => {
                if old.status.allocatable != new.status.allocatable {
                    happened.insert(Happening::NodeRoom);
                }
                if old.metadata.labels != new.metadata.labels {
                    happened.insert(Happening::NodeLabels);
                }
                if old.spec.taints != new.spec.taints || old.spec.unschedulable != new.spec.unschedulable {
                    happened.insert(Happening::NodeTaints);
                }
            }
        }
        self.cluster.set_node(&new);
    }

    fn take_pod(&mut self, change: Change<PodView>, happened: &mut HashSet<Happening>) {
        let uid = change.new.as_ref().map(|it| it.uid().to_owned());
        if let Some(old) = change.old
            && uid.as_deref() != Some(old.uid())
        {
            self.forget(old.uid(), happened);
        }
        let Some(new) = change.new else { return };
        if new.finished() {
            self.forget(new.uid(), happened);
        } else if let Some(node) = new.node() {
            self.queue.remove(new.uid());
            self.told.remove(new.uid());
            self.cluster.place(&Pod::new(&new), node, true);
        } else if new.metadata.deletion_timestamp.is_some() {
            self.forget(new.uid(), happened);
        } else if new.spec.scheduler_name.as_deref() == Some(&self.config.scheduler_name) {
            self.queue.set(Arc::new(Pod::new(&new)));
        }
    }

    fn forget(&mut self, uid: &str, happened: &mut HashSet<Happening>) {
        self.queue.remove(uid);
        self.told.remove(uid);
        if self.cluster.remove_pod(uid) {
            happened.insert(Happening::PodLeft);
        }
    }

    /// Decides on the next pod, if there is one and a binding may start. Says whether it did.
    fn decide_next(&mut self) -> bool {
        let Ok(permit) = self.bindings.clone().try_acquire_owned() else { return false };
        let now = clock::steady();
        let Some(pod) = self.queue.pop(now) else { return false };
        self.turn += 1;
        // Each decision begins where the one before may have ended, so that all nodes take their turn.
        let nodes = self.cluster.nodes().len().max(1);
        let start = (self.turn as usize).wrapping_mul(crate::decide::enough(nodes)) % nodes;
        match decide(&pod, &self.cluster, start, self.turn) {
            Decision::Bind { node, claims, .. } if !claims.is_empty() => self.bind_claims(pod, node, claims),
            Decision::Bind { node, .. } => {
                self.cluster.place(&pod, &node, false);
                let (client, ended) = (self.client.clone(), self.ended.0.clone());
                tokio::spawn(async move {
                    let outcome = bind::bind(&client, &pod, &node).await;
                    // Closed once the term is over: then nobody needs to know.
                    let _ = ended.send(Ended { pod, node, outcome }).await;
                    drop(permit);
                });
            }
            Decision::Unschedulable(why) => self.tell(&pod, why, now),
        }
        true
    }

    /// Binds the pod's claims, then the pod. The wait for volumes holds up no other pod's binding.
    fn bind_claims(&mut self, pod: Arc<Pod>, node: Box<str>, claims: Vec<(Key, Choice)>) {
        let Ok(waits) = self.waiting.clone().try_acquire_owned() else {
            return self.queue.back_off(&pod.uid, clock::steady());
        };
        let labels = self.cluster.node(&node).map(|it| it.labels.clone()).unwrap_or_default();
        let place = Node { name: node.clone(), labels, ..Node::default() };
        self.cluster.place(&pod, &node, false);
        self.cluster.storage.promise(&pod.uid, &node, &claims);
        let (prebinder, client, bindings) = (self.prebinder.clone(), self.client.clone(), self.bindings.clone());
        let (ended, term) = (self.ended.0.clone(), self.term.clone());
        tokio::spawn(async move {
            let outcome = async {
                if let Err(why) = prebinder.bind(&pod, &place, &claims).await {
                    return Outcome::Unbound(why);
                }
                match bindings.acquire_owned().await {
                    Ok(_permit) => bind::bind(&client, &pod, &node).await,
                    Err(_) => Outcome::Failed("the scheduler ends".to_owned()),
                }
            };
            if let Some(outcome) = term.run_until_cancelled(outcome).await {
                let _ = ended.send(Ended { pod, node, outcome }).await;
            }
            drop(waits);
        });
    }

    fn tell(&mut self, pod: &Arc<Pod>, why: Diagnosis, now: jiff::Timestamp) {
        let message = why.to_string();
        self.queue.failed(&pod.uid, why, now);
        self.recorder.note(pod.reference(), Severity::Warning, "FailedScheduling", message.clone());
        if self.told.get(&pod.uid) == Some(&message) {
            return;
        }
        // Too many at once: the next attempt says it again, as nothing was noted.
        let Ok(permit) = self.explanations.clone().try_acquire_owned() else { return };
        self.told.insert(pod.uid.clone(), message.clone());
        let (client, pod) = (self.client.clone(), pod.clone());
        tokio::spawn(async move {
            bind::explain(&client, &pod, &message, now).await;
            drop(permit);
        });
    }

    fn take_ended(&mut self, ended: Ended) {
        let Ended { pod, node, outcome } = ended;
        if !pod.claims.is_empty() {
            self.cluster.storage.settle(&pod.uid);
        }
        match outcome {
            Outcome::Unbound(why) => {
                let message = format!("running PreBind plugin \"VolumeBinding\": binding volumes: {why}");
                self.recorder.note(pod.reference(), Severity::Warning, "FailedScheduling", message);
                self.cluster.remove_unconfirmed(&pod.uid);
                self.queue.back_off(&pod.uid, clock::steady());
            }
            Outcome::Bound => {
                let message = format!("Successfully assigned {} to {node}", pod.full_name());
                self.recorder.note(pod.reference(), Severity::Normal, "Scheduled", message);
                self.queue.remove(&pod.uid);
            }
            Outcome::Gone => {
                self.cluster.remove_pod(&pod.uid);
                self.queue.remove(&pod.uid);
            }
            Outcome::Failed(why) => {
                tracing::warn!(pod = %pod.full_name(), %node, error = why, "binding failed; trying again");
                self.cluster.remove_unconfirmed(&pod.uid);
                self.queue.back_off(&pod.uid, clock::steady());
            }
        }
    }
}

/// Has the stores show what the API has, and says whenever they change.
fn follow_storage(storage: &Storage, client: &kube::Client, term: &CancellationToken) -> watch::Receiver<u64> {
    fn follow<V: View + kube::Resource<DynamicType = ()>>(
        store: &Store<V>,
        sender: &Arc<watch::Sender<u64>>,
        client: &kube::Client,
        term: &CancellationToken,
    ) {
        let sender = Arc::clone(sender);
        store.listen(move |_| {
            sender.send_modify(|it| *it = it.wrapping_add(1));
            true
        });
        Informer::<V>::new(client.clone()).into_store(store.clone()).start(term.clone());
    }
    let (sender, receiver) = watch::channel(0);
    let sender = Arc::new(sender);
    follow(&storage.claims, &sender, client, term);
    follow(&storage.volumes, &sender, client, term);
    follow(&storage.classes, &sender, client, term);
    receiver
}

impl Pod {
    /// `namespace/name`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// What Events about the pod refer to.
    pub fn reference(&self) -> ObjectReference {
        ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("Pod".into()),
            namespace: Some(self.namespace.to_string()),
            name: Some(self.name.to_string()),
            uid: Some(self.uid.to_string()),
            ..ObjectReference::default()
        }
    }
}
