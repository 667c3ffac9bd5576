//! Which pod has which address and host ports, on disk, so that a restarted agent hands out no address that is in use.
//!
//! The file is replaced whole, by a rename, so that it is never half written. It is not forced to the disk: what it describes are
//! namespaces of running processes, which end with the machine anyway.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{HostPort, NetworkError};

/// What a pod has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The primary one; where there is another, it has the same offset in its range.
    pub address: IpAddr,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_ports: Vec<HostPort>,
}

/// What all pods have, by uid.
pub type Entries = BTreeMap<String, Entry>;

/// The file.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
}

impl Ledger {
    /// The ledger in a node's data directory, which is made if absent.
    pub fn open(data_dir: &Path) -> Result<Self, NetworkError> {
        let ledger = Self { path: data_dir.join("network.json") };
        std::fs::create_dir_all(data_dir).map_err(|it| ledger.error(it))?;
        Ok(ledger)
    }

    /// Reads it. A damaged file is set aside and said so: the links in the kernel know the addresses as well.
    pub fn read(&self) -> Result<Entries, NetworkError> {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Entries::new()),
            Err(error) => return Err(self.error(error)),
        };
        serde_json::from_slice(&bytes).or_else(|error| {
            let aside = self.path.with_extension("damaged");
            tracing::warn!(path = %self.path.display(), %error, aside = %aside.display(), "the address ledger is damaged");
            std::fs::rename(&self.path, &aside).map_err(|it| self.error(it))?;
            Ok(Entries::new())
        })
    }

    /// Replaces it.
    pub fn write(&self, entries: &Entries) -> Result<(), NetworkError> {
        let next = self.path.with_extension("next");
        let bytes = serde_json::to_vec(entries).map_err(|it| self.error(it.into()))?;
        std::fs::write(&next, bytes).and_then(|()| std::fs::rename(&next, &self.path)).map_err(|it| self.error(it))
    }

    /// Removes it with what a death may have left beside it.
    pub fn remove(&self) -> Result<(), NetworkError> {
        for path in [&self.path, &self.path.with_extension("next"), &self.path.with_extension("damaged")] {
            match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.error(error)),
                _ => {}
            }
        }
        Ok(())
    }

    fn error(&self, source: io::Error) -> NetworkError {
        NetworkError::Ledger { path: self.path.display().to_string(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::Protocol;

    #[test]
    fn a_ledger_reads_back_and_survives_damage() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(&dir.path().join("node")).unwrap();
        assert_eq!(ledger.read().unwrap(), Entries::new());
        let port = HostPort { host_ip: None, host_port: 80, container_port: 8080, protocol: Protocol::Tcp };
        let entry = Entry { address: "10.0.0.2".parse().unwrap(), host_ports: vec![port] };
        let entries = Entries::from([("a".to_owned(), entry)]);
        ledger.write(&entries).unwrap();
        assert_eq!(ledger.read().unwrap(), entries);
        std::fs::write(dir.path().join("node/network.json"), "{\"a\":").unwrap();
        assert_eq!(ledger.read().unwrap(), Entries::new());
        assert!(dir.path().join("node/network.damaged").exists());
        ledger.write(&entries).unwrap();
        ledger.remove().unwrap();
        ledger.remove().unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join("node")).unwrap().count(), 0);
    }
}
