//! How much of the past a store keeps: five minutes, and in the engines of our own no more than 16 MiB.
//!
//! In: a store and the passing of time. Out: calls of [`Store::compact`]. The bound by bytes is the engines' own, because
//! only they know the bytes; etcd's is its quota.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{Revision, Store, StoreError};

/// How long a revision can be asked for after it was replaced: what kube-apiserver keeps in etcd by default
/// (`--etcd-compaction-interval`).
pub const HISTORY_AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// How many bytes of history an engine of our own keeps: some 10,000 writes of 1.5 kB objects, as many as the API server goes
/// back when it starts, and a ninth of the 150 MiB that it may take after a load; at 50 such writes a second nearly four
/// minutes. Values that are still live are counted but cost nothing more.
pub const HISTORY_BYTES_MAX: usize = 16 << 20;

/// How much is forgotten at once when history has grown too large: a sixteenth of it, some 700 writes, so that the work
/// is neither done at each write nor long enough to be felt.
pub const HISTORY_TRIM_BYTES: usize = 1 << 20;

/// How often the age of history is looked at. History is at most this much older than [`HISTORY_AGE_MAX`].
pub const HISTORY_LOOK_INTERVAL: Duration = Duration::from_secs(30);

/// Forgets history older than `age_max` until `shutdown`. A store that is away is asked again at the next look. Several API
/// servers over one etcd may all do this: to forget twice is no error.
pub async fn keep_history_bounded(store: Arc<dyn Store>, age_max: Duration, shutdown: CancellationToken) {
    let mut ages = Ages::default();
    let mut looks = interval(HISTORY_LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        let look = async {
            ages.saw(store.revision().await?, Instant::now());
            match ages.older_than(age_max, Instant::now()) {
                Some(before) => store.compact(before).await,
                None => Ok(()),
            }
        };
        let outcome: Result<(), StoreError> = tokio::select! {
            () = shutdown.cancelled() => return,
            outcome = look => outcome,
        };
        if let Err(error) = outcome {
            tracing::warn!(%error, "history was not compacted; trying again at the next look");
        }
    }
}

/// When which revision was current.
#[derive(Debug, Default)]
struct Ages {
    /// At most one look an interval over the age limit: some ten.
    looks: VecDeque<(Instant, Revision)>,
}

impl Ages {
    fn saw(&mut self, revision: Revision, now: Instant) {
        self.looks.push_back((now, revision));
    }

    /// The latest revision that was current `age` ago; asked once.
    fn older_than(&mut self, age: Duration, now: Instant) -> Option<Revision> {
        let mut found = None;
        while let Some((then, revision)) = self.looks.front().copied()
            && now.duration_since(then) >= age
        {
            found = Some(revision);
            self.looks.pop_front();
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::memory::Memory;
    use crate::{Commit, Expect};

    #[tokio::test(start_paused = true)]
    async fn history_is_kept_for_its_age_and_no_longer() {
        let store = Arc::new(Memory::new());
        let shutdown = CancellationToken::new();
        let keeper = tokio::spawn(keep_history_bounded(store.clone(), HISTORY_AGE_MAX, shutdown.clone()));
        for key in ["/a", "/b"] {
            let commit = Commit { key: key.into(), expect: Expect::Absent, value: Some(Bytes::new()) };
            store.commit(commit).await.unwrap();
            tokio::time::sleep(HISTORY_AGE_MAX / 2).await;
        }
        assert_eq!(store.range("/", None, 0, Some(Revision(2))).await.unwrap().entries.len(), 1);
        tokio::time::sleep(HISTORY_AGE_MAX / 2 + 2 * HISTORY_LOOK_INTERVAL).await;
        let gone = store.range("/", None, 0, Some(Revision(2))).await.unwrap_err();
        assert!(matches!(gone, StoreError::Compacted { oldest: Revision(3), .. }), "{gone}");
        shutdown.cancel();
        keeper.await.unwrap();
    }
}
