//! Compaction: what is older is gone and said to be gone; what is live stays.

use super::{delete, events_to, now, put, refusal, standing, watch};
use crate::{Expect, Revision, Store, StoreError};

async fn compact(store: &dyn Store, before: Revision) {
    store.compact(before).await.unwrap_or_else(|error| panic!("compaction to {before}: {error}"));
}

pub(super) async fn forgets_what_is_older(store: &dyn Store) {
    let key = |name: &str| format!("/conformance/compact/{name}");
    let prefix = key("");
    let began = now(store).await;
    let a = put(store, &key("a"), Expect::Absent, "1").await;
    let b = put(store, &key("b"), Expect::Absent, "1").await;
    let mut live = watch(store, &prefix, began).await;
    assert_eq!(events_to(&mut live, began, b).await.len(), 2);
    let a2 = put(store, &key("a"), Expect::At(a), "2").await;
    let gone = delete(store, &key("b"), b).await;
    assert_eq!(events_to(&mut live, b, gone).await.len(), 2);
    let after = put(store, &key("c"), Expect::Absent, "1").await;
    let (at_boundary, at_end) =
        (standing(store, &prefix, Some(gone)).await, standing(store, &prefix, Some(after)).await);

    compact(store, gone).await;
    match store.range(&prefix, None, 0, Some(a2)).await {
        Err(StoreError::Compacted { asked, oldest }) => assert!(asked == a2 && oldest > a2 && oldest <= gone),
        other => panic!("a range at a forgotten revision: {other:?}"),
    }
    match refusal(store, &prefix, a2).await {
        StoreError::Compacted { oldest, .. } => assert!(oldest > a2 && oldest <= gone),
        other => panic!("a watch from a forgotten revision: {other}"),
    }
    assert_eq!(standing(store, &prefix, Some(gone)).await, at_boundary);
    assert_eq!(standing(store, &prefix, Some(after)).await, at_end);
    let mut late = watch(store, &prefix, gone).await;
    assert_eq!(events_to(&mut late, gone, after).await, events_to(&mut live, gone, after).await);

    // To forget again, or less, is no error and brings nothing back.
    compact(store, gone).await;
    compact(store, a).await;
    assert!(matches!(store.range(&prefix, None, 0, Some(a2)).await, Err(StoreError::Compacted { .. })));
    match store.compact(Revision(now(store).await.0 + 1000)).await {
        Err(StoreError::Future { .. }) => {}
        other => panic!("compaction of the future: {other:?}"),
    }
}

pub(super) async fn keeps_what_is_live(store: &dyn Store) {
    let key = |name: &str| format!("/conformance/live/{name}");
    let prefix = key("");
    let old = put(store, &key("old"), Expect::Absent, "1").await;
    let gone = put(store, &key("gone"), Expect::Absent, "1").await;
    let gone = delete(store, &key("gone"), gone).await;
    let expected = standing(store, &prefix, None).await;
    assert_eq!(expected.len(), 1);
    let current = now(store).await;
    compact(store, current).await;
    assert_eq!(standing(store, &prefix, None).await, expected);
    assert_eq!(standing(store, &prefix, Some(current)).await, expected);
    assert!(gone <= current);
    // What was written long ago can still be written over, and watched.
    let mut watch = watch(store, &prefix, current).await;
    let new = put(store, &key("old"), Expect::At(old), "2").await;
    let again = put(store, &key("gone"), Expect::Absent, "2").await;
    let told = events_to(&mut watch, current, again).await;
    assert_eq!(
        told.iter().map(|event| (event.revision, event.created)).collect::<Vec<_>>(),
        [(new, false), (again, true)]
    );
}
