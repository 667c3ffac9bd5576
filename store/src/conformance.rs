//! One suite that holds every engine to the same meaning.
//!
//! In: how to make a store. Out: nothing, or a panic that says what does not hold. The suite asks nothing of a store but the
//! [`Store`] trait, uses keys of its own for every check, and works relative to the revision it finds, so that the stores
//! may all be views of one server.

mod compaction;
mod compare_and_set;
mod ranges;
mod restart;
mod watches;

use std::any::Any;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use tokio::time::timeout;

use crate::{Batch, Commit, Event, Expect, Key, Revision, Store, StoreError, Watch};

/// How long any one wait of the suite may take: far longer than a slow machine needs, far shorter than a hung job.
const PATIENCE: Duration = Duration::from_secs(30);

/// Closes a store and opens it again: another process's view of the same data.
pub type Reopen = Box<dyn FnMut() -> BoxFuture<'static, Arc<dyn Store>> + Send>;

/// A store to be tested.
pub struct Subject {
    /// The store. The suite drops it before it calls `reopen`.
    pub store: Arc<dyn Store>,
    /// How to restart it; none for an engine that keeps nothing.
    pub reopen: Option<Reopen>,
    /// What has to live as long as the store: a directory, a server.
    pub keep: Box<dyn Any + Send>,
}

/// Runs every check, each on a store from `make_store`.
pub async fn run<F, Made>(make_store: F)
where
    F: Fn() -> Made,
    Made: Future<Output = Subject>,
{
    compare_and_set::writes_only_what_was_expected(&*make_store().await.store).await;
    compare_and_set::concurrent_writers_lose_no_write(make_store().await.store).await;
    ranges::shows_keys_under_a_prefix_in_order(&*make_store().await.store).await;
    ranges::shows_the_keys_as_they_were(&*make_store().await.store).await;
    watches::tells_history_then_news(&*make_store().await.store).await;
    watches::tells_the_progress_of_others(&*make_store().await.store).await;
    watches::has_no_gap_and_no_repeat(make_store().await.store).await;
    compaction::forgets_what_is_older(&*make_store().await.store).await;
    compaction::keeps_what_is_live(&*make_store().await.store).await;
    restart::finds_everything_again(make_store().await).await;
}

/// Commits what must succeed.
async fn put(store: &dyn Store, key: &str, expect: Expect, value: &str) -> Revision {
    let commit = Commit { key: Key::from(key), expect, value: Some(Bytes::from(value.to_owned())) };
    store.commit(commit).await.unwrap_or_else(|error| panic!("commit of {key}={value}: {error}"))
}

/// Deletes what must be there.
async fn delete(store: &dyn Store, key: &str, at: Revision) -> Revision {
    let commit = Commit { key: Key::from(key), expect: Expect::At(at), value: None };
    store.commit(commit).await.unwrap_or_else(|error| panic!("deletion of {key}: {error}"))
}

/// The current revision.
async fn now(store: &dyn Store) -> Revision {
    store.revision().await.expect("the store says its revision")
}

/// What stands under a prefix, as `key=value@created/modified`.
async fn standing(store: &dyn Store, prefix: &str, at: Option<Revision>) -> Vec<String> {
    let page = store.range(prefix, None, 0, at).await.unwrap_or_else(|error| panic!("range of {prefix}: {error}"));
    assert!(!page.more, "an unlimited range leaves nothing out");
    let text = |entry: crate::Entry| {
        let value = String::from_utf8_lossy(&entry.value).into_owned();
        format!("{}={value}@{}/{}", entry.key, entry.created, entry.modified)
    };
    page.entries.into_iter().map(text).collect()
}

async fn watch(store: &dyn Store, prefix: &str, after: Revision) -> Watch {
    store.watch(prefix, after).await.unwrap_or_else(|error| panic!("watch of {prefix} after {after}: {error}"))
}

/// The next batch, in time.
async fn next(watch: &mut Watch) -> Batch {
    let item = timeout(PATIENCE, watch.next()).await.expect("the watch says something in time");
    item.expect("the watch goes on").unwrap_or_else(|error| panic!("the watch ended: {error}"))
}

/// All events until the watch has delivered everything up to `revision`. Checks what must hold of every batch.
async fn events_to(watch: &mut Watch, after: Revision, revision: Revision) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    let mut at = after;
    while at < revision {
        let batch = next(watch).await;
        assert!(batch.revision > at, "a batch at {} follows one at {at}", batch.revision);
        for event in batch.events {
            assert!(event.revision > at, "the event {event:?} was delivered with, or before, revision {at}");
            assert!(event.revision <= batch.revision, "the event {event:?} is beyond its batch at {}", batch.revision);
            let last = events.last().map_or(after, |last| last.revision);
            assert!(event.revision >= last, "the event {event:?} follows one at {last}");
            events.push(event);
        }
        at = batch.revision;
    }
    events
}

/// How a watch from a revision that is not to be had is refused: by the answer or by its first item.
async fn refusal(store: &dyn Store, prefix: &str, after: Revision) -> StoreError {
    match store.watch(prefix, after).await {
        Err(error) => error,
        Ok(mut watch) => {
            let item = timeout(PATIENCE, watch.next()).await.expect("the watch is refused in time");
            let error = item.expect("the watch says why it ends").expect_err("the watch is refused");
            assert!(watch.next().await.is_none(), "nothing follows an error");
            error
        }
    }
}
