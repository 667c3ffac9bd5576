//! PKCS #10 certificate requests, as CertificateSigningRequests carry them (RFC 2986).
//!
//! In: PEM text. Out: who asks for a certificate and under which names, and the parts of the request that a certificate takes over as they are,
//! in DER. Knows no signer and no object of the API.

use std::net::IpAddr;

use jiff::SignedDuration;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The label of a request's PEM block.
const LABEL: &str = "CERTIFICATE REQUEST";
/// The label of a certificate's PEM block.
const CERTIFICATE_LABEL: &str = "CERTIFICATE";

/// By how much certificates of the cluster are valid before they are made, for peers whose clocks are behind. Every signer of the cluster
/// does this alike, so that `notBefore` tells when a certificate was made, which its revocation is judged by.
pub const BACKDATED: SignedDuration = SignedDuration::from_mins(5);

/// One certificate request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Csr {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub addresses: Vec<IpAddr>,
    pub emails: Vec<String>,
    pub uris: Vec<String>,
    /// The subject, a `Name`.
    pub subject_der: Vec<u8>,
    /// The key, a `SubjectPublicKeyInfo`.
    pub public_key_der: Vec<u8>,
    /// The names that are asked for, the value of a `subjectAltName` extension; empty if there is none.
    pub names_der: Vec<u8>,
}

impl Csr {
    /// Reads a request from PEM, without judging its signature.
    ///
    /// # Errors
    /// What is wrong with it, in Kubernetes' words where it has them.
    pub fn parse(pem: &[u8]) -> Result<Self, String> {
        Self::of(&decoded(pem)?)
    }

    /// As [`Csr::parse`], and the request has to be signed with the key that it is for.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn verified(pem: &[u8]) -> Result<Self, String> {
        let der = decoded(pem)?;
        let csr = Self::of(&der)?;
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
        request.verify_signature().map_err(|_| "x509: the signature of the request does not verify".to_owned())?;
        Ok(csr)
    }

    fn of(der: &[u8]) -> Result<Self, String> {
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|error| format!("asn1: structure error: {error}"))?;
        if !rest.is_empty() {
            return Err("asn1: syntax error: trailing data".to_owned());
        }
        let info = &request.certification_request_info;
        let text = |it: &x509_parser::x509::AttributeTypeAndValue<'_>| it.as_str().map(str::to_owned).ok();
        let mut csr = Csr {
            // Go takes the last of several common names.
            common_name: info.subject.iter_common_name().filter_map(text).last().unwrap_or_default(),
            organizations: info.subject.iter_organization().filter_map(text).collect(),
            subject_der: info.subject.as_raw().to_vec(),
            public_key_der: info.subject_pki.raw.to_vec(),
            ..Csr::default()
        };
        for attribute in info.iter_attributes() {
            let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else { continue };
            for extension in &asked.extensions {
                if let ParsedExtension::SubjectAlternativeName(names) = extension.parsed_extension() {
                    csr.names_der = extension.value.to_vec();
                    names.general_names.iter().for_each(|it| csr.note(it));
                }
            }
        }
        Ok(csr)
    }

    fn note(&mut self, name: &GeneralName<'_>) {
        match name {
            GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => self.emails.push((*name).to_owned()),
            GeneralName::URI(name) => self.uris.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let address = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                self.addresses.extend(address.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)));
            }
            _ => {}
        }
    }
}

/// The bytes of the first PEM block, which has to be a request.
fn decoded(pem: &[u8]) -> Result<Vec<u8>, String> {
    match x509_parser::pem::parse_x509_pem(pem) {
        Ok((_, block)) if block.label == LABEL => Ok(block.contents),
        _ => Err(format!("PEM block type must be {LABEL}")),
    }
}

/// The end of the first certificate of a PEM text, in seconds since 1970.
///
/// # Errors
/// When there is no certificate.
pub fn not_after(pem: &[u8]) -> Result<i64, String> {
    let (_, block) = x509_parser::pem::parse_x509_pem(pem)
        .map_err(|_| "expected the certificate associated with the CSR to be PEM encoded".to_owned())?;
    let (_, certificate) = X509Certificate::from_der(&block.contents)
        .map_err(|error| format!("unable to parse certificate data: {error}"))?;
    Ok(certificate.validity().not_after.timestamp())
}

/// Whether a certificate's block says something of itself before what it holds (RFC 1421).
fn has_headers(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks.filter_map(|it| it.split("-----END").next()).any(|it| it.contains(':'))
}

