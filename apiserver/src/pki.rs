//! The cluster's keys and certificates: one CA that signs everything, and a leaf certificate per purpose.
//!
//! In: a directory, the names under which the server is reached, and the time. Out: a [`Pki`] from which the server takes its
//! TLS identity, the signing key of service accounts, and the credentials it hands to the cluster's other parts. The first start makes
//! everything (some ten keys: 2 ms); later starts read it again, issue anew what is lost, damaged or near its end, and refuse with
//! a clear error where going on would cut off everyone who trusts the old CA. The CA never serves as a leaf. Knows no HTTP.

pub mod authority;
pub mod etcd;
pub mod files;
pub mod kubeconfig;
pub mod leaf;
pub mod shared;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use authority::Authority;
use leaf::{Leaf, Usage};

/// The names under which kubeconfigs and certificates know the cluster's own parts: the file's stem, the user, its groups.
const COMPONENTS: &[(&str, &str, &[&str])] = &[
    ("admin", "kubernetes-admin", &["system:masters"]),
    ("scheduler", "system:kube-scheduler", &[]),
    ("controllers", "system:kube-controller-manager", &[]),
];

/// The user as which the API server speaks to agents.
const KUBELET_CLIENT: (&str, &str, &[&str]) =
    ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", &["system:masters"]);

/// Why the keys cannot be used. Every text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(
        "{path} is damaged ({why}); restore it from a backup, or remove {dir} to begin with a new CA: every kubeconfig and certificate handed out is worthless then"
    )]
    Damaged { path: PathBuf, dir: PathBuf, why: String },
    #[error("{0} is not there: start the API server on this directory first")]
    NoAuthority(PathBuf),
    #[error("a certificate cannot be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A certificate with its key, in PEM. The key is never shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    pub certificate: String,
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What the server must be reachable as.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Where it listens and what nodes reach it by; unspecified addresses are left out.
    pub addresses: Vec<IpAddr>,
    /// More names or addresses, as the user gave them.
    pub extra: Vec<String>,
}

impl Names {
    /// All names of the serving certificate, without repetition: localhost, this host's name, the `kubernetes` service's.
    fn all(&self, service: IpAddr) -> Vec<String> {
        let mut out: Vec<String> = ["localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
            .iter()
            .map(|it| (*it).to_owned())
            .collect();
        out.push("kubernetes.default.svc.cluster.local".to_owned());
        out.extend(files::host_name());
        out.extend(["127.0.0.1".to_owned(), "::1".to_owned(), service.to_string()]);
        out.extend(self.addresses.iter().filter(|it| !it.is_unspecified()).map(ToString::to_string));
        out.extend(self.extra.iter().cloned());
        let mut seen = std::collections::HashSet::new();
        out.retain(|it| !it.is_empty() && seen.insert(it.clone()));
        out
    }
}

/// Where a node finds its credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeFiles {
    pub kubeconfig: PathBuf,
    /// The CA that the agent asks client certificates of.
    pub ca: PathBuf,
    /// The agent's serving certificate and key.
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// The keys and certificates of one cluster.
#[derive(Debug)]
pub struct Pki {
    data_dir: PathBuf,
    authority: Authority,
    /// The API server's own certificate.
    pub serving: Pair,
    /// What the API server shows to agents.
    pub kubelet_client: Pair,
    /// The key that signs service accounts' tokens, and the one that verifies them, in PEM.
    pub service_account: Pair,
}

impl Pki {
    /// Opens `<data_dir>/pki`, and makes what is not there.
    ///
    /// # Errors
    /// [`PkiError`] where the directory cannot be used or what cannot be replaced is damaged.
    pub fn open(data_dir: &Path, names: &Names, service: IpAddr, now: Timestamp) -> Result<Self, PkiError> {
        let dir = data_dir.join("pki");
        files::make_private_dir(data_dir)?;
        files::make_private_dir(&dir)?;
        let authority = Authority::open(&dir, now)?;
        let serving = Leaf {
            user: "kube-apiserver".to_owned(),
            groups: Vec::new(),
            names: names.all(service),
            usage: Usage::Server,
        }
        .open(&dir, "apiserver", &authority, now)?;
        let (stem, user, groups) = KUBELET_CLIENT;
        let kubelet_client = Leaf::client(user, groups).open(&dir, stem, &authority, now)?;
        let service_account = leaf::signing_key(&dir, "sa")?;
        Ok(Pki { data_dir: data_dir.to_owned(), authority, serving, kubelet_client, service_account })
    }

