//! A name within a layer, judged: below its root, of bounded depth and length. Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use super::fault::Fault;

/// The longest name, in bytes: the kernel's PATH_MAX.
const MAX_PATH_BYTES: usize = 4096;
/// The most folders above a file. Real trees have some thirty.
const MAX_DEPTH: usize = 255;
/// The longest part of a name, in bytes: the kernel's NAME_MAX.
const MAX_NAME_BYTES: usize = 255;

/// A path below the root of a layer; empty is the root itself. Its parts are names: neither `.` nor `..`, without slashes and NULs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inside(Vec<OsString>);

impl Inside {
    /// Judges a name from an archive. An absolute one counts from the layer's root.
    ///
    /// # Errors
    /// When it leads upwards, is too deep or too long, or has a NUL.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let refuse = |why: &str| {
            let name = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_NAME_BYTES)]).into_owned();
            Err(Fault::bad(format!("the layer has a path that {why}: {name:?}")))
        };
        if bytes.len() > MAX_PATH_BYTES {
            return refuse("is too long");
        }
        if bytes.contains(&0) {
            return refuse("has a NUL");
        }
        let mut parts = Vec::new();
        for part in bytes.split(|it| *it == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return refuse("leads upwards"),
                _ if part.len() > MAX_NAME_BYTES => return refuse("has a name that is too long"),
                _ if parts.len() > MAX_DEPTH => return refuse("is too deep"),
                _ => parts.push(OsString::from_vec(part.to_vec())),
            }
        }
        Ok(Self(parts))
    }

    /// The folder and the name in it; none for the root.
    pub fn split(&self) -> Option<(Inside, &OsStr)> {
        let (name, folder) = self.0.split_last()?;
        Some((Inside(folder.to_vec()), name))
    }

    /// The parts.
    pub fn parts(&self) -> &[OsString] {
        &self.0
    }

    /// For the kernel, from an open root: `.` for the root.
    pub fn relative(&self) -> OsString {
        if self.0.is_empty() {
            return ".".into();
        }
        self.0.join(OsStr::new("/"))
    }
}

impl std::fmt::Display for Inside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(self.0.join(OsStr::new("/")).as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_judged() {
        let check = |text: &str, expected: Option<&str>| {
            let found = Inside::parse(text.as_bytes()).ok().map(|it| it.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("", Some("/"));
        check("./", Some("/"));
        check("./a//b/./c/", Some("/a/b/c"));
        check("/etc/passwd", Some("/etc/passwd"));
        check("...", Some("/..."));
        check("..", None);
        check("a/../b", None);
        check("a/..", None);
        check("/../../etc", None);
        check("a\0b", None);
        check(&"a".repeat(255), Some(&format!("/{}", "a".repeat(255))));
        check(&"a".repeat(256), None);
        check(&"a/".repeat(300), None);
        check(&"abcdefgh/".repeat(1000), None);
    }

    proptest! {
        #[test]
        fn nothing_leads_out(bytes in prop::collection::vec(prop::sample::select(b"./a\0".to_vec()), 0..40)) {
            if let Ok(it) = Inside::parse(&bytes) {
                let relative = it.relative();
                let path = std::path::Path::new(&relative);
                let normal = |it| matches!(it, std::path::Component::Normal(_) | std::path::Component::CurDir);
                prop_assert!(path.components().all(normal));
            }
        }
    }
}
