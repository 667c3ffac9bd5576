//! Which mounts of a container hand on what is mounted below them: what its bundle says, done where libcontainer 0.7 does not.
//!
//! libcontainer binds a path as the machine has it mounted, and passes over `rprivate`, `rslave` and `rshared`: on a machine whose root is shared, a volume that
//! asks for nothing would show what is mounted below it later. So, before the container's program runs, its mounts are set here, from within its mount
//! namespace. What is shared there stays so where that is asked for.

use std::fs::File;
use std::path::PathBuf;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use oci_spec::runtime::{Mount, Spec};

/// Sets the [`wanted`] mounts of a container that has been made and does not run yet: `pid` is its first process.
///
/// # Errors
/// What the kernel does not do. This process may be in the container's namespace then, and can only end.
pub fn set(wanted: &[(PathBuf, MsFlags)], pid: i32) -> Result<(), String> {
    if wanted.is_empty() {
        return Ok(());
    }
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{what}: {error}");
    let open = |path: String| File::open(&path).map_err(|it| failed(&path, &it));
    let (own, other) = (open("/proc/self/ns/mnt".into())?, open(format!("/proc/{pid}/ns/mnt"))?);
    let back_to = std::env::current_dir().map_err(|it| failed("the working directory", &it))?;
    setns(other, CloneFlags::CLONE_NEWNS).map_err(|it| failed("entering the container's mounts", &it))?;
    for (destination, flags) in wanted {
        let none = None::<&str>;
        match mount(none, destination, none, *flags | MsFlags::MS_REC, none) {
            // Something lies over it: it is not to be reached by anybody.
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(error) => return Err(failed(&format!("the mount at {}", destination.display()), &error)),
        }
    }
    setns(own, CloneFlags::CLONE_NEWNS).map_err(|it| failed("leaving the container's mounts", &it))?;
    std::env::set_current_dir(back_to).map_err(|it| failed("the working directory", &it))
}

/// What is to be set at which destination.
pub fn wanted(bundle: &Spec) -> Vec<(PathBuf, MsFlags)> {
    let flag = |mount: &Mount| {
        let has = |it: &str| mount.options().iter().flatten().any(|option| option == it);
        match () {
            () if has("rprivate") => Some(MsFlags::MS_PRIVATE),
            () if has("rslave") => Some(MsFlags::MS_SLAVE),
            () => None,
        }
    };
    bundle.mounts().iter().flatten().filter_map(|it| Some((it.destination().clone(), flag(it)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_set() {
        let bundle = r#"{"ociVersion": "1.0.2", "mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/a", "options": ["rbind", "rprivate", "ro"]},
            {"destination": "/b", "options": ["rbind", "rslave"]}, {"destination": "/c", "options": ["rbind", "rshared"]}]}"#;
        let found = wanted(&serde_json::from_str(bundle).unwrap());
        assert_eq!(found, [("/a".into(), MsFlags::MS_PRIVATE), ("/b".into(), MsFlags::MS_SLAVE)]);
    }
}
