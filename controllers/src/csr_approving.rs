//! Approves the certificate requests of kubelets whose users may have what they ask for.
//!
//! In: CertificateSigningRequests. Out: approvals. Those of client certificates go out under the condition that the server grants the requestor
//! `create` on `certificatesigningrequests/selfnodeclient` (a node that renews its own certificate) or `/nodeclient`; those of
//! serving certificates if the node asks for itself and the names are its own ([`serving_names`]), which Kubernetes leaves to add-ons.
//! Everything else waits for a human. Source: `pkg/controller/certificates/approver`.

use std::sync::Arc;

use jiff::Timestamp;
use orlop_api::csr::Csr;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::json;

use crate::kubelet_csr;
use crate::plan::{Plan, ReviewWanted, Step};
use crate::runtime::{Controller, Wires};
use crate::serving_names;
use crate::view::*;
use crate::world::World;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
const OF_ITS_NAMES: &str = "Auto approving kubelet serving certificate for the node's own name and addresses.";
const NODE_USER: &str = "system:node:";
const NODE_GROUP: &str = "system:nodes";
const OF_ITSELF: (&str, &str) =
    ("selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.");
const OF_A_NODE: (&str, &str) = ("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.");

/// The controller.
pub struct CsrApproving;

impl Controller for CsrApproving {
    fn name(&self) -> &'static str {
        "csrapproving"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.requests);
        // A node may tell its addresses after it has asked to serve under them.
        let requests = world.requests.clone();
        wires.on(&world.nodes, move |change| {
            let addresses = |it: &Option<Arc<NodeView>>| it.as_ref().map(|it| it.status.addresses.clone());
            if change.new.is_none() || addresses(&change.new) == addresses(&change.old) {
                return Vec::new();
            }
            let user = format!("{NODE_USER}{}", change.key.name());
            let of_node = |it: &Arc<RequestView>| it.spec.username.as_deref() == Some(&user);
            requests.list().iter().filter(|it| of_node(it)).map(|it| key_of(&it.metadata)).collect()
        });
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(request) = world.requests.get(key) else { return plan };
        let decided = request.has("Approved") || request.has("Denied") || request.is_issued();
        if decided {
            return plan;
        }
        // The server takes none that cannot be read.
        let Ok(csr) = Csr::parse(&request.spec.request.0) else { return plan };
        match request.spec.signer_name.as_str() {
            CLIENT_SIGNER => {}
            SERVING_SIGNER => {
                match serves_as_itself(&request, &csr, world) {
                    Ok(()) => plan.act(approval(key, &request, OF_ITS_NAMES)),
                    Err(why) => tracing::info!(request = key.name(), why, "a serving certificate is left to a human"),
                }
                return plan;
            }
            _ => return plan,
        }
        if kubelet_csr::client(&csr, request.spec.usages.as_deref().unwrap_or_default()).is_err() {
            return plan;
        }
        let its_own = request.spec.username.as_deref() == Some(csr.common_name.as_str());
        let choices = if its_own { vec![OF_ITSELF, OF_A_NODE] } else { vec![OF_A_NODE] };
        // The message is that of the choice which is granted.
        let action = approval(key, &request, "");
        let spec = request.spec.clone();
        let review = ReviewWanted {
            user: spec.username.unwrap_or_default(),
            uid: spec.uid.unwrap_or_default(),
            groups: spec.groups.unwrap_or_default(),
            extra: spec.extra.unwrap_or_default(),
            choices,
        };
        plan.steps.push(Step { review: Some(review), ..Step::from(action) });
        plan
    }
}

fn approval(key: &Key, request: &RequestView, message: &str) -> Action {
    let condition = json!({ "type": "Approved", "status": "True", "reason": "AutoApproved", "message": message });
    let body = request.with_condition(condition);
    Action::Sub { resource: CSRS, key: key.clone(), sub: "approval", put: true, body }
}

