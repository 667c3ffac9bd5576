//! Which event becomes an object of its own, which is counted up, and which is too much. Pure: the caller brings time.
//!
//! The rules and numbers are client-go's (`tools/record/events_cache.go`): an object may have 25 events at once and one
//! more every five minutes; more than ten similar events (all the same but the message) within ten minutes are combined
//! into one; events that are the same to the word are counted up.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};

use super::Note;

/// Events that an object may have at once.
const BURST: f64 = 25.0;
/// Further events of an object a second: one in five minutes.
const REFILL_PER_SECOND: f64 = 1.0 / 300.0;
/// This many similar events are told apart.
const SIMILAR_MOST: usize = 10;
/// Similar events count as one flood when less than this lies between them.
const SIMILAR_WITHIN: SignedDuration = SignedDuration::from_mins(10);
/// Remembered objects, groups and events: about 200 bytes each, 2.5 MB in all at the most.
const REMEMBERED: usize = 4096;

/// The place of an event in the correlator's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot(u64);

/// What to do with an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Write a new object; then say [`Correlator::written`].
    Create {
        /// Where its name is to be remembered.
        slot: Slot,
        /// The message, prefixed if it stands for many.
        message: String,
    },
    /// Count up the object `name`.
    Count {
        /// Where its name is remembered.
        slot: Slot,
        /// The event's name.
        name: String,
        /// The message, prefixed if it stands for many.
        message: String,
        /// The new count.
        count: u64,
        /// When it first happened.
        first: Timestamp,
    },
    /// Do nothing.
    Drop,
}

/// Remembers what was told lately.
#[derive(Debug, Default)]
pub struct Correlator {
    buckets: HashMap<u64, Bucket>,
    groups: HashMap<u64, Group>,
    told: HashMap<Slot, Told>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Timestamp,
}

#[derive(Debug)]
struct Group {
    messages: HashSet<u64>,
    at: Timestamp,
}

#[derive(Debug)]
struct Told {
    name: String,
    count: u64,
    first: Timestamp,
    at: Timestamp,
}

impl Correlator {
    /// Decides on `note` at `now`.
    pub fn admit(&mut self, note: &Note, now: Timestamp) -> Verdict {
        self.forget_old();
        let object =
            hash(&[&note.regarding.kind, &note.regarding.namespace, &note.regarding.name, &note.regarding.uid]);
        let group = hash(&(object, note.severity, &note.reason));
        let text = hash(&note.message);

        let similar = self.groups.entry(group).or_insert_with(|| Group { messages: HashSet::new(), at: now });
        if now.duration_since(similar.at) > SIMILAR_WITHIN {
            similar.messages.clear();
        }
        similar.at = now;
        // One more than is told apart is enough to know that there are too many.
        if similar.messages.len() <= SIMILAR_MOST {
            similar.messages.insert(text);
        }
        let combined = similar.messages.len() > SIMILAR_MOST;
        let (slot, message) = if combined {
            (Slot(group), format!("(combined from similar events): {}", note.message))
        } else {
            (Slot(hash(&(group, text, &note.regarding.field_path))), note.message.clone())
        };

        let bucket = self.buckets.entry(object).or_insert_with(|| Bucket { tokens: BURST, at: now });
        let passed = now.duration_since(bucket.at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + passed * REFILL_PER_SECOND).min(BURST);
        bucket.at = now;
        if bucket.tokens < 1.0 {
            return Verdict::Drop;
        }
        bucket.tokens -= 1.0;

        let told = self.told.entry(slot).or_insert_with(|| Told { name: String::new(), count: 0, first: now, at: now });
        told.count += 1;
        told.at = now;
        if told.name.is_empty() {
            told.count = 1;
            told.first = now;
            return Verdict::Create { slot, message };
        }
        Verdict::Count { slot, name: told.name.clone(), message, count: told.count, first: told.first }
    }

    /// Remembers under which name the event of `slot` was written.
    pub fn written(&mut self, slot: Slot, name: String) {
        if let Some(told) = self.told.get_mut(&slot) {
            told.name = name;
        }
    }

    /// Halves a memory that is full, the oldest first, so that the cost of a scan is spread over many events.
    fn forget_old(&mut self) {
        halve(&mut self.buckets, |it| it.at);
        halve(&mut self.groups, |it| it.at);
        halve(&mut self.told, |it| it.at);
    }
}

fn halve<K: Eq + Hash, V>(map: &mut HashMap<K, V>, at: impl Fn(&V) -> Timestamp) {
    if map.len() < REMEMBERED {
        return;
    }
    let mut times: Vec<Timestamp> = map.values().map(&at).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    map.retain(|_, it| at(it) > median);
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Severity;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn note(name: &str, message: &str) -> Note {
        let regarding = ObjectReference { name: Some(name.into()), ..ObjectReference::default() };
        Note { regarding, severity: Severity::Normal, reason: "Test".into(), message: message.into() }
    }

    /// Admits `note` and remembers it under its message.
    fn tell(it: &mut Correlator, note: &Note, second: i64) -> String {
        let verdict = it.admit(note, Timestamp::from_second(second).unwrap());
        match verdict {
            Verdict::Drop => "drop".to_owned(),
            Verdict::Create { slot, message } => {
                it.written(slot, message.clone());
                format!("create {message}")
            }
            Verdict::Count { count, message, .. } => format!("{count}x {message}"),
        }
    }

    #[test]
    fn the_same_event_is_counted_up() {
        let mut it = Correlator::default();
        assert_eq!(tell(&mut it, &note("a", "m"), 0), "create m");
        assert_eq!(tell(&mut it, &note("a", "m"), 1), "2x m");
        assert_eq!(tell(&mut it, &note("b", "m"), 1), "create m");
    }

    #[test]
    fn a_flood_of_similar_events_is_combined() {
        let mut it = Correlator::default();
        for at in 0..10 {
            assert_eq!(tell(&mut it, &note("a", &format!("m{at}")), at), format!("create m{at}"));
        }
        assert_eq!(tell(&mut it, &note("a", "m10"), 10), "create (combined from similar events): m10");
        assert_eq!(tell(&mut it, &note("a", "m11"), 11), "2x (combined from similar events): m11");
        assert_eq!(tell(&mut it, &note("a", "m12"), 10_000), "create m12");
    }

    #[test]
    fn one_object_has_a_limit() {
        let mut it = Correlator::default();
        for at in 0..25 {
            assert_ne!(tell(&mut it, &note("a", "m"), at), "drop");
        }
        assert_eq!(tell(&mut it, &note("a", "m"), 26), "drop");
        assert_eq!(tell(&mut it, &note("b", "m"), 26), "create m");
        assert_eq!(tell(&mut it, &note("a", "m"), 400), "26x m");
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut it = Correlator::default();
        for at in 0..3 * REMEMBERED {
            tell(&mut it, &note(&at.to_string(), "m"), at as i64);
        }
        assert!(it.told.len() <= REMEMBERED && it.groups.len() <= REMEMBERED && it.buckets.len() <= REMEMBERED);
    }
}
