//! The use of quotas: who is charging at the moment, and the count of what is really used.
//!
//! In: charges of admission, and every change of the cache. Out: `status.used` of quotas, by compare and set. Admission adds to it before an
//! object is stored; this file takes off what is gone, by counting anew. Both go through one gate a namespace, so that within one server
//! a count never overlooks an object that is charged but not yet stored: it waits until no charge is under way and the cache shows all
//! that was stored. Kubernetes counts in its controller manager, from informers; here the objects are at hand.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, ResourceQuota, ResourceQuotaSpec, Service};
use orlop_api::kind::Kind;
use orlop_api::quantity::Quantity;
use orlop_api::quota::{self, Amounts};
use orlop_client::clock;
use orlop_store::{Commit, Expect, Revision, Store, StoreError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Object, Observer};
use crate::registry;

/// How long changes are gathered before a namespace is counted.
const GATHER: Duration = Duration::from_millis(200);

/// How often all is counted without a reason (kube-controller-manager's `--resource-quota-sync-period`).
const RESYNC_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// How long a count waits for charges that are under way, and how often it looks. While it waits no new ones begin.
const QUIET_WAIT: Duration = Duration::from_secs(2);
const QUIET_PAUSE: Duration = Duration::from_millis(5);

/// The gate of one namespace.
#[derive(Debug, Default)]
pub struct Gate {
    /// Who holds it reads and writes the namespace's quotas.
    turn: tokio::sync::Mutex<()>,
    /// Charges whose objects are not known to be stored.
    under_way: AtomicUsize,
}

/// What is known of quotas, beside what they say themselves.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The names of the quotas of each namespace that has some.
    quotas: RwLock<HashMap<Box<str>, HashSet<Box<str>>>>,
    gates: Mutex<HashMap<Box<str>, Arc<Gate>>>,
    /// Namespaces that are to be counted.
    stale: Mutex<BTreeSet<Box<str>>>,
    wake: Notify,
}

/// A charge, until it is known what became of the object. If that was not stored, the namespace is counted anew.
#[derive(Debug)]
pub struct Charge {
    ledger: Arc<Ledger>,
    gate: Arc<Gate>,
    namespace: Box<str>,
    stored: bool,
}

impl Charge {
    /// The object is stored.
    pub fn stored(mut self) {
        self.stored = true;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.gate.under_way.fetch_sub(1, Ordering::AcqRel);
        if !self.stored {
            self.ledger.mark(&self.namespace);
        }
    }
}

/// The right to read and write a namespace's quotas.
pub struct Turn<'a> {
    ledger: &'a Arc<Ledger>,
    gate: &'a Arc<Gate>,
    namespace: &'a str,
    _held: tokio::sync::MutexGuard<'a, ()>,
}

impl Turn<'_> {
    /// Notes that a charge was made.
    pub fn charge(&self) -> Charge {
        self.gate.under_way.fetch_add(1, Ordering::AcqRel);
        Charge { ledger: self.ledger.clone(), gate: self.gate.clone(), namespace: self.namespace.into(), stored: false }
    }
}

impl Ledger {
    /// Whether a namespace has quotas, as far as the cache knows.
    pub fn has_quotas(&self, namespace: &str) -> bool {
        self.quotas.read().contains_key(namespace)
    }

    /// The gate of a namespace.
    pub fn gate(&self, namespace: &str) -> Arc<Gate> {
        self.gates.lock().entry(namespace.into()).or_default().clone()
    }

    /// Waits for one's turn at a gate.
    pub async fn turn<'a>(self: &'a Arc<Self>, gate: &'a Arc<Gate>, namespace: &'a str) -> Turn<'a> {
        Turn { ledger: self, gate, namespace, _held: gate.turn.lock().await }
    }

    fn mark(&self, namespace: &str) {
        if self.has_quotas(namespace) && self.stale.lock().insert(namespace.into()) {
            self.wake.notify_one();
        }
    }

    /// Counts what has changed, until `shutdown`.
    pub async fn count(self: Arc<Self>, store: Arc<dyn Store>, cache: Arc<Cache>, shutdown: CancellationToken) {
        loop {
            let resync = tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.wake.notified() => false,
                () = tokio::time::sleep(RESYNC_INTERVAL) => true,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(GATHER) => {}
            }
            let mut namespaces = std::mem::take(&mut *self.stale.lock());
            if resync {
                namespaces.extend(self.quotas.read().keys().cloned());
            }
            for namespace in namespaces {
                if let Err(why) = self.count_one(&namespace, &store, &cache).await {
                    tracing::debug!(%namespace, why, "a count of quotas is tried again");
                    self.mark(&namespace);
                }
            }
        }
    }

    async fn count_one(
        self: &Arc<Self>,
        namespace: &str,
        store: &Arc<dyn Store>,
        cache: &Cache,
    ) -> Result<(), &'static str> {
        let gate = self.gate(namespace);
        let _turn = self.turn(&gate, namespace).await;
        let begun = tokio::time::Instant::now();
        while gate.under_way.load(Ordering::Acquire) > 0 {
            if begun.elapsed() > QUIET_WAIT {
                return Err("charges are under way");
            }
            tokio::time::sleep(QUIET_PAUSE).await;
        }
        let revision = store.revision().await.map_err(|_| "the store is away")?;
        cache.wait_for(revision.0).await.map_err(|_| "the cache lags")?;
        let kind = registry::named("", "ResourceQuota").ok_or("no quotas are served")?;
        let prefix = format!("{}{namespace}/", kind.prefix());
        let snapshot = cache.table(kind).snapshot();
        for object in snapshot.range(&prefix, None) {
            write_count(object, namespace, store, cache).await?;
        }
        Ok(())
    }
}

