//! From the store to the cache: one watch over everything, and the only writer of the cache.
//!
//! In: the store's batches. Out: tables that are complete up to a revision, and watchers woken once a batch. The watch is resumed
//! after every break with a growing delay; if the store has forgotten the revision at which it broke, everything is listed anew
//! and the difference becomes events. An object that cannot be read is logged and counted; it is not served, and its table knows its key, so that
//! lists which should have it fail.
//!
//! At the start everything is listed as it was some while ago, as far back as the store remembers, and the events since then are applied
//! like any others. So the rings are as full as before a restart, each event with the object that it replaced, and clients resume their
//! watches where they were instead of listing anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use orlop_store::{Batch, Entry, Key, Revision, Store, StoreError};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Object, Table};
use crate::registry;

/// Everything that is an object.
const PREFIX: &str = "/registry/";

/// How many objects one page of the first list has: 3 MB at 3 kB each.
const PAGE: usize = 1000;

/// How many revisions the server begins before the store's own: as many events as a ring keeps. To apply one takes some 5 µs.
const PAST_REVISIONS: u64 = 10_000;

/// Shorter pasts that are tried where the store has forgotten the longer one and does not know how much it has kept (etcd).
const SHORTER_PASTS: [u64; 2] = [1_000, 100];

/// How long the events since then may take to come, before the present is listed: ten times what they take when all are to be had.
const CATCH_UP_MAX: Duration = Duration::from_millis(500);

/// The first delay after a break, and the longest.
const BACK_OFF_MIN: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(5);

/// While events pour in, watchers are woken together: to wake one takes some 10 µs for its task and its write, so that a pause
/// of 50 µs for each leaves four fifths of the time to other work. And what one wake costs here and at the other end, some 20 µs, is
/// shared by all events of a millisecond, the least pause. A first event after a pause is never held back.
const WAKE_PAUSE_PER_WATCHER: Duration = Duration::from_micros(50);
const WAKE_PAUSE_MIN: Duration = Duration::from_millis(1);
const WAKE_PAUSE_MAX: Duration = Duration::from_millis(10);

