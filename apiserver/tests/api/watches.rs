//! Watches tell of every change once and in order, whoever writes, and end in good order.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::support::Cluster;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

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

fn name(event: &Value) -> &str {
    event["object"]["metadata"]["name"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_watch_begins_as_its_options_say() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "web")).await;
    let first = revision(&cluster.get(MAPS).await.json);
    cluster.post(MAPS, &map("b", "web")).await;
    // From any version with bookmarks, the state ends with one, whether that was asked for or not.
    for query in [
        "resourceVersion=0&allowWatchBookmarks=true",
        "allowWatchBookmarks=true",
        "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=1",
    ] {
        let mut lines = cluster.watch(&format!("{MAPS}?watch=1&{query}")).await;
        assert_eq!(name(&lines.next().await.unwrap()), "a", "{query}");
        assert_eq!(name(&lines.next().await.unwrap()), "b", "{query}");
        let bookmark = lines.next().await.unwrap();
        assert_eq!(bookmark["type"], "BOOKMARK", "{query}");
        assert_eq!(bookmark["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true", "{query}");
    }
    let mut lines = cluster.watch(&format!("{MAPS}?watch=1&resourceVersion={first}")).await;
    assert_eq!(name(&lines.next().await.unwrap()), "b");
    let query = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let mut lines = cluster.watch(&format!("{MAPS}?watch=1&{query}")).await;
    cluster.post(MAPS, &map("c", "web")).await;
    assert_eq!(name(&lines.next().await.unwrap()), "c");
    let contradiction = cluster.get(&format!("{MAPS}?watch=1&sendInitialEvents=true")).await;
    assert_eq!(contradiction.code, 422);
    // What is not reached in time is told in the stream.
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999";
    let mut lines = cluster.watch(&format!("{MAPS}?watch=1&{query}")).await;
    let error = lines.next().await.unwrap();
    assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(504)));
    assert!(lines.next().await.is_none());
}

#[tokio::test]
async fn what_leaves_a_selection_is_told_as_it_was() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "web")).await;
    let mut lines = cluster.watch(&format!("{MAPS}?watch=1&labelSelector=app%3Dweb")).await;
    assert_eq!(lines.next().await.unwrap()["type"], "ADDED");
    let patch = json!({ "metadata": { "labels": { "app": "db" } }, "data": { "n": "9" } });
    let left = cluster.patch(&format!("{MAPS}/a"), "application/merge-patch+json", &patch).await;
    let gone = lines.next().await.unwrap();
    assert_eq!(gone["type"], "DELETED");
    assert_eq!((&gone["object"]["data"]["n"], revision(&gone["object"])), (&json!("0"), revision(&left.json)));
    let missing = cluster.get("/api/v1/watch/namespaces/default/configmaps/a?fieldSelector=metadata.name%3Db").await;
    assert_eq!(missing.json["message"], "fieldSelector metadata.name doesn't match requested name");
}

#[tokio::test]
async fn tables_and_metadata_can_be_watched() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a", "web")).await;
    let of = |form: &str, query: &str| {
        let accept = format!("application/json;as={form};g=meta.k8s.io;v=v1");
        http::Request::get(format!("{MAPS}?watch=1&timeoutSeconds=1&{query}")).header("accept", accept)
    };
    let lines = |text: &str| -> Vec<Value> { text.lines().map(|it| serde_json::from_str(it).unwrap()).collect() };
    cluster.post(MAPS, &map("b", "web")).await;
    for (include, kind, data) in [
        ("None", Value::Null, false),
        ("Metadata", json!("PartialObjectMetadata"), false),
        ("Object", json!("ConfigMap"), true),
    ] {
        let answer = cluster.send(of("Table", &format!("includeObject={include}")).body(Vec::new()).unwrap()).await;
        let events = lines(&answer.text);
        let table = &events[0]["object"];
        assert_eq!((&table["kind"], &table["rows"][0]["cells"][0]), (&json!("Table"), &json!("a")));
        assert!(table["columnDefinitions"].is_array() && events[1]["object"]["columnDefinitions"].is_null());
        let object = &table["rows"][0]["object"];
        assert_eq!((&object["kind"], object["data"].is_object()), (&kind, data), "{include}");
    }
    let answer = cluster.send(of("PartialObjectMetadata", "").body(Vec::new()).unwrap()).await;
    let events = lines(&answer.text);
    assert_eq!((&events[1]["object"]["kind"], name(&events[1])), (&json!("PartialObjectMetadata"), "b"));
    let refused = cluster.send(of("Table", "includeObject=All").body(Vec::new()).unwrap()).await;
    assert_eq!(refused.code, 400);
}

/// One message of a WebSocket server: its opcode and what it carries.
async fn message(stream: &mut (impl AsyncRead + Unpin)) -> (u8, Vec<u8>) {
    let (first, length) = (stream.read_u8().await.unwrap(), stream.read_u8().await.unwrap());
    let length = match length {
        126 => usize::from(stream.read_u16().await.unwrap()),
        127 => stream.read_u64().await.unwrap() as usize,
        length => usize::from(length),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    (first & 0x0f, payload)
}

#[tokio::test]
async fn a_watch_goes_over_a_websocket() {
    let cluster = Cluster::listening().await;
    cluster.post(MAPS, &map("a", "web")).await;
    let mut stream = cluster.connection().await;
    let head = format!(
        "GET {MAPS}?watch=1 HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nOrigin: https://localhost\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101 "), "{answer}");
    // The key and its answer are RFC 6455's own example.
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    let (opcode, event) = message(&mut stream).await;
    let event: Value = serde_json::from_slice(&event).unwrap();
    assert_eq!((opcode, &event["type"], name(&event)), (1, &json!("ADDED"), "a"));
    cluster.post(MAPS, &map("b", "web")).await;
    let (_, event) = message(&mut stream).await;
    assert_eq!(name(&serde_json::from_slice(&event).unwrap()), "b");
    cluster.stop.cancel();
    assert_eq!(message(&mut stream).await, (8, 1000u16.to_be_bytes().to_vec()), "the drain closes it in order");
}
