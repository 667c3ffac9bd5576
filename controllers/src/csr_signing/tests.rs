//! What is signed, for how long, and what is refused; the certificates are read back with another parser than made them.

use super::*;
use jiff::SignedDuration;
use serde_json::Value;
use x509_parser::prelude::{FromDer, X509Certificate};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// `O=system:nodes, CN=system:node:n1`, without further names.
pub(crate) const NODE: &str = "-----BEGIN CERTIFICATE REQUEST-----\n\
MIHrMIGSAgEAMDAxFTATBgNVBAoMDHN5c3RlbTpub2RlczEXMBUGA1UEAwwOc3lz\n\
dGVtOm5vZGU6bjEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARWlmhZB/oMjpLA\n\
LTkYoYxjHE2AFC1GenfJ6p52VgusXpHeuQ1oQWfERlWngRh2Rz6G4hx4hs3eUqcI\n\
+FBby5hqoAAwCgYIKoZIzj0EAwIDSAAwRQIhANa3OUJP9fefkImsp8u5V+Y78EN5\n\
LD/GGOP+qVjA9gAeAiA5ObD7nmUhs1H/+a2T51eoE7ANxDrk9cOpz6qj+x3sIg==\n\
-----END CERTIFICATE REQUEST-----\n";

/// `O=dev, O=ops, CN=ann`, with names of every sort.
const ANN: &str = "-----BEGIN CERTIFICATE REQUEST-----\n\
MIIBKDCB0AIBADAqMQwwCgYDVQQKDANkZXYxDDAKBgNVBAoMA29wczEMMAoGA1UE\n\
AwwDYW5uMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVpZoWQf6DI6SwC05GKGM\n\
YxxNgBQtRnp3yeqedlYLrF6R3rkNaEFnxEZVp4EYdkc+huIceIbN3lKnCPhQW8uY\n\
aqBEMEIGCSqGSIb3DQEJDjE1MDMwMQYDVR0RBCowKIINYS5leGFtcGxlLmNvbYcE\n\
CgAAAYEFYUBiLmOGCnNwaWZmZTovL3gwCgYIKoZIzj0EAwIDRwAwRAIhAPOW4K6I\n\
0ovyOq5M8UZjzK2Dl43gEXBE2kV7rIREoL2dAh9+wHoub1rwGiUVm8ou3qTGbEWk\n\
cM1s9v35sJWf9k74\n\
-----END CERTIFICATE REQUEST-----\n";

/// The request `a` of user `ann`.
pub(crate) fn request(pem: &str, signer: &str, usages: &[&str]) -> Value {
    json!({
        "metadata": { "name": "a", "uid": "u", "resourceVersion": "7" },
        "spec": { "request": STANDARD.encode(pem), "signerName": signer, "usages": usages, "username": "ann" },
        "status": {},
    })
}

fn authority() -> Arc<Authority> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1);
    params.not_after = rcgen::date_time_ymd(1972, 1, 1);
    let certificate = params.self_signed(&key).unwrap().pem();
    Arc::new(Authority::new(&certificate, &key.serialize_pem(), SignedDuration::from_hours(365 * 24)).unwrap())
}

/// What becomes of the approved request at the epoch.
fn body(pem: &str, signer: &str, usages: &[&str], seconds: Option<i32>) -> Option<Value> {
    let world = World::default();
    let mut it = request(pem, signer, usages);
    it["status"] = json!({ "conditions": [{ "type": "Approved", "status": "True" }] });
    if let Some(seconds) = seconds {
        it["spec"]["expirationSeconds"] = seconds.into();
    }
    world.requests.apply(serde_json::from_value(it).unwrap());
    let now = Timestamp::from_second(86_400 * 365 / 2).unwrap();
    let mut plan = CsrSigning { authority: authority() }.decide(&Key::new("", "a"), &world, now, None);
    match plan.steps.pop()?.action {
        Action::Sub { sub: "status", put: true, body, .. } => Some(body),
        other => panic!("{other}"),
    }
}

