//! A bare HTTPS client for one question: is the server ready? Quicker to ask than kubectl is to start.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

/// Asks `/readyz` of the server on a port of loopback. Before the first start there is no CA to check it by, so it is not checked: the
/// answer carries no secret and nothing is sent.
pub struct Probe {
    port: u16,
    config: Arc<ClientConfig>,
}

impl Probe {
    /// A probe of `127.0.0.1:port`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(port: u16) -> Result<Probe> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Unchecked))
            .with_no_client_auth();
        Ok(Probe { port, config: Arc::new(config) })
    }

    /// Whether `/readyz` says 200.
    pub fn ready(&self) -> bool {
        self.ask().is_ok_and(|it| it.starts_with("HTTP/1.1 200"))
    }

    fn ask(&self) -> Result<String> {
        let socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let connection = ClientConnection::new(self.config.clone(), ServerName::try_from("localhost")?)?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 32];
        let length = stream.read(&mut start)?;
        Ok(String::from_utf8_lossy(&start[..length]).into_owned())
    }
}

#[derive(Debug)]
struct Unchecked;

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
