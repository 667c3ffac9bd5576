//! The engine for one API server with its own disk: the map of the `memory` engine over a redb revision log.
//!
//! In: commits. Out: answers, once durable; and only then are they shown to readers and watchers. Reads come from memory and
//! never touch the disk; the disk is read once, at start. One thread writes, and shares each sync among all who wait.
//!
//! In the data directory stand `revisions.redb`, `acknowledged` (what was answered, to tell a torn write from a lost one)
//! and `lock`. History is bounded as in the `memory` engine.

mod acknowledged;
mod disk;
mod log;
mod record;
mod writer;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};

use self::acknowledged::Acknowledged;
use self::disk::STORE_BYTES_MAX;
use self::log::{LogError, RevisionLog};
use self::writer::{Request, Writer};
use crate::engine::Engine;
use crate::live::{Live, closed};
use crate::mvcc::FIRST;
use crate::{Commit, Revision, StoreError};

/// How many commits may wait at once, eight batches of the writer's; who comes later waits to be let in. With objects of
/// 1.5 kB that is 6 MB; the API server bounds its requests in flight far below.
const QUEUE_MAX: usize = 4096;

/// How long a write may take, as against etcd. A disk that works takes a whole queue, 6 MB in eight batches, within a second;
/// cloud disks are known to stall for some seconds and go on.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// A store in a directory.
#[derive(Debug)]
pub struct Embedded {
    live: Arc<Live>,
    /// None only while the store is dropped.
    queue: Option<mpsc::Sender<Request>>,
    places: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
    /// Held until the writer has closed the log.
    lock: File,
}

impl Embedded {
    /// Opens the store in `dir`, or makes one there. Reads the whole log: some 100 ms for 100 MB.
    ///
    /// [`StoreError::Unavailable`] if another process has it open, [`StoreError::Damaged`] if it is not as it was left.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with_quota(dir, Arc::new(AtomicU64::new(STORE_BYTES_MAX)))
    }

    fn open_with_quota(dir: &Path, quota_bytes: Arc<AtomicU64>) -> Result<Self, StoreError> {
        let in_dir = |reason: String| StoreError::Unavailable { reason, unknown: false };
        std::fs::create_dir_all(dir).map_err(|error| in_dir(format!("{}: {error}", dir.display())))?;
        let lock = lock(&dir.join("lock"))?;
        let path = dir.join("revisions.redb");
        let acknowledged_path = dir.join("acknowledged");
        let named = |error: LogError| match error {
            LogError::Damaged(what) => StoreError::Damaged(format!("{}: {what}", path.display())),
            other => in_dir(format!("{}: {other}", path.display())),
        };

        let acknowledged = Acknowledged::read(&acknowledged_path)
            .map_err(|error| StoreError::Damaged(format!("{}: {error}", acknowledged_path.display())))?;
        let exists = path.try_exists().map_err(|error| named(error.into()))?;
        if !exists && let Some(revision) = acknowledged {
            return Err(StoreError::Damaged(format!("{} is gone; it held revision {revision}", path.display())));
        }
        let log = RevisionLog::open(&path, !exists, &quota_bytes).map_err(named)?;
        let reached = log.head().current;
        match acknowledged {
            Some(revision) if revision > reached => {
                return Err(StoreError::Damaged(format!(
                    "{} ends at revision {reached}, but revision {revision} was acknowledged",
                    path.display()
                )));
            }
            None if reached > FIRST => {
                return Err(StoreError::Damaged(format!("{} is gone", acknowledged_path.display())));
            }
            _ => {}
        }
        let live = Live::new(log.load().map_err(named)?);
        let acknowledged = Acknowledged::open(&acknowledged_path, reached).map_err(|error| named(error.into()))?;

        let (queue, requests) = mpsc::channel();
        let writer = Writer::new(path, quota_bytes, live.clone(), acknowledged, requests, log);
        let writer = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| in_dir(format!("no thread for the store's writer: {error}")))?;
        let places = Arc::new(Semaphore::new(QUEUE_MAX));
        Ok(Self { live, queue: Some(queue), places, writer: Some(writer), lock })
    }

    /// Hands a request to the writer and waits for its answer, no longer than [`WRITE_TIMEOUT`]: a disk may hang for ever.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, StoreError>>, OwnedSemaphorePermit) -> Request,
    ) -> Result<T, StoreError> {
        let until = Instant::now() + WRITE_TIMEOUT;
        // Before it is in the queue it has surely not taken effect.
        let permit = timeout_at(until, self.places.clone().acquire_owned()).await.map_err(|_| too_late(false))?;
        let permit = permit.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(request(answer, permit)).map_err(|_| closed())?;
        timeout_at(until, answered).await.map_err(|_| too_late(true))?.unwrap_or_else(|_| {
            Err(StoreError::Unavailable { reason: "the store's writer has stopped".to_owned(), unknown: true })
        })
    }
}