/// A certificate's life in seconds, its purposes, subject and names.
fn read(body: &Value) -> (i64, String, String) {
    let pem = STANDARD.decode(body["status"]["certificate"].as_str().unwrap()).unwrap();
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
    let (rest, it) = X509Certificate::from_der(&block.contents).unwrap();
    assert!(rest.is_empty() && !it.is_ca());
    let purposes = it.extended_key_usage().unwrap().unwrap().value;
    let names = it.subject_alternative_name().unwrap().map_or(0, |it| it.value.general_names.len());
    let life = it.validity().not_after.timestamp() - it.validity().not_before.timestamp();
    let purposes = format!("client={} server={} names={names}", purposes.client_auth, purposes.server_auth);
    (life, purposes, it.subject().to_string())
}

#[test]
fn approved_requests_are_signed() {
    let client = ["digital signature", "client auth"];
    let made = body(NODE, "kubernetes.io/kube-apiserver-client-kubelet", &client, None).unwrap();
    let (life, purposes, subject) = read(&made);
    assert_eq!((life, purposes.as_str()), (365 * 86_400, "client=true server=false names=0"));
    assert_eq!(subject, "O=system:nodes, CN=system:node:n1");
    let made = body(ANN, "kubernetes.io/kube-apiserver-client", &client, Some(3600)).unwrap();
    let (life, purposes, subject) = read(&made);
    // A short life is not shortened by what lies before it.
    assert_eq!((life, purposes.as_str()), (3600 + 300, "client=true server=false names=4"));
    assert_eq!(subject, "O=dev, O=ops, CN=ann");
    let (life, ..) = read(&body(ANN, "kubernetes.io/legacy-unknown", &["server auth"], Some(60)).unwrap());
    assert_eq!(life, 600 + 300);
    let (life, ..) = read(&body(ANN, "kubernetes.io/legacy-unknown", &["any"], Some(i32::MAX)).unwrap());
    assert_eq!(life, 365 * 86_400, "no longer than what the controllers are told");
}

#[test]
fn a_signature_is_good_under_the_cas_key() {
    let ca = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let own = params.self_signed(&ca).unwrap();
    let authority = Authority::new(&own.pem(), &ca.serialize_pem(), SignedDuration::from_hours(24)).unwrap();
    let csr = Csr::parse(ANN.as_bytes()).unwrap();
    let usages = ["client auth".to_owned(), "signing".to_owned()];
    let pem = authority.sign(&csr, &usages, None, "u", Timestamp::UNIX_EPOCH).unwrap();
    let (_, block) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
    let (_, made) = X509Certificate::from_der(&block.contents).unwrap();
    let (_, own) = X509Certificate::from_der(own.der()).unwrap();
    made.verify_signature(Some(own.public_key())).unwrap();
    assert_eq!(made.issuer(), own.subject());
    assert!(made.key_usage().unwrap().unwrap().value.digital_signature());
    let late = "4100-01-01T00:00:00Z".parse().unwrap();
    assert!(authority.sign(&csr, &usages, None, "u", late).unwrap_err().starts_with("refusing to sign"));
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    assert!(Authority::new(&pem, &other, SignedDuration::from_hours(1)).unwrap_err().contains("does not belong"));
}

#[test]
fn what_a_signer_does_not_sign_has_failed() {
    let check = |pem: &str, signer: &str, usages: &[&str], why: &str| {
        let failed = body(pem, signer, usages, None).unwrap();
        let conditions = failed["status"]["conditions"].as_array().unwrap();
        assert_eq!(conditions.len(), 2, "the approval stays");
        assert_eq!(
            (conditions[1]["type"].as_str(), conditions[1]["reason"].as_str()),
            (Some("Failed"), Some("SignerValidationFailure"))
        );
        assert_eq!(conditions[1]["message"], why);
    };
    let client = "kubernetes.io/kube-apiserver-client";
    check(ANN, client, &["server auth"], "invalid usage for client certificate: server auth");
    check(ANN, client, &["digital signature"], "missing required usage for client certificate: client auth");
    check(ANN, "kubernetes.io/kubelet-serving", &["server auth"], "subject organization is not system:nodes");
    assert_eq!(body(ANN, "example.com/other", &["client auth"], None), None);
}
