//! Containers' cgroups, found under one path in every hierarchy of this machine, version 1 or 2.
//!
//! libcontainer makes them; this is what has to work when libcontainer's state, or the shim, is gone: who is in them, kill those, how often
//! the kernel killed for want of memory, remove them. Paths are those of the OCI bundle, from a hierarchy's mount point.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How deep below a container's cgroup its own are looked for; a container may make some if it is given the file system.
const DEPTH_MAX: usize = 16;

/// Passes of one [`Cgroup::kill`]: what forks while it is being killed is met again.
const PASSES: usize = 8;

/// How often [`Cgroup::hold`] looks whether all stand still: each look gives way to others, so that this is some seconds on a busy machine.
const HOLD_LOOKS: usize = 100_000;

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    /// The cgroup that is mounted there: not the root where this process sees only a part.
    root: String,
    /// The unified hierarchy of version 2, or else that of these controllers.
    unified: bool,
    controllers: Vec<String>,
}

/// What a cgroup may use; none leaves what holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// As version 1 counts: 1024 a core.
    pub cpu_shares: Option<u64>,
    /// CPU time in a period of [`CPU_PERIOD_US`].
    pub cpu_quota_us: Option<i64>,
    pub memory_bytes: Option<i64>,
}

/// The period that a quota counts in, in microseconds.
pub const CPU_PERIOD_US: u64 = 100_000;

/// The cgroups of one path.
#[derive(Clone, Debug)]
pub struct Cgroup {
    folders: Vec<(Hierarchy, PathBuf)>,
}

/// Whether the machine has version 2 alone, so that its controllers are there.
pub fn is_unified() -> bool {
    hierarchies().is_ok_and(|it| !it.is_empty() && it.iter().all(|it| it.unified))
}

/// Where the hierarchies of version 1 that have controllers are mounted; none where the machine has version 2 alone.
pub fn mounts_of_version_1() -> Vec<PathBuf> {
    hierarchies().into_iter().flatten().filter(|it| !it.unified).map(|it| it.mount).collect()
}

/// Lets no more than so many processes and threads be in a cgroup and below it; makes it where it is not there. Where the machine has no such controller
/// nothing is limited.
///
/// # Errors
/// The kernel refuses, or the path is everybody's.
pub fn limit_pids(path: &str, limit: u64) -> io::Result<()> {
    let relative = path.trim_start_matches('/');
    if relative.is_empty() || relative.split('/').any(|it| it == "..") {
        return Err(io::Error::other(format!("{path:?} is no cgroup of a pod")));
    }
    let counting = |it: &Hierarchy| it.unified || it.controllers.iter().any(|it| it == "pids");
    let all = hierarchies()?;
    // Beside version 1 the controllers are there, and version 2 has none.
    let alone = all.iter().all(|it| it.unified);
    for it in all.into_iter().filter(counting).filter(|it| alone || !it.unified) {
        let mut folder = it.mount.clone();
        for part in relative.split('/') {
            if it.unified {
                // Each has what the one above it hands down.
                fs::write(folder.join("cgroup.subtree_control"), "+pids")?;
            }
            folder.push(part);
            fs::create_dir_all(&folder)?;
        }
        fs::write(folder.join("pids.max"), limit.to_string())?;
    }
    Ok(())
}

/// Read once: a node with many pods has a thousand mounts, and the hierarchies' own stay where they are.
fn hierarchies() -> io::Result<Vec<Hierarchy>> {
    static KNOWN: OnceLock<Vec<Hierarchy>> = OnceLock::new();
    if let Some(it) = KNOWN.get() {
        return Ok(it.clone());
    }
    let found = parse(&fs::read_to_string("/proc/self/mountinfo")?);
    Ok(if found.is_empty() { found } else { KNOWN.get_or_init(|| found).clone() })
}

