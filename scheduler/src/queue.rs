//! Pods that wait for a node: those to be tried now, those that wait out a back-off, those that fit nowhere until something happens.
//!
//! Pure: `now` comes from the caller, of a clock that nobody sets. A pod stands in one of the three, or is *in flight* while it is being bound. Kubernetes:
//! `pkg/scheduler/backend/queue`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::decide::Diagnosis;
use crate::filters::Happening;
use crate::pod::Pod;

/// The back-off after a pod's first failed attempt; it doubles with each.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// The longest back-off.
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// After so long an unschedulable pod is tried again, whatever has happened: a net below the wake-ups, not a poll.
const UNSCHEDULABLE_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Where among the active pods one stands: higher priority first, then the order in which they came.
type Rank = (i32, u64);

#[derive(Debug)]
enum Place {
    Active(Rank),
    Backoff {
        until: Timestamp,
    },
    Unschedulable {
        since: Timestamp,
        why: Diagnosis,
    },
    /// Being decided on or bound. Something that happens meanwhile may make a failed attempt stale.
    InFlight {
        happened: Vec<Happening>,
    },
    /// Held back by scheduling gates.
    Gated,
}

#[derive(Debug)]
struct Waiting {
    pod: Arc<Pod>,
    place: Place,
    attempts: u32,
}

/// How many pods stand where, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    pub active: usize,
    pub backoff: usize,
    pub unschedulable: usize,
    pub gated: usize,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    pods: HashMap<Box<str>, Waiting>,
    active: BTreeMap<(std::cmp::Reverse<i32>, u64), Box<str>>,
    /// By the time at which their back-off ends.
    backoff: BTreeSet<(Timestamp, Box<str>)>,
    /// By the time since which they have been unschedulable.
    unschedulable: BTreeSet<(Timestamp, Box<str>)>,
    in_flight: HashSet<Box<str>>,
    arrivals: u64,
}

impl Queue {
    /// A pod without a node came or changed. A changed pod is tried at once: the change may be what it needed.
    pub fn set(&mut self, pod: Arc<Pod>) {
        let uid = pod.uid.clone();
        let gated = !pod.gates.is_empty();
        match self.pods.get_mut(&uid) {
            Some(known) if matches!(known.place, Place::InFlight { .. }) => {
                known.pod = pod;
                return;
            }
            Some(known) if matches!(known.place, Place::Backoff { .. }) && !gated => {
                known.pod = pod;
                return;
            }
            Some(known) => {
                known.pod = pod;
                self.leave(&uid);
            }
            None => {
                let waiting = Waiting { pod, place: Place::Gated, attempts: 0 };
                self.pods.insert(uid.clone(), waiting);
            }
        }
        if gated {
            if let Some(it) = self.pods.get_mut(&uid) {
                it.place = Place::Gated;
            }
        } else {
            self.activate(&uid);
        }
    }

