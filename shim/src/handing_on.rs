//! Which mounts of a container hand on what is mounted below them: what its bundle says, done where libcontainer 0.7 does not.
//!
//! libcontainer binds a path as the machine has it mounted, and passes over `rprivate`, `rslave` and `rshared`: on a machine whose root is shared, a volume that
//! asks for nothing would show what is mounted below it later. So, before the container's program runs, its mounts are set here, from within its mount
//! namespace. What is shared there stays so where that is asked for.

use std::fs::{self, File};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use serde::Deserialize;

#[derive(Deserialize)]
struct Bundle {
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
struct Mount {
    destination: String,
    #[serde(default)]
    options: Vec<String>,
}

/// Sets the mounts of a container that has been made and does not run yet: `folder` has its bundle, `pid` is its first process.
///
/// # Errors
/// What the kernel does not do. This process may be in the container's namespace then, and can only end.
pub fn set(folder: &Path, pid: i32) -> Result<(), String> {
    let text = fs::read(folder.join("config.json")).map_err(|it| format!("the bundle: {it}"))?;
    let wanted = wanted(&serde_json::from_slice(&text).map_err(|it| format!("the bundle: {it}"))?);
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
        match mount(none, destination.as_str(), none, flags | MsFlags::MS_REC, none) {
            // Something lies over it: it is not to be reached by anybody.
            Ok(()) | Err(nix::Error::EINVAL) => {}
            Err(error) => return Err(failed(&format!("the mount at {destination}"), &error)),
        }
    }
    setns(own, CloneFlags::CLONE_NEWNS).map_err(|it| failed("leaving the container's mounts", &it))?;
    std::env::set_current_dir(back_to).map_err(|it| failed("the working directory", &it))
}

/// What is to be set at which destination.
fn wanted(bundle: &Bundle) -> Vec<(String, MsFlags)> {
    let flag = |mount: &Mount| {
        let has = |it: &str| mount.options.iter().any(|option| option == it);
        match () {
            () if has("rprivate") => Some(MsFlags::MS_PRIVATE),
            () if has("rslave") => Some(MsFlags::MS_SLAVE),
            () => None,
        }
    };
    bundle.mounts.iter().filter_map(|it| Some((it.destination.clone(), flag(it)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_set() {
        let bundle = r#"{"mounts": [{"destination": "/proc", "type": "proc"}, {"destination": "/a", "options": ["rbind", "rprivate", "ro"]},
            {"destination": "/b", "options": ["rbind", "rslave"]}, {"destination": "/c", "options": ["rbind", "rshared"]}]}"#;
        let found = wanted(&serde_json::from_str(bundle).unwrap());
        assert_eq!(found, [("/a".to_owned(), MsFlags::MS_PRIVATE), ("/b".to_owned(), MsFlags::MS_SLAVE)]);
    }
}