fn too_late(unknown: bool) -> StoreError {
    let reason = format!("the disk did not take the write within {} s", WRITE_TIMEOUT.as_secs());
    tracing::warn!(%reason, "the store's disk hangs");
    StoreError::Unavailable { reason, unknown }
}

/// Takes the directory for this process, until the file is closed.
fn lock(path: &PathBuf) -> Result<File, StoreError> {
    let failed = |reason: String| StoreError::Unavailable { reason, unknown: false };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| failed(format!("{}: {error}", path.display())))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds it is only for the message.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            return Err(failed(format!(
                "{} is in use by another process (process {holder})",
                path.parent().unwrap_or(path).display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(failed(format!("{}: {error}", path.display()))),
    }
    // Not being able to say who holds the lock is no reason not to hold it.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(file)
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // The writer ends when its queue is gone and empty, and closes the log; only then may the lock go.
        drop(self.queue.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
        self.live.close();
        // Not by closing alone: a child that some other thread is just starting may hold the file open a moment longer.
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the store's directory was not unlocked");
        }
    }
}

impl Engine for Embedded {
    fn live(&self) -> &Arc<Live> {
        &self.live
    }

    async fn write(&self, commit: Commit) -> Result<Revision, StoreError> {
        self.ask(|answer, permit| Request::Commit(commit, answer, permit)).await
    }

    async fn forget(&self, before: Revision) -> Result<(), StoreError> {
        self.ask(|answer, permit| Request::Compact(before, answer, permit)).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use bytes::Bytes;

    use super::*;
    use crate::history::{HISTORY_BYTES_MAX, HISTORY_TRIM_BYTES};
    use crate::{Expect, Store};

    fn commit(key: &str, expect: Expect, value_bytes: usize) -> Commit {
        Commit { key: key.into(), expect, value: Some(Bytes::from(vec![b'x'; value_bytes])) }
    }

    #[tokio::test]
    async fn one_directory_has_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        let error = Embedded::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("is in use by another process"), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(store);
        Embedded::open(dir.path()).unwrap();
    }

    #[tokio::test]
    async fn an_empty_store_opens_at_once() {
        // The best of several, since the machine may be busy with other things.
        let open = || {
            let dir = tempfile::tempdir().unwrap();
            let began = Instant::now();
            let store = Embedded::open(dir.path()).unwrap();
            let took = began.elapsed();
            drop(store);
            took
        };
        let best = (0..10).map(|_| open()).min().unwrap();
        assert!(best < Duration::from_millis(20), "{best:?}");
    }