    /// A pod is gone or has a node.
    pub fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.pods.remove(uid);
    }

    /// The next pod to decide on; it is in flight from now on.
    pub fn pop(&mut self, now: Timestamp) -> Option<Arc<Pod>> {
        self.settle(now);
        let (_, uid) = self.active.pop_first()?;
        let waiting = self.pods.get_mut(&uid)?;
        waiting.attempts += 1;
        waiting.place = Place::InFlight { happened: Vec::new() };
        self.in_flight.insert(uid);
        Some(waiting.pod.clone())
    }

    /// The pod fits nowhere.
    pub fn failed(&mut self, uid: &str, why: Diagnosis, now: Timestamp) {
        self.in_flight.remove(uid);
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        if let Place::InFlight { happened } = &waiting.place
            && happened.iter().any(|it| why.woken_by(*it))
        {
            // What it lacks may have come while it was being tried.
            self.back_off(uid, now);
            return;
        }
        waiting.place = Place::Unschedulable { since: now, why };
        self.unschedulable.insert((now, uid.into()));
    }

    /// Binding failed, or the attempt did for another reason than the cluster's room: try again after a back-off.
    pub fn back_off(&mut self, uid: &str, now: Timestamp) {
        self.in_flight.remove(uid);
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        let exponent = waiting.attempts.saturating_sub(1).min(8);
        let wait = (FIRST_BACKOFF * 2u32.pow(exponent)).min(LAST_BACKOFF);
        let until = now.saturating_add(wait).unwrap_or(now);
        waiting.place = Place::Backoff { until };
        self.backoff.insert((until, uid.into()));
    }

    /// Something happened: unschedulable pods that it may help are tried again, after what is left of their back-off.
    pub fn happened(&mut self, happening: Happening, now: Timestamp) {
        for uid in &self.in_flight {
            if let Some(Place::InFlight { happened }) = self.pods.get_mut(uid).map(|it| &mut it.place)
                && !happened.contains(&happening)
            {
                happened.push(happening);
            }
        }
        let woken = self.unschedulable.iter().filter(|(_, uid)| match self.pods.get(uid).map(|it| &it.place) {
            Some(Place::Unschedulable { why, .. }) => why.woken_by(happening),
            _ => false,
        });
        let woken: Vec<_> = woken.cloned().collect();
        for (since, uid) in woken {
            self.unschedulable.remove(&(since, uid.clone()));
            // The back-off counts from the failed attempt, not from the wake-up.
            self.back_off(&uid, since);
        }
        self.settle(now);
    }

    /// When the next back-off ends or the net is due, if nothing else happens before.
    pub fn next_due(&self) -> Option<Timestamp> {
        let backoff = self.backoff.first().map(|(until, _)| *until);
        let net = self.unschedulable.first().and_then(|(since, _)| since.checked_add(UNSCHEDULABLE_LIMIT).ok());
        [backoff, net].into_iter().flatten().min()
    }

    /// How many pods stand where.
    pub fn lengths(&self) -> Lengths {
        let gated = self.pods.values().filter(|it| matches!(it.place, Place::Gated)).count();
        Lengths {
            active: self.active.len(),
            backoff: self.backoff.len(),
            unschedulable: self.unschedulable.len(),
            gated,
        }
    }

    fn settle(&mut self, now: Timestamp) {
        while let Some((until, uid)) = self.backoff.first().cloned()
            && until <= now
        {
            self.backoff.remove(&(until, uid.clone()));
            self.activate(&uid);
        }
        while let Some((since, uid)) = self.unschedulable.first().cloned()
            && since.saturating_add(UNSCHEDULABLE_LIMIT).is_ok_and(|it| it <= now)
        {
            self.unschedulable.remove(&(since, uid.clone()));
            self.activate(&uid);
        }
    }

    fn activate(&mut self, uid: &str) {
        let Some(waiting) = self.pods.get_mut(uid) else { return };
        self.arrivals += 1;
        let rank = (waiting.pod.priority, self.arrivals);
        waiting.place = Place::Active(rank);
        self.active.insert((std::cmp::Reverse(rank.0), rank.1), uid.into());
    }

    fn leave(&mut self, uid: &str) {
        self.in_flight.remove(uid);
        match self.pods.get(uid).map(|it| &it.place) {
            Some(Place::Active(rank)) => {
                self.active.remove(&(std::cmp::Reverse(rank.0), rank.1));
            }
            Some(Place::Backoff { until }) => {
                self.backoff.remove(&(*until, uid.into()));
            }
            Some(Place::Unschedulable { since, .. }) => {
                self.unschedulable.remove(&(*since, uid.into()));
            }
            Some(Place::InFlight { .. } | Place::Gated) | None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn pod(uid: &str, priority: i32) -> Arc<Pod> {
        Arc::new(Pod { uid: uid.into(), priority, ..Pod::default() })
    }

    fn pop(queue: &mut Queue, seconds: i64) -> Option<String> {
        queue.pop(at(seconds)).map(|it| it.uid.to_string())
    }

    fn lacks_cpu() -> Diagnosis {
        let fit = crate::filters::FILTERS.iter().position(|it| it.name() == "NodeResourcesFit").unwrap();
        Diagnosis { nodes: 1, rejected_by: vec![fit], ..Diagnosis::default() }
    }

    #[test]
    fn higher_priority_first_then_by_arrival() {
        let mut queue = Queue::default();
        for (uid, priority) in [("a", 0), ("b", 0), ("c", 9)] {
            queue.set(pod(uid, priority));
        }
        let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, 0)).collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test]
    fn an_unschedulable_pod_sleeps_until_something_helps() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0));
        pop(&mut queue, 0);
        queue.failed("a", lacks_cpu(), at(0));
        assert_eq!(queue.lengths().unschedulable, 1);
        queue.happened(Happening::NodeLabels, at(100));
        assert_eq!(pop(&mut queue, 100), None);
        queue.happened(Happening::PodLeft, at(100));
        assert_eq!(pop(&mut queue, 100), Some("a".into()));
        // A second failure backs off for two seconds from the attempt.
        queue.failed("a", lacks_cpu(), at(100));
        queue.happened(Happening::PodLeft, at(101));
        assert_eq!((pop(&mut queue, 101), queue.next_due()), (None, Some(at(102))));
        assert_eq!(pop(&mut queue, 102), Some("a".into()));
    }

    #[test]
    fn what_happens_in_flight_is_not_missed() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0));
        pop(&mut queue, 0);
        queue.happened(Happening::PodLeft, at(0));
        queue.failed("a", lacks_cpu(), at(0));
        assert_eq!(queue.lengths().backoff, 1);
        assert_eq!(pop(&mut queue, 1), Some("a".into()));
    }

    #[test]
    fn the_net_catches_what_was_not_woken() {
        let mut queue = Queue::default();
        queue.set(pod("a", 0));
        pop(&mut queue, 0);
        queue.failed("a", lacks_cpu(), at(0));
        assert_eq!(queue.next_due(), Some(at(300)));
        assert_eq!(pop(&mut queue, 300), Some("a".into()));
    }

    #[test]
    fn gates_hold_a_pod_and_removal_forgets_it() {
        let mut queue = Queue::default();
        let gated = Pod { uid: "a".into(), gates: vec!["wait".into()], ..Pod::default() };
        queue.set(Arc::new(gated));
        assert_eq!((pop(&mut queue, 0), queue.lengths().gated), (None, 1));
        queue.set(pod("a", 0));
        queue.remove("a");
        assert_eq!((pop(&mut queue, 0), queue.lengths()), (None, Lengths::default()));
    }
}
