//! Which thresholds are met, which conditions the node has, and what is to be reclaimed. Pure: what was seen before is remembered in [`Memory`].

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::settings::Eviction;
use super::signals::{Observation, Observations, Signal, Starved, Threshold, written};
use crate::machine::back_off::{later, since};
use crate::node::capacity::Pressure;

/// What was seen before.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when each threshold is met, by its place in the settings.
    met_since: BTreeMap<usize, Timestamp>,
    /// When a threshold of each resource was last met: a condition stays for a while after.
    last_met: BTreeMap<Starved, Timestamp>,
}

/// A threshold that calls for pods to go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shortage {
    pub signal: Signal,
    pub least: i64,
    pub seen: Observation,
    /// Pods go at once.
    pub hard: bool,
}

/// What follows from what was seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub conditions: Pressure,
    /// What to reclaim first; memory before anything else.
    pub shortage: Option<Shortage>,
}

/// Decides on what is seen now.
pub fn decide(memory: &mut Memory, settings: &Eviction, seen: &Observations, now: Timestamp) -> Verdict {
    let all: Vec<&Threshold> = settings.thresholds().collect();
    let mut met = BTreeMap::new();
    for (at, threshold) in all.iter().enumerate() {
        let Some(it) = seen.get(&threshold.signal) else { continue };
        // One that was met stays so until the least that is to be reclaimed is there, too.
        let more = match memory.met_since.get(&at) {
            Some(_) => settings.reclaim(threshold.signal, it.capacity),
            None => 0,
        };
        if it.available < threshold.least.of(it.capacity).saturating_add(more) {
            met.insert(at, memory.met_since.get(&at).copied().unwrap_or(now));
            memory.last_met.insert(threshold.signal.starved(), now);
        }
    }
    memory.met_since = met;
    memory.last_met.retain(|_, at| later(*at, settings.transition_period) > now);
    let has = |of: &[Starved]| of.iter().any(|it| memory.last_met.contains_key(it));
    let conditions = Pressure {
        memory: has(&[Starved::Memory]),
        disk: has(&[Starved::Disk, Starved::Inodes]),
        pids: has(&[Starved::Pids]),
    };
    let due = memory.met_since.iter().filter_map(|(at, first)| {
        let threshold = all.get(*at)?;
        let grace = threshold.grace.unwrap_or(Duration::ZERO);
        (since(*first, now) >= grace).then_some(*threshold)
    });
    // Of one signal the hard one: who waits for the soft one's grace would wait too long.
    let first = due.min_by_key(|it| (it.signal.starved() != Starved::Memory, it.signal, it.grace.is_some()));
    let shortage = first.and_then(|it| {
        let observed = *seen.get(&it.signal)?;
        let least = it.least.of(observed.capacity);
        Some(Shortage { signal: it.signal, least, seen: observed, hard: it.grace.is_none() })
    });
    Verdict { conditions, shortage }
}

impl Shortage {
    /// Whether it still holds.
    pub fn holds(&self, seen: &Observations) -> bool {
        seen.get(&self.signal).is_some_and(|it| it.available < self.least)
    }

    /// How a pod's message begins that goes for it.
    pub fn message(&self) -> String {
        let of = self.signal.starved();
        format!(
            "The node was low on resource: {}. Threshold quantity: {}, available: {}. ",
            of.name(),
            written(self.least, of),
            written(self.seen.available, of)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pressure::signals::parse;

    fn settings(hard: &str, soft: &str) -> Eviction {
        let soft = parse(soft).unwrap().into_iter();
        let soft = soft.map(|it| Threshold { grace: Some(Duration::from_secs(60)), ..it }).collect();
        Eviction {
            hard: parse(hard).unwrap(),
            soft,
            minimum_reclaim: parse("nodefs.available<5").unwrap(),
            transition_period: Duration::from_secs(300),
            ..Eviction::default()
        }
    }

    fn seen(of: &[(Signal, i64)]) -> Observations {
        of.iter().map(|(signal, available)| (*signal, Observation { available: *available, capacity: 100 })).collect()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    #[test]
    fn a_hard_threshold_is_acted_upon_at_once_and_the_condition_stays_for_a_while() {
        let settings = settings("memory.available<10,nodefs.available<20%,pid.available<3", "");
        let mut memory = Memory::default();
        let mut step = |second, of: &[(Signal, i64)]| decide(&mut memory, &settings, &seen(of), at(second));
        use Signal::{MemoryAvailable, NodefsAvailable, PidAvailable};
        assert_eq!(step(0, &[(MemoryAvailable, 10), (NodefsAvailable, 20), (PidAvailable, 3)]), Verdict::default());
        let short = step(10, &[(MemoryAvailable, 9), (NodefsAvailable, 1)]);
        assert_eq!(short.conditions, Pressure { memory: true, disk: true, pids: false });
        let shortage = short.shortage.unwrap();
        assert_eq!((shortage.signal, shortage.least, shortage.hard), (MemoryAvailable, 10, true));
        assert_eq!(shortage.message(), "The node was low on resource: memory. Threshold quantity: 10, available: 9. ");
        // The disk was short, so that five more than the threshold have to be there.
        let disk = step(20, &[(MemoryAvailable, 50), (NodefsAvailable, 24)]);
        assert_eq!(disk.shortage.map(|it| it.signal), Some(NodefsAvailable));
        let over = step(30, &[(MemoryAvailable, 50), (NodefsAvailable, 25)]);
        assert_eq!((over.shortage, over.conditions.memory, over.conditions.disk), (None, true, true));
        let later = step(310, &[(MemoryAvailable, 50), (NodefsAvailable, 25)]);
        assert_eq!(later.conditions, Pressure { disk: true, ..Pressure::default() });
        assert_eq!(step(320, &[(MemoryAvailable, 50), (NodefsAvailable, 25)]), Verdict::default());
        assert_eq!(step(330, &[]), Verdict::default(), "what cannot be read meets nothing");
    }

    #[test]
    fn a_soft_threshold_waits_for_its_grace() {
        let settings = settings("memory.available<5", "memory.available<10");
        let mut memory = Memory::default();
        let mut step = |second, available| {
            decide(&mut memory, &settings, &seen(&[(Signal::MemoryAvailable, available)]), at(second))
        };
        let first = step(0, 9);
        assert!(first.conditions.memory && first.shortage.is_none());
        assert!(step(59, 9).shortage.is_none());
        assert_eq!(step(60, 9).shortage.map(|it| it.hard), Some(false));
        assert_eq!(step(70, 4).shortage.map(|it| it.hard), Some(true));
        assert!(step(80, 20).shortage.is_none());
        assert!(step(90, 9).shortage.is_none(), "it counts anew");
    }
}
