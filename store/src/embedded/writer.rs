//! The one thread that writes the revision log.
//!
//! In: commits and compactions, from a queue. Out: answers, and changes shown to readers and watchers. It takes whatever
//! waits, decides each commit against the map and the batch so far, makes the batch durable with one sync, shows it, then
//! answers. While the sync runs the next batch gathers by itself: the slower the disk, the larger the batches.
//!
//! When the disk is full, the batch is refused, or, where redb could not even be opened again to see whether the batch had
//! reached the disk, answered as unknown; the map keeps serving reads. The log is opened again, with back-off, until there is
//! room. Any other failure of the disk is final until a restart: after a failed sync the page cache does not say what the
//! disk holds.

use std::collections::HashMap;
use std::mem::take;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::acknowledged::Acknowledged;
use super::log::{Append, LogError, RevisionLog};
use crate::history::{HISTORY_BYTES_MAX, HISTORY_TRIM_BYTES};
use crate::live::Live;
use crate::mvcc::{Change, Decision, Mvcc, decide};
use crate::{Commit, Entry, Key, Revision, StoreError};

/// The most requests in one batch: past a few hundred a sync is already shared by so many that more only adds delay.
const BATCH_REQUESTS_MAX: usize = 512;

/// The most bytes in one batch, one object of the largest size (1.5 MiB) over; a disk that writes 200 MB/s takes 20 ms.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// The most changes forgotten in one batch: some 10 ms of work, the longest that compaction holds up a commit.
const FORGET_CHANGES_MAX: usize = 1024;

/// How long to wait before the log of a full disk is opened again: at first, and at most.
const REOPEN_DELAY_MIN: Duration = Duration::from_millis(50);
const REOPEN_DELAY_MAX: Duration = Duration::from_secs(2);

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked for. The permit bounds the queue and is given back with the answer.
pub(crate) enum Request {
    Commit(Commit, Answer<Revision>, OwnedSemaphorePermit),
    Compact(Revision, Answer<()>, OwnedSemaphorePermit),
}

/// A batch that is decided and not yet durable.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    answers: Vec<(Answer<Revision>, Result<Revision, StoreError>, OwnedSemaphorePermit)>,
    forget: Vec<Revision>,
    /// History is forgotten up to here.
    trim_to: Option<Revision>,
}

/// Whether the log can be written.
enum Disk {
    Open(RevisionLog),
    /// Full: opened again at `next`. Whether the changes held here reached it is not known yet.
    Full {
        in_doubt: Batch,
        reason: String,
        next: Instant,
        delay: Duration,
    },
    Dead(String),
}

/// The writer's state.
pub(crate) struct Writer {
    pub path: PathBuf,
    pub quota_bytes: Arc<AtomicU64>,
    pub live: Arc<Live>,
    pub acknowledged: Acknowledged,
    pub queue: Receiver<Request>,
    disk: Disk,
    compact_to: Revision,
    compactions: Vec<(Revision, Answer<()>, OwnedSemaphorePermit)>,
}

impl Writer {
    pub fn new(
        path: PathBuf,
        quota_bytes: Arc<AtomicU64>,
        live: Arc<Live>,
        acknowledged: Acknowledged,
        queue: Receiver<Request>,
        log: RevisionLog,
    ) -> Self {
        let (disk, compact_to, compactions) = (Disk::Open(log), Revision(0), Vec::new());
        Self { path, quota_bytes, live, acknowledged, queue, disk, compact_to, compactions }
    }

    /// Works until the other end of the queue is gone.
    pub fn run(mut self) {
        while let Some(requests) = self.gather() {
            self.reopen_if_due();
            let batch = self.plan(requests);
            self.write(batch);
            self.answer_compactions();
        }
        if let Err(error) = self.acknowledged.sync() {
            tracing::warn!(%error, "the last acknowledged revision was not synced");
        }
    }

