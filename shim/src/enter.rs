//! The helper that runs a command in a container that runs already: joins its cgroups and namespaces, takes on its user, capabilities and
//! system call filter, starts the command and ends.
//!
//! libcontainer's own way drops the filter of the container's bundle for such a command, and takes a second fork; so this is ours. The helper
//! changes itself and then makes a child as any program does, which inherits all of it.

use std::fs::File;
use std::io::{self, ErrorKind, IoSlice, stderr, stdout};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sched::{CloneFlags, setns};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{Gid, Uid, fchown, setgroups, setresgid, setresuid};
use oci_spec::runtime::{LinuxNamespaceType, PosixRlimitType, Process, Spec};

use pty_process::blocking::Pts;
use rustix::fs::FileType;

use crate::cgroup::Cgroup;
use crate::confinement::Confinement;
use crate::record::{self, CONTAINERS, SHIM};

/// What stands for a terminal of the container's, which is to be the command's streams, in the place of its input's path.
pub const TERMINAL: &str = "terminal";

/// Starts a command in a container of the pod whose folder is the working directory; `init` is the container's first process. The command's
/// input is the file `input`, its outputs are the helper's; or all are a new [`TERMINAL`], whose master is sent to the socket that is the helper's
/// output.
///
/// # Errors
/// In words.
pub fn enter(container: &str, init: i32, input: &str, command: &[String]) -> Result<i32, String> {
    let folder = Path::new(CONTAINERS).join(container);
    let config: record::Container = record::read(&folder, SHIM)
        .map_err(|it| format!("{SHIM}: {it}"))?
        .ok_or_else(|| format!("no container {container:?}"))?;
    let spec = Spec::load(folder.join("config.json")).map_err(|it| format!("the bundle: {it}"))?;
    let process = spec.process().as_ref().ok_or("the bundle has no process")?;
    let (program, arguments) = command.split_first().ok_or("no command")?;
    let confinement = Confinement::of(&spec, config.filters.as_deref())?;

    // While the machine's files are still in sight.
    let score = process.oom_score_adj().unwrap_or(0);
    std::fs::write("/proc/self/oom_score_adj", score.to_string()).map_err(|it| format!("the OOM score: {it}"))?;
    let cgroup = Cgroup::find(&config.cgroups_path).map_err(|it| format!("cgroups: {it}"))?;
    for door in cgroup.doors() {
        std::fs::write(&door, std::process::id().to_string()).map_err(|it| format!("{}: {it}", door.display()))?;
    }
    for it in process.rlimits().iter().flatten().filter(|it| it.typ() == PosixRlimitType::RlimitNofile) {
        setrlimit(Resource::RLIMIT_NOFILE, it.soft(), it.hard())
            .map_err(|it| format!("the limit of open files: {it}"))?;
    }
    let input = match input {
        TERMINAL => None,
        path => Some(File::open(path).map_err(|it| format!("the input: {it}"))?),
    };
    for it in [input.as_ref().map(AsFd::as_fd), Some(stdout().as_fd()), Some(stderr().as_fd())].into_iter().flatten() {
        // As runc has it: `/dev/stdout` is opened anew by programs, which only a pipe's owner may.
        if FileType::from_raw_mode(rustix::fs::fstat(it).map_err(|it| it.to_string())?.st_mode) == FileType::Fifo {
            fchown(it, Some(Uid::from_raw(process.user().uid())), None)
                .map_err(|it| format!("a pipe's owner: {it}"))?;
        }
    }
    join(&spec, init)?;
    // From here on nothing of the machine's is reached by a path.
    become_user(process, &confinement).map_err(|it| format!("becoming the container's user: {it}"))?;

    let variables = process.env().iter().flatten().filter_map(|it| it.split_once('='));
    let mut child = Command::new(program);
    child.args(arguments).env_clear().envs(variables).current_dir(process.cwd());
    let spawned = match input {
        Some(it) => child.process_group(0).stdin(it).spawn(),
        None => {
            let terminal = terminal().map_err(|it| format!("a terminal: {it}"))?;
            pty_process::blocking::Command::from(child).spawn(terminal).map_err(plain)
        }
    };
    let spawned = spawned.map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("exec: {program:?}: executable file not found in $PATH"),
        _ => format!("exec: {program:?}: {error}"),
    })?;
    i32::try_from(spawned.id()).map_err(|it| it.to_string())
}

/// Opens a terminal of the container's, sends its master to the agent and keeps the other side. It is opened by the container's user, whose it is
/// therefore, and in the container, so that its name is one there.
fn terminal() -> io::Result<Pts> {
    let (master, side) = pty_process::blocking::open().map_err(plain)?;
    let rights = [master.as_raw_fd()];
    let (bytes, message) = ([IoSlice::new(b"t")], [ControlMessage::ScmRights(&rights)]);
    sendmsg::<()>(stdout().as_raw_fd(), &bytes, &message, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT, None)?;
    Ok(side)
}

fn plain(error: pty_process::Error) -> io::Error {
    match error {
        pty_process::Error::Io(it) => it,
        pty_process::Error::Rustix(it) => it.into(),
    }
}

/// Enters the namespaces that the container has of its own; the shim's, which it shares, the helper was born in.
fn join(spec: &Spec, init: i32) -> Result<(), String> {
    let listed = spec.linux().as_ref().and_then(|it| it.namespaces().as_ref()).into_iter().flatten();
    let mut namespaces = Vec::new();
    for it in listed {
        let (name, flag) = match it.typ() {
            LinuxNamespaceType::Cgroup => ("cgroup", CloneFlags::CLONE_NEWCGROUP),
            LinuxNamespaceType::Pid => ("pid", CloneFlags::CLONE_NEWPID),
            LinuxNamespaceType::Mount => ("mnt", CloneFlags::CLONE_NEWNS),
            _ => continue,
        };
        let path = format!("/proc/{init}/ns/{name}");
        let file = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
        namespaces.push((name, flag, file));
    }
    // The mounts last: the paths above are the machine's.
    namespaces.sort_by_key(|(_, flag, _)| *flag == CloneFlags::CLONE_NEWNS);
    for (name, flag, file) in namespaces {
        setns(file, flag).map_err(|error| format!("entering the container's {name} namespace: {error}"))?;
    }
    Ok(())
}

/// As the container's first process became it.
fn become_user(process: &Process, confinement: &Confinement) -> Result<(), String> {
    let words = |it: nix::Error| it.to_string();
    // Whoever shares the user must not look into this process, which has the machine's program.
    prctl::set_dumpable(false).map_err(words)?;
    let user = process.user();
    let groups: Vec<Gid> = user.additional_gids().iter().flatten().map(|it| Gid::from_raw(*it)).collect();
    setgroups(&groups).map_err(words)?;
    let (uid, gid) = (Uid::from_raw(user.uid()), Gid::from_raw(user.gid()));
    setresgid(gid, gid, gid).map_err(words)?;
    prctl::set_keepcaps(true).map_err(words)?;
    setresuid(uid, uid, uid).map_err(words)?;
    if process.no_new_privileges().unwrap_or(false) {
        prctl::set_no_new_privs().map_err(words)?;
    }
    confinement.take_on()
}
