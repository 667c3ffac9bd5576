//! The server's TLS identity, and what a client's certificate proves.
//!
//! In: the keys of [`crate::pki`]. Out: an acceptor, and for each connection a [`Peer`]. A handshake succeeds with any client certificate whose
//! key the client holds, and the chain is judged afterwards: a client with a certificate of another CA, or one that has run out, then reads
//! `401 Unauthorized` as it does from Kubernetes, instead of a broken connection. Nothing is trusted by that: what is not a good
//! chain to the cluster's CA gives no identity, and the authenticator refuses the request.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio_rustls::server::TlsStream;

use super::ServeError;
use crate::authenticate::revocation::Revocations;
use crate::authenticate::x509;
use crate::pki::Pair;
use crate::stage::Peer;

/// How the server shows who it is, and judges who others are.
pub struct Identification {
    acceptor: TlsAcceptor,
    verifier: Arc<dyn ClientCertVerifier>,
    revocations: Arc<Revocations>,
}

impl std::fmt::Debug for Identification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identification")
    }
}

/// The one crypto provider of this program.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The cluster's CA as the only root.
///
/// # Errors
/// Where the PEM text holds no certificate.
pub fn roots(ca: &str) -> Result<RootCertStore, ServeError> {
    let unusable = |why: String| ServeError::Certificate(why);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("the CA file holds no certificate".to_owned())) } else { Ok(roots) }
}

/// TLS to servers whose certificate nobody can judge: what runs in pods shows whatever it likes. Only for what is proxied, where the
/// client has no way to say more (kube-apiserver's proxy transport likewise).
///
/// # Errors
/// Where the provider has no protocol.
pub fn trusting_anyone() -> Result<ClientConfig, ServeError> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| ServeError::Certificate(error.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone(provider()))).with_no_client_auth())
}

/// Takes every server's certificate, if the server holds its key.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate chain and its key, as rustls takes them.
///
/// # Errors
/// Where the PEM texts hold none.
pub fn chain(pair: &Pair) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), ServeError> {
    let unusable = |error: tokio_rustls::rustls::pki_types::pem::Error| ServeError::Certificate(error.to_string());
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
    Ok((chain.map_err(unusable)?, PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(unusable)?))
}

impl Identification {
    /// A server that shows `serving` and knows clients by certificates of `ca`. The CA's certificate goes along with its own: a machine that
    /// joins knows no more of the CA than a digest of its key, and finds it among what it is shown.
    ///
    /// # Errors
    /// [`ServeError::Certificate`] where either cannot be used.
    pub fn new(ca: &str, serving: &Pair) -> Result<Self, ServeError> {
        let unusable = |error: &dyn std::fmt::Display| ServeError::Certificate(error.to_string());
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(ca)?), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| unusable(&error))?;
        let (mut chain, key) = chain(serving)?;
        let root = CertificateDer::from_pem_slice(ca.as_bytes()).map_err(|error| unusable(&error))?;
        if !chain.contains(&root) {
            chain.push(root);
        }
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable(&error))?
            .with_client_cert_verifier(Arc::new(JudgedLater(verifier.clone())))
            .with_single_cert(chain, key)
            .map_err(|error| unusable(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Identification { acceptor: TlsAcceptor::from(Arc::new(config)), verifier, revocations: Arc::default() })
    }

    /// Ends connections whose certificates are revoked there.
    #[must_use]
    pub fn heeding(self, revocations: Arc<Revocations>) -> Self {
        Identification { revocations, ..self }
    }

    /// Waits until what a connection has proved is revoked; what was before is refused request by request.
    pub fn revoked(&self, peer: &Peer) -> impl Future<Output = ()> + Send + use<'_> {
        self.revocations.until_refused(peer)
    }

    /// What makes TLS of a connection.
    pub fn acceptor(&self) -> &TlsAcceptor {
        &self.acceptor
    }

    /// Who is at the other end of a connection.
    pub fn peer(&self, address: SocketAddr, stream: &TlsStream<TcpStream>) -> Peer {
        let unknown = Peer { address: Some(address), ..Peer::default() };
        let Some((leaf, rest)) = stream.get_ref().1.peer_certificates().and_then(<[_]>::split_first) else {
            return unknown;
        };
        let now = orlop_client::clock::now();
        let since_epoch = std::time::Duration::from_secs(now.as_second().try_into().unwrap_or(0));
        let judged = self.verifier.verify_client_cert(leaf, rest, UnixTime::since_unix_epoch(since_epoch));
        match judged.map_err(|error| error.to_string()).and_then(|_| x509::read(leaf)) {
            Ok(Some(it)) => Peer {
                identity: Some(Arc::new(it.identity)),
                issued: Some(it.issued),
                expires: Some(it.expires),
                ..unknown
            },
            Ok(None) => unknown,
            Err(why) => Peer { refused: Some(why), ..unknown },
        }
    }
}

/// Lets every certificate through the handshake whose key the client proves to hold; [`Identification::peer`] judges it.
#[derive(Debug)]
struct JudgedLater(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for JudgedLater {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _leaf: &CertificateDer<'_>,
        _rest: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
