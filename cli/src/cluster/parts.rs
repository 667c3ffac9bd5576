//! The parts of a cluster: how they are called, where they run, and with which command each is started. All are this program.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, unshare};
use orlop_agent::pressure::settings::HARD_OF_LOCAL;
use sha2::{Digest, Sha256};

use super::family;
use super::folder::Folder;
use super::process::Process;
use super::record::Record;
use super::wiring;

/// The API server's part.
pub const API_SERVER: &str = "apiserver";
/// What of the control plane is a client of it.
pub const DECIDERS: [&str; 2] = ["controllers", "scheduler"];
/// What listens on the host's ports.
pub const FORWARDER: &str = "forward";
/// The port of the API on the first node.
pub const API_PORT: u16 = 6443;
/// How much of a log an error shows, in bytes.
const TAIL_BYTES: usize = 2000;

/// The part that is the agent of a node.
pub fn agent(node: &str) -> String {
    format!("agent-{node}")
}

/// All parts, in the order of their starts.
pub fn all(record: &Record) -> Vec<String> {
    let forwarder = has_forwarder(record).then_some(FORWARDER);
    let fixed = [API_SERVER].into_iter().chain(DECIDERS).chain(forwarder).map(str::to_owned);
    fixed.chain(record.nodes.iter().map(|it| agent(it))).collect()
}

/// Whether something of the host is passed on.
pub fn has_forwarder(record: &Record) -> bool {
    !record.ports.is_empty() || record.resolver.is_some()
}

/// Where the API server listens.
pub fn api_address(record: &Record) -> SocketAddr {
    SocketAddr::new(record.address(0), API_PORT)
}

/// The cgroup above those of the cluster's pods: two clusters may have pods of one uid, where one is a copy of the other.
pub fn cgroup(folder: &Folder) -> String {
    let digest = Sha256::digest(folder.root().as_os_str().as_encoded_bytes());
    let hash: String = digest[..4].iter().map(|it| format!("{it:02x}")).collect();
    format!("/orlop-{hash}")
}

/// Starts a part, which lives on when this process ends. `images` are folders of archives for an agent to load.
///
/// # Errors
/// It cannot be started.
pub fn start(folder: &Folder, record: &Record, part: &str, images: &[PathBuf]) -> Result<Process> {
    let mut command = command(folder, record, part, images)?;
    let log = folder.log(part);
    let file = File::options().create(true).append(true).open(&log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).current_dir("/");
    // A file is no terminal.
    command.env("NO_COLOR", "1");
    // Ctrl-C on the terminal is for this command.
    command.process_group(0);
    let node = place(record, part);
    let spawned = match node {
        None => command.spawn().map_err(anyhow::Error::from),
        Some(node) => {
            let namespace = wiring::node(folder, node)?;
            let namespace = namespace.with_context(|| format!("node {node} has no network namespace"))?;
            namespace.run(|| {
                // The machine that the part sees is called as the node is.
                unshare(CloneFlags::CLONE_NEWUTS)?;
                nix::unistd::sethostname(node)?;
                Ok(command.spawn()?)
            })
        }
    };
    let child = spawned.with_context(|| format!("cannot start {part}"))?;
    Process::of(child.id()).with_context(|| format!("{part} ended at once: {}", tail(folder, part)))
}

/// The end of what a part has said.
pub fn tail(folder: &Folder, part: &str) -> String {
    let text = std::fs::read(folder.log(part)).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL_BYTES)..]).trim().to_owned()
}

/// The node in whose namespace a part runs; none is the host.
fn place<'a>(record: &'a Record, part: &'a str) -> Option<&'a str> {
    match part.strip_prefix("agent-") {
        Some(node) => Some(node),
        None if part == FORWARDER => None,
        None => record.nodes.first().map(String::as_str),
    }
}

