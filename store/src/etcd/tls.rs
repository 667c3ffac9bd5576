//! What an API server shows to etcd, and what it asks of etcd: certificates, read from files.
//!
//! In: three paths, as kube-apiserver has them (`--etcd-cafile`, `--etcd-certfile`, `--etcd-keyfile`). Out: the client's TLS options. The files
//! are read once: who replaces them starts the server anew.

use std::path::{Path, PathBuf};

use etcd_client::{Certificate, Identity, TlsOptions};

use crate::StoreError;

/// The files of a client of etcd; those that are not given are not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The CA that signed the members' certificates; that of etcd's own, and no other.
    pub ca: Option<PathBuf>,
    /// What the client shows, and its key: both or neither.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Reads the files; none where no file is named.
    ///
    /// # Errors
    /// A file cannot be read, or a certificate is named without its key.
    pub(crate) fn read(&self) -> Result<Option<TlsOptions>, StoreError> {
        if *self == Tls::default() {
            return Ok(None);
        }
        let mut options = TlsOptions::new();
        if let Some(ca) = &self.ca {
            options = options.ca_certificate(Certificate::from_pem(text(ca)?));
        }
        options = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => options.identity(Identity::from_pem(text(certificate)?, text(key)?)),
            (None, None) => options,
            _ => return Err(unusable("a client's certificate for etcd needs its key, and a key its certificate")),
        };
        Ok(Some(options))
    }
}

fn text(path: &Path) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path).map_err(|error| unusable(&format!("{}: {error}", path.display())))
}

fn unusable(why: &str) -> StoreError {
    StoreError::Unavailable { reason: format!("etcd: {why}"), unknown: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_all_there_or_named() {
        let dir = tempfile::tempdir().unwrap();
        let there = dir.path().join("there");
        std::fs::write(&there, "pem").unwrap();
        let check = |certificate: Option<&Path>, key: Option<&Path>, expected: &str| {
            let tls = Tls { ca: None, certificate: certificate.map(Path::to_owned), key: key.map(Path::to_owned) };
            let outcome = match tls.read() {
                Ok(None) => "none".to_owned(),
                Ok(Some(_)) => "some".to_owned(),
                Err(error) => error.to_string(),
            };
            assert!(outcome.contains(expected), "{outcome}");
        };
        check(None, None, "none");
        check(Some(&there), Some(&there), "some");
        check(Some(&there), None, "needs its key");
        check(Some(&there), Some(&dir.path().join("gone")), "gone: No such file");
    }
}
