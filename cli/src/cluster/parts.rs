//! The parts of a cluster: how they are called, where they run, and with which command each is started. All but etcd are this program.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, unshare};
use orlop_agent::pressure::settings::HARD_OF_LOCAL;
use orlop_apiserver::pki::etcd::EtcdFiles;
use sha2::{Digest, Sha256};

use super::etcd;
use super::family;
use super::folder::Folder;
use super::process::Process;
use super::record::Record;
use super::wiring;

/// The port of an API server on its node.
pub const API_PORT: u16 = 6443;
/// The port that leads to an API server that is well, where there are several: of every node's loopback, and of the host's end of the cable. Another
/// than an API server's own, which somebody on the host may have on all addresses.
pub const BALANCED_PORT: u16 = 7443;
/// How long a node may be silent where there are several control planes, before its pods start elsewhere. It has to survive an election: etcd 3.4 can hold up
/// all of a member's clients for 8 s after one, and the nodes that ask it are no less well for that.
const GRACE_OVER_ETCD_SECONDS: u64 = 20;
/// How much of a log an error shows, in bytes.
const TAIL_BYTES: usize = 2000;

/// What a part does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A member of etcd.
    Store,
    ApiServer,
    Controllers,
    Scheduler,
    /// Listens on the host's ports.
    Forwarder,
    /// Leads a node's own parts to an API server that is well.
    Balancer,
    Agent,
}

impl Role {
    /// All of them, in the order of their starts.
    const ALL: [Role; 7] = [
        Role::Store,
        Role::ApiServer,
        Role::Controllers,
        Role::Scheduler,
        Role::Forwarder,
        Role::Balancer,
        Role::Agent,
    ];

    fn word(self) -> &'static str {
        match self {
            Role::Store => "etcd",
            Role::ApiServer => "apiserver",
            Role::Controllers => "controllers",
            Role::Scheduler => "scheduler",
            Role::Forwarder => "forward",
            Role::Balancer => "balancer",
            Role::Agent => "agent",
        }
    }

    /// How many of them a cluster has: on its first nodes, one each.
    fn count(self, record: &Record) -> usize {
        let several = record.planes() > 1;
        match self {
            Role::Store if several => record.planes(),
            Role::Balancer if several => record.nodes.len(),
            Role::Store | Role::Balancer => 0,
            Role::ApiServer | Role::Controllers | Role::Scheduler => record.planes(),
            // There is one, of the host.
            Role::Forwarder => usize::from(several || !record.ports.is_empty() || record.resolver.is_some()),
            Role::Agent => record.nodes.len(),
        }
    }
}

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub role: Role,
    /// The place of its node among the nodes.
    at: usize,
}

impl Part {
    /// As it is called: `agent-dev-2`. What there is one of is called by its role.
    pub fn name(self, record: &Record) -> String {
        let is_one = match self.role {
            Role::ApiServer | Role::Controllers | Role::Scheduler => record.planes() == 1,
            Role::Forwarder => true,
            Role::Store | Role::Balancer | Role::Agent => false,
        };
        match is_one {
            true => self.role.word().to_owned(),
            false => format!("{}-{}", self.role.word(), record.nodes[self.at]),
        }
    }

    /// The node in whose namespace it runs; none is the host.
    fn place(self, record: &Record) -> Option<&str> {
        (self.role != Role::Forwarder).then(|| record.nodes[self.at].as_str())
    }
}

/// The parts of some roles, in their order.
pub fn of(record: &Record, roles: &[Role]) -> Vec<Part> {
    roles.iter().flat_map(|role| (0..role.count(record)).map(|at| Part { role: *role, at })).collect()
}

/// All parts, in the order of their starts.
pub fn all(record: &Record) -> Vec<Part> {
    of(record, &Role::ALL)
}

/// Where an API server listens, by the place of its node.
pub fn api_address(record: &Record, at: usize) -> SocketAddr {
    SocketAddr::new(record.address(at), API_PORT)
}

