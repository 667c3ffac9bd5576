//! A pod's sandbox: a folder, a shim that holds the namespaces, a `/dev/shm` that the containers share.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use orlop_client::clock;
use orlop_shim::cgroup::Cgroup;
use orlop_shim::protocol::Request;
use orlop_shim::record::{self as shared, CONTAINERS, SHIM};

use super::line::ask;
use super::names::{ContainerName, SandboxName};
use super::record::{self, SANDBOX, Sandbox, failed};
use super::shims::settle;
use super::spec::resources::pod_cgroups;
use super::{Node, container, etc};
use crate::runtime::{RuntimeError, SandboxSpec, SandboxState, oom};

/// As the kubelet gives it: a sandbox is the last thing to kill when memory is short, for its pod would go with it.
const OOM_SCORE_ADJ: i64 = -998;

/// The handlers of RuntimeClasses that are this runtime: its own name, and that by which most classes name the plain one.
const HANDLERS: [&str; 3] = ["", "native", "runc"];

/// `/dev/shm`: 64 MiB, Docker's and containerd's own default.
const SHM_OPTIONS: &str = "mode=1777,size=65536k";
/// Its folder in the sandbox's.
pub const SHM: &str = "shm";

/// How long a shim may take to kill its containers and end, which limits itself to ten seconds.
const SHUTDOWN: Duration = Duration::from_secs(15);
/// How long a shim that was killed takes to be put to rest.
const BURIAL: Duration = Duration::from_secs(15);

/// Makes and starts a sandbox, or finds it running.
pub async fn run(node: &Node, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError> {
    let unusable = || RuntimeError::CreateContainer(format!("pod uid {:?} cannot be used in a path", spec.pod.uid));
    let name = SandboxName::new(&spec.pod.uid, spec.attempt).ok_or_else(unusable)?;
    let folder = name.folder(&node.pods);
    if let Some(pid) = node.shims.pid(&name)
        && let Some(it) = record::read::<Sandbox>(&folder, SANDBOX)
    {
        return Ok(state(&name, it, Some(pid)));
    }
    // Left by a death before its start, or ended since: its namespaces are gone, so it is of no use.
    remove(node, &name.to_string()).await?;
    match make(node, &name, spec).await {
        Ok(it) => Ok(it),
        Err(error) => {
            if let Err(left) = remove(node, &name.to_string()).await {
                tracing::warn!(%left, sandbox = %name, "a sandbox that could not be made could not be removed");
            }
            Err(error)
        }
    }
}

async fn make(node: &Node, name: &SandboxName, spec: &SandboxSpec) -> Result<SandboxState, RuntimeError> {
    if !HANDLERS.contains(&spec.handler.as_str()) {
        // As containerd has it.
        let why = format!("failed to get sandbox runtime: no runtime for {:?} is configured", spec.handler);
        return Err(RuntimeError::CreateContainer(why));
    }
    let folder = name.folder(&node.pods);
    let containers = folder.join(CONTAINERS);
    fs::create_dir_all(&containers).map_err(|it| failed(&containers, it))?;
    let sandbox = Sandbox {
        pod: (&spec.pod).into(),
        hostname: spec.hostname.clone(),
        host_network: spec.host_network,
        host_pid: spec.host_pid,
        host_ipc: spec.host_ipc,
        share_processes: spec.share_processes,
        created: clock::now(),
    };
    record::write(&folder, SANDBOX, &sandbox)?;
    etc::write(&folder, spec)?;
    if !spec.host_ipc {
        mount_shm(&folder.join(SHM))?;
    }
    let config = shared::Sandbox {
        // On the host's network the host's name holds.
        hostname: (!spec.host_network).then(|| spec.hostname.clone()),
        host_network: spec.host_network,
        host_ipc: spec.host_ipc,
        share_processes: spec.share_processes && !spec.host_pid,
        sysctls: spec.sysctls.clone(),
        oom_score_adj: i32::try_from(oom::attainable(OOM_SCORE_ADJ)).unwrap_or_default(),
        fenced: spec.fenced,
    };
    record::write(&folder, SHIM, &config)?;
    node.program.start(&folder).await?;
    let pid = node.shims.adopt(name).await.map_err(|it| failed(&folder, it))?;
    fence(node, &folder).await?;
    node.shims.feed.pod_changed(&name.uid);
    Ok(state(name, sandbox, Some(pid)))
}

/// Has a shim heed the last contact with the API server, where its pod may be started elsewhere.
pub async fn fence(node: &Node, folder: &Path) -> Result<(), RuntimeError> {
    let config: Option<shared::Sandbox> = record::read(folder, SHIM);
    if config.is_some_and(|it| it.fenced) {
        node.contact.hand_to(folder).await.map_err(|it| failed(folder, it))?;
    }
    Ok(())
}

fn mount_shm(at: &Path) -> Result<(), RuntimeError> {
    fs::create_dir_all(at).map_err(|it| failed(at, it))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("shm"), at, Some("tmpfs"), flags, Some(SHM_OPTIONS)).map_err(|it| failed(at, it.into()))
}

