//! What happened in etcd of late, shared by all watchers.
//!
//! In: one watch over all keys, opened again with back-off whenever it breaks. Out: watches. As in the embedded engines a
//! watcher is a cursor into one ring and has no queue of its own. A watch from before the ring begins reads a stream of its
//! own from etcd until it meets the ring.

use std::collections::VecDeque;
use std::mem::size_of;
use std::sync::Arc;

use etcd_client::WatchClient;
use futures::StreamExt;
use parking_lot::RwLock;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::revision::RevisionReader;
use super::stream::{Ended, KeysStream};
use crate::live::closed;
use crate::{Batch, Event, Revision, StoreError, Watch};

/// How many bytes of events the ring holds: some 10,000 writes of 1.5 kB. A watcher that falls further behind is cut off.
const RING_BYTES_MAX: usize = 16 << 20;

/// How many events a watcher looks through in one go; see the same constant of the embedded engines.
const WATCH_SCAN_MAX: usize = 1024;

/// The events after `oldest` up to `current`.
#[derive(Debug)]
struct Ring {
    events: VecDeque<Event>,
    bytes: usize,
    oldest: Revision,
    current: Revision,
    /// Rises when the ring had to begin anew: cursors of before mean nothing any more.
    generation: u64,
}

impl Ring {
    fn push(&mut self, batch: Batch) {
        self.current = batch.revision;
        for event in batch.events {
            self.bytes += cost_bytes(&event);
            self.events.push_back(event);
        }
        while self.bytes > RING_BYTES_MAX
            && let Some(gone) = self.events.pop_front()
        {
            self.bytes -= cost_bytes(&gone);
            self.oldest = gone.revision;
        }
        // A revision goes as a whole.
        self.forget(self.oldest);
    }

    /// Forgets the events up to and including `before`.
    fn forget(&mut self, before: Revision) {
        self.oldest = self.oldest.max(before.min(self.current));
        while self.events.front().is_some_and(|event| event.revision <= self.oldest) {
            self.bytes -= self.events.pop_front().map_or(0, |gone| cost_bytes(&gone));
        }
    }

    fn begin_anew(&mut self, at: Revision) {
        let generation = self.generation + 1;
        *self = Self { events: VecDeque::new(), bytes: 0, oldest: at, current: at, generation };
    }

    /// Some of the events after `after`, whole revisions, and the revision looked up to.
    fn after(&self, prefix: &str, after: Revision, scan: usize) -> (Vec<Event>, Revision) {
        let start = self.events.partition_point(|event| event.revision <= after);
        let mut seen_to = after;
        let mut events = Vec::new();
        for (count, event) in self.events.range(start..).enumerate() {
            if count >= scan && event.revision != seen_to {
                return (events, seen_to);
            }
            seen_to = event.revision;
            if event.key.starts_with(prefix) {
                events.push(event.clone());
            }
        }
        (events, seen_to.max(self.current))
    }
}

fn cost_bytes(event: &Event) -> usize {
    size_of::<Event>() + event.key.len() + event.value.as_ref().map_or(0, bytes::Bytes::len)
}

/// What wakes the watchers.
#[derive(Clone, Copy, Debug)]
struct Head {
    revision: Revision,
    closed: bool,
}

/// The ring, and who waits at it.
#[derive(Debug)]
pub(crate) struct Tail {
    ring: RwLock<Ring>,
    head: watch::Sender<Head>,
}

impl Tail {
    /// An empty ring from revision `at` on.
    pub fn new(at: Revision) -> Arc<Self> {
        let ring = Ring { events: VecDeque::new(), bytes: 0, oldest: at, current: at, generation: 0 };
        Arc::new(Self { ring: RwLock::new(ring), head: watch::Sender::new(Head { revision: at, closed: false }) })
    }

    pub fn current(&self) -> Revision {
        self.ring.read().current
    }

