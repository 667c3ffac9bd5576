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
        let since = self.since(now).unwrap_or(now);
        self.stretch = Some((since, now));
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
