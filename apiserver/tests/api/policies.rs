//! Admission policies: what their expressions say of objects, and what their bindings make of it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Cluster};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn rules(resource: &str) -> Value {
    json!([{"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": [resource]}])
}

async fn post(cluster: &Cluster, path: &str, name: &str, spec: Value) {
    let made = cluster.post(path, &json!({"metadata": {"name": name}, "spec": spec})).await;
    assert_eq!(made.code.as_u16(), 201, "{}", made.text);
}

fn map(name: &str, data: Value) -> Value {
    json!({"metadata": {"name": name}, "data": data})
}

/// Tries until the configuration is heard of.
pub async fn until(cluster: &Cluster, object: &Value, wanted: impl Fn(&Answer) -> bool) -> Answer {
    for _ in 0..100 {
        let answer = cluster.post(&format!("{MAPS}?dryRun=All"), object).await;
        if wanted(&answer) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    cluster.post(&format!("{MAPS}?dryRun=All"), object).await
}

#[tokio::test]
async fn objects_must_satisfy_expressions() {
    let cluster = Cluster::start().await;
    let spec = json!({
        "matchConstraints": {"resourceRules": rules("configmaps")},
        "matchConditions": [{"name": "mine", "expression": "!object.metadata.name.startsWith('free-')"}],
        "variables": [{"name": "size", "expression": "has(object.data) ? object.data.size() : 0"}],
        "validations": [
            {"expression": "variables.size <= 1", "messageExpression": "'too many: ' + string(variables.size)"},
            {"expression": "request.userInfo.username != 'eve'", "message": "not eve", "reason": "Forbidden"}],
    });
    post(&cluster, POLICIES, "p", spec).await;
    post(&cluster, BINDINGS, "b", json!({"policyName": "p", "validationActions": ["Deny"]})).await;
    let two = map("m", json!({"a": "1", "b": "2"}));
    let refusal = until(&cluster, &two, |it| it.code.is_client_error()).await;
    assert_eq!((refusal.code.as_u16(), &refusal.json["reason"]), (422, &json!("Invalid")));
    assert_eq!(
        refusal.json["message"],
        "configmaps \"m\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: too many: 2"
    );
    assert_eq!(cluster.post(MAPS, &map("m", json!({"a": "1"}))).await.code.as_u16(), 201);
    assert_eq!(cluster.post(MAPS, &map("free-m", json!({"a": "1", "b": "2"}))).await.code.as_u16(), 201);
    let mut status = Value::Null;
    for _ in 0..500 {
        status = cluster.get(&format!("{POLICIES}/p")).await.json["status"].clone();
        if !status.is_null() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status, json!({"observedGeneration": 1, "typeChecking": {}}));
    let wrong = json!({"metadata": {"name": "w"}, "spec": {"matchConstraints": {"resourceRules": rules("configmaps")},
        "validations": [{"expression": "object."}]}});
    let refusal = cluster.post(POLICIES, &wrong).await;
    assert_eq!(refusal.code.as_u16(), 422, "{}", refusal.text);
}

#[tokio::test]
async fn bindings_bring_parameters_and_choose_what_becomes_of_failures() {
    let cluster = Cluster::start().await;
    cluster.post(MAPS, &map("limit", json!({"max": "3"}))).await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "matchConstraints": {"resourceRules": rules("secrets")},
        "validations": [{"expression": "object.metadata.name.size() <= int(params.data.max)", "message": "too long"}],
        "auditAnnotations": [{"key": "seen", "valueExpression": "'a secret'"}],
    });
    post(&cluster, POLICIES, "p", spec).await;
    let binding = |name: &str, actions: Value| {
        json!({"policyName": "p", "validationActions": actions,
        "paramRef": {"name": name, "namespace": "default", "parameterNotFoundAction": "Deny"}})
    };
    post(&cluster, BINDINGS, "b", binding("limit", json!(["Warn", "Audit"]))).await;
    const SECRETS: &str = "/api/v1/namespaces/default/secrets?dryRun=All";
    let mut answer = cluster.post(SECRETS, &json!({"metadata": {"name": "long-name"}})).await;
    for _ in 0..100 {
        if answer.headers.contains_key("warning") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        answer = cluster.post(SECRETS, &json!({"metadata": {"name": "long-name"}})).await;
    }
    assert_eq!(answer.code.as_u16(), 201);
    assert_eq!(
        answer.headers["warning"],
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': too long\""
    );
    assert!(cluster.post(SECRETS, &json!({"metadata": {"name": "abc"}})).await.headers.get("warning").is_none());
    post(&cluster, BINDINGS, "c", binding("missing", json!(["Deny"]))).await;
    for _ in 0..100 {
        answer = cluster.post(SECRETS, &json!({"metadata": {"name": "abc"}})).await;
        if answer.code.is_client_error() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        answer.json["message"],
        "secrets \"abc\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'c' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
}