/// Counts for one quota, and writes what has changed.
async fn write_count(
    object: &Object,
    namespace: &str,
    store: &Arc<dyn Store>,
    cache: &Cache,
) -> Result<(), &'static str> {
    let mut quota: ResourceQuota = serde_json::from_slice(&object.json).map_err(|_| "a quota cannot be read")?;
    let spec = quota.spec.clone().unwrap_or_default();
    let used = quota::write(&used(&spec, namespace, cache));
    let status = quota.status.get_or_insert_default();
    if status.hard == spec.hard && status.used.as_ref() == Some(&used) {
        return Ok(());
    }
    status.hard = spec.hard;
    status.used = Some(used);
    quota.metadata.resource_version = None;
    let value = serde_json::to_vec(&quota).map_err(|_| "a quota cannot be written")?;
    let expect = Expect::At(Revision(object.revision));
    match store.commit(Commit { key: object.key.clone(), expect, value: Some(value.into()) }).await {
        Ok(_) => Ok(()),
        Err(StoreError::Mismatch { .. }) => Err("the quota has changed"),
        Err(_) => Err("the store is away"),
    }
}

/// What is used in a namespace of all that a quota limits.
fn used(spec: &ResourceQuotaSpec, namespace: &str, cache: &Cache) -> Amounts {
    let limited: Vec<&String> = spec.hard.iter().flatten().map(|(name, _)| name).collect();
    let mut used: Amounts = limited.iter().map(|it| ((*it).clone(), Quantity::ZERO)).collect();
    let now = clock::now().as_second();
    for table in cache.tables() {
        let kind = table.kind();
        if !kind.namespaced() || !limited.iter().any(|it| quota::may_use(kind.group, kind.names.plural, it)) {
            continue;
        }
        let snapshot = table.snapshot();
        let prefix = format!("{}{namespace}/", kind.prefix());
        for object in snapshot.range(&prefix, None) {
            let Some(uses) = uses(kind, object, spec, now) else { continue };
            for (name, amount) in uses {
                if let Some(sum) = used.get_mut(&name) {
                    *sum += amount;
                }
            }
        }
    }
    used
}

/// What one object uses; none if the quota does not count it.
fn uses(kind: &Kind, object: &Object, spec: &ResourceQuotaSpec, now: i64) -> Option<Amounts> {
    match (kind.group, kind.names.plural) {
        ("", "pods") => {
            let pod: Pod = serde_json::from_slice(&object.json).ok()?;
            quota::counts_pod(spec, &pod).then(|| quota::of_pod(&pod, now))
        }
        ("", "persistentvolumeclaims") => {
            let claim: PersistentVolumeClaim = serde_json::from_slice(&object.json).ok()?;
            quota::counts_other(spec, Some(&claim)).then(|| quota::of_claim(&claim))
        }
        ("", "services") => {
            let service: Service = serde_json::from_slice(&object.json).ok()?;
            quota::counts_other(spec, None).then(|| quota::of_service(&service))
        }
        (group, plural) => quota::counts_other(spec, None).then(|| quota::of_any(group, plural)),
    }
}

/// What the observer reads of a quota.
fn is_settled(object: &Object) -> bool {
    let read = serde_json::from_slice::<ResourceQuota>(&object.json);
    read.is_ok_and(|it| {
        let hard = it.spec.and_then(|it| it.hard);
        it.status.is_some_and(|status| status.used.is_some() && status.hard == hard)
    })
}

impl Observer for Ledger {
    fn put(&self, kind: &'static Kind, object: &Object) {
        if !kind.group.is_empty() {
            return;
        }
        match kind.names.plural {
            "resourcequotas" => {
                let name = object.head.name.clone();
                self.quotas.write().entry(object.head.namespace.clone()).or_default().insert(name);
                if !is_settled(object) {
                    self.mark(&object.head.namespace);
                }
            }
            // A pod that has ended uses no more; the others may have shrunk.
            "pods" if matches!(object.field(kind, "status.phase"), Some("Succeeded" | "Failed")) => {
                self.mark(&object.head.namespace);
            }
            "services" | "persistentvolumeclaims" => self.mark(&object.head.namespace),
            _ => {}
        }
    }

    fn removed(&self, kind: &'static Kind, object: &Object) {
        let namespace = &object.head.namespace;
        if namespace.is_empty() || !self.has_quotas(namespace) {
            return;
        }
        if kind.group.is_empty() && kind.names.plural == "resourcequotas" {
            let mut quotas = self.quotas.write();
            if let Some(names) = quotas.get_mut(namespace) {
                names.remove(&object.head.name);
                if names.is_empty() {
                    quotas.remove(namespace);
                    self.gates.lock().remove(namespace);
                }
            }
        }
        self.mark(namespace);
    }
}
