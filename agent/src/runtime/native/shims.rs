//! The shims that live: found in the folders, listened to, and put to rest when they die.
//!
//! One task a shim holds a connection for as long as the shim lives, so that its death is noticed when it happens: [`settle`] then kills what
//! it left and records it as killed, before anybody is told. Nothing is asked again and again.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use orlop_shim::cgroup::Cgroup;
use orlop_shim::protocol::{Request, Response};
use orlop_shim::record::{self as shared, CONTAINERS, EXIT, SHIM, STARTED};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::line::{Line, QUICK};
use super::names::SandboxName;
use super::record::failed;
use crate::aside;
use crate::runtime::RuntimeError;
use crate::runtime::feed::Feed;

/// How long the kernel may take to end what was killed, and the pauses between two looks, which double.
const KILL_WITHIN: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(2);

/// The exit code of what SIGKILL ended.
const KILLED: i32 = 137;
const SIGKILL: i32 = 9;

/// A shim that lives.
#[derive(Clone, Debug)]
struct Live {
    pid: u32,
    /// Cancelled when it has died and is put to rest.
    over: CancellationToken,
}

/// All of them.
#[derive(Debug)]
pub struct Shims {
    pods: PathBuf,
    pub feed: Feed,
    live: Mutex<HashMap<SandboxName, Live>>,
    /// Ends the tasks when the runtime is dropped; the shims live on.
    stop: CancellationToken,
}

impl Shims {
    /// Those below a folder; none is known yet.
    pub fn new(pods: PathBuf, feed: Feed, stop: CancellationToken) -> Self {
        Self { pods, feed, live: Mutex::default(), stop }
    }

    /// The process that holds a sandbox, if it lives.
    pub fn pid(&self, name: &SandboxName) -> Option<u32> {
        self.live.lock().get(name).map(|it| it.pid)
    }

    /// Takes up with the shim of a sandbox.
    ///
    /// # Errors
    /// There is none that answers.
    pub async fn adopt(self: &Arc<Self>, name: &SandboxName) -> io::Result<u32> {
        if let Some(it) = self.pid(name) {
            return Ok(it);
        }
        let mut line = Line::open(&name.folder(&self.pods)).await?;
        let greeted = async {
            line.send(&Request::Subscribe).await?;
            if line.receive().await? != Response::Done {
                return Err(io::Error::other("the shim does not tell of changes"));
            }
            Ok(line)
        };
        let line = tokio::time::timeout(QUICK, greeted).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let pid = ping(&name.folder(&self.pods)).await?;
        let live = Live { pid, over: CancellationToken::new() };
        self.live.lock().insert(name.clone(), live.clone());
        let shims = Arc::clone(self);
        let name = name.clone();
        tokio::spawn(async move {
            let stop = shims.stop.clone();
            if stop.run_until_cancelled(shims.listen(&name, line)).await.is_some() {
                shims.bury(&name, &live).await;
            }
        });
        Ok(pid)
    }

    /// Passes on what a shim tells, until it dies.
    async fn listen(&self, name: &SandboxName, mut line: Line) {
        while let Ok(response) = line.receive().await {
            if matches!(response, Response::Changed { .. }) {
                self.feed.pod_changed(&name.uid);
            }
        }
    }

    async fn bury(&self, name: &SandboxName, live: &Live) {
        if let Err(error) = settle(&name.folder(&self.pods)).await {
            tracing::warn!(%error, sandbox = %name, "what a dead shim left could not be put to rest");
        }
        self.live.lock().remove(name);
        live.over.cancel();
        self.feed.pod_changed(&name.uid);
    }

    /// Waits until a shim has died and is put to rest; whether that came within the time.
    pub async fn over(&self, name: &SandboxName, within: Duration) -> bool {
        let over = self.live.lock().get(name).map(|it| it.over.clone());
        match over {
            Some(it) => tokio::time::timeout(within, it.cancelled()).await.is_ok(),
            None => true,
        }
    }
}

/// The process behind a shim's socket.
async fn ping(folder: &Path) -> io::Result<u32> {
    match super::line::ask(folder, &Request::Ping, QUICK).await.map_err(io::Error::other)? {
        (Response::Pong { pid, .. }, _) => u32::try_from(pid).map_err(io::Error::other),
        _ => Err(io::Error::other("the shim does not know itself")),
    }
}

/// Kills what a dead shim left of its containers, and records an end for each that had begun and has none.
///
/// # Errors
/// Somebody cannot be killed, or the disk fails.
pub async fn settle(folder: &Path) -> Result<(), RuntimeError> {
    let containers = folder.join(CONTAINERS);
    let entries = match std::fs::read_dir(&containers) {
        Ok(it) => it,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(&containers, error)),
    };
    for entry in entries.flatten() {
        let container = entry.path();
        if container.join(EXIT).exists() || !shared::was_begun(&container) {
            continue;
        }
        let config: Option<shared::Container> = super::record::read(&container, SHIM);
        if let Some(it) = &config {
            kill(&it.cgroups_path).await?;
        }
        let started: Option<shared::Started> = super::record::read(&container, STARTED);
        let exit = shared::Exit {
            exit_code: KILLED,
            signal: Some(SIGKILL),
            oom_killed: false,
            started_ns: started.map(|it| it.at_ns),
            finished_ns: orlop_shim::clock::now_ns(),
            message: "the container's shim died".to_owned(),
        };
        shared::record_exit(&container, &exit).map_err(|it| failed(&container, it))?;
    }
    Ok(())
}

/// Kills everybody in a cgroup and waits until they are gone.
///
/// # Errors
/// Somebody does not go.
pub async fn kill(path: &str) -> Result<(), RuntimeError> {
    let gone = async {
        let mut pause = FIRST_PAUSE;
        loop {
            let path = path.to_owned();
            let killed = aside::run(move || Cgroup::find(&path).map(|it| it.kill())).await;
            if killed
                .map_err(|it| RuntimeError::Other(it.to_string()))?
                .map_err(|it| RuntimeError::Other(it.to_string()))?
            {
                return Ok(());
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    };
    let late = |_| RuntimeError::Timeout(format!("processes in {path} do not die"));
    tokio::time::timeout(KILL_WITHIN, gone).await.map_err(late)?
}

/// Removes a cgroup, after everybody in it is killed.
///
/// # Errors
/// Somebody does not go, or the kernel does not let it go.
pub async fn remove_cgroup(path: &str) -> Result<(), RuntimeError> {
    let mut pause = FIRST_PAUSE;
    loop {
        kill(path).await?;
        let removed = Cgroup::find(path).and_then(|it| it.remove());
        match removed {
            Ok(()) => return Ok(()),
            // The last process is gone, and the kernel has yet to take note of it everywhere.
            Err(error) if pause < KILL_WITHIN / 10 => tracing::debug!(%error, path, "a cgroup is busy"),
            Err(error) => return Err(RuntimeError::Other(format!("cgroup {path}: {error}"))),
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
