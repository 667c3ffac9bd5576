//! Watches tell of every change once and in order, whoever writes, and end in good order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::Cluster;
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

fn map(name: &str, app: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "app": app } }, "data": { "n": "0" } })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_gap_and_no_repeat_under_concurrent_writers() {
    const WRITERS: usize = 8;
    const WRITES: usize = 60;
    let cluster = Arc::new(Cluster::start().await);
    let start = revision(&cluster.get(MAPS).await.json);
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                let path = format!("{MAPS}/w{writer}");
                let mut seen = vec![revision(&cluster.post(MAPS, &map(&format!("w{writer}"), "x")).await.json)];
                for at in 0..WRITES {
                    let patch = json!({ "data": { "n": at.to_string() + "!" } });
                    let patched = cluster.patch(&path, "application/merge-patch+json", &patch).await;
                    seen.push(revision(&patched.json));
                }
                cluster.delete(&path, None).await;
                seen
            })
        })
        .collect();
    let watchers: Vec<_> = (0..4)
        .map(|_| {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                let mut lines = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={start}")).await;
                let mut told: HashMap<String, Vec<u64>> = HashMap::new();
                let (mut gone, mut last) = (0, start);
                while gone < WRITERS {
                    let event = lines.next().await.unwrap();
                    let object = &event["object"];
                    let at = revision(object);
                    assert!(at > last, "{at} after {last}");
                    last = at;
                    match event["type"].as_str().unwrap() {
                        "DELETED" => gone += 1,
                        "ADDED" | "MODIFIED" => {
                            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                            told.entry(name).or_default().push(at);
                        }
                        other => panic!("{other}"),
                    }
                }
                told
            })
        })
        .collect();
    let mut written = HashMap::new();
    for (at, writer) in writers.into_iter().enumerate() {
        written.insert(format!("w{at}"), writer.await.unwrap());
    }
    for watcher in watchers {
        let told = tokio::time::timeout(Duration::from_secs(30), watcher).await.unwrap().unwrap();
        assert_eq!(told, written);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_increment_of_a_contended_object_counts() {
    const WRITERS: usize = 16;
    let cluster = Arc::new(Cluster::start().await);
    cluster.post(MAPS, &json!({ "metadata": { "name": "a" }, "data": {} })).await;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let cluster = cluster.clone();
            tokio::spawn(async move {
                let patch = json!({ "data": { format!("k{writer}"): "v" } });
                cluster.patch(&format!("{MAPS}/a"), "application/merge-patch+json", &patch).await.code
            })
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), 200);
    }
    let object = cluster.get(&format!("{MAPS}/a")).await.json;
    assert_eq!(object["data"].as_object().unwrap().len(), WRITERS);
}

#[tokio::test]
async fn the_state_is_told_first_and_selectors_are_entered_and_left() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "web")).await;
    cluster.post(MAPS, &map("b", "db")).await;
    let mut lines = cluster.watch(&format!("{MAPS}?watch=1&labelSelector=app%3Dweb")).await;
    let first = lines.next().await.unwrap();
    assert_eq!((&first["type"], &first["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a")));
    let label = |app: &str| json!({ "metadata": { "labels": { "app": app } } });
    cluster.patch(&format!("{MAPS}/b"), "application/merge-patch+json", &label("web")).await;
    let entered = lines.next().await.unwrap();
    assert_eq!((&entered["type"], &entered["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("b")));
    let left = cluster.patch(&format!("{MAPS}/a"), "application/merge-patch+json", &label("db")).await;
    let gone = lines.next().await.unwrap();
    assert_eq!((&gone["type"], &gone["object"]["metadata"]["name"]), (&json!("DELETED"), &json!("a")));
    assert_eq!(revision(&gone["object"]), revision(&left.json));
    cluster.stop.cancel();
    assert!(lines.next().await.is_none(), "the drain ends watches");
}

#[tokio::test]
async fn watch_lists_end_their_state_with_a_bookmark() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "web")).await;
    let path =
        format!("{MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true");
    let mut lines = cluster.watch(&path).await;
    assert_eq!(lines.next().await.unwrap()["type"], "ADDED");
    let bookmark = lines.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
}

#[tokio::test]
async fn old_revisions_are_expired_and_names_and_legacy_paths_work() {
    let cluster = Cluster::start().await;
    let mut lines = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion=1&timeoutSeconds=1")).await;
    // The memory store begins at 1, so that nothing is too old yet; the watch ends by its own time.
    assert!(lines.next().await.is_none());
    cluster.post(MAPS, &map("a", "web")).await;
    cluster.post(MAPS, &map("b", "web")).await;
    for path in [
        format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Db"),
        "/api/v1/watch/namespaces/default/configmaps/b".to_owned(),
    ] {
        let mut lines = cluster.watch(&path).await;
        assert_eq!(lines.next().await.unwrap()["object"]["metadata"]["name"], "b", "{path}");
    }
    let mut lines = cluster.watch("/api/v1/configmaps?watch=1&resourceVersion=0").await;
    assert_eq!(lines.next().await.unwrap()["object"]["metadata"]["name"], "a");
}
