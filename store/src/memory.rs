//! The engine that keeps everything in memory and nothing beyond the process's life: for tests, and for clusters that may
//! be forgotten.
//!
//! History is bounded by [`history::HISTORY_BYTES_MAX`](crate::history::HISTORY_BYTES_MAX) here; by age it is bounded by
//! whoever calls [`Store::compact`](crate::Store::compact).

use std::sync::Arc;

use crate::engine::Engine;
use crate::history::{HISTORY_BYTES_MAX, HISTORY_TRIM_BYTES};
use crate::live::Live;
use crate::mvcc::{Decision, Mvcc, decide};
use crate::{Commit, Revision, StoreError};

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    live: Arc<Live>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { live: Live::new(Mvcc::new()) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.live.close();
    }
}

impl Engine for Memory {
    fn live(&self) -> &Arc<Live> {
        &self.live
    }

    async fn write(&self, commit: Commit) -> Result<Revision, StoreError> {
        let (revision, gone) = self.live.write(|mvcc| {
            let standing = mvcc.get(&commit.key);
            let Decision::Write(change) = decide(commit, standing, mvcc.next())? else {
                return Ok((mvcc.current(), Vec::new()));
            };
            mvcc.apply(change);
            let trim_to = mvcc.trim_point(0, HISTORY_BYTES_MAX, HISTORY_TRIM_BYTES);
            Ok((mvcc.current(), trim_to.map(|before| mvcc.compact(before)).unwrap_or_default()))
        })?;
        // Freed after the lock.
        drop(gone);
        Ok(revision)
    }

    async fn forget(&self, before: Revision) -> Result<(), StoreError> {
        let gone = self.live.write(|mvcc| mvcc.compact(before));
        drop(gone);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::StreamExt;

    use super::*;
    use crate::{Expect, Store};

    #[tokio::test]
    async fn a_watcher_that_history_overtakes_is_cut_off() {
        let store = Memory::new();
        let mut watch = store.watch("/a", Revision(1)).await.unwrap();
        let value = Bytes::from(vec![b'x'; 1 << 20]);
        let mut expect = Expect::Absent;
        // One mebibyte each, more than history may hold.
        for _ in 0..40 {
            let commit = Commit { key: "/a".into(), expect, value: Some(value.clone()) };
            expect = Expect::At(store.commit(commit).await.unwrap());
        }
        assert!(matches!(watch.next().await, Some(Err(StoreError::Lagged(Revision(1))))));
        assert!(watch.next().await.is_none());
        assert!(store.live.read(Mvcc::history_bytes) <= HISTORY_BYTES_MAX);
    }

    #[tokio::test]
    async fn watches_end_with_the_store() {
        let store = Memory::new();
        let mut watch = store.watch("/", Revision(1)).await.unwrap();
        drop(store);
        assert!(matches!(watch.next().await, Some(Err(StoreError::Unavailable { unknown: false, .. }))));
        assert!(watch.next().await.is_none());
    }
}
