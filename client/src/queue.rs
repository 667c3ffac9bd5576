//! A work queue of keys: each key at most once, never in two hands, later if asked, ever later after failures.
//!
//! In: keys, from watches and timers. Out: the next key that is due. A key that arrives while it is worked on is handed
//! out again after [`Queue::done`]. The queue needs no limit of its own: it holds each key once, and keys are objects,
//! whose number the API server limits.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::random;

/// The first delay after a failure, and the longest. Each failure doubles it: 5 ms · 2^13 = 41 s, so that the longest is
/// reached after 13 failures, about a minute.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(5);
/// See [`BACKOFF_FIRST`].
pub const BACKOFF_LAST: Duration = Duration::from_secs(30);
/// Up to this part of a delay is added at random, so that keys that failed together do not return together.
const JITTER: f64 = 0.2;

/// A queue; clones are the same queue.
pub struct Queue<K>(Arc<Inner<K>>);

struct Inner<K> {
    state: Mutex<State<K>>,
    /// Tells one waiting worker that something is due, or is due earlier than before.
    changed: Notify,
}

struct State<K> {
    ready: VecDeque<K>,
    /// The keys of `ready`, and those that were added while they were worked on.
    dirty: HashSet<K>,
    working: HashSet<K>,
    /// Delayed keys in the order they fall due; the number keeps keys of one instant apart.
    later: BTreeMap<(Instant, u64), K>,
    due: HashMap<K, (Instant, u64)>,
    failures: HashMap<K, u32>,
    counter: u64,
    closed: bool,
}

impl<K> Clone for Queue<K> {
    fn clone(&self) -> Self {
        Queue(self.0.clone())
    }
}

impl<K: Clone + Eq + Hash> Default for Queue<K> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<K: Clone + Eq + Hash> Queue<K> {
    /// An empty queue.
    pub fn new() -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            working: HashSet::new(),
            later: BTreeMap::new(),
            due: HashMap::new(),
            failures: HashMap::new(),
            counter: 0,
            closed: false,
        };
        Queue(Arc::new(Inner { state: Mutex::new(state), changed: Notify::new() }))
    }

    /// Makes `key` due now. A delay that it waits for stays, as it may stand for a different reason.
    pub fn add(&self, key: K) {
        if self.0.state.lock().add(key) {
            self.0.changed.notify_one();
        }
    }

    /// Makes `key` due in `delay`, or earlier if it already waits for an earlier time.
    pub fn add_after(&self, key: K, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        let mut state = self.0.state.lock();
        let at = Instant::now() + delay;
        if state.closed || state.due.get(&key).is_some_and(|(earlier, _)| *earlier <= at) {
            return;
        }
        if let Some(slot) = state.due.remove(&key) {
            state.later.remove(&slot);
        }
        state.counter += 1;
        let slot = (at, state.counter);
        state.due.insert(key.clone(), slot);
        state.later.insert(slot, key);
        drop(state);
        self.0.changed.notify_one();
    }

    /// Makes `key` due after a delay that doubles with each call, until [`Queue::forget`]. Returns the delay.
    pub fn add_after_failure(&self, key: K) -> Duration {
        let failures = {
            let mut state = self.0.state.lock();
            let failures = state.failures.entry(key.clone()).or_default();
            *failures += 1;
            *failures
        };
        let delay = random::jitter(backoff(failures), JITTER);
        self.add_after(key, delay);
        delay
    }

    /// Forgets the failures of `key`.
    pub fn forget(&self, key: &K) {
        self.0.state.lock().failures.remove(key);
    }

    /// The next key that is due, as soon as there is one; `None` once the queue is closed. The caller says
    /// [`Queue::done`] when it has finished.
    pub async fn next(&self) -> Option<K> {
        loop {
            let wake = {
                let mut state = self.0.state.lock();
                if state.closed {
                    // The next waiting worker has to hear of it as well.
                    self.0.changed.notify_one();
                    return None;
                }
                state.ripen(Instant::now());
                if let Some(key) = state.take() {
                    if !state.ready.is_empty() || !state.later.is_empty() {
                        self.0.changed.notify_one();
                    }
                    return Some(key);
                }
                state.later.first_key_value().map(|((at, _), _)| *at)
            };
            match wake {
                Some(at) => {
                    tokio::select! {
                        () = self.0.changed.notified() => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                None => self.0.changed.notified().await,
            }
        }
    }

    /// Says that the work on `key` has ended. If it was added meanwhile, it is due again.
    pub fn done(&self, key: &K) {
        let mut state = self.0.state.lock();
        state.working.remove(key);
        if state.dirty.contains(key) {
            state.ready.push_back(key.clone());
            drop(state);
            self.0.changed.notify_one();
        }
    }

    /// How many keys are due now.
    pub fn len(&self) -> usize {
        self.0.state.lock().ready.len()
    }

    /// Whether no key is due now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is due, delayed or worked on.
    pub fn is_idle(&self) -> bool {
        let state = self.0.state.lock();
        state.ready.is_empty() && state.later.is_empty() && state.working.is_empty()
    }

    /// Ends the queue: every worker gets `None`, further keys are dropped.
    pub fn close(&self) {
        self.0.state.lock().closed = true;
        self.0.changed.notify_one();
    }
}

impl<K: Clone + Eq + Hash> State<K> {
    /// Whether a worker should be woken.
    fn add(&mut self, key: K) -> bool {
        if self.closed || !self.dirty.insert(key.clone()) || self.working.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    fn ripen(&mut self, now: Instant) {
        while let Some(entry) = self.later.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let key = entry.remove();
            self.due.remove(&key);
            self.add(key);
        }
    }

    fn take(&mut self) -> Option<K> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.working.insert(key.clone());
        Some(key)
    }
}

/// The delay before the attempt that follows `failures` failures.
pub fn backoff(failures: u32) -> Duration {
    let doubled = BACKOFF_FIRST.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(BACKOFF_LAST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_key_waits_once_and_is_in_one_hand() {
        let queue = Queue::new();
        queue.add("a");
        queue.add("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.add("a");
        assert!(queue.is_empty(), "it is being worked on");
        queue.done(&"a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert!(queue.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_keys_come_in_the_order_they_fall_due() {
        let queue = Queue::new();
        let start = Instant::now();
        queue.add_after("late", Duration::from_secs(10));
        queue.add_after("early", Duration::from_secs(1));
        queue.add_after("late", Duration::from_secs(5));
        queue.add_after("early", Duration::from_secs(20));
        assert_eq!(queue.next().await, Some("early"));
        assert_eq!(start.elapsed().as_secs(), 1);
        assert_eq!(queue.next().await, Some("late"));
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn many_workers_share_many_keys_and_all_end() {
        let queue = Queue::new();
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let queue = queue.clone();
                tokio::spawn(async move {
                    let mut seen = 0;
                    while let Some(key) = queue.next().await {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                        queue.done(&key);
                        seen += 1;
                    }
                    seen
                })
            })
            .collect();
        for key in 0..100 {
            queue.add_after(key, Duration::from_millis(key % 7));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        queue.close();
        let mut all = 0;
        for worker in workers {
            all += worker.await.unwrap();
        }
        assert_eq!(all, 100);
    }

    #[test]
    fn backoff_doubles_up_to_its_limit() {
        let all: Vec<_> = [1, 2, 3, 13, 14, 40].map(backoff).iter().map(Duration::as_millis).collect();
        assert_eq!(all, [5, 10, 20, 20_480, 30_000, 30_000]);
    }
}
