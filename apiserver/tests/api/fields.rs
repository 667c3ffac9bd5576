//! Field validation of built-in kinds: unknown and duplicate fields of every kind of write, in every mode, in the words and the order of Kubernetes
//! (`test/integration/apiserver/field_validation_test.go`).

use http::Request;
use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// A Deployment with fields that are unknown, that stand twice, and both.
const BROKEN: &str = r#"{
  "apiVersion": "apps/v1", "kind": "Deployment",
  "metadata": {"name": "other", "name": "NAME", "unknownMeta": "m", "labels": {"app": "nginx"}},
  "spec": {
    "unknown1": "v", "unknownDupe": "v", "unknownDupe": "w", "paused": true, "paused": false,
    "selector": {"matchLabels": {"app": "nginx"}},
    "template": {
      "metadata": {"labels": {"app": "nginx"}},
      "spec": {"containers": [{"name": "nginx", "image": "nginx:latest", "unknownNested": "v",
        "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}
    }
  }
}"#;
const BROKEN_TOLD: &[&str] = &[
    "duplicate field \"metadata.name\"",
    "unknown field \"metadata.unknownMeta\"",
    "unknown field \"spec.unknown1\"",
    "unknown field \"spec.unknownDupe\"",
    "duplicate field \"spec.paused\"",
    "unknown field \"spec.template.spec.containers[0].unknownNested\"",
    "duplicate field \"spec.template.spec.containers[0].imagePullPolicy\"",
];

const BROKEN_YAML: &str = "apiVersion: apps/v1
kind: Deployment
metadata:
  name: other
  name: NAME
  unknownMeta: m
  labels:
    app: nginx
spec:
  unknown1: v
  unknownDupe: v
  unknownDupe: w
  paused: true
  paused: false
  selector:
    matchLabels:
      app: nginx
  template:
    metadata:
      labels:
        app: nginx
    spec:
      containers:
      - name: nginx
        image: nginx:latest
        unknownNested: v
        imagePullPolicy: Always
        imagePullPolicy: Never
";
const BROKEN_YAML_TWICE: &[&str] = &[
    "line 5: key \"name\" already set in map",
    "line 12: key \"unknownDupe\" already set in map",
    "line 14: key \"paused\" already set in map",
    "line 28: key \"imagePullPolicy\" already set in map",
];
const BROKEN_YAML_UNKNOWN: &[&str] = &[
    "unknown field \"metadata.unknownMeta\"",
    "unknown field \"spec.template.spec.containers[0].unknownNested\"",
    "unknown field \"spec.unknown1\"",
    "unknown field \"spec.unknownDupe\"",
];

fn deployment(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "labels": {"app": "nginx"}},
        "spec": {
            "selector": {"matchLabels": {"app": "nginx"}},
            "template": {
                "metadata": {"labels": {"app": "nginx"}},
                "spec": {"containers": [{"name": "nginx", "image": "nginx:latest", "imagePullPolicy": "Always"}]},
            },
        },
    })
}

async fn send(cluster: &Cluster, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
    let request = Request::builder().method(method).uri(path).header("content-type", content_type);
    cluster.send(request.body(body.as_bytes().to_vec()).unwrap()).await
}

/// What an answer warns of.
fn warnings(answer: &Answer) -> Vec<String> {
    let values = answer.headers.get_all("warning").iter().map(|it| it.to_str().unwrap());
    values.map(|it| it["299 - \"".len()..it.len() - 1].replace("\\\"", "\"")).collect()
}

/// A write that is refused where it is strict, warned of by default, and passes in silence where that is wished.
async fn check(cluster: &Cluster, write: (&str, &str, &str, &str), code: u16, refusal: &str, warned: &[&str]) {
    let (method, path, content_type, body) = write;
    let with = |words: &str| if path.contains('?') { format!("{path}&{words}") } else { format!("{path}?{words}") };
    let strict = send(cluster, method, &with("fieldValidation=Strict"), content_type, body).await;
    assert_eq!(strict.code, code, "{}", strict.text);
    let message = strict.json["message"].as_str().unwrap();
    assert!(message.ends_with(refusal), "{message}\nshould end with\n{refusal}");
    for (mode, expected) in [("Ignore", &[][..]), ("Warn", warned), ("", warned)] {
        let body = body.replace("NAME", &format!("n{}-{}", mode.to_lowercase(), content_type.ends_with("yaml")));
        let answer = send(cluster, method, &with(&format!("fieldValidation={mode}")), content_type, &body).await;
        assert!(answer.code.is_success(), "{mode}: {}", answer.text);
        assert_eq!(warnings(&answer), expected, "{mode}");
    }
}

