//! Commits: they take effect if the key is as expected, and only then, whoever else writes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::{delete, events_to, now, put, watch};
use crate::{Commit, Entry, Expect, Revision, Store, StoreError};

/// How many write at once, and how often each.
const WRITERS: usize = 8;
const ROUNDS: usize = 20;

/// What a commit finds instead of what it expected.
async fn mismatch(store: &dyn Store, key: &str, expect: Expect, value: Option<&str>) -> Option<Entry> {
    let commit = Commit { key: key.into(), expect, value: value.map(|value| Bytes::from(value.to_owned())) };
    match store.commit(commit).await {
        Err(StoreError::Mismatch { current }) => current,
        other => panic!("{key} expected {expect:?}: {other:?}"),
    }
}

pub(super) async fn writes_only_what_was_expected(store: &dyn Store) {
    let key = "/conformance/cas/a";
    let began = now(store).await;
    assert!(began > Revision(0), "an empty store is not at revision 0, which Kubernetes gives another meaning");
    assert_eq!(store.get(key).await.expect("get").0, None);
    assert_eq!(mismatch(store, key, Expect::At(began), Some("x")).await, None);
    // Revision 0 is no way to say "absent".
    assert_eq!(mismatch(store, key, Expect::At(Revision(0)), Some("x")).await, None);

    let created = put(store, key, Expect::Absent, "one").await;
    assert!(created > began);
    let one = Entry { key: key.into(), value: Bytes::from_static(b"one"), created, modified: created };
    let (found, at) = store.get(key).await.expect("get");
    assert_eq!(found, Some(one.clone()));
    assert!(at >= created);
    assert_eq!(mismatch(store, key, Expect::Absent, Some("x")).await, Some(one.clone()));
    assert_eq!(mismatch(store, key, Expect::At(began), Some("x")).await, Some(one.clone()));
    assert_eq!(mismatch(store, key, Expect::Absent, None).await, Some(one));

    let updated = put(store, key, Expect::At(created), "").await;
    let two = Entry { key: key.into(), value: Bytes::new(), created, modified: updated };
    assert_eq!(store.get(key).await.expect("get").0, Some(two.clone()), "an empty value is a value");
    assert_eq!(mismatch(store, key, Expect::At(created), None).await, Some(two));

    let deleted = delete(store, key, updated).await;
    assert!(deleted > updated, "a deletion has a revision of its own");
    assert_eq!(store.get(key).await.expect("get").0, None);
    assert_eq!(mismatch(store, key, Expect::At(updated), None).await, None);
    let nothing = Commit { key: key.into(), expect: Expect::Absent, value: None };
    assert!(store.commit(nothing).await.expect("to delete what is absent changes nothing") >= deleted);

    let large = "x".repeat(1 << 20);
    let again = put(store, key, Expect::Absent, &large).await;
    let (found, _) = store.get(key).await.expect("get");
    let found = found.expect("the key is back");
    assert_eq!((found.created, found.modified, found.value.len()), (again, again, 1 << 20));
    assert!(now(store).await >= again, "the revision is not older than what was answered");
}

/// Several writers raise one counter by compare-and-set: it counts them all.
pub(super) async fn concurrent_writers_lose_no_write(store: Arc<dyn Store>) {
    let key = "/conformance/counter";
    let began = now(&*store).await;
    let first = put(&*store, key, Expect::Absent, "0").await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut revisions = Vec::new();
            let (mut seen, _) = store.get(key).await.expect("get");
            while revisions.len() < ROUNDS {
                let entry = seen.take().expect("the counter stands");
                let count: usize = String::from_utf8_lossy(&entry.value).parse().expect("the counter is a number");
                let value = Some(Bytes::from((count + 1).to_string()));
                let commit = Commit { key: key.into(), expect: Expect::At(entry.modified), value };
                match store.commit(commit).await {
                    Ok(revision) => {
                        assert!(revisions.last().is_none_or(|last| *last < revision), "revisions rise");
                        revisions.push(revision);
                        seen = store.get(key).await.expect("get").0;
                        let found = seen.as_ref().expect("the counter stands").modified;
                        assert!(found >= revision, "a writer reads its own write");
                    }
                    Err(StoreError::Mismatch { current }) => seen = current,
                    Err(error) => panic!("commit: {error}"),
                }
            }
            revisions
        });
    }
    let revisions: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    let distinct: BTreeSet<_> = revisions.iter().copied().chain([first]).collect();
    assert_eq!(distinct.len(), WRITERS * ROUNDS + 1, "no two commits share a revision");

    let last = *distinct.last().expect("there were commits");
    let mut watch = watch(&*store, key, began).await;
    let events = events_to(&mut watch, began, last).await;
    let told: Vec<_> = events.iter().map(|event| (event.revision, event.value.clone())).collect();
    let expected: Vec<_> =
        distinct.iter().enumerate().map(|(n, revision)| (*revision, Some(Bytes::from(n.to_string())))).collect();
    assert_eq!(told, expected, "the counter rose by one with each commit, in the order of revisions");
}
