//! Restart: an engine that keeps anything keeps everything: keys, revisions and history.

use super::{Subject, delete, events_to, now, put, standing, watch};
use crate::{Expect, Revision, Store, StoreError};

pub(super) async fn finds_everything_again(subject: Subject) {
    let Subject { store, reopen, keep } = subject;
    let Some(mut reopen) = reopen else { return };
    let key = |name: &str| format!("/conformance/restart/{name}");
    let prefix = key("");

    let forgotten = put(&*store, &key("a"), Expect::Absent, "0").await;
    let a = put(&*store, &key("a"), Expect::At(forgotten), "1").await;
    let b = put(&*store, &key("b"), Expect::Absent, "1").await;
    let gone = put(&*store, &key("gone"), Expect::Absent, "1").await;
    let gone = delete(&*store, &key("gone"), gone).await;
    store.compact(gone).await.expect("compaction");
    let b2 = put(&*store, &key("b"), Expect::At(b), "2").await;
    let c = put(&*store, &key("c"), Expect::Absent, "1").await;
    let c = delete(&*store, &key("c"), c).await;
    let d = put(&*store, &key("d"), Expect::Absent, "").await;

    let look = async |store: &dyn Store| {
        assert!(now(store).await >= d, "revisions do not go back over a restart");
        let before = store.range(&prefix, None, 0, Some(Revision(gone.0 - 1))).await;
        assert!(matches!(before, Err(StoreError::Compacted { .. })), "what was forgotten stays forgotten: {before:?}");
        let mut history = watch(store, &prefix, gone).await;
        let told = events_to(&mut history, gone, d).await;
        let mut shown = Vec::new();
        for revision in [gone, b2, c, d] {
            shown.push(standing(store, &prefix, Some(revision)).await);
        }
        (told, shown)
    };
    let expected = look(&*store).await;
    assert_eq!((expected.0.len(), expected.1.len()), (4, 4));
    drop(store);
    for _ in 0..2 {
        let store = reopen().await;
        assert_eq!(look(&*store).await, expected);
    }
    let store = reopen().await;
    let e = put(&*store, &key("a"), Expect::At(a), "2").await;
    assert!(e > d, "revisions go on where they were");
    drop(store);
    let store = reopen().await;
    let (found, _) = store.get(&key("a")).await.expect("get");
    let found = found.expect("the key stands");
    assert_eq!((found.created, found.modified, &*found.value), (forgotten, e, &b"2"[..]));
    drop(keep);
}
