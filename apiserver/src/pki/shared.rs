//! What the API servers of one cluster have in common: the CAs, the key of service accounts, and the keys of encryption at rest.
//!
//! In: the data directory of one server, in which all of it is, and that of another. Out: the other has the same. Everything else there is each
//! server's own, and follows from these.

use std::path::Path;

use super::{PkiError, etcd, files};
use crate::at_rest::configuration::OWN_FILE;

/// The files below `pki`. Keys stand before their certificates: a key alone gets a certificate, a certificate alone is damage.
const SHARED: [(&str, &str); 6] =
    [("", "ca.key"), ("", "ca.crt"), ("", "sa.key"), ("", OWN_FILE), (etcd::DIR, "ca.key"), (etcd::DIR, "ca.crt")];

/// Gives the server in `to` what that in `from` has; what is not there is left out.
///
/// # Errors
/// [`PkiError`] where a file cannot be read or written.
pub fn share(from: &Path, to: &Path) -> Result<(), PkiError> {
    files::make_private_dir(to)?;
    files::make_private_dir(&to.join("pki"))?;
    files::make_private_dir(&to.join("pki").join(etcd::DIR))?;
    for (folder, name) in SHARED {
        let path = |data_dir: &Path| data_dir.join("pki").join(folder).join(name);
        let Some(text) = files::read(&path(from))? else { continue };
        if files::read(&path(to))?.as_ref() != Some(&text) {
            files::write_durably(&path(to), &text)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Names, Pki};
    use super::*;
    use crate::at_rest::configuration::Configuration;
    use jiff::Timestamp;

    #[test]
    fn another_server_is_of_the_same_cluster() {
        let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let open =
            |at: usize| Pki::open(dirs[at].path(), &Names::default(), "10.96.0.1".parse().unwrap(), now).unwrap();
        let first = open(0);
        Configuration::open(None, dirs[0].path()).unwrap();
        etcd::EtcdFiles::open(dirs[0].path(), "a", &[], now).unwrap();
        share(dirs[0].path(), dirs[1].path()).unwrap();
        let second = open(1);
        assert_eq!((first.ca(), &first.service_account), (second.ca(), &second.service_account));
        assert_ne!(first.serving, second.serving, "each has a certificate of its own");
        for file in [OWN_FILE, "etcd/ca.crt", "etcd/ca.key"] {
            let read = |at: usize| std::fs::read(dirs[at].path().join("pki").join(file)).unwrap();
            assert_eq!(read(0), read(1), "{file}");
        }
    }
}
