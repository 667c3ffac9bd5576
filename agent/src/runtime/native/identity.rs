//! Who a container's program runs as: the words of a pod or an image (`name`, `uid`, either with `:group`) looked up in the image's own
//! `/etc/passwd` and `/etc/group`.
//!
//! The image is a stranger's: its files are opened below its root, whatever their links say, and read up to a limit.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;

/// How much of an image's file is read, in bytes: some ten thousand users.
const FILE_MAX_BYTES: u64 = 1 << 20;

/// What a program runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// The other groups, in order.
    pub groups: Vec<u32>,
    /// The user's home; `/` if the image does not tell.
    pub home: String,
}

/// Looks a user up in the image that is mounted at `root`.
///
/// # Errors
/// In runc's words: the image does not have the user or group.
pub fn find(root: &Path, user: &str, supplementary: &[i64]) -> Result<Identity, String> {
    let read = |path: &str| read_below(root, path).unwrap_or_default();
    identity(user, supplementary, &read("etc/passwd"), &read("etc/group"))
}

/// Reads a file below a root; no link leads out of it. What is no text is read as far as it is one.
fn read_below(root: &Path, path: &str) -> std::io::Result<String> {
    let flags = |it| OpenHow::new().flags(it).mode(Mode::empty());
    let at = openat2(AT_FDCWD, root, flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC))?;
    // What is no plain file must not hold the reader up.
    let how = flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = File::from(openat2(&at, path, how)?);
    if !file.metadata()?.is_file() {
        return Err(std::io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(FILE_MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The identity that the words mean, with the contents of the image's files.
fn identity(user: &str, supplementary: &[i64], passwd: &str, group: &str) -> Result<Identity, String> {
    let (user, of_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|it| !it.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number = user.parse::<u32>().ok();
    let mut users = passwd.lines().filter_map(User::parse);
    let found = users.find(|it| it.name == user || Some(it.uid) == number);
    let (uid, own_gid, home, name) = match (found, number) {
        (Some(it), _) => (it.uid, it.gid, it.home, Some(it.name)),
        (None, Some(uid)) => (uid, 0, "/".to_owned(), None),
        (None, None) => return Err(format!("unable to find user {user}: no matching entries in passwd file")),
    };
    let groups: Vec<Group<'_>> = group.lines().filter_map(Group::parse).collect();
    let gid = match of_group {
        None => own_gid,
        Some(it) => match groups.iter().find(|group| group.name == it).map(|it| it.gid).or_else(|| it.parse().ok()) {
            Some(it) => it,
            None => return Err(format!("unable to find group {it}: no matching entries in group file")),
        },
    };
    let member = |it: &&Group<'_>| name.as_ref().is_some_and(|name| it.members.contains(&name.as_str()));
    let mut others: BTreeSet<u32> = groups.iter().filter(member).map(|it| it.gid).collect();
    for it in supplementary {
        others.insert(u32::try_from(*it).map_err(|_| format!("no group id: {it}"))?);
    }
    Ok(Identity { uid, gid, groups: others.into_iter().collect(), home })
}

struct User {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl User {
    fn parse(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields.as_slice() else { return None };
        let home = if home.starts_with('/') { (*home).to_owned() } else { "/".to_owned() };
        Some(User { name: (*name).to_owned(), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: Vec<&'a str>,
}

impl<'a> Group<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields.as_slice() else { return None };
        Some(Group { name, gid: gid.parse().ok()?, members: members.split(',').map(str::trim).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\n\nbroken\nweb:x:101:102:web:/srv:/bin/false\nodd:x:7:7::rel:\n";
    const GROUP: &str = "root:x:0:\nwheel:x:10:root,web\nweb:x:102:\nextra:x:50: web\n";

    #[test]
    fn users_are_looked_up_in_the_images_files() {
        let check = |user: &str, supplementary: &[i64], expected: Result<(u32, u32, &[u32], &str), &str>| {
            let found = identity(user, supplementary, PASSWD, GROUP);
            let found = found.as_ref().map(|it| (it.uid, it.gid, it.groups.as_slice(), it.home.as_str()));
            assert_eq!(
                found,
                expected.as_ref().map(|it| *it).map_err(|it| it.to_string()).as_ref().map(|it| *it),
                "{user}"
            );
        };
        check("", &[], Ok((0, 0, &[10], "/root")));
        check("web", &[], Ok((101, 102, &[10, 50], "/srv")));
        check("101", &[2000, 10], Ok((101, 102, &[10, 50, 2000], "/srv")));
        check("101:7", &[], Ok((101, 7, &[10, 50], "/srv")));
        check("web:wheel", &[], Ok((101, 10, &[10, 50], "/srv")));
        check("1000", &[], Ok((1000, 0, &[], "/")));
        check("1000:1000", &[], Ok((1000, 1000, &[], "/")));
        check("odd", &[], Ok((7, 7, &[], "/")));
        check("nobody", &[], Err("unable to find user nobody: no matching entries in passwd file"));
        check("web:none", &[], Err("unable to find group none: no matching entries in group file"));
        check("0", &[-1], Err("no group id: -1"));
    }

    #[test]
    fn links_of_an_image_lead_nowhere_else() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("etc")).unwrap();
        let link = |to: &str| {
            let _ = std::fs::remove_file(root.path().join("etc/passwd"));
            std::os::unix::fs::symlink(to, root.path().join("etc/passwd")).unwrap();
            find(root.path(), "root", &[]).map(|it| it.home)
        };
        assert!(link("/etc/../../etc/shadow").is_err());
        assert!(link("/proc/self/root/etc/passwd").is_err());
        std::fs::write(root.path().join("users"), "root:x:0:0:root:/inside:/bin/sh\n").unwrap();
        assert_eq!(link("/users").as_deref(), Ok("/inside"));
        assert_eq!(link("../../../users").as_deref(), Ok("/inside"));
    }
}
