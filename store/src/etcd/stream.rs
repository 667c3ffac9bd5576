//! One etcd watch over all keys, as batches.
//!
//! All keys, so that every revision shows: whoever has seen an event of revision R has seen all before it, without asking
//! etcd for progress, whose answers before 3.4.25 and 3.5.8 could overtake events
//! (<https://github.com/etcd-io/etcd/issues/15220>). etcd never splits a revision unless asked to (`fragment`).

use bytes::Bytes;
use etcd_client::{Error, EventType, WatchClient, WatchOptions, WatchResponse, WatchStream};
use futures::FutureExt;

use super::revision;
use crate::{Batch, Event, Revision, StoreError};

/// After how many events no more responses are taken into a batch: 256 of 1.5 kB are 400 kB, a fortieth of the ring.
const BATCH_EVENTS_MAX: usize = 256;

/// An open stream.
pub(crate) struct KeysStream {
    stream: WatchStream,
    /// Everything up to here has come.
    at: Revision,
    /// How it ended, when events that came before are to be told first.
    ended: Option<Ended>,
}

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The connection or the member failed; to be opened again from where it was.
    Broken(String),
    /// For good.
    Final(StoreError),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl KeysStream {
    /// Everything after `at`.
    pub async fn open(client: &mut WatchClient, at: Revision) -> Result<Self, Ended> {
        // From `at` on, not after it: at the very revision of a compaction etcd forgets deletions without complaint, so the
        // one revision too many makes it complain whenever something may be missing.
        let start = i64::try_from(at.0.max(1)).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_all_keys().with_start_revision(start);
        Ok(Self { stream: client.watch("", Some(options)).await?, at, ended: None })
    }

    /// The next events, at least one. etcd tells of each revision in a response of its own; what has come already is taken
    /// together, so that under load whoever follows is woken for many revisions at once.
    pub async fn next(&mut self) -> Result<Batch, Ended> {
        if let Some(ended) = self.ended.take() {
            return Err(ended);
        }
        let mut events = Vec::new();
        while events.len() < BATCH_EVENTS_MAX {
            let response = if events.is_empty() {
                self.stream.message().await
            } else {
                match self.stream.message().now_or_never() {
                    Some(response) => response,
                    None => break,
                }
            };
            match self.take(response, &mut events) {
                Ok(()) => {}
                Err(ended) if events.is_empty() => return Err(ended),
                Err(ended) => {
                    self.ended = Some(ended);
                    break;
                }
            }
        }
        Ok(Batch { revision: self.at, events })
    }

    /// Adds the events of one response, whole or not at all.
    fn take(&mut self, response: Result<Option<WatchResponse>, Error>, events: &mut Vec<Event>) -> Result<(), Ended> {
        let response = response?.ok_or_else(|| Ended::Broken("etcd closed the watch".to_owned()))?;
        if response.compact_revision() > 0 {
            let oldest = revision(response.compact_revision());
            return Err(Ended::Final(StoreError::Compacted { asked: self.at, oldest }));
        }
        if response.canceled() {
            return Err(Ended::Broken(format!("etcd cancelled the watch: {}", response.cancel_reason())));
        }
        let known = events.len();
        for event in response.events() {
            let Some(kv) = event.kv() else { continue };
            let modified = revision(kv.mod_revision());
            if modified <= self.at {
                continue;
            }
            let Ok(key) = kv.key_str() else {
                let key = String::from_utf8_lossy(kv.key()).into_owned();
                events.truncate(known);
                return Err(Ended::Final(StoreError::Damaged(format!("etcd has a key that is not UTF-8: {key:?}"))));
            };
            let deleted = event.event_type() == EventType::Delete;
            events.push(Event {
                key: key.into(),
                revision: modified,
                created: !deleted && kv.create_revision() == kv.mod_revision(),
                value: (!deleted).then(|| Bytes::copy_from_slice(kv.value())),
            });
        }
        self.at = events.last().map_or(self.at, |last| last.revision);
        Ok(())
    }
}
