//! CertificateSigningRequests: who asks is written into them, and not everybody may approve, sign or ask for everything.
//!
//! [`Requester`] does what Kubernetes does in the kind's storage, since only here it is known who asks and what time it is: it fills in
//! `spec.username` and its like on creation, and the times of conditions. The other three are Kubernetes' plugins of these names. Source:
//! `pkg/registry/certificates/certificates`, `plugin/pkg/admission/certificates`.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use orlop_api::csr::Csr;
use orlop_api::draft::Draft;
use orlop_api::kind::Sub;
use orlop_api::status;
use orlop_client::clock;

use super::{forbidden, is};
use crate::authorize::Policy;
use crate::stage::{Admission, Attributes, Authorizer, Decision, Operation, Plugin, Subject};

const GROUP: &str = "certificates.k8s.io";
/// The signer of certificates by which clients make themselves known to the API server.
const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

fn is_request(write: &Admission<'_>) -> bool {
    is(write.kind, GROUP, "CertificateSigningRequest")
}

/// Whether somebody may `approve` or `sign` for a signer, or for all signers of its domain.
fn may(policy: &Policy, write: &Admission<'_>, verb: &str, signer: &str) -> bool {
    let allowed = |name: &str| {
        let attributes = Attributes {
            identity: write.identity,
            verb,
            resource_request: true,
            group: GROUP,
            version: "*",
            resource: "signers",
            subresource: "",
            namespace: "",
            name,
            path: "",
            field_selector: "",
            label_selector: "",
        };
        policy.authorize(&attributes) == Decision::Allow
    };
    let domain = signer.split('/').next().unwrap_or_default();
    allowed(signer) || allowed(&format!("{domain}/*"))
}

/// The signer that the request as it stands names: nobody chooses another by the way.
fn signer<'a>(subject: &'a Subject<'_>) -> &'a str {
    let old = subject.draft.and_then(|it| it.old::<CertificateSigningRequest>());
    old.map_or("", |it| it.spec.signer_name.as_str())
}

/// The plugins of this file, in their order.
pub fn plugins(policy: &Arc<Policy>) -> [Arc<dyn Plugin>; 4] {
    [
        Arc::new(Requester),
        Arc::new(Approval::new(policy.clone())),
        Arc::new(Signing::new(policy.clone())),
        Arc::new(SubjectRestriction),
    ]
}

/// Writes down who asks, and when conditions came.
pub struct Requester;

#[async_trait]
impl Plugin for Requester {
    fn name(&self) -> &'static str {
        "CertificateRequester"
    }

    fn admits(&self, write: &Admission<'_>) -> bool {
        is_request(write) && write.operation != Operation::Delete
    }

    async fn admit(&self, write: &Admission<'_>, draft: Option<&mut Draft<'_>>) -> status::Result<()> {
        let Some(it) = draft.and_then(|it| it.get_mut::<CertificateSigningRequest>()) else { return Ok(()) };
        if write.operation == Operation::Create {
            let (who, spec) = (write.identity, &mut it.spec);
            spec.username = Some(who.user.clone());
            spec.uid = Some(who.uid.clone()).filter(|it| !it.is_empty());
            spec.groups = Some(who.groups.clone()).filter(|it| !it.is_empty());
            spec.extra = Some(who.extra.clone()).filter(|it| !it.is_empty());
        } else if write.sub.is_some() {
            let now = orlop_api::meta::whole_seconds(clock::now());
            let conditions = it.status.iter_mut().flat_map(|it| it.conditions.iter_mut().flatten());
            for condition in conditions.filter(|it| it.last_update_time.is_none()) {
                condition.last_update_time = Some(Time(now));
            }
        }
        Ok(())
    }
}

/// `/approval` is for those who may `approve` for the signer.
pub struct Approval {
    policy: Arc<Policy>,
}

impl Approval {
    /// Judges by these rules.
    pub fn new(policy: Arc<Policy>) -> Self {
        Approval { policy }
    }
}

#[async_trait]
impl Plugin for Approval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        write.sub == Some(Sub::Approval) && is_request(write) && write.operation == Operation::Update
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let signer = signer(&subject);
        if may(&self.policy, write, "approve", signer) {
            return Ok(());
        }
        Err(forbidden(write, &format!("user not permitted to approve requests with signerName {signer:?}")))
    }
}

/// A certificate comes from those who may `sign` for the signer.
pub struct Signing {
    policy: Arc<Policy>,
}

impl Signing {
    /// Judges by these rules.
    pub fn new(policy: Arc<Policy>) -> Self {
        Signing { policy }
    }
}

#[async_trait]
impl Plugin for Signing {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        write.sub == Some(Sub::Status) && is_request(write) && write.operation == Operation::Update
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(draft) = subject.draft else { return Ok(()) };
        let parts = |it: Option<&CertificateSigningRequest>| {
            let status = it.and_then(|it| it.status.clone()).unwrap_or_default();
            (status.certificate, status.conditions.unwrap_or_default())
        };
        if parts(draft.get()) == parts(draft.old()) {
            return Ok(());
        }
        let signer = signer(&subject);
        if may(&self.policy, write, "sign", signer) {
            return Ok(());
        }
        Err(forbidden(write, &format!("user not permitted to sign requests with signerName {signer:?}")))
    }
}

/// Nobody becomes master of the cluster by asking for a certificate.
pub struct SubjectRestriction;

#[async_trait]
impl Plugin for SubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn validates(&self, write: &Admission<'_>) -> bool {
        is_request(write) && write.operation == Operation::Create && write.sub.is_none()
    }

    async fn validate(&self, write: &Admission<'_>, subject: Subject<'_>) -> status::Result<()> {
        let Some(it) = subject.draft.and_then(|it| it.get::<CertificateSigningRequest>()) else { return Ok(()) };
        if it.spec.signer_name != CLIENT_SIGNER {
            return Ok(());
        }
        let csr =
            Csr::parse(&it.spec.request.0).map_err(|why| forbidden(write, &format!("failed to parse CSR: {why}")))?;
        if csr.organizations.iter().any(|it| it == MASTERS) {
            let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
            return Err(forbidden(write, &why));
        }
        Ok(())
    }
}