#[tokio::test]
async fn objects_are_judged_in_the_order_of_their_text() {
    let cluster = Cluster::start().await;
    let refusal = format!("strict decoding error: {}", BROKEN_TOLD.join(", "));
    check(&cluster, ("POST", DEPLOYMENTS, "application/json", BROKEN), 400, &refusal, BROKEN_TOLD).await;
    let twice = format!("yaml: unmarshal errors:\n  {}", BROKEN_YAML_TWICE.join("\n  "));
    let in_yaml = format!("strict decoding error: {twice}, {}", BROKEN_YAML_UNKNOWN.join(", "));
    let warned = [BROKEN_YAML_TWICE, BROKEN_YAML_UNKNOWN].concat();
    check(&cluster, ("POST", DEPLOYMENTS, "application/yaml", BROKEN_YAML), 400, &in_yaml, &warned).await;

    cluster.post(DEPLOYMENTS, &deployment("put")).await;
    let path = format!("{DEPLOYMENTS}/put");
    let (json, yaml) = (BROKEN.replace("NAME", "put"), BROKEN_YAML.replace("NAME", "put"));
    check(&cluster, ("PUT", &path, "application/json", &json), 400, &refusal, BROKEN_TOLD).await;
    check(&cluster, ("PUT", &path, "application/yaml", &yaml), 400, &in_yaml, &warned).await;
    let kept = cluster.get(&path).await.json;
    assert_eq!(kept["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"], "Never", "the last counts");
}

/// The same mistakes in a patch.
fn patch(unknown: bool) -> String {
    let (at_spec, nested) = match unknown {
        true => (r#""unknown1": "v", "unknownDupe": "v", "unknownDupe": "w","#, r#""unknownNested": "v","#),
        false => ("", ""),
    };
    format!(
        r#"{{"spec": {{{at_spec} "paused": true, "paused": false, "template": {{"spec": {{"containers": [
            {{"name": "nginx", "image": "nginx:latest", {nested} "imagePullPolicy": "Always", "imagePullPolicy": "Never"}}]}}}}}}}}"#
    )
}

#[tokio::test]
async fn patches_are_judged_before_what_they_make() {
    let cluster = Cluster::start().await;
    cluster.post(DEPLOYMENTS, &deployment("a")).await;
    let path = format!("{DEPLOYMENTS}/a");
    let made = [
        "unknown field \"spec.template.spec.containers[0].unknownNested\"",
        "unknown field \"spec.unknown1\"",
        "unknown field \"spec.unknownDupe\"",
    ];
    let (paused, policy) =
        ("duplicate field \"spec.paused\"", "duplicate field \"spec.template.spec.containers[0].imagePullPolicy\"");
    let all = [&["duplicate field \"spec.unknownDupe\"", paused, policy], &made[..]].concat();
    for content_type in [MERGE, STRATEGIC] {
        let (broken, twice) = (patch(true), patch(false));
        let refusal = format!("strict decoding error: {}", all.join(", "));
        check(&cluster, ("PATCH", &path, content_type, &broken), 422, &refusal, &all).await;
        let refusal = format!("strict decoding error: {paused}, {policy}");
        check(&cluster, ("PATCH", &path, content_type, &twice), 422, &refusal, &[paused, policy]).await;
    }
    let refused =
        send(&cluster, "PATCH", &format!("{path}?fieldValidation=Strict"), STRATEGIC, r#"{"x":1,"z":null}"#).await;
    let expected =
        " \"\" is invalid: patch: Invalid value: \"map[x:1 z:<nil>]\": strict decoding error: unknown field \"x\"";
    assert_eq!((refused.json["message"].as_str(), &refused.json["reason"]), (Some(expected), &json!("Invalid")));

    let container = "/spec/template/spec/containers/0";
    let operations = format!(
        r#"[{{"op": "add", "path": "/spec/unknown1", "value": "v", "foo": "bar"}},
            {{"op": "add", "path": "/spec/unknown2", "path": "/spec/unknown3", "value": "v"}},
            {{"op": "add", "path": "/spec/unknownDupe", "value": "v"}},
            {{"op": "add", "path": "/spec/unknownDupe", "value": "w"}},
            {{"op": "add", "path": "/spec/paused", "value": true}},
            {{"op": "add", "path": "/spec/paused", "value": false}},
            {{"op": "add", "path": "{container}/unknownNested", "value": "v"}},
            {{"op": "add", "path": "{container}/imagePullPolicy", "value": "Never"}}]"#
    );
    let all = [
        "json patch unknown field \"[0].foo\"",
        "json patch duplicate field \"[1].path\"",
        made[0],
        made[1],
        "unknown field \"spec.unknown3\"",
        made[2],
    ];
    let refusal = format!("strict decoding error: {}", all.join(", "));
    check(&cluster, ("PATCH", &path, JSON_PATCH, &operations), 422, &refusal, &all).await;
}

