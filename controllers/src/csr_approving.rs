//! Approves the certificate requests of kubelets whose users may have what they ask for.
//!
//! In: CertificateSigningRequests. Out: approvals, each under the condition that the server grants the requestor `create` on
//! `certificatesigningrequests/selfnodeclient` (a node that renews its own certificate) or `/nodeclient`. Everything else waits for a
//! human. Source: `pkg/controller/certificates/approver`.

use jiff::Timestamp;
use orlop_api::csr::Csr;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::json;

use crate::kubelet_csr;
use crate::plan::{Plan, ReviewWanted, Step};
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
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
    }

    fn decide(&self, key: &Key, world: &World, _now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(request) = world.requests.get(key) else { return plan };
        let decided = request.has("Approved") || request.has("Denied") || request.is_issued();
        if decided || request.spec.signer_name != SIGNER {
            return plan;
        }
        // The server takes none that cannot be read.
        let Ok(csr) = Csr::parse(&request.spec.request.0) else { return plan };
        if kubelet_csr::client(&csr, request.spec.usages.as_deref().unwrap_or_default()).is_err() {
            return plan;
        }
        let its_own = request.spec.username.as_deref() == Some(csr.common_name.as_str());
        let choices = if its_own { vec![OF_ITSELF, OF_A_NODE] } else { vec![OF_A_NODE] };
        // The message is that of the choice which is granted.
        let condition = json!({ "type": "Approved", "status": "True", "reason": "AutoApproved", "message": "" });
        let body = request.with_condition(condition);
        let action = Action::Sub { resource: CSRS, key: key.clone(), sub: "approval", put: true, body };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csr_signing::tests::{NODE, request};
    use serde_json::Value;

    fn plan(change: Value) -> Plan {
        let world = World::default();
        let mut it = request(NODE, SIGNER, &["digital signature", "client auth"]);
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
}
