//! Policies in the cluster: expressions that refuse, variables, what their types are, and every verb of policies and bindings.

use anyhow::{Context, Result, ensure};
use orlop_e2e::definition::{SERVED_LIMIT, define, definition, expect, objects, refused, undefine, version};
use orlop_e2e::server::Request;
use orlop_e2e::wait;
use serde_json::{Value, json};

use super::play::{Play, same};

const POLICIES: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const BINDINGS: &str = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings";

fn policy(name: &str, resource: (&str, &str, &str), more: Value) -> Value {
    let (group, version, plural) = resource;
    let mut spec = json!({"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [{
        "operations": ["CREATE", "UPDATE"], "apiGroups": [group], "apiVersions": [version], "resources": [plural]}]}});
    for (key, value) in more.as_object().into_iter().flatten() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec})
}

/// A binding for one namespace.
fn binding(name: &str, namespace: &str) -> Value {
    json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {"policyName": name, "validationActions": ["Deny"], "matchResources": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}}})
}

fn deployment(name: &str, replicas: u32) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "registry.local/x:1"}]}}}})
}

/// Waits until the policy's expressions have been checked, and gives what was found.
fn checked(it: &Play<'_>, name: &str) -> Result<Vec<(String, String)>> {
    wait::until("a policy is checked", SERVED_LIMIT, || {
        let policy = it.server.get(&format!("{POLICIES}/{name}"))?;
        let status = &policy["status"];
        ensure!(status["observedGeneration"] == policy["metadata"]["generation"], "{policy}");
        let warnings = status["typeChecking"]["expressionWarnings"].as_array();
        let text = |it: &Value| it.as_str().unwrap_or_default().to_owned();
        Ok(warnings.into_iter().flatten().map(|it| (text(&it["fieldRef"]), text(&it["warning"]))).collect())
    })
}