/// Lists everything, then follows the store until `shutdown` in a task of its own. When this is done, the cache is as the store was when
/// it was called, or later.
///
/// # Errors
/// When the store cannot be listed at the start.
pub async fn start(
    store: Arc<dyn Store>,
    cache: Arc<Cache>,
    shutdown: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, StoreError> {
    let now = store.revision().await?;
    let revision = match list_past(&*store, &cache, now).await? {
        Some(past) => catch_up(&*store, &cache, past, now).await?,
        None => list(&*store, &cache, None).await?,
    };
    Ok(tokio::spawn(async move { follow(&*store, &cache, revision, &shutdown).await }))
}

/// Fills the cache from a list of the store as it was at the oldest revision that is to be had, but not much older than needed; none
/// if even the latest are forgotten.
async fn list_past(store: &dyn Store, cache: &Cache, now: Revision) -> Result<Option<Revision>, StoreError> {
    // Before its first revision nothing stands in any store.
    let before_now = |revisions: u64| Revision(now.0.saturating_sub(revisions).max(1));
    let mut from = before_now(PAST_REVISIONS);
    let mut shorter = SHORTER_PASTS.map(before_now).into_iter();
    loop {
        match list(store, cache, Some(from)).await {
            Ok(revision) => return Ok(Some(revision)),
            // The engines of our own know the oldest exactly; etcd says no more than that it is not this one.
            Err(StoreError::Compacted { oldest, .. }) if oldest.0 > from.0 + 1 && oldest <= now => from = oldest,
            Err(StoreError::Compacted { .. }) => match shorter.find(|it| *it > from) {
                Some(later) => from = later,
                None => return Ok(None),
            },
            Err(error) => return Err(error),
        }
    }
}

/// Applies what was committed after `at` up to `goal`; where that fails or takes too long, lists what stands now.
async fn catch_up(store: &dyn Store, cache: &Cache, at: Revision, goal: Revision) -> Result<Revision, StoreError> {
    let mut reached = at;
    let applied = tokio::time::timeout(CATCH_UP_MAX, async {
        if at >= goal {
            return Ok(());
        }
        let mut wakes = Wakes::default();
        let mut batches = store.watch(PREFIX, at).await?;
        while reached < goal {
            let ended = || StoreError::Unavailable { reason: "the watch ended".to_owned(), unknown: false };
            let batch = batches.next().await.ok_or_else(ended)??;
            reached = batch.revision;
            apply(store, cache, batch, &mut wakes).await;
        }
        wakes.send();
        Ok(())
    });
    let why: String = match applied.await {
        Ok(Ok(())) => return Ok(reached),
        Ok(Err(error)) => StoreError::to_string(&error),
        Err(_) => format!("they took longer than {CATCH_UP_MAX:?}"),
    };
    tracing::info!(%why, from = at.0, to = goal.0, "the events before the start could not be had; clients will list anew");
    list(store, cache, None).await
}

/// Fills the cache from a list of the store, as it was at a revision or as it is now; gives the revision at which it was taken.
async fn list(store: &dyn Store, cache: &Cache, mut at: Option<Revision>) -> Result<Revision, StoreError> {
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    // Objects of custom kinds may stand before the definitions by which they are read.
    let mut custom = Vec::new();
    let mut after = None;
    let revision = loop {
        let page = store.range(PREFIX, after.as_deref(), PAGE, at).await?;
        at = Some(page.revision);
        after = page.entries.last().map(|it| it.key.to_string());
        for entry in page.entries {
            match cache.built_in_table_of_key(&entry.key) {
                None => custom.push(entry),
                Some(table) => sort(cache, table, entry, &mut found),
            }
        }
        if !page.more {
            break page.revision;
        }
    };
    for definitions in cache.tables().iter().filter(|it| is_definitions(it)) {
        found.remove(definitions.prefix()).unwrap_or_default().fill(definitions, revision);
        definitions.wake();
        cache.follow_definitions();
    }
    for entry in custom {
        if let Some(table) = table_of(cache, &entry.key) {
            sort(cache, &table, entry, &mut found);
        }
    }
    for table in cache.tables().iter().filter(|it| !is_definitions(it) && !it.kind().computed) {
        found.remove(table.prefix()).unwrap_or_default().fill(table, revision);
        table.wake();
    }
    cache.publish(revision.0);
    Ok(revision)
}

/// What a list has found of one table.
#[derive(Default)]
struct Found {
    objects: Vec<Arc<Object>>,
    /// The keys of what is no object, or cannot be decrypted.
    unreadable: Vec<Key>,
}

impl Found {
    fn fill(self, table: &Table, at: Revision) {
        table.replace(self.objects, self.unreadable, at.0);
    }
}

/// Puts an entry to those of its table.
fn sort(cache: &Cache, table: &Table, entry: Entry, found: &mut BTreeMap<String, Found>) {
    let found = found.entry(table.prefix().to_owned()).or_default();
    match Object::stored(table.kind(), entry.key.clone(), entry.modified.0, &entry.value) {
        Ok(object) => found.objects.push(Arc::new(object)),
        Err(error) => {
            undecodable(cache, &entry.key, &error);
            found.unreadable.push(entry.key);
        }
    }
}

/// Whether what stands in a table makes other tables.
fn is_definitions(table: &Table) -> bool {
    (table.kind().group, table.kind().kind) == registry::DEFINITIONS
}

/// Fills the table of a definition that is new with what the store holds already: what was left behind when an earlier definition of the same
/// name went away. There is hardly ever anything.
async fn fill(store: &dyn Store, cache: &Cache, table: &Table, at: Revision) {
    match store.range(table.prefix(), None, 0, Some(at)).await {
        Ok(page) => {
            let mut found = BTreeMap::new();
            page.entries.into_iter().for_each(|it| sort(cache, table, it, &mut found));
            found.remove(table.prefix()).unwrap_or_default().fill(table, at);
        }
        Err(error) => {
            tracing::warn!(prefix = table.prefix(), %error, "what the store holds of a new kind cannot be listed");
            Found::default().fill(table, at);
        }
    }
}

async fn follow(store: &dyn Store, cache: &Cache, mut at: Revision, shutdown: &CancellationToken) {
    let mut back_off = BACK_OFF_MIN;
    loop {
        let before = at;
        let broke = tokio::select! {
            () = shutdown.cancelled() => return,
            broke = until_broken(store, cache, &mut at) => broke,
        };
        if at > before {
            back_off = BACK_OFF_MIN;
        }
        tracing::warn!(error = %broke, revision = at.0, "the store's watch broke off; resuming");
        if matches!(broke, StoreError::Compacted { .. } | StoreError::Future { .. }) {
            // The history between is gone: what changed is found by comparing.
            match list(store, cache, None).await {
                Ok(revision) => {
                    tracing::info!(revision = revision.0, "everything was listed anew");
                    at = revision;
                    continue;
                }
                Err(error) => tracing::warn!(%error, "the store could not be listed; trying again"),
            }
        }
        let delay = orlop_client::random::jitter(back_off, 0.2);
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(delay) => {}
        }
        back_off = (back_off * 2).min(BACK_OFF_MAX);
    }
}