fn command(folder: &Folder, record: &Record, part: &str, images: &[PathBuf]) -> Result<Command> {
    let mut it = Command::new(program()?);
    let data = folder.control_plane();
    let authority = |name: &str| data.join("pki").join(name);
    // The usual ones are every part's default.
    let family = record.ip_family;
    let ranges = (!family.is_default()).then(|| (family.pods(), family.services()));
    match part {
        API_SERVER => {
            it.arg("apiserver").arg("--data-dir").arg(&data).arg("--listen").arg(api_address(record).to_string());
            it.arg("--tls-san").arg(&record.name);
            if let Some((pods, services)) = ranges {
                it.arg("--cluster-cidr").arg(pods.to_string()).arg("--service-cidr").arg(services.to_string());
            }
        }
        "scheduler" => {
            it.arg("scheduler").arg("--kubeconfig").arg(data.join("scheduler.kubeconfig"));
        }
        "controllers" => {
            it.arg("controllers").arg("--kubeconfig").arg(data.join("controllers.kubeconfig"));
            it.arg("--root-ca-file").arg(authority("ca.crt"));
            it.arg("--cluster-signing-cert-file").arg(authority("ca.crt"));
            it.arg("--cluster-signing-key-file").arg(authority("ca.key"));
            if let Some((pods, _)) = ranges {
                it.arg("--cluster-cidr").arg(pods.to_string());
            }
        }
        FORWARDER => {
            it.args(["cluster", "forward"]);
            for map in &record.ports {
                let target = |node: usize| SocketAddr::new(record.address(node), map.port).to_string();
                let targets: Vec<String> = (0..record.nodes.len()).map(target).collect();
                it.arg("--port").arg(format!("{}={}", map.listen, targets.join(",")));
            }
            if let Some(server) = record.resolver {
                // Over both: what does not fit into a datagram is asked for by TCP.
                let passed = format!("{}:53={server}:53", record.gateway());
                it.arg("--port").arg(&passed).arg("--datagrams").arg(&passed);
            }
        }
        _ => {
            let place = record.nodes.iter().position(|node| agent(node) == part);
            let Some(at) = place else { bail!("there is no part {part}") };
            let node = &record.nodes[at];
            it.arg("agent").arg("--kubeconfig").arg(data.join(format!("agent-{node}.kubeconfig")));
            it.args(["--node-name", node, "--runtime", "native", "--overlay", &record.overlay]);
            let addresses: Vec<String> = record.addresses(at).iter().map(ToString::to_string).collect();
            it.arg("--address").arg(addresses.join(",")).arg("--data-dir").arg(folder.node(node));
            if let Some((pods, services)) = ranges {
                it.arg("--cluster-cidr").arg(pods.to_string());
                it.arg("--cluster-dns").arg(family::dns(services).to_string());
            }
            it.arg("--cgroup-root").arg(format!("{}/{node}", cgroup(folder)));
            it.arg("--tls-cert-file").arg(authority(&format!("agent-{node}.crt")));
            it.arg("--tls-private-key-file").arg(authority(&format!("agent-{node}.key")));
            it.arg("--client-ca-file").arg(authority("ca.crt"));
            it.args(["--eviction-hard", HARD_OF_LOCAL, "--image-gc-high-threshold", "100"]);
            if let Some(seconds) = record.fence_after_seconds {
                it.arg("--fence-after").arg(seconds.to_string());
            }
            images.iter().for_each(|folder| _ = it.arg("--load-images").arg(folder));
        }
    }
    Ok(it)
}

/// This program's file. One that was replaced since is found under its old name, where the new one is.
fn program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("this program's file cannot be found")?;
    let name = path.to_string_lossy();
    Ok(name.strip_suffix(" (deleted)").map_or(path.clone(), |it| Path::new(it).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::family::IpFamily;
    use jiff::Timestamp;

    #[test]
    fn every_part_has_a_command_and_a_place() {
        let nodes = vec!["a-1".to_owned(), "a-2".to_owned()];
        let mut record = Record::new("a".into(), nodes, "172.30.4.0/24".parse().unwrap(), Timestamp::UNIX_EPOCH);
        record.ports = vec!["8080:30080".parse().unwrap()];
        record.resolver = Some(std::net::Ipv4Addr::new(127, 0, 0, 53));
        record.fence_after_seconds = Some(6);
        let folder = Folder::at("/c/a".into());
        let lines: Vec<String> = all(&record)
            .iter()
            .map(|part| {
                let command = command(&folder, &record, part, &["/i".into()]).unwrap();
                let words: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
                format!("{}: {}", place(&record, part).unwrap_or("host"), words.join(" "))
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
        assert!(command(&folder, &record, "agent-b", &[]).is_err());
        record.ip_family = IpFamily::Dual;
        let parts = ["apiserver", "controllers", "agent-a-2"];
        let lines = parts.map(|part| {
            let command = command(&folder, &record, part, &[]).unwrap();
            let words: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
            words.join(" ")
        });
        insta::assert_snapshot!(lines.join("\n"));
    }
}