/// Kills the sandbox's containers and ends its shim.
pub async fn stop(node: &Node, id: &str) -> Result<(), RuntimeError> {
    let Some(name) = SandboxName::parse(id) else { return Ok(()) };
    let folder = name.folder(&node.pods);
    let Some(pid) = node.shims.pid(&name) else { return settle(&folder).await };
    if let Err(error) = ask(&folder, &Request::Shutdown, SHUTDOWN).await {
        tracing::warn!(%error, sandbox = id, "a shim does not end by itself and is killed");
        // Its connection is open yet, so the number is still its own.
        if node.shims.pid(&name) == Some(pid) {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
    }
    match node.shims.over(&name, BURIAL).await {
        true => settle(&folder).await,
        false => Err(RuntimeError::Timeout(format!("the shim of sandbox {id} does not end"))),
    }
}

/// Removes a sandbox with everything that was its.
pub async fn remove(node: &Node, id: &str) -> Result<(), RuntimeError> {
    let Some(name) = SandboxName::parse(id) else { return Ok(()) };
    let folder = name.folder(&node.pods);
    if !folder.exists() {
        return Ok(());
    }
    stop(node, id).await?;
    for entry in fs::read_dir(folder.join(CONTAINERS)).into_iter().flatten().flatten() {
        let key = entry.file_name();
        match key.to_str().and_then(|it| ContainerName::in_sandbox(&name, it)) {
            Some(it) => container::clear(node, &it).await?,
            None => tracing::warn!(path = %entry.path().display(), "a folder that is no container's"),
        }
    }
    let shm = folder.join(SHM);
    match umount2(&shm, MntFlags::MNT_DETACH) {
        // Not mounted, or not there.
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(error) => return Err(failed(&shm, error.into())),
    }
    for path in pod_cgroups(&node.cgroup_root, &name.uid) {
        // Another sandbox of the pod may have containers there.
        if let Err(error) = Cgroup::find(&path).and_then(|it| it.remove()) {
            tracing::debug!(%error, path, "a pod's cgroup stays");
        }
    }
    // The note last: until then it is a sandbox, to be removed again after a death.
    for entry in fs::read_dir(&folder).into_iter().flatten().flatten().filter(|it| it.file_name() != SANDBOX) {
        let path = entry.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.or_else(absent).map_err(|it| failed(&path, it))?;
    }
    fs::remove_dir_all(&folder).or_else(absent).map_err(|it| failed(&folder, it))?;
    node.shims.feed.pod_changed(&name.uid);
    Ok(())
}

/// What is gone already is as wanted.
pub fn absent(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// A sandbox as the trait has it.
pub fn state(name: &SandboxName, sandbox: Sandbox, pid: Option<u32>) -> SandboxState {
    SandboxState {
        id: name.to_string(),
        pod: sandbox.pod.into(),
        attempt: name.attempt,
        running: pid.is_some(),
        pid,
        created: sandbox.created,
    }
}
