//! Which images this node's agent has pulled: those alone may be removed when nobody uses them.
//!
//! What came from an archive cannot be pulled again, and what an Engine has beside ours is its owner's. Kept in a file of the data directory, so that an agent that
//! starts again knows them. An image that is pulled while the file cannot be written stays, which is the safe side.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use parking_lot::Mutex;

use crate::runtime::Id;

/// The file's name in the data directory.
const FILE: &str = "pulled-images.json";

/// The images that were pulled, and when each was last used as far as is known.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    images: Mutex<BTreeMap<Id, Timestamp>>,
}

impl Ledger {
    /// Reads the ledger of a data directory; one that is not there, or cannot be read, is empty.
    pub fn open(data_dir: &Path) -> Self {
        let path = data_dir.join(FILE);
        let images = match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "it is not known which images were pulled: they stay");
                BTreeMap::new()
            }),
            Err(_) => BTreeMap::new(),
        };
        Ledger { path, images: Mutex::new(images) }
    }

    /// An image was pulled, or is used.
    pub fn pulled(&self, id: &str, now: Timestamp) {
        let mut images = self.images.lock();
        images.insert(id.to_owned(), now);
        self.keep(&images);
    }

    /// Those of the pulled images that are used are so now, those that are not here any more are forgotten. Gives what is left.
    pub fn see(
        &self,
        here: impl Fn(&str) -> bool,
        used: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> BTreeMap<Id, Timestamp> {
        let mut images = self.images.lock();
        let before = images.len();
        images.retain(|id, _| here(id));
        for (_, at) in images.iter_mut().filter(|(id, _)| used(id)) {
            *at = now;
        }
        if images.len() != before {
            self.keep(&images);
        }
        images.clone()
    }

    fn keep(&self, images: &BTreeMap<Id, Timestamp>) {
        if let Err(error) = write(&self.path, images) {
            tracing::warn!(path = %self.path.display(), %error, "it cannot be noted which images were pulled");
        }
    }
}

fn write(path: &Path, images: &BTreeMap<Id, Timestamp>) -> io::Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, serde_json::to_vec(images)?)?;
    std::fs::rename(next, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pulled_is_known_again() {
        let dir = tempfile::tempdir().unwrap();
        let at = |second| Timestamp::from_second(second).unwrap();
        let ledger = Ledger::open(dir.path());
        ledger.pulled("a", at(1));
        ledger.pulled("b", at(1));
        ledger.pulled("gone", at(1));
        let left = ledger.see(|it| it != "gone", |it| it == "b", at(5));
        let expected = BTreeMap::from([("a".to_owned(), at(1)), ("b".to_owned(), at(5))]);
        assert_eq!(left, expected);
        let again = Ledger::open(dir.path()).see(|_| true, |_| false, at(9));
        assert_eq!(again.keys().collect::<Vec<_>>(), ["a", "b"]);
        std::fs::write(dir.path().join(FILE), "no").unwrap();
        assert!(Ledger::open(dir.path()).see(|_| true, |_| false, at(9)).is_empty());
    }
}
