//! Who waits for which events of one table: the index of watches.
//!
//! In: what each watch is interested in, and the events in the order of their places in the ring. Out: wakes for those whom an event concerns,
//! and for each interest the places of its events, so that neither the wake nor the look of one watch costs anything to the others. A large
//! cluster's nodes hold ten thousand watches, each of its own pods: woken all together, every write would cost them all a look.
//!
//! An interest is coarser than a selection: whoever is woken still filters. It holds places only; the ring owns the events, and forgets them.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use orlop_api::kind::Kind;
use orlop_store::Key;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::index::{Index, Term};
use super::ring::{Event, Ring};

/// What is said to watchers when nothing comes any more.
const CLOSED: u64 = u64::MAX;

/// What a watch wants to hear of, as far as an index knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Interest {
    Everything,
    /// What the keys of a namespace's objects begin with.
    Namespace(Box<str>),
    /// Objects with a label or a field of one value.
    Term(Term),
    /// One object, by its key.
    Object(Key),
}

/// The watches of one interest.
#[derive(Debug)]
struct Group {
    interest: Interest,
    log: Mutex<Log>,
    /// The place behind the newest event of this interest: what watchers wait on, changed once a batch.
    wake: watch::Sender<u64>,
}

/// The places of the events of one interest, since there is a watch of it.
#[derive(Debug, Default)]
struct Log {
    places: VecDeque<u64>,
    /// Of the events whose places are no longer kept, the last one's place and one more.
    forgotten: u64,
}

#[derive(Debug, Default)]
struct Groups {
    by_interest: HashMap<Interest, Arc<Group>>,
    /// How many of them are of each sort, so that an event pays only for sorts that somebody asks for.
    namespaces: usize,
    terms: usize,
    objects: usize,
    /// Those whom events since the last wake concern.
    touched: Vec<Arc<Group>>,
}

impl Groups {
    fn sort_of(&mut self, interest: &Interest) -> Option<&mut usize> {
        match interest {
            Interest::Everything => None,
            Interest::Namespace(_) => Some(&mut self.namespaces),
            Interest::Term(_) => Some(&mut self.terms),
            Interest::Object(_) => Some(&mut self.objects),
        }
    }

    fn touch(&mut self, interest: &Interest, place: u64, first: u64) {
        let Some(group) = self.by_interest.get(interest) else { return };
        let mut log = group.log.lock();
        // An event may concern one interest twice, as it was and as it is.
        if log.places.back() == Some(&place) {
            return;
        }
        while log.places.front().is_some_and(|it| *it < first) {
            log.forgotten = log.places.pop_front().map_or(0, |it| it + 1);
        }
        log.places.push_back(place);
        drop(log);
        if !self.touched.last().is_some_and(|it| Arc::ptr_eq(it, group)) {
            let group = group.clone();
            self.touched.push(group);
        }
    }
}

/// The watches of one table.
#[derive(Debug)]
pub struct Audience {
    /// Those who want to hear of everything; the place behind the newest event.
    all: watch::Sender<u64>,
    groups: Mutex<Groups>,
}

impl Default for Audience {
    fn default() -> Self {
        Audience { all: watch::Sender::new(0), groups: Mutex::default() }
    }
}

impl Audience {
    /// Takes one more into the audience. `joined` is the place behind the newest event; no event may come in between.
    pub fn join(self: &Arc<Self>, interest: Interest, joined: u64) -> Seat {
        if interest == Interest::Everything {
            return Seat { audience: self.clone(), group: None, wake: self.all.subscribe(), joined };
        }
        let mut groups = self.groups.lock();
        let found = groups.by_interest.get(&interest).cloned();
        let group = found.unwrap_or_else(|| {
            // Whoever joins a closed table is told so at once.
            let place = if *self.all.borrow() == CLOSED { CLOSED } else { 0 };
            let group = Group { interest: interest.clone(), log: Mutex::default(), wake: watch::Sender::new(place) };
            let group = Arc::new(group);
            groups.by_interest.insert(interest.clone(), group.clone());
            if let Some(count) = groups.sort_of(&interest) {
                *count += 1;
            }
            group
        });
        let wake = group.wake.subscribe();
        Seat { audience: self.clone(), group: Some(group), wake, joined }
    }

