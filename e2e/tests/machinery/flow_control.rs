//! Flow control's kinds by every verb ("API priority and fairness should support FlowSchema API operations", "... should support
//! PriorityLevelConfiguration API operations").

use anyhow::{Context, Result, ensure};
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::plain::{Http, MERGE, count, meta, names};

const GROUP: &str = "/apis/flowcontrol.apiserver.k8s.io/v1";

pub fn flow_control(it: &Scene<'_>) -> Result<()> {
    let name = it.namespace.as_str();
    let user = json!({ "kind": "User", "user": { "name": "example-e2e" } });
    let rule = json!({ "verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"] });
    let schema = json!({ "matchingPrecedence": 10000, "priorityLevelConfiguration": { "name": "global-default" },
        "distinguisherMethod": { "type": "ByUser" }, "rules": [{ "subjects": [user], "resourceRules": [{ "verbs": rule["verbs"],
            "apiGroups": rule["apiGroups"], "resources": rule["resources"], "namespaces": rule["namespaces"] }] }] });
    let precedence = json!({ "matchingPrecedence": 9999 });
    every_verb(it, "flowschemas", name, &schema, &precedence, "Dangling")?;
    let level = json!({ "type": "Limited", "limited": { "nominalConcurrencyShares": 2, "lendablePercent": 0,
        "limitResponse": { "type": "Reject" } } });
    let shares = json!({ "limited": { "nominalConcurrencyShares": 4 } });
    every_verb(it, "prioritylevelconfigurations", name, &level, &shares, "Dangling")?;

    let http = Http::of(it);
    let wrong = json!({ "metadata": { "name": name }, "spec": { "type": "Limited" } });
    let words = "spec.limited: Required value: must not be empty when type is Limited";
    http.post(&format!("{GROUP}/prioritylevelconfigurations"), &wrong)?.refuses(422, words)
}

fn every_verb(it: &Scene<'_>, plural: &str, name: &str, spec: &Value, change: &Value, condition: &str) -> Result<()> {
    let http = Http::of(it);
    let path = format!("{GROUP}/{plural}");
    let selected = format!("labelSelector=e2e={name}");
    let body = |name: &str| json!({ "metadata": { "name": name, "labels": { "e2e": &it.namespace } }, "spec": spec });
    let made = http.post(&path, &body(name))?.is(201)?;
    ensure!(!meta(&made, "uid").is_empty() && made["spec"]["type"] == spec["type"], "{made}");
    let got = http.get(&format!("{path}/{name}"))?.is(200)?;
    ensure!(meta(&got, "uid") == meta(&made, "uid"), "{got}");
    for at in ["two", "three"] {
        http.post(&path, &body(&format!("{name}-{at}")))?.is(201)?;
    }
    ensure!(count(&http.get(&format!("{path}?{selected}"))?.is(200)?) == 3, "three are listed");
    let patched = http.patch(
        &format!("{path}/{name}"),
        MERGE,
        &json!({ "metadata": { "annotations": { "patched": "yes" } }, "spec": change }),
    )?;
    let patched = patched.is(200)?;
    ensure!(patched["metadata"]["annotations"]["patched"] == "yes", "{patched}");
    for (field, value) in change.as_object().context("a change")? {
        let expected = value.as_object().and_then(|it| it.iter().next());
        let found = expected.map_or(&patched["spec"][field], |(inner, _)| &patched["spec"][field][inner]);
        ensure!(found == expected.map_or(value, |it| it.1), "{patched}");
    }
    let mut updated = patched.clone();
    updated["metadata"]["annotations"]["updated"] = "yes".into();
    let updated = http.put(&format!("{path}/{name}"), &updated)?.is(200)?;
    ensure!(updated["metadata"]["annotations"]["updated"] == "yes", "{updated}");
    let events = http.watch(&format!("{path}?{selected}&resourceVersion={}", meta(&made, "resourceVersion")), 1)?;
    let of_it = |kind: &str| events.iter().any(|(it, object)| it == kind && meta(object, "name") == name);
    ensure!(of_it("MODIFIED") && events.iter().any(|it| it.0 == "ADDED"), "{events:?}");

    // The status has a door of its own, by which nothing else changes.
    let told = json!({ "type": condition, "status": "False", "reason": "ByATest", "message": "patched",
        "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let status = json!({ "status": { "conditions": [told] }, "spec": change });
    let with_status = http.patch(&format!("{path}/{name}/status"), MERGE, &status)?.is(200)?;
    ensure!(with_status["status"]["conditions"][0]["message"] == "patched", "{with_status}");
    ensure!(with_status["metadata"]["generation"] == updated["metadata"]["generation"], "{with_status}");
    let mut whole = http.get(&format!("{path}/{name}/status"))?.is(200)?;
    whole["status"]["conditions"][0]["message"] = "updated".into();
    let whole = http.put(&format!("{path}/{name}/status"), &whole)?.is(200)?;
    ensure!(whole["status"]["conditions"][0]["message"] == "updated", "{whole}");

    http.delete(&format!("{path}/{name}"), &Value::Null)?.is(200)?;
    http.get(&format!("{path}/{name}"))?.refuses(404, "not found")?;
    let left = names(&http.get(&format!("{path}?{selected}"))?.is(200)?);
    ensure!(left == [format!("{name}-three"), format!("{name}-two")], "{left:?}");
    http.delete(&format!("{path}?{selected}"), &Value::Null)?.is(200)?;
    ensure!(count(&http.get(&format!("{path}?{selected}"))?.is(200)?) == 0, "they are deleted");
    Ok(())
}