    /// Follows etcd for as long as it is polled.
    pub async fn follow(self: Arc<Self>, mut client: WatchClient, revisions: RevisionReader) {
        let mut backoff = Backoff::default();
        loop {
            let reason = match self.follow_once(&mut client, &revisions, &mut backoff).await {
                Ended::Broken(reason) => reason,
                Ended::Final(StoreError::Compacted { asked, oldest }) => {
                    self.skip_to(oldest);
                    format!("what came after revision {asked} was compacted away before it was seen")
                }
                Ended::Final(error) => {
                    // Whoever watches has to start anew; so do we, from now.
                    match revisions.read().await {
                        Ok(revision) => self.begin_anew(revision),
                        Err(away) => tracing::warn!(error = %away, "etcd is away"),
                    }
                    error.to_string()
                }
            };
            let delay = backoff.next();
            tracing::warn!(%reason, delay_ms = delay.as_millis(), "the watch on etcd broke; opening it again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn follow_once(&self, client: &mut WatchClient, revisions: &RevisionReader, backoff: &mut Backoff) -> Ended {
        let at = self.current();
        // A linearizable look, because the member that the watch meets may itself be behind.
        let revision = match revisions.read().await {
            Ok(revision) => revision,
            Err(error) => return Ended::Broken(error.to_string()),
        };
        if revision < at {
            tracing::error!(%revision, %at, "etcd went back in time: it was restored from an older state");
            self.begin_anew(revision);
        }
        let mut stream = match KeysStream::open(client, self.current()).await {
            Ok(stream) => stream,
            Err(ended) => return ended,
        };
        backoff.reset();
        loop {
            match stream.next().await {
                Ok(batch) => {
                    let revision = batch.revision;
                    self.ring.write().push(batch);
                    self.head.send_modify(|head| head.revision = revision);
                }
                Err(ended) => return ended,
            }
        }
    }

    /// Goes on from `oldest`. Who has seen as much misses nothing; who has not has fallen behind.
    fn skip_to(&self, oldest: Revision) {
        let mut ring = self.ring.write();
        let generation = ring.generation;
        ring.begin_anew(oldest);
        ring.generation = generation;
        drop(ring);
        self.head.send_modify(|head| head.revision = oldest);
    }

    fn begin_anew(&self, at: Revision) {
        self.ring.write().begin_anew(at);
        self.head.send_modify(|head| head.revision = at);
    }

    /// Forgets what was compacted away, so that a watch from there is refused as etcd would refuse it.
    pub fn forget(&self, before: Revision) {
        self.ring.write().forget(before);
    }

    /// Ends all watches: the store is going away.
    pub fn close(&self) {
        self.head.send_modify(|head| head.closed = true);
    }

    /// A watch of the keys under `prefix`, after `after`, which is not in the future.
    pub fn watch(self: &Arc<Self>, client: WatchClient, prefix: &str, after: Revision) -> Watch {
        let watcher = Watcher {
            generation: self.ring.read().generation,
            head: self.head.subscribe(),
            tail: self.clone(),
            client,
            prefix: prefix.to_owned(),
            at: after,
            catching_up: None,
            met: false,
            over: false,
        };
        futures::stream::unfold(watcher, |mut watcher| async {
            let item = watcher.next().await?;
            Some((item, watcher))
        })
        .boxed()
    }
}

/// One watch's place.
struct Watcher {
    tail: Arc<Tail>,
    head: watch::Receiver<Head>,
    client: WatchClient,
    prefix: String,
    /// Everything up to here has been delivered.
    at: Revision,
    generation: u64,
    /// A stream of its own, while the ring does not reach back far enough.
    catching_up: Option<KeysStream>,
    /// Whether it has met the ring; it is not to fall behind it again.
    met: bool,
    over: bool,
}

/// Where a watcher finds what comes next.
enum Look {
    Found(Vec<Event>, Revision),
    Behind,
    Anew,
}

impl Watcher {
    async fn next(&mut self) -> Option<Result<Batch, StoreError>> {
        if self.over {
            return None;
        }
        let item = self.look().await;
        self.over = item.is_err();
        Some(item)
    }

    async fn look(&mut self) -> Result<Batch, StoreError> {
        let mut backoff = Backoff::default();
        loop {
            let head = *self.head.borrow_and_update();
            match self.look_at_ring() {
                Look::Found(events, seen_to) => {
                    (self.met, self.catching_up) = (true, None);
                    let moved = seen_to > self.at;
                    self.at = seen_to;
                    if !events.is_empty() || (moved && seen_to >= head.revision) {
                        return Ok(Batch { revision: seen_to, events });
                    }
                    if !moved && (head.closed || self.head.changed().await.is_err()) {
                        return Err(closed());
                    }
                }
                Look::Anew => return Err(StoreError::Lagged(self.at)),
                Look::Behind if self.met => return Err(StoreError::Lagged(self.at)),
                Look::Behind if head.closed => return Err(closed()),
                Look::Behind => match self.catch_up().await {
                    Ok(batch) => {
                        self.at = batch.revision;
                        if !batch.events.is_empty() {
                            return Ok(batch);
                        }
                    }
                    Err(Ended::Final(error)) => return Err(error),
                    Err(Ended::Broken(reason)) => {
                        self.catching_up = None;
                        tracing::warn!(%reason, "a watch that reads etcd's history broke; opening it again");
                        tokio::time::sleep(backoff.next()).await;
                    }
                },
            }
        }
    }

    fn look_at_ring(&self) -> Look {
        let ring = self.tail.ring.read();
        if ring.generation != self.generation {
            Look::Anew
        } else if self.at < ring.oldest {
            Look::Behind
        } else {
            let (events, seen_to) = ring.after(&self.prefix, self.at, WATCH_SCAN_MAX);
            Look::Found(events, seen_to)
        }
    }

    /// The next batch of the stream of its own, without the keys of others.
    async fn catch_up(&mut self) -> Result<Batch, Ended> {
        let stream = match &mut self.catching_up {
            Some(stream) => stream,
            None => {
                let stream = KeysStream::open(&mut self.client, self.at).await?;
                self.catching_up.insert(stream)
            }
        };
        let mut batch = stream.next().await?;
        batch.events.retain(|event| event.key.starts_with(&self.prefix));
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(revisions: &[u64], value_bytes: usize) -> Batch {
        let events = revisions.iter().map(|revision| Event {
            key: format!("/{revision}").into(),
            revision: Revision(*revision),
            created: true,
            value: Some(vec![b'x'; value_bytes].into()),
        });
        Batch { revision: Revision(*revisions.last().unwrap()), events: events.collect() }
    }

    #[test]
    fn a_revision_is_never_split() {
        let tail = Tail::new(Revision(1));
        let mut ring = tail.ring.write();
        ring.push(batch(&[2, 3, 3, 3, 4], 0));
        let (events, to) = ring.after("/", Revision(1), 2);
        assert_eq!((events.len(), to), (4, Revision(3)));
        assert_eq!(ring.after("/", to, 2).1, Revision(4));
        assert_eq!(ring.after("/none", Revision(1), 9), (Vec::new(), Revision(4)));
    }

    #[test]
    fn the_ring_is_bounded_and_forgets_whole_revisions() {
        let tail = Tail::new(Revision(1));
        let mut ring = tail.ring.write();
        ring.push(batch(&[2, 3, 3], 1 << 20));
        for revision in 4..18 {
            ring.push(batch(&[revision], 1 << 20));
        }
        assert!(ring.bytes <= RING_BYTES_MAX);
        assert_eq!(ring.oldest, Revision(3));
        assert_eq!(ring.events.front().map(|event| event.revision), Some(Revision(4)));
        assert_eq!(ring.bytes, ring.events.iter().map(cost_bytes).sum::<usize>());
    }
}
