//! The helper that makes a container of an OCI bundle and starts it: libcontainer's create and start, in one process that ends.

use std::error::Error;
use std::fs::File;
use std::path::{Path, PathBuf};

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use oci_spec::runtime::Spec;

use crate::complaints::Complaints;
use crate::confinement::{self, Confinement};
use crate::handing_on;
use crate::record::{self, CONTAINERS, OCI, SHIM};
use crate::workload::Workload;

/// The console's socket in a container's folder, over which libcontainer hands out the terminal.
pub const CONSOLE: &str = "console.sock";

/// The bundle's configuration.
const BUNDLE: &str = "config.json";

/// The folder in a container's for what libcontainer is to do of its bundle, while it reads it.
const REST: &str = "rest";

/// Runs a container of the pod whose folder is the working directory. `stdin` is what it reads.
///
/// # Errors
/// In libcontainer's words.
pub fn run(container: &str, stdin: &str) -> Result<i32, String> {
    let pod = std::env::current_dir().map_err(|it| it.to_string())?;
    let folder = pod.join(CONTAINERS).join(container);
    let config: record::Container = record::read(&folder, SHIM)
        .map_err(|it| format!("{SHIM}: {it}"))?
        .ok_or_else(|| format!("no container {container:?}"))?;
    let complaints = Complaints::hear().map_err(|it| it.to_string())?;
    create(&pod.join(OCI), &folder, &config, stdin).map_err(|error| {
        let stage = chain(error.as_ref());
        complaints.first().map_or(stage.clone(), |cause| format!("{cause} ({stage})"))
    })
}

fn create(root: &Path, folder: &Path, config: &record::Container, stdin: &str) -> Result<i32, Box<dyn Error>> {
    let bundle = Spec::load(folder.join(BUNDLE))?;
    let confinement = Confinement::of(&bundle, config.filters.as_deref())?.of_first();
    let handed_on = handing_on::wanted(&bundle);
    let rest = folder.join(REST);
    std::fs::create_dir_all(&rest)?;
    confinement::remainder(bundle, folder)?.save(rest.join(BUNDLE))?;
    std::fs::create_dir_all(root)?;
    let left = root.join(&config.id);
    if left.exists() {
        // Of a start that was interrupted; nothing of it runs, or the agent would have killed it.
        std::fs::remove_dir_all(left)?;
    }
    let mut builder = ContainerBuilder::new(config.id.clone(), SyscallType::default())
        .with_executor(Workload { confinement })
        .validate_id()?
        .with_root_path(root)?;
    if config.tty {
        builder = builder.with_console_socket(Some(PathBuf::from(folder).join(CONSOLE)));
    } else {
        builder = builder.with_stdin(File::open(stdin)?);
    }
    let mut container = builder.as_init(&rest).with_systemd(false).with_detach(true).build()?;
    let pid = container.pid().ok_or("libcontainer started no process")?.as_raw();
    if let Err(why) = handing_on::set(&handed_on, pid) {
        // Perhaps from within the container's namespace, where nothing else can be done any more: the agent finds what is left by its cgroup.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        return Err(why.into());
    }
    // It was read once, above. What stays goes with the container's folder.
    let _ = std::fs::remove_dir_all(&rest);
    if let Err(error) = container.start() {
        // The caller hears of the first mistake.
        let _ = container.delete(true);
        return Err(error.into());
    }
    Ok(pid)
}

/// An error and what caused it, each said once.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(it) = next {
        let words = it.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = it.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_said_once() {
        let inner = std::io::Error::other("no such file");
        let outer = std::io::Error::other(inner);
        assert_eq!(chain(&outer), "no such file");
    }
}
