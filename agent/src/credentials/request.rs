//! A certificate from the cluster: a key made here, a CertificateSigningRequest, and the wait for what becomes of it.
//!
//! In: a client that may ask, and what the certificate is to say. Out: the certificate in PEM, or why there is none. Keys are P-256, as the
//! kubelet's. Source: `k8s.io/client-go/util/certificate/csr`.

use std::net::IpAddr;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{PostParams, WatchEvent, WatchParams};
use orlop_client::random;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256, SanType};
use sha2::{Digest, Sha256};

use crate::node::{Refused, within};

/// The signer of certificates by which nodes ask.
pub const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// The signer of certificates with which nodes serve.
pub const SERVING_SIGNER: &str = "kubernetes.io/kubelet-serving";
/// Whom every node belongs to.
const GROUP: &str = "system:nodes";
/// How long one watch may last.
const WATCH_SECONDS: u32 = 60;
/// The pause after a look that failed.
const PAUSE: Duration = Duration::from_secs(1);
/// How much of the key's digest names a first request: 128 bits.
const NAME_BYTES: usize = 16;

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    #[error("the key or the request cannot be made: {0}")]
    Make(String),
    #[error("the API server does not know us (401 Unauthorized)")]
    Unauthorized,
    /// A human or a controller has said no.
    #[error("the request {name} was denied: {why}")]
    Denied { name: String, why: String },
    /// The signer does not sign such a thing.
    #[error("the request {name} has failed: {why}")]
    Failed { name: String, why: String },
    #[error("the request {0} was deleted")]
    Gone(String),
    /// Nobody has answered.
    #[error(
        "the request {name} was not answered within {seconds} s: `kubectl get csr {name}` shows whether it waits for \
         somebody to approve it, or for the controllers to sign it"
    )]
    Late { name: String, seconds: u64 },
    #[error("{0}")]
    Api(String),
}

impl RequestError {
    /// Whether asking once more, for the same, may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, RequestError::Api(_))
    }
}

impl From<Refused> for RequestError {
    fn from(it: Refused) -> Self {
        match it {
            Refused::Api(status) if status.code == 401 => RequestError::Unauthorized,
            other => RequestError::Api(other.to_string()),
        }
    }
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub node_name: String,
    pub signer: &'static str,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Wanted {
    /// That by which a node asks.
    pub fn client(node_name: &str) -> Self {
        Wanted { node_name: node_name.to_owned(), signer: CLIENT_SIGNER, dns_names: Vec::new(), addresses: Vec::new() }
    }

    /// That with which a node serves.
    pub fn serving(node_name: &str, addresses: Vec<IpAddr>) -> Self {
        let dns_names = vec![node_name.to_owned()];
        Wanted { node_name: node_name.to_owned(), signer: SERVING_SIGNER, dns_names, addresses }
    }

    /// The names that it will be good for.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.dns_names.iter().cloned().chain(self.addresses.iter().map(ToString::to_string))
    }

    fn usages(&self) -> Vec<String> {
        let purpose = if self.signer == SERVING_SIGNER { "server auth" } else { "client auth" };
        vec!["digital signature".to_owned(), purpose.to_owned()]
    }

    fn csr(&self, key: &KeyPair) -> Result<String, String> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, GROUP);
        params.distinguished_name.push(DnType::CommonName, format!("system:node:{}", self.node_name));
        for name in &self.dns_names {
            let name = Ia5String::try_from(name.as_str()).map_err(|it| it.to_string())?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        params.subject_alt_names.extend(self.addresses.iter().map(|it| SanType::IpAddress(*it)));
        let request = params.serialize_request(key).map_err(|it| it.to_string())?;
        request.pem().map_err(|it| it.to_string())
    }
}

/// A key for one certificate.
///
/// # Errors
/// The crypto provider has none.
pub fn new_key() -> Result<KeyPair, String> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|it| it.to_string())
}

/// The name of a first request: made from the key, so that one that was interrupted finds its own again (the kubelet's `node-csr-…`).
pub fn name_of(key: &KeyPair) -> String {
    let digest = Sha256::digest(key.public_key_raw());
    let hex: String = digest.iter().take(NAME_BYTES).map(|it| format!("{it:02x}")).collect();
    format!("node-csr-{hex}")
}

