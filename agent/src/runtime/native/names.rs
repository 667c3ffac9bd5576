//! The ids of sandboxes and containers, which say where their folders are: nothing has to be looked up. Pure.
//!
//! `<uid>_<attempt>` is a sandbox, `<uid>_<attempt>_<name>_<attempt>` a container in it. A uid and a name have no `_`.

use std::fmt;
use std::path::{Path, PathBuf};

use orlop_shim::record::CONTAINERS;

/// The longest id, in bytes: it is one name in a file system.
const ID_MAX_BYTES: usize = 255;

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SandboxName {
    pub uid: String,
    pub attempt: u32,
}

/// A container in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerName {
    pub sandbox: SandboxName,
    pub name: String,
    pub attempt: u32,
}

/// A part of an id: a name of letters, digits, `-` and `.` that begins with neither of the latter.
fn plain(part: &str) -> bool {
    part.starts_with(|it: char| it.is_ascii_alphanumeric())
        && part.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'.')
}

impl SandboxName {
    /// None if the uid cannot be a part of a path.
    pub fn new(uid: &str, attempt: u32) -> Option<Self> {
        let it = Self { uid: uid.to_owned(), attempt };
        (plain(uid) && it.to_string().len() <= ID_MAX_BYTES).then_some(it)
    }

    /// Reads an id; none if it is none of a sandbox of ours.
    pub fn parse(id: &str) -> Option<Self> {
        let (uid, attempt) = id.rsplit_once('_')?;
        Self::new(uid, attempt.parse().ok()?).filter(|it| it.to_string() == id)
    }

    /// Its folder below that of all pods.
    pub fn folder(&self, pods: &Path) -> PathBuf {
        pods.join(self.to_string())
    }
}

impl ContainerName {
    /// None if the name cannot be a part of a path.
    pub fn new(sandbox: &SandboxName, name: &str, attempt: u32) -> Option<Self> {
        let it = Self { sandbox: sandbox.clone(), name: name.to_owned(), attempt };
        (plain(name) && it.to_string().len() <= ID_MAX_BYTES).then_some(it)
    }

    /// Reads an id; none if it is none of a container of ours.
    pub fn parse(id: &str) -> Option<Self> {
        let (rest, attempt) = id.rsplit_once('_')?;
        let (sandbox, name) = rest.rsplit_once('_')?;
        Self::new(&SandboxName::parse(sandbox)?, name, attempt.parse().ok()?).filter(|it| it.to_string() == id)
    }

    /// Reads a folder's name below a sandbox's.
    pub fn in_sandbox(sandbox: &SandboxName, key: &str) -> Option<Self> {
        let (name, attempt) = key.rsplit_once('_')?;
        Self::new(sandbox, name, attempt.parse().ok()?).filter(|it| it.key() == key)
    }

    /// Its name within the sandbox: that of its folder, and the shim's name for it.
    pub fn key(&self) -> String {
        format!("{}_{}", self.name, self.attempt)
    }

    /// Its folder below that of all pods.
    pub fn folder(&self, pods: &Path) -> PathBuf {
        self.sandbox.folder(pods).join(CONTAINERS).join(self.key())
    }
}

impl fmt::Display for SandboxName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.uid, self.attempt)
    }
}

impl fmt::Display for ContainerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.sandbox, self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back() {
        let sandbox = SandboxName::new("1b2c-3", 4).unwrap();
        assert_eq!(sandbox.to_string(), "1b2c-3_4");
        assert_eq!(SandboxName::parse("1b2c-3_4"), Some(sandbox.clone()));
        let container = ContainerName::new(&sandbox, "web", 7).unwrap();
        assert_eq!(container.to_string(), "1b2c-3_4_web_7");
        assert_eq!(ContainerName::parse("1b2c-3_4_web_7"), Some(container.clone()));
        assert_eq!(ContainerName::in_sandbox(&sandbox, "web_7"), Some(container.clone()));
        assert_eq!(container.folder(Path::new("/p")), Path::new("/p/1b2c-3_4/containers/web_7"));
    }

    #[test]
    fn no_id_leads_elsewhere() {
        for id in ["", "_0", "..", ".._0", "a/b_0", "a_b", "a_01", "a_-1", "a_+1", "-a_0", "a\0_0", "a_0_b_0"] {
            assert_eq!(SandboxName::parse(id), None, "{id:?}");
        }
        for id in ["a_0", "a_0_b", "a_0_.._0", "a_0_b/c_0", "a_0_b_c_0", "../a_0_b_0"] {
            assert_eq!(ContainerName::parse(id), None, "{id:?}");
        }
        assert_eq!(SandboxName::new(&"a".repeat(300), 0), None);
    }
}
