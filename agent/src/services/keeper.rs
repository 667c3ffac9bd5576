//! Keeps the kernel's tables as the services want them.
//!
//! A change of a service or a slice marks its service; a few milliseconds later the fragments of all marked services are made anew and
//! what that changed goes to the kernel ([`crate::rules::kernel`]). Tables outlive the agent on purpose, as pods do; [`remove`] takes them away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use orlop_client::Key;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::backends::Here;
use super::fragment::{self, Setting};
use super::table::{self, Dns, Place, Pods};
use super::view::Known;
use super::{bridged, flows, stale};
use crate::network::NetworkError;
use crate::network::names::Names;
use crate::rules::kernel::{self, Kernel};
use crate::rules::wanted::Wanted;

/// What a node's services need to know of the node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names the tables, and is the node of local endpoints.
    pub node_name: String,
    /// The addresses of all pods.
    pub cluster_cidrs: Vec<IpNet>,
    /// How the node's DNS is reached; none if it has none.
    pub dns: Option<Dns>,
    /// By which packets of its pods come; none for the bridge of the agent's own network.
    pub interfaces: Option<String>,
    /// How long between two comparisons with the kernel: [`kernel::COMPARE_EVERY`].
    pub compare_every: Duration,
}

/// The services whose fragments are to be made anew.
#[derive(Default)]
struct Marked {
    services: Mutex<BTreeSet<Key>>,
    /// All of them: the node has moved to another zone.
    all: AtomicBool,
    rung: Notify,
}

impl Marked {
    fn mark(&self, keys: impl IntoIterator<Item = Key>) {
        self.services.lock().extend(keys);
        self.rung.notify_one();
    }
}

/// The keeper of one node's tables.
pub struct Keeper {
    config: Config,
    known: Known,
    setting: Setting,
    pods: Pods,
    wanted: Wanted<Place>,
    kernel: Kernel,
}

impl Keeper {
    /// A keeper that has not done anything.
    pub fn new(config: Config, known: Known) -> Self {
        let names = Names::of(&config.node_name);
        let here = Here { node: config.node_name.clone(), zone: None };
        let dns = config.dns.as_ref().map(|it| it.address);
        Keeper {
            setting: Setting { here, cluster_cidrs: config.cluster_cidrs.clone(), dns },
            wanted: Wanted::new(BTreeMap::new()),
            pods: Pods { bridge: config.interfaces.clone().unwrap_or(names.bridge), bridged_pass: true },
            kernel: Kernel::new(names.services, "services", config.compare_every),
            config,
            known,
        }
    }

    /// Keeps the tables until `shutdown`. Nothing is done before the stores have seen all there is, for until then what an earlier run
    /// left is nearer to the truth.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.run_for_ever()).await;
    }

    async fn run_for_ever(&mut self) {
        self.known.synced().await;
        self.pods.bridged_pass = bridged::pass().await;
        if !self.pods.bridged_pass {
            tracing::warn!(
                "bridged packets do not pass the rules (br_netfilter): services see the node in place of its own pods"
            );
        }
        self.wanted = Wanted::new(table::bases(&self.pods, self.config.dns.as_ref()));
        let marked = self.listen();
        loop {
            self.take(&marked);
            let Some(changes) = self.kernel.turn(&mut self.wanted).await else { continue };
            if let Err(error) = flows::forget(stale::of(&changes)).await {
                tracing::debug!(%error, "flows of old endpoints could not be forgotten; they end by themselves");
            }
            self.kernel.rest(marked.rung.notified()).await;
        }
    }

    fn listen(&self) -> Arc<Marked> {
        let marked = Arc::new(Marked::default());
        let weak = || Arc::downgrade(&marked);
        let (of_services, of_slices, of_nodes) = (weak(), weak(), weak());
        self.known.services.listen(move |change| {
            let Some(marked) = of_services.upgrade() else { return false };
            marked.mark([change.key.clone()]);
            true
        });
        self.known.slices.listen(move |change| {
            let Some(marked) = of_slices.upgrade() else { return false };
            let (old, new) = (change.old.as_ref(), change.new.as_ref());
            marked.mark(old.into_iter().chain(new).filter_map(|it| it.service()));
            true
        });
        self.known.nodes.listen(move |_| {
            let Some(marked) = of_nodes.upgrade() else { return false };
            marked.all.store(true, Ordering::Relaxed);
            marked.rung.notify_one();
            true
        });
        marked
    }

    /// Takes in what the stores have told.
    fn take(&mut self, marked: &Marked) {
        let mut keys = std::mem::take(&mut *marked.services.lock());
        if marked.all.swap(false, Ordering::Relaxed) {
            let zone = self.known.zone(&self.config.node_name);
            if zone != self.setting.here.zone {
                self.setting.here.zone = zone;
                keys.extend(self.known.services.list().iter().map(|it| it.key()));
                keys.extend(self.wanted.owners().cloned());
            }
        }
        for key in keys {
            let service = self.known.services.get(&key);
            let of = |it: Arc<_>| fragment::of(&it, &self.known.slices_of(&key), &self.setting);
            let fragment = service.map(of).unwrap_or_default();
            self.wanted.set(&key, fragment);
        }
    }
}

/// Takes the tables of a node away that no agent serves any more.
///
/// # Errors
/// When they cannot be removed.
pub async fn remove(node_name: &str) -> Result<(), NetworkError> {
    kernel::remove(&Names::of(node_name).services).await
}
