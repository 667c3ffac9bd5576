//! Field validation of typed objects ("FieldValidation should detect unknown and duplicate fields of a typed object", "... detect unknown metadata
//! fields of a typed object"): refused where it is strict, dropped where it is not, by every verb that writes.

use anyhow::{Result, ensure};
use http::Method;
use orlop_e2e::scene::Scene;
use serde_json::json;

use super::plain::{Http, MERGE, STRATEGIC};

const APPLY: &str = "application/apply-patch+yaml";
const JSON_PATCH: &str = "application/json-patch+json";

/// Unknown fields in the spec, in metadata, and fields that stand twice.
pub fn typed(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let all = format!("/apis/apps/v1/namespaces/{}/deployments", it.namespace);
    let labels = json!({ "app": "nginx" });
    let container = json!({ "name": "nginx", "image": "registry.local/nginx:1" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [container] } });
    let good = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "typed" },
        "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": template } });
    let mut unknown = good.clone();
    unknown["spec"]["unknownField"] = "unknown".into();
    let mut unknown_metadata = good.clone();
    unknown_metadata["metadata"]["unknownMeta"] = "unknown".into();
    let in_spec = "unknown field \"spec.unknownField\"";
    let in_metadata = "unknown field \"metadata.unknownMeta\"";
    for (body, why) in [(&unknown, in_spec), (&unknown_metadata, in_metadata)] {
        let why = format!("strict decoding error: {why}");
        http.post(&format!("{all}?fieldValidation=Strict"), body)?.refuses(400, &why)?;
        let applied = format!("{all}/typed?fieldManager=e2e&fieldValidation=Strict");
        let refused = http.patch(&applied, APPLY, body)?;
        ensure!(refused.code >= 400 && refused.text.contains("field not declared in schema"), "{}", refused.text);
    }
    ensure!(http.get(&format!("{all}/typed"))?.code == 404, "what was refused was not made");
    let made = http.post(&all, &unknown)?.is(201)?;
    ensure!(made["spec"].get("unknownField").is_none(), "{made}");

    let path = format!("{all}/typed");
    let strict = format!("{path}?fieldValidation=Strict");
    http.put(&strict, &unknown)?.refuses(400, in_spec)?;
    let change = json!({ "spec": { "unknownField": "unknown" } });
    let operations = json!([{ "op": "add", "path": "/spec/unknownField", "value": "unknown" }]);
    for (kind, body) in [(MERGE, &change), (STRATEGIC, &change), (JSON_PATCH, &operations)] {
        http.patch(&strict, kind, body)?.refuses(422, in_spec)?;
        let dropped = http.patch(&format!("{path}?fieldValidation=Warn"), kind, body)?.is(200)?;
        ensure!(dropped["spec"].get("unknownField").is_none(), "{dropped}");
    }
    ensure!(http.get(&path)?.json["spec"] == made["spec"], "nothing of it has changed the object");

    // A field that stands twice can only be written as text.
    let twice = r#"{"metadata": {"name": "twice"}, "spec": {"paused": true, "paused": false}}"#;
    let json = [("content-type", "application/json")];
    let refused = http.send_text(Method::POST, &format!("{all}?fieldValidation=Strict"), &json, twice.to_owned())?;
    refused.refuses(400, "strict decoding error: duplicate field \"spec.paused\"")?;
    http.get(&format!("{all}/twice"))?.refuses(404, "not found")
}
