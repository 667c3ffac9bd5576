//! `orlop cluster`: local clusters of several nodes, each with a network, an agent and pods of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use orlop_client::{clock, process};
use tokio::time::Instant;

use crate::cluster::family::IpFamily;
use crate::cluster::folder::{self, Folder};
use crate::cluster::forwarder::{self, Forward, Passed};
use crate::cluster::lifecycle::{Cluster, State};
use crate::cluster::name::Name;
use crate::cluster::record::{PortMap, Record};
use crate::cluster::{archive, etcd, parts, subnet};
use crate::kubeconfig;
use crate::output::{Table, say};
use crate::session::Globals;

/// The subcommands.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: ClustersDir,
    #[command(subcommand)]
    what: What,
}

/// Where clusters are.
#[derive(Clone, Debug, clap::Args)]
pub struct ClustersDir {
    /// The folder of all local clusters; ~/.orlop/clusters if not given.
    #[arg(long, global = true, env = "ORLOP_CLUSTERS_DIR", value_name = "DIR")]
    pub clusters_dir: Option<PathBuf>,
}

/// How long a start is waited for.
#[derive(Debug, clap::Args)]
pub struct Waiting {
    /// How many seconds to wait until all nodes are ready and the DNS answers on each; 0 does not wait.
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u64,
}

/// Where a cluster's name and ports come to be known.
#[derive(Debug, clap::Args)]
pub struct Reached {
    /// A port of this machine that leads to a port of the nodes, as 8080:30080 or 0.0.0.0:8080:30080; on 127.0.0.1 without an address. May be given
    /// several times.
    #[arg(long = "port", value_name = "[ADDRESS:]PORT:NODEPORT")]
    ports: Vec<PortMap>,
}

/// What to do.
#[derive(Debug, clap::Subcommand)]
pub enum What {
    /// Make a cluster and start it.
    Create {
        name: Name,
        /// How many nodes.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=i64::from(NODES_LIMIT)))]
        nodes: u16,
        /// How many nodes have a control plane: 1, 3 or 5. Of several all but one half may be lost; they keep their objects in etcd, which is to be installed.
        #[arg(long, default_value_t = 1, value_parser = planes)]
        control_planes: u16,
        #[command(flatten)]
        reached: Reached,
        /// How packets for pods travel between nodes.
        #[arg(long, default_value = "auto", value_parser = ["auto", "vxlan", "routes"])]
        overlay: String,
        /// Which families of addresses pods and Services have; dual is both, IPv4 first.
        #[arg(long, value_enum, default_value_t)]
        ip_family: IpFamily,
        /// Have a node that cannot reach the API for so many seconds kill its pods, before the 8 s are over after which they run elsewhere: for pods that
        /// write to what several nodes have. Without it they run on until the node hears that they were moved.
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(FENCE_SECONDS))]
        fence_after: Option<u64>,
        /// Run the pods whose manifests lie in this folder, one a file, on the first node.
        #[arg(long, value_name = "DIR")]
        pod_manifest_path: Option<PathBuf>,
        /// Load every image archive of this folder into all nodes before pods run; may be given several times.
        #[arg(long, value_name = "DIR")]
        load_images: Vec<PathBuf>,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// List the clusters of this machine.
    #[command(visible_alias = "ls")]
    List,
    /// Start a cluster that was stopped, or what of it has died.
    Start {
        name: Name,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// End a cluster's pods and processes; everything on disk stays.
    Stop {
        name: Name,
        /// How many seconds containers get to end before they are killed.
        #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
        time: u64,
    },
    /// Remove a cluster with everything in it.
    Delete { name: Name },
    /// Write a cluster into a file, with its objects, keys, images and volumes; a running one stands still meanwhile.
    Snapshot { name: Name, file: PathBuf },
    /// Make a cluster from a snapshot, under its old name or another, and start it.
    Restore {
        name: Name,
        file: PathBuf,
        #[command(flatten)]
        reached: Reached,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Pass connections on: what a cluster's ports are served by.
    #[command(hide = true)]
    Forward {
        #[arg(long = "port")]
        ports: Vec<Forward>,
        #[arg(long)]
        datagrams: Vec<Forward>,
        #[arg(long)]
        api: Vec<Forward>,
        #[arg(long)]
        in_turn: bool,
        #[arg(long)]
        ca_file: Option<PathBuf>,
    },
}

/// Each node has a /24 of the pods' addresses, and an address of the cluster's own /24, which the host shares.
const NODES_LIMIT: u16 = 250;

/// Leases are renewed every 2 s, and one renewal may fail; a node's pods are moved 8 s after the last, and killing them takes a moment.
const FENCE_SECONDS: std::ops::RangeInclusive<u64> = 4..=7;

/// How many control planes there may be.
fn planes(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        Ok(2) => Err("two survive the loss of none, as one does: give 1, 3 or 5".to_owned()),
        Ok(4) => Err("four survive the loss of one, as three do: give 1, 3 or 5".to_owned()),
        Ok(count @ 6..) => {
            Err(format!("{count} are too many, for each write waits for more than half of them: give 1, 3 or 5"))
        }
        _ => Err("give 1, 3 or 5".to_owned()),
    }
}