/// The hierarchies in `/proc/<pid>/mountinfo`; of those mounted twice the first.
fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        let mut source = source.split(' ');
        let (kind, options) = (source.next().unwrap_or_default(), source.nth(1).unwrap_or_default());
        let mut fields = mount.split(' ').skip(3);
        let (Some(root), Some(at)) = (fields.next(), fields.next()) else { continue };
        // The only escape that a path of a cgroup's mount is likely to have.
        let mount = PathBuf::from(at.replace("\\040", " "));
        let unified = match kind {
            "cgroup2" => true,
            "cgroup" => false,
            _ => continue,
        };
        let controllers: Vec<String> = options
            .split(',')
            .filter(|it| !unified && !["rw", "ro", "xattr"].contains(it))
            .map(str::to_owned)
            .collect();
        let named = controllers.iter().any(|it| it.starts_with("name="));
        let known = found.iter().any(|it| it.unified == unified && it.controllers == controllers);
        if !named && !known {
            found.push(Hierarchy { mount, root: root.to_owned(), unified, controllers });
        }
    }
    found
}

impl Cgroup {
    /// Those that exist under a path.
    ///
    /// # Errors
    /// The mounts cannot be read.
    pub fn find(path: &str) -> io::Result<Self> {
        let relative = path.trim_start_matches('/');
        let at = |it: Hierarchy| {
            let folder = it.mount.join(relative);
            (it, folder)
        };
        // An empty path would be everybody's.
        let hierarchies =
            if relative.is_empty() || relative.split('/').any(|it| it == "..") { Vec::new() } else { hierarchies()? };
        Ok(Self { folders: hierarchies.into_iter().map(at).filter(|(_, it)| it.is_dir()).collect() })
    }

    /// Those that a process is in.
    ///
    /// # Errors
    /// It has ended, or the mounts cannot be read.
    pub fn of_process(pid: u32) -> io::Result<Self> {
        let lines = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        Ok(Self { folders: hierarchies()?.into_iter().filter_map(|it| place(it, &lines)).collect() })
    }

    /// The file of a controller, by its names in version 1 and 2, and whether it is version 2's; none where it is not there.
    pub fn read(&self, controller: &str, name_1: &str, name_2: &str) -> Option<(String, bool)> {
        let has = |it: &&(Hierarchy, PathBuf)| it.0.controllers.iter().any(|it| it == controller);
        let of = |it: &(Hierarchy, PathBuf), name: &str| fs::read_to_string(it.1.join(name)).ok();
        if let Some(text) = self.folders.iter().find(has).and_then(|it| of(it, name_1)) {
            return Some((text, false));
        }
        let unified = self.folders.iter().find(|(it, _)| it.unified)?;
        of(unified, name_2).map(|it| (it, true))
    }

    /// The file of each cgroup that a process is put in by writing its id.
    pub fn doors(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.folders.iter().map(|(_, it)| it.join("cgroup.procs"))
    }

    /// Who is in one of them or below.
    pub fn processes(&self) -> BTreeSet<i32> {
        let mut found = BTreeSet::new();
        for (_, folder) in &self.folders {
            for it in tree(folder, DEPTH_MAX) {
                let text = fs::read_to_string(it.join("cgroup.procs")).unwrap_or_default();
                found.extend(text.lines().filter_map(|it| it.parse::<i32>().ok()).filter(|it| *it > 0));
            }
        }
        found
    }

    /// Kills everybody, and tells whether nobody is left. Who dies slowly may be there still: ask again a little later.
    pub fn kill(&self) -> bool {
        self.freeze("FROZEN");
        for _ in 0..PASSES {
            for (hierarchy, folder) in self.folders.iter().filter(|(it, _)| it.unified) {
                // Since Linux 5.14; what has no such file is killed one by one.
                let _ = fs::write(folder.join("cgroup.kill"), "1").map_err(|_| hierarchy);
            }
            let left = self.processes();
            if left.is_empty() {
                break;
            }
            for it in left {
                // Gone meanwhile is what is wanted.
                let _ = kill(Pid::from_raw(it), Signal::SIGKILL);
            }
            self.freeze("THAWED");
        }
        self.freeze("THAWED");
        self.processes().is_empty()
    }

    /// Stops or continues all at once, so that none forks while it is looked at. Version 2 has `cgroup.kill` instead.
    fn freeze(&self, state: &str) {
        for (_, folder) in self.folders.iter().filter(|(it, _)| it.controllers.iter().any(|it| it == "freezer")) {
            let _ = fs::write(folder.join("freezer.state"), state);
        }
    }

