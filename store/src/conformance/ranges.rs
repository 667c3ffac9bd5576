//! Ranges: the keys under a prefix in order, in pages, now and as they were.

use super::{delete, now, put, standing};
use crate::{Expect, Revision, Store, StoreError};

pub(super) async fn shows_keys_under_a_prefix_in_order(store: &dyn Store) {
    let base = "/conformance/ranges";
    // The neighbours sort right before and right after the prefix.
    for key in ["/b", "/a", "0", "/c/d", "", "/c", "/ü"] {
        put(store, &format!("{base}{key}"), Expect::Absent, "v").await;
    }
    let prefix = format!("{base}/");
    let keys = async |after: Option<&str>, limit| {
        let after = after.map(|after| format!("{base}{after}"));
        let page = store.range(&prefix, after.as_deref(), limit, None).await.expect("range");
        let keys: Vec<_> = page.entries.iter().map(|entry| entry.key[base.len()..].to_owned()).collect();
        (keys.join(" "), page.more)
    };
    assert_eq!(keys(None, 0).await, ("/a /b /c /c/d /ü".to_owned(), false));
    assert_eq!(keys(None, 2).await, ("/a /b".to_owned(), true));
    assert_eq!(keys(Some("/b"), 2).await, ("/c /c/d".to_owned(), true));
    assert_eq!(keys(Some("/c/d"), 2).await, ("/ü".to_owned(), false));
    assert_eq!(keys(Some("/ü"), 2).await, (String::new(), false));
    assert!(!keys(None, 5).await.1, "an exact page has nothing after it");
    assert_eq!(keys(Some("/bb"), 0).await.0, "/c /c/d /ü", "the key to go on after need not exist");
    assert_eq!(keys(Some("!"), 1).await.0, "/a", "a key before the prefix does not widen the range");
    assert_eq!(keys(Some("0"), 0).await.0, "", "nor does one behind it");
    let all = store.range("", None, 0, None).await.expect("range of everything");
    assert!(all.entries.len() >= 7 && all.entries.is_sorted_by(|a, b| a.key < b.key));
}

pub(super) async fn shows_the_keys_as_they_were(store: &dyn Store) {
    let key = |name: &str| format!("/conformance/past/{name}");
    let prefix = key("");
    let mut history = vec![(now(store).await, standing(store, &prefix, None).await)];
    let mut remember = async |revision: Revision| {
        let page = store.range(&prefix, None, 0, None).await.expect("range");
        assert!(page.revision >= revision);
        history.push((revision, standing(store, &prefix, None).await));
    };
    let a = put(store, &key("a"), Expect::Absent, "1").await;
    remember(a).await;
    let b = put(store, &key("b"), Expect::Absent, "1").await;
    remember(b).await;
    let b = delete(store, &key("b"), b).await;
    remember(b).await;
    let a = put(store, &key("a"), Expect::At(a), "2").await;
    remember(a).await;
    let b = put(store, &key("b"), Expect::Absent, "2").await;
    remember(b).await;
    let a = delete(store, &key("a"), a).await;
    remember(a).await;

    assert_eq!(history.len(), 7);
    for (revision, expected) in &history {
        assert_eq!(&standing(store, &prefix, Some(*revision)).await, expected, "at revision {revision}");
    }
    // Pages of an older revision fit together whatever happened since.
    let (revision, expected) = &history[5];
    assert_eq!(expected.len(), 2);
    let first = store.range(&prefix, None, 1, Some(*revision)).await.expect("range");
    assert_eq!((first.revision, first.more, &*first.entries[0].key), (*revision, true, &*key("a")));
    let second = store.range(&prefix, Some(&key("a")), 1, Some(*revision)).await.expect("range");
    assert_eq!((second.revision, second.more, &*second.entries[0].key), (*revision, false, &*key("b")));

    let current = now(store).await;
    let asked = Revision(current.0 + 1000);
    match store.range(&prefix, None, 0, Some(asked)).await {
        Err(StoreError::Future { asked: said, current: at }) => assert!(said == asked && at >= current),
        other => panic!("a range in the future: {other:?}"),
    }
}
