//! The garbage collector's graph: the metadata of every object that can own or be owned, a store a kind.
//!
//! In: the built-in kinds, and CustomResourceDefinitions as they come and go. Out: stores, and who wants to listen to all of them. Custom objects
//! are collected, and leave with their namespace, as built-in ones do. It fills no store: that is for the [`World`](crate::world::World).

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use orlop_client::write::Resource;
use orlop_client::{Store, View};
use parking_lot::{Mutex, RwLock};

use crate::garbage_collector::Dependent;
use crate::view::DefinitionView;
use crate::world::{BY_OWNER, BY_UID};

/// The stores of the kinds that there are.
pub type Kinds = [(Resource, Store<Dependent>)];

/// Says whether it wants to hear of the stores that come after this one.
type Listener = Box<dyn Fn(&Store<Dependent>) -> bool + Send>;

/// The graph.
#[derive(Clone)]
pub struct Graph(Arc<Inner>);

struct Inner {
    kinds: RwLock<Arc<Kinds>>,
    listeners: Mutex<Vec<Listener>>,
}

impl Graph {
    /// A graph of these kinds.
    pub fn of(kinds: Vec<Resource>) -> Self {
        let kinds = kinds.into_iter().map(|it| (it, store())).collect();
        Graph(Arc::new(Inner { kinds: RwLock::new(kinds), listeners: Mutex::default() }))
    }

    /// The kinds there are now.
    pub fn all(&self) -> Arc<Kinds> {
        self.0.kinds.read().clone()
    }

    /// Gives every store to `listener`, and those that come later, until it wants no more.
    pub fn each(&self, listener: impl Fn(&Store<Dependent>) -> bool + Send + 'static) {
        // One that comes meanwhile waits for the lock, and finds the listener there.
        let mut listeners = self.0.listeners.lock();
        if self.all().iter().all(|(_, store)| listener(store)) {
            listeners.push(Box::new(listener));
        }
    }

    /// Adds a kind; gives its store, or none where there is one already.
    pub fn add(&self, resource: Resource) -> Option<Store<Dependent>> {
        let mut listeners = self.0.listeners.lock();
        let new = {
            let mut kinds = self.0.kinds.write();
            if kinds.iter().any(|(it, _)| *it == resource) {
                return None;
            }
            let new = store();
            *kinds = kinds.iter().cloned().chain([(resource, new.clone())]).collect();
            new
        };
        listeners.retain(|listener| listener(&new));
        Some(new)
    }

    /// Removes a kind.
    pub fn remove(&self, resource: Resource) {
        let mut kinds = self.0.kinds.write();
        *kinds = kinds.iter().filter(|(it, _)| *it != resource).cloned().collect();
    }
}

fn store() -> Store<Dependent> {
    let store = Store::new();
    store.add_index(BY_OWNER, |it: &Dependent| it.owners().iter().map(|it| it.uid.to_string()).collect());
    store.add_index(BY_UID, |it: &Dependent| vec![it.uid().to_owned()]);
    store
}

/// The kind that a definition serves, in the version that it stores; none while it is not established, or when it goes away.
pub fn served(definition: &DefinitionView) -> Option<Resource> {
    let established = definition.status.conditions.iter().any(|it| it.type_ == "Established" && it.status == "True");
    if !established || definition.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let spec = &definition.spec;
    let version = spec.versions.iter().filter(|it| it.served).max_by_key(|it| it.storage)?;
    Some(Resource {
        group: interned(&spec.group),
        version: interned(&version.name),
        kind: interned(&spec.names.kind),
        plural: interned(&spec.names.plural),
        namespaced: spec.scope == "Namespaced",
    })
}

/// A text that lives as long as the process. Only names of definitions come here, each once: some hundred bytes a definition that was ever seen.
fn interned(text: &str) -> &'static str {
    static KNOWN: LazyLock<Mutex<HashSet<&'static str>>> = LazyLock::new(Mutex::default);
    let mut known = KNOWN.lock();
    if let Some(it) = known.get(text) {
        return it;
    }
    let kept: &'static str = Box::leak(text.into());
    known.insert(kept);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn definition(status: &str, versions: Value) -> DefinitionView {
        serde_json::from_value(json!({
            "metadata": { "name": "widgets.example.com" },
            "spec": { "group": "example.com", "scope": "Namespaced", "versions": versions,
                "names": { "kind": "Widget", "plural": "widgets" } },
            "status": { "conditions": [{ "type": "Established", "status": status }] },
        }))
        .unwrap()
    }

    #[test]
    fn kinds_come_and_go_with_their_definitions() {
        let versions = json!([{ "name": "v1", "served": true, "storage": false },
            { "name": "v2", "served": true, "storage": true }, { "name": "v3", "served": false, "storage": false }]);
        assert!(served(&definition("False", versions.clone())).is_none());
        assert!(served(&definition("True", json!([]))).is_none());
        let widgets = served(&definition("True", versions)).unwrap();
        assert_eq!(widgets.path("a"), "/apis/example.com/v2/namespaces/a/widgets");

        let graph = Graph::of(Vec::new());
        let heard = Arc::new(Mutex::new(0));
        let count = heard.clone();
        graph.each(move |_| {
            *count.lock() += 1;
            true
        });
        assert!(graph.add(widgets).is_some() && graph.add(widgets).is_none());
        assert_eq!((*heard.lock(), graph.all().len()), (1, 1));
        graph.remove(widgets);
        assert!(graph.all().is_empty());
    }
}
