//! Whose tokens those of pods are, found out from within a pod ("ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of
//! service account issuer"): what the issuer publishes is read by the names that pods have for the API server, with the token and the CA that
//! the pod was given, and verifies that token.

use anyhow::{Context, Result, ensure};
use orlop_e2e::image::TOOLS;
use orlop_e2e::scene::Scene;
use orlop_e2e::token::Token;
use serde_json::{Value, json};

const MOUNTED: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

pub fn play(scene: &Scene<'_>) -> Result<()> {
    // busybox speaks no TLS that checks who answers; this machine's curl does.
    let container = json!({"name": "main", "image": TOOLS, "command": ["sh", "-c", "ln -s /usr/lib /usr/lib64 / && exec sleep 600"],
        "volumeMounts": [{"name": "usr", "mountPath": "/usr", "readOnly": true}]});
    let spec = json!({"terminationGracePeriodSeconds": 0, "containers": [container],
        "volumes": [{"name": "usr", "hostPath": {"path": "/usr"}}]});
    scene
        .apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"}, "spec": spec}).to_string())?;
    scene.ready("reader")?;
    let text = scene.inside("reader", "main", &["cat", &format!("{MOUNTED}/token")])?;
    let (bearer, authority) = (format!("Authorization: Bearer {}", text.trim()), format!("{MOUNTED}/ca.crt"));
    let read = |url: &str, more: &[&str]| {
        let curl = ["/usr/bin/curl", "--silent", "--show-error", "--fail", "--max-time", "10", url];
        scene.inside("reader", "main", &[&curl, more].concat())
    };
    let document = |url: &str| -> Result<Value> {
        Ok(serde_json::from_str(&read(url, &["--cacert", &authority, "--header", &bearer])?)?)
    };

    let token = Token::read(&text)?;
    let account = format!("system:serviceaccount:{}:default", scene.namespace);
    ensure!(token.claims["sub"] == account.as_str(), "{}", token.claims);
    ensure!(token.claims["kubernetes.io"]["pod"]["name"] == "reader", "{}", token.claims);
    let issuer = token.claims["iss"].as_str().context("a token says whose it is")?;
    let about = document(&format!("{issuer}/.well-known/openid-configuration"))?;
    ensure!(about["issuer"] == issuer, "{issuer} says that it is {about}");
    ensure!(about["id_token_signing_alg_values_supported"] == json!([token.head["alg"]]), "{about}");
    let keys_at = about["jwks_uri"].as_str().context("it says where its keys are")?;
    token.verify(&document(keys_at)?, scene.cluster.folder())?;
    // The shorter name is the same server's.
    let shorter = "https://kubernetes.default.svc";
    ensure!(document(&format!("{shorter}/.well-known/openid-configuration"))? == about, "{shorter} says the same");
    let keys = format!("{shorter}/openid/v1/jwks");
    token.verify(&document(&keys)?, scene.cluster.folder())?;

    // It is the pod's own CA by which the server is known, and the pod's own token that is let in.
    for (more, words) in [(["--header", &bearer], "certificate"), (["--cacert", &authority], "403")] {
        let refused = read(&keys, &more).err().map(|it| format!("{it:#}")).unwrap_or_default();
        ensure!(refused.contains(words), "{words} was expected with {}: {refused:?}", more[0]);
    }
    Ok(())
}
