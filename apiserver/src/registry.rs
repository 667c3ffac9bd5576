//! Which kinds the server serves, found by what stands in a path: those that are built in, and those that definitions add while it runs.
//!
//! In: [`orlop_api::kinds::KINDS`], and the stored CustomResourceDefinitions as the feed shows them. Out: the record of a resource, looked up
//! once a request, so by hash and not by search; and the whole list, with the documents made of it. It knows no tables: which of
//! them are to be made or closed it tells the cache ([`Changed`]).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use orlop_api::computed::COMPUTED;
use orlop_api::custom::{Definition, Interner};
use orlop_api::discovery;
use orlop_api::kind::{Kind, Sub};
use orlop_api::kinds::KINDS;
use orlop_api::openapi::Documents;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use crate::cache::Object;
use crate::definitions::naming::Used;

/// The group and the kind of definitions.
pub const DEFINITIONS: (&str, &str) = ("apiextensions.k8s.io", "CustomResourceDefinition");

type Names = (&'static str, &'static str, &'static str);

static BY_NAMES: LazyLock<HashMap<Names, &'static Kind>> =
    LazyLock::new(|| KINDS.iter().chain(COMPUTED).map(|it| ((it.group, it.version, it.names.plural), it)).collect());

/// The built-in kind behind `/apis/<group>/<version>/.../<plural>`; the core group is empty.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    BY_NAMES.get(&(group, version, plural)).copied()
}

/// A built-in kind by its Kubernetes name, for the parts of the server that work on one kind by its nature.
pub fn named(group: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|it| it.group == group && it.kind == kind)
}

/// The subresource of this name that the kind has.
pub fn subresource(kind: &Kind, segment: &str) -> Option<Sub> {
    kind.subs.iter().copied().find(|it| it.segment() == segment)
}

/// The kinds that are served at a moment.
#[derive(Debug, Default)]
pub struct Kinds {
    /// All of them, in discovery's order: the built-in ones first.
    pub all: Vec<&'static Kind>,
    custom: HashMap<Names, &'static Kind>,
    /// Their OpenAPI documents.
    pub documents: Documents,
    /// `/api` and `/apis` in one document each, in two versions: with their fingerprints, once somebody asked.
    aggregated: [OnceLock<(Bytes, String)>; 4],
}

impl Kinds {
    fn new(mut custom: Vec<&'static Kind>) -> Self {
        custom.sort_by(|a, b| {
            let newer_first = discovery::compare_versions(b.version, a.version);
            a.group.cmp(b.group).then(newer_first).then(a.names.plural.cmp(b.names.plural))
        });
        Kinds {
            all: KINDS.iter().chain(COMPUTED).chain(custom.iter().copied()).collect(),
            custom: custom.iter().map(|it| ((it.group, it.version, it.names.plural), *it)).collect(),
            documents: Documents::new(custom),
            aggregated: Default::default(),
        }
    }

    /// The kind behind a path.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        find(group, version, plural).or_else(|| self.custom.get(&(group, version, plural)).copied())
    }

    /// The kind that objects name by `apiVersion` and `kind`.
    pub fn of(&self, group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
        self.all.iter().find(|it| it.kind == kind && it.group == group && it.version == version).copied()
    }

    /// The other kinds whose objects are the same ones in another form: the other versions of a custom kind, the events of the other group.
    pub fn equivalents(&self, kind: &'static Kind) -> Vec<&'static Kind> {
        let same = |it: &&&'static Kind| it.stored_as == kind.stored_as && !std::ptr::eq(**it, kind);
        self.all.iter().filter(same).copied().collect()
    }

    /// `/api` (`core`) or `/apis` in one document of `apidiscovery.k8s.io` `v2`, or `v2beta1`, and its fingerprint.
    pub fn aggregated(&self, core: bool, beta: bool) -> &(Bytes, String) {
        self.aggregated[usize::from(core) * 2 + usize::from(beta)].get_or_init(|| {
            let version = if beta { "v2beta1" } else { "v2" };
            let body = Bytes::from(discovery::aggregated(&self.all, core, version).to_string());
            let etag = Sha256::digest(&body).iter().map(|it| format!("{it:02X}")).collect();
            (body, etag)
        })
    }
}

/// What the registry knows of one definition.
#[derive(Debug)]
struct Known {
    revision: u64,
    definition: Arc<Definition>,
    kinds: Vec<&'static Kind>,
}

/// What a change of definitions means for the tables.
#[derive(Debug)]
pub enum Changed {
    /// Objects of this kind, in whose form they are stored, are to be held. If there is a table for them, its watches end.
    Held(&'static Kind),
    /// The definition is gone: so is the table of this place, `example.com/crontabs`.
    Gone(&'static str),
}

#[derive(Debug, Default)]
struct State {
    interner: Interner,
    known: BTreeMap<Box<str>, Known>,
}

/// The kinds of one server.
#[derive(Debug)]
pub struct Registry {
    kinds: ArcSwap<Kinds>,
    state: Mutex<State>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry { kinds: ArcSwap::from_pointee(Kinds::new(Vec::new())), state: Mutex::default() }
    }
}

impl Registry {
    /// The kinds that are served now.
    pub fn kinds(&self) -> Arc<Kinds> {
        self.kinds.load_full()
    }

    /// The kind behind `/apis/<group>/<version>/.../<plural>`, now.
    pub fn find(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        find(group, version, plural).or_else(|| self.kinds.load().find(group, version, plural))
    }

