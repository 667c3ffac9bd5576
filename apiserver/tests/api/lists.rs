//! Lists: every combination of their options, pages of one moment, and the deletion of many.

use crate::support::{Answer, Cluster};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn filled(names: &[&str]) -> Cluster {
    let cluster = Cluster::start().await;
    for name in names {
        cluster.post(MAPS, &map(name)).await;
    }
    cluster
}

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "app": "web" } } })
}

fn names(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.code, 200, "{}", answer.text);
    let items = answer.json["items"].as_array().unwrap();
    items.iter().map(|it| it["metadata"]["name"].as_str().unwrap()).collect()
}

fn revision(answer: &Answer) -> u64 {
    answer.json["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn versions_mean_what_they_are_matched_by() {
    let cluster = filled(&["a"]).await;
    let old = revision(&cluster.get(MAPS).await);
    cluster.post(MAPS, &map("b")).await;
    let now = revision(&cluster.get(MAPS).await);
    // (query, the names, whether the answer is exactly as old as was asked)
    for (query, expected, exact) in [
        (String::new(), &["a", "b"][..], false),
        ("resourceVersion=0".to_owned(), &["a", "b"], false),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan".to_owned(), &["a", "b"], false),
        (format!("resourceVersion={old}"), &["a", "b"], false),
        (format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan"), &["a", "b"], false),
        (format!("resourceVersion={old}&resourceVersionMatch=NotOlderThan&limit=5"), &["a", "b"], false),
        (format!("resourceVersion={old}&resourceVersionMatch=Exact"), &["a"], true),
        (format!("resourceVersion={old}&limit=5"), &["a"], true),
        ("resourceVersion=0&limit=1".to_owned(), &["a"], false),
    ] {
        let answer = cluster.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(names(&answer), expected, "{query}");
        assert_eq!(revision(&answer), if exact { old } else { now }, "{query}");
    }
    for (query, code) in [
        ("resourceVersion=999999", 504),
        ("resourceVersion=999999&resourceVersionMatch=Exact", 504),
        ("resourceVersion=x", 400),
        ("resourceVersionMatch=Exact", 422),
        ("resourceVersion=0&resourceVersionMatch=Exact", 422),
        ("sendInitialEvents=true", 422),
        ("limit=x", 400),
    ] {
        let answer = cluster.get(&format!("{MAPS}?{query}")).await;
        assert_eq!(answer.code, code, "{query}: {}", answer.text);
    }
    let late = cluster.get(&format!("{MAPS}/a?resourceVersion=999999")).await;
    assert_eq!(late.json["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn pages_are_of_one_moment() {
    let cluster = filled(&["a", "b", "c", "d", "e"]).await;
    let first = cluster.get(&format!("{MAPS}?limit=2")).await;
    assert_eq!(names(&first), ["a", "b"]);
    assert_eq!(first.json["metadata"]["remainingItemCount"], 3);
    let token = first.json["metadata"]["continue"].as_str().unwrap().to_owned();
    cluster.post(MAPS, &map("bb")).await;
    cluster.delete(&format!("{MAPS}/c"), None).await;
    let second = cluster.get(&format!("{MAPS}?limit=2&continue={token}")).await;
    assert_eq!(names(&second), ["c", "d"], "as it was at the first page");
    assert_eq!(revision(&second), revision(&first));
    let selected = cluster.get(&format!("{MAPS}?limit=2&labelSelector=app")).await;
    assert!(selected.json["metadata"]["continue"].is_string());
    assert!(selected.json["metadata"]["remainingItemCount"].is_null(), "not counted where something is left out");
    let bad = cluster.get(&format!("{MAPS}?limit=2&continue=x")).await;
    assert_eq!(bad.code, 400);
    let both = cluster.get(&format!("{MAPS}?limit=2&continue={token}&resourceVersion=5")).await;
    assert_eq!(both.json["message"], "specifying resource version is not allowed when using continue");
    let match_too = cluster.get(&format!("{MAPS}?continue={token}&resourceVersion=5&resourceVersionMatch=Exact")).await;
    assert_eq!(match_too.code, 422);
}

#[tokio::test]
async fn the_deletion_of_many_shows_what_was_there() {
    let cluster = filled(&["a", "b", "c"]).await;
    let other = json!({ "metadata": { "name": "z", "labels": { "app": "db" } } });
    cluster.post(MAPS, &other).await;
    let tried = cluster.delete(&format!("{MAPS}?dryRun=All"), None).await;
    assert_eq!(names(&tried), ["a", "b", "c", "z"]);
    assert_eq!(names(&cluster.get(MAPS).await).len(), 4, "nothing was deleted");
    let refused = cluster.delete(MAPS, Some(&json!({ "preconditions": { "uid": "other" } }))).await;
    assert_eq!(refused.code, 409);
    let one = cluster.delete(&format!("{MAPS}?limit=1"), None).await;
    assert_eq!((names(&one), &one.json["kind"]), (vec!["a"], &json!("ConfigMapList")));
    let selected = cluster.delete(&format!("{MAPS}?labelSelector=app%3Dweb"), None).await;
    assert_eq!(names(&selected), ["b", "c"]);
    let named = cluster.delete(&format!("{MAPS}?fieldSelector=metadata.name%3Dq"), None).await;
    assert!(names(&named).is_empty());
    assert_eq!(names(&cluster.get(MAPS).await), ["z"]);
    assert_eq!(cluster.delete("/api/v1/namespaces", None).await.code, 405);
    assert_eq!(cluster.delete(&format!("{MAPS}?resourceVersionMatch=Exact"), None).await.code, 422);
}
