//! The objects of one stored kind, and what happened to them.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use imbl::OrdMap;
use orlop_api::kind::Kind;
use orlop_store::Key;
use parking_lot::RwLock;
use tokio::time::Instant;

use super::audience::{Audience, Interest, Look, Seat};
use super::index::{Index, Term};
use super::ring::{Event, Ring};
use super::{Object, Observer};

/// How many snapshots are kept for the next pages of lists that are under way. Each costs what was superseded since.
const KEPT_SNAPSHOTS_MAX: usize = 8;

type Map = OrdMap<Key, Arc<Object>>;

/// All objects of a table as they were at one revision. Costs nothing to take.
#[derive(Clone, Debug)]
pub struct Snapshot {
    objects: Map,
    /// The revision of the table's last event in it.
    pub revision: u64,
}

impl Snapshot {
    /// The objects whose keys begin with `prefix` and come after `after`, in key order.
    pub fn range<'a>(&'a self, prefix: &'a str, after: Option<&str>) -> impl Iterator<Item = &'a Arc<Object>> + 'a {
        let from: Bound<Key> = match after {
            Some(after) => Bound::Excluded(after.into()),
            None => Bound::Included(prefix.into()),
        };
        let range = self.objects.range::<(Bound<Key>, Bound<Key>), Key>((from, Bound::Unbounded));
        range.map(|(_, object)| object).take_while(move |it| it.key.starts_with(prefix))
    }

    /// All objects, in key order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    /// One of them.
    pub fn get(&self, key: &str) -> Option<&Arc<Object>> {
        self.objects.get(key)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

#[derive(Debug, Default)]
struct State {
    objects: Map,
    index: Index,
    ring: Ring,
    /// The revision of the last event.
    revision: u64,
    /// The keys under which the store has something that cannot be read. Each costs less than its object would.
    unreadable: BTreeSet<Key>,
    /// Snapshots that a continue token names, with the time of their list, oldest first.
    kept: VecDeque<(u64, Instant, Snapshot)>,
}

/// The objects of one stored kind.
pub struct Table {
    kind: &'static Kind,
    prefix: String,
    state: RwLock<State>,
    /// Who waits for which events.
    audience: Arc<Audience>,
    observers: Arc<[Arc<dyn Observer>]>,
    /// Of a computed kind: the revision up to which its objects are what they should be.
    computed_at: AtomicU64,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl Table {
    pub(super) fn new(kind: &'static Kind, observers: Arc<[Arc<dyn Observer>]>) -> Self {
        Table {
            kind,
            prefix: kind.prefix(),
            state: RwLock::default(),
            audience: Arc::default(),
            observers,
            computed_at: AtomicU64::new(0),
        }
    }

    /// The table of a kind whose definition has gone: it stays empty, and watches of it end at once.
    pub(super) fn closed(kind: &'static Kind) -> Self {
        let table = Table::new(kind, Vec::new().into());
        table.close();
        table
    }

    /// The same objects in a table of another kind, or of the same kind that reads objects in another way now. Watches may begin
    /// where the last event left them.
    pub(super) fn of_kind(&self, kind: &'static Kind) -> Table {
        let made = Table::new(kind, self.observers.clone());
        let before = self.snapshot();
        let mut state = made.state.write();
        for old in before.iter() {
            match Object::served(kind, old.key.clone(), old.revision, old.json.clone()) {
                Ok(object) => {
                    state.index.change(kind, None, Some(&object));
                    state.objects.insert(old.key.clone(), Arc::new(object));
                }
                Err(error) => {
                    tracing::error!(key = %old.key, %error, "an object cannot be read any more; it is not served")
                }
            }
        }
        state.unreadable = self.state.read().unreadable.clone();
        state.revision = before.revision;
        state.ring.begin_at(before.revision);
        drop(state);
        made
    }

    /// Ends all watches, once they have told what happened until now.
    pub(super) fn close(&self) {
        self.audience.close();
    }

    /// Whether the table is no longer kept up to date.
    pub fn is_closed(&self) -> bool {
        self.audience.is_closed()
    }

    fn tell(&self, old: Option<&Object>, new: Option<&Object>) {
        for observer in &*self.observers {
            match (old, new) {
                (_, Some(new)) => observer.put(self.kind, new),
                (Some(old), None) => observer.removed(self.kind, old),
                (None, None) => {}
            }
        }
    }

    /// The kind in whose form the objects are stored.
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// What all keys of the table begin with: `/registry/pods/`.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The object under a store's key.
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.state.read().objects.get(key).cloned()
    }

    /// All objects now.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.state.read();
        Snapshot { objects: state.objects.clone(), revision: state.revision }
    }

    /// The revision of the last event: unchanged means that nothing of this kind has changed.
    pub fn revision(&self) -> u64 {
        self.state.read().revision
    }

    /// The revision up to which the table is complete, where the whole cache is so up to `cache`.
    pub fn complete(&self, cache: u64) -> u64 {
        if self.kind.computed { self.computed_at.load(Ordering::Acquire) } else { cache }
    }

    /// Says up to which revision a computed table is complete.
    pub(crate) fn computed_at(&self, revision: u64) {
        self.computed_at.store(revision, Ordering::Release);
    }

    /// Whether somebody watches.
    pub fn is_watched(&self) -> bool {
        self.audience.is_there()
    }

    /// Tells of every label that objects of the table have, and of how many.
    pub fn labels(&self, mut tell: impl FnMut(&str, &str, usize)) {
        for (key, value, objects) in self.state.read().index.labels() {
            tell(key, value, objects);
        }
    }

    /// Replaces everything in a computed table; watches from before cannot begin.
    pub(crate) fn fill(&self, objects: Vec<Arc<Object>>, revision: u64) {
        let mut state = State { revision, ..State::default() };
        for object in objects {
            state.index.change(self.kind, None, Some(&object));
            state.objects.insert(object.key.clone(), object);
        }
        state.ring.begin_at(revision);
        let before = std::mem::replace(&mut *self.state.write(), state);
        self.computed_at(revision);
        drop(before);
    }

    /// All objects now, and the place in the ring at which what comes after them begins.
    pub fn snapshot_and_place(&self) -> (Snapshot, u64) {
        let state = self.state.read();
        (Snapshot { objects: state.objects.clone(), revision: state.revision }, state.ring.end())
    }

    /// Those objects that have a term and whose keys begin with `prefix`, with the revision of the last event.
    pub fn with_term(&self, term: &Term, prefix: &str) -> (Vec<Arc<Object>>, u64) {
        let state = self.state.read();
        let keys = state.index.get(term).into_iter().flat_map(|keys| keys.range::<Key, _>(Key::from(prefix)..));
        let keys = keys.take_while(|it| it.starts_with(prefix));
        (keys.filter_map(|key| state.objects.get(key).cloned()).collect(), state.revision)
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a snapshot for the next page of a list; `revision` is what the continue token says.
    pub fn keep(&self, revision: u64, snapshot: Snapshot) {
        let mut state = self.state.write();
        if state.kept.iter().any(|(kept, ..)| *kept == revision) {
            return;
        }
        if state.kept.len() == KEPT_SNAPSHOTS_MAX {
            state.kept.pop_front();
        }
        state.kept.push_back((revision, Instant::now(), snapshot));
    }

    /// The snapshot that a continue token names, if it is still kept.
    pub fn kept(&self, revision: u64) -> Option<Snapshot> {
        self.state.read().kept.iter().find(|(kept, ..)| *kept == revision).map(|(.., snapshot)| snapshot.clone())
    }

    /// Lets go of snapshots older than `age`: their lists were given up, or go on from the store.
    pub(super) fn forget_kept(&self, age: Duration) {
        let mut gone = Vec::new();
        let mut state = self.state.write();
        while state.kept.front().is_some_and(|(_, at, _)| at.elapsed() >= age) {
            gone.extend(state.kept.pop_front());
        }
        // What nobody else holds is freed after the lock.
        drop(state);
    }

    /// The first key that begins with `prefix`, comes after `after` and not behind `last`, under which the store has something that cannot be read.
    pub fn unreadable(&self, prefix: &str, after: Option<&str>, last: Option<&str>) -> Option<Key> {
        let state = self.state.read();
        if state.unreadable.is_empty() {
            return None;
        }
        let from: Bound<Key> = match after {
            Some(after) => Bound::Excluded(after.into()),
            None => Bound::Included(prefix.into()),
        };
        let first = state.unreadable.range::<Key, _>((from, Bound::Unbounded)).next()?;
        (first.starts_with(prefix) && last.is_none_or(|it| **first <= *it)).then(|| first.clone())
    }

    /// The place of the first event after `revision`.
    ///
    /// # Errors
    /// The oldest revision that can be asked for.
    pub fn place_after(&self, revision: u64) -> Result<u64, u64> {
        self.state.read().ring.place_after(revision)
    }

    /// Up to `limit` events from a place on, those at least that whoever has the seat is interested in; none if some of them are forgotten.
    pub fn look(&self, seat: &Seat, place: u64, limit: usize) -> Option<Look> {
        seat.look(&self.state.read().ring, place, limit)
    }

    /// Takes a seat for one who waits for events.
    pub fn join(&self, interest: Interest) -> Seat {
        // No event comes in between: they are applied under the other side of this lock.
        let state = self.state.read();
        self.audience.join(interest, state.ring.end())
    }

    /// Applies changes in the order of their revisions. For the feed only; readers see all of them at once.
    pub(crate) fn apply(&self, changes: impl IntoIterator<Item = (Key, u64, Option<Arc<Object>>)>) {
        let mut forgotten = Vec::new();
        let mut state = self.state.write();
        for (key, revision, new) in changes {
            if !state.unreadable.is_empty() {
                state.unreadable.remove(&key);
            }
            let old = match &new {
                Some(new) => state.objects.insert(key, new.clone()),
                None => state.objects.remove(&key),
            };
            // A deletion of what the cache never held (it could not be read) is no event.
            if old.is_none() && new.is_none() {
                continue;
            }
            state.index.change(self.kind, old.as_deref(), new.as_deref());
            self.tell(old.as_deref(), new.as_deref());
            state.revision = state.revision.max(revision);
            let event = Arc::new(Event::new(revision, old.clone(), new));
            state.ring.push(event.clone());
            self.audience.note(self.kind, &event, state.ring.end() - 1, state.ring.first());
            forgotten.extend(old);
        }
        drop(state);
    }

    /// Notes that what the store has under a key now cannot be read. It is no object to any reader, and no list is complete without it.
    pub(crate) fn note_unreadable(&self, key: Key) {
        self.state.write().unreadable.insert(key);
    }

    /// Fills the table with what a list has found. Changes since the last state become events; watches from before cannot begin.
    pub(crate) fn replace(&self, listed: Vec<Arc<Object>>, unreadable: Vec<Key>, revision: u64) {
        let listed: Map = listed.into_iter().map(|it| (it.key.clone(), it)).collect();
        let before = self.snapshot();
        let first = before.revision == 0 && before.is_empty();
        let gone = before.objects.values().filter(|it| !listed.contains_key(&it.key));
        let mut changes: Vec<(Key, u64, Option<Arc<Object>>)> =
            gone.map(|it| (it.key.clone(), revision, None)).collect();
        for (key, object) in &listed {
            if before.objects.get(key).is_none_or(|it| it.revision != object.revision) {
                changes.push((key.clone(), object.revision, Some(object.clone())));
            }
        }
        changes.sort_by_key(|(_, revision, _)| *revision);
        if first {
            let mut state = self.state.write();
            for object in listed.values() {
                state.index.change(self.kind, None, Some(object));
                self.tell(None, Some(object));
            }
            state.objects = listed;
            state.revision = revision;
        } else {
            self.apply(changes);
        }
        let mut state = self.state.write();
        state.ring.begin_at(revision);
        state.unreadable = unreadable.into_iter().collect();
    }

    /// Wakes the watchers for whom there is something new; gives how many they are.
    pub(crate) fn wake(&self) -> usize {
        let end = self.state.read().ring.end();
        self.audience.wake(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn object(name: &str, revision: u64) -> Arc<Object> {
        let kind = registry::named("", "ConfigMap").unwrap();
        let json = format!(r#"{{"metadata":{{"name":"{name}","namespace":"d","labels":{{"n":"{name}"}}}}}}"#);
        let key = kind.key("d", name);
        Arc::new(Object::stored(kind, key.as_str().into(), revision, json.as_bytes()).unwrap())
    }

    fn table() -> Table {
        Table::new(registry::named("", "ConfigMap").unwrap(), Vec::new().into())
    }

    #[test]
    fn snapshots_stay_as_they_were() {
        let table = table();
        table.apply([(object("a", 2).key.clone(), 2, Some(object("a", 2)))]);
        let seat = table.join(Interest::Everything);
        let (snapshot, place) = table.snapshot_and_place();
        table.apply([(object("b", 3).key.clone(), 3, Some(object("b", 3))), (object("a", 2).key.clone(), 4, None)]);
        assert_eq!(snapshot.range("/registry/configmaps/d/", None).count(), 1);
        assert_eq!(table.len(), 1);
        let events = table.look(&seat, place, 10).unwrap().events;
        assert_eq!(events.iter().map(|it| it.1.revision).collect::<Vec<_>>(), [3, 4]);
        assert!(events[1].1.new.is_none() && events[1].1.old.is_some());
        let (found, revision) = table.with_term(&Term::Label("n".into(), "b".into()), table.prefix());
        assert_eq!((found.len(), revision), (1, 4));
    }

    #[test]
    fn a_list_anew_becomes_events() {
        let table = table();
        table.replace(vec![object("a", 2), object("b", 3)], Vec::new(), 5);
        assert_eq!(table.snapshot().revision, 5);
        let seat = table.join(Interest::Everything);
        let place = table.snapshot_and_place().1;
        table.replace(vec![object("b", 7), object("c", 8)], Vec::new(), 9);
        let events = table.look(&seat, place, 10).unwrap().events;
        assert_eq!(events.iter().map(|it| it.1.revision).collect::<Vec<_>>(), [7, 8, 9]);
        assert_eq!(table.place_after(5), Err(9));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn what_cannot_be_read_is_known_by_its_key() {
        let table = table();
        let key = |name: &str| object(name, 1).key.clone();
        table.replace(vec![object("a", 2)], vec![key("b"), key("d")], 5);
        let all = table.prefix();
        assert_eq!(table.unreadable(all, None, None), Some(key("b")));
        assert_eq!(table.unreadable(all, Some(&key("b")), None), Some(key("d")));
        assert_eq!(table.unreadable(all, None, Some(&key("a"))), None);
        assert_eq!(table.unreadable("/registry/configmaps/other/", None, None), None);
        // It is written anew, or deleted.
        table.apply([(key("b"), 6, Some(object("b", 6))), (key("d"), 7, None)]);
        assert_eq!(table.unreadable(all, None, None), None);
        table.apply([(key("a"), 8, None)]);
        table.note_unreadable(key("a"));
        assert_eq!(table.unreadable(all, None, None), Some(key("a")));
    }
}
