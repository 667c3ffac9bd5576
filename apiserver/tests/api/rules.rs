//! Rules in CEL of custom kinds: refused with their definition, or kept with their objects.

use serde_json::{Value, json};

use crate::custom::{crontabs, define};
use crate::support::{Answer, Cluster};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const CRONTABS: &str = "/apis/stable.example.com/v1/namespaces/default/crontabs";

fn with_rules(rules: &Value) -> Value {
    let mut definition = crontabs();
    let spec = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    spec["properties"]["image"]["maxLength"] = 100.into();
    spec["x-kubernetes-validations"] = rules.clone();
    definition
}

#[track_caller]
fn check(answer: &Answer, code: u16, text: &str) {
    let message = answer.json["message"].as_str().unwrap_or_default();
    assert!(answer.code == code && message.contains(text), "{} {}", answer.code, answer.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_refused_with_their_definition() {
    let cluster = Cluster::start().await;
    let refused = async |rule: &str, text: &str| {
        check(&cluster.post(DEFINITIONS, &with_rules(&json!([{"rule": rule}]))).await, 422, text);
    };
    // The schema of an only version stands for all, and is told so.
    let at = "spec.validation.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule";
    refused("self.nothing > 1", &format!("{at}: Invalid value: ")).await;
    refused("self.nothing > 1", "compilation failed: ERROR: <input>:1:5: undefined field 'nothing'").await;
    refused("self.replicas", "cel expression must evaluate to a bool").await;
    refused(
        "self.cronSpec.matches(self.cronSpec)",
        &format!("{at}: Forbidden: estimated rule cost exceeds budget by factor of more than 100x"),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_kept_with_their_objects() {
    let cluster = Cluster::start().await;
    let rules = json!([
        {"rule": "self.replicas != 7", "message": "seven is too lucky"},
        {"rule": "!has(oldSelf.image) || self.image == oldSelf.image", "reason": "FieldValueForbidden", "fieldPath": ".image",
            "messageExpression": "'stays ' + oldSelf.image"},
    ]);
    define(&cluster, &with_rules(&rules)).await;
    let object = |replicas: i64, image: &str| {
        json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"},
            "spec": {"cronSpec": "*/5", "replicas": replicas, "image": image}})
    };
    check(&cluster.post(CRONTABS, &object(7, "x")).await, 422, "spec: Invalid value: \"object\": seven is too lucky");
    assert_eq!(cluster.post(CRONTABS, &object(6, "x")).await.code, 201);
    let path = format!("{CRONTABS}/a");
    let patch = async |spec: Value| cluster.patch(&path, "application/merge-patch+json", &json!({"spec": spec})).await;
    check(&patch(json!({"image": "y"})).await, 422, "spec.image: Forbidden: stays x");
    assert_eq!(patch(json!({"replicas": 5})).await.code, 200);
    // What does not fit its type is told first.
    check(
        &patch(json!({"replicas": "many"})).await,
        422,
        "some validation rules were not checked because the object was invalid",
    );
}