/// Runs it.
///
/// # Errors
/// What could not be done; a cluster that could not be made has left nothing.
pub async fn run(args: Args, globals: &Globals) -> Result<()> {
    if let What::Forward { ports, datagrams, api, in_turn, ca_file } = args.what {
        process::log_to_standard_error();
        let passed = Passed { connections: ports, datagrams, api, in_turn, ca_file };
        return forwarder::run(passed, process::until_stopped()?).await;
    }
    let clusters = folder::clusters_dir(args.place.clusters_dir.as_deref())?;
    if let What::List = args.what {
        return list(&clusters);
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("local clusters are made of network namespaces and mounts: run it as root");
    }
    match args.what {
        What::Create {
            name,
            nodes,
            control_planes,
            reached,
            overlay,
            ip_family,
            fence_after,
            pod_manifest_path,
            load_images,
            waiting,
        } => {
            if control_planes > nodes {
                bail!("--control-planes {control_planes}: each is on a node of its own, and there are {nodes}");
            }
            if control_planes > 1 && ip_family == IpFamily::Ipv6 {
                bail!("--control-planes {control_planes}: not with --ip-family ipv6; dual has addresses of IPv6, too");
            }
            needs_etcd(control_planes)?;
            for folder in &load_images {
                std::fs::read_dir(folder).with_context(|| format!("--load-images {}", folder.display()))?;
            }
            let images: Vec<PathBuf> = load_images.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
            let mut record =
                Record::new(name.to_string(), name.nodes(nodes), first_subnet(&clusters, &name)?, clock::now());
            record = record.with_planes(control_planes);
            record.overlay = overlay;
            record.ip_family = ip_family;
            record.pod_manifest_path = pod_manifest_path.map(std::path::absolute).transpose()?;
            record.fence_after_seconds = fence_after;
            record.ports = reached.ports;
            record.kubeconfig = kubeconfig_path(globals)?;
            check_ports(&record.ports)?;
            let cluster = Cluster::make(&clusters, &name, record)?;
            bring_up(cluster, &images, waiting, true, "created").await
        }
        What::Start { name, waiting } => {
            let cluster = Cluster::open(&clusters, &name)?;
            needs_etcd(cluster.record.control_planes)?;
            if cluster.state()? == State::Stopped {
                check_ports(&cluster.record.ports)?;
            }
            bring_up(cluster, &[], waiting, false, "started").await
        }
        What::Stop { name, time } => {
            let cluster = Cluster::open(&clusters, &name)?;
            let _alone = cluster.folder.lock()?;
            cluster.down(Duration::from_secs(time)).await?;
            say!("cluster \"{name}\" stopped");
            Ok(())
        }
        What::Delete { name } => {
            let cluster = Cluster::open(&clusters, &name)?;
            let _alone = cluster.folder.lock()?;
            cluster.remove().await?;
            say!("cluster \"{name}\" deleted");
            Ok(())
        }
        What::Snapshot { name, file } => {
            let cluster = Cluster::open(&clusters, &name)?;
            let _alone = cluster.folder.lock()?;
            let to = std::path::absolute(&file)?;
            // A first Ctrl-C does not end this command: what stands still has to go on.
            let _waits = process::until_stopped()?;
            tokio::task::spawn_blocking(move || archive::write(&cluster, &to)).await??;
            say!("cluster \"{name}\" written to {}", file.display());
            Ok(())
        }
        What::Restore { name, file, reached, waiting } => {
            let cluster = restored(&clusters, &name, &file, reached.ports, globals)?;
            bring_up(cluster, &[], waiting, true, "restored").await
        }
        What::List | What::Forward { .. } => Ok(()),
    }
}

