//! A certificate request, whole but for what nobody reads: who changes its approval or status puts all of it back.

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition, CertificateSigningRequestSpec,
    CertificateSigningRequestStatus,
};
use kube::core::ObjectMeta;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A certificate request.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct RequestView {
    pub metadata: ObjectMeta,
    pub spec: CertificateSigningRequestSpec,
    pub status: CertificateSigningRequestStatus,
}

orlop_client::view!(RequestView: CertificateSigningRequest);

impl RequestView {
    /// Its conditions.
    pub fn conditions(&self) -> &[CertificateSigningRequestCondition] {
        self.status.conditions.as_deref().unwrap_or_default()
    }

    /// Whether there is a condition of this type.
    pub fn has(&self, type_: &str) -> bool {
        self.conditions().iter().any(|it| it.type_ == type_)
    }

    /// Whether the signer has answered with a certificate.
    pub fn is_issued(&self) -> bool {
        self.status.certificate.as_ref().is_some_and(|it| !it.0.is_empty())
    }

    /// The object with one more condition.
    pub fn with_condition(&self, condition: Value) -> Value {
        let mut out = self.whole();
        match &mut out["status"]["conditions"] {
            Value::Array(all) => all.push(condition),
            other => *other = json!([condition]),
        }
        out
    }

    /// The object with a certificate, given in PEM.
    pub fn with_certificate(&self, pem: &str) -> Value {
        let mut out = self.whole();
        out["status"]["certificate"] = STANDARD.encode(pem).into();
        out
    }

    fn whole(&self) -> Value {
        let mut out = serde_json::to_value(self).unwrap_or_default();
        out["apiVersion"] = "certificates.k8s.io/v1".into();
        out["kind"] = "CertificateSigningRequest".into();
        out
    }
}