    /// Notes an event at its place, `first` being the oldest that the ring still has. They are woken later, together.
    pub fn note(&self, kind: &Kind, event: &Event, place: u64, first: u64) {
        let groups = &mut *self.groups.lock();
        if groups.by_interest.is_empty() {
            return;
        }
        let Some(key) = event.new.as_ref().or(event.old.as_ref()).map(|it| &it.key) else { return };
        if groups.objects > 0 {
            groups.touch(&Interest::Object(key.clone()), place, first);
        }
        if groups.namespaces > 0
            && let Some(end) = key.rfind('/')
        {
            groups.touch(&Interest::Namespace(key[..=end].into()), place, first);
        }
        if groups.terms > 0 {
            let same = event
                .old
                .as_ref()
                .zip(event.new.as_ref())
                .is_some_and(|(old, new)| old.head.labels == new.head.labels && old.head.fields == new.head.fields);
            let old = event.old.as_ref().filter(|_| !same);
            for object in old.into_iter().chain(&event.new) {
                for term in Index::terms(kind, object) {
                    groups.touch(&Interest::Term(term), place, first);
                }
            }
        }
    }

    /// Wakes those who have something to hear; `end` is the place behind the newest event. Gives how many they are.
    pub fn wake(&self, end: u64) -> usize {
        let mut woken = 0;
        let tell = |sender: &watch::Sender<u64>| {
            sender.send_if_modified(|at| {
                let risen = *at != end && *at != CLOSED;
                if risen {
                    *at = end;
                }
                risen
            })
        };
        if tell(&self.all) {
            woken += self.all.receiver_count();
        }
        let touched = std::mem::take(&mut self.groups.lock().touched);
        for group in touched {
            if tell(&group.wake) {
                woken += group.wake.receiver_count();
            }
        }
        woken
    }

    /// Ends all watches, once they have told what happened until now.
    pub fn close(&self) {
        let groups = self.groups.lock();
        self.all.send_replace(CLOSED);
        for group in groups.by_interest.values() {
            group.wake.send_replace(CLOSED);
        }
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        *self.all.borrow() == CLOSED
    }

    /// Whether anybody listens.
    pub fn is_there(&self) -> bool {
        self.all.receiver_count() > 0 || !self.groups.lock().by_interest.is_empty()
    }
}

/// One watch's place in the audience; left when it is dropped.
#[derive(Debug)]
pub struct Seat {
    audience: Arc<Audience>,
    /// None for one who wants to hear of everything.
    group: Option<Arc<Group>>,
    wake: watch::Receiver<u64>,
    /// From this place on the group knows the events; before it, the ring has to be searched.
    joined: u64,
}

/// What a look at the ring has shown.
#[derive(Debug)]
pub struct Look {
    /// The events with their places, oldest first.
    pub events: Vec<(u64, Arc<Event>)>,
    /// Where the next look begins, once these are told.
    pub next: u64,
}

impl Seat {
    /// Says that what has happened until now will be looked at, so that what comes after it wakes again.
    pub fn mark(&mut self) {
        self.wake.borrow_and_update();
    }

    /// Waits for something new; false once there will be nothing more.
    pub async fn changed(&mut self) -> bool {
        self.wake.changed().await.is_ok()
    }

