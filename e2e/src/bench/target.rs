//! The API server under test: where it is, how to trust it, who asks.
//!
//! In: a kubeconfig, or a URL with a bearer token. Out: what a [`Connection`](super::connection::Connection) needs to be opened. It does not
//! know whose server it is: ours and any other Kubernetes API server are the same to it.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use http::HeaderValue;
use kube::client::ConfigExt;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// A Kubernetes API server and the credentials for it.
#[derive(Clone, Debug)]
pub struct Target {
    /// `host:port`, as connected to and as sent in `Host`.
    pub authority: String,
    pub(super) server_name: ServerName<'static>,
    pub(super) tls: Arc<ClientConfig>,
    /// The whole value of the `Authorization` header; none where a client certificate speaks.
    pub(super) authorization: Option<HeaderValue>,
}

impl Target {
    /// The cluster of a kubeconfig's current context; `server` overrides its URL.
    ///
    /// # Errors
    /// When the kubeconfig cannot be read or used.
    pub fn from_kubeconfig(path: &Path, server: Option<&str>, insecure: bool) -> Result<Target> {
        let file = Kubeconfig::read_from(path).with_context(|| format!("kubeconfig {}", path.display()))?;
        let config = runtime()?.block_on(kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()))?;
        Self::from_config(config, server, insecure)
    }

    /// A server known by URL and bearer token.
    ///
    /// # Errors
    /// When the URL is none of https.
    pub fn from_token(server: &str, token: &str, insecure: bool) -> Result<Target> {
        let mut config = kube::Config::new(server.parse().with_context(|| format!("{server} is no URL"))?);
        config.auth_info.token = Some(token.to_owned().into());
        Self::from_config(config, None, insecure)
    }

    fn from_config(mut config: kube::Config, server: Option<&str>, insecure: bool) -> Result<Target> {
        if let Some(server) = server {
            config.cluster_url = server.parse().with_context(|| format!("{server} is no URL"))?;
        }
        config.accept_invalid_certs |= insecure;
        if config.cluster_url.scheme_str() != Some("https") {
            bail!("{} is not https", config.cluster_url);
        }
        let host = config.cluster_url.host().context("the URL has no host")?.to_owned();
        let port = config.cluster_url.port_u16().unwrap_or(443);
        let name = config.tls_server_name.clone().unwrap_or_else(|| host.trim_matches(['[', ']']).to_owned());
        let authorization = match &config.auth_info.token {
            Some(token) => {
                use secrecy::ExposeSecret;
                Some(HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))?)
            }
            None => None,
        };
        Ok(Target {
            authority: format!("{host}:{port}"),
            server_name: ServerName::try_from(name)?,
            tls: Arc::new(config.rustls_client_config()?),
            authorization,
        })
    }
}

/// A runtime of one thread: no request of a client ever crosses threads, which is what makes the load generator cheap.
///
/// # Errors
/// When the system refuses it.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}
