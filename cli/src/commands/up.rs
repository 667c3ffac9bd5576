//! `orlop up`: a cluster in this process: API server, scheduler, controllers, and the agents of one or several nodes.
//!
//! The parts are the same libraries as the separate binaries run; they reach the API server through its service in process, with the
//! identities they would have apart. Ctrl-C stops the control plane; pods run on, and the next `orlop up` finds them again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::Kubeconfig;
use orlop_agent::config::{Address, RuntimeKind, ServingCertificate};
use orlop_agent::images::collect::Policy;
use orlop_agent::pressure::settings::Eviction;
use orlop_agent::runtime::cri::CONTAINERD;
use orlop_api::ranges::Ranges;
use orlop_apiserver::Server;
use orlop_client::lease::Identity;
use orlop_client::process;
use orlop_controllers::config::SIGNING_SECONDS;
use orlop_controllers::csr_signing::authority::Authority;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::family::{self, IpFamily};
use crate::kubeconfig;
use crate::session::Globals;

/// How many nodes one machine plays at most: each has a /24 of the pods' addresses and a bridge.
const NODES_LIMIT: u16 = 250;
/// The context under which the cluster stands in the user's kubeconfig.
const CONTEXT: &str = "orlop";

/// The flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many nodes.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=i64::from(NODES_LIMIT)))]
    nodes: u16,
    /// What runs the containers.
    #[arg(long, value_enum, default_value_t)]
    runtime: RuntimeKind,
    /// Where the runtime `cri` listens.
    #[arg(long, value_name = "unix:///PATH", default_value = CONTAINERD)]
    runtime_endpoint: String,
    /// Load every image archive of this folder (docker save, OCI; plain, gzip, zstd) into the nodes at the start; may be given several times.
    #[arg(long, value_name = "DIR")]
    load_images: Vec<PathBuf>,
    /// Run the pods whose manifests lie in this folder, one a file, on the first node.
    #[arg(long, value_name = "DIR")]
    pod_manifest_path: Option<PathBuf>,
    /// Where objects are kept: embedded, memory, or etcd=URL[,URL].
    #[arg(long, default_value = "embedded")]
    store: String,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Keys, certificates, the embedded store and the nodes' data; ~/.orlop if not given.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Which families of addresses pods and Services have; dual is both, IPv4 first. ipv4 if neither this nor a range is given.
    #[arg(long, value_enum)]
    ip_family: Option<IpFamily>,
    /// The addresses of pods, 10.244.0.0/16 or fd00:10:244::/56 or both if not given; each node gets a /24 of them, of IPv6 a /64.
    #[arg(long, value_name = "CIDR[,CIDR]")]
    cluster_cidr: Option<Ranges>,
    /// The addresses of Services, 10.96.0.0/16 or fd00:10:96::/112 or both if not given.
    #[arg(long, alias = "service-cluster-ip-range", value_name = "CIDR[,CIDR]")]
    service_cidr: Option<Ranges>,
    /// How nodes are named: PREFIX-1, PREFIX-2; a single node without it is named orlop.
    #[arg(long)]
    node_prefix: Option<String>,
}

impl Args {
    /// The addresses of pods and of services.
    fn ranges(&self) -> Result<(Ranges, Ranges)> {
        family::ranges(self.ip_family, self.cluster_cidr, self.service_cidr).map_err(anyhow::Error::msg)
    }

    fn node_names(&self) -> Vec<String> {
        match (&self.node_prefix, self.nodes) {
            (None, 1) => vec!["orlop".to_owned()],
            (prefix, nodes) => {
                let prefix = prefix.as_deref().unwrap_or("orlop");
                (1..=nodes).map(|it| format!("{prefix}-{it}")).collect()
            }
        }
    }
}

/// The data directory that is meant when none is given.
///
/// # Errors
/// When there is no home directory.
pub fn data_dir(given: Option<&Path>) -> Result<PathBuf> {
    match given {
        Some(path) => Ok(std::path::absolute(path)?),
        None => Ok(PathBuf::from(std::env::var_os("HOME").context("HOME is not set: give --data-dir")?).join(".orlop")),
    }
}

/// Where a running `orlop up` notes its process id, for `orlop down`.
pub fn pid_file(data_dir: &Path) -> PathBuf {
    data_dir.join("up.pid")
}

/// The names of the nodes that this data directory has had, for `orlop down`.
pub fn nodes_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("nodes")
}

/// Runs it until it is stopped.
///
/// # Errors
/// When a part cannot start, or ends by itself.
pub async fn run(args: Args, globals: &Globals) -> Result<()> {
    let started = tokio::time::Instant::now();
    process::log_to_standard_error();
    let data_dir = data_dir(args.data_dir.as_deref())?;
    let shutdown = process::until_stopped()?;

    let mut config = orlop_apiserver::Config::new(&args.store, &data_dir);
    config.listen = Some(args.listen);
    (config.cluster_cidr, config.service_cidr) = args.ranges()?;
    // The server outlives its clients, so that their last writes (a lease given back) reach it.
    let server_end = CancellationToken::new();
    let server = Server::start(config, server_end.clone()).await?;
    std::fs::write(pid_file(&data_dir), std::process::id().to_string())?;
    let outcome = components(&args, globals, &data_dir, &server, started, &shutdown).await;
    server_end.cancel();
    server.stopped().await;
    // Already gone where another `orlop down` was quicker.
    let _ = std::fs::remove_file(pid_file(&data_dir));
    outcome
}

