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
async fn what_is_known_is_not_sent_again() {
    let cluster = Cluster::start().await;
    let discovery = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    for (path, accept) in [("/openapi/v2", "application/json"), ("/openapi/v3/api/v1", "*/*"), ("/apis", discovery)] {
        let whole = cluster.accept(path, accept).await;
        let etag = whole.headers["etag"].to_str().unwrap().to_owned();
        assert!(!whole.bytes.is_empty() && etag.starts_with('"'), "{path}");
        for (known, code) in [
            (etag.clone(), 304),
            (format!("W/{etag}"), 304),
            (format!("\"other\", {etag}"), 304),
            ("*".to_owned(), 304),
            ("\"other\"".to_owned(), 200),
            (etag.trim_matches('"').to_owned(), 200),
        ] {
            let request = Request::get(path).header("accept", accept).header("if-none-match", &known);
            let answer = cluster.send(request.body(Vec::new()).unwrap()).await;
            assert_eq!((answer.code.as_u16(), answer.bytes.is_empty()), (code, code == 304), "{path} {known}");
            assert_eq!(answer.headers["etag"], etag.as_str());
        }
    }
}

#[tokio::test]
async fn discovery_is_negotiated_too() {
    let cluster = Cluster::start().await;
    for path in ["/api", "/apis", "/apis/apps", "/apis/apps/v1", "/api/v1"] {
        let refused = cluster.accept(path, "text/html").await;
        assert_eq!((refused.code.as_u16(), &refused.json["reason"]), (406, &json!("NotAcceptable")), "{path}");
        let browser = cluster.accept(path, "text/html, application/xml;q=0.9, */*;q=0.8").await;
        assert_eq!(browser.headers["content-type"], "application/json", "{path}");
        assert_eq!(cluster.accept(path, "application/yaml").await.headers["content-type"], "application/yaml");
    }
    let unknown = "application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList";
    assert_eq!(cluster.accept("/apis", unknown).await.code, 406);
    let plain = cluster.accept("/apis", &format!("{unknown}, application/json")).await;
    assert_eq!(plain.json["kind"], "APIGroupList");
    // What is no resource is what it is.
    assert_eq!(cluster.accept("/version", "text/html").await.code, 200);
}

#[tokio::test]
async fn items_are_of_the_kind_of_their_list() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("a")).await;
    let event = json!({"metadata": {"name": "e", "namespace": "default"}, "eventTime": "2026-01-01T00:00:00.000000Z",
        "reason": "R", "action": "A", "type": "Normal", "reportingController": "x.io/y", "reportingInstance": "z",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"}});
    let made = cluster.post("/apis/events.k8s.io/v1/namespaces/default/events", &event).await;
    assert_eq!(made.code, 201, "{}", made.text);
    let events = |group: &str| format!("{group}/namespaces/default/events");
    for (path, kind) in [
        (MAPS.to_owned(), "ConfigMapList"),
        (events("/api/v1"), "EventList"),
        (events("/apis/events.k8s.io/v1"), "EventList"),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles?limit=1".to_owned(), "ClusterRoleList"),
    ] {
        let list = cluster.get(&path).await.json;
        let item = list["items"][0].as_object().unwrap_or_else(|| panic!("{path}: {list}"));
        assert_eq!(list["kind"], kind);
        assert!(
            item.contains_key("metadata") && !item.contains_key("kind") && !item.contains_key("apiVersion"),
            "{list}"
        );
        // What only shows metadata says of each what it is.
        let partial = cluster.accept(&path, "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").await;
        assert_eq!(partial.json["items"][0]["kind"], "PartialObjectMetadata", "{path}");
        let yaml = cluster.accept(&path, "application/yaml").await;
        assert_eq!(yaml.text.matches("kind: Event\n").count(), 0, "{}", yaml.text);
    }
    // Alone, and in events of a watch, each says it.
    assert_eq!(cluster.get(&format!("{MAPS}/a")).await.json["kind"], "ConfigMap");
    let mut watch = cluster.watch(&format!("{MAPS}?watch=1&timeoutSeconds=5")).await;
    assert_eq!(watch.next().await.unwrap()["object"]["kind"], "ConfigMap");
}

#[tokio::test]
async fn definitions_come_and_go_as_protobuf() {
    let cluster = Cluster::start().await;
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let mut definition = crate::custom::crontabs();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["image"]["default"] =
        "a".into();
    let body = orlop_api::protobuf::answer::of_value(&definition).unwrap();
    let request = Request::post(path).header("content-type", PROTOBUF).header("accept", PROTOBUF);
    let made = cluster.send(request.body(body).unwrap()).await;
    assert_eq!(made.code, 201, "{}", made.text);
    assert_eq!(made.headers["content-type"], PROTOBUF);
    let name = definition["metadata"]["name"].as_str().unwrap();
    let read = cluster.accept(&format!("{path}/{name}"), PROTOBUF).await;
    let mut json = cluster.get(&format!("{path}/{name}")).await.json;
    let mut theirs = decoded(&read);
    for it in [&mut json, &mut theirs] {
        // Names are granted between the two looks.
        it.as_object_mut().unwrap().remove("status");
        for field in ["resourceVersion", "managedFields"] {
            it["metadata"].as_object_mut().unwrap().remove(field);
        }
    }
    assert_eq!(theirs, json);
    assert_eq!(cluster.accept(path, PROTOBUF).await.headers["content-type"], PROTOBUF);
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
