//! Nodes that leave for good: their certificates are revoked, then they are deleted.
//!
//! In: Nodes with the annotation of [`orlop_api::node_leaving`], which a node may set on itself. Out: an entry in the ConfigMap of
//! [`orlop_api::revocation`], the deletion of the certificate requests that the node has made, and that of the Node, in this order. A
//! node that says so has nothing to gain: it is out until somebody gives it another token.

use jiff::Timestamp;
use orlop_api::node_leaving::ANNOTATION;
use orlop_api::revocation;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::json;

use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// The controller.
pub struct NodeLeaving;

impl Controller for NodeLeaving {
    fn name(&self) -> &'static str {
        "node-leaving-controller"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on(&world.nodes, |change| {
            let leaves = change.new.as_ref().is_some_and(|it| annotation(&it.metadata, ANNOTATION).is_some());
            if leaves { vec![change.key.clone()] } else { Vec::new() }
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(node) = world.nodes.get(key) else { return plan };
        if annotation(&node.metadata, ANNOTATION).is_none() || node.metadata.deletion_timestamp.is_some() {
            return plan;
        }
        let place = Key::new(revocation::NAMESPACE, revocation::NAME);
        // An empty time: the server puts its own there.
        let entry = json!({ key.name(): "" });
        plan.act(match world.revoked_nodes.get(&place) {
            Some(there) => Action::Patch {
                resource: CONFIG_MAPS,
                key: place,
                sub: None,
                uid: uid_of(&there.metadata).to_owned(),
                revision: None,
                patch: json!({ "data": entry }),
            },
            None => Action::Create {
                resource: CONFIG_MAPS,
                namespace: place.namespace().to_owned(),
                body: json!({ "metadata": { "name": place.name() }, "data": entry }),
            },
        });
        // What was asked for before must not be signed after.
        let user = format!("system:node:{}", key.name());
        let requests = world.requests.list();
        for it in requests.iter().filter(|it| it.spec.username.as_deref() == Some(user.as_str())) {
            plan.act(gone(CSRS, key_of(&it.metadata), uid_of(&it.metadata)));
        }
        plan.act(gone(NODES, key.clone(), uid_of(&node.metadata)));
        plan
    }
}

fn gone(resource: orlop_client::write::Resource, key: Key, uid: &str) -> Action {
    Action::Delete { resource, key, uid: uid.to_owned(), revision: None, grace_seconds: None, propagation: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(annotations: serde_json::Value, revoked: bool) -> String {
        let world = World::default();
        let node = json!({ "metadata": { "name": "n1", "uid": "n", "annotations": annotations } });
        world.nodes.apply(serde_json::from_value(node).unwrap());
        for (name, user) in [("a", "system:node:n1"), ("b", "system:node:n2")] {
            let request = json!({ "metadata": { "name": name, "uid": name }, "spec": { "username": user, "request": "",
                "signerName": "s" } });
            world.requests.apply(serde_json::from_value(request).unwrap());
        }
        if revoked {
            let there =
                json!({ "metadata": { "namespace": "kube-system", "name": "orlop-revoked-nodes", "uid": "c" } });
            world.revoked_nodes.apply(serde_json::from_value(there).unwrap());
        }
        NodeLeaving.decide(&Key::new("", "n1"), &world, Timestamp::UNIX_EPOCH, None).to_string()
    }

    #[test]
    fn a_node_is_revoked_before_it_is_deleted() {
        assert_eq!(plan(json!({}), false), "nothing to do\n");
        for (revoked, first) in [(false, "create configmaps "), (true, "patch configmaps ")] {
            let plan = plan(json!({ "orlop.dev/leaving": "" }), revoked);
            let lines: Vec<&str> = plan.lines().collect();
            assert_eq!(lines.len(), 3, "{plan}");
            assert!(lines[0].starts_with(first) && lines[0].contains("\"n1\":\"\""), "{plan}");
            assert!(lines[1].contains(" certificatesigningrequests a ") && lines[2].contains(" nodes n1 "), "{plan}");
        }
    }
}
