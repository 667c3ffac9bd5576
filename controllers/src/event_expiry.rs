//! Events expire: those that were not counted up for an hour are deleted, some at a time.
//!
//! In: when each event was last counted up. Out: deletions, and when to look again. One key stands for all events.

use std::time::Duration;

use jiff::Timestamp;
use orlop_client::write::Action;
use orlop_client::{Key, View, clock};

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// Deletions at once, and how long until the next: at most 100 a second, a few percent of what a server takes.
const BATCH: usize = 100;
/// See [`BATCH`].
const PAUSE: Duration = Duration::from_secs(1);
/// Looks are put together so that a steady trickle of events does not bring a steady trickle of looks.
const LEAST_WAIT: Duration = Duration::from_secs(10);

/// The controller.
pub struct EventExpiry {
    /// How long an event is kept (`--event-ttl`).
    pub keep: Duration,
}

impl Controller for EventExpiry {
    fn name(&self) -> &'static str {
        "event-expiry-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        // Only the first events need a look to be planned: each look plans the next.
        let events = world.events.clone();
        wires.on(&world.events, move |_| if events.len() <= 1 { vec![Key::new("", "events")] } else { Vec::new() });
        wires.wake(Key::new("", "events"));
    }

    fn decide(&self, _key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let mut due = 0;
        for event in world.events.list() {
            let meta = &event.metadata;
            let last = event.last_timestamp.as_ref().or(meta.creation_timestamp.as_ref());
            let left = self.keep.saturating_sub(last.map_or(Duration::MAX, |it| clock::since(it.0, now)));
            if !left.is_zero() {
                plan.recheck_in(left.max(LEAST_WAIT));
                continue;
            }
            due += 1;
            if due <= BATCH {
                plan.act(Action::Delete {
                    resource: EVENTS,
                    key: Key::new(event.namespace(), event.name()),
                    uid: event.uid().to_owned(),
                    revision: None,
                    grace_seconds: None,
                    propagation: None,
                });
            }
        }
        if due > 0 {
            plan.recheck_in(PAUSE);
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(world: &World, second: i64) -> Plan {
        let now = Timestamp::from_second(second).unwrap();
        EventExpiry { keep: Duration::from_secs(3600) }.decide(&Key::new("", "events"), world, now, None)
    }

    fn event(name: &str, created: i64, counted: Option<i64>) -> EventView {
        let time = |second: i64| Timestamp::from_second(second).unwrap().to_string();
        let metadata = serde_json::json!({ "namespace": "a", "name": name, "uid": name,
            "creationTimestamp": time(created) });
        let it = serde_json::json!({ "metadata": metadata, "lastTimestamp": counted.map(time) });
        serde_json::from_value(it).unwrap()
    }

    #[test]
    fn events_go_an_hour_after_they_last_happened() {
        let world = World::default();
        world.events.apply(event("old", 0, None));
        world.events.apply(event("counted", 0, Some(600)));
        insta::assert_snapshot!(plan(&world, 3000), @"look again in 600s");
        insta::assert_snapshot!(plan(&world, 3600), @r"
        delete events a/old uid=old
        look again in 1s
        ");
        insta::assert_snapshot!(plan(&world, 4199).steps.len(), @"1");
        insta::assert_snapshot!(plan(&world, 4200).steps.len(), @"2");
    }

    #[test]
    fn many_events_go_some_at_a_time() {
        let world = World::default();
        (0..BATCH + 5).for_each(|it| world.events.apply(event(&format!("e{it}"), 0, None)));
        assert_eq!(plan(&world, 4000).steps.len(), BATCH);
        assert_eq!(plan(&world, 4000).recheck, Some(PAUSE));
    }
}