    /// Everything that waits, up to a batch; waits for the first of it unless there is work left. None when the store is
    /// closed.
    fn gather(&mut self) -> Option<Vec<Request>> {
        let mut requests = Vec::new();
        let mut bytes = 0;
        while requests.len() < BATCH_REQUESTS_MAX && bytes < BATCH_BYTES_MAX {
            let request = if !requests.is_empty() || self.has_more_to_forget() {
                match self.queue.try_recv() {
                    Ok(request) => request,
                    // If the other end is gone, the next call finds out.
                    Err(_) => break,
                }
            } else if let Disk::Full { next, .. } = &self.disk {
                match self.queue.recv_timeout(next.saturating_duration_since(Instant::now())) {
                    Ok(request) => request,
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => return None,
                }
            } else {
                self.queue.recv().ok()?
            };
            if let Request::Commit(commit, ..) = &request {
                bytes += commit.value.as_ref().map_or(0, |value| value.len());
            }
            requests.push(request);
        }
        Some(requests)
    }

    fn has_more_to_forget(&self) -> bool {
        matches!(self.disk, Disk::Open(_)) && self.live.read(Mvcc::oldest) < self.compact_to
    }

    /// Decides every commit in order, each against what those before it leave, and chooses what history to forget.
    fn plan(&mut self, requests: Vec<Request>) -> Batch {
        let mut batch = Batch::default();
        let live = self.live.clone();
        live.read(|mvcc| {
            let mut overlay: HashMap<Key, Option<Entry>> = HashMap::new();
            let mut current = mvcc.current();
            for request in requests {
                match request {
                    Request::Commit(commit, answer, permit) => {
                        let standing = match overlay.get(&commit.key) {
                            Some(entry) => entry.as_ref(),
                            None => mvcc.get(&commit.key),
                        };
                        let outcome = decide(commit, standing, Revision(current.0 + 1)).map(|decision| {
                            if let Decision::Write(change) = decision {
                                current = change.event.revision;
                                overlay.insert(change.event.key.clone(), change.entry());
                                batch.changes.push(change);
                            }
                            current
                        });
                        batch.answers.push((answer, outcome, permit));
                    }
                    Request::Compact(before, answer, permit) => {
                        self.compact_to = self.compact_to.max(before);
                        self.compactions.push((before, answer, permit));
                    }
                }
            }
            let added_bytes = batch.changes.iter().map(Change::cost_bytes).sum();
            let trim_to = mvcc.trim_point(added_bytes, HISTORY_BYTES_MAX, HISTORY_TRIM_BYTES);
            let trim_to = trim_to.max(Some(self.compact_to)).filter(|to| *to > mvcc.oldest());
            for change in trim_to.into_iter().flat_map(|to| mvcc.changes_to(to)).take(FORGET_CHANGES_MAX) {
                batch.trim_to = Some(change.event.revision);
                // What the change replaced, nobody sees from the change's revision on; nor the deletion itself.
                batch.forget.extend(change.before.as_ref().map(|entry| entry.modified));
                batch.forget.extend(change.event.value.is_none().then_some(change.event.revision));
            }
            if batch.trim_to.is_none() {
                // Nothing changed in between: the mark alone moves.
                batch.trim_to = trim_to.map(|to| to.min(mvcc.current()));
            }
        });
        batch
    }

    /// Makes a batch durable, shows it and answers it; or says why not.
    fn write(&mut self, batch: Batch) {
        if batch.changes.is_empty() && batch.trim_to.is_none() {
            // Nothing to write; what there is to say holds whatever the disk does.
            return batch.answer();
        }
        let log = match &mut self.disk {
            Disk::Open(log) => log,
            Disk::Full { reason, .. } | Disk::Dead(reason) => return batch.refuse(reason, false),
        };
        let oldest = batch.trim_to.unwrap_or_else(|| log.head().oldest);
        match log.append(&Append { changes: &batch.changes, forget: &batch.forget, oldest }) {
            Ok(()) => self.show(batch),
            Err(LogError::Full(reason)) => {
                tracing::error!(%reason, "the store's disk is full: writes are refused until there is room");
                let full = Disk::Full { in_doubt: batch, reason, next: Instant::now(), delay: REOPEN_DELAY_MIN };
                // The log must be closed before it is opened again.
                drop(std::mem::replace(&mut self.disk, full));
                self.reopen_if_due();
                if let Disk::Full { in_doubt, reason, .. } = &mut self.disk {
                    let answers = take(&mut in_doubt.answers);
                    Batch { answers, ..Batch::default() }.refuse(reason, true);
                }
            }
            Err(error) => {
                tracing::error!(%error, "the store's disk fails: writes are refused until a restart");
                let reason = error.to_string();
                self.disk = Disk::Dead(reason.clone());
                batch.refuse(&reason, true);
            }
        }
    }

