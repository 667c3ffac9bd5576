//! Token secrets whose service account is gone: they are deleted.
//!
//! In: secrets of type `kubernetes.io/service-account-token`, and service accounts. Out: deletions. It does not fill
//! such secrets: pods get bound tokens by TokenRequest, and so may users.

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

const NAME: &str = "kubernetes.io/service-account.name";
const UID: &str = "kubernetes.io/service-account.uid";

/// The controller.
pub struct ServiceAccountTokens;

impl Controller for ServiceAccountTokens {
    fn name(&self) -> &'static str {
        "serviceaccount-token-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.tokens);
        let tokens = world.tokens.clone();
        wires.on(&world.service_accounts, move |change| {
            if change.new.is_some() && change.old.is_some() {
                return Vec::new();
            }
            let all = tokens.list_in(change.key.namespace());
            let named = all.iter().filter(|it| annotation(&it.metadata, NAME) == Some(change.key.name()));
            named.map(|it| key_of(&it.metadata)).collect()
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(secret) = world.tokens.get(key) else { return plan };
        // Without a uid it belongs to whichever account of that name there is or will be.
        let (Some(name), Some(uid)) = (annotation(&secret.metadata, NAME), annotation(&secret.metadata, UID)) else {
            return plan;
        };
        let gone = match world.service_accounts.get(&Key::new(key.namespace(), name)) {
            Some(account) => uid_of(&account.metadata) != uid,
            None => world.gone.lock().contains(uid),
        };
        if gone {
            plan.act(Action::Delete {
                resource: SECRETS,
                key: key.clone(),
                uid: uid_of(&secret.metadata).to_owned(),
                revision: None,
                grace_seconds: None,
                propagation: None,
            });
        }
        plan
    }
}
