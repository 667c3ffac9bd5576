//! Bounds on what is under way at once, so that a flood of requests is refused in time instead of being taken on and lost.
//!
//! In: authorized requests. Out: a [`Seat`] for each, held while it is served, or `TooManyRequests` with the time to come again.
//! Reads and writes have seats of their own, as in kube-apiserver. Watches are bounded in all and by user; those of
//! `system:masters` are too, for a controller gone wild has their credentials as often as not.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use orlop_api::kind::Sub;
use orlop_api::status::{self, Status};
use parking_lot::Mutex;

use crate::config::Limits;
use crate::request::{Request, Verb};
use crate::stage::Authorized;

/// When to come again, in seconds, as kube-apiserver says.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Open watches by user.
type ByUser = Arc<Mutex<HashMap<String, usize>>>;

/// What is under way.
#[derive(Debug)]
pub struct Fairness {
    limits: Limits,
    reads: Arc<AtomicUsize>,
    writes: Arc<AtomicUsize>,
    long_running: Arc<AtomicUsize>,
    watches: ByUser,
}

/// A place among the requests under way; given back when it is dropped.
#[derive(Debug)]
pub struct Seat {
    count: Arc<AtomicUsize>,
    watch: Option<(ByUser, String)>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        if let Some((watches, user)) = self.watch.take() {
            let mut watches = watches.lock();
            if let Some(count) = watches.get_mut(&user) {
                *count -= 1;
                if *count == 0 {
                    watches.remove(&user);
                }
            }
        }
    }
}

/// Whether a request lasts as long as its client likes.
pub fn is_long_running(request: &Request) -> bool {
    let lasting = [Sub::Log, Sub::Proxy, Sub::Exec, Sub::Attach, Sub::PortForward];
    request.verb == Verb::Watch || lasting.iter().any(|it| request.subresource == it.segment())
}

impl Fairness {
    /// Seats as the limits say.
    pub fn new(limits: Limits) -> Self {
        Fairness {
            limits,
            reads: Arc::default(),
            writes: Arc::default(),
            long_running: Arc::default(),
            watches: Arc::default(),
        }
    }

    /// A seat for a request.
    ///
    /// # Errors
    /// `TooManyRequests`.
    pub fn seat(&self, it: &Authorized) -> status::Result<Seat> {
        let request = it.request();
        if is_long_running(request) {
            return self.long_seat(&it.identity().user);
        }
        let (count, limit) = match request.verb.reads() {
            true => (&self.reads, self.limits.reads),
            false => (&self.writes, self.limits.writes),
        };
        if count.fetch_add(1, Ordering::Relaxed) >= limit {
            count.fetch_sub(1, Ordering::Relaxed);
            return Err(full("Too many requests, please try again later."));
        }
        Ok(Seat { count: count.clone(), watch: None })
    }

    fn long_seat(&self, user: &str) -> status::Result<Seat> {
        let mut watches = self.watches.lock();
        let mine = watches.get(user).copied().unwrap_or(0);
        if mine >= self.limits.watchers_per_user {
            return Err(full("too many open watches by this user, please try again later"));
        }
        if self.long_running.load(Ordering::Relaxed) >= self.limits.watchers {
            return Err(full("too many open watches, please try again later"));
        }
        watches.insert(user.to_owned(), mine + 1);
        self.long_running.fetch_add(1, Ordering::Relaxed);
        Ok(Seat { count: self.long_running.clone(), watch: Some((self.watches.clone(), user.to_owned())) })
    }

    /// Reads, writes and long-running requests under way.
    pub fn under_way(&self) -> (usize, usize, usize) {
        let count = |it: &AtomicUsize| it.load(Ordering::Relaxed);
        (count(&self.reads), count(&self.writes), count(&self.long_running))
    }
}

fn full(text: &str) -> Status {
    Status::too_many_requests(text, RETRY_AFTER_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seats_come_back() {
        let limits = Limits { watchers_per_user: 2, watchers: 3, ..Limits::default() };
        let fairness = Fairness::new(limits);
        let first = fairness.long_seat("a").unwrap();
        let _second = fairness.long_seat("a").unwrap();
        let refused = fairness.long_seat("a").unwrap_err();
        assert_eq!((refused.code(), refused.details.unwrap().retry_after_seconds), (429, 1));
        let _third = fairness.long_seat("b").unwrap();
        assert!(fairness.long_seat("c").is_err());
        drop(first);
        assert!(fairness.long_seat("c").is_ok());
        assert_eq!(fairness.under_way(), (0, 0, 2));
    }
}
