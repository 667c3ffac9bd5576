//! Who asks: a kubectl that knows the cluster and the credentials of one user, and nothing else.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use orlop_e2e::cluster::Cluster;
use orlop_e2e::kubectl::Kubectl;
use rcgen::{CertificateParams, DistinguishedName, DnType};

/// A kubectl whose kubeconfig knows the cluster and these credentials, and nothing else.
pub fn as_somebody(cluster: &Cluster, name: &str, credentials: &[&str]) -> Result<Kubectl> {
    let path: PathBuf = cluster.folder().join(name).join("kubeconfig");
    std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
    let kubectl = Kubectl::with_program(cluster.kubectl()?.program().to_owned(), &path)?;
    let authority = cluster.data_dir().join("pki/ca.crt");
    let authority = authority.to_str().context("a path of text")?;
    kubectl.run(&["config", "set-cluster", "c", "--server", &cluster.url(), "--certificate-authority", authority])?;
    kubectl.run(&[&["config", "set-credentials", "u"], credentials].concat())?;
    kubectl.run(&["config", "set-context", "x", "--cluster", "c", "--user", "u"])?;
    kubectl.run(&["config", "use-context", "x"])?;
    Ok(kubectl)
}

/// What a certificate, or a request for one, says of whom it is.
pub fn subject(user: &str, group: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, group);
    params.distinguished_name.push(DnType::CommonName, user);
    params
}

/// Fails with the text that should say something and does not.
pub fn says(text: &str, part: &str) -> Result<()> {
    ensure!(text.contains(part), "it should say {part:?}:\n{text}");
    Ok(())
}