/// Whether a text is nothing but certificates in PEM, at least one.
///
/// # Errors
/// Why it is not, in Kubernetes' words.
pub fn check_certificates(pem: &[u8]) -> Result<(), String> {
    let mut blocks = 0;
    if has_headers(pem) {
        return Err("no PEM block headers are permitted".to_owned());
    }
    for block in x509_parser::pem::Pem::iter_from_buffer(pem) {
        let Ok(block) = block else { break };
        if block.label != CERTIFICATE_LABEL {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        // A block may hold several certificates, one behind the other.
        let mut rest = &block.contents[..];
        while !rest.is_empty() {
            let parsed = X509Certificate::from_der(rest);
            rest = parsed.map_err(|error| format!("x509: malformed certificate: {error}"))?.0;
        }
        if block.contents.is_empty() {
            return Err("found CERTIFICATE PEM block containing 0 certificates".to_owned());
        }
        blocks += 1;
    }
    if blocks == 0 { Err("must contain at least one CERTIFICATE PEM block".to_owned()) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
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

    /// `O=dev, O=ops, CN=ann`, with a name of every sort.
    const ANN: &str = "-----BEGIN CERTIFICATE REQUEST-----\n\
MIIBKDCB0AIBADAqMQwwCgYDVQQKDANkZXYxDDAKBgNVBAoMA29wczEMMAoGA1UE\n\
AwwDYW5uMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEVpZoWQf6DI6SwC05GKGM\n\
YxxNgBQtRnp3yeqedlYLrF6R3rkNaEFnxEZVp4EYdkc+huIceIbN3lKnCPhQW8uY\n\
aqBEMEIGCSqGSIb3DQEJDjE1MDMwMQYDVR0RBCowKIINYS5leGFtcGxlLmNvbYcE\n\
CgAAAYEFYUBiLmOGCnNwaWZmZTovL3gwCgYIKoZIzj0EAwIDRwAwRAIhAPOW4K6I\n\
0ovyOq5M8UZjzK2Dl43gEXBE2kV7rIREoL2dAh9+wHoub1rwGiUVm8ou3qTGbEWk\n\
cM1s9v35sJWf9k74\n\
-----END CERTIFICATE REQUEST-----\n";

    #[test]
    fn tells_who_asks_and_under_which_names() {
        let node = Csr::verified(NODE.as_bytes()).unwrap();
        assert_eq!((node.common_name.as_str(), node.organizations.len()), ("system:node:n1", 1));
        assert!(node.names_der.is_empty() && node.dns_names.is_empty());
        let ann = Csr::verified(ANN.as_bytes()).unwrap();
        assert_eq!(ann.organizations, ["dev", "ops"]);
        assert_eq!(ann.dns_names, ["a.example.com"]);
        assert_eq!(ann.addresses, [IpAddr::from([10, 0, 0, 1])]);
        assert_eq!((ann.emails.len(), ann.uris.as_slice()), (1, ["spiffe://x".to_owned()].as_slice()));
        assert!(!ann.names_der.is_empty() && !ann.public_key_der.is_empty());
    }

    #[track_caller]
    fn refused(pem: &str, part: &str) {
        let why = Csr::verified(pem.as_bytes()).unwrap_err();
        assert!(why.contains(part), "{why}");
    }

    #[test]
    fn refuses_what_is_no_request_or_not_signed_with_its_key() {
        refused("", "PEM block type must be CERTIFICATE REQUEST");
        refused(&NODE.replace("CERTIFICATE REQUEST", "CERTIFICATE"), "PEM block type must be CERTIFICATE REQUEST");
        refused("-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "asn1");
        let mut der = decoded(NODE.as_bytes()).unwrap();
        let at = der.windows(7).position(|it| it == b"node:n1").unwrap();
        der[at + 6] = b'2';
        let text = STANDARD.encode(der);
        let other = format!("-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n");
        assert_eq!(Csr::parse(other.as_bytes()).unwrap().common_name, "system:node:n2");
        refused(&other, "does not verify");
    }

    #[test]
    fn tells_certificates_from_other_texts() {
        assert_eq!(check_certificates(b"x").unwrap_err(), "must contain at least one CERTIFICATE PEM block");
        let why = check_certificates(NODE.as_bytes()).unwrap_err();
        assert_eq!(why, "only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\"");
    }

    #[test]
    fn certificates_stand_bare() {
        let block = |before: &str, body: &str| {
            format!("-----BEGIN CERTIFICATE-----\n{before}{body}\n-----END CERTIFICATE-----\n")
        };
        let check = |text: String, expected: &str| {
            let found = check_certificates(text.as_bytes()).unwrap_err();
            assert!(found.starts_with(expected), "{found}");
        };
        check(block("Subject: me\n\n", "AA=="), "no PEM block headers are permitted");
        check(block("", ""), "found CERTIFICATE PEM block containing 0 certificates");
        check(block("", "AA=="), "x509: malformed certificate: ");
        check(NODE.to_owned(), "only CERTIFICATE PEM blocks are allowed, found \"CERTIFICATE REQUEST\"");
    }
}
