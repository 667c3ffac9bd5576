//! What a user decides about an agent: its arguments, and the settings made from them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};
use ipnet::Ipv4Net;
use orlop_api::ranges::Ranges;

use crate::credentials::Rotation;
use crate::images::collect::Policy;
use crate::network::ips::Ips;
use crate::network::overlay::Overlay;
use crate::power_off::periods::Periods;
use crate::pressure::settings::Eviction;
use crate::pressure::{self, settings, signals};
use crate::runtime::cri::CONTAINERD;

/// Which runtime runs the containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RuntimeKind {
    /// The first of those that work here: native, docker.
    #[default]
    Auto,
    /// Containers by our own shim, without a daemon; as root.
    Native,
    Docker,
    /// A runtime of Kubernetes' container runtime interface, as containerd.
    Cri,
    /// No containers: pods that exist only as words.
    Hollow,
}

/// Who makes the network of the pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NetworkKind {
    /// The agent: the same under every runtime.
    #[default]
    Own,
    /// The runtime `cri` by its CNI plugins, as under a kubelet.
    Cni,
}

/// The arguments of `orlop-agent` and `orlop agent`.
#[derive(Clone, Debug, ClapArgs)]
pub struct Args {
    /// The node's name; the host's name if not given. With --hollow-nodes the first part of the nodes' names.
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t)]
    pub runtime: RuntimeKind,
    /// Where the runtime `cri` listens.
    #[arg(long, value_name = "unix:///PATH", default_value = CONTAINERD)]
    pub runtime_endpoint: String,
    /// Who makes the pods' network: the agent, or with `cni` the runtime `cri` by its CNI plugins.
    #[arg(long, value_enum, default_value_t)]
    pub network: NetworkKind,
    /// With `--network cni`: the interfaces of the host by which packets of pods come, for Services and DNS; a `*` at the end stands for anything.
    #[arg(long, value_name = "NAME", default_value = CNI_INTERFACES)]
    pub cni_interfaces: String,
    /// The program `orlop-shim` of the native runtime; beside this program if not given.
    #[arg(long, value_name = "FILE")]
    pub shim: Option<PathBuf>,
    /// Load every image archive of this folder (docker save, OCI; plain, gzip, zstd) at the start, before pods run; may be given several times.
    #[arg(long, value_name = "DIR")]
    pub load_images: Vec<PathBuf>,
    /// Run the pods whose manifests lie in this folder, one a file, with or without the API server.
    #[arg(long, value_name = "DIR", conflicts_with = "hollow_nodes")]
    pub pod_manifest_path: Option<PathBuf>,
    /// The most processes and threads of a pod at a time; of a container with the runtime docker, and without effect with cri. No limit if not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub pod_max_pids: Option<u64>,
    /// Be this many nodes at once, none of which runs anything.
    #[arg(long, value_name = "K")]
    pub hollow_nodes: Option<usize>,
    /// The port for logs; 0 takes a free one.
    #[arg(long, default_value_t = 10250)]
    pub port: u16,
    /// Where volumes and the network's ledger are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/orlop/agent")]
    pub data_dir: PathBuf,
    /// The node's address, or one of each family, or `gateway`: that of its pods' bridge, for a cluster that lives on one machine; the address of
    /// the default route's interface if not given.
    #[arg(long, value_name = "IP[,IP]|gateway")]
    pub address: Option<Address>,
    /// The addresses of all pods of the cluster, which are not masqueraded: a range, or one of each family, the primary first.
    #[arg(long, value_name = "CIDR[,CIDR]", default_value = "10.244.0.0/16")]
    pub cluster_cidr: Ranges,
    /// How packets for pods of other nodes travel.
    #[arg(long, value_enum, default_value_t)]
    pub overlay: Overlay,
    /// The cgroup below which this node's pods have theirs, from each hierarchy's root: for several nodes on one machine.
    #[arg(long, value_name = "PATH", default_value = "/")]
    pub cgroup_root: String,
    /// The cluster's DNS, which this node's pods ask and this agent answers; `none` leaves pods the host's.
    #[arg(long, value_name = "IP|none", default_value = "10.96.0.10")]
    pub cluster_dns: ClusterDnsAddress,
    /// The domain of the cluster's names.
    #[arg(long, value_name = "DOMAIN", default_value = CLUSTER_DOMAIN)]
    pub cluster_domain: String,
    /// How long the node counts as alive after a renewal of its lease, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 8)]
    pub lease_duration: u64,
    /// Kill this node's pods when its lease could not be renewed for so long, in seconds. Without it pods outlive a lost API server, and
    /// those that were moved meanwhile are killed when it answers again.
    #[arg(long, value_name = "SECONDS")]
    pub fence_after: Option<u64>,
    /// How long this node's pods may take to end in all when its machine goes down: `orlop node shutdown` or SIGPWR says so. Nothing ends
    /// them if not given.
    #[arg(long, value_name = "TIME", default_value = "0s", conflicts_with = "hollow_nodes")]
    pub shutdown_grace_period: String,
    /// The part of it that is kept for critical pods, which end last.
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub shutdown_grace_period_critical_pods: String,
    /// Instead of both: how long pods from each priority on may take, the least important first: `0=20s,1000=10s,2000000000=5s`.
    #[arg(long, value_name = "PRIORITY=TIME,...", default_value = "", allow_hyphen_values = true)]
    pub shutdown_grace_period_by_pod_priority: String,
    /// The certificate that the port for logs serves with; self-signed if not given.
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
    /// The CA whose clients may read logs; the cluster's of the kubeconfig if not given.
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Ask for a serving certificate, and for the next of both before they run out. The kubeconfig has to be the one in the data directory, which
    /// `orlop node join` writes.
    #[arg(long, conflicts_with_all = ["tls_cert_file", "hollow_nodes"])]
    pub rotate_certificates: bool,
    /// Below which of these pods are evicted at once, as `memory.available<1Gi,nodefs.available<10%`. Signals: memory.available, nodefs.available,
    /// nodefs.inodesFree, imagefs.available, imagefs.inodesFree, pid.available.
    #[arg(long, value_name = "SIGNAL<VALUE,...", default_value = pressure::settings::HARD)]
    pub eviction_hard: String,
    /// Below which of these pods are evicted after a while.
    #[arg(long, value_name = "SIGNAL<VALUE,...", default_value = "")]
    pub eviction_soft: String,
    /// After how long, for each of --eviction-soft: `memory.available=1m30s`.
    #[arg(long, value_name = "SIGNAL=TIME,...", default_value = "")]
    pub eviction_soft_grace_period: String,
    /// The longest that pods may take to end that are evicted for --eviction-soft, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub eviction_max_pod_grace_period: u64,
    /// How much more has to be free until the node is no longer short: `nodefs.available=2Gi`.
    #[arg(long, value_name = "SIGNAL=VALUE,...", default_value = "")]
    pub eviction_minimum_reclaim: String,
    /// How long the node's condition stays when it is no longer short.
    #[arg(long, value_name = "TIME", default_value = "5m0s")]
    pub eviction_pressure_transition_period: String,
    /// From this percentage of the disk on that is used, images are removed that were pulled and that nobody uses; 100 is never.
    #[arg(long, value_name = "PERCENT", default_value_t = 85, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub image_gc_high_threshold: u8,
    /// Down to which.
    #[arg(long, value_name = "PERCENT", default_value_t = 80, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub image_gc_low_threshold: u8,
    /// For how long an image stays after it was pulled or used last.
    #[arg(long, value_name = "TIME", default_value = "2m0s")]
    pub minimum_image_ttl_duration: String,
    /// Kept back from pods for the system: `cpu=200m,memory=500Mi,ephemeral-storage=1Gi`.
    #[arg(long, value_name = "RESOURCE=VALUE,...", default_value = "")]
    pub system_reserved: String,
    /// Kept back from pods for Kubernetes' own parts.
    #[arg(long, value_name = "RESOURCE=VALUE,...", default_value = "")]
    pub kube_reserved: String,
}