    #[tokio::test]
    async fn a_full_disk_refuses_and_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let quota = Arc::new(AtomicU64::new(STORE_BYTES_MAX));
        let store = Embedded::open_with_quota(dir.path(), quota.clone()).unwrap();
        let mut held = Vec::new();
        for n in 0..20 {
            let key = format!("/{n}");
            held.push((key.clone(), store.commit(commit(&key, Expect::Absent, 1000)).await.unwrap()));
        }
        // First a disk that takes no more than it has, then one that takes nothing at all.
        let path = dir.path().join("revisions.redb");
        for (round, limit) in [std::fs::metadata(&path).unwrap().len(), 0].into_iter().enumerate() {
            quota.store(limit, Ordering::SeqCst);
            let mut refused = 0;
            for n in 0..100 {
                let key = format!("/full/{round}/{n}");
                match store.commit(commit(&key, Expect::Absent, 100_000)).await {
                    Ok(revision) => held.push((key, revision)),
                    Err(StoreError::Unavailable { reason, .. }) => {
                        assert!(reason.contains("no room") || reason.contains("may not grow"), "{reason}");
                        refused += 1;
                    }
                    Err(error) => panic!("{error}"),
                }
                if refused == 3 {
                    break;
                }
            }
            assert_eq!(refused, 3, "the disk was never full");
            let page = store.range("/", None, 0, None).await.unwrap();
            assert!(page.entries.len() >= held.len(), "reads go on");
            quota.store(STORE_BYTES_MAX, Ordering::SeqCst);
            let key = format!("/room/{round}");
            let began = Instant::now();
            loop {
                match store.commit(commit(&key, Expect::Absent, 1000)).await {
                    Ok(revision) => break held.push((key, revision)),
                    Err(StoreError::Unavailable { .. }) if began.elapsed() < Duration::from_secs(10) => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Err(error) => panic!("it did not recover: {error}"),
                }
            }
        }
        drop(store);
        let store = Embedded::open(dir.path()).unwrap();
        for (key, revision) in held {
            let (entry, _) = store.get(&key).await.unwrap();
            assert_eq!(entry.map(|entry| entry.modified), Some(revision), "{key}");
        }
    }

    /// A disk that hangs: who waits hears so in time, and what was in its way takes effect when the disk goes on.
    #[tokio::test(start_paused = true)]
    async fn a_disk_that_hangs_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        let (hangs, hung) = std::sync::mpsc::channel();
        let (goes_on, waits) = std::sync::mpsc::channel::<()>();
        let live = store.live.clone();
        // The writer cannot show what it wrote, which to those who wait is the same as a sync that does not end.
        let holder = std::thread::spawn(move || {
            live.read(|_| {
                hangs.send(()).unwrap();
                waits.recv().unwrap();
            });
        });
        hung.recv().unwrap();
        let began = Instant::now();
        for key in ["/a", "/b"] {
            match store.commit(commit(key, Expect::Absent, 1)).await {
                Err(StoreError::Unavailable { reason, unknown }) => {
                    assert_eq!(reason, "the disk did not take the write within 10 s");
                    assert!(unknown);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(began.elapsed(), 2 * WRITE_TIMEOUT);
        tokio::time::resume();
        goes_on.send(()).unwrap();
        holder.join().unwrap();
        store.commit(commit("/c", Expect::Absent, 1)).await.unwrap();
        assert_eq!(store.range("/", None, 0, None).await.unwrap().entries.len(), 3);
    }

    /// History is bounded by bytes on disk as in memory, and the store opens to the same history.
    #[tokio::test]
    async fn history_is_trimmed_on_disk_too() {
        let dir = tempfile::tempdir().unwrap();
        let store = Embedded::open(dir.path()).unwrap();
        let mut expect = Expect::Absent;
        for _ in 0..80 {
            expect = Expect::At(store.commit(commit("/a", expect, 1 << 20)).await.unwrap());
        }
        let oldest = store.live.read(|mvcc| (mvcc.oldest(), mvcc.history_bytes()));
        assert!(oldest.1 <= HISTORY_BYTES_MAX && oldest.1 > HISTORY_BYTES_MAX - 3 * HISTORY_TRIM_BYTES);
        assert!(oldest.0 > FIRST);
        drop(store);
        let store = Embedded::open(dir.path()).unwrap();
        assert_eq!(store.live.read(|mvcc| (mvcc.oldest(), mvcc.history_bytes())), oldest);
    }

    /// More than one portion of compaction, under commits.
    #[tokio::test]
    async fn compaction_comes_in_portions() {
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(dir.path()).unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..100 {
            let store = store.clone();
            tasks.spawn(async move {
                let mut expect = Expect::Absent;
                for _ in 0..30 {
                    expect = Expect::At(store.commit(commit(&format!("/{task}"), expect, 10)).await.unwrap());
                }
            });
        }
        tasks.join_all().await;
        let before = store.revision().await.unwrap();
        let (compacted, committed) =
            tokio::join!(store.compact(before), store.commit(commit("/new", Expect::Absent, 10)));
        compacted.unwrap();
        assert_eq!(store.live.read(|mvcc| mvcc.oldest()), before);
        let entries = store.range("/", None, 0, None).await.unwrap().entries;
        drop(Arc::into_inner(store).unwrap());
        let store = Embedded::open(dir.path()).unwrap();
        assert_eq!(store.live.read(|mvcc| (mvcc.oldest(), mvcc.current())), (before, committed.unwrap()));
        assert_eq!(store.range("/", None, 0, None).await.unwrap().entries, entries);
    }
}
