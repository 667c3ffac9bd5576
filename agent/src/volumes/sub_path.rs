//! `subPath` and `subPathExpr`: what lies below a volume's folder, made where it is missing.
//!
//! In: a volume's folder and a path that comes from the API. Out: a path of this machine that does not lead out of the folder, whatever links
//! containers have put there. It does not know what kind of volume it is.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, mkdirat};

use crate::environment::expand;

/// A path under `root` that stays under it whatever links lie on the way; what is missing is made as folders.
///
/// # Errors
/// It leads out, or a folder cannot be made.
pub fn within(root: &Path, sub: &str) -> Result<PathBuf, String> {
    let refused = || format!("subPath {sub:?} must not lead out of its volume");
    let failed = |path: &Path, it: io::Error| format!("{}: {it}", path.display());
    let root = root.canonicalize().map_err(|it| failed(root, it))?;
    let mut path = root.clone();
    for part in Path::new(sub).components() {
        let Component::Normal(part) = part else {
            if part == Component::CurDir {
                continue;
            }
            return Err(refused());
        };
        let next = path.join(part);
        if next.symlink_metadata().is_err() {
            let above = path.strip_prefix(&root).map_err(|_| refused())?;
            make(&root, above, part).map_err(|it| failed(&next, it))?;
        }
        path = next.canonicalize().map_err(|it| failed(&next, it))?;
        if !path.starts_with(&root) {
            return Err(refused());
        }
    }
    Ok(path)
}

/// Makes a folder with the rights of the root, so that whoever may write in the volume may write there. No link is followed, also if a container that
/// has the volume already moves things about meanwhile. Source: `doSafeMakeDir` in `pkg/volume/util/subpath`.
fn make(root: &Path, above: &Path, name: &OsStr) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let top = File::open(root)?;
    let above = openat2(&top, &Path::new(".").join(above), OpenHow::new().flags(flags).resolve(beneath))?;
    mkdirat(&above, name, Mode::S_IRWXU)?;
    let made = File::from(openat(&above, name, flags, Mode::empty())?);
    made.set_permissions(top.metadata()?.permissions())
}

/// A `subPathExpr` with its variables' values. One that is not known or empty fails the container, in the kubelet's words: its folder would be another one.
///
/// # Errors
/// The variables without a value.
pub fn expanded(raw: &str, lookup: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let missing = RefCell::new(BTreeSet::new());
    let text = expand(raw, |name| {
        let found = lookup(name);
        if found.as_ref().is_none_or(String::is_empty) {
            missing.borrow_mut().insert(name.to_owned());
        }
        found
    });
    let missing: Vec<String> = missing.into_inner().into_iter().collect();
    if missing.is_empty() { Ok(text) } else { Err(format!("missing value for {}", missing.join(", "))) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_sub_path_has_all_its_variables() {
        let known = |name: &str| match name {
            "POD" => Some("web-0".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let check = |raw: &str, expected: Result<&str, &str>| {
            assert_eq!(expanded(raw, known), expected.map(str::to_owned).map_err(str::to_owned), "{raw}");
        };
        check("logs/$(POD)", Ok("logs/web-0"));
        check("$$(POD)", Ok("$(POD)"));
        check("$(NONE)/$(POD)/$(EMPTY)/$(NONE)", Err("missing value for EMPTY, NONE"));
    }

    #[test]
    fn no_path_leads_out_of_a_volume() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("volume");
        std::fs::create_dir_all(root.join("in")).unwrap();
        symlink("/etc", root.join("out")).unwrap();
        assert!(within(&root, "in/new").unwrap().ends_with("volume/in/new"));
        for bad in ["../x", "in/../../x", "/etc", "out", "out/passwd"] {
            assert!(within(&root, bad).unwrap_err().contains("must not lead out"), "{bad}");
        }
    }

    #[test]
    fn what_is_made_is_as_open_as_its_volume() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mode = |it: &Path| it.metadata().unwrap().permissions().mode() & 0o7777;
        std::fs::create_dir(root.join("narrow")).unwrap();
        std::fs::set_permissions(root.join("narrow"), PermissionsExt::from_mode(0o700)).unwrap();
        std::fs::set_permissions(root, PermissionsExt::from_mode(0o2777)).unwrap();
        let made = within(root, "narrow/wide/open").unwrap();
        let modes: Vec<u32> = made.ancestors().take(3).map(mode).collect();
        assert_eq!(modes, [0o2777, 0o2777, 0o700], "what was there stays as it was");
        symlink("/etc", root.join("out")).unwrap();
        assert!(make(root, Path::new("out"), OsStr::new("x")).is_err(), "no link is followed");
    }
}
