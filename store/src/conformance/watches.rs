//! Watches: everything after a revision, in order, once.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{delete, events_to, next, now, put, refusal, standing, watch};
use crate::{Commit, Event, Expect, Revision, Store, StoreError};

const WRITERS: usize = 6;
const ROUNDS: usize = 40;
const WATCHERS: usize = 6;

fn text(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| {
        let value = event.value.as_ref().map_or("gone".into(), |value| String::from_utf8_lossy(value));
        format!("{}{}={value}", if event.created { "+" } else { "" }, event.key.rsplit('/').next().unwrap_or_default())
    };
    events.iter().map(text).collect()
}

pub(super) async fn tells_history_then_news(store: &dyn Store) {
    let key = |name: &str| format!("/conformance/watch/{name}");
    let began = now(store).await;
    let mut live = watch(store, &key(""), began).await;
    let a = put(store, &key("a"), Expect::Absent, "1").await;
    put(store, "/conformance/watch-elsewhere", Expect::Absent, "1").await;
    let a2 = put(store, &key("a"), Expect::At(a), "2").await;
    let gone = delete(store, &key("a"), a2).await;
    let back = put(store, &key("a"), Expect::Absent, "3").await;

    let told = events_to(&mut live, began, back).await;
    assert_eq!(text(&told), ["+a=1", "a=2", "a=gone", "+a=3"]);
    assert_eq!(told.iter().map(|event| event.revision).collect::<Vec<_>>(), [a, a2, gone, back]);

    let mut late = watch(store, &key(""), a).await;
    assert_eq!(events_to(&mut late, a, back).await, told[1..], "history is told as it was told live");
    let b = put(store, &key("b"), Expect::Absent, "1").await;
    assert_eq!(events_to(&mut late, back, b).await, events_to(&mut live, back, b).await);

    let current = now(store).await;
    match refusal(store, &key(""), Revision(current.0 + 1000)).await {
        StoreError::Future { asked, current: at } => assert!(asked > at && at >= current),
        other => panic!("a watch from the future: {other}"),
    }
}

/// A watch of keys that nobody writes hears how far the store is: a cache can know that it is up to date.
pub(super) async fn tells_the_progress_of_others(store: &dyn Store) {
    let began = now(store).await;
    let mut quiet = watch(store, "/conformance/quiet/", began).await;
    let mut last = began;
    for n in 0..5 {
        last = put(store, &format!("/conformance/loud/{n}"), Expect::Absent, "1").await;
    }
    let mut at = began;
    while at < last {
        let batch = next(&mut quiet).await;
        assert!(batch.events.is_empty() && batch.revision > at);
        at = batch.revision;
    }
}

/// Writers create, update and delete at full speed while watchers come, each from a revision of its own. What each watcher
/// hears is exactly what the one from the start heard after that revision, and together it makes the keys that stand.
pub(super) async fn has_no_gap_and_no_repeat(store: Arc<dyn Store>) {
    let prefix = "/conformance/stress/";
    let began = now(&*store).await;
    let mut witness = watch(&*store, prefix, began).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let key = format!("{prefix}{writer}");
            let mut committed = Vec::new();
            let mut standing = None;
            for round in 0..ROUNDS {
                let value = (round % 7 != 6).then(|| Bytes::from(round.to_string()));
                let expect = standing.map_or(Expect::Absent, Expect::At);
                let deletes = value.is_none();
                let commit = Commit { key: key.as_str().into(), expect, value };
                let revision = store.commit(commit).await.unwrap_or_else(|error| panic!("{key}: {error}"));
                standing = (!deletes).then_some(revision);
                committed.push(revision);
            }
            committed
        });
    }
    let mut watchers = tokio::task::JoinSet::new();
    for watcher in 0..WATCHERS {
        let store = store.clone();
        watchers.spawn(async move {
            let step = WRITERS * ROUNDS / (WATCHERS + 2) * watcher;
            let after = Revision(began.0 + step as u64);
            while now(&*store).await < after {
                tokio::task::yield_now().await;
            }
            (after, watch(&*store, prefix, after).await)
        });
    }
    let mut committed: Vec<_> = writers.join_all().await.into_iter().flatten().collect();
    committed.sort_unstable();
    let last = *committed.last().expect("there were commits");
    let all = events_to(&mut witness, began, last).await;
    assert_eq!(all.iter().map(|event| event.revision).collect::<Vec<_>>(), committed, "every commit is told once");
    for (after, mut watch) in watchers.join_all().await {
        let told = events_to(&mut watch, after, last).await;
        let expected: Vec<_> = all.iter().filter(|event| event.revision > after).cloned().collect();
        assert_eq!(told, expected, "after revision {after}");
    }

    let mut folded = BTreeMap::new();
    for event in all {
        assert_eq!(event.created, event.value.is_some() && !folded.contains_key(&event.key), "{event:?}");
        match event.value {
            Some(value) => {
                let created = folded.get(&event.key).map_or(event.revision, |(_, created, _)| *created);
                folded.insert(event.key, (value, created, event.revision));
            }
            None => drop(folded.remove(&event.key)),
        }
    }
    let folded: Vec<_> = folded
        .into_iter()
        .map(|(key, (value, created, at))| format!("{key}={}@{created}/{at}", String::from_utf8_lossy(&value)))
        .collect();
    assert_eq!(standing(&*store, prefix, None).await, folded);
}
