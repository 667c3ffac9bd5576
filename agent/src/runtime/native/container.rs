//! A pod's container: its bundle made in a sandbox's folder, started, stopped and run commands in by the sandbox's shim.
//!
//! As with containerd, nothing runs before the start: a command that is not there fails it, and not the creation.

use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use nix::sys::signal::Signal;
use oci_spec::image::ImageConfiguration;
use oci_spec::runtime::LinuxSeccomp;
use orlop_client::clock;
use orlop_shim::cgroup::{self, Cgroup, Limits};
use orlop_shim::protocol::{Request, Response};
use orlop_shim::record::{self as shared, EXIT, OCI, SHIM, STARTED};
use serde_json::Value;

use super::line::{QUICK, ask};
use super::names::{ContainerName, SandboxName};
use super::record::{self, CONTAINER, Container, SANDBOX, Sandbox, failed};
use super::sandbox::{SHM, absent};
use super::shims::remove_cgroup;
use super::spec::resources::pod_cgroup;
use super::spec::{Place, Processes, Program};
use super::{Node, etc, identity, inside, machine, spec};
use crate::hosts;
use crate::runtime::{
    ContainerSpec, ExecOutput, Id, Processes as Wanted, Resources, RuntimeError, Seccomp, oom, unusable_profile,
};

/// The root file system's folder in a bundle.
const ROOTFS: &str = "rootfs";

/// How long a start may take: some hundredths of a second, or as long as a machine under load takes.
const START: Duration = Duration::from_secs(60);

/// Makes a container in a sandbox; one left by an interrupted attempt is made again.
pub async fn create(node: &Node, sandbox: &str, spec: &ContainerSpec) -> Result<Id, RuntimeError> {
    let not_found = || RuntimeError::NotFound(sandbox.to_owned());
    let of = SandboxName::parse(sandbox).ok_or_else(not_found)?;
    let holder: Sandbox = record::read(&of.folder(&node.pods), SANDBOX).ok_or_else(not_found)?;
    let name = ContainerName::new(&of, &spec.name, spec.attempt)
        .ok_or_else(|| RuntimeError::CreateContainer(format!("{:?} cannot be used in a path", spec.name)))?;
    let folder = name.folder(&node.pods);
    let runs = folder.join(STARTED).exists() && !folder.join(EXIT).exists();
    if runs && node.shims.pid(&of).is_some() {
        return Err(RuntimeError::CreateContainer(format!("Conflict. The container {name} runs already")));
    }
    clear(node, &name).await?;
    match make(node, &holder, &name, spec).await {
        Ok(()) => Ok(name.to_string()),
        Err(error) => {
            if let Err(left) = clear(node, &name).await {
                tracing::warn!(%left, container = %name, "a container that could not be made could not be removed");
            }
            Err(error)
        }
    }
}

async fn make(node: &Node, holder: &Sandbox, name: &ContainerName, spec: &ContainerSpec) -> Result<(), RuntimeError> {
    let (pod, folder) = (name.sandbox.folder(&node.pods), name.folder(&node.pods));
    let refused = RuntimeError::CreateContainer;
    let image = node.images.config(&spec.image).await?;
    let (program, image_user, stop_signal) = taken(&image);
    let rootfs = folder.join(ROOTFS);
    fs::create_dir_all(&rootfs).map_err(|it| failed(&rootfs, it))?;
    node.images.mount(&spec.image, &name.to_string(), &rootfs).await?;
    let user = spec.user.clone().or(image_user).unwrap_or_default();
    let who = identity::find(&rootfs, &user, &spec.supplementary_groups).map_err(refused)?;
    // The network is attached by now, so its addresses are known.
    let (addresses, first_process) = match ask(&pod, &Request::Ping, QUICK).await? {
        (Response::Pong { addresses, first_process, .. }, _) => (addresses, first_process),
        _ => (Vec::new(), None),
    };
    let processes = match &spec.processes {
        Wanted::Of(other) => Processes::With(running(node, other)?),
        _ if holder.host_pid => Processes::Host,
        Wanted::Pods => first_process.map_or(Processes::Own, Processes::With),
        Wanted::Own => Processes::Own,
    };
    if !spec.mounts.iter().any(|it| it.container_path == hosts::PATH) {
        etc::write_hosts(&pod, holder, &addresses)?;
    }
    let cgroups_path = format!("{}/{name}", pod_cgroup(&node.cgroup_root, &spec.pod.uid, spec.resources.oom_score_adj));
    let place = Place {
        hostname: holder.hostname.clone(),
        processes,
        shm: if holder.host_ipc { "/dev/shm".into() } else { pod.join(SHM) },
        etc: etc::files(&pod),
        cgroups_path: cgroups_path.clone(),
        unified: node.machine.unified,
        cgroups: node.machine.cgroups.clone(),
        swap_limit: node.machine.swap_limit,
        huge_pages: node.machine.huge_pages.clone(),
        capabilities: node.machine.capabilities.clone(),
        open_files: node.machine.open_files,
        oom_score_adj: oom::attainable(i64::from(spec.resources.oom_score_adj)),
        seccomp: profile(&spec.seccomp)?,
        devices: if spec.privileged { machine::devices() } else { Vec::new() },
    };
    let bundle = spec::build(spec, &program, &who, &place).map_err(refused)?;
    if let Some(limit) = spec.pids_limit {
        let pod = pod_cgroup(&node.cgroup_root, &spec.pod.uid, spec.resources.oom_score_adj);
        cgroup::limit_pids(&pod, limit)
            .map_err(|it| RuntimeError::CreateContainer(format!("the limit of the pod's processes: {it}")))?;
    }
    if let Some(it) = bundle["process"]["cwd"].as_str() {
        // As runc has it: a working directory that the image lacks is made. What is in its way the start will tell.
        let _ = inside::make_folder(&rootfs, it);
    }
    record::write(&folder, "config.json", &bundle)?;
    let config = shared::Container {
        id: name.to_string(),
        cgroups_path: cgroups_path.clone(),
        tty: spec.tty,
        stdin: spec.stdin,
        stdin_once: spec.stdin_once,
        log_max_bytes: node.limits.log_max_bytes,
        log_max_files: node.limits.log_max_files,
        filters: Some(node.filters.clone()),
    };
    record::write(&folder, SHIM, &config)?;
    let note = Container { image: spec.image.clone(), cgroups_path, stop_signal, created: clock::now() };
    record::write(&folder, CONTAINER, &note)
}

