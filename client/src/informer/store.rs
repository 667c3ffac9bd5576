//! The objects an informer knows, with indexes and changes.
//!
//! In: lists and single changes, from one writer. Out: `Arc`s of objects by key or index, and every change, to
//! listeners. A store without an informer is filled by hand, as tests and models do. Reading never waits for writing
//! longer than one object takes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, watch};

use crate::key::Key;
use crate::view::View;

/// One change of one object. `old` is absent when it is new, `new` when it is gone.
#[derive(Debug)]
pub struct Change<V> {
    /// The object.
    pub key: Key,
    /// What it was.
    pub old: Option<Arc<V>>,
    /// What it is.
    pub new: Option<Arc<V>>,
}

impl<V> Clone for Change<V> {
    fn clone(&self) -> Self {
        Change { key: self.key.clone(), old: self.old.clone(), new: self.new.clone() }
    }
}

/// The objects of one kind; clones are the same store.
pub struct Store<V>(Arc<Inner<V>>);

struct Inner<V> {
    /// Held by the writer through a change and its listeners, so that changes arrive in order; taken before `state`.
    listeners: Mutex<Vec<Listener<V>>>,
    state: RwLock<State<V>>,
    synced: watch::Sender<bool>,
}

/// Gets each change; says whether it wants more.
type Listener<V> = Box<dyn Fn(&Change<V>) -> bool + Send>;
/// Gives the values under which an object is found.
type IndexFn<V> = Arc<dyn Fn(&V) -> Vec<String> + Send + Sync>;

struct State<V> {
    objects: BTreeMap<Key, Arc<V>>,
    indexes: Vec<Index<V>>,
    /// The newest resource version heard of; versions are numbers that grow (KEP-5504).
    revision: u64,
}

struct Index<V> {
    name: &'static str,
    of: IndexFn<V>,
    keys: HashMap<Box<str>, BTreeSet<Key>>,
}

impl<V> Clone for Store<V> {
    fn clone(&self) -> Self {
        Store(self.0.clone())
    }
}

impl<V: View> Default for Store<V> {
    fn default() -> Self {
        Store::new()
    }
}

impl<V: View> Store<V> {
    /// An empty store that is not synced.
    pub fn new() -> Self {
        let state = State { objects: BTreeMap::new(), indexes: Vec::new(), revision: 0 };
        Store(Arc::new(Inner {
            listeners: Mutex::default(),
            state: RwLock::new(state),
            synced: watch::Sender::new(false),
        }))
    }

    /// Adds an index over what is there and what will come. See [`Store::by_index`].
    pub fn add_index(&self, name: &'static str, of: impl Fn(&V) -> Vec<String> + Send + Sync + 'static) {
        let mut state = self.0.state.write();
        let mut index = Index { name, of: Arc::new(of), keys: HashMap::new() };
        for (key, object) in &state.objects {
            index.insert(key, object);
        }
        state.indexes.push(index);
    }

    /// The object `key`.
    pub fn get(&self, key: &Key) -> Option<Arc<V>> {
        self.0.state.read().objects.get(key).cloned()
    }

    /// All objects, in the order of their keys.
    pub fn list(&self) -> Vec<Arc<V>> {
        self.0.state.read().objects.values().cloned().collect()
    }

