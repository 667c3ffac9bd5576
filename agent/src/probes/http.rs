//! HTTP requests of probes and hooks: one GET, certificates not verified, redirects not followed (a redirect is a success).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::Request;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};

use super::{connect, port, resolve};

/// What is read of an answer, as the kubelet does.
const BODY_BYTES: usize = 10 * 1024;

/// Where a request goes and what it says.
#[derive(Clone, Debug)]
pub struct Target {
    host: Option<String>,
    address: Option<IpAddr>,
    port: u16,
    path: String,
    secure: bool,
    headers: Vec<(String, String)>,
}

impl Target {
    /// The target of a handler, for a pod at `address`.
    ///
    /// # Errors
    /// Its port does not exist.
    pub fn of(get: &HTTPGetAction, container: &Container, address: Option<IpAddr>) -> Result<Self, String> {
        let path = get.path.clone().unwrap_or_default();
        Ok(Target {
            host: get.host.clone().filter(|it| !it.is_empty()),
            address,
            port: port(&get.port, container)?,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            secure: get.scheme.as_deref().is_some_and(|it| it.eq_ignore_ascii_case("https")),
            headers: get.http_headers.iter().flatten().map(|it| (it.name.clone(), it.value.clone())).collect(),
        })
    }

    /// Sends the request. Gives the status and the beginning of the body.
    ///
    /// # Errors
    /// No answer came in time; the words are those of Go's client.
    pub async fn get(&self, timeout: Duration) -> Result<(u16, Bytes), String> {
        let scheme = if self.secure { "https" } else { "http" };
        let shown = self.host.clone().or_else(|| self.address.map(|it| it.to_string())).unwrap_or_default();
        let url = format!("{scheme}://{shown}:{}{}", self.port, self.path);
        let told = |why: String| format!("Get {url:?}: {why}");
        match tokio::time::timeout(timeout, self.exchange(&shown, timeout)).await {
            Ok(it) => it.map_err(told),
            Err(_) => Err(told("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".into())),
        }
    }

    async fn exchange(&self, shown: &str, timeout: Duration) -> Result<(u16, Bytes), String> {
        let address = resolve(self.host.as_deref(), self.address, self.port).await?;
        let stream = connect(address, timeout).await?;
        let mut request = Request::get(&self.path).header("user-agent", "kube-probe/1.35").header("accept", "*/*");
        let own_host = self.headers.iter().find(|it| it.0.eq_ignore_ascii_case("host"));
        let host = own_host.map_or_else(|| format!("{shown}:{}", self.port), |it| it.1.clone());
        request = request.header("host", host).header("connection", "close");
        for (name, value) in self.headers.iter().filter(|it| !it.0.eq_ignore_ascii_case("host")) {
            request = request.header(name, value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|it| it.to_string())?;
        if !self.secure {
            return send(TokioIo::new(stream), request).await;
        }
        let connector = tokio_rustls::TlsConnector::from(Arc::new(any_certificate()?));
        let name = ServerName::try_from(shown.to_owned()).unwrap_or(ServerName::from(address.ip()));
        let stream = connector.connect(name, stream).await.map_err(|it| format!("tls: {it}"))?;
        send(TokioIo::new(stream), request).await
    }
}

async fn send<T>(stream: TokioIo<T>, request: Request<Empty<Bytes>>) -> Result<(u16, Bytes), String>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(|it| it.to_string())?;
    let asking = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|it| if it.is_incomplete_message() { "EOF".into() } else { it.to_string() })?;
        let status = response.status().as_u16();
        let body =
            Limited::new(response.into_body(), BODY_BYTES).collect().await.map(|it| it.to_bytes()).unwrap_or_default();
        Ok((status, body))
    };
    // The connection is driven here and ends with the request: a probe that is given up leaves nothing running.
    let mut asking = std::pin::pin!(asking);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        biased;
        it = &mut asking => it,
        _ = &mut connection => asking.await,
    }
}

fn any_certificate() -> Result<ClientConfig, String> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let config = config.map_err(|it| it.to_string())?.dangerous();
    Ok(config.with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))).with_no_client_auth())
}

/// A probe asks whether the container answers, not who it is: the kubelet, too, verifies nothing here.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
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
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_request_carries_its_headers_and_gives_the_status() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = vec![0; 1024];
            let length = stream.read(&mut text).await.unwrap();
            stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
            String::from_utf8(text[..length].to_vec()).unwrap()
        });
        let get = serde_json::from_value(serde_json::json!({
            "path": "healthz", "port": address.port(), "httpHeaders": [{"name": "X-A", "value": "b"}, {"name": "Host", "value": "h"}]
        }));
        let target = Target::of(&get.unwrap(), &Container::default(), Some(address.ip())).unwrap();
        let (status, body) = target.get(Duration::from_secs(2)).await.unwrap();
        assert_eq!((status, body.as_ref()), (503, b"no".as_ref()));
        let asked = server.await.unwrap();
        assert!(asked.starts_with("GET /healthz HTTP/1.1\r\n"), "{asked}");
        assert!(asked.contains("x-a: b\r\n") && asked.contains("host: h\r\n"), "{asked}");
    }
}
