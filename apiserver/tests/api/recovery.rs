//! The feed finds its way back: after a break of the store's watch, and after the store has forgotten what was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use orlop_apiserver::cache::{Cache, Event, Interest, Table};
use orlop_apiserver::{feed, registry};
use orlop_store::memory::Memory;
use orlop_store::{Commit, Entry, Expect, Page, Revision, Store, StoreError, Watch};
use tokio_util::sync::CancellationToken;

/// The events of a table from a place on, as one sees them who wants to hear of everything.
fn events(table: &Table, place: u64, limit: usize) -> Vec<Arc<Event>> {
    let look = table.look(&table.join(Interest::Everything), place, limit).unwrap();
    look.events.into_iter().map(|it| it.1).collect()
}

/// A store whose watches break after every batch, and that can be made to refuse them.
struct Breaking {
    inner: Memory,
    watches: AtomicUsize,
    away: AtomicBool,
}

#[async_trait]
impl Store for Breaking {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        self.inner.get(key).await
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.inner.range(prefix, after, limit, at).await
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, StoreError> {
        self.inner.commit(commit).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let unavailable = || StoreError::Unavailable { reason: "a test".to_owned(), unknown: false };
        if self.away.load(Ordering::SeqCst) {
            return Err(unavailable());
        }
        self.watches.fetch_add(1, Ordering::SeqCst);
        let batches = self.inner.watch(prefix, after).await?;
        Ok(batches.take(1).chain(futures::stream::once(async move { Err(unavailable()) })).boxed())
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }
}

async fn put(store: &Breaking, name: &str, expect: Expect) -> Revision {
    let json = format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}","namespace":"d"}}}}"#);
    let key = format!("/registry/configmaps/d/{name}");
    store.commit(Commit { key: key.as_str().into(), expect, value: Some(Bytes::from(json)) }).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn breaks_and_compaction_lose_nothing() {
    let store = Arc::new(Breaking { inner: Memory::new(), watches: AtomicUsize::new(0), away: AtomicBool::new(false) });
    let first = put(&store, "a", Expect::Absent).await;
    let cache = Arc::new(Cache::default());
    let stop = CancellationToken::new();
    let feed = feed::start(store.clone(), cache.clone(), stop.clone()).await.unwrap();
    let kind = registry::named("", "ConfigMap").unwrap();
    let place = cache.table(kind).snapshot_and_place().1;

    // Each batch comes from a watch of its own.
    for at in 0..5 {
        let revision = put(&store, &format!("b{at}"), Expect::Absent).await;
        cache.wait_for(revision.0).await.unwrap();
    }
    assert!(store.watches.load(Ordering::SeqCst) >= 5);
    assert_eq!(cache.table(kind).len(), 6);

    // While no watch is to be had, the history is lost: everything is listed anew, and the difference becomes events.
    store.away.store(true, Ordering::SeqCst);
    put(&store, "c", Expect::Absent).await;
    let gone = Commit { key: "/registry/configmaps/d/a".into(), expect: Expect::At(first), value: None };
    // The watch that was open tells of one batch more; what comes after it is missed.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    store.commit(gone).await.unwrap();
    let last = put(&store, "d", Expect::Absent).await;
    store.compact(last).await.unwrap();
    store.away.store(false, Ordering::SeqCst);
    tokio::time::timeout(std::time::Duration::from_secs(20), async {
        while cache.revision() < last.0 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    assert!(cache.get(kind, "d", "a").is_none());
    assert!(cache.get(kind, "d", "d").is_some());
    let table = cache.table(kind);
    let events = events(&table, place, 100);
    assert!(events.windows(2).all(|it| it[0].revision <= it[1].revision));
    assert_eq!(events.iter().filter(|it| it.new.is_none()).count(), 1);
    assert_eq!(cache.table(kind).place_after(first.0), Err(last.0), "who asks for what was missed must list anew");
    stop.cancel();
    feed.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_counted_and_not_served() {
    let store = Arc::new(Breaking { inner: Memory::new(), watches: AtomicUsize::new(0), away: AtomicBool::new(false) });
    let bad = Commit {
        key: "/registry/configmaps/d/bad".into(),
        expect: Expect::Absent,
        value: Some(Bytes::from_static(b"not an object")),
    };
    store.commit(bad).await.unwrap();
    put(&store, "good", Expect::Absent).await;
    let cache = Arc::new(Cache::default());
    let stop = CancellationToken::new();
    let feed = feed::start(store, cache.clone(), stop.clone()).await.unwrap();
    assert_eq!((cache.undecodable(), cache.table(registry::named("", "ConfigMap").unwrap()).len()), (1, 1));
    stop.cancel();
    feed.await.unwrap();
}

/// Commits four changes, and says what a cache that begins afterwards knows of them: the floor, and the events with what they replaced.
async fn past(forgotten: Option<u64>) -> (u64, Vec<(u64, bool, bool)>) {
    let store = Arc::new(Breaking { inner: Memory::new(), watches: AtomicUsize::new(0), away: AtomicBool::new(false) });
    let first = put(&store, "a", Expect::Absent).await;
    put(&store, "b", Expect::Absent).await;
    let changed = put(&store, "a", Expect::At(first)).await;
    let gone = Commit { key: "/registry/configmaps/d/a".into(), expect: Expect::At(changed), value: None };
    assert_eq!(store.commit(gone).await.unwrap(), Revision(5));
    if let Some(before) = forgotten {
        store.compact(Revision(before)).await.unwrap();
    }
    let cache = Arc::new(Cache::default());
    let stop = CancellationToken::new();
    let feed = feed::start(store.clone(), cache.clone(), stop.clone()).await.unwrap();
    // What was there when it began is there at once.
    assert_eq!(cache.revision(), 5);
    let table = cache.table(registry::named("", "ConfigMap").unwrap());
    assert_eq!((table.len(), table.revision()), (1, 5));
    let floor = table.place_after(0).unwrap_err();
    let events = events(&table, table.place_after(floor).unwrap(), 10);
    stop.cancel();
    feed.await.unwrap();
    (floor, events.iter().map(|it| (it.revision, it.old.is_some(), it.new.is_some())).collect())
}

#[tokio::test(start_paused = true)]
async fn a_start_remembers_what_the_store_does() {
    let all = [(2, false, true), (3, false, true), (4, true, true), (5, true, false)];
    assert_eq!(past(None).await, (1, all.to_vec()));
    assert_eq!(past(Some(3)).await, (3, all[2..].to_vec()));
    assert_eq!(past(Some(5)).await, (5, Vec::new()));
}
