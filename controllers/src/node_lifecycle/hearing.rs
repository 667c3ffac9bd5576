//! When this process last heard of each node, and since when it has been hearing at all.
//!
//! In: what arrives on the watch of the leases, with the time of its arrival here. Out: times of our own clock only, so
//! that the clocks of the machines may differ. A watch that is broken, waits to be opened anew, or is fed by a server
//! that is away, is told from nodes that are silent by our own lease: it comes over the same watch, and is renewed every
//! 2 s while we act.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use orlop_client::clock;

/// With more than this between two arrivals we were deaf in between: our lease's 2 s, and a slow answer. What remains
/// unnoticed costs a node this, its own period (2 s) and one failed attempt (2 s): 7.5 s, less than the grace period.
pub const HEARING_GAP: Duration = Duration::from_millis(3500);

/// What was heard.
#[derive(Debug, Default)]
pub struct Hearing {
    /// Since when arrivals have followed each other without a gap, and when the last one was.
    stretch: Option<(Timestamp, Timestamp)>,
    nodes: HashMap<Box<str>, Timestamp>,
}

impl Hearing {
    /// Something arrived on the watch of the leases.
    pub fn note(&mut self, now: Timestamp) {
        let was_set_back = self.stretch.is_some_and(|(_, last)| now < last);
        let since = self.since(now).unwrap_or(now).min(now);
        self.stretch = Some((since, now));
        if was_set_back {
            // What was heard in what is the future now would keep a dead node alive until then. How long ago that was is
            // not known: those times begin anew.
            self.nodes.values_mut().for_each(|it| *it = now.min(*it));
        }
    }

    /// A sign of life of `node` arrived.
    pub fn note_node(&mut self, node: &str, now: Timestamp) {
        match self.nodes.get_mut(node) {
            Some(it) => *it = now,
            None => drop(self.nodes.insert(node.into(), now)),
        }
    }

    /// The node is gone.
    pub fn forget(&mut self, node: &str) {
        self.nodes.remove(node);
    }

    /// Since when we hear; none while we are deaf.
    pub fn since(&self, now: Timestamp) -> Option<Timestamp> {
        self.stretch.filter(|(_, last)| clock::since(*last, now) <= HEARING_GAP).map(|(since, _)| since)
    }

    /// When `node` was last heard.
    pub fn of(&self, node: &str) -> Option<Timestamp> {
        self.nodes.get(node).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_keeps_no_dead_node_alive() {
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        let mut hearing = Hearing::default();
        hearing.note(at(100_000));
        hearing.note_node("dead", at(100_000));
        for second in 0..10 {
            hearing.note(at(5_000 + second));
        }
        assert_eq!(hearing.of("dead"), Some(at(5_000)));
        assert_eq!(hearing.since(at(5_010)), Some(at(5_000)));
        // Set forward, it was deaf for as long.
        assert_eq!(hearing.since(at(90_000)), None);
        hearing.note(at(90_000));
        assert_eq!(hearing.since(at(90_001)), Some(at(90_000)));
    }
}
