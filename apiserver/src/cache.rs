//! What readers see: every object of the store, kept in memory as encoded bytes, with the events that led there.
//!
//! One [`Table`] a stored kind: an ordered map whose snapshot costs nothing, indexes, and a ring of events. The feed is the only
//! writer: it applies a batch to the tables, then publishes the revision up to which the cache is complete, then wakes the
//! watchers. Readers never wait for the store; a consistent read waits for the cache to have reached the store's revision. It
//! knows no users and no HTTP, and decodes nothing but heads.

pub mod audience;
pub mod index;
pub mod object;
pub mod ring;
pub mod table;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use orlop_api::computed::COMPUTED;
use orlop_api::kind::Kind;
use orlop_api::kinds::KINDS;
use orlop_api::status::{self, Reason, Status};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use audience::{Interest, Seat};
pub use object::Object;
pub use ring::Event;
pub use table::{Snapshot, Table};

use crate::registry::{self, Changed, Registry};

/// How long a read waits for a revision that the cache has not reached (kube-apiserver's `blockTimeout`).
const WAIT_MAX: Duration = Duration::from_secs(3);

/// How long the snapshot of a list is kept for its next page. What comes later is served from the store's history.
const SNAPSHOT_AGE_MAX: Duration = Duration::from_secs(60);

/// One who is told of every change before it is published: what authorization rests on must not lag behind what readers see.
pub trait Observer: Send + Sync {
    /// An object was made or changed, or was there at the start.
    fn put(&self, kind: &'static Kind, object: &Object);
    /// An object was deleted.
    fn removed(&self, kind: &'static Kind, object: &Object);
}

/// All tables.
pub struct Cache {
    tables: Vec<Arc<Table>>,
    /// The tables of custom kinds, by their place below `/registry/`: `example.com/crontabs`.
    custom: ArcSwap<BTreeMap<&'static str, Arc<Table>>>,
    registry: Arc<Registry>,
    observers: Arc<[Arc<dyn Observer>]>,
    /// The tables by the first segment behind `/registry/`; some share it (`services/specs`, `services/endpoints`).
    by_segment: HashMap<&'static str, Vec<usize>>,
    by_stored: HashMap<&'static str, usize>,
    /// The cache is complete up to this revision.
    reached: watch::Sender<u64>,
    /// The same, for looks that do not wait: readers far outnumber batches.
    complete: AtomicU64,
    /// Watches that are open, over all tables.
    watchers: Arc<AtomicUsize>,
    /// Stored objects that could not be read, since the start.
    undecodable: AtomicU64,
}

impl Default for Cache {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("revision", &self.revision()).finish_non_exhaustive()
    }
}

impl Cache {
    /// Empty tables for all kinds, and those who are told of every change.
    pub fn new(observers: Vec<Arc<dyn Observer>>) -> Self {
        let observers: Arc<[Arc<dyn Observer>]> = observers.into();
        // The kind that needs no conversion is the one in whose form its table is stored.
        let stored: Vec<&'static Kind> = KINDS.iter().filter(|it| it.conversion.is_none()).chain(COMPUTED).collect();
        let mut by_segment: HashMap<&'static str, Vec<usize>> = HashMap::new();
        let mut by_stored = HashMap::new();
        for (at, kind) in stored.iter().enumerate() {
            by_stored.insert(kind.stored_as, at);
            by_segment.entry(kind.stored_as.split('/').next().unwrap_or_default()).or_default().push(at);
        }
        Cache {
            custom: ArcSwap::default(),
            registry: Arc::default(),
            observers: observers.clone(),
            tables: stored.into_iter().map(|kind| Arc::new(Table::new(kind, observers.clone()))).collect(),
            by_segment,
            by_stored,
            reached: watch::Sender::new(0),
            complete: AtomicU64::new(0),
            watchers: Arc::default(),
            undecodable: AtomicU64::new(0),
        }
    }

    /// The table that holds the objects of this kind.
    pub fn table(&self, kind: &'static Kind) -> Arc<Table> {
        if let Some(at) = self.by_stored.get(kind.stored_as) {
            return self.tables[*at].clone();
        }
        // Its definition may have gone a moment ago; then there are no objects.
        let custom = self.custom.load().get(kind.stored_as).cloned();
        custom.unwrap_or_else(|| Arc::new(Table::closed(kind)))
    }

    /// All tables.
    pub fn tables(&self) -> Vec<Arc<Table>> {
        self.tables.iter().chain(self.custom.load().values()).cloned().collect()
    }

    /// The kinds whose objects it may hold.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The table in which the object under a store's key belongs.
    pub fn table_of_key(&self, key: &str) -> Option<Arc<Table>> {
        self.built_in_table_of_key(key).cloned().or_else(|| {
            let rest = key.strip_prefix("/registry/")?;
            let group = rest.find('/')?;
            let end = group + 1 + rest[group + 1..].find('/')?;
            self.custom.load().get(&rest[..end]).cloned()
        })
    }