    /// Opens the keys that a server in the same directory has made, whatever names it is reached by.
    ///
    /// # Errors
    /// [`PkiError::NoAuthority`] where none has; else as [`Pki::open`].
    pub fn existing(data_dir: &Path, now: Timestamp) -> Result<Self, PkiError> {
        let dir = data_dir.join("pki");
        let certificate = dir.join("ca.crt");
        if files::read(&certificate)?.is_none() {
            return Err(PkiError::NoAuthority(certificate));
        }
        let authority = Authority::open(&dir, now)?;
        let any = Leaf { usage: Usage::Server, ..Leaf::client("kube-apiserver", &[]) };
        let serving = any.open(&dir, "apiserver", &authority, now)?;
        let (stem, user, groups) = KUBELET_CLIENT;
        let kubelet_client = Leaf::client(user, groups).open(&dir, stem, &authority, now)?;
        let service_account = leaf::signing_key(&dir, "sa")?;
        Ok(Pki { data_dir: data_dir.to_owned(), authority, serving, kubelet_client, service_account })
    }

    /// The CA's certificate, in PEM.
    pub fn ca(&self) -> &str {
        &self.authority.certificate
    }

    /// `<data_dir>/pki`.
    pub fn dir(&self) -> PathBuf {
        self.data_dir.join("pki")
    }

    /// A new client certificate for any user, which nothing keeps.
    ///
    /// # Errors
    /// [`PkiError::Make`].
    pub fn issue_client(&self, user: &str, groups: &[&str], now: Timestamp) -> Result<Pair, PkiError> {
        Leaf::client(user, groups).issue(&self.authority, now)
    }

    /// The text of a kubeconfig for any user.
    pub fn kubeconfig(&self, server: &str, user: &str, client: &Pair) -> String {
        kubeconfig::text(server, self.ca(), user, client)
    }

    /// Writes the kubeconfigs of the administrator (`<data_dir>/kubeconfig`), the scheduler and the controllers, for a server at this URL.
    ///
    /// # Errors
    /// [`PkiError`] where a file cannot be written.
    pub fn write_kubeconfigs(&self, server: &str, now: Timestamp) -> Result<(), PkiError> {
        for (stem, user, groups) in COMPONENTS {
            let client = Leaf::client(user, groups).open(&self.dir(), stem, &self.authority, now)?;
            let name = if *stem == "admin" { "kubeconfig".to_owned() } else { format!("{stem}.kubeconfig") };
            files::write_if_changed(&self.data_dir.join(name), &self.kubeconfig(server, user, &client))?;
        }
        Ok(())
    }

