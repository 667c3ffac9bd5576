//! Connections of which a test decides every byte: TLS with the administrator's certificate, and below it whatever is written.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use orlop_e2e::server::Server;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A connection.
pub type Connection = StreamOwned<ClientConnection, TcpStream>;

/// How long a handshake may take, with thousands of others beside it.
const HANDSHAKE_LIMIT: Duration = Duration::from_secs(20);

/// The way to a server: its port, and with what one is let in.
#[derive(Clone)]
pub struct Way {
    port: u16,
    http1: Arc<ClientConfig>,
    http2: Arc<ClientConfig>,
}

impl Way {
    /// The way to a server, as its administrator.
    ///
    /// # Errors
    /// When its files cannot be read.
    pub fn to(server: &Server) -> Result<Way> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(server.data().join("pki/ca.crt"))?)?;
        let (certificate, key) = server.administrator()?;
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes())?];
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        let mut http1 = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        http1.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut http2 = http1.clone();
        http2.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Way { port: server.port(), http1: Arc::new(http1), http2: Arc::new(http2) })
    }

    /// A connection that speaks HTTP/1.1; reads and writes fail after `limit`.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn http1(&self, limit: Duration) -> Result<Connection> {
        self.open(&self.http1, limit)
    }

    /// A connection that speaks HTTP/2.
    ///
    /// # Errors
    /// When there is no connection.
    pub fn http2(&self, limit: Duration) -> Result<Connection> {
        self.open(&self.http2, limit)
    }

    fn open(&self, config: &Arc<ClientConfig>, limit: Duration) -> Result<Connection> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(HANDSHAKE_LIMIT))?;
        socket.set_write_timeout(Some(HANDSHAKE_LIMIT))?;
        let mut connection = ClientConnection::new(config.clone(), ServerName::try_from("localhost")?)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).context("a TLS handshake")?;
        }
        socket.set_read_timeout(Some(limit))?;
        socket.set_write_timeout(Some(limit))?;
        Ok(StreamOwned::new(connection, socket))
    }

    /// A whole answer to a GET on a connection of its own.
    ///
    /// # Errors
    /// When it does not come within `limit`.
    pub fn get(&self, path: &str, limit: Duration) -> Result<String> {
        let mut connection = self.http1(limit)?;
        write!(connection, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        rest(&mut connection)
    }
}

/// What comes until the other side closes.
///
/// # Errors
/// When it does not close in time.
pub fn rest(connection: &mut Connection) -> Result<String> {
    use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    let mut all = Vec::new();
    match connection.read_to_end(&mut all) {
        // A connection that is cut off says no goodbye, and takes nothing that was still to be sent.
        Err(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe) => {}
        outcome => {
            outcome.context("the connection stays open")?;
        }
    }
    Ok(String::from_utf8_lossy(&all).into_owned())
}
