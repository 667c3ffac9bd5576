//! Bootstrap tokens and what they sign ("BootstrapSigner should sign the new added bootstrap tokens", "... resign the bootstrap tokens when the
//! clusterInfo ConfigMap updated", "... delete the signed bootstrap tokens from clusterInfo ConfigMap when bootstrap token is deleted",
//! "BootstrapTokenCleaner should delete the token secret when the secret expired" of sig-cluster-lifecycle), and the ranges of services.

use anyhow::{Result, ensure};
use orlop_e2e::scene::{POD_LIMIT, Scene};
use serde_json::{Value, json};

use super::plain::{Http, MERGE};

const SECRETS: &str = "/api/v1/namespaces/kube-system/secrets";
const PUBLIC: &str = "/api/v1/namespaces/kube-public/configmaps";

fn token(id: &str, expiration: &str) -> Value {
    json!({ "metadata": { "name": format!("bootstrap-token-{id}") }, "type": "bootstrap.kubernetes.io/token",
        "stringData": { "token-id": id, "token-secret": "0123456789abcdef", "expiration": expiration,
            "usage-bootstrap-signing": "true" } })
}

pub fn bootstrap(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let info = format!("{PUBLIC}/cluster-info");
    http.post(PUBLIC, &json!({ "metadata": { "name": "cluster-info" }, "data": { "kubeconfig": "one" } }))?.is(201)?;
    http.post(SECRETS, &token("signer", "2090-01-01T00:00:00Z"))?.is(201)?;
    let signature = |it: &Value| it["data"]["jws-kubeconfig-signer"].as_str().unwrap_or_default().to_owned();
    let signed = it.api.until(&info, "is signed", POD_LIMIT, |it| !signature(it).is_empty())?;
    let first = signature(&signed);
    // The header of {"alg":"HS256","kid":"signer"}, no content, 256 bits.
    let parts: Vec<&str> = first.split('.').collect();
    ensure!(
        parts.len() == 3
            && parts[0] == "eyJhbGciOiJIUzI1NiIsImtpZCI6InNpZ25lciJ9"
            && parts[1].is_empty()
            && parts[2].len() == 43,
        "{first}"
    );
    http.patch(&info, MERGE, &json!({ "data": { "kubeconfig": "two" } }))?.is(200)?;
    it.api.until(&info, "is signed anew", POD_LIMIT, |it| !signature(it).is_empty() && signature(it) != first)?;
    // A token that has ended is of no use, and goes.
    http.post(SECRETS, &token("ended0", "2020-01-01T00:00:00Z"))?.is(201)?;
    it.api.gone(&format!("{SECRETS}/bootstrap-token-ended0"), POD_LIMIT)?;
    let now = http.get(&info)?.is(200)?;
    ensure!(now["data"]["jws-kubeconfig-ended0"].is_null(), "{now}");
    http.delete(&format!("{SECRETS}/bootstrap-token-signer"), &Value::Null)?.is(200)?;
    it.api.until(&info, "is not signed any more", POD_LIMIT, |it| signature(it).is_empty())?;
    http.delete(&info, &Value::Null)?.is(200).map(drop)
}

/// The range `kubernetes` is there and ready; one whose addresses nobody has goes when it is deleted.
pub fn service_ranges(it: &Scene<'_>) -> Result<()> {
    let http = Http::of(it);
    let all = "/apis/networking.k8s.io/v1/servicecidrs";
    let ready = it.api.until(&format!("{all}/kubernetes"), "is held and ready", POD_LIMIT, |it| {
        it["metadata"]["finalizers"] == json!(["networking.k8s.io/service-cidr-finalizer"])
            && it["status"]["conditions"][0]["message"] == "Kubernetes Service CIDR is ready"
    })?;
    ensure!(ready["spec"]["cidrs"] == json!(["10.96.0.0/16"]), "{ready}");
    let condition = &ready["status"]["conditions"][0];
    ensure!(condition["type"] == "Ready" && condition["status"] == "True", "{ready}");
    let mine = format!("{all}/{}", it.namespace);
    let range = json!({ "metadata": { "name": it.namespace }, "spec": { "cidrs": ["10.95.0.0/24"] } });
    http.post(all, &range)?.is(201)?;
    it.api.until(&mine, "is held", POD_LIMIT, |it| it["metadata"]["finalizers"].is_array())?;
    http.patch(&mine, MERGE, &json!({ "spec": { "cidrs": ["10.94.0.0/24"] } }))?.refuses(422, "field is immutable")?;
    http.delete(&mine, &Value::Null)?.is(200)?;
    it.api.gone(&mine, POD_LIMIT)
}