/// A seccomp profile from its file.
fn profile(asked: &Seccomp) -> Result<Option<Value>, RuntimeError> {
    let Seccomp::Profile(path) = asked else { return Ok(None) };
    let text = fs::read(path).map_err(|it| unusable_profile(path, it))?;
    let whole: LinuxSeccomp = serde_json::from_slice(&text).map_err(|it| unusable_profile(path, it))?;
    // Only what is understood goes on.
    serde_json::to_value(&whole).map(Some).map_err(|it| unusable_profile(path, it))
}

/// What of an image's configuration is of use here: the program, its user, the number of its stop signal.
fn taken(image: &ImageConfiguration) -> (Program, Option<String>, i32) {
    let Some(config) = image.config() else { return (Program::default(), None, Signal::SIGTERM as i32) };
    let list = |it: &Option<Vec<String>>| it.clone().unwrap_or_default();
    let program = Program {
        entrypoint: list(config.entrypoint()),
        command: list(config.cmd()),
        env: list(config.env()),
        working_dir: config.working_dir().clone().filter(|it| !it.is_empty()),
    };
    let user = config.user().clone().filter(|it| !it.is_empty());
    (program, user, config.stop_signal().as_deref().and_then(signal).unwrap_or(Signal::SIGTERM as i32))
}

/// A signal of an image's: `SIGQUIT`, `QUIT` or `3`; none if it is none.
fn signal(text: &str) -> Option<i32> {
    let named = || {
        let upper = text.to_ascii_uppercase();
        Signal::from_str(&format!("SIG{}", upper.trim_start_matches("SIG"))).ok().map(|it| it as i32)
    };
    text.parse::<i32>().ok().filter(|it| (1..=64).contains(it)).or_else(named)
}

/// The name in an id, if that container is here.
pub fn find(node: &Node, id: &str) -> Result<ContainerName, RuntimeError> {
    let name = ContainerName::parse(id).filter(|it| it.folder(&node.pods).join(CONTAINER).exists());
    name.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))
}

/// The first process of a container that runs.
fn running(node: &Node, id: &str) -> Result<i32, RuntimeError> {
    let name = find(node, id)?;
    let folder = name.folder(&node.pods);
    let started: Option<shared::Started> = record::read(&folder, STARTED);
    let alive = node.shims.pid(&name.sandbox).is_some() && !folder.join(EXIT).exists();
    let why = || RuntimeError::CreateContainer(format!("the container {id} does not run"));
    started.filter(|_| alive).map(|it| it.pid).ok_or_else(why)
}

/// Starts what was created; what runs already stays as it is.
pub async fn start(node: &Node, id: &str) -> Result<(), RuntimeError> {
    let name = find(node, id)?;
    let request = Request::Start { container: name.key() };
    ask(&name.sandbox.folder(&node.pods), &request, START).await.map(drop)
}