/// What the node is reached by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    At(Ips),
    /// The first addresses of the node's own ranges of pod addresses, which its bridge has: the host and the pods reach them, nobody else does.
    Gateway,
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "gateway" { Ok(Address::Gateway) } else { text.parse().map(Address::At) }
    }
}

/// The longest name of an interface.
const INTERFACE_BYTES: usize = 15;
/// The bridge of the CNI plugin `bridge`, unless its configuration names another.
const CNI_INTERFACES: &str = "cni0";
/// The domain of the cluster's names, unless another is given.
const CLUSTER_DOMAIN: &str = "cluster.local";
/// The tenth address of the services' default range, by Kubernetes' custom.
const CLUSTER_DNS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 96, 0, 10));

/// The address of the cluster's DNS, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClusterDnsAddress(pub Option<IpAddr>);

impl std::str::FromStr for ClusterDnsAddress {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(ClusterDnsAddress(None)) } else { text.parse().map(|it| ClusterDnsAddress(Some(it))) }
    }
}

/// Where the serving certificate comes from.
#[derive(Clone, Debug, Default)]
pub enum ServingCertificate {
    /// Made at the start and signed by nobody, as the kubelet does without one.
    #[default]
    SelfSigned,
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    /// Asked for by the agent itself, and renewed.
    Rotated(Rotation),
}

