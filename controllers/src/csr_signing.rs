//! Signs approved certificate requests with the cluster's CA, for the signers that Kubernetes has built in.
//!
//! In: CertificateSigningRequests, and the CA's key from the control plane's disk. Out: certificates in their status, or the condition
//! `Failed` where a request is not what its signer signs. Source: `pkg/controller/certificates/signer`.

pub mod authority;
mod der;

use std::sync::Arc;

use jiff::Timestamp;
use orlop_api::csr::Csr;
use orlop_client::Key;
use orlop_client::write::Action;
use serde_json::json;

use self::authority::Authority;
use crate::kubelet_csr;
use crate::plan::Plan;
use crate::runtime::{Controller, Wires};
use crate::view::*;
use crate::world::World;

/// What a client certificate may be used for.
const CLIENT_AUTH: &str = "client auth";

/// The controller.
pub struct CsrSigning {
    /// Who signs.
    pub authority: Arc<Authority>,
}

impl Controller for CsrSigning {
    fn name(&self) -> &'static str {
        "csrsigning"
    }

    fn wires(&self, world: &World, wires: &Wires) {
        wires.on_itself(&world.requests);
    }

    fn decide(&self, key: &Key, world: &World, now: Timestamp, _failed: Option<&str>) -> Plan {
        let mut plan = Plan::default();
        let Some(request) = world.requests.get(key) else { return plan };
        let waits = request.has("Approved") && !request.has("Denied") && !request.has("Failed") && !request.is_issued();
        if !waits || request.metadata.deletion_timestamp.is_some() {
            return plan;
        }
        let Ok(csr) = Csr::parse(&request.spec.request.0) else { return plan };
        let usages = request.spec.usages.as_deref().unwrap_or_default();
        let Some(judged) = judge(&request.spec.signer_name, &csr, usages) else { return plan };
        let seconds = request.spec.expiration_seconds;
        let signed = judged.and_then(|()| self.authority.sign(&csr, usages, seconds, uid_of(&request.metadata), now));
        let body = match signed {
            Ok(certificate) => request.with_certificate(&certificate),
            Err(why) => request.with_condition(json!({
                "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                "lastUpdateTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            })),
        };
        plan.act(Action::Sub { resource: CSRS, key: key.clone(), sub: "status", put: true, body });
        plan
    }
}

/// Whether this signer signs this; none if the signer is not ours.
fn judge(signer: &str, csr: &Csr, usages: &[String]) -> Option<Result<(), String>> {
    let judged = match signer {
        "kubernetes.io/kubelet-serving" => kubelet_csr::serving(csr, usages).map_err(str::to_owned),
        "kubernetes.io/kube-apiserver-client-kubelet" => kubelet_csr::client(csr, usages).map_err(str::to_owned),
        "kubernetes.io/kube-apiserver-client" => for_client(usages),
        // Of requests from before there were signers' names.
        "kubernetes.io/legacy-unknown" => Ok(()),
        _ => return None,
    };
    Some(judged)
}

fn for_client(usages: &[String]) -> Result<(), String> {
    let other = usages.iter().find(|it| !matches!(it.as_str(), CLIENT_AUTH | "digital signature" | "key encipherment"));
    if let Some(other) = other {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if usages.iter().any(|it| it == CLIENT_AUTH) {
        Ok(())
    } else {
        Err(format!("missing required usage for client certificate: {CLIENT_AUTH}"))
    }
}

#[cfg(test)]
pub(crate) mod tests;