/// Unpacks a snapshot beside the clusters, and makes it one when it is whole.
fn restored(clusters: &Path, name: &Name, file: &Path, ports: Vec<PortMap>, globals: &Globals) -> Result<Cluster> {
    if Folder::of(clusters, name).root().exists() {
        bail!("there is a cluster \"{name}\" already: delete it first, or restore under another name");
    }
    std::fs::create_dir_all(clusters)?;
    let beside = tempfile::Builder::new().prefix(".restore-").tempdir_in(clusters)?;
    let mut record = archive::read(file, beside.path())?;
    needs_etcd(record.control_planes)?;
    record.name = name.to_string();
    record.subnet = first_subnet(clusters, name)?;
    record.kubeconfig = kubeconfig_path(globals)?;
    if ports.is_empty() {
        // Nobody asked for these here, and the cluster that was written may have them still.
        let (free, taken): (Vec<_>, Vec<_>) = record.ports.into_iter().partition(|it| check_ports(&[*it]).is_ok());
        record.ports = free;
        for it in taken {
            eprintln!(
                "warning: {} is taken: nothing leads to port {} of the nodes; --port names another",
                it.listen, it.port
            );
        }
    } else {
        check_ports(&ports)?;
        record.ports = ports;
    }
    record.write(&Folder::at(beside.path().to_owned()).record())?;
    std::fs::rename(beside.keep(), Folder::of(clusters, name).root())?;
    Cluster::open(clusters, name)
}

/// Starts a cluster and says so. One that is new and does not start is removed, an old one is stopped.
async fn bring_up(mut cluster: Cluster, images: &[PathBuf], waiting: Waiting, new: bool, done: &str) -> Result<()> {
    let started = Instant::now();
    let _alone = cluster.folder.lock()?;
    let interrupted = process::until_stopped()?;
    let wait = (waiting.wait > 0).then(|| Duration::from_secs(waiting.wait));
    let was_stopped = cluster.state()? == State::Stopped;
    let outcome = match interrupted.run_until_cancelled(cluster.up(images, wait)).await {
        Some(outcome) => outcome,
        None => Err(anyhow::anyhow!("interrupted")),
    };
    let name = cluster.record.name.clone();
    if let Err(error) = outcome {
        let cleaned = match (new, was_stopped) {
            (true, _) => cluster.remove().await,
            (false, true) => cluster.down(Duration::ZERO).await,
            // What runs goes on.
            (false, false) => Ok(()),
        };
        let error = error.context(format!("cluster \"{name}\" was not {done}"));
        return Err(match cleaned {
            Ok(()) => error,
            Err(left) => error.context(format!("and not everything could be taken away: {left:#}")),
        });
    }
    say!("cluster \"{name}\" {done} in {} ms", started.elapsed().as_millis());
    say!("  kubectl --context {} get nodes", cluster.context());
    for map in &cluster.record.ports {
        say!("  {} leads to port {} of the nodes", map.listen, map.port);
    }
    Ok(())
}

fn list(clusters: &Path) -> Result<()> {
    let mut table = Table::new(&["NAME", "NODES", "CONTROL-PLANES", "STATUS", "API", "PORTS", "AGE"]);
    for name in folder::names(clusters)? {
        let cluster = match Cluster::open(clusters, &name) {
            Ok(it) => it,
            Err(error) => {
                eprintln!("warning: {error:#}");
                continue;
            }
        };
        let record = &cluster.record;
        let status = match cluster.state()? {
            State::Running => "Running".to_owned(),
            State::Stopped => "Stopped".to_owned(),
            State::Degraded(dead) => format!("Degraded ({})", dead.join(", ")),
        };
        let ports: Vec<String> = record.ports.iter().map(|it| format!("{}:{}", it.listen, it.port)).collect();
        let ports = if ports.is_empty() { "<none>".to_owned() } else { ports.join(",") };
        let age = orlop_api::duration::human(clock::now().as_second() - record.created.as_second());
        let (nodes, planes) = (record.nodes.len().to_string(), record.control_planes.to_string());
        table.push(vec![name.to_string(), nodes, planes, status, parts::host_url(record), ports, age]);
    }
    table.print(&mut std::io::stdout().lock(), true)
}

/// A program that is missing is told before anything is made.
fn needs_etcd(control_planes: u16) -> Result<()> {
    if control_planes == 1 { Ok(()) } else { etcd::program().map(drop) }
}

/// The network that is tried first.
fn first_subnet(clusters: &Path, name: &Name) -> Result<ipnet::Ipv4Net> {
    let used = subnet::used(clusters, &name.to_string())?;
    subnet::free(&used, None).next().context("no network is free for the nodes")
}

fn kubeconfig_path(globals: &Globals) -> Result<PathBuf> {
    Ok(std::path::absolute(kubeconfig::path(globals.kubeconfig.as_deref())?)?)
}

/// A port that somebody has is told before anything is made.
fn check_ports(ports: &[PortMap]) -> Result<()> {
    for it in ports {
        std::net::TcpListener::bind(it.listen)
            .with_context(|| format!("--port {}:{}: it is taken", it.listen, it.port))?;
    }
    Ok(())
}
