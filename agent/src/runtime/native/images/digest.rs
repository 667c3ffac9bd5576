//! `sha256:` digests: of blobs, of layers as they are unpacked, and of chains of layers.
//!
//! The image specification allows other algorithms; registries use this one, and what is named by another is refused. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fault::Fault;

/// A digest: 64 hexadecimal digits in lower case, which are safe as a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// Reads `sha256:<64 digits>`.
    ///
    /// # Errors
    /// When it is another algorithm or no digest.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        match text.strip_prefix("sha256:") {
            Some(hex) if is_hex(hex) => Ok(Self(hex.to_owned())),
            Some(_) => Err(Fault::bad(format!("{text:?} is no digest"))),
            None => Err(Fault::bad(format!("digest {text:?} is of an unsupported algorithm"))),
        }
    }

    /// Reads 64 digits, with or without `sha256:` before them.
    pub fn of_id(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        is_hex(hex).then(|| Self(hex.to_owned()))
    }

    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::finish(Sha256::new_with_prefix(bytes))
    }

    /// The digest of what was fed to a hash.
    pub fn finish(hash: Sha256) -> Self {
        Self(crate::runtime::docker::archive::hex(&hash.finalize()))
    }

    /// The digits.
    pub fn hex(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

impl TryFrom<String> for Digest {
    type Error = Fault;

    fn try_from(text: String) -> Result<Self, Fault> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(it: Digest) -> Self {
        it.to_string()
    }
}

/// The chain ids of an image's layers, lowest first: each names a layer together with all below it (OCI image specification, "Layer ChainID").
pub fn chain(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for diff in diff_ids {
        chain.push(match chain.last() {
            None => diff.clone(),
            Some(below) => Digest::of(format!("{below} {diff}").as_bytes()),
        });
    }
    chain
}

fn is_hex(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_digests_are_taken() {
        let check = |text: String, good: bool| assert_eq!(Digest::parse(&text).is_ok(), good, "{text}");
        check(format!("sha256:{}", "a".repeat(64)), true);
        check(format!("sha256:{}", "A".repeat(64)), false);
        check(format!("sha256:{}", "a".repeat(63)), false);
        check(format!("sha256:../{}", "a".repeat(61)), false);
        check(format!("sha512:{}", "a".repeat(128)), false);
        check("a".repeat(64), false);
        assert!(Digest::of_id(&"a".repeat(64)).is_some());
        assert!(Digest::of_id("nginx").is_none());
    }

    #[test]
    fn a_chain_names_what_is_below() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let ids = chain(&[a.clone(), b.clone()]);
        assert_eq!(ids, [a.clone(), Digest::of(format!("{a} {b}").as_bytes())]);
        assert_ne!(chain(&[b.clone(), a])[1], chain(&[b.clone(), b])[1]);
    }
}
