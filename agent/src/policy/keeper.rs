//! Keeps the kernel's tables as the policies want them, and has pods wait for theirs.
//!
//! A change of a policy, a pod or a namespace marks it; a few milliseconds later what follows from all marked ones goes to the kernel
//! ([`crate::rules::kernel`]). As long as there is no policy, nothing else of the cluster is watched and there is no table.
//!
//! The addresses of a pod of this node are known here before the API knows it: [`Policies::ready`] tells it, and comes back when the rules are
//! there, so that no container runs without them. Tables outlive the agent on purpose, as pods do; [`remove`] takes them away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use orlop_client::{Key, View};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::selection::matches;
use super::spec::Policy;
use super::state::{Batch, Setting, State};
use super::view::{Known, PodView};
use crate::network::NetworkError;
use crate::network::ips::Ips;
use crate::network::names::Names;
use crate::rules::kernel::{self, Kernel};
use crate::services::bridged;
use crate::services::table::Dns;

/// How long a pod waits for its rules. They take some milliseconds; a kernel that refuses them is tried again meanwhile.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// What a node's policies need to know of the node.
#[derive(Clone)]
pub struct Config {
    /// Names the tables.
    pub node_name: String,
    /// How the node's DNS is reached; none if it has none.
    pub dns: Option<Dns>,
    /// By which packets of its pods come; none for the bridge of the agent's own network.
    pub interfaces: Option<String>,
    /// Who has which address of this node, by the pod's uid; without it, what the API says of its pods holds.
    pub ledger: Option<Ledger>,
    /// How long between two comparisons with the kernel: [`kernel::COMPARE_EVERY`].
    pub compare_every: Duration,
}

/// Gives the addresses of a pod of this node.
pub type Ledger = Arc<dyn Fn(&str) -> Option<Ips> + Send + Sync>;

/// Why a pod's rules are not there.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The policies have not been read yet: the API server does not answer.
    #[error("the network policies are not known yet")]
    Unknown,
    /// The kernel does not take them, which the log says.
    #[error("the rules of its network policies could not be set within {} s", READY_WITHIN.as_secs())]
    Late,
}

/// The policies of one node, as its pods see them; clones are the same.
#[derive(Clone)]
pub struct Policies {
    known: Known,
    marked: Arc<Marked>,
}

/// What is to be looked at anew.
struct Marked {
    policies: Mutex<BTreeSet<Key>>,
    namespaces: Mutex<BTreeSet<Key>>,
    pods: Mutex<BTreeSet<Key>>,
    /// Pods of this node that are attached, by key, whether the store has them or not.
    own: Mutex<BTreeMap<Key, Arc<PodView>>>,
    rung: Notify,
    /// How many have asked for their rules.
    asked: Mutex<u64>,
    /// How many of them have theirs.
    done: watch::Sender<u64>,
}

impl Policies {
    /// Whether all policies have been read once.
    pub fn are_known(&self) -> bool {
        self.known.policies.is_synced()
    }

    /// Sees that the rules of a pod of this node are there, which has got its addresses.
    ///
    /// # Errors
    /// They are not, after a while: the pod must not run yet.
    pub async fn ready(&self, pod: &Pod, addresses: Ips) -> Result<(), NotReady> {
        let policies = &self.known.policies;
        if tokio::time::timeout(READY_WITHIN, policies.synced()).await.is_err() {
            return Err(NotReady::Unknown);
        }
        if policies.is_empty() {
            return Ok(());
        }
        let mut view = PodView::from(pod.clone());
        view.addresses = addresses.iter().collect();
        let key = view.key();
        let labels = view.metadata.labels.clone();
        self.marked.own.lock().insert(key.clone(), Arc::new(view));
        self.marked.pods.lock().insert(key.clone());
        let mine = {
            let mut asked = self.marked.asked.lock();
            *asked += 1;
            *asked
        };
        self.marked.rung.notify_one();
        let of_namespace = policies.list_in(key.namespace());
        let mut selecting = of_namespace.iter().filter_map(|it| Policy::of(it));
        if !selecting.any(|it| matches(&it.pods, labels.as_ref())) {
            // Its peers learn of it when the rules are there, and need not be waited for.
            return Ok(());
        }
        let mut done = self.marked.done.subscribe();
        match tokio::time::timeout(READY_WITHIN, done.wait_for(|it| *it >= mine)).await {
            Ok(Ok(_)) => Ok(()),
            // The keeper is gone: the agent ends.
            Ok(Err(_)) | Err(_) => Err(NotReady::Late),
        }
    }