#[tokio::test]
async fn applied_configurations_may_say_nothing_twice() {
    let cluster = Cluster::start().await;
    let body = BROKEN_YAML.replace("  unknownMeta: m\n", "").replace("  unknown1: v\n", "");
    let body = body.replace("  unknownDupe: v\n  unknownDupe: w\n", "").replace("        unknownNested: v\n", "");
    let body = body.replace("  name: other\n", "").replace("NAME", "a");
    let path = format!("{DEPLOYMENTS}/a?fieldManager=me&force=true");
    let twice = ["line 9: key \"paused\" already set in map", "line 22: key \"imagePullPolicy\" already set in map"];
    let refusal = format!(
        "error strict decoding YAML: error converting YAML to JSON: yaml: unmarshal errors:\n  {}",
        twice.join("\n  ")
    );
    // It is created first, and changed behind that.
    for _ in 0..2 {
        check(&cluster, ("PATCH", &path, APPLY, &body), 400, &refusal, &twice).await;
    }
    let unknown = body.replace("  paused: true\n", "  unknown: 1\n");
    let refused = send(&cluster, "PATCH", &path, APPLY, &unknown).await;
    assert!(
        refused.json["message"].as_str().unwrap().ends_with(".spec.unknown: field not declared in schema"),
        "{}",
        refused.text
    );
    let metadata =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "unknownMeta": "m"}});
    let refused = send(&cluster, "PATCH", &path, APPLY, &metadata.to_string()).await;
    assert!(refused.text.contains(".metadata.unknownMeta: field not declared in schema"), "{}", refused.text);
}

#[tokio::test]
async fn the_mode_is_one_of_three() {
    let cluster = Cluster::start().await;
    let refused = cluster.post(&format!("{DEPLOYMENTS}?fieldValidation=Some"), &deployment("a")).await;
    assert_eq!(refused.code, 422);
    let expected =
        "fieldValidation: Unsupported value: \"Some\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"";
    assert!(refused.json["message"].as_str().unwrap().ends_with(expected), "{}", refused.text);
}

/// A patch after which there is no object of the kind any more is itself what is wrong.
#[tokio::test]
async fn patches_that_make_no_object_are_invalid() {
    let cluster = Cluster::start().await;
    cluster.post(DEPLOYMENTS, &deployment("a")).await;
    let path = format!("{DEPLOYMENTS}/a");
    let before = cluster.get(&path).await.json;
    let merge = r#"{"spec":{"replicas":"three"}}"#;
    let operations = r#"[{"op":"replace","path":"/spec/replicas","value":"three"}]"#;
    let why = "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32";
    for (content_type, body, shown) in [
        (MERGE, merge, r#""{\"apiVersion\":\"apps/v1\""#),
        (JSON_PATCH, operations, r#""{\"apiVersion\":\"apps/v1\""#),
        (STRATEGIC, merge, r#""map[spec:map[replicas:three]]""#),
    ] {
        for query in ["?fieldValidation=Ignore", "?fieldValidation=Strict", ""] {
            let refused = send(&cluster, "PATCH", &format!("{path}{query}"), content_type, body).await;
            let message = refused.json["message"].as_str().unwrap_or_default();
            assert_eq!((refused.code.as_u16(), &refused.json["reason"]), (422, &json!("Invalid")), "{message}");
            assert!(message.starts_with(&format!(" \"\" is invalid: patch: Invalid value: {shown}")), "{message}");
            assert!(message.contains(why), "{message}");
        }
    }
    assert_eq!(cluster.get(&path).await.json, before);
}
