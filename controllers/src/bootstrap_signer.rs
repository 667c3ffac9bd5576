//! Signs the `cluster-info` of `kube-public` with every bootstrap token that may sign: who has a token knows by that whom to trust.
//!
//! In: the ConfigMap `cluster-info`, which anybody may make and who joins reads without credentials, and the bootstrap tokens. Out: one entry
//! `jws-kubeconfig-<id>` a token, a detached JSON Web Signature (RFC 7515, appendix F) of its `kubeconfig` with HMAC and the token's
//! secret. Source: `pkg/controller/bootstrap/bootstrapsigner.go`; kube-controller-manager runs it where kubeadm asks for it, here it
//! runs always.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::{Value, json};

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::{CLUSTER_INFO, PUBLIC, World};

const CONTENT: &str = "kubeconfig";
const SIGNATURE: &str = "jws-kubeconfig-";

/// The controller.
pub struct BootstrapSigner;

impl Controller for BootstrapSigner {
    fn name(&self) -> &'static str {
        "bootstrap-signer"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.cluster_info);
        wires.on(&world.bootstrap_tokens, |_| vec![Key::new(PUBLIC, CLUSTER_INFO)]);
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(info) = world.cluster_info.get(key) else { return plan };
        let Some(content) = info.data.get(CONTENT) else { return plan };
        let tokens = world.bootstrap_tokens.list();
        let mut wanted = BTreeMap::new();
        for (id, secret) in tokens.iter().filter_map(|it| it.signing(now)) {
            match signature(content, &id, &secret) {
                Ok(text) => drop(wanted.insert(format!("{SIGNATURE}{id}"), text)),
                Err(error) => tracing::error!(%error, id, "the cluster's information could not be signed with a token"),
            }
        }
        let mut changes = serde_json::Map::new();
        for (name, text) in &wanted {
            if info.data.get(name) != Some(text) {
                changes.insert(name.clone(), text.as_str().into());
            }
        }
        for name in info.data.keys().filter(|it| it.starts_with(SIGNATURE) && !wanted.contains_key(*it)) {
            changes.insert(name.clone(), Value::Null);
        }
        if !changes.is_empty() {
            plan.act(Action::Patch {
                resource: CONFIG_MAPS,
                key: key.clone(),
                sub: None,
                uid: uid_of(&info.metadata).to_owned(),
                revision: info.metadata.resource_version.clone(),
                patch: json!({ "data": changes }),
            });
        }
        plan
    }
}

/// The signature of `content`, which stands between the two points in the whole of it.
fn signature(content: &str, id: &str, secret: &str) -> Result<String, jsonwebtoken::errors::Error> {
    let head = URL_SAFE_NO_PAD.encode(json!({ "alg": "HS256", "kid": id }).to_string());
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(content));
    let mac = crypto::sign(signed.as_bytes(), &EncodingKey::from_secret(secret.as_bytes()), Algorithm::HS256)?;
    Ok(format!("{head}..{mac}"))
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn token(world: &World, id: &str, expiration: &str, usage: &str) {
        let text = |it: &str| STANDARD.encode(it);
        let it = json!({ "metadata": { "namespace": "kube-system", "name": format!("bootstrap-token-{id}"), "uid": id },
            "data": { "token-id": text(id), "token-secret": text("abcdefghijklmnop"), "expiration": text(expiration),
                "usage-bootstrap-signing": text(usage) } });
        world.bootstrap_tokens.apply(serde_json::from_value(it).unwrap());
    }

    fn plan(world: &World, data: Value) -> String {
        let info = json!({ "metadata": { "namespace": PUBLIC, "name": CLUSTER_INFO, "uid": "i", "resourceVersion": "5" },
            "data": data });
        world.cluster_info.apply(serde_json::from_value(info).unwrap());
        let key = Key::new(PUBLIC, CLUSTER_INFO);
        BootstrapSigner.decide(&key, world, "2026-01-01T00:00:00Z".parse().unwrap(), None).to_string()
    }

    #[test]
    fn every_token_that_may_sign_signs() {
        let world = World::default();
        token(&world, "abc123", "", "true");
        token(&world, "longid0", "", "true");
        token(&world, "unused", "", "");
        token(&world, "ended0", "2025-01-01T00:00:00Z", "true");
        insta::assert_snapshot!(plan(&world, json!({ "other": "x" })), @"nothing to do");
        // The HMAC was computed by openssl over the same bytes.
        let signed = "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiYzEyMyJ9..2PY-MbgXBG9Th_KgmumOI4BZrOlNoWZmh6AjV7RyBq0";
        let expected = format!(
            r#"patch configmaps kube-public/cluster-info at 5 {{"data":{{"jws-kubeconfig-abc123":"{signed}","jws-kubeconfig-ended0":null}}}}"#
        );
        assert_eq!(plan(&world, json!({ "kubeconfig": "content", "jws-kubeconfig-ended0": "old" })).trim(), expected);
        let told = json!({ "kubeconfig": "content", "jws-kubeconfig-abc123": signed });
        insta::assert_snapshot!(plan(&world, told), @"nothing to do");
    }
}