    /// Writes what an agent needs: `<data_dir>/agent-<node>.kubeconfig` of the user `system:node:<node>`, and a serving certificate for
    /// the node's name and addresses. The kubeconfig's certificate may serve too, under the node's name, for agents that were given
    /// nothing else. Called again, it keeps what is still good.
    ///
    /// # Errors
    /// [`PkiError`] where a file cannot be written.
    pub fn write_node(
        &self,
        node: &str,
        addresses: &[IpAddr],
        server: &str,
        now: Timestamp,
    ) -> Result<NodeFiles, PkiError> {
        let dir = self.dir();
        let user = format!("system:node:{node}");
        let mut names = vec![node.to_owned()];
        for address in addresses.iter().map(ToString::to_string) {
            if !names.contains(&address) {
                names.push(address);
            }
        }
        let both = Leaf { names: names.clone(), usage: Usage::Both, ..Leaf::client(&user, &["system:nodes"]) };
        let client = both.open(&dir, &format!("node-{node}"), &self.authority, now)?;
        let kubeconfig = self.data_dir.join(format!("agent-{node}.kubeconfig"));
        files::write_if_changed(&kubeconfig, &self.kubeconfig(server, &user, &client))?;
        let stem = format!("agent-{node}");
        Leaf { user, groups: vec!["system:nodes".to_owned()], names, usage: Usage::Server }.open(
            &dir,
            &stem,
            &self.authority,
            now,
        )?;
        Ok(NodeFiles {
            kubeconfig,
            ca: dir.join("ca.crt"),
            certificate: dir.join(format!("{stem}.crt")),
            key: dir.join(format!("{stem}.key")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    const SERVICE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 1));

    fn open(dir: &Path, now: i64) -> Result<Pki, PkiError> {
        let names = Names { addresses: vec!["192.0.2.7".parse().unwrap()], extra: vec!["api.example".to_owned()] };
        Pki::open(dir, &names, SERVICE, Timestamp::from_second(now).unwrap())
    }

    const NOW: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;

    #[test]
    fn is_kept_over_restarts_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), NOW).unwrap();
        first.write_kubeconfigs("https://127.0.0.1:6443", Timestamp::from_second(NOW).unwrap()).unwrap();
        let node = first.write_node("n1", &[], "https://127.0.0.1:6443", Timestamp::from_second(NOW).unwrap()).unwrap();
        let again = open(dir.path(), NOW + DAY).unwrap();
        assert_eq!(
            (first.ca(), &first.serving, &first.service_account),
            (again.ca(), &again.serving, &again.service_account)
        );
        assert_eq!(
            again.write_node("n1", &[], "https://127.0.0.1:6443", Timestamp::from_second(NOW).unwrap()).unwrap(),
            node
        );
        for file in [dir.path().join("pki/ca.key"), dir.path().join("kubeconfig"), node.key, node.kubeconfig] {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
        }
        assert_eq!(fs::metadata(dir.path().join("pki")).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn leaves_are_renewed_before_they_end() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), NOW).unwrap();
        let later = open(dir.path(), NOW + 350 * DAY).unwrap();
        assert_eq!(first.ca(), later.ca());
        assert_ne!(first.serving, later.serving);
        // Near its own end the CA is certified anew with the same key, so that what it signed stays good.
        let old = open(dir.path(), NOW + 3600 * DAY).unwrap();
        assert_ne!(first.ca(), old.ca());
        assert_eq!(first.service_account, old.service_account);
    }

    #[test]
    fn a_new_name_gives_a_new_serving_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(dir.path(), NOW).unwrap();
        let names = Names { addresses: vec!["192.0.2.8".parse().unwrap()], extra: Vec::new() };
        let second = Pki::open(dir.path(), &names, SERVICE, Timestamp::from_second(NOW).unwrap()).unwrap();
        assert_ne!(first.serving, second.serving);
    }

    #[test]
    fn heals_what_can_be_made_again() {
        for lost in ["ca.crt", "apiserver.crt", "apiserver.key", "apiserver-kubelet-client.key", "sa.pub"] {
            let dir = tempfile::tempdir().unwrap();
            let first = open(dir.path(), NOW).unwrap();
            fs::remove_file(dir.path().join("pki").join(lost)).unwrap();
            let again = open(dir.path(), NOW).unwrap_or_else(|error| panic!("{lost}: {error}"));
            assert_eq!(first.service_account, again.service_account, "{lost}");
        }
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), NOW).unwrap();
        fs::write(dir.path().join("pki/apiserver.crt"), "-----BEGIN CERT").unwrap();
        open(dir.path(), NOW).unwrap();
    }

    #[test]
    fn refuses_what_cannot() {
        for (file, text, expected) in [
            ("ca.crt", Some("garbage"), "ca.crt is damaged"),
            ("ca.key", Some(""), "ca.key is damaged"),
            ("ca.key", None, "ca.key is damaged (it is missing"),
            ("sa.key", Some("garbage"), "sa.key is damaged"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            open(dir.path(), NOW).unwrap();
            let path = dir.path().join("pki").join(file);
            match text {
                Some(text) => fs::write(&path, text).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let error = open(dir.path(), NOW).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        open(one.path(), NOW).unwrap();
        open(other.path(), NOW).unwrap();
        fs::copy(other.path().join("pki/ca.key"), one.path().join("pki/ca.key")).unwrap();
        assert!(open(one.path(), NOW).unwrap_err().to_string().contains("does not belong to"));
    }
}