    /// Forgets a pod of this node, which has lost its address.
    pub fn gone(&self, uid: &str) {
        let mut own = self.marked.own.lock();
        let found = own.iter().find(|it| it.1.uid() == uid).map(|it| it.0.clone());
        if let Some(key) = found {
            own.remove(&key);
            drop(own);
            self.marked.pods.lock().insert(key);
            self.marked.rung.notify_one();
        }
    }
}

/// The keeper of one node's tables.
pub struct Keeper {
    config: Config,
    known: Known,
    marked: Arc<Marked>,
    /// None where the stores are filled by hand.
    client: Option<kube::Client>,
    state: State,
    kernel: Kernel,
}

impl Keeper {
    /// A keeper that has not done anything. With a client it has informers fill the stores of pods and namespaces once they are needed.
    pub fn new(config: Config, known: Known, client: Option<kube::Client>) -> Self {
        let names = Names::of(&config.node_name);
        let bridge = config.interfaces.clone().unwrap_or(names.bridge.clone());
        let setting = Setting { node: config.node_name.clone(), bridge, dns: config.dns.clone() };
        let marked = Marked {
            policies: Mutex::default(),
            namespaces: Mutex::default(),
            pods: Mutex::default(),
            own: Mutex::default(),
            rung: Notify::new(),
            asked: Mutex::default(),
            done: watch::Sender::new(0),
        };
        Keeper {
            state: State::new(setting),
            kernel: Kernel::new(names.policies, "network policies", config.compare_every),
            marked: Arc::new(marked),
            config,
            known,
            client,
        }
    }

    /// What pods ask.
    pub fn policies(&self) -> Policies {
        Policies { known: self.known.clone(), marked: Arc::clone(&self.marked) }
    }

