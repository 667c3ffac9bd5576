//! What a pod's containers share: the shim enters namespaces of its own and stays in them, and its containers are born there.

use std::fs;
use std::os::unix::fs::OpenOptionsExt;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{sethostname, setsid};

use crate::reaper::Reaper;
use crate::record::Sandbox;

/// Makes the calling process the sandbox. It must have one thread. Gives the first process of the containers' PID namespace, where they share one.
///
/// # Errors
/// In words: which part the kernel refused.
pub fn set_up(config: &Sandbox) -> Result<Option<Reaper>, String> {
    let failed = |what: &str, error: nix::Error| format!("{what}: {error}");
    // Of a session of its own, so that no terminal and no signal to the agent's group reaches it.
    setsid().map_err(|it| failed("a session", it))?;
    prctl::set_child_subreaper(true).map_err(|it| failed("becoming the subreaper", it))?;
    umask(Mode::from_bits_truncate(0o022));
    // What containers inherit until their own score is set; a machine may forbid to lower it, which costs no more than the pod itself.
    let _ = fs::write("/proc/self/oom_score_adj", config.oom_score_adj.to_string());
    let mut own = CloneFlags::empty();
    own.set(CloneFlags::CLONE_NEWNET, !config.host_network);
    own.set(CloneFlags::CLONE_NEWIPC, !config.host_ipc);
    own.set(CloneFlags::CLONE_NEWUTS, config.hostname.is_some());
    unshare(own).map_err(|it| failed("namespaces", it))?;
    if let Some(it) = &config.hostname {
        sethostname(it).map_err(|error| failed(&format!("the host name {it:?}"), error))?;
    }
    for (name, value) in &config.sysctls {
        set_sysctl(name, value)?;
    }
    config.share_processes.then(Reaper::spawn).transpose()
}

/// Dots part a name; where it has slashes, those do, and a dot is a dot (an interface's name may have one), as in sysctl(8).
fn set_sysctl(name: &str, value: &str) -> Result<(), String> {
    let path = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    if path.split('/').any(|it| it.is_empty() || it == "." || it == "..") {
        return Err(format!("sysctl {name:?}: no such name"));
    }
    // Never made where it does not exist, whatever lies under the path.
    let file = fs::OpenOptions::new().write(true).custom_flags(libc::O_CLOEXEC).open(format!("/proc/sys/{path}"));
    let written = file.and_then(|mut it| std::io::Write::write_all(&mut it, value.as_bytes()));
    written.map_err(|it| format!("sysctl {name:?} = {value:?}: {it}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_tree() {
        for name in ["a/../../sysrq-trigger", "", "a..b", "/etc/passwd"] {
            assert!(set_sysctl(name, "b").unwrap_err().contains("no such name"), "{name:?}");
        }
        assert!(set_sysctl("kernel.no_such_thing", "1").unwrap_err().contains("No such file"));
    }
}