/// Applies batches until the watch breaks; says why it did.
async fn until_broken(store: &dyn Store, cache: &Cache, at: &mut Revision) -> StoreError {
    let mut batches = match store.watch(PREFIX, *at).await {
        Ok(batches) => batches,
        Err(error) => return error,
    };
    let mut wakes = Wakes::default();
    loop {
        let batch = tokio::select! {
            // Events first: a wake that is due can tell of them too.
            biased;
            batch = batches.next() => batch,
            () = tokio::time::sleep_until(wakes.due), if !wakes.tables.is_empty() => {
                wakes.send();
                continue;
            }
        };
        match batch {
            Some(Ok(batch)) => {
                *at = batch.revision;
                apply(store, cache, batch, &mut wakes).await;
                wakes.send_if_due();
            }
            Some(Err(error)) => {
                wakes.send();
                return error;
            }
            None => {
                wakes.send();
                return StoreError::Unavailable { reason: "the watch ended".to_owned(), unknown: false };
            }
        }
    }
}

/// Applies one batch, and publishes its revision.
async fn apply(store: &dyn Store, cache: &Cache, batch: Batch, wakes: &mut Wakes) {
    let mut events = batch.events.into_iter().peekable();
    let mut fresh = Vec::new();
    while let Some(event) = events.next() {
        let Some(table) = table_of(cache, &event.key) else { continue };
        // What follows for the same table goes in together, under one lock.
        let mut changes = Vec::new();
        let mut unreadable = Vec::new();
        let mut next = Some(event);
        while let Some(event) = next.take() {
            unreadable.retain(|it| *it != event.key);
            match event.value {
                None => changes.push((event.key, event.revision.0, None)),
                Some(value) => {
                    match Object::stored(table.kind(), event.key.clone(), event.revision.0, &value) {
                        Ok(object) => changes.push((event.key, event.revision.0, Some(Arc::new(object)))),
                        Err(error) => {
                            undecodable(cache, &event.key, &error);
                            unreadable.push(event.key.clone());
                            // What stood there before is no longer true.
                            changes.push((event.key, event.revision.0, None));
                        }
                    }
                }
            }
            next = events.next_if(|it| it.key.starts_with(table.prefix()));
        }
        table.apply(changes);
        unreadable.into_iter().for_each(|it| table.note_unreadable(it));
        wakes.add(&table);
        if is_definitions(&table) {
            fresh.extend(cache.follow_definitions());
        }
    }
    for table in &fresh {
        fill(store, cache, table, batch.revision).await;
    }
    cache.publish(batch.revision.0);
}

fn table_of(cache: &Cache, key: &str) -> Option<Arc<Table>> {
    let table = cache.table_of_key(key);
    if table.is_none() {
        tracing::warn!(%key, "the store holds an object of a kind that this server does not know");
        cache.count_undecodable();
    }
    table
}

fn undecodable(cache: &Cache, key: &str, error: &orlop_api::head::HeadError) {
    tracing::error!(%key, %error, "a stored object cannot be read; it is not served");
    cache.count_undecodable();
}

/// The tables whose watchers have something to hear.
struct Wakes {
    tables: Vec<Arc<Table>>,
    /// When they are to be woken.
    due: Instant,
}

impl Default for Wakes {
    fn default() -> Self {
        Wakes { tables: Vec::new(), due: Instant::now() }
    }
}

impl Wakes {
    fn add(&mut self, table: &Arc<Table>) {
        if !self.tables.iter().any(|it| Arc::ptr_eq(it, table)) {
            self.tables.push(table.clone());
        }
    }

    fn send_if_due(&mut self) {
        let now = Instant::now();
        if !self.tables.is_empty() && now >= self.due {
            let woken = u32::try_from(self.send()).unwrap_or(u32::MAX);
            self.due = now + WAKE_PAUSE_PER_WATCHER.saturating_mul(woken).clamp(WAKE_PAUSE_MIN, WAKE_PAUSE_MAX);
        }
    }

    /// Wakes whom the changes concern, and gives how many they are.
    fn send(&mut self) -> usize {
        self.tables.drain(..).map(|table| table.wake()).sum()
    }
}