/// The settings of one agent.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    pub runtime: RuntimeKind,
    /// Where the runtime `cri` listens.
    pub runtime_endpoint: String,
    /// Who makes the pods' network.
    pub network: NetworkKind,
    /// Where their packets come from, if that is not the agent.
    pub cni_interfaces: String,
    /// The program of the native runtime's shim; none looks beside this program.
    pub shim: Option<PathBuf>,
    /// Folders whose archives are loaded at the start.
    pub load_images: Vec<PathBuf>,
    /// The folder of the manifests of static pods.
    pub pod_manifest_path: Option<PathBuf>,
    /// The most processes of a pod.
    pub pod_max_pids: Option<u64>,
    /// Be so many hollow nodes, named `<node_name>-<number>`.
    pub hollow_nodes: Option<usize>,
    /// The port for logs; 0 takes a free one.
    pub port: u16,
    pub data_dir: PathBuf,
    /// None takes that of the default route's interface.
    pub address: Option<Address>,
    pub cluster_cidr: Ranges,
    pub overlay: Overlay,
    /// The cgroup above the pods' own; empty or `/` is the root.
    pub cgroup_root: String,
    /// The address of the cluster's DNS; none if there is none.
    pub cluster_dns: Option<IpAddr>,
    /// In lower case, without a dot at its end.
    pub cluster_domain: String,
    pub lease_duration: Duration,
    pub fence_after: Option<Duration>,
    /// How long pods may take when the machine goes down.
    pub shutdown_periods: Periods,
    pub serving: ServingCertificate,
    /// What it does when it runs short, and what it keeps back.
    pub eviction: Eviction,
    /// When images go that nobody uses.
    pub image_policy: Policy,
    /// The PEM text of the CA whose clients may read logs; none lets nobody.
    pub client_ca_pem: Option<Vec<u8>>,
}

impl Config {
    /// The settings of a node of this name, all else at its default.
    pub fn new(node_name: &str, data_dir: PathBuf) -> Self {
        Config {
            node_name: node_name.to_owned(),
            runtime: RuntimeKind::Auto,
            runtime_endpoint: CONTAINERD.to_owned(),
            network: NetworkKind::Own,
            cni_interfaces: CNI_INTERFACES.to_owned(),
            shim: None,
            load_images: Vec::new(),
            pod_manifest_path: None,
            pod_max_pids: None,
            hollow_nodes: None,
            port: 10250,
            data_dir,
            address: None,
            cluster_cidr: Ipv4Net::new_assert([10, 244, 0, 0].into(), 16).into(),
            overlay: Overlay::default(),
            cgroup_root: String::new(),
            cluster_dns: Some(CLUSTER_DNS),
            cluster_domain: CLUSTER_DOMAIN.to_owned(),
            lease_duration: Duration::from_secs(8),
            fence_after: None,
            shutdown_periods: Periods::default(),
            serving: ServingCertificate::SelfSigned,
            eviction: Eviction::default(),
            image_policy: Policy::default(),
            client_ca_pem: None,
        }
    }
}

impl TryFrom<Args> for Config {
    type Error = std::io::Error;

    fn try_from(args: Args) -> Result<Self, std::io::Error> {
        let eviction = eviction(&args).map_err(std::io::Error::other)?;
        let image_policy = image_policy(&args).map_err(std::io::Error::other)?;
        network(&args).map_err(std::io::Error::other)?;
        let shutdown_periods = shutdown_periods(&args).map_err(std::io::Error::other)?;
        let node_name = match args.node_name {
            Some(it) => it,
            None => std::fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_lowercase(),
        };
        let serving = match (args.tls_cert_file, args.tls_private_key_file) {
            (Some(certificate), Some(key)) => ServingCertificate::Files { certificate, key },
            _ => ServingCertificate::SelfSigned,
        };
        Ok(Config {
            runtime: args.runtime,
            runtime_endpoint: args.runtime_endpoint,
            network: args.network,
            cni_interfaces: args.cni_interfaces,
            shim: args.shim,
            load_images: args.load_images,
            pod_manifest_path: args.pod_manifest_path,
            pod_max_pids: args.pod_max_pids,
            hollow_nodes: args.hollow_nodes,
            port: args.port,
            address: args.address,
            cluster_cidr: args.cluster_cidr,
            overlay: args.overlay,
            cgroup_root: args.cgroup_root,
            cluster_dns: args.cluster_dns.0,
            cluster_domain: args.cluster_domain.trim_matches('.').to_ascii_lowercase(),
            lease_duration: Duration::from_secs(args.lease_duration.max(1)),
            fence_after: args.fence_after.map(Duration::from_secs),
            shutdown_periods,
            serving,
            eviction,
            image_policy,
            client_ca_pem: args.client_ca_file.map(std::fs::read).transpose()?,
            ..Config::new(&node_name, args.data_dir)
        })
    }
}

