//! A revisioned map shared by readers, one writer at a time, and any number of watchers.
//!
//! In: changes that may be shown. Out: pages and watches. A watcher has no queue: it is a cursor into the history that all
//! watchers share, so its memory is a few words and a slow one costs nothing. History is bounded, and a watcher that history
//! has overtaken is cut off with [`StoreError::Lagged`].
//!
//! It does not know whether the changes are durable; its owner applies them when they are.

use std::sync::Arc;

use futures::StreamExt;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::mvcc::{Change, Mvcc};
use crate::{Batch, Page, Revision, StoreError, Watch};

/// How many changes a watcher looks through in one go. 1,024 comparisons of prefixes take some 20 µs: the longest that one
/// watcher keeps the writer waiting, and the most events that a batch can have.
const WATCH_SCAN_MAX: usize = 1024;

/// What wakes the watchers.
#[derive(Clone, Copy, Debug)]
struct Head {
    revision: Revision,
    closed: bool,
}

/// The shared map.
#[derive(Debug)]
pub(crate) struct Live {
    mvcc: RwLock<Mvcc>,
    head: watch::Sender<Head>,
}

impl Live {
    pub fn new(mvcc: Mvcc) -> Arc<Self> {
        let head = watch::Sender::new(Head { revision: mvcc.current(), closed: false });
        Arc::new(Self { mvcc: RwLock::new(mvcc), head })
    }

    /// Looks at the map under its lock; keep it short.
    pub fn read<T>(&self, look: impl FnOnce(&Mvcc) -> T) -> T {
        look(&self.mvcc.read())
    }

    /// Decides and applies in one step, then wakes the watchers if the map moved on.
    pub fn write<T>(&self, act: impl FnOnce(&mut Mvcc) -> T) -> T {
        let mut mvcc = self.mvcc.write();
        let result = act(&mut mvcc);
        let revision = mvcc.current();
        drop(mvcc);
        // Two writers may come here out of order: the head only ever rises.
        self.head.send_if_modified(|head| {
            let risen = revision > head.revision;
            head.revision = head.revision.max(revision);
            risen
        });
        result
    }

    /// Shows a batch of changes at once, and forgets history up to `trim_to`.
    pub fn show(&self, changes: Vec<Change>, trim_to: Option<Revision>) {
        let gone = self.write(|mvcc| {
            changes.into_iter().for_each(|change| mvcc.apply(change));
            trim_to.map(|before| mvcc.compact(before))
        });
        // Values that nobody holds any longer are freed here, after the lock.
        drop(gone);
    }

    pub fn current(&self) -> Revision {
        // Not `head`: it rises a moment after the map.
        self.mvcc.read().current()
    }

    pub fn page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let view = self.mvcc.read().view(prefix, at)?;
        Ok(view.page(prefix, after, limit))
    }

    /// A watch from the shared history on.
    pub fn watch(self: &Arc<Self>, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        // A look at nothing, so that a revision that is gone or to come is answered at once.
        self.mvcc.read().events_after(prefix, after, 0)?;
        let watcher = Watcher {
            live: self.clone(),
            head: self.head.subscribe(),
            prefix: prefix.to_owned(),
            at: after,
            over: false,
        };
        Ok(futures::stream::unfold(watcher, |mut watcher| async {
            let item = watcher.next().await?;
            Some((item, watcher))
        })
        .boxed())
    }

    /// Ends all watches: the store is going away.
    pub fn close(&self) {
        self.head.send_modify(|head| head.closed = true);
    }
}

/// One watch's place in the history.
struct Watcher {
    live: Arc<Live>,
    head: watch::Receiver<Head>,
    prefix: String,
    /// Everything up to here has been delivered.
    at: Revision,
    over: bool,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Batch, StoreError>> {
        if self.over {
            return None;
        }
        loop {
            // Marked as seen before the look, so that what comes after the look wakes us again.
            let head = *self.head.borrow_and_update();
            let Ok((events, seen_to)) = self.live.read(|mvcc| mvcc.events_after(&self.prefix, self.at, WATCH_SCAN_MAX))
            else {
                self.over = true;
                return Some(Err(StoreError::Lagged(self.at)));
            };
            let moved = seen_to > self.at;
            self.at = seen_to;
            // Progress alone is told only at the end: on the way there it would wake the consumer for nothing.
            if !events.is_empty() || (moved && seen_to >= head.revision) {
                return Some(Ok(Batch { revision: seen_to, events }));
            }
            if moved {
                continue;
            }
            if head.closed || self.head.changed().await.is_err() {
                self.over = true;
                return Some(Err(closed()));
            }
        }
    }
}

/// What those hear who still use a store that is closed.
pub(crate) fn closed() -> StoreError {
    StoreError::Unavailable { reason: "the store is closed".to_owned(), unknown: false }
}