    /// In which kind's form the objects of a definition are stored.
    pub fn stored(&self, definition: &str) -> Option<&'static Kind> {
        let state = self.state.lock();
        state.known.get(definition).map(|it| it.kinds[it.definition.storage])
    }

    /// The names that the definitions of a group have been granted, but for one of them.
    pub fn used_names(&self, group: &str, except: &str) -> Used {
        let mut used = Used::default();
        let state = self.state.lock();
        let others = state.known.iter().filter(|(name, it)| ***name != *except && *it.definition.group == *group);
        for (_, other) in others {
            let names = &other.definition.names;
            used.resources.extend([&names.plural, &names.singular].into_iter().chain(&names.short_names).cloned());
            used.kinds.extend([&names.kind, &names.list_kind].into_iter().cloned());
        }
        used.resources.remove("");
        used.kinds.remove("");
        used
    }

    /// Serves from now on what these definitions say. For the feed only.
    pub(crate) fn follow<'a>(&self, definitions: impl Iterator<Item = &'a Arc<Object>>) -> Vec<Changed> {
        let mut state = self.state.lock();
        let State { interner, known } = &mut *state;
        let mut before = std::mem::take(known);
        let mut changed = Vec::new();
        let mut any = false;
        for object in definitions {
            let old = before.remove(&object.head.name);
            if let Some(old) = old.as_ref().filter(|it| it.revision == object.revision) {
                let same = Known { definition: old.definition.clone(), kinds: old.kinds.clone(), ..*old };
                known.insert(object.head.name.clone(), same);
                continue;
            }
            any = true;
            let definition = match Definition::parse(&object.json) {
                Ok(mut definition) if !definition.versions.is_empty() => {
                    if let Some(old) = &old {
                        definition.keep_schemas(&old.definition);
                    }
                    Arc::new(definition)
                }
                Ok(_) => continue,
                Err(error) => {
                    tracing::error!(name = %object.head.name, %error, "a stored definition cannot be read; it is not served");
                    continue;
                }
            };
            let kinds = interner.kinds(&definition);
            let stored = kinds[definition.storage];
            let as_before = old.is_some_and(|old| {
                let was = &old.definition;
                (&was.uid, was.generation) == (&definition.uid, definition.generation)
                    && std::ptr::eq(old.kinds[was.storage], stored)
            });
            if !as_before {
                changed.push(Changed::Held(stored));
            }
            known.insert(object.head.name.clone(), Known { revision: object.revision, definition, kinds });
        }
        changed.extend(before.into_values().map(|it| Changed::Gone(it.kinds[0].stored_as)));
        if any || !changed.is_empty() {
            let served = known.values().filter(|it| it.definition.serves()).flat_map(|it| {
                let versions = it.definition.versions.iter().zip(&it.kinds);
                versions.filter(|(version, _)| version.served).map(|(_, kind)| *kind)
            });
            self.kinds.store(Arc::new(Kinds::new(served.collect())));
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_path_and_name() {
        for kind in KINDS {
            let found = find(kind.group, kind.version, kind.names.plural).unwrap();
            assert_eq!((found.group, found.kind), (kind.group, kind.kind));
            assert!(named(kind.group, kind.kind).is_some());
        }
        assert!(find("", "v1", "nothings").is_none());
    }

    fn definition(name: &str, revision: u64, versions: &[&str], established: bool) -> Arc<Object> {
        let (plural, group) = name.split_once('.').unwrap();
        let versions: Vec<_> = versions
            .iter()
            .enumerate()
            .map(|(at, it)| serde_json::json!({"name": it, "served": true, "storage": at == 0}))
            .collect();
        let json = serde_json::json!({
            "metadata": {"name": name, "uid": name, "generation": versions.len()},
            "spec": {"group": group, "scope": "Namespaced", "versions": versions},
            "status": {
                "conditions": [{"type": "Established", "status": if established { "True" } else { "False" }}],
                "acceptedNames": {"plural": plural, "kind": "X"},
            },
        });
        let kind = named(DEFINITIONS.0, DEFINITIONS.1).unwrap();
        let key = kind.key("", name);
        Arc::new(Object::stored(kind, key.as_str().into(), revision, json.to_string().as_bytes()).unwrap())
    }

    #[test]
    fn kinds_come_and_go_with_their_definitions() {
        let registry = Registry::default();
        let follow = |all: &[Arc<Object>]| format!("{:?}", registry.follow(all.iter()));
        assert_eq!(follow(&[definition("xs.b.io", 1, &["v1"], false)]), "[Held(b.io/v1/X)]");
        assert!(registry.find("b.io", "v1", "xs").is_none(), "it is not established");
        assert_eq!(follow(&[definition("xs.b.io", 2, &["v1"], true)]), "[]");
        let first = registry.find("b.io", "v1", "xs").unwrap();
        let both = [definition("xs.a.io", 3, &["v1", "v2beta1", "v2"], true), definition("xs.b.io", 2, &["v1"], true)];
        assert_eq!(follow(&both), "[Held(a.io/v1/X)]");
        let kinds = registry.kinds();
        let custom: Vec<String> = kinds.all[KINDS.len() + COMPUTED.len()..].iter().map(|it| it.api_version()).collect();
        assert_eq!(custom, ["a.io/v2", "a.io/v1", "a.io/v2beta1", "b.io/v1"]);
        assert!(std::ptr::eq(first, registry.find("b.io", "v1", "xs").unwrap()));
        assert_eq!(follow(&both[..1]), "[Gone(\"b.io/xs\")]");
        assert!(registry.find("b.io", "v1", "xs").is_none());
    }
}
