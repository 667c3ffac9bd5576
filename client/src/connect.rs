//! A client of the API from a kubeconfig, with time limits that suit a component that runs for months.
//!
//! In: a path, or nothing (then `$KUBECONFIG`, `~/.kube/config`, and the service account of a pod are tried, in this
//! order). Out: a [`kube::Client`]. Inside `orlop up` clients come from the API server instead, bound in process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// How long a TCP and TLS handshake may take: a server on the same continent answers in well under a second.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a response may stay silent. A watch gets a bookmark a minute, so that five minutes of silence mean a dead
/// connection; a plain request is limited by its caller, to less.
pub const READ_TIMEOUT: Duration = Duration::from_secs(300);
/// How long the server may take to accept a request's bytes.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The named kubeconfig is missing, unreadable or incomplete.
    #[error("kubeconfig {path}: {source}")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: kube::config::KubeconfigError,
    },
    /// No kubeconfig was named, and none was found.
    #[error("no kubeconfig given, and none found in $KUBECONFIG, ~/.kube/config or a service account: {0}")]
    Infer(#[source] kube::config::InferConfigError),
    /// The credentials or certificates in it cannot be used.
    #[error("cannot make a client for {url}: {source}")]
    Client {
        /// The server.
        url: http::Uri,
        /// What is wrong.
        #[source]
        source: kube::Error,
    },
}

/// The configuration that [`client`] uses.
///
/// # Errors
/// When there is no kubeconfig, or it cannot be read.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config, Error> {
    let mut config = match kubeconfig {
        Some(path) => {
            let told = |source| Error::Kubeconfig { path: path.to_owned(), source };
            let file = Kubeconfig::read_from(path).map_err(told)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(told)?
        }
        None => Config::infer().await.map_err(Error::Infer)?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.write_timeout = Some(WRITE_TIMEOUT);
    Ok(config)
}

/// A client for the cluster of `kubeconfig`, or of the one that is found. It does not connect yet: the server may start
/// later than its clients.
///
/// # Errors
/// When there is no kubeconfig, it cannot be read, or its credentials cannot be used.
pub async fn client(kubeconfig: Option<&Path>) -> Result<kube::Client, Error> {
    let config = config(kubeconfig).await?;
    let url = config.cluster_url.clone();
    kube::Client::try_from(config).map_err(|source| Error::Client { url, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_missing_kubeconfig_is_named() {
        let error = config(Some(Path::new("/does/not/exist"))).await.expect_err("there is no such file");
        assert!(error.to_string().starts_with("kubeconfig /does/not/exist: "), "{error}");
    }

    #[tokio::test]
    async fn a_kubeconfig_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n\
                    clusters: [{name: c, cluster: {server: 'https://127.0.0.1:6443'}}]\nusers: [{name: u, user: {token: t}}]\n";
        std::fs::write(&path, text).unwrap();
        let config = config(Some(&path)).await.unwrap();
        assert_eq!(config.cluster_url.to_string(), "https://127.0.0.1:6443/");
        assert_eq!(config.connect_timeout, Some(CONNECT_TIMEOUT));
    }
}