    /// Up to `limit` events of the interest from a place on, and perhaps others; none if the ring has forgotten some of them.
    pub(super) fn look(&self, ring: &Ring, place: u64, limit: usize) -> Option<Look> {
        let Some(group) = self.group.as_ref().filter(|_| place >= self.joined) else {
            let events = ring.from(place, limit)?;
            let next = place + events.len() as u64;
            return Some(Look { events: (place..).zip(events).collect(), next });
        };
        let log = group.log.lock();
        if place < log.forgotten {
            return None;
        }
        let begin = log.places.partition_point(|it| *it < place);
        let places = log.places.range(begin..).take(limit);
        let events: Option<Vec<_>> = places.map(|it| Some((*it, ring.at(*it)?))).collect();
        let events = events?;
        // Where nothing more is known, everything up to the end of the ring is of no interest.
        let next = match events.last() {
            Some((last, _)) if begin + events.len() < log.places.len() => last + 1,
            _ => ring.end(),
        };
        Some(Look { events, next })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(group) = &self.group else { return };
        let mut groups = self.audience.groups.lock();
        // This one is still counted.
        if group.wake.receiver_count() == 1
            && groups.by_interest.remove(&group.interest).is_some()
            && let Some(count) = groups.sort_of(&group.interest)
        {
            *count -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Object;
    use super::*;
    use crate::registry;

    struct Stage {
        kind: &'static Kind,
        ring: Ring,
        audience: Arc<Audience>,
    }

    impl Stage {
        fn new() -> Self {
            let kind = registry::named("", "ConfigMap").unwrap();
            Stage { kind, ring: Ring::default(), audience: Arc::default() }
        }

        fn object(&self, namespace: &str, name: &str, app: &str) -> Arc<Object> {
            let json =
                format!(r#"{{"metadata":{{"name":"{name}","namespace":"{namespace}","labels":{{"app":"{app}"}}}}}}"#);
            let key = self.kind.key(namespace, name);
            Arc::new(Object::stored(self.kind, key.as_str().into(), 1, json.as_bytes()).unwrap())
        }

        fn happen(&mut self, old: Option<Arc<Object>>, new: Option<Arc<Object>>) {
            let event = Arc::new(Event::new(self.ring.end() + 1, old, new));
            self.ring.push(event.clone());
            self.audience.note(self.kind, &event, self.ring.end() - 1, self.ring.first());
        }

        fn places(&self, seat: &Seat, place: u64, limit: usize) -> Option<(Vec<u64>, u64)> {
            let look = seat.look(&self.ring, place, limit)?;
            Some((look.events.iter().map(|it| it.0).collect(), look.next))
        }
    }

    fn app(value: &str) -> Interest {
        Interest::Term(Term::Label("app".into(), value.into()))
    }

    #[test]
    fn each_hears_what_concerns_it() {
        let mut stage = Stage::new();
        stage.happen(None, Some(stage.object("d", "before", "web")));
        let interests = [
            Interest::Everything,
            Interest::Namespace("/registry/configmaps/d/".into()),
            app("web"),
            app("db"),
            Interest::Object("/registry/configmaps/d/b".into()),
        ];
        let mut seats = interests.map(|it| stage.audience.join(it, stage.ring.end()));
        seats.iter_mut().for_each(Seat::mark);
        let (a, b) = (stage.object("d", "a", "web"), stage.object("d", "b", "web"));
        let moved = stage.object("d", "a", "db");
        stage.happen(None, Some(a.clone()));
        stage.happen(None, Some(stage.object("e", "c", "other")));
        stage.happen(Some(a), Some(moved.clone()));
        stage.happen(None, Some(b));
        stage.happen(Some(moved), None);
        let expected: [&[u64]; 5] = [&[1, 2, 3, 4, 5], &[1, 3, 4, 5], &[1, 3, 4], &[3, 5], &[4]];
        for (seat, expected) in seats.iter().zip(expected) {
            assert_eq!(stage.places(seat, 1, 100), Some((expected.to_vec(), 6)), "{seat:?}");
        }
        assert_eq!(stage.places(&seats[2], 1, 2), Some((vec![1, 3], 4)));
        assert_eq!(stage.places(&seats[4], 5, 100), Some((vec![], 6)));
        // From before one joined, everything is shown.
        assert_eq!(stage.places(&seats[4], 0, 100), Some((vec![0, 1, 2, 3, 4, 5], 6)));
        assert_eq!(stage.audience.wake(stage.ring.end()), 5);
        assert!(seats.iter().all(|it| it.wake.has_changed().unwrap()));
    }

    #[test]
    fn only_those_concerned_are_woken() {
        let mut stage = Stage::new();
        let mut seats = ["web", "web", "db"].map(|it| stage.audience.join(app(it), 0));
        seats.iter_mut().for_each(Seat::mark);
        stage.happen(None, Some(stage.object("d", "a", "web")));
        assert_eq!(stage.audience.wake(stage.ring.end()), 2);
        assert_eq!(stage.audience.wake(stage.ring.end()), 0);
        assert_eq!(seats.each_ref().map(|it| it.wake.has_changed().unwrap()), [true, true, false]);
        drop(seats);
        assert!(!stage.audience.is_there());
        assert_eq!(stage.audience.groups.lock().terms, 0);
    }

    #[test]
    fn what_the_ring_forgets_is_missed_only_by_those_it_concerned() {
        let mut stage = Stage::new();
        let (web, db) = (stage.audience.join(app("web"), 0), stage.audience.join(app("db"), 0));
        stage.happen(None, Some(stage.object("d", "a", "web")));
        for _ in 0..super::super::ring::EVENTS_MAX {
            stage.happen(None, Some(stage.object("d", "b", "other")));
        }
        let end = stage.ring.end();
        assert_eq!(stage.places(&web, 0, 10), None);
        assert_eq!(stage.places(&db, 0, 10), Some((vec![], end)));
        stage.happen(None, Some(stage.object("d", "c", "web")));
        assert_eq!(stage.places(&web, 0, 10), None);
        assert_eq!(stage.places(&web, 1, 10), Some((vec![end], end + 1)));
    }

    #[test]
    fn the_end_is_told_to_all() {
        let stage = Stage::new();
        let mut seats = [Interest::Everything, app("web")].map(|it| stage.audience.join(it, 0));
        seats.iter_mut().for_each(Seat::mark);
        stage.audience.close();
        assert!(seats.iter().all(|it| it.wake.has_changed().unwrap()));
        assert_eq!(stage.audience.wake(7), 0);
        assert_eq!(*stage.audience.join(app("db"), 0).wake.borrow(), u64::MAX);
    }
}
