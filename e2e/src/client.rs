//! A bare HTTPS client for one question: is the server ready? Quicker to ask than kubectl is to start.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Result;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Asks `/readyz` of the server on a port of loopback. It has to show a certificate of the cluster's own CA: on a port that was taken meanwhile
/// the server of another cluster may answer.
pub struct Probe {
    port: u16,
    ca: PathBuf,
    /// Made as soon as the server has made its CA.
    config: OnceLock<Arc<ClientConfig>>,
}

impl Probe {
    /// A probe of `127.0.0.1:port`, whose CA is (or will be) in the data directory `data`.
    pub fn new(port: u16, data: &Path) -> Probe {
        Probe { port, ca: data.join("pki/ca.crt"), config: OnceLock::new() }
    }

    /// Whether `/readyz` says 200.
    pub fn ready(&self) -> bool {
        self.ask().is_ok_and(|it| it.starts_with("HTTP/1.1 200"))
    }

    fn config(&self) -> Result<Arc<ClientConfig>> {
        if let Some(config) = self.config.get() {
            return Ok(config.clone());
        }
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca)?)?;
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(self.config.get_or_init(|| Arc::new(config)).clone())
    }

    fn ask(&self) -> Result<String> {
        let config = self.config()?;
        let socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let connection = ClientConnection::new(config, ServerName::try_from("localhost")?)?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut start = [0; 32];
        let length = stream.read(&mut start)?;
        Ok(String::from_utf8_lossy(&start[..length]).into_owned())
    }
}
