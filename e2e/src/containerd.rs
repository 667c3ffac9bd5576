//! A containerd for tests, as `scripts/containerd-start` makes it, and what its own program says of containers.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result};

use crate::tool;

/// The flags of an agent whose pods it runs.
pub const AGENT_FLAGS: &[&str] = &["--runtime-endpoint", "unix:///run/orlop-containerd/containerd.sock"];
/// Where it listens.
const SOCKET: &str = "/run/orlop-containerd/containerd.sock";

/// Makes sure that it answers, once a test process.
///
/// # Errors
/// When it cannot be installed or started; the error says why.
pub fn start() -> Result<()> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    let start = || tool::run(&mut Command::new(tool::repository().join("scripts/containerd-start"))).map(drop);
    STARTED.get_or_init(|| start().map_err(|it| format!("{it:#}"))).clone().map_err(anyhow::Error::msg)
}

/// The process of a running container.
///
/// # Errors
/// When there is no such container, or it does not run.
pub fn pid(id: &str) -> Result<u32> {
    let mut command = Command::new(tool::machine("ctr", "containerd")?);
    let tasks = tool::run(command.args(["--address", SOCKET, "--namespace", "k8s.io", "tasks", "list"]))?;
    // `TASK PID STATUS`, one a line.
    let line = tasks.lines().find(|it| it.starts_with(id)).with_context(|| format!("{id} is not among {tasks}"))?;
    let pid = line.split_whitespace().nth(1).with_context(|| format!("{line:?} names no process"))?;
    Ok(pid.parse()?)
}

/// A containerd of its own whose pods have the network that Debian's CNI plugins make. Dropping it takes it away.
#[derive(Debug)]
pub struct WithCni;

/// Where it keeps everything.
const CNI_STATE: &str = "/run/orlop-containerd-cni";
/// The addresses that it gives.
pub const CNI_RANGE: &str = "10.231.0.0/24";
/// The flags of an agent whose pods it runs, but for the address.
pub const CNI_FLAGS: [&str; 6] = [
    "--runtime-endpoint",
    "unix:///run/orlop-containerd-cni/containerd.sock",
    "--network",
    "cni",
    "--cni-interfaces",
    "cni0",
];

impl WithCni {
    /// Starts it in the calling thread's network namespace, where its plugins leave a bridge and rules.
    ///
    /// # Errors
    /// When it cannot be installed or started; the error says why.
    pub fn start() -> Result<Self> {
        let conf = format!("{CNI_STATE}/conf");
        std::fs::create_dir_all(&conf)?;
        let plugins = serde_json::json!([
            {
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
                "ipam": {
                    "type": "host-local", "dataDir": format!("{CNI_STATE}/addresses"),
                    "ranges": [[{ "subnet": CNI_RANGE }]], "routes": [{ "dst": "0.0.0.0/0" }]
                }
            },
            { "type": "portmap", "capabilities": { "portMappings": true } }
        ]);
        let list = serde_json::json!({ "cniVersion": "0.4.0", "name": "test", "plugins": plugins });
        std::fs::write(format!("{conf}/10-test.conflist"), list.to_string())?;
        let started = WithCni;
        tool::run(Self::script("containerd-start").env("ORLOP_CONTAINERD_CNI", conf))?;
        Ok(started)
    }

    /// The addresses that its plugins have given and not had back.
    ///
    /// # Errors
    /// The disk's.
    pub fn given(&self) -> Result<Vec<String>> {
        let names = std::fs::read_dir(format!("{CNI_STATE}/addresses/test"))?.flatten();
        let names = names.map(|it| it.file_name().to_string_lossy().into_owned());
        Ok(names.filter(|it| it.parse::<std::net::IpAddr>().is_ok()).collect())
    }

    fn script(name: &str) -> Command {
        let mut command = Command::new(tool::repository().join("scripts").join(name));
        command.env("ORLOP_CONTAINERD_STATE", CNI_STATE);
        command
    }
}

impl Drop for WithCni {
    fn drop(&mut self) {
        if let Err(error) = tool::run(&mut Self::script("containerd-stop")) {
            eprintln!("stopping containerd: {error:#}");
        }
    }
}
