//! Webhooks for custom objects: refused and changed in every operation, by the version that a rule names, and within their schema.

use anyhow::{Context, Result, ensure};
use orlop_e2e::definition::{self, anything, define, definition, expect, object, objects, refused, undefine, version};
use orlop_e2e::server::Request;
use orlop_e2e::wait;
use serde_json::{Value, json};

use super::play::{Play, Sort, rule, same};

/// A definition of its own for a scenario.
fn made(it: &Play<'_>, plural: &str, versions: Value) -> Result<Value> {
    let kind = format!("{}{}", plural[..1].to_uppercase(), &plural[1..plural.len() - 1]);
    let made = definition(plural, &kind, "webhook.example.com", versions);
    define(it.server, &made)?;
    Ok(made)
}

fn with_data(definition: &Value, version: &str, name: &str, data: Value) -> Value {
    let mut made = object(definition, version, name);
    made["data"] = data;
    made
}

/// Creation, change and deletion of custom objects are refused by what is in them.
pub fn denied(it: &Play<'_>) -> Result<()> {
    let of = made(it, "denials", json!([version("v1", true, &anything())]))?;
    let rule = rule(&["CREATE", "UPDATE", "DELETE"], "webhook.example.com", "v1", "denials");
    it.configure(Sort::Validating, vec![it.hook("custom", "/custom-resource", rule, json!({}))])?;
    let here = objects(&of, "v1", &it.case.namespace);
    let bad = json!({"webhook-e2e-test": "webhook-disallow"});
    let why = "admission webhook \"custom.hooks.test\" denied the request: the custom resource contains unwanted data";
    refused(&it.server.send("POST", &here, &with_data(&of, "v1", "bad", bad.clone()))?, 400, why)?;
    let good = it.server.send("POST", &here, &with_data(&of, "v1", "good", json!({"key": "value"})))?;
    expect(&good, 201)?;
    let mut changed = good.json.clone();
    changed["data"] = bad.clone();
    refused(&it.server.send("PUT", &format!("{here}/good"), &changed)?, 400, why)?;
    it.case.refused(
        r#"patch denials good --type=merge -p '{"data":{"webhook-e2e-test":"webhook-disallow"}}'"#,
        "",
        "*the custom resource contains unwanted data",
    )?;
    it.leave()?;
    // Without the webhook it gets in; with it, it cannot be deleted.
    let object = with_data(&of, "v1", "kept", bad);
    it.until(&here, &object, |answer| expect(answer, 201))?;
    let again = super::play::rule(&["DELETE"], "webhook.example.com", "*", "denials");
    it.configure(Sort::Validating, vec![it.hook("custom", "/custom-resource", again, json!({}))])?;
    let why = "the custom resource cannot be deleted because it contains unwanted key and value";
    refused(&it.server.send("DELETE", &format!("{here}/kept"), &Value::Null)?, 400, why)?;
    it.case.refused("delete denials kept", "", &format!("*{why}"))?;
    let asked = it.hooks.last("/custom-resource")?;
    ensure!(asked["operation"] == "DELETE" && asked["options"]["kind"] == "DeleteOptions", "{asked}");
    ensure!(asked["object"].is_null() && asked["oldObject"]["metadata"]["name"] == "kept", "{asked}");
    it.leave()?;
    wait::until("the webhook is forgotten", definition::SERVED_LIMIT, || {
        expect(&it.server.send("DELETE", &format!("{here}/kept"), &Value::Null)?, 200)
    })?;
    undefine(it.server, &of)
}

fn stages(it: &Play<'_>, rule: &Value) -> Vec<Value> {
    let stage = |name: &str| it.hook(name, "/mutating-custom-resource", rule.clone(), json!({}));
    vec![stage("stage-1"), stage("stage-2")]
}

/// Custom objects are changed in order.
pub fn changed(it: &Play<'_>) -> Result<()> {
    let of = made(it, "changes", json!([version("v1", true, &anything())]))?;
    it.configure(Sort::Mutating, stages(it, &rule(&["CREATE"], "webhook.example.com", "v1", "changes")))?;
    let here = objects(&of, "v1", &it.case.namespace);
    let made = it.server.send("POST", &here, &with_data(&of, "v1", "c", json!({"mutation-start": "yes"})))?;
    expect(&made, 201)?;
    let all = json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    same(&made.json["data"], &all)?;
    it.leave()?;
    undefine(it.server, &of)
}

/// What an object is stored as changes with its definition; webhooks see it in the version in which it is written.
pub fn stored_in_another_version(it: &Play<'_>) -> Result<()> {
    let versions = json!([version("v1", true, &anything()), version("v2", false, &anything())]);
    let of = made(it, "storeds", versions)?;
    let rule = rule(&["CREATE", "UPDATE"], "webhook.example.com", "*", "storeds");
    it.configure(Sort::Mutating, stages(it, &rule))?;
    let first = objects(&of, "v1", &it.case.namespace);
    expect(&it.server.send("POST", &first, &with_data(&of, "v1", "s", json!({})))?, 201)?;
    let patch = json!([{"op": "replace", "path": "/spec/versions/0/storage", "value": false},
        {"op": "replace", "path": "/spec/versions/1/storage", "value": true}])
    .to_string();
    let json_patch =
        Request { content_type: "application/json-patch+json", body: patch.as_bytes(), ..Request::default() };
    expect(&it.server.request("PATCH", &definition::path(&of), &json_patch)?, 200)?;
    wait::until("both versions have been stored", definition::SERVED_LIMIT, || {
        same(&it.server.get(&definition::path(&of))?["status"]["storedVersions"], &json!(["v1", "v2"]))
    })?;
    let merge = json!({"data": {"mutation-start": "yes"}}).to_string();
    let merge = Request { content_type: "application/merge-patch+json", body: merge.as_bytes(), ..Request::default() };
    let all = json!({"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"});
    // The storage follows the definition a moment later: until then the patch meets a change of tables.
    wait::until("the patch gets in", definition::SERVED_LIMIT, || {
        let patched = it.server.request("PATCH", &format!("{first}/s"), &merge)?;
        expect(&patched, 200)?;
        same(&patched.json["data"], &all)
    })?;
    let asked = it.hooks.last("/mutating-custom-resource")?;
    ensure!(asked["kind"]["version"] == "v1" && asked["object"]["apiVersion"] == "webhook.example.com/v1", "{asked}");
    let second = it.server.get(&format!("{}/s", objects(&of, "v2", &it.case.namespace)))?;
    ensure!(second["apiVersion"] == "webhook.example.com/v2", "{second}");
    same(&second["data"], &all)?;
    it.leave()?;
    undefine(it.server, &of)
}