/// Sends the image's stop signal, and kills after `grace`.
pub async fn stop(node: &Node, id: &str, grace: Duration) -> Result<(), RuntimeError> {
    let Ok(name) = find(node, id) else { return Ok(()) };
    if node.shims.pid(&name.sandbox).is_none() || name.folder(&node.pods).join(EXIT).exists() {
        return Ok(());
    }
    let note: Option<Container> = record::read(&name.folder(&node.pods), CONTAINER);
    let signal = note.map_or(Signal::SIGTERM as i32, |it| it.stop_signal);
    let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Stop { container: name.key(), signal, grace_ms };
    let asked = ask(&name.sandbox.folder(&node.pods), &request, grace.saturating_add(QUICK)).await;
    match asked {
        // The shim has died meanwhile, and everything with it.
        Err(RuntimeError::Unavailable(_)) if node.shims.over(&name.sandbox, QUICK).await => Ok(()),
        other => other.map(drop),
    }
}

/// Gives a running container other limits, by its cgroups.
pub async fn update(node: &Node, id: &str, resources: &Resources) -> Result<(), RuntimeError> {
    running(node, id)?;
    let name = find(node, id)?;
    let note: Container =
        record::read(&name.folder(&node.pods), CONTAINER).ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    let limits = Limits {
        cpu_shares: Some(resources.cpu_shares).filter(|it| *it > 0),
        cpu_quota_us: resources.cpu_quota_us,
        memory_bytes: resources.memory_limit_bytes,
    };
    // The kernel may have much to put elsewhere before there is less.
    let set = tokio::task::spawn_blocking(move || Cgroup::find(&note.cgroups_path)?.limit(&limits)).await;
    set.map_err(|it| RuntimeError::Other(it.to_string()))?.map_err(|it| RuntimeError::Other(it.to_string()))
}

/// Removes a container, its log and all that was its.
pub async fn remove(node: &Node, id: &str) -> Result<(), RuntimeError> {
    let Some(name) = ContainerName::parse(id) else { return Ok(()) };
    stop(node, id, Duration::ZERO).await?;
    clear(node, &name).await?;
    node.shims.feed.pod_changed(&name.sandbox.uid);
    Ok(())
}

/// Takes away what there is of a container that does not run.
pub async fn clear(node: &Node, name: &ContainerName) -> Result<(), RuntimeError> {
    let folder = name.folder(&node.pods);
    if !folder.exists() {
        return Ok(());
    }
    let config: Option<shared::Container> = record::read(&folder, SHIM);
    if let Some(it) = config {
        remove_cgroup(&it.cgroups_path).await?;
    }
    node.images.unmount(&name.to_string(), &folder.join(ROOTFS)).await?;
    let state = name.sandbox.folder(&node.pods).join(OCI).join(name.to_string());
    fs::remove_dir_all(&state).or_else(absent).map_err(|it| failed(&state, it))?;
    // The mount's place goes first and alone: a root that is still mounted is not emptied by mistake.
    let rootfs = folder.join(ROOTFS);
    fs::remove_dir(&rootfs).or_else(absent).map_err(|it| failed(&rootfs, it))?;
    forget(&folder).map_err(|it| failed(&folder, it))
}

/// Removes a container's folder. Its note goes first, so that a death in between leaves no container, and its start before its end, so that it
/// never looks as if it ran.
fn forget(folder: &Path) -> io::Result<()> {
    for it in [CONTAINER, STARTED] {
        fs::remove_file(folder.join(it)).or_else(absent)?;
    }
    fs::remove_dir_all(folder).or_else(absent)
}

/// Runs a command in a container. When the time is up, the command is killed; so it is when nobody waits for it any more.
pub async fn exec(
    node: &Node,
    id: &str,
    command: &[String],
    timeout: Duration,
    limit_bytes: usize,
) -> Result<ExecOutput, RuntimeError> {
    let name = find(node, id)?;
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let request = Request::Exec { container: name.key(), command: command.to_vec(), timeout_ms, limit_bytes };
    match ask(&name.sandbox.folder(&node.pods), &request, timeout.saturating_add(QUICK)).await {
        Ok((Response::Executed { exit_code }, output)) => Ok(ExecOutput { exit_code, output }),
        Ok((other, _)) => Err(RuntimeError::Other(format!("the shim answers {other:?}"))),
        Err(RuntimeError::Timeout(_)) => {
            let text = format!("command {:?} timed out after {} s", command.join(" "), timeout.as_secs_f32());
            Err(RuntimeError::Timeout(text))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stop_signals_are_read_as_images_write_them() {
        let check = |text: &str, expected: Option<i32>| assert_eq!(signal(text), expected, "{text}");
        check("SIGQUIT", Some(3));
        check("quit", Some(3));
        check("15", Some(15));
        check("37", Some(37));
        check("0", None);
        check("SIGNOTHING", None);
    }
}
