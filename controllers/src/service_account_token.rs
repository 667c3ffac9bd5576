//! Secrets of type `kubernetes.io/service-account-token`: they get a token, the cluster's CA and their namespace, and go
//! with their service account.
//!
//! In: such secrets, and service accounts. Out: patches that a token is put into, and deletions. The token is asked for
//! where everybody asks for one, and bound to the secret: it ends with the secret or the account. It also has an end of
//! its own, the latest that a TokenRequest may name, in 136 years; Kubernetes' tokens of this kind name none
//! (`tokens_controller.go`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::json;

use crate::plan::{Fact, Plan, Step, TokenWanted};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// The annotation that names the account of a Secret.
pub const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// The controller.
pub struct ServiceAccountTokens {
    /// The CA's certificate, put beside each token.
    pub root_ca: Option<String>,
}

impl Controller for ServiceAccountTokens {
    fn name(&self) -> &'static str {
        "serviceaccount-token-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.tokens);
        let tokens = world.tokens.clone();
        wires.on(&world.service_accounts, move |change| {
            if change
                .new
                .as_ref()
                .zip(change.old.as_ref())
                .is_some_and(|(new, old)| new.metadata.uid == old.metadata.uid)
            {
                return Vec::new();
            }
            let all = tokens.list_in(change.key.namespace());
            let named = all.iter().filter(|it| annotation(&it.metadata, NAME) == Some(change.key.name()));
            named.map(|it| key_of(&it.metadata)).collect()
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(secret) = world.tokens.get(key).filter(|it| it.metadata.deletion_timestamp.is_none()) else {
            return plan;
        };
        let Some(name) = annotation(&secret.metadata, NAME).filter(|it| !it.is_empty()) else { return plan };
        // Without a uid it belongs to whichever account of that name there is.
        let uid = annotation(&secret.metadata, UID).unwrap_or_default();
        let place = Key::new(key.namespace(), name);
        let account = world.service_accounts.get(&place);
        match account.filter(|it| uid.is_empty() || uid_of(&it.metadata) == uid) {
            Some(account) => self.fill(&secret, &account, &mut plan),
            None => {
                let action = Action::Delete {
                    resource: SECRETS,
                    key: key.clone(),
                    uid: uid_of(&secret.metadata).to_owned(),
                    revision: None,
                    grace_seconds: None,
                    propagation: None,
                };
                let gone = Fact { resource: SERVICE_ACCOUNTS, key: place, uid: uid.to_owned(), alive: false };
                plan.act_given(vec![gone], action);
            }
        }
        plan
    }
}

impl ServiceAccountTokens {
    /// Puts in what the secret lacks, and nothing into one that is complete.
    fn fill(&self, secret: &SecretView, account: &ServiceAccountView, plan: &mut Plan) {
        let held = secret.data.clone().unwrap_or_default();
        let ca = self.root_ca.as_ref().map(|it| STANDARD.encode(it)).filter(|it| *it != held.ca);
        if ca.is_none() && held.has_namespace && held.has_token {
            return;
        }
        let (namespace, name) = (namespace_of(&secret.metadata), name_of(&account.metadata));
        let mut data = json!({});
        if let Some(ca) = ca {
            data["ca.crt"] = ca.into();
        }
        if !held.has_namespace {
            data["namespace"] = STANDARD.encode(namespace).into();
        }
        let annotations = json!({ NAME: name, UID: uid_of(&account.metadata) });
        let action = Action::Patch {
            resource: SECRETS,
            key: key_of(&secret.metadata),
            sub: None,
            uid: uid_of(&secret.metadata).to_owned(),
            revision: secret.metadata.resource_version.clone(),
            patch: json!({ "metadata": { "annotations": annotations }, "data": data }),
        };
        let token = (!held.has_token).then(|| TokenWanted {
            account: Key::new(namespace, name),
            secret: name_of(&secret.metadata).to_owned(),
            uid: uid_of(&secret.metadata).to_owned(),
        });
        plan.steps.push(Step { token, ..Step::from(action) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// What is done about the secret `a/s`, whose annotations and data are given, where the accounts of these uids are.
    fn plan(annotations: Value, data: Value, accounts: &[&str]) -> String {
        let world = World::default();
        for uid in accounts {
            let account = json!({ "metadata": { "namespace": "a", "name": "bot", "uid": uid } });
            world.service_accounts.apply(serde_json::from_value(account).unwrap());
        }
        let metadata =
            json!({ "namespace": "a", "name": "s", "uid": "s1", "resourceVersion": "7", "annotations": annotations });
        world.tokens.apply(serde_json::from_value(json!({ "metadata": metadata, "data": data })).unwrap());
        let controller = ServiceAccountTokens { root_ca: Some("CA".to_owned()) };
        controller.decide(&Key::new("a", "s"), &world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn a_secret_is_filled_once() {
        insta::assert_snapshot!(plan(json!({ NAME: "bot" }), Value::Null, &["u1"]), @r#"
        patch secrets a/s at 7 {"data":{"ca.crt":"Q0E=","namespace":"YQ=="},"metadata":{"annotations":{"kubernetes.io/service-account.name":"bot","kubernetes.io/service-account.uid":"u1"}}}
          with a token of a/bot bound to the secret s uid=s1
        "#);
        let full = json!({ "token": "eA==", "namespace": "YQ==", "ca.crt": "Q0E=" });
        insta::assert_snapshot!(plan(json!({ NAME: "bot", UID: "u1" }), full, &["u1"]), @"nothing to do");
        let old_ca = json!({ "token": "eA==", "namespace": "YQ==", "ca.crt": "eA==" });
        insta::assert_snapshot!(plan(json!({ NAME: "bot", UID: "u1" }), old_ca, &["u1"]), @r#"patch secrets a/s at 7 {"data":{"ca.crt":"Q0E="},"metadata":{"annotations":{"kubernetes.io/service-account.name":"bot","kubernetes.io/service-account.uid":"u1"}}}"#);
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        insta::assert_snapshot!(plan(json!({ NAME: "bot", UID: "u1" }), json!({}), &["u2"]), @r"
        delete secrets a/s uid=s1
          if serviceaccounts a/bot uid=u1 is gone
        ");
        insta::assert_snapshot!(plan(json!({ NAME: "bot" }), json!({}), &[]), @r"
        delete secrets a/s uid=s1
          if serviceaccounts a/bot uid= is gone
        ");
        // Nothing says whose it is: the API server does not take such a secret.
        insta::assert_snapshot!(plan(json!({}), json!({}), &["u1"]), @"nothing to do");
    }
}