/// The settings of the arguments about pressure.
///
/// # Errors
/// The kubelet's message for one that makes no sense.
fn eviction(args: &Args) -> Result<Eviction, String> {
    let mut reserved = BTreeMap::new();
    settings::reserve(&mut reserved, &args.system_reserved).map_err(|it| format!("--system-reserved: {it}"))?;
    settings::reserve(&mut reserved, &args.kube_reserved).map_err(|it| format!("--kube-reserved: {it}"))?;
    let period = &args.eviction_pressure_transition_period;
    Ok(Eviction {
        hard: signals::parse(&args.eviction_hard).map_err(|it| format!("--eviction-hard: {it}"))?,
        soft: signals::parse(&args.eviction_soft)
            .and_then(|it| settings::with_graces(it, &args.eviction_soft_grace_period))
            .map_err(|it| format!("--eviction-soft: {it}"))?,
        minimum_reclaim: signals::parse(&args.eviction_minimum_reclaim.replace('=', "<"))
            .map_err(|it| format!("--eviction-minimum-reclaim: {it}"))?,
        transition_period: settings::duration(period)
            .ok_or_else(|| format!("--eviction-pressure-transition-period: {period:?} is no duration"))?,
        max_pod_grace: Duration::from_secs(args.eviction_max_pod_grace_period),
        reserved,
    })
}

/// Sees that the arguments about the pods' network go together.
///
/// # Errors
/// They do not.
fn network(args: &Args) -> Result<(), String> {
    let name = args.cni_interfaces.strip_suffix('*').unwrap_or(&args.cni_interfaces);
    let fits = |it: char| it.is_ascii_alphanumeric() || matches!(it, '-' | '_' | '.');
    match args.network {
        NetworkKind::Own => Ok(()),
        NetworkKind::Cni if args.runtime != RuntimeKind::Cri => {
            Err("--network cni is the network of --runtime cri".to_owned())
        }
        NetworkKind::Cni if args.address == Some(Address::Gateway) => {
            Err("--address gateway is an address of the agent's own network".to_owned())
        }
        NetworkKind::Cni if name.is_empty() || name.len() > INTERFACE_BYTES || !name.chars().all(fits) => {
            Err(format!("--cni-interfaces: {:?} is no interface's name", args.cni_interfaces))
        }
        NetworkKind::Cni => Ok(()),
    }
}

/// The settings of the arguments about the machine's end.
///
/// # Errors
/// A time that is none, or times that do not go together.
fn shutdown_periods(args: &Args) -> Result<Periods, String> {
    let read =
        |flag: &str, text: &str| settings::duration(text).ok_or_else(|| format!("{flag}: {text:?} is no duration"));
    let total = read("--shutdown-grace-period", &args.shutdown_grace_period)?;
    let critical = read("--shutdown-grace-period-critical-pods", &args.shutdown_grace_period_critical_pods)?;
    Periods::of_flags(total, critical, &args.shutdown_grace_period_by_pod_priority)
        .map_err(|it| format!("invalid configuration: {it}"))
}

/// The settings of the arguments about images that nobody uses.
///
/// # Errors
/// Marks that cross each other, or a time that is none.
fn image_policy(args: &Args) -> Result<Policy, String> {
    let (high_percent, low_percent) = (args.image_gc_high_threshold, args.image_gc_low_threshold);
    if low_percent >= high_percent {
        return Err(format!(
            "--image-gc-low-threshold {low_percent} must be less than --image-gc-high-threshold {high_percent}"
        ));
    }
    let text = &args.minimum_image_ttl_duration;
    let least_age = settings::duration(text);
    let least_age = least_age.ok_or_else(|| format!("--minimum-image-ttl-duration: {text:?} is no duration"))?;
    Ok(Policy { high_percent, low_percent, least_age })
}

/// Certificates in DER as one PEM text.
pub fn pem(certificates: &[Vec<u8>]) -> Vec<u8> {
    use base64::Engine;
    let mut text = String::new();
    for it in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let encoded = base64::prelude::BASE64_STANDARD.encode(it);
        for line in encoded.as_bytes().chunks(64) {
            text.push_str(&String::from_utf8_lossy(line));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text.into_bytes()
}
