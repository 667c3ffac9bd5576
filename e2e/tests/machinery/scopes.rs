//! The scopes of quotas ("ResourceQuota should verify ResourceQuota with terminating scopes", "... with best effort scope").

use anyhow::Result;
use orlop_e2e::scene::Scene;
use serde_json::{Value, json};

use super::plain::Http;
use super::quotas::{QUOTAS, used};

/// Each pair of scopes is each other's opposite: a pod counts for one of them.
pub fn scopes(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let hard = json!({ "pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi" });
    let amounts =
        json!({ "requests": { "cpu": "500m", "memory": "200Mi" }, "limits": { "cpu": "1", "memory": "400Mi" } });
    let counted = json!({ "pods": "1", "requests.cpu": "500m", "requests.memory": "200Mi", "limits.cpu": "1", "limits.memory": "400Mi" });
    let nothing =
        json!({ "pods": "0", "requests.cpu": "0", "requests.memory": "0", "limits.cpu": "0", "limits.memory": "0" });
    for (name, scope, hard) in [
        ("terminating", "Terminating", hard.clone()),
        ("staying", "NotTerminating", hard.clone()),
        ("best-effort", "BestEffort", json!({ "pods": "5" })),
        ("not-best-effort", "NotBestEffort", json!({ "pods": "5" })),
    ] {
        let body = json!({ "metadata": { "name": name }, "spec": { "hard": hard, "scopes": [scope] } });
        http.post(&it.path(QUOTAS), &body)?.is(201)?;
        used(it, name, json!({ "pods": "0" }))?;
    }
    let body = json!({ "metadata": { "name": "wrong" }, "spec": { "hard": hard, "scopes": ["BestEffort"] } });
    http.post(&it.path(QUOTAS), &body)?.refuses(422, "unsupported scope applied to resource")?;

    let pod = |name: &str, resources: &Value, deadline: Value| {
        json!({ "metadata": { "name": name }, "spec": { "activeDeadlineSeconds": deadline, "containers": [{ "name": "c",
            "image": "registry.local/web:1", "resources": resources }] } })
    };
    for (name, deadline, counts, does_not) in
        [("long", Value::Null, "staying", "terminating"), ("short", json!(3600), "terminating", "staying")]
    {
        http.post(&it.path("pods"), &pod(name, &amounts, deadline))?.is(201)?;
        used(it, counts, counted.clone())?;
        used(it, does_not, nothing.clone())?;
        used(it, "not-best-effort", json!({ "pods": "1" }))?;
        used(it, "best-effort", json!({ "pods": "0" }))?;
        http.delete(&it.path(&format!("pods/{name}")), &json!({ "gracePeriodSeconds": 0 }))?.is(200)?;
        used(it, counts, nothing.clone())?;
        used(it, "not-best-effort", json!({ "pods": "0" }))?;
    }
    // One that asks for nothing is refused where something must be asked for, so those quotas go first.
    let bare = pod("bare", &json!({}), Value::Null);
    http.post(&it.path("pods"), &bare)?.refuses(403, "failed quota: staying: must specify limits.cpu for: c")?;
    for name in ["terminating", "staying"] {
        http.delete(&it.path(&format!("{QUOTAS}/{name}")), &Value::Null)?.is(200)?;
    }
    http.post(&it.path("pods"), &bare)?.is(201)?;
    used(it, "best-effort", json!({ "pods": "1" }))?;
    used(it, "not-best-effort", json!({ "pods": "0" }))?;
    http.delete(&it.path("pods/bare"), &json!({ "gracePeriodSeconds": 0 }))?.is(200)?;
    used(it, "best-effort", json!({ "pods": "0" }))
}