    /// Shows a batch that is durable, then answers it.
    fn show(&self, mut batch: Batch) {
        let last = batch.changes.last().map(|change| change.event.revision);
        if let Some(Err(error)) = last.map(|revision| self.acknowledged.write(revision)) {
            // The batch is durable all the same; only a later corruption would be harder to tell from a torn write.
            tracing::warn!(%error, "the acknowledged revision was not recorded");
        }
        self.live.show(take(&mut batch.changes), batch.trim_to);
        batch.answer();
    }

    /// Opens the log of a full disk again if its time has come, and settles what became of the batch in doubt.
    fn reopen_if_due(&mut self) {
        let Disk::Full { in_doubt, next, delay, .. } = &mut self.disk else { return };
        if Instant::now() < *next {
            return;
        }
        let error = match RevisionLog::open(&self.path, false, &self.quota_bytes) {
            Ok(log) => {
                let batch = take(in_doubt);
                let expected = self.live.current();
                let reached = log.head().current;
                let last = batch.changes.last().map_or(expected, |change| change.event.revision);
                // A batch that only forgets may have reached the disk as well: the head's own mark says so.
                let trimmed = batch.trim_to.is_none_or(|to| log.head().oldest == to);
                self.disk = Disk::Open(log);
                if reached == last && trimmed {
                    self.show(batch);
                } else if reached == expected {
                    batch.refuse("no room on the disk", false);
                } else {
                    let reason = format!("the log stands at revision {reached} instead of {expected}");
                    batch.refuse(&reason, true);
                    self.disk = Disk::Dead(reason);
                }
                return;
            }
            Err(error) => error,
        };
        if let LogError::Full(_) = error {
            *next = Instant::now() + *delay;
            *delay = (*delay * 2).min(REOPEN_DELAY_MAX);
        } else {
            tracing::error!(%error, "the store cannot be opened again: writes are refused until a restart");
            take(in_doubt).refuse(&error.to_string(), true);
            self.disk = Disk::Dead(error.to_string());
        }
    }

    fn answer_compactions(&mut self) {
        let oldest = self.live.read(Mvcc::oldest);
        let failure = match &self.disk {
            Disk::Open(_) => None,
            Disk::Full { reason, .. } | Disk::Dead(reason) => Some(reason.clone()),
        };
        for (before, answer, permit) in take(&mut self.compactions) {
            let outcome = match &failure {
                _ if before <= oldest => Ok(()),
                Some(reason) => Err(StoreError::Unavailable { reason: reason.clone(), unknown: false }),
                None => {
                    self.compactions.push((before, answer, permit));
                    continue;
                }
            };
            // A caller that no longer waits does not need the answer.
            let _ = answer.send(outcome);
        }
        if failure.is_some() {
            self.compact_to = Revision(0);
        }
    }
}

impl Batch {
    fn answer(self) {
        for (answer, outcome, permit) in self.answers {
            drop(permit);
            // A caller that no longer waits does not need the answer.
            let _ = answer.send(outcome);
        }
    }

    /// Refuses every commit. A mismatch is not told either: what it would show may be of this batch.
    fn refuse(self, reason: &str, unknown: bool) {
        for (answer, outcome, permit) in self.answers {
            drop(permit);
            let unknown = unknown && outcome.is_ok();
            let _ = answer.send(Err(StoreError::Unavailable { reason: reason.to_owned(), unknown }));
        }
    }
}