/// Deployments are judged, with and without variables; what does not fit the types is told in the status.
pub fn policies(it: &Play<'_>) -> Result<()> {
    let deployments = ("apps", "v1", "deployments");
    let here = format!("/apis/apps/v1/namespaces/{}/deployments", it.case.namespace);
    for (name, more) in [
        (
            "plain.policy.example.com",
            json!({"validations": [{"expression": "object.spec.replicas > 1", "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)"}]}),
        ),
        (
            "variables.policy.example.com",
            json!({
                "variables": [{"name": "replicas", "expression": "object.spec.replicas"},
                    {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"}],
                "validations": [{"expression": "variables.replicas > 1"}, {"expression": "variables.oddReplicas"}]}),
        ),
    ] {
        expect(&it.server.send("POST", POLICIES, &policy(name, deployments, more))?, 201)?;
        let found = checked(it, name)?;
        ensure!(found.is_empty(), "{name}: {found:?}");
        expect(&it.server.send("POST", BINDINGS, &binding(name, &it.case.namespace))?, 201)?;
        let why = format!("ValidatingAdmissionPolicy '{name}' with binding '{name}' denied request: ");
        it.until(&format!("{here}?dryRun=All"), &deployment("bad", 1), |answer| refused(answer, 422, &why))?;
        expect(&it.server.send("POST", &format!("{here}?dryRun=All"), &deployment("good", 3))?, 201)?;
        if name.starts_with("variables") {
            let answer = it.server.send("POST", &here, &deployment("even", 4))?;
            refused(&answer, 422, "failed expression: variables.oddReplicas")?;
        } else {
            it.case.refused(
                "create deployment bad --image=registry.local/x:1 --replicas=1",
                "",
                &format!("error: failed to create deployment: deployments.apps \"bad\" is forbidden: {why}wants replicas > 1, got 1"),
            )?;
        }
        expect(&it.server.send("DELETE", &format!("{BINDINGS}/{name}"), &Value::Null)?, 200)?;
        expect(&it.server.send("DELETE", &format!("{POLICIES}/{name}"), &Value::Null)?, 200)?;
    }
    wrong_types(it, deployments)?;
    custom_types(it)
}

/// Expressions that cannot be right are told, and refuse nothing by that.
fn wrong_types(it: &Play<'_>, deployments: (&str, &str, &str)) -> Result<()> {
    let name = "confused.policy.example.com";
    let more = json!({"validations": [
        {"expression": "object.spec.replicas > '1'", "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas"},
        {"expression": "object.spec.maxRetries > 10 && object.metadata.name != ''"}]});
    expect(&it.server.send("POST", POLICIES, &policy(name, deployments, more))?, 201)?;
    let found = checked(it, name)?;
    let places: Vec<&str> = found.iter().map(|it| it.0.as_str()).collect();
    let expected =
        ["spec.validations[0].expression", "spec.validations[0].messageExpression", "spec.validations[1].expression"];
    ensure!(places == expected, "{found:?}");
    for (at, words) in [
        (
            0,
            "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'",
        ),
        (1, "found no matching overload for '_+_' applied to '(string, int)'"),
        (2, "ERROR: <input>:1:12: undefined field 'maxRetries'"),
    ] {
        ensure!(found[at].1.contains(words), "{words:?} is not in {:?}", found[at].1);
    }
    // It is checked again when it is changed.
    let mut mended = it.server.get(&format!("{POLICIES}/{name}"))?;
    mended["spec"]["validations"] = json!([{"expression": "object.spec.replicas > 1"}]);
    expect(&it.server.send("PUT", &format!("{POLICIES}/{name}"), &mended)?, 200)?;
    let found = checked(it, name)?;
    ensure!(found.is_empty(), "{found:?}");
    expect(&it.server.send("DELETE", &format!("{POLICIES}/{name}"), &Value::Null)?, 200)
}

/// The types of custom objects are those of their definition.
fn custom_types(it: &Play<'_>) -> Result<()> {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "replicas": {"type": "integer"}, "labels": {"type": "object", "additionalProperties": {"type": "string"}}}}}});
    let of = definition("crontabs", "CronTab", "policy.example.com", json!([version("v1", true, &schema)]));
    define(it.server, &of)?;
    let name = "crontab.policy.example.com";
    let more = json!({"validations": [
        {"expression": "object.spec.replicas > 1 && object.spec.labels['a'] == 'b' && has(object.metadata.labels)"},
        {"expression": "object.spec.replicas == '1'"}, {"expression": "object.spec.nothing == 1"}]});
    let resource = ("policy.example.com", "v1", "crontabs");
    expect(&it.server.send("POST", POLICIES, &policy(name, resource, more))?, 201)?;
    let found = checked(it, name)?;
    ensure!(found.len() == 2, "{found:?}");
    ensure!(found[0].1.contains("policy.example.com/v1, Kind=CronTab: ERROR"), "{found:?}");
    ensure!(found[0].1.contains("no matching overload for '_==_' applied to '(int, string)'"), "{found:?}");
    ensure!(found[1].1.contains("undefined field 'nothing'"), "{found:?}");
    ensure!(objects(&of, "v1", "x").contains("crontabs"), "the objects' path");
    expect(&it.server.send("DELETE", &format!("{POLICIES}/{name}"), &Value::Null)?, 200)?;
    undefine(it.server, &of)
}

/// Create, get, list, watch, patch, update, status, delete and deletecollection, of policies and of bindings.
pub fn every_verb(it: &Play<'_>) -> Result<()> {
    let configmaps = ("", "v1", "configmaps");
    let one = |name: &str| policy(name, configmaps, json!({"validations": [{"expression": "true"}]}));
    for (plural, path, status) in
        [("validatingadmissionpolicies", POLICIES, true), ("validatingadmissionpolicybindings", BINDINGS, false)]
    {
        let make = |name: &str| {
            let mut it = if status { one(name) } else { binding(name, "nowhere") };
            it["metadata"]["labels"] = json!({"test": plural});
            it
        };
        let resources = it.server.get("/apis/admissionregistration.k8s.io/v1")?;
        let listed = resources["resources"].as_array().context("there are resources")?;
        let found = listed.iter().find(|it| it["name"] == plural).context("it is discovered")?;
        for verb in ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"] {
            ensure!(found["verbs"].as_array().is_some_and(|it| it.iter().any(|it| it == verb)), "{verb}: {found}");
        }
        for name in ["a", "b", "c"] {
            expect(&it.server.send("POST", path, &make(&format!("{name}.{plural}")))?, 201)?;
        }
        let selected = format!("{path}?labelSelector=test={plural}");
        let list = it.server.get(&selected)?;
        ensure!(list["items"].as_array().map(Vec::len) == Some(3), "{list}");
        let revision = list["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
        let at = format!("{path}/a.{plural}");
        let patch = json!({"metadata": {"annotations": {"patched": "true"}}}).to_string();
        let patch =
            Request { content_type: "application/merge-patch+json", body: patch.as_bytes(), ..Request::default() };
        let patched = it.server.request("PATCH", &at, &patch)?;
        expect(&patched, 200)?;
        same(&patched.json["metadata"]["annotations"]["patched"], &json!("true"))?;
        wait::until("an update gets in", SERVED_LIMIT, || {
            let mut updated = it.server.get(&at)?;
            updated["metadata"]["annotations"]["updated"] = "true".into();
            expect(&it.server.send("PUT", &at, &updated)?, 200)
        })?;
        // What was changed since is seen by whoever watches from then on.
        let watched =
            it.server.ask("GET", &format!("{selected}&watch=true&timeoutSeconds=1&resourceVersion={revision}"), "")?;
        expect(&watched, 200)?;
        let events: Vec<Value> = watched.text.lines().filter_map(|it| serde_json::from_str(it).ok()).collect();
        let seen = events
            .iter()
            .any(|it| it["type"] == "MODIFIED" && it["object"]["metadata"]["annotations"]["updated"] == "true");
        ensure!(seen, "the update is watched: {}", watched.text);
        if status {
            status_is_written(it, &at)?;
        }
        expect(&it.server.send("DELETE", &at, &Value::Null)?, 200)?;
        expect(&it.server.send("GET", &at, &Value::Null)?, 404)?;
        expect(&it.server.send("DELETE", &selected, &Value::Null)?, 200)?;
        let list = it.server.get(&selected)?;
        ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list}");
    }
    Ok(())
}

/// The status has a way of its own, on which nothing else changes.
fn status_is_written(it: &Play<'_>, at: &str) -> Result<()> {
    let path = format!("{at}/status");
    let condition = json!({"type": "StatusPatched", "status": "True", "reason": "test", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    let patch = json!({"spec": {"failurePolicy": "Ignore"}, "status": {"conditions": [condition]}}).to_string();
    let patch = Request { content_type: "application/merge-patch+json", body: patch.as_bytes(), ..Request::default() };
    let patched = it.server.request("PATCH", &path, &patch)?;
    expect(&patched, 200)?;
    same(&patched.json["spec"]["failurePolicy"], &json!("Fail"))?;
    same(&patched.json["status"]["conditions"][0]["type"], &json!("StatusPatched"))?;
    wait::until("a status gets in", SERVED_LIMIT, || {
        let mut updated = it.server.get(&path)?;
        updated["status"]["conditions"][0]["message"] = "updated".into();
        let updated = it.server.send("PUT", &path, &updated)?;
        expect(&updated, 200)?;
        same(&updated.json["status"]["conditions"][0]["message"], &json!("updated"))
    })
}
