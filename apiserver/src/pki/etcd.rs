//! The certificates of etcd: a CA of its own, a certificate of a member, and that of the API server beside it.
//!
//! In: a data directory, and what the member is called. Out: files below `pki/etcd`. The CA is another than the cluster's, as with kubeadm, because
//! etcd lets in whoever shows a certificate of its CA, and lets him do anything: every node has one of the cluster's CA.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::authority::Authority;
use super::leaf::{Leaf, Usage};
use super::{PkiError, files};

/// The folder below `pki`.
pub(super) const DIR: &str = "etcd";
/// What the CA is called, as with kubeadm.
const CA_NAME: &str = "etcd-ca";
/// As whom the API server shows itself, as with kubeadm.
const CLIENT: &str = "kube-apiserver-etcd-client";

/// Where a member and its API server find their credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdFiles {
    pub ca: PathBuf,
    /// What the member shows to clients and to other members, and its key.
    pub member: PathBuf,
    pub member_key: PathBuf,
    /// What the API server shows to the member, and its key.
    pub client: PathBuf,
    pub client_key: PathBuf,
}

impl EtcdFiles {
    /// Those in a data directory, whether they are there or not.
    pub fn of(data_dir: &Path) -> Self {
        let at = |name: &str| data_dir.join("pki").join(DIR).join(name);
        EtcdFiles {
            ca: at("ca.crt"),
            member: at("member.crt"),
            member_key: at("member.key"),
            client: at("client.crt"),
            client_key: at("client.key"),
        }
    }

    /// Makes what is not there, or not good any more. The member is reached by its name and these addresses.
    ///
    /// # Errors
    /// [`PkiError`] where a file cannot be written, or the CA's key is damaged.
    pub fn open(data_dir: &Path, member: &str, addresses: &[IpAddr], now: Timestamp) -> Result<Self, PkiError> {
        let pki = data_dir.join("pki");
        let dir = pki.join(DIR);
        [data_dir, &pki, &dir].into_iter().try_for_each(files::make_private_dir)?;
        let authority = Authority::open_named(&dir, CA_NAME, now)?;
        let names = [member.to_owned()].into_iter().chain(addresses.iter().map(ToString::to_string)).collect();
        // A member is the others' client, too, and its own: the gateway for HTTP within it.
        let both = Leaf { user: member.to_owned(), groups: Vec::new(), names, usage: Usage::Both };
        both.open(&dir, "member", &authority, now)?;
        Leaf::client(CLIENT, &[]).open(&dir, "client", &authority, now)?;
        Ok(EtcdFiles::of(data_dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_has_a_ca_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (now, names) = (Timestamp::from_second(1_800_000_000).unwrap(), super::super::Names::default());
        let pki = super::super::Pki::open(dir.path(), &names, "10.96.0.1".parse().unwrap(), now).unwrap();
        let files = EtcdFiles::open(dir.path(), "a-1", &["192.0.2.1".parse().unwrap()], now).unwrap();
        let texts = || [&files.ca, &files.member, &files.client].map(|it| std::fs::read_to_string(it).unwrap());
        let first = texts();
        assert_ne!(first[0], pki.ca());
        EtcdFiles::open(dir.path(), "a-1", &["192.0.2.1".parse().unwrap()], now).unwrap();
        assert_eq!(first, texts(), "what is good is kept");
        EtcdFiles::open(dir.path(), "a-1", &["192.0.2.2".parse().unwrap()], now).unwrap();
        assert_ne!(first[1], texts()[1], "another address needs another certificate");
    }
}