/// Asks for a certificate for `key`, and waits for it. A request called `name` that is there already is the one that is waited for.
///
/// # Errors
/// [`RequestError`].
pub async fn certificate(
    client: &kube::Client,
    wanted: &Wanted,
    key: &KeyPair,
    name: Option<&str>,
    at_most: Duration,
) -> Result<String, RequestError> {
    let api = Api::<CertificateSigningRequest>::all(client.clone());
    let request = CertificateSigningRequest {
        metadata: ObjectMeta {
            name: name.map(str::to_owned),
            generate_name: name.is_none().then(|| "csr-".to_owned()),
            ..ObjectMeta::default()
        },
        spec: CertificateSigningRequestSpec {
            request: ByteString(wanted.csr(key).map_err(RequestError::Make)?.into_bytes()),
            signer_name: wanted.signer.to_owned(),
            usages: Some(wanted.usages()),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let name = match (within(api.create(&PostParams::default(), &request)).await, name) {
        (Ok(it), _) => it.metadata.name.unwrap_or_default(),
        // Ours, by its name: that is made from a key that nobody else has.
        (Err(Refused::Api(status)), Some(name)) if status.code == 409 => name.to_owned(),
        (Err(error), _) => return Err(error.into()),
    };
    match tokio::time::timeout(at_most, wait(&api, &name)).await {
        Ok(it) => it,
        Err(_) => Err(RequestError::Late { name, seconds: at_most.as_secs() }),
    }
}

/// Waits for what becomes of a request.
async fn wait(api: &Api<CertificateSigningRequest>, name: &str) -> Result<String, RequestError> {
    loop {
        let version = match within(api.get(name)).await {
            Ok(it) => match judge(&it) {
                Some(outcome) => return outcome,
                None => it.metadata.resource_version.unwrap_or_default(),
            },
            Err(Refused::Api(status)) if status.code == 404 => return Err(RequestError::Gone(name.to_owned())),
            Err(Refused::Api(status)) if status.code == 401 => return Err(RequestError::Unauthorized),
            Err(error) => {
                tracing::debug!(%error, name, "a certificate request cannot be looked at");
                tokio::time::sleep(random::jitter(PAUSE, 0.5)).await;
                continue;
            }
        };
        let params = WatchParams::default().fields(&format!("metadata.name={name}")).timeout(WATCH_SECONDS);
        let events = match api.watch(&params, &version).await {
            Ok(it) => it,
            Err(error) => {
                tracing::debug!(%error, name, "a certificate request cannot be watched");
                tokio::time::sleep(random::jitter(PAUSE, 0.5)).await;
                continue;
            }
        };
        let mut events = std::pin::pin!(events);
        while let Some(Ok(event)) = events.next().await {
            match event {
                WatchEvent::Added(it) | WatchEvent::Modified(it) => {
                    if let Some(outcome) = judge(&it) {
                        return outcome;
                    }
                }
                WatchEvent::Deleted(_) => return Err(RequestError::Gone(name.to_owned())),
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(_) => break,
            }
        }
        // A watch that ends at once is no reason to ask without pause.
        tokio::time::sleep(random::jitter(PAUSE, 0.5)).await;
    }
}

/// What has become of a request; none if nothing has.
fn judge(it: &CertificateSigningRequest) -> Option<Result<String, RequestError>> {
    let status = it.status.as_ref()?;
    let name = || it.metadata.name.clone().unwrap_or_default();
    let condition = |type_: &str| {
        let found = status.conditions.iter().flatten().find(|it| it.type_ == type_)?;
        let texts = [found.reason.as_deref(), found.message.as_deref()].into_iter().flatten();
        Some(texts.filter(|it| !it.is_empty()).collect::<Vec<_>>().join(": "))
    };
    if let Some(why) = condition("Denied") {
        return Some(Err(RequestError::Denied { name: name(), why }));
    }
    if let Some(why) = condition("Failed") {
        return Some(Err(RequestError::Failed { name: name(), why }));
    }
    let certificate = status.certificate.as_ref().filter(|it| !it.0.is_empty())?;
    Some(String::from_utf8(certificate.0.clone()).map_err(|it| RequestError::Api(it.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_api::csr::Csr;
    use serde_json::{Value, json};

    #[test]
    fn a_request_says_what_a_kubelets_says() {
        let key = new_key().unwrap();
        let wanted = Wanted::serving("n1", vec!["192.0.2.1".parse().unwrap()]);
        let csr = Csr::verified(wanted.csr(&key).unwrap().as_bytes()).unwrap();
        assert_eq!((csr.common_name.as_str(), csr.organizations.len()), ("system:node:n1", 1));
        assert_eq!(
            (csr.organizations[0].as_str(), csr.dns_names.as_slice()),
            ("system:nodes", ["n1".to_owned()].as_slice())
        );
        assert_eq!(wanted.names().collect::<Vec<_>>(), ["n1", "192.0.2.1"]);
        let client = Csr::verified(Wanted::client("n1").csr(&key).unwrap().as_bytes()).unwrap();
        assert!(client.dns_names.is_empty() && client.addresses.is_empty());
        assert_eq!(name_of(&key), name_of(&KeyPair::from_pem(&key.serialize_pem()).unwrap()));
        assert_eq!(name_of(&key).len(), "node-csr-".len() + 32);
    }

    #[test]
    fn the_outcome_is_told() {
        let check = |status: Value, expected: &str| {
            let it =
                json!({ "metadata": { "name": "a" }, "spec": { "request": "", "signerName": "s" }, "status": status });
            let said = match judge(&serde_json::from_value(it).unwrap()) {
                None => "nothing".to_owned(),
                Some(Ok(it)) => it,
                Some(Err(error)) => error.to_string(),
            };
            assert_eq!(said, expected);
        };
        let condition =
            |type_: &str| json!([{ "type": type_, "status": "True", "reason": "No", "message": "not you" }]);
        check(json!({}), "nothing");
        check(json!({ "conditions": condition("Approved") }), "nothing");
        check(json!({ "conditions": condition("Denied") }), "the request a was denied: No: not you");
        check(json!({ "conditions": condition("Failed") }), "the request a has failed: No: not you");
        check(json!({ "conditions": condition("Approved"), "certificate": "eHk=" }), "xy");
    }
}