    /// Holds all of them still, or lets them go on, in both versions; waits until they stand.
    ///
    /// # Errors
    /// The kernel refuses, or somebody moves yet after a while: a process in an uninterruptible wait.
    pub fn hold(&self, still: bool) -> io::Result<()> {
        for (hierarchy, folder) in &self.folders {
            let (file, on, off) = match hierarchy {
                it if it.unified => ("cgroup.freeze", "1", "0"),
                it if it.controllers.iter().any(|it| it == "freezer") => ("freezer.state", "FROZEN", "THAWED"),
                _ => continue,
            };
            let file = folder.join(file);
            if !file.exists() {
                continue;
            }
            fs::write(&file, if still { on } else { off })?;
            let mut looks = 0;
            while still && !hierarchy.unified && fs::read_to_string(&file)?.trim() != on {
                looks += 1;
                if looks > HOLD_LOOKS {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("{}: somebody moves yet", file.display()),
                    ));
                }
                // The kernel goes through the processes again when it is asked.
                fs::write(&file, on)?;
                std::thread::yield_now();
            }
        }
        Ok(())
    }

    /// Sets other limits, in either version.
    ///
    /// # Errors
    /// More memory is in use than there would be, or the kernel refuses.
    pub fn limit(&self, limits: &Limits) -> io::Result<()> {
        for (hierarchy, folder) in &self.folders {
            let set = |file: &str, value: String| {
                let path = folder.join(file);
                fs::write(&path, value).map_err(|it| io::Error::new(it.kind(), format!("{}: {it}", path.display())))
            };
            let has = |it: &str| hierarchy.controllers.iter().any(|own| own == it);
            if let Some(bytes) = limits.memory_bytes.filter(|_| hierarchy.unified || has("memory")) {
                let file = if hierarchy.unified { "memory.current" } else { "memory.usage_in_bytes" };
                let used = fs::read_to_string(folder.join(file)).ok().and_then(|it| it.trim().parse::<i64>().ok());
                if let Some(used) = used.filter(|used| *used > bytes) {
                    // Version 2 would kill for it.
                    let why = format!("attempting to set memory limit ({bytes}) below current usage ({used})");
                    return Err(io::Error::other(why));
                }
            }
            if hierarchy.unified {
                if let Some(it) = limits.cpu_shares {
                    set("cpu.weight", weight(it).to_string())?;
                }
                if let Some(it) = limits.cpu_quota_us {
                    set("cpu.max", format!("{it} {CPU_PERIOD_US}"))?;
                }
                if let Some(it) = limits.memory_bytes {
                    set("memory.max", it.to_string())?;
                }
                continue;
            }
            if has("cpu") {
                if let Some(it) = limits.cpu_shares {
                    set("cpu.shares", it.to_string())?;
                }
                if let Some(it) = limits.cpu_quota_us {
                    set("cpu.cfs_period_us", CPU_PERIOD_US.to_string())?;
                    set("cpu.cfs_quota_us", it.to_string())?;
                }
            }
            if let Some(it) = limits.memory_bytes.filter(|_| has("memory")) {
                let (memory, both) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
                let counts_swap = folder.join(both).exists();
                // Memory may never have more than both together: what rises first depends on the way.
                let lower = set(memory, it.to_string());
                if counts_swap {
                    set(both, it.to_string())?;
                }
                if lower.is_err() {
                    set(memory, it.to_string())?;
                }
            }
        }
        Ok(())
    }

    /// How many processes the kernel has killed here for want of memory.
    pub fn oom_kills(&self) -> u64 {
        let count = |(hierarchy, folder): &(Hierarchy, PathBuf)| {
            let name = if hierarchy.unified { "memory.events" } else { "memory.oom_control" };
            oom_kills(&fs::read_to_string(folder.join(name)).unwrap_or_default())
        };
        self.folders.iter().map(count).max().unwrap_or_default()
    }

    /// Removes them and what was made below them. Nobody may be in them any more.
    ///
    /// # Errors
    /// The kernel's: somebody is in there still.
    pub fn remove(&self) -> io::Result<()> {
        for (_, folder) in &self.folders {
            for it in tree(folder, DEPTH_MAX).into_iter().rev() {
                match fs::remove_dir(&it) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Version 2's weight for version 1's shares, as OCI runtimes count.
fn weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// The folder of a hierarchy in which a process is, by the lines of `/proc/<pid>/cgroup`: `4:memory:/a`, `0::/a`.
fn place(hierarchy: Hierarchy, lines: &str) -> Option<(Hierarchy, PathBuf)> {
    let path = lines.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let same = match hierarchy.unified {
            true => controllers.is_empty(),
            false => controllers.split(',').any(|it| hierarchy.controllers.iter().any(|own| own == it)),
        };
        same.then_some(path)
    })?;
    let below = if hierarchy.root == "/" { path } else { path.strip_prefix(hierarchy.root.as_str()).unwrap_or(path) };
    if below.split('/').any(|it| it == "..") {
        return None;
    }
    let folder = hierarchy.mount.join(below.trim_start_matches('/'));
    Some((hierarchy, folder))
}

/// A folder and those below it, each after the one it is in.
fn tree(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    if depth > 0 {
        for it in fs::read_dir(folder).into_iter().flatten().flatten() {
            if it.file_type().is_ok_and(|it| it.is_dir()) {
                found.extend(tree(&it.path(), depth - 1));
            }
        }
    }
    found
}

fn oom_kills(text: &str) -> u64 {
    text.lines().find_map(|it| it.strip_prefix("oom_kill ")).and_then(|it| it.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_found_in_the_mounts() {
        let text = "\
31 28 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct
33 31 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup none rw,memory
34 31 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
35 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
36 31 0:28 / /other/memory rw,relatime - cgroup none rw,memory
";
        let found: Vec<_> =
            parse(text).into_iter().map(|it| (it.mount, it.unified, it.controllers.join(","))).collect();
        let expected = [
            ("/sys/fs/cgroup/cpu,cpuacct", false, "cpu,cpuacct"),
            ("/sys/fs/cgroup/memory", false, "memory"),
            ("/sys/fs/cgroup/unified", true, ""),
        ];
        assert_eq!(found, expected.map(|(mount, unified, it)| (PathBuf::from(mount), unified, it.to_owned())));
    }

    #[test]
    fn a_process_is_where_the_kernel_says() {
        let mounts = "\
33 31 0:28 / /cg/memory rw - cgroup none rw,memory
34 31 0:29 /docker/abc /cg/cpu,cpuacct rw - cgroup none rw,cpu,cpuacct
36 31 0:30 / /cg/unified rw - cgroup2 cgroup2 rw
";
        let lines = "9:name=systemd:/x\n4:memory:/kubepods/podu/c\n2:cpuacct,cpu:/docker/abc/kubepods\n0::/v2\n";
        let check = |lines: &str, expected: &[&str]| {
            let found: Vec<_> = parse(mounts).into_iter().filter_map(|it| place(it, lines)).map(|it| it.1).collect();
            assert_eq!(found, expected.iter().map(PathBuf::from).collect::<Vec<_>>(), "{lines}");
        };
        check(lines, &["/cg/memory/kubepods/podu/c", "/cg/cpu,cpuacct/kubepods", "/cg/unified/v2"]);
        check("0::/../elsewhere\n", &[]);
    }

    #[test]
    fn the_kernels_kills_are_counted_in_both_versions() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"), 3);
        assert_eq!(oom_kills("low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_kills(""), 0);
    }

    #[test]
    fn shares_are_weights() {
        assert_eq!([2, 102, 1024, 262_144].map(weight), [1, 4, 39, 10_000]);
    }

    #[test]
    fn no_path_leads_to_everybody() {
        for path in ["", "/", "/a/../.."] {
            assert!(Cgroup::find(path).unwrap().folders.is_empty(), "{path:?}");
            assert!(limit_pids(path, 1).is_err(), "{path:?}");
        }
    }
}
