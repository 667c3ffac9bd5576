//! Who may do what: the node authorizer, then RBAC; `system:masters` may do everything.
//!
//! In: [`Attributes`] of a request, and through [`Policy::put`] and [`Policy::remove`] every Role, ClusterRole, binding, Pod and volume as the
//! cache learns of them. Out: a [`Decision`]. Both authorizers answer from indexes that are kept with every change, so that a decision costs
//! a few hash look-ups and never a scan; nothing here waits, reads the store, or can be switched off.

pub mod node;
pub mod rbac;

use orlop_api::head::Head;
use orlop_api::kind::Kind;
use parking_lot::RwLock;

use crate::stage::{Attributes, Authorizer, Decision, Identity, Rules};
use node::Graph;
use rbac::Index;

/// Who may do what, as the cluster's objects say it now.
#[derive(Debug)]
pub struct Policy {
    roles: RwLock<Index>,
    nodes: RwLock<Graph>,
    /// What the roles `system:node` and `orlop:node` allow a node of all that is not its own affair; fixed, so that no edit of
    /// the roles in the cluster can widen it.
    node_rules: Vec<rbac::Rule>,
}

impl Default for Policy {
    fn default() -> Self {
        let node_rules = built_in_rules(&["system:node", "orlop:node"]);
        Policy { roles: RwLock::default(), nodes: RwLock::default(), node_rules }
    }
}

/// The rules of compiled-in cluster roles.
fn built_in_rules(roles: &[&str]) -> Vec<rbac::Rule> {
    let objects = orlop_manifests::builtin::objects().expect("the compiled-in manifests are tested to be readable");
    let is_one = |it: &&serde_json::Value| {
        it["kind"] == "ClusterRole" && roles.iter().any(|role| it["metadata"]["name"] == *role)
    };
    objects.iter().filter(is_one).flat_map(|it| rbac::rules_of(&it["rules"])).collect()
}

impl Policy {
    /// Takes in an object that was made or changed. Kinds that decide nothing are passed over.
    pub fn put(&self, kind: &Kind, head: &Head, object: &[u8]) {
        match (kind.group, kind.kind) {
            ("", "Pod") => self.nodes.write().put(head, object),
            ("", "PersistentVolume") => self.nodes.write().put_volume(head, object),
            (rbac::GROUP, name) => {
                if let Some(part) = rbac::Part::of(name) {
                    self.roles.write().put(part, &head.namespace, &head.name, object);
                }
            }
            _ => {}
        }
    }

    /// Forgets an object that was deleted.
    pub fn remove(&self, kind: &Kind, head: &Head) {
        match (kind.group, kind.kind) {
            ("", "Pod") => self.nodes.write().remove(&head.namespace, &head.name),
            ("", "PersistentVolume") => self.nodes.write().remove_volume(&head.name),
            (rbac::GROUP, name) => {
                if let Some(part) = rbac::Part::of(name) {
                    self.roles.write().remove(part, &head.namespace, &head.name);
                }
            }
            _ => {}
        }
    }

    /// The rules that RBAC gives someone in a namespace (empty: in the whole cluster only).
    pub fn rules_of(&self, identity: &Identity, namespace: &str) -> Vec<rbac::Rule> {
        self.roles.read().rules_of(identity, namespace)
    }

    /// The rules of a role that a binding names.
    pub fn rules_of_role(&self, namespace: Option<&str>, name: &str) -> Option<Vec<rbac::Rule>> {
        self.roles.read().rules_of_role(namespace, name)
    }

    /// Whether a pod on this node uses the service account.
    pub fn node_uses_account(&self, node: &str, namespace: &str, name: &str) -> bool {
        self.nodes.read().refers(node, node::Object::ServiceAccount, namespace, name)
    }
}

/// The name behind `system:node:<name>` of the group `system:nodes`.
pub fn node_name(identity: &Identity) -> Option<&str> {
    let name = identity.user.strip_prefix("system:node:")?;
    identity.is_in("system:nodes").then_some(name)
}

impl Authorizer for Policy {
    fn authorize(&self, attributes: &Attributes<'_>) -> Decision {
        if attributes.identity.is_in("system:masters") {
            return Decision::Allow;
        }
        let mut reasons = Vec::new();
        if let Some(node) = node_name(attributes.identity) {
            match node::decide(&self.nodes.read(), &self.node_rules, node, attributes) {
                Decision::NoOpinion(why) => reasons.push(why),
                decided => return decided,
            }
        }
        match self.roles.read().decide(attributes) {
            Decision::NoOpinion(why) => reasons.push(why),
            decided => return decided,
        }
        reasons.retain(|it| !it.is_empty());
        Decision::NoOpinion(reasons.join("\n"))
    }

    fn rules(&self, identity: &Identity, namespace: &str) -> Rules {
        let incomplete = match node_name(identity) {
            Some(_) => "node authorizer does not support user rule resolution",
            None => "",
        };
        Rules { rules: self.rules_of(identity, namespace), incomplete: incomplete.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn the_union_lets_masters_pass_and_adds_up_reasons() {
        let policy = Policy::default();
        let admin = Identity::new("kubernetes-admin", &["system:masters"]);
        let node = Identity::new("system:node:n1", &["system:nodes"]);
        let ask = |identity| Attributes {
            identity,
            verb: "get",
            resource_request: true,
            group: "",
            version: "v1",
            resource: "secrets",
            subresource: "",
            namespace: "d",
            name: "s",
            path: "/api/v1/namespaces/d/secrets/s",
            field_selector: "",
            label_selector: "",
        };
        assert_eq!(policy.authorize(&ask(&admin)), Decision::Allow);
        assert_eq!(
            policy.authorize(&ask(&node)),
            Decision::NoOpinion("no relationship found between node 'n1' and this object".to_owned())
        );
        // A user who calls itself a node but is not of the group is judged by RBAC alone.
        let liar = Identity::new("system:node:n1", &[]);
        assert_eq!(policy.authorize(&ask(&liar)), Decision::NoOpinion(String::new()));
        let Some(pods) = registry::named("", "Pod") else { return };
        let json = br#"{"metadata":{"namespace":"d","name":"p","uid":"u"},"spec":{"nodeName":"n1","volumes":[{"secret":{"secretName":"s"}}]}}"#;
        let head = pods.head(json).unwrap();
        policy.put(pods, &head, json);
        assert_eq!(policy.authorize(&ask(&node)), Decision::Allow);
        policy.remove(pods, &head);
        assert_ne!(policy.authorize(&ask(&node)), Decision::Allow);
    }
}
