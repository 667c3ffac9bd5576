//! Bootstrap tokens that have ended go.
//!
//! In: bootstrap tokens. Out: deletions. Source: `pkg/controller/bootstrap/tokencleaner.go`; kube-controller-manager runs it where kubeadm
//! asks for it, here it runs always.

use std::time::Duration;

use jiff::Timestamp;
use orlop_client::Key;
use orlop_client::write::Action;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// The controller.
pub struct TokenCleaner;

impl Controller for TokenCleaner {
    fn name(&self) -> &'static str {
        "token-cleaner"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.bootstrap_tokens);
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(token) = world.bootstrap_tokens.get(key) else { return plan };
        match token.ends() {
            Some(end) if end <= now => plan.act(Action::Delete {
                resource: SECRETS,
                key: key.clone(),
                uid: uid_of(&token.metadata).to_owned(),
                revision: None,
                grace_seconds: None,
                propagation: None,
            }),
            Some(end) => plan.recheck_in(Duration::try_from(now.duration_until(end)).unwrap_or_default()),
            None => {}
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_goes_when_it_ends() {
        let plan = |expiration: &str| {
            let world = World::default();
            let token = json!({ "metadata": { "namespace": "kube-system", "name": "bootstrap-token-abcdef", "uid": "t" },
                "data": { "expiration": STANDARD.encode(expiration) } });
            world.bootstrap_tokens.apply(serde_json::from_value(token).unwrap());
            let key = Key::new("kube-system", "bootstrap-token-abcdef");
            TokenCleaner.decide(&key, &world, "2026-01-01T00:00:00Z".parse().unwrap(), None).to_string()
        };
        insta::assert_snapshot!(plan(""), @"nothing to do");
        insta::assert_snapshot!(plan("2026-01-01T01:00:00+01:00"), @"delete secrets kube-system/bootstrap-token-abcdef uid=t");
        insta::assert_snapshot!(plan("2026-01-01T00:00:07Z"), @"look again in 7s");
        insta::assert_snapshot!(plan("tomorrow"), @"delete secrets kube-system/bootstrap-token-abcdef uid=t");
    }
}