/// What a webhook adds and the schema does not know is dropped.
pub fn pruned(it: &Play<'_>) -> Result<()> {
    let text = json!({"type": "string"});
    let schema = json!({"type": "object", "properties": {"data": {"type": "object", "properties": {
        "mutation-start": text, "mutation-stage-1": text}}}});
    let of = made(it, "prunings", json!([version("v1", true, &schema)]))?;
    it.configure(Sort::Mutating, stages(it, &rule(&["CREATE"], "webhook.example.com", "v1", "prunings")))?;
    let here = objects(&of, "v1", &it.case.namespace);
    let made = it.server.send("POST", &here, &with_data(&of, "v1", "p", json!({"mutation-start": "yes"})))?;
    expect(&made, 201)?;
    same(&made.json["data"], &json!({"mutation-start": "yes", "mutation-stage-1": "yes"}))?;
    it.leave()?;
    undefine(it.server, &of)
}

/// A rule for one version is for all, unless it wants to be exact: the webhook sees the version of its rule, whatever comes.
pub fn seen_in_the_version_of_the_rule(it: &Play<'_>) -> Result<()> {
    let versions = json!([version("v1", true, &anything()), version("v2", false, &anything())]);
    let mut of = definition("paints", "Paint", "webhook.example.com", versions);
    of["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": {
        "clientConfig": it.hooks.client("/convert"), "conversionReviewVersions": ["v1"]}});
    define(it.server, &of)?;
    let rule = |version: &str| rule(&["CREATE"], "webhook.example.com", version, "paints");
    it.configure(
        Sort::Mutating,
        vec![
            it.hook("equivalent", "/add-label", rule("v2"), json!({})),
            it.hook("exact", "/mutating-custom-resource", rule("v2"), json!({"matchPolicy": "Exact"})),
        ],
    )?;
    it.configure(Sort::Validating, vec![it.hook("judges", "/paints", rule("v2"), json!({}))])?;
    let here = objects(&of, "v1", &it.case.namespace);
    let before = it.hooks.asked("/mutating-custom-resource").len();
    let mut paint = object(&of, "v1", "red");
    paint["colour"] = "red".into();
    paint["metadata"]["labels"] = json!({"a": "b"});
    let made = it.server.send("POST", &here, &paint)?;
    expect(&made, 201)?;
    ensure!(it.hooks.asked("/mutating-custom-resource").len() == before, "who is exact is not asked about others");
    // It comes back in the version in which it was sent, changed in the other one.
    same(&made.json["apiVersion"], &json!("webhook.example.com/v1"))?;
    same(&made.json["colour"], &json!("red"))?;
    same(&made.json["metadata"]["labels"], &json!({"a": "b", "webhook": "was-here"}))?;
    for path in ["/add-label", "/paints"] {
        let asked = it.hooks.last(path)?;
        ensure!(asked["kind"]["version"] == "v2" && asked["requestKind"]["version"] == "v1", "{path}: {asked}");
        ensure!(asked["resource"]["version"] == "v2" && asked["requestResource"]["version"] == "v1", "{path}: {asked}");
        ensure!(asked["object"]["apiVersion"] == "webhook.example.com/v2", "{path}: {asked}");
        ensure!(asked["object"]["color"] == "red" && asked["object"]["colour"].is_null(), "{path}: {asked}");
    }
    let labels = it.hooks.last("/paints")?["object"]["metadata"]["labels"].clone();
    labels.get("webhook").context("the judge sees what the others have changed")?;
    it.leave()?;
    built_in_equivalents(it)?;
    undefine(it.server, &of)
}

/// Built-in kinds of several versions are seen in the version of the rule, too.
fn built_in_equivalents(it: &Play<'_>) -> Result<()> {
    let rule = rule(&["CREATE"], "autoscaling", "v1", "horizontalpodautoscalers");
    it.configure(Sort::Validating, vec![it.hook("scalers", "/scalers", rule, json!({}))])?;
    let metrics = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}]);
    let scaler = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "metrics": metrics,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
    let path = format!("/apis/autoscaling/v2/namespaces/{}/horizontalpodautoscalers", it.case.namespace);
    expect(&it.server.send("POST", &path, &scaler)?, 201)?;
    let asked = it.hooks.last("/scalers")?;
    ensure!(asked["kind"]["version"] == "v1" && asked["requestKind"]["version"] == "v2", "{asked}");
    same(&asked["object"]["apiVersion"], &json!("autoscaling/v1"))?;
    same(&asked["object"]["spec"]["targetCPUUtilizationPercentage"], &json!(50))
}