/// How the host reaches the API.
pub fn host_url(record: &Record) -> String {
    match record.planes() {
        1 => format!("https://{}", api_address(record, 0)),
        _ => format!("https://{}:{BALANCED_PORT}", record.gateway()),
    }
}

/// How the nodes' own parts reach it.
pub fn node_url(record: &Record) -> String {
    match record.planes() {
        1 => host_url(record),
        _ => format!("https://{}:{BALANCED_PORT}", Ipv4Addr::LOCALHOST),
    }
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
pub fn start(folder: &Folder, record: &Record, part: Part, images: &[PathBuf]) -> Result<Process> {
    let name = part.name(record);
    let mut command = command(folder, record, part, images)?;
    let log = folder.log(&name);
    let file = File::options().create(true).append(true).open(&log).with_context(|| log.display().to_string())?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).current_dir("/");
    // A file is no terminal.
    command.env("NO_COLOR", "1");
    // Ctrl-C on the terminal is for this command.
    command.process_group(0);
    let spawned = match part.place(record) {
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
    let child = spawned.with_context(|| format!("cannot start {name}"))?;
    Process::of(child.id()).with_context(|| format!("{name} ended at once: {}", tail(folder, &name)))
}

/// The end of what a part has said.
pub fn tail(folder: &Folder, part: &str) -> String {
    let text = std::fs::read(folder.log(part)).unwrap_or_default();
    String::from_utf8_lossy(&text[text.len().saturating_sub(TAIL_BYTES)..]).trim().to_owned()
}

fn command(folder: &Folder, record: &Record, part: Part, images: &[PathBuf]) -> Result<Command> {
    let at = part.at;
    if part.role == Role::Store {
        return etcd::command(folder, record, at);
    }
    let mut it = Command::new(program()?);
    // What is of a node alone has its credentials from the first control plane.
    let data = folder.control_plane(if part.role == Role::Agent { 0 } else { at });
    let authority = |name: &str| data.join("pki").join(name);
    // The usual ones are every part's default.
    let family = record.ip_family;
    let ranges = (!family.is_default()).then(|| (family.pods(), family.services()));
    match part.role {
        Role::Store => {}
        Role::ApiServer => {
            it.arg("apiserver").arg("--data-dir").arg(&data).arg("--listen").arg(api_address(record, at).to_string());
            it.arg("--tls-san").arg(&record.name);
            if record.planes() > 1 {
                let files = EtcdFiles::of(&data);
                it.arg("--tls-san").arg(record.gateway().to_string()).arg("--kubeconfig-server").arg(node_url(record));
                it.arg("--store").arg(etcd::store(record, at)).arg("--etcd-cafile").arg(files.ca);
                it.arg("--etcd-certfile").arg(files.client).arg("--etcd-keyfile").arg(files.client_key);
            }
            if let Some((pods, services)) = &ranges {
                it.arg("--cluster-cidr").arg(pods.to_string()).arg("--service-cidr").arg(services.to_string());
            }
        }
        Role::Scheduler => {
            it.arg("scheduler").arg("--kubeconfig").arg(data.join("scheduler.kubeconfig"));
        }
        Role::Controllers => {
            it.arg("controllers").arg("--kubeconfig").arg(data.join("controllers.kubeconfig"));
            it.arg("--root-ca-file").arg(authority("ca.crt"));
            it.arg("--cluster-signing-cert-file").arg(authority("ca.crt"));
            it.arg("--cluster-signing-key-file").arg(authority("ca.key"));
            if let Some((pods, _)) = ranges {
                it.arg("--cluster-cidr").arg(pods.to_string());
            }
            if record.planes() > 1 {
                it.arg("--node-monitor-grace-period-seconds").arg(GRACE_OVER_ETCD_SECONDS.to_string());
            }
        }
        Role::Forwarder => {
            it.args(["cluster", "forward"]);
            if record.planes() > 1 {
                let listen = SocketAddr::new(IpAddr::V4(record.gateway()), BALANCED_PORT);
                it.arg("--api").arg(balanced(record, listen, 0)).arg("--in-turn");
                it.arg("--ca-file").arg(folder.control_plane(0).join("pki/ca.crt"));
            }
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
        Role::Balancer => {
            let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), BALANCED_PORT);
            it.args(["cluster", "forward", "--api"]).arg(balanced(record, listen, at));
            it.arg("--ca-file").arg(folder.control_plane(0).join("pki/ca.crt"));
        }
        Role::Agent => {
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
            if let Some(folder) = record.pod_manifest_path.as_ref().filter(|_| at == 0) {
                it.arg("--pod-manifest-path").arg(folder);
            }
            images.iter().for_each(|folder| _ = it.arg("--load-images").arg(folder));
        }
    }
    Ok(it)
}