    /// The objects of one namespace, in the order of their names.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<V>> {
        let state = self.0.state.read();
        let from = state.objects.range(Key::new(namespace, "")..);
        from.take_while(|(key, _)| key.namespace() == namespace).map(|(_, object)| object.clone()).collect()
    }

    /// The objects that index `index` finds under `value`, in the order of their keys.
    ///
    /// # Panics
    /// When there is no such index: index names are constants of the component that added them.
    pub fn by_index(&self, index: &str, value: &str) -> Vec<Arc<V>> {
        let state = self.0.state.read();
        let index = state.indexes.iter().find(|it| it.name == index).expect("the index was added with the informer");
        let keys = index.keys.get(value).into_iter().flatten();
        keys.filter_map(|key| state.objects.get(key).cloned()).collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.0.state.read().objects.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest resource version heard of.
    pub fn revision(&self) -> u64 {
        self.0.state.read().revision
    }

    /// Whether the first list is complete.
    pub fn is_synced(&self) -> bool {
        *self.0.synced.borrow()
    }

    /// Waits until the first list is complete.
    pub async fn synced(&self) {
        // It fails only when the sender is gone, and `self` holds it.
        let _ = self.0.synced.subscribe().wait_for(|it| *it).await;
    }

    /// Calls `listener` for every object that is there, as new, and then for every change, without a gap between, until
    /// it returns false. It is called by the writer: it must be quick, and may read this store but not write it.
    pub fn listen(&self, listener: impl Fn(&Change<V>) -> bool + Send + 'static) {
        let mut listeners = self.0.listeners.lock();
        let objects: Vec<_> = self.0.state.read().objects.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        for (key, new) in objects {
            if !listener(&Change { key, old: None, new: Some(new) }) {
                return;
            }
        }
        listeners.push(Box::new(listener));
    }

    /// What is there now, and from then on every change, without a gap between.
    pub fn subscribe(&self) -> (Vec<Arc<V>>, Subscription<V>) {
        let mut listeners = self.0.listeners.lock();
        let subscription = Subscription(Arc::new(Pending { changes: Mutex::default(), arrived: Notify::new() }));
        let pending: Weak<Pending<V>> = Arc::downgrade(&subscription.0);
        listeners.push(Box::new(move |change| {
            let Some(pending) = pending.upgrade() else { return false };
            pending.push(change);
            true
        }));
        (self.0.state.read().objects.values().cloned().collect(), subscription)
    }

    /// Puts `object` in, or in place of its former self.
    pub fn apply(&self, object: V) {
        let key = Key::new(object.namespace(), object.name());
        let mut listeners = self.0.listeners.lock();
        let change = self.0.state.write().put(key, Some(object));
        tell(&mut listeners, &change);
    }

    /// Takes out the object that `object` is the last state of.
    pub fn delete(&self, object: V) {
        let key = Key::new(object.namespace(), object.name());
        let mut listeners = self.0.listeners.lock();
        let change = {
            let mut state = self.0.state.write();
            state.note(object.revision());
            state.put(key, None)
        };
        tell(&mut listeners, &change);
    }

    /// Makes `objects` all there is, tells the differences, and is synced.
    pub fn replace(&self, objects: Vec<V>, revision: &str) {
        let mut listeners = self.0.listeners.lock();
        let mut gone: BTreeSet<Key> = self.0.state.read().objects.keys().cloned().collect();
        for object in objects {
            let key = Key::new(object.namespace(), object.name());
            gone.remove(&key);
            let same = |old: &Arc<V>| old.uid() == object.uid() && old.revision() == object.revision();
            if self.0.state.read().objects.get(&key).is_some_and(same) {
                continue;
            }
            // The version is noted when all is in: until then the store does not show all that there was at this object's.
            let change = self.0.state.write().swap(key, Some(object));
            tell(&mut listeners, &change);
        }
        for key in gone {
            let change = self.0.state.write().put(key, None);
            tell(&mut listeners, &change);
        }
        self.0.state.write().note(revision);
        self.0.synced.send_replace(true);
    }

    /// Notes that everything up to `revision` has been seen, as a bookmark says.
    pub fn note_revision(&self, revision: &str) {
        self.0.state.write().note(revision);
    }
}

fn tell<V>(listeners: &mut Vec<Listener<V>>, change: &Change<V>) {
    if change.old.is_some() || change.new.is_some() {
        listeners.retain(|it| it(change));
    }
}

impl<V: View> State<V> {
    fn put(&mut self, key: Key, new: Option<V>) -> Change<V> {
        if let Some(new) = &new {
            self.note(new.revision());
        }
        self.swap(key, new)
    }

    fn swap(&mut self, key: Key, new: Option<V>) -> Change<V> {
        let new = new.map(Arc::new);
        let old = match &new {
            Some(new) => self.objects.insert(key.clone(), new.clone()),
            None => self.objects.remove(&key),
        };
        for index in &mut self.indexes {
            if let Some(old) = &old {
                index.remove(&key, old);
            }
            if let Some(new) = &new {
                index.insert(&key, new);
            }
        }
        Change { key, old, new }
    }

    fn note(&mut self, revision: &str) {
        self.revision = self.revision.max(revision.parse().unwrap_or(0));
    }
}

impl<V> Index<V> {
    fn insert(&mut self, key: &Key, object: &V) {
        for value in (self.of)(object) {
            self.keys.entry(value.into()).or_default().insert(key.clone());
        }
    }

    fn remove(&mut self, key: &Key, object: &V) {
        for value in (self.of)(object) {
            if let Some(keys) = self.keys.get_mut(&*value) {
                keys.remove(key);
                if keys.is_empty() {
                    self.keys.remove(&*value);
                }
            }
        }
    }
}

/// The changes of a store since [`Store::subscribe`]. Changes of one object that were not yet taken are told as one,
/// from its first old to its last new state, so that a slow reader holds at most one change an object.
pub struct Subscription<V>(Arc<Pending<V>>);

struct Pending<V> {
    changes: Mutex<Changes<V>>,
    arrived: Notify,
}

struct Changes<V> {
    order: VecDeque<Key>,
    of: HashMap<Key, Change<V>>,
}

