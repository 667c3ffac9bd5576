//! Who a candidate for a lease is: a name that no other living process has.
//!
//! In: a component's name, and perhaps a folder of its own. Out: the name. A name made at random is unique. One that is
//! kept in a folder is the same after a restart, and a lock on its file makes it unique: whoever has the lock knows that
//! the process that had the name before has ended, however it ended, and need not wait for its lease to run out.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use crate::random;

/// The longest name that a file may hold: a host's name (64), a component and a uid (36).
const NAME_MOST: u64 = 128;

/// A candidate's name; clones are the same candidate.
#[derive(Clone, Debug)]
pub struct Identity {
    name: String,
    /// Held for as long as the name is used.
    _lock: Option<Arc<File>>,
}

impl Identity {
    /// A name that was never used before.
    pub fn unique(component: &str) -> Identity {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host.trim().chars().filter(|it| is_plain(*it)).collect();
        Identity { name: format!("{host}_{component}_{}", random::uid()), _lock: None }
    }

    /// The name that `component` has in `folder`; a unique one where another process uses it, or where it cannot be kept.
    pub fn kept(component: &str, folder: &Path) -> Identity {
        let path = folder.join(format!("{component}.identity"));
        match Identity::locked(component, &path) {
            Ok(it) => it,
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "the identity is not kept; a restart will wait for the lease");
                Identity::unique(component)
            }
        }
    }

    /// The name kept beside the kubeconfig that was named; a unique one without.
    pub fn beside(component: &str, kubeconfig: Option<&Path>) -> Identity {
        match kubeconfig.and_then(Path::parent) {
            Some(folder) if folder.as_os_str().is_empty() => Identity::kept(component, Path::new(".")),
            Some(folder) => Identity::kept(component, folder),
            None => Identity::unique(component),
        }
    }

    fn locked(component: &str, path: &Path) -> io::Result<Identity> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.try_lock()?;
        let mut name = String::new();
        (&file).take(NAME_MOST).read_to_string(&mut name)?;
        let kept = name.strip_suffix('\n').filter(|it| it.contains(component) && it.chars().all(is_plain));
        let name = match kept {
            Some(kept) => kept.to_owned(),
            // New, or cut off by a crash.
            None => {
                let name = Identity::unique(component).name;
                file.set_len(0)?;
                file.rewind()?;
                file.write_all(format!("{name}\n").as_bytes())?;
                file.sync_all()?;
                name
            }
        };
        Ok(Identity { name, _lock: Some(Arc::new(file)) })
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Names stand in a header between slashes.
fn is_plain(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.')
}

/// A name that the user chose, and answers for.
impl From<&str> for Identity {
    fn from(name: &str) -> Identity {
        Identity { name: name.to_owned(), _lock: None }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_name_returns_and_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::kept("controllers", folder.path());
        let second = Identity::kept("controllers", folder.path());
        assert_ne!(first.name(), second.name(), "the first still uses it");
        assert_ne!(Identity::kept("scheduler", folder.path()).name(), first.name());
        let name = first.name().to_owned();
        let clone = first.clone();
        drop(first);
        assert_ne!(Identity::kept("controllers", folder.path()).name(), name, "a clone still uses it");
        drop(clone);
        assert_eq!(Identity::beside("controllers", Some(&folder.path().join("kubeconfig"))).name(), name);
    }

    #[test]
    fn a_damaged_or_missing_file_gives_a_new_name() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "host_controllers_12", "a/controllers/b\n", "\u{fffd}\n"] {
            std::fs::write(folder.path().join("controllers.identity"), text).unwrap();
            let name = Identity::kept("controllers", folder.path()).name().to_owned();
            assert!(name.contains("_controllers_") && name.len() > 40, "{name}");
            assert_eq!(Identity::kept("controllers", folder.path()).name(), name);
        }
        assert!(Identity::kept("controllers", Path::new("/does/not/exist")).name().contains("_controllers_"));
    }
}