/// What a balancer is told: where it listens, and all API servers. The one of its own node comes first, and other nodes prefer different ones.
fn balanced(record: &Record, listen: SocketAddr, first: usize) -> String {
    let count = record.planes();
    let servers: Vec<String> = (0..count).map(|it| api_address(record, (first + it) % count).to_string()).collect();
    format!("{listen}={}", servers.join(","))
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

    fn lines(nodes: usize, planes: u16) -> String {
        let nodes = (1..=nodes).map(|it| format!("a-{it}")).collect();
        let mut record = Record::new("a".into(), nodes, "172.30.4.0/24".parse().unwrap(), Timestamp::UNIX_EPOCH);
        record.control_planes = planes;
        record.ports = vec!["8080:30080".parse().unwrap()];
        record.resolver = Some(std::net::Ipv4Addr::new(127, 0, 0, 53));
        record.fence_after_seconds = Some(6);
        record.pod_manifest_path = Some("/static".into());
        let folder = Folder::at("/c/a".into());
        // That of etcd has a test of its own: it needs the program.
        let parts = all(&record).into_iter().filter(|it| it.role != Role::Store);
        let line = |part: Part| {
            let command = command(&folder, &record, part, &["/i".into()]).unwrap();
            let words: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
            format!("{} on {}: {}", part.name(&record), part.place(&record).unwrap_or("the host"), words.join(" "))
        };
        parts.map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_part_has_a_command_and_a_place() {
        insta::assert_snapshot!(lines(2, 1));
    }

    #[test]
    fn parts_are_told_of_other_families() {
        let mut record =
            Record::new("a".into(), vec!["a-1".into()], "172.30.4.0/24".parse().unwrap(), Timestamp::UNIX_EPOCH);
        record.ip_family = IpFamily::Dual;
        let folder = Folder::at("/c/a".into());
        let of = |role: Role| {
            let part = all(&record).into_iter().find(|it| it.role == role).unwrap();
            let command = command(&folder, &record, part, &[]).unwrap();
            let words: Vec<_> = command.get_args().map(|it| it.to_string_lossy()).collect();
            words.join(" ")
        };
        insta::assert_snapshot!([Role::ApiServer, Role::Controllers, Role::Agent].map(of).join("\n"));
    }

    #[test]
    fn several_control_planes_are_reached_through_balancers() {
        insta::assert_snapshot!(lines(4, 3));
    }

    #[test]
    fn what_there_is_one_of_is_called_by_its_role() {
        let check = |planes: u16, expected: &str| {
            let nodes = ["a-1", "a-2", "a-3"].map(str::to_owned).to_vec();
            let mut record = Record::new("a".into(), nodes, "172.30.4.0/24".parse().unwrap(), Timestamp::UNIX_EPOCH);
            record.control_planes = planes;
            let names: Vec<String> = all(&record).into_iter().map(|it| it.name(&record)).collect();
            assert_eq!(names.join(" "), expected);
        };
        check(1, "apiserver controllers scheduler agent-a-1 agent-a-2 agent-a-3");
        check(
            3,
            "etcd-a-1 etcd-a-2 etcd-a-3 apiserver-a-1 apiserver-a-2 apiserver-a-3 controllers-a-1 controllers-a-2 controllers-a-3 \
             scheduler-a-1 scheduler-a-2 scheduler-a-3 forward balancer-a-1 balancer-a-2 balancer-a-3 agent-a-1 agent-a-2 agent-a-3",
        );
    }
}
