//! Finding the cluster's CA by nothing but a digest of its key.
//!
//! In: the API server's address, and `sha256:<hex>` of the CA's SubjectPublicKeyInfo, as `kubeadm join --discovery-token-ca-cert-hash` takes it. Out: the
//! CA's certificate. The server sends it along with its own; it is trusted if its key has the digest and the chain that the server shows
//! ends at it and at nothing else. Nothing is sent but the handshake, so that another server learns nothing.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long a connection and its handshake may take, each.
const STEP_WITHIN: Duration = Duration::from_secs(10);
/// The only digest there is, as in kubeadm.
const PREFIX: &str = "sha256:";

/// The digest of a CA's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin([u8; 32]);

impl Pin {
    /// That of a certificate's key; none if it is no certificate.
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, it) = X509Certificate::from_der(der).ok()?;
        Some(Pin(Sha256::digest(it.public_key().raw).into()))
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|it| write!(f, "{it:02x}"))
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no digest of the form {PREFIX}<64 hexadecimal digits>");
        let hex = text.trim().strip_prefix(PREFIX).filter(|it| it.len() == 64 && it.is_ascii()).ok_or_else(wrong)?;
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Pin(bytes))
    }
}

/// Why the CA was not found.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// Trying again may help.
    #[error("{0}")]
    Away(String),
    #[error("the server shows no certificate authority with the given hash: {0}")]
    Other(String),
    #[error("the server has the certificate authority, but its own certificate is not good for this address: {0}")]
    Chain(String),
}

/// Asks the server for the CA.
///
/// # Errors
/// [`PinError`].
pub async fn authority(host: &str, port: u16, pins: &[Pin]) -> Result<CertificateDer<'static>, PinError> {
    let away = |what: &str, why: String| PinError::Away(format!("{what} {host}:{port}: {why}"));
    let name = ServerName::try_from(host.to_owned()).map_err(|it| PinError::Chain(it.to_string()))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let pinned = Arc::new(Pinned { pins: pins.to_vec(), provider: Arc::clone(&provider), outcome: Mutex::default() });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|it| PinError::Chain(it.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(pinned.clone())
        .with_no_client_auth();
    let stream = tokio::time::timeout(STEP_WITHIN, TcpStream::connect((host, port))).await;
    let stream = stream.map_err(|_| away("connect to", "it does not answer".to_owned()))?;
    let stream = stream.map_err(|it| away("connect to", it.to_string()))?;
    let shaken = tokio::time::timeout(STEP_WITHIN, TlsConnector::from(Arc::new(config)).connect(name, stream)).await;
    let outcome = pinned.outcome.lock().take();
    match (outcome, shaken) {
        (Some(Err(error)), _) => Err(error),
        // Whoever has the certificate has not shown yet that the key is its own: the end of the handshake does.
        (Some(Ok(ca)), Ok(Ok(_))) => Ok(ca),
        (_, Ok(Err(error))) => Err(away("shake hands with", error.to_string())),
        (_, Err(_)) => Err(away("shake hands with", "it does not answer".to_owned())),
        (None, Ok(Ok(_))) => Err(away("shake hands with", "it showed no certificate".to_owned())),
    }
}

/// Trusts a chain that ends at the CA with one of the digests.
#[derive(Debug)]
struct Pinned {
    pins: Vec<Pin>,
    provider: Arc<CryptoProvider>,
    outcome: Mutex<Option<Result<CertificateDer<'static>, PinError>>>,
}

impl Pinned {
    fn judge(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<CertificateDer<'static>, PinError> {
        let pins = others.iter().filter_map(|it| Some((Pin::of_certificate(it)?, it)));
        let (mut shown, mut found) = (Vec::new(), None);
        for (pin, certificate) in pins {
            shown.push(pin.to_string());
            if self.pins.contains(&pin) {
                found = Some(certificate.clone().into_owned());
            }
        }
        let Some(ca) = found else {
            let shown = if shown.is_empty() { "none".to_owned() } else { shown.join(", ") };
            let asked: Vec<String> = self.pins.iter().map(ToString::to_string).collect();
            return Err(PinError::Other(format!(
                "asked for {}, shown {shown}. It may be another cluster's server, or somebody in between",
                asked.join(", ")
            )));
        };
        let chain = |it: &dyn fmt::Display| PinError::Chain(it.to_string());
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).map_err(|it| chain(&it))?;
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider));
        let verifier = verifier.build().map_err(|it| chain(&it))?;
        verifier.verify_server_cert(own, others, name, &[], now).map_err(|it| chain(&it))?;
        Ok(ca)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.judge(own, others, name, now);
        let answer = match &judged {
            Ok(_) => Ok(ServerCertVerified::assertion()),
            Err(error) => Err(Error::General(error.to_string())),
        };
        *self.outcome.lock() = Some(judged);
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

    fn ca() -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap().der().clone();
        (own, Issuer::new(params, key))
    }

    fn leaf(issuer: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
    }

    #[test]
    fn digests_are_written_as_kubeadm_writes_them() {
        let (own, _) = ca();
        let pin = Pin::of_certificate(&own).unwrap();
        assert_eq!(pin.to_string().parse(), Ok(pin));
        assert_eq!(pin.to_string().len(), 7 + 64);
        for wrong in ["", "sha256:", "sha256:00", "md5:00", &format!("sha256:{}", "g".repeat(64))] {
            assert!(wrong.parse::<Pin>().is_err(), "{wrong}");
        }
        assert_eq!(Pin::of_certificate(b"no certificate"), None);
    }

    #[test]
    fn only_a_chain_to_the_pinned_authority_is_good() {
        let ((ca, issuer), (other, stranger)) = (ca(), ca());
        let pin = |it: &CertificateDer<'_>| Pin::of_certificate(it).unwrap();
        let judge = |pinned: Pin, own: &CertificateDer<'static>, others: &[CertificateDer<'static>], name: &str| {
            let it = Pinned {
                pins: vec![pinned],
                provider: Arc::new(aws_lc_rs::default_provider()),
                outcome: Mutex::default(),
            };
            let name = ServerName::try_from(name.to_owned()).unwrap();
            it.judge(own, others, &name, UnixTime::since_unix_epoch(Duration::from_secs(1_800_000_000)))
        };
        let good = leaf(&issuer);
        assert_eq!(judge(pin(&ca), &good, std::slice::from_ref(&ca), "localhost").unwrap(), ca);
        // Another server may send our CA along: its own certificate does not come from it.
        let forged = leaf(&stranger);
        let refused = judge(pin(&ca), &forged, &[ca.clone(), other.clone()], "localhost").unwrap_err();
        assert!(matches!(refused, PinError::Chain(_)), "{refused}");
        let refused = judge(pin(&ca), &good, std::slice::from_ref(&ca), "elsewhere").unwrap_err();
        assert!(matches!(refused, PinError::Chain(_)), "{refused}");
        let refused = judge(pin(&other), &good, std::slice::from_ref(&ca), "localhost").unwrap_err().to_string();
        assert!(refused.contains(&pin(&other).to_string()) && refused.contains(&pin(&ca).to_string()), "{refused}");
        // The server's own certificate is no authority, whatever is pinned.
        assert!(matches!(judge(pin(&good), &good, &[], "localhost"), Err(PinError::Other(_))));
    }
}
