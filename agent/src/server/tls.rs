//! The port's TLS: the certificate that it shows, which may change while it is open, and the CA whose clients are let in.

use std::fs;
use std::sync::Arc;

use parking_lot::RwLock;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::config::{Config, ServingCertificate};

/// What a port shows: the latest certificate. Connections that stand keep the one they began with.
pub struct Shown(RwLock<Arc<CertifiedKey>>);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

impl Shown {
    /// Begins with this one.
    pub fn new(certificate: CertifiedKey) -> Self {
        Shown(RwLock::new(Arc::new(certificate)))
    }

    /// Begins with one that nobody has signed, as the kubelet does without another.
    ///
    /// # Errors
    /// The name is none that a certificate may have.
    pub fn self_signed(node_name: &str) -> Result<Self, String> {
        let names = vec![node_name.to_owned(), "localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|it| format!("the serving certificate: {it}"))?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(str::to_owned)?;
        certified(vec![made.cert.der().clone()], key).map(Shown::new)
    }

    /// From now on connections begin with this one.
    pub fn set(&self, certificate: CertifiedKey) {
        *self.0.write() = Arc::new(certificate);
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read()))
    }
}

/// The settings of the port's TLS.
///
/// # Errors
/// A file that is missing or holds something else.
pub fn config(config: &Config) -> Result<ServerConfig, String> {
    let shown = shown(config)?;
    let mut roots = RootCertStore::empty();
    for it in certificates(config.client_ca_pem.as_deref().unwrap_or_default(), "the client CA")? {
        roots.add(it).map_err(|it| format!("the client CA: {it}"))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|it| it.to_string())?;
    if roots.is_empty() {
        return Err(
            "no CA is known whose clients may read logs: give --client-ca-file, or a kubeconfig with the cluster's CA"
                .into(),
        );
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().map_err(|it| it.to_string())?;
    let mut tls = builder.with_client_cert_verifier(verifier).with_cert_resolver(shown);
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn certificates(pem: &[u8], what: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(|it| format!("{what}: {it}"))
}

fn certified(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<CertifiedKey, String> {
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|it| it.to_string())
}

fn shown(config: &Config) -> Result<Arc<Shown>, String> {
    match &config.serving {
        ServingCertificate::Files { certificate, key } => {
            let read = |it: &std::path::Path| fs::read(it).map_err(|error| format!("{}: {error}", it.display()));
            let chain = certificates(&read(certificate)?, &certificate.display().to_string())?;
            if chain.is_empty() {
                return Err(format!("{}: no certificate", certificate.display()));
            }
            let key = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|it| format!("{}: {it}", key.display()))?;
            certified(chain, key).map(|it| Arc::new(Shown::new(it)))
        }
        ServingCertificate::SelfSigned => Shown::self_signed(&config.node_name).map(Arc::new),
        ServingCertificate::Rotated(it) => Ok(it.shown()),
    }
}