    /// The same, if the object's kind is built in.
    pub(crate) fn built_in_table_of_key(&self, key: &str) -> Option<&Arc<Table>> {
        let rest = key.strip_prefix("/registry/")?;
        let tables = self.by_segment.get(rest.split('/').next()?)?;
        tables.iter().map(|at| &self.tables[*at]).find(|it| key.starts_with(it.prefix()))
    }

    /// Makes and closes tables as the definitions say that it holds; gives those that are new, and have yet to be filled. For the feed only.
    pub(crate) fn follow_definitions(&self) -> Vec<Arc<Table>> {
        let (group, kind) = registry::DEFINITIONS;
        let Some(definitions) = registry::named(group, kind) else { return Vec::new() };
        let changed = self.registry.follow(self.table(definitions).snapshot().iter());
        if changed.is_empty() {
            return Vec::new();
        }
        let mut fresh = Vec::new();
        let mut tables = BTreeMap::clone(&self.custom.load());
        let mut closed = Vec::new();
        for it in changed {
            match it {
                Changed::Gone(place) => closed.extend(tables.remove(place)),
                Changed::Held(kind) => match tables.remove(kind.stored_as) {
                    Some(old) => {
                        tables.insert(kind.stored_as, Arc::new(old.of_kind(kind)));
                        closed.push(old);
                    }
                    None => {
                        let made = Arc::new(Table::new(kind, self.observers.clone()));
                        fresh.push(made.clone());
                        tables.insert(kind.stored_as, made);
                    }
                },
            }
        }
        self.custom.store(Arc::new(tables));
        // Who watches ends, and finds the new table when it comes again.
        closed.iter().for_each(|it| it.close());
        fresh
    }

    /// One object in the form of `kind`, as of the last batch.
    pub fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> Option<Arc<Object>> {
        self.table(kind).get(&kind.key(namespace, name)).map(|it| it.served_as(kind))
    }

    /// The revision up to which the cache is complete.
    pub fn revision(&self) -> u64 {
        self.complete.load(Ordering::Acquire)
    }

    /// Says that everything up to `revision` has been applied. For the feed only.
    pub(crate) fn publish(&self, revision: u64) {
        if revision > self.revision() {
            self.complete.store(revision, Ordering::Release);
            self.reached.send_replace(revision);
        }
    }

    /// Waits until the cache is complete up to `revision`.
    ///
    /// # Errors
    /// `Timeout` after three seconds, worded as Kubernetes does.
    pub async fn wait_for(&self, revision: u64) -> status::Result<()> {
        if self.revision() >= revision {
            return Ok(());
        }
        let mut reached = self.reached.subscribe();
        let waited = tokio::time::timeout(WAIT_MAX, reached.wait_for(|it| *it >= revision)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Status::new(Reason::ServiceUnavailable, "the server is shutting down")),
            Err(_) => {
                let text = format!("Timeout: Too large resource version: {revision}, current: {}", self.revision());
                Err(Status::new(Reason::Timeout, text).with_details(status::Details {
                    causes: vec![status::Cause {
                        reason: "ResourceVersionTooLarge".to_owned(),
                        message: "Too large resource version".to_owned(),
                        field: String::new(),
                    }],
                    retry_after_seconds: 1,
                    ..status::Details::default()
                }))
            }
        }
    }

    /// Lets go of snapshots that no list has asked for in time, until `shutdown`.
    pub async fn forget_snapshots(self: Arc<Self>, shutdown: CancellationToken) {
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(SNAPSHOT_AGE_MAX) => {}
            }
            for table in self.tables() {
                table.forget_kept(SNAPSHOT_AGE_MAX);
            }
        }
    }

    /// How many watches are open.
    pub fn watchers(&self) -> usize {
        self.watchers.load(Ordering::Relaxed)
    }

    /// The count of open watches, for those who open one.
    pub(crate) fn watcher_count(&self) -> Arc<AtomicUsize> {
        self.watchers.clone()
    }

    /// Notes a stored object that could not be read.
    pub(crate) fn count_undecodable(&self) {
        self.undecodable.fetch_add(1, Ordering::Relaxed);
    }

    /// Stored objects that could not be read, since the start.
    pub fn undecodable(&self) -> u64 {
        self.undecodable.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_find_their_tables() {
        let cache = Cache::default();
        for kind in KINDS {
            let key = kind.key("default", "a");
            assert_eq!(cache.table_of_key(&key).unwrap().prefix(), kind.prefix());
        }
        assert!(cache.table_of_key("/registry/nothings/a").is_none());
        assert!(cache.table_of_key("/other").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_revision_or_in_time() {
        let cache = Arc::new(Cache::default());
        let waiting = tokio::spawn({
            let cache = cache.clone();
            async move { cache.wait_for(7).await }
        });
        tokio::task::yield_now().await;
        cache.publish(7);
        waiting.await.unwrap().unwrap();
        assert_eq!(cache.wait_for(8).await.unwrap_err().code(), 504);
    }
}
