//! The `memory` engine against a model simple enough to be believed: a list of everything that was ever written.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use orlop_store::memory::Memory;
use orlop_store::{Commit, Event, Expect, Revision, Store, StoreError};
use proptest::prelude::*;

/// What is done to both.
#[derive(Clone, Debug)]
enum Step {
    /// Writes (or deletes) a key, expecting what stands, or something wrong.
    Commit {
        key: usize,
        value: Option<u8>,
        right: bool,
    },
    Range {
        prefix: usize,
        after: Option<usize>,
        limit: usize,
        back: u64,
    },
    Watch {
        prefix: usize,
        back: u64,
    },
    Compact {
        back: u64,
    },
}

const KEYS: [&str; 6] = ["/a", "/a/b", "/a/c", "/ab", "/b/a", "/b/b"];
const PREFIXES: [&str; 5] = ["", "/a", "/a/", "/b/", "/none"];

fn step() -> impl Strategy<Value = Step> {
    let (key, prefix) = (0..KEYS.len(), 0..PREFIXES.len());
    prop_oneof![
        6 => (key.clone(), proptest::option::weighted(0.7, any::<u8>()), prop::bool::weighted(0.8))
            .prop_map(|(key, value, right)| Step::Commit { key, value, right }),
        3 => (prefix.clone(), proptest::option::of(key), 0..4_usize, 0..12_u64)
            .prop_map(|(prefix, after, limit, back)| Step::Range { prefix, after, limit, back }),
        2 => (prefix, 0..12_u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => (0..12_u64).prop_map(|back| Step::Compact { back }),
    ]
}

/// Everything that was written, in order; revision 1 is the empty store.
#[derive(Default)]
struct Model {
    written: Vec<Event>,
    oldest: u64,
}

impl Model {
    fn current(&self) -> u64 {
        1 + self.written.len() as u64
    }

    /// The keys at a revision: value, created, modified.
    fn at(&self, revision: u64) -> BTreeMap<&str, (Bytes, u64, u64)> {
        let mut keys: BTreeMap<&str, (Bytes, u64, u64)> = BTreeMap::new();
        for event in self.written.iter().filter(|event| event.revision.0 <= revision) {
            match &event.value {
                Some(value) => {
                    let created = keys.get(&*event.key).map_or(event.revision.0, |(_, created, _)| *created);
                    keys.insert(&event.key, (value.clone(), created, event.revision.0));
                }
                None => drop(keys.remove(&*event.key)),
            }
        }
        keys
    }
}

async fn check(steps: Vec<Step>) {
    let store = Memory::new();
    let mut model = Model::default();
    for step in steps {
        let current = model.current();
        match step {
            Step::Commit { key, value, right } => {
                let key = KEYS[key];
                let standing = model.at(current).get(key).map(|(_, _, modified)| *modified);
                let expect = match (standing, right) {
                    (Some(modified), true) => Expect::At(Revision(modified)),
                    (None, true) | (Some(_), false) => Expect::Absent,
                    (None, false) => Expect::At(Revision(current)),
                };
                let value = value.map(|value| Bytes::copy_from_slice(&[value]));
                let outcome = store.commit(Commit { key: key.into(), expect, value: value.clone() }).await;
                if !right {
                    let Err(StoreError::Mismatch { current }) = outcome else { panic!("{outcome:?}") };
                    assert_eq!(current.map(|entry| entry.modified.0), standing);
                } else if standing.is_none() && value.is_none() {
                    assert_eq!(outcome.expect("it succeeds"), Revision(current));
                } else {
                    let revision = Revision(current + 1);
                    assert_eq!(outcome.expect("it succeeds"), revision);
                    model.written.push(Event { key: key.into(), revision, created: standing.is_none(), value });
                }
            }
            Step::Range { prefix, after, limit, back } => {
                let (prefix, after, at) = (PREFIXES[prefix], after.map(|key| KEYS[key]), current.saturating_sub(back));
                let outcome = store.range(prefix, after, limit, Some(Revision(at))).await;
                if at < model.oldest {
                    assert!(matches!(outcome, Err(StoreError::Compacted { .. })), "{outcome:?}");
                    continue;
                }
                let page = outcome.expect("it succeeds");
                let keys = model.at(at);
                let all: Vec<_> = keys
                    .into_iter()
                    .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| *key > after))
                    .collect();
                let count = if limit == 0 { all.len() } else { limit.min(all.len()) };
                let found: Vec<_> = page
                    .entries
                    .iter()
                    .map(|entry| (&*entry.key, (entry.value.clone(), entry.created.0, entry.modified.0)))
                    .collect();
                assert_eq!((&found[..], page.more, page.revision.0), (&all[..count], all.len() > count, at));
            }
            Step::Watch { prefix, back } => {
                let (prefix, after) = (PREFIXES[prefix], current.saturating_sub(back));
                let outcome = store.watch(prefix, Revision(after)).await;
                if after < model.oldest {
                    assert!(matches!(outcome, Err(StoreError::Compacted { .. })));
                    continue;
                }
                let mut watch = outcome.unwrap_or_else(|error| panic!("{error}"));
                let mut told = Vec::new();
                while let Some(Some(batch)) = watch.next().now_or_never() {
                    told.extend(batch.expect("it does not fail").events);
                }
                let events = model.written.iter().filter(|event| event.revision.0 > after);
                let expected: Vec<_> = events.filter(|event| event.key.starts_with(prefix)).cloned().collect();
                assert_eq!(told, expected);
            }
            Step::Compact { back } => {
                let before = current.saturating_sub(back);
                store.compact(Revision(before)).await.expect("it succeeds");
                model.oldest = model.oldest.max(before);
            }
        }
        assert_eq!(store.revision().await.expect("it succeeds").0, model.current());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_does_what_the_model_does(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(check(steps));
    }
}