async fn components(
    args: &Args,
    globals: &Globals,
    data_dir: &Path,
    server: &Server,
    started: tokio::time::Instant,
    shutdown: &CancellationToken,
) -> Result<()> {
    let url = server.url().context("the server listens")?;
    let (pods, services) = args.ranges()?;
    let parts_end = CancellationToken::new();
    let mut parts: JoinSet<(String, Result<()>)> = JoinSet::new();
    let scheduler = server.client("system:kube-scheduler", &["system:authenticated"]);
    let end = parts_end.clone();
    let config = orlop_scheduler::Config {
        identity: Some(Identity::kept(orlop_scheduler::config::COMPONENT, data_dir)),
        ..Default::default()
    };
    parts.spawn(async move {
        orlop_scheduler::run(config, scheduler, end).await;
        ("scheduler".to_owned(), Ok(()))
    });
    let controllers = server.client("system:kube-controller-manager", &["system:authenticated"]);
    let config = orlop_controllers::Config {
        identity: Identity::kept(orlop_controllers::config::COMPONENT, data_dir),
        cluster_cidr: pods.try_into().map_err(anyhow::Error::msg)?,
        root_ca: Some(server.pki().ca().to_owned()),
        signing: Some(signing_authority(server)?),
        ..Default::default()
    };
    let end = parts_end.clone();
    parts.spawn(async move {
        orlop_controllers::run(config, controllers, end).await;
        ("controllers".to_owned(), Ok(()))
    });
    for (at, name) in args.node_names().into_iter().enumerate() {
        let folder = nodes_dir(data_dir).join(&name);
        std::fs::create_dir_all(&folder)?;
        let files = server.pki().write_node(&name, &[args.listen.ip()], &url, orlop_client::clock::now())?;
        let mut config = orlop_agent::Config::new(&name, folder);
        config.runtime = args.runtime;
        config.runtime_endpoint.clone_from(&args.runtime_endpoint);
        config.load_images = args.load_images.clone();
        config.pod_manifest_path = args.pod_manifest_path.clone().filter(|_| at == 0);
        config.cluster_cidr = pods;
        config.cluster_dns = Some(family::dns(services));
        (config.eviction, config.image_policy) = (Eviction::of_local(), Policy::NEVER);
        // All on one machine: the node needs to be reached by the host and its pods only.
        config.address = Some(Address::Gateway);
        // One node has the port that everyone knows; several share the address and take free ones.
        config.port = if args.nodes == 1 && args.node_prefix.is_none() { config.port } else { 0 };
        config.serving = ServingCertificate::Files { certificate: files.certificate, key: files.key };
        config.client_ca_pem = Some(server.pki().ca().as_bytes().to_vec());
        let client = server.client(&format!("system:node:{name}"), &["system:nodes", "system:authenticated"]);
        let end = parts_end.clone();
        parts.spawn(async move {
            (format!("agent {name}"), orlop_agent::run(config, client, end).await.map_err(anyhow::Error::from))
        });
    }
    let kubeconfig = offer_kubeconfig(globals, data_dir)?;
    println!("orlop is ready in {} ms", started.elapsed().as_millis());
    println!("  kubectl --kubeconfig {} get nodes", kubeconfig.display());
    println!(
        "  the API is at https://{}; Ctrl-C stops it, pods run on; `orlop down` removes them",
        server.address().unwrap_or(args.listen)
    );

    let outcome = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        Some(ended) = parts.join_next() => match ended {
            Ok((name, Ok(()))) => Err(anyhow::anyhow!("{name} ended by itself")),
            Ok((name, Err(error))) => Err(error.context(name)),
            Err(error) => Err(anyhow::anyhow!("a part of the cluster failed: {error}")),
        },
    };
    parts_end.cancel();
    let drained = async { while parts.join_next().await.is_some() {} };
    if tokio::time::timeout(PARTS_LIMIT, drained).await.is_err() {
        tracing::warn!("some parts did not end in time");
    }
    outcome
}

/// The cluster's CA, for the controller that signs certificate requests.
fn signing_authority(server: &Server) -> Result<Arc<Authority>> {
    let path = server.pki().dir().join("ca.key");
    let key = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let life = jiff::SignedDuration::from_secs(SIGNING_SECONDS.cast_signed());
    Ok(Arc::new(Authority::new(server.pki().ca(), &key, life).map_err(anyhow::Error::msg)?))
}

/// How long the parts get to end. Leases are given back and statuses written in less than a second.
const PARTS_LIMIT: Duration = Duration::from_secs(5);

/// Puts the administrator's access where users look for it: into the file that `--kubeconfig` names, or as the context `orlop` into
/// `~/.kube/config`. Gives the file.
fn offer_kubeconfig(globals: &Globals, data_dir: &Path) -> Result<PathBuf> {
    let own = data_dir.join("kubeconfig");
    match &globals.kubeconfig {
        Some(path) if *path == own => {}
        Some(path) => kubeconfig::write(path, &Kubeconfig::read_from(&own)?)?,
        None => {
            let merged = kubeconfig::path(None).and_then(|path| kubeconfig::offer(&own, &path, CONTEXT));
            if let Err(error) = merged {
                tracing::warn!(%error, "cannot add the context to your kubeconfig; use --kubeconfig {}", own.display());
            }
            return Ok(own);
        }
    }
    Ok(globals.kubeconfig.clone().unwrap_or(own))
}

/// A data directory without a cluster is a mistake in the command line.
///
/// # Errors
/// When there is none.
pub fn existing_data_dir(given: Option<&Path>) -> Result<PathBuf> {
    let path = data_dir(given)?;
    if !path.join("pki").is_dir() {
        bail!("{} holds no cluster", path.display());
    }
    Ok(path)
}