    /// Keeps the tables until `shutdown`. Nothing is done before the stores have seen all there is, for until then what an earlier run
    /// left is nearer to the truth.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let work = self.run_for_ever(shutdown.clone());
        let _ = shutdown.run_until_cancelled(work).await;
    }

    async fn run_for_ever(&mut self, shutdown: CancellationToken) {
        self.listen();
        self.known.policies.synced().await;
        let mut watching = false;
        // Whether the table is known to be gone; `None` before anything is known.
        let mut cleared: Option<bool> = None;
        loop {
            let asked = *self.marked.asked.lock();
            self.take();
            if self.state.is_idle() {
                if cleared != Some(true) && self.kernel.clear().await.is_none() {
                    continue;
                }
                cleared = Some(true);
                self.marked.done.send_replace(asked);
                self.marked.rung.notified().await;
                continue;
            }
            if !watching {
                if let Some(client) = &self.client {
                    self.known.follow_peers(client, &shutdown);
                }
                self.known.synced().await;
                watching = true;
                // What has come meanwhile is marked.
                continue;
            }
            if cleared != Some(false) && !bridged::pass().await {
                tracing::warn!(
                    "bridged packets do not pass the rules (br_netfilter): network policies do not hold between two pods of this node"
                );
            }
            cleared = Some(false);
            if self.kernel.turn(&mut self.state.wanted).await.is_none() {
                continue;
            }
            self.marked.done.send_replace(asked);
            self.kernel.rest(self.marked.rung.notified()).await;
        }
    }

    fn listen(&self) {
        let weak = || Arc::downgrade(&self.marked);
        let (of_policies, of_namespaces, of_pods) = (weak(), weak(), weak());
        self.known.policies.listen(move |change| {
            let Some(marked) = of_policies.upgrade() else { return false };
            marked.policies.lock().insert(change.key.clone());
            marked.rung.notify_one();
            true
        });
        self.known.namespaces.listen(move |change| {
            let Some(marked) = of_namespaces.upgrade() else { return false };
            let labels =
                |it: &Option<Arc<super::view::NamespaceView>>| it.as_ref().map(|it| it.metadata.labels.clone());
            if labels(&change.old) != labels(&change.new) {
                marked.namespaces.lock().insert(change.key.clone());
                marked.rung.notify_one();
            }
            true
        });
        self.known.pods.listen(move |change| {
            let Some(marked) = of_pods.upgrade() else { return false };
            // Most changes of pods are of their status, which says nothing here.
            if !same(change.old.as_deref(), change.new.as_deref()) {
                marked.pods.lock().insert(change.key.clone());
                marked.rung.notify_one();
            }
            true
        });
    }

    /// Takes in what the stores and the pods of this node have told.
    fn take(&mut self) {
        let mut batch = Batch::default();
        for key in std::mem::take(&mut *self.marked.policies.lock()) {
            let policy = self.known.policies.get(&key);
            let read = policy.as_ref().and_then(|it| Policy::of(it));
            if policy.is_some() && read.is_none() {
                tracing::warn!(policy = %key, "a network policy cannot be read, and selects nobody");
            }
            batch.policies.insert(key, read.map(Arc::new));
        }
        for key in std::mem::take(&mut *self.marked.namespaces.lock()) {
            let found = self.known.namespaces.get(&key);
            batch
                .namespaces
                .insert(key.name().to_owned(), found.map(|it| it.metadata.labels.clone().unwrap_or_default()));
        }
        let mut keys = std::mem::take(&mut *self.marked.pods.lock());
        if keys.iter().any(|it| self.marked.own.lock().contains_key(it)) {
            // An address that one of them has got may have been another's until then.
            keys.extend(self.state.local_pods().cloned());
        }
        for key in keys {
            let pod = self.pod(&key);
            batch.pods.insert(key, pod);
        }
        self.state.change(batch);
    }

    fn pod(&self, key: &Key) -> Option<Arc<PodView>> {
        let stored = self.known.pods.get(key);
        let own = self.marked.own.lock().get(key).cloned();
        // The store has the newer labels, but may not know the pod yet.
        let pod = match (&stored, own) {
            (Some(stored), Some(own)) if stored.uid() == own.uid() && stored.node == own.node => Arc::clone(stored),
            (_, Some(own)) => own,
            (Some(stored), None) => Arc::clone(stored),
            (None, None) => return None,
        };
        let Some(ledger) = self.config.ledger.as_ref().filter(|_| pod.node == self.config.node_name) else {
            return Some(pod);
        };
        let addresses: Vec<_> = ledger(pod.uid()).into_iter().flat_map(|it| it.iter()).collect();
        if pod.addresses == addresses {
            return Some(pod);
        }
        Some(Arc::new(PodView { addresses, ..PodView::clone(&pod) }))
    }
}

/// Whether nothing has changed that policies look at.
fn same(old: Option<&PodView>, new: Option<&PodView>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => {
            (old.uid(), &old.metadata.labels, &old.node, &old.addresses, &old.ports)
                == (new.uid(), &new.metadata.labels, &new.node, &new.addresses, &new.ports)
        }
        (None, None) => true,
        _ => false,
    }
}

/// Takes the tables of a node away that no agent serves any more.
///
/// # Errors
/// When they cannot be removed.
pub async fn remove(node_name: &str) -> Result<(), NetworkError> {
    kernel::remove(&Names::of(node_name).policies).await
}
