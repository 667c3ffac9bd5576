//! The files: readable by their owner only, and whole or not there.
//!
//! In: texts. Out: files in the agent's data directory, each written beside its place, forced to the disk and renamed into it, so that neither a
//! crash nor a reader sees a part. It asks nobody for anything.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Pair;

const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path}: {why}")]
    Damaged { path: PathBuf, why: String },
}

/// The files of one node.
#[derive(Clone, Debug)]
pub struct Folder {
    data_dir: PathBuf,
}

impl Folder {
    /// Those in an agent's data directory.
    pub fn of(data_dir: &Path) -> Self {
        Folder { data_dir: data_dir.to_owned() }
    }

    fn pki(&self) -> PathBuf {
        self.data_dir.join("pki")
    }

    /// The kubeconfig by which the node asks.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("kubeconfig")
    }

    /// The cluster's CA.
    pub fn ca(&self) -> PathBuf {
        self.pki().join("ca.crt")
    }

    fn client_file(&self) -> PathBuf {
        self.pki().join("client.pem")
    }

    fn serving_file(&self) -> PathBuf {
        self.pki().join("serving.pem")
    }

    /// The key of a first certificate that has been asked for and has not come yet: after an interruption the same one is asked for.
    fn pending_file(&self) -> PathBuf {
        self.pki().join("client.key.new")
    }

    /// The certificate by which the node asks; none before it has joined.
    ///
    /// # Errors
    /// [`FolderError`] where the file cannot be read, or is broken.
    pub fn client(&self) -> Result<Option<Pair>, FolderError> {
        pair(&self.client_file())
    }

    /// The certificate with which the node serves, if it has one. One that is broken is as good as none: the node asks for another.
    pub fn serving(&self) -> Option<Pair> {
        pair(&self.serving_file()).unwrap_or_else(|error| {
            tracing::warn!(%error, "the serving certificate cannot be used; another is asked for");
            None
        })
    }

    /// The PEM text of the CA; none before the node has joined.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn ca_pem(&self) -> Result<Option<String>, FolderError> {
        read(&self.ca())
    }

    /// Keeps the certificate by which the node asks.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn keep_client(&self, pair: &Pair) -> Result<(), FolderError> {
        self.write(&self.client_file(), pair.pem())
    }

    /// Keeps the certificate with which the node serves.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn keep_serving(&self, pair: &Pair) -> Result<(), FolderError> {
        self.write(&self.serving_file(), pair.pem())
    }

    /// The key of a certificate that is asked for: the one that was begun with, or a new one, which is kept.
    ///
    /// # Errors
    /// [`FolderError`] where it can be neither read nor kept.
    pub fn pending_key(&self) -> Result<rcgen::KeyPair, FolderError> {
        let path = self.pending_file();
        if let Some(key) = read(&path)?.and_then(|it| rcgen::KeyPair::from_pem(&it).ok()) {
            return Ok(key);
        }
        let key = super::request::new_key().map_err(|why| FolderError::Damaged { path: path.clone(), why })?;
        self.write(&path, &key.serialize_pem())?;
        Ok(key)
    }

    /// Forgets the key of a certificate that will not come, so that the next attempt begins anew.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn forget_pending(&self) -> Result<(), FolderError> {
        remove(&self.pending_file())
    }

    /// Keeps what a machine has when it has joined. The kubeconfig comes last: what it names is there.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn keep_joined(&self, server: &str, ca: &str, client: &Pair) -> Result<(), FolderError> {
        // Of another identity, perhaps of another cluster.
        remove(&self.serving_file())?;
        self.write(&self.ca(), ca)?;
        self.keep_client(client)?;
        self.write(&self.kubeconfig(), &kubeconfig(server, &client.user))?;
        self.forget_pending()
    }

    /// Removes all of it; the folder stays, if something else is in it.
    ///
    /// # Errors
    /// [`FolderError::Io`].
    pub fn remove(&self) -> Result<(), FolderError> {
        // The other way round: what is named last by nothing is no identity.
        for path in [self.kubeconfig(), self.client_file(), self.serving_file(), self.pending_file(), self.ca()] {
            remove(&path)?;
        }
        match fs::remove_dir(self.pki()) {
            Err(source) if !matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                Err(FolderError::Io { path: self.pki(), source })
            }
            _ => Ok(()),
        }
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), FolderError> {
        let made = fs::DirBuilder::new().recursive(true).mode(DIR_MODE).create(self.pki());
        let written = made.and_then(|()| write(path, text));
        written.map_err(|source| FolderError::Io { path: path.to_owned(), source })
    }
}

fn pair(path: &Path) -> Result<Option<Pair>, FolderError> {
    let Some(text) = read(path)? else { return Ok(None) };
    Pair::parse(text).map(Some).map_err(|why| FolderError::Damaged { path: path.to_owned(), why })
}

fn read(path: &Path) -> Result<Option<String>, FolderError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FolderError::Io { path: path.to_owned(), source }),
    }
}

fn remove(path: &Path) -> Result<(), FolderError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(FolderError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".part");
    // Left over from a write that broke off; opened anew, so that the mode below is the one it has.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// A kubeconfig for `user` at `server`, with the files beside it by their names: the folder may be moved.
fn kubeconfig(server: &str, user: &str) -> String {
    format!(
        "apiVersion: v1
clusters:
- cluster:
    certificate-authority: pki/ca.crt
    server: {server}
  name: orlop
contexts:
- context:
    cluster: orlop
    user: \"{user}\"
  name: orlop
current-context: orlop
kind: Config
preferences: {{}}
users:
- name: \"{user}\"
  user:
    client-certificate: pki/client.pem
    client-key: pki/client.pem
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[tokio::test]
    async fn what_was_joined_with_is_found_again_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::of(&dir.path().join("agent"));
        assert_eq!(folder.client().unwrap(), None);
        let first = folder.pending_key().unwrap();
        assert_eq!(folder.pending_key().unwrap().serialize_pem(), first.serialize_pem(), "the same key is asked for");
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "system:node:n1");
        let certificate = params.self_signed(&first).unwrap().pem();
        let pair = Pair::of(&certificate, &first.serialize_pem()).unwrap();
        folder.keep_serving(&pair).unwrap();
        folder.keep_joined("https://192.0.2.1:6443", &certificate, &pair).unwrap();
        assert_eq!(folder.client().unwrap(), Some(pair));
        assert!(folder.serving().is_none(), "that was another identity's");
        assert_ne!(folder.pending_key().unwrap().serialize_pem(), first.serialize_pem());
        let config = orlop_client::connect::config(Some(&folder.kubeconfig())).await.unwrap();
        assert_eq!(config.cluster_url, "https://192.0.2.1:6443/");
        assert!(config.root_cert.is_some());
        for file in [folder.client_file(), folder.kubeconfig(), folder.ca()] {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
        fs::write(folder.client_file(), "no certificate").unwrap();
        assert!(folder.client().unwrap_err().to_string().contains("client.pem: the certificate"));
        folder.remove().unwrap();
        folder.remove().unwrap();
        assert_eq!(fs::read_dir(dir.path().join("agent")).unwrap().count(), 0);
    }
}