/// Whether it is a node's request for itself, under names of its own.
fn serves_as_itself(request: &RequestView, csr: &Csr, world: &World) -> Result<(), String> {
    let spec = &request.spec;
    kubelet_csr::serving(csr, spec.usages.as_deref().unwrap_or_default())?;
    let of_nodes = spec.groups.iter().flatten().any(|it| it == NODE_GROUP);
    if !of_nodes || spec.username.as_deref() != Some(csr.common_name.as_str()) {
        return Err("it is not the node that asks".to_owned());
    }
    let name = csr.common_name.strip_prefix(NODE_USER).unwrap_or_default();
    let node = world.nodes.get(&Key::new("", name)).ok_or("there is no such node")?;
    serving_names::are_its_own(csr, &node, world)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csr_signing::tests::{NODE, request};
    use serde_json::Value;

    fn plan(change: Value) -> Plan {
        let world = World::default();
        let mut it = request(NODE, CLIENT_SIGNER, &["digital signature", "client auth"]);
        for (pointer, value) in change.as_object().unwrap() {
            *it.pointer_mut(pointer).unwrap() = value.clone();
        }
        world.requests.apply(serde_json::from_value(it).unwrap());
        CsrApproving.decide(&Key::new("", "a"), &world, Timestamp::UNIX_EPOCH, None)
    }

    #[test]
    fn kubelets_are_approved_if_the_server_agrees() {
        let bootstrapping = plan(json!({}));
        let [step] = bootstrapping.steps.as_slice() else { panic!("{bootstrapping}") };
        let review = step.review.as_ref().unwrap();
        assert_eq!((review.user.as_str(), review.choices.as_slice()), ("ann", [OF_A_NODE].as_slice()));
        let Action::Sub { sub: "approval", put: true, body, .. } = &step.action else { panic!("{bootstrapping}") };
        assert_eq!(body["status"]["conditions"][0]["type"], "Approved");
        assert_eq!(body["metadata"]["resourceVersion"], "7", "an approval is of what was seen");
        let renewing = plan(json!({ "/spec/username": "system:node:n1" }));
        assert_eq!(renewing.steps[0].review.as_ref().unwrap().choices, [OF_ITSELF, OF_A_NODE]);
    }

    #[test]
    fn others_wait() {
        for change in [
            json!({ "/spec/signerName": "kubernetes.io/kube-apiserver-client" }),
            json!({ "/spec/usages": ["server auth"] }),
            json!({ "/status": { "conditions": [{ "type": "Denied", "status": "True" }] } }),
            json!({ "/status": { "certificate": "eA==" } }),
        ] {
            assert!(plan(change.clone()).steps.is_empty(), "{change}");
        }
    }

    #[test]
    fn a_node_gets_the_certificate_it_serves_with() {
        let serving = |names: Vec<String>, user: &str, group: &str, with_node: bool| {
            let world = World::default();
            let key = rcgen::KeyPair::generate().unwrap();
            let mut params = rcgen::CertificateParams::new(names).unwrap();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(rcgen::DnType::OrganizationName, "system:nodes");
            params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:n1");
            let pem = params.serialize_request(&key).unwrap().pem().unwrap();
            let mut it = request(&pem, SERVING_SIGNER, &["digital signature", "server auth"]);
            (it["spec"]["username"], it["spec"]["groups"]) = (user.into(), json!([group]));
            world.requests.apply(serde_json::from_value(it).unwrap());
            if with_node {
                world.nodes.apply(serde_json::from_value(json!({ "metadata": { "name": "n1" } })).unwrap());
            }
            CsrApproving.decide(&Key::new("", "a"), &world, Timestamp::UNIX_EPOCH, None)
        };
        let names = |it: &str| vec![it.to_owned()];
        let approved = serving(names("n1"), "system:node:n1", "system:nodes", true);
        let [Step { action: Action::Sub { sub: "approval", body, .. }, review: None, .. }] = approved.steps.as_slice()
        else {
            panic!("{approved}")
        };
        assert_eq!(body["status"]["conditions"][0]["message"], OF_ITS_NAMES);
        for waiting in [
            serving(names("n2"), "system:node:n1", "system:nodes", true),
            serving(names("n1"), "system:node:n2", "system:nodes", true),
            serving(names("n1"), "system:node:n1", "system:masters", true),
            serving(names("n1"), "system:node:n1", "system:nodes", false),
            serving(Vec::new(), "system:node:n1", "system:nodes", true),
        ] {
            assert!(waiting.steps.is_empty(), "{waiting}");
        }
    }
}