impl<V> Default for Changes<V> {
    fn default() -> Self {
        Changes { order: VecDeque::new(), of: HashMap::new() }
    }
}

impl<V> Pending<V> {
    fn push(&self, change: &Change<V>) {
        let mut changes = self.changes.lock();
        if let Some(waiting) = changes.of.get_mut(&change.key) {
            waiting.new.clone_from(&change.new);
            return;
        }
        changes.order.push_back(change.key.clone());
        changes.of.insert(change.key.clone(), change.clone());
        drop(changes);
        self.arrived.notify_one();
    }
}

impl<V> Subscription<V> {
    /// The next change, as soon as there is one.
    pub async fn next(&mut self) -> Change<V> {
        loop {
            if let Some(change) = self.try_next() {
                return change;
            }
            self.0.arrived.notified().await;
        }
    }

    /// The next change, if there is one now.
    pub fn try_next(&mut self) -> Option<Change<V>> {
        let mut changes = self.0.changes.lock();
        let key = changes.order.pop_front()?;
        changes.of.remove(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    fn object(name: &str, uid: &str, revision: u64, app: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            namespace: Some("a".into()),
            name: Some(name.into()),
            uid: Some(uid.into()),
            resource_version: Some(revision.to_string()),
            labels: Some([("app".to_owned(), app.to_owned())].into()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn indexed() -> Store<ConfigMap> {
        let store = Store::new();
        store.add_index("app", |it: &ConfigMap| it.metadata.labels.iter().flatten().map(|(_, v)| v.clone()).collect());
        store
    }

    fn names(objects: &[Arc<ConfigMap>]) -> Vec<&str> {
        objects.iter().map(|it| it.name()).collect()
    }

    #[test]
    fn indexes_follow_changes() {
        let store = indexed();
        store.apply(object("x", "1", 1, "web"));
        store.apply(object("y", "2", 2, "web"));
        assert_eq!(names(&store.by_index("app", "web")), ["x", "y"]);
        store.apply(object("x", "1", 3, "db"));
        assert_eq!(names(&store.by_index("app", "web")), ["y"]);
        store.delete(object("x", "1", 4, "db"));
        assert!(store.by_index("app", "db").is_empty());
        assert_eq!((store.revision(), names(&store.list_in("a")), store.list_in("b").len()), (4, vec!["y"], 0));
    }

    #[test]
    fn a_new_list_is_told_as_differences() {
        let store = indexed();
        store.replace(vec![object("x", "1", 1, "a"), object("y", "2", 2, "a")], "2");
        let (all, mut changes) = store.subscribe();
        assert_eq!(names(&all), ["x", "y"]);
        store.replace(vec![object("y", "2", 2, "a"), object("z", "3", 5, "a")], "6");
        let told: Vec<_> = std::iter::from_fn(|| changes.try_next())
            .map(|it| (it.key.name().to_owned(), it.old.is_some(), it.new.is_some()))
            .collect();
        assert_eq!(told, [("z".to_owned(), false, true), ("x".to_owned(), true, false)]);
        assert!(store.is_synced());
        assert_eq!(store.revision(), 6);
    }

    #[test]
    fn a_slow_reader_gets_one_change_an_object() {
        let store = indexed();
        store.apply(object("x", "1", 1, "a"));
        let (_, mut changes) = store.subscribe();
        for revision in 2..100 {
            store.apply(object("x", "1", revision, "a"));
        }
        let change = changes.try_next().expect("it changed");
        assert_eq!(change.old.map(|it| it.revision().to_owned()).as_deref(), Some("1"));
        assert_eq!(change.new.map(|it| it.revision().to_owned()).as_deref(), Some("99"));
        assert!(changes.try_next().is_none());
    }

    #[test]
    fn a_list_counts_as_seen_only_when_all_of_it_is_in() {
        let store = Arc::new(indexed());
        let seen = store.clone();
        let revisions = Arc::new(Mutex::new(Vec::new()));
        let log = revisions.clone();
        store.listen(move |_| {
            log.lock().push(seen.revision());
            true
        });
        store.replace(vec![object("x", "1", 7, "a"), object("y", "2", 3, "a")], "9");
        assert_eq!(*revisions.lock(), [0, 0], "the newest object came first");
        assert_eq!(store.revision(), 9);
    }

    #[test]
    fn a_listener_hears_what_is_there_and_can_leave() {
        let store = indexed();
        store.apply(object("x", "1", 1, "a"));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = heard.clone();
        store.listen(move |it| {
            log.lock().push(it.key.name().to_owned());
            it.key.name() != "y"
        });
        store.apply(object("y", "2", 2, "a"));
        store.apply(object("z", "3", 3, "a"));
        assert_eq!(*heard.lock(), ["x", "y"]);
    }
}
