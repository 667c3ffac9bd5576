//! The events of one table, newest last, as far back as memory allows.
//!
//! A watcher that is connected is a place in the ring, counted from the first event ever; one that begins is found its place
//! by revision. The ring forgets by count and by the bytes of the objects that only it still holds.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use orlop_api::kind::Kind;

use super::Object;

/// The most events kept: at some 120 bytes of bookkeeping each, 1.2 MB.
pub(super) const EVENTS_MAX: usize = 10_000;

/// The most bytes of superseded objects kept: 4,000 revisions of a 3 kB pod, and with three busy kinds a quarter of what the
/// whole control plane may take.
const BYTES_MAX: usize = 12 << 20;

/// One change of one object.
#[derive(Debug)]
pub struct Event {
    pub revision: u64,
    /// The object before; none if it was created.
    pub old: Option<Arc<Object>>,
    /// The object after; none if it was deleted.
    pub new: Option<Arc<Object>>,
    /// `old` as watchers see it in a `DELETED` event: with this event's revision. Made once, for all watchers.
    gone: OnceLock<Option<Arc<Object>>>,
}

impl Event {
    /// A change at `revision`.
    pub fn new(revision: u64, old: Option<Arc<Object>>, new: Option<Arc<Object>>) -> Self {
        Event { revision, old, new, gone: OnceLock::new() }
    }

    /// The old object with this event's revision; `kind` is the one in whose form the table stores. None if nothing was there before.
    pub fn gone(&self, kind: &Kind) -> Option<&Arc<Object>> {
        let old = self.old.as_ref()?;
        let made = self.gone.get_or_init(|| {
            let gone = Object::served(kind, old.key.clone(), self.revision, old.at_revision(self.revision));
            gone.inspect_err(|error| tracing::error!(key = %old.key, %error, "a deleted object cannot be told of"))
                .ok()
                .map(Arc::new)
        });
        made.as_ref()
    }

    /// What keeping it costs beside the current objects.
    fn cost_bytes(&self) -> usize {
        self.old.as_ref().map_or(0, |it| it.json.len())
    }
}

/// The events of one table.
#[derive(Debug, Default)]
pub struct Ring {
    events: VecDeque<Arc<Event>>,
    /// The number of the first event that is kept, counted from the first ever.
    first: u64,
    bytes: usize,
    /// Watches from revisions before this one cannot be served.
    floor: u64,
}

impl Ring {
    /// Adds an event; revisions never fall.
    pub fn push(&mut self, event: Arc<Event>) {
        self.bytes += event.cost_bytes();
        self.events.push_back(event);
        while self.events.len() > EVENTS_MAX || (self.bytes > BYTES_MAX && self.events.len() > 1) {
            if let Some(forgotten) = self.events.pop_front() {
                self.bytes -= forgotten.cost_bytes();
                self.first += 1;
                self.floor = self.floor.max(forgotten.revision);
            }
        }
    }

    /// Says that events up to `revision` may be missing: after a list, or a list anew.
    pub fn begin_at(&mut self, revision: u64) {
        self.floor = self.floor.max(revision);
    }

    /// The oldest revision from which a watch can begin.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The place of the oldest event that is kept.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The event at a place; none if it is forgotten or has not come yet.
    pub fn at(&self, place: u64) -> Option<Arc<Event>> {
        self.events.get(place.checked_sub(self.first)? as usize).cloned()
    }

    /// The place behind the newest event.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// The place of the first event after `revision`.
    ///
    /// # Errors
    /// The oldest revision that can be asked for, where `revision` is older.
    pub fn place_after(&self, revision: u64) -> Result<u64, u64> {
        if revision < self.floor {
            return Err(self.floor);
        }
        Ok(self.first + self.events.partition_point(|it| it.revision <= revision) as u64)
    }

    /// Up to `limit` events from a place on; none if the place is forgotten.
    pub fn from(&self, place: u64, limit: usize) -> Option<Vec<Arc<Event>>> {
        let skip = place.checked_sub(self.first)? as usize;
        Some(self.events.iter().skip(skip).take(limit).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_are_forgotten() {
        let mut ring = Ring::default();
        ring.begin_at(10);
        for revision in 11..=(EVENTS_MAX as u64 + 15) {
            ring.push(Arc::new(Event::new(revision, None, None)));
        }
        assert_eq!(ring.floor(), 15);
        assert_eq!(ring.place_after(14), Err(15));
        assert_eq!(ring.place_after(15), Ok(5));
        assert!(ring.from(4, 1).is_none());
        assert_eq!(ring.from(5, 1).unwrap()[0].revision, 16);
        assert_eq!(ring.place_after(u64::MAX), Ok(ring.end()));
        assert!(ring.from(ring.end(), 5).unwrap().is_empty());
    }
}
