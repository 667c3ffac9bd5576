//! The same objects in every form that a client may ask for, and what stands around them.

use std::io::Read;

use flate2::read::GzDecoder;
use http::Request;
use orlop_api::protobuf;
use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

fn map(name: &str) -> Value {
    json!({ "metadata": { "name": name, "labels": { "app": "web" } }, "data": { "k": "v" } })
}

/// A protobuf answer as JSON.
fn decoded(answer: &Answer) -> Value {
    assert_eq!(answer.headers["content-type"], PROTOBUF, "{}", answer.text);
    protobuf::decode(&answer.bytes, "", "").unwrap()
}

#[tokio::test]
async fn objects_come_as_protobuf() {
    let cluster = Cluster::start().await;
    let create = Request::post(MAPS).header("accept", PROTOBUF).body(map("a").to_string().into_bytes()).unwrap();
    let created = cluster.send(create).await;
    assert_eq!(created.code, 201);
    let json = cluster.get(&format!("{MAPS}/a")).await.json;
    assert_eq!(decoded(&created), json);
    assert_eq!(decoded(&cluster.accept(&format!("{MAPS}/a"), PROTOBUF).await), json);
    let missing = cluster.accept(&format!("{MAPS}/b"), PROTOBUF).await;
    let status = decoded(&missing);
    assert_eq!((missing.code.as_u16(), &status["kind"], &status["code"]), (404, &json!("Status"), &json!(404)));
    assert_eq!(status["details"]["name"], "b");
    let partial = format!("{PROTOBUF};as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
    let partial = decoded(&cluster.accept(&format!("{MAPS}/a"), &partial).await);
    assert_eq!((&partial["kind"], &partial["metadata"]), (&json!("PartialObjectMetadata"), &json["metadata"]));
    // What protobuf cannot say comes as the next that is named.
    let table = format!("{PROTOBUF};as=Table;g=meta.k8s.io;v=v1,application/json;as=Table;g=meta.k8s.io;v=v1");
    assert_eq!(cluster.accept(MAPS, &table).await.json["kind"], "Table");
    assert_eq!(decoded(&cluster.accept("/apis", PROTOBUF).await)["kind"], "APIGroupList");
}

#[tokio::test]
async fn lists_come_as_protobuf() {
    let cluster = Cluster::start().await;
    for name in ["a", "b"] {
        cluster.post(MAPS, &map(name)).await;
    }
    let json = cluster.get(MAPS).await.json;
    let list = cluster.accept(&format!("{MAPS}?resourceVersion=0"), PROTOBUF).await;
    let value = orlop_api::protobuf::answer::of_value(&json).unwrap();
    assert_eq!(list.bytes, value, "piece by piece the same as at once");
    let partial = format!("{PROTOBUF};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");
    let partial = cluster.accept(MAPS, &partial).await;
    assert!(partial.text.contains("PartialObjectMetadataList") && !partial.text.contains("ConfigMapList"));
}

#[tokio::test]
async fn watches_come_as_protobuf() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a")).await;
    let path = format!("{MAPS}?watch=1&timeoutSeconds=1&allowWatchBookmarks=true");
    let answer = cluster.accept(&path, &format!("{PROTOBUF};stream=watch")).await;
    assert_eq!(answer.headers["content-type"], "application/vnd.kubernetes.protobuf;stream=watch");
    let (length, rest) = answer.bytes.split_first_chunk().unwrap();
    let (event, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
    assert!(event.starts_with(b"\x0a\x05ADDED\x12"));
    let body = event.windows(4).position(|it| it == b"k8s\0").unwrap();
    assert_eq!(protobuf::decode(&event[body..], "", "").unwrap(), cluster.get(&format!("{MAPS}/a")).await.json);
    assert!(rest[4..].starts_with(b"\x0a\x08BOOKMARK"));
    let yaml = cluster.accept(&path, "application/yaml").await;
    assert_eq!(yaml.code, 406);
}

#[tokio::test]
async fn large_answers_are_compressed_for_those_who_ask() {
    let cluster = Cluster::start().await;
    for at in 0..30 {
        let large = json!({ "metadata": { "name": format!("m{at}") }, "data": { "k": "0123456789".repeat(1000) } });
        cluster.post(MAPS, &large).await;
    }
    let plain = cluster.get(MAPS).await;
    for accept in ["application/json", PROTOBUF, "application/yaml"] {
        let packed = Request::get(MAPS).header("accept-encoding", "deflate, gzip").header("accept", accept);
        let packed = cluster.send(packed.body(Vec::new()).unwrap()).await;
        assert_eq!(packed.headers["content-encoding"], "gzip");
        assert_eq!(packed.headers["vary"], "Accept-Encoding");
        let mut text = Vec::new();
        GzDecoder::new(&packed.bytes[..]).read_to_end(&mut text).unwrap();
        assert!(packed.bytes.len() * 10 < text.len());
        if accept == "application/json" {
            assert_eq!(text, plain.bytes);
        }
    }
    let small = Request::get(format!("{MAPS}/m1")).header("accept-encoding", "gzip").body(Vec::new()).unwrap();
    assert!(!cluster.send(small).await.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn people_get_it_indented() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a")).await;
    let path = format!("{MAPS}/a");
    let indented = |answer: &Answer| answer.text.starts_with("{\n  \"");
    assert!(!indented(&cluster.get(&path).await));
    assert!(indented(&cluster.get(&format!("{path}?pretty=true")).await));
    assert!(indented(&cluster.accept(&path, "application/json;pretty=1").await));
    let curl = |path: &str| Request::get(path).header("user-agent", "curl/8.5.0").body(Vec::new()).unwrap();
    assert!(indented(&cluster.send(curl(&path)).await));
    assert!(!indented(&cluster.send(curl(&format!("{path}?pretty=false"))).await));
    let yaml = cluster.accept(&path, "application/yaml").await;
    assert_eq!(yaml.headers["content-type"], "application/yaml");
    assert!(yaml.text.contains("\nkind: ConfigMap\n"), "{}", yaml.text);
}

#[tokio::test]
async fn documents_are_kept_by_their_fingerprints() {
    let cluster = Cluster::start().await;
    let index = cluster.get("/openapi/v3").await.json;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let document = cluster.get(url).await;
    assert_eq!(document.headers["cache-control"], "public, immutable");
    assert!(document.headers["expires"].to_str().unwrap().ends_with(" GMT"));
    let etag = document.headers["etag"].clone();
    let known = Request::get(url).header("if-none-match", etag).body(Vec::new()).unwrap();
    assert_eq!(cluster.send(known).await.code, 304);
    let moved = cluster.get("/openapi/v3/apis/apps/v1?hash=OLD").await;
    assert_eq!((moved.code.as_u16(), moved.headers["location"].to_str().unwrap()), (301, url));
    let plain = cluster.get("/openapi/v3/apis/apps/v1").await;
    assert_eq!(plain.headers["cache-control"], "no-cache, private");
}

#[tokio::test]
async fn deprecated_kinds_warn() {
    let cluster = Cluster::start().await;
    let answer = cluster.get("/api/v1/endpoints").await;
    let expected = "299 - \"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice\"";
    assert_eq!(answer.headers["warning"], expected);
    assert!(!cluster.get(MAPS).await.headers.contains_key("warning"));
}

#[tokio::test]
async fn answers_have_the_headers_of_kubernetes() {
    let cluster = Cluster::start().await;
    let answer = cluster.get(MAPS).await;
    assert_eq!(answer.headers["cache-control"], "no-cache, private");
    assert_eq!(answer.headers["audit-id"].len(), 36);
    let named = Request::get(MAPS).header("audit-id", "mine").body(Vec::new()).unwrap();
    assert_eq!(cluster.send(named).await.headers["audit-id"], "mine");
    let refused = cluster.accept(MAPS, "text/html").await;
    assert_eq!(refused.code, 406);
    assert_eq!(
        refused.json["message"],
        "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf"
    );
    let late = cluster.get(&format!("{MAPS}?timeout=soon")).await;
    assert_eq!((late.code.as_u16(), &late.json["reason"]), (400, &json!("BadRequest")));
    let large = json!({ "metadata": { "name": "a" }, "data": { "k": "x".repeat(3 << 20) } });
    let large = cluster.post(MAPS, &large).await;
    assert_eq!(
        (large.code.as_u16(), &large.json["message"]),
        (413, &json!("Request entity too large: limit is 3145728"))
    );
}
