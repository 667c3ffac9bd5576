//! An agent from its settings to its end: the runtime, the node, the network, then the pods.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use orlop_api::ranges::Ranges;
use orlop_client::events::Recorder;
use orlop_client::swap::Swap;
use orlop_client::{Informer, Store, agent, connect, random, turns};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Bells};
use crate::alone::{self, Alone};
use crate::chosen::Chosen;
use crate::config::{Address, Args, Config, NetworkKind, RuntimeKind, ServingCertificate};
use crate::credentials::{Folder, Rotation};
use crate::dns::listen::{Listener, Settings};
use crate::host::Host;
use crate::images::Images;
use crate::images::ledger::Ledger;
use crate::local::Door;
use crate::machine::NodeFacts;
use crate::machine::resize::Share;
use crate::network::addresses::gateway;
use crate::network::bridge::{self, BridgeNetwork};
use crate::network::cni::CniNetwork;
use crate::network::hollow::HollowNetwork;
use crate::network::ips::Ips;
use crate::network::overlay::{self, peers::PeerView};
use crate::network::{PodNetwork, tend};
use crate::node::capacity::own_addresses;
use crate::node::lease::NodeLease;
use crate::node::{About, Capacity, NodeKeeper};
use crate::policy;
use crate::policy::keeper::Policies;
use crate::power_off::PowerOff;
use crate::pressure::{self, Board};
use crate::references::References;
use crate::resolver::ClusterDns;
use crate::rules::kernel::COMPARE_EVERY;
use crate::runtime::{Runtime, RuntimeError};
use crate::server::{Logs, Server, ServerError};
use crate::services::keeper::{self, Keeper};
use crate::services::table::Dns;
use crate::services::view::Known;
use crate::shares::Shares;
use crate::statics;
use crate::telling::Teller;
use crate::usage::meter::Meter;
use crate::volumes::{self, Volumes};

/// How long the value of a label may be.
const LABEL_BYTES: usize = 63;
/// The folder of seccomp profiles in a data directory.
const SECCOMP: &str = "seccomp";
/// Requests to the API that are under way at once: more would not be answered sooner, and each takes a connection.
const REQUESTS: usize = 8;
/// How long between two attempts to open the network or reach the runtime.
const RETRY: Duration = Duration::from_secs(2);

/// Why an agent cannot run at all. What may pass by itself is not here: it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("the data directory {path}: {source}")]
    DataDir {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the runtime: {0}")]
    Runtime(#[from] RuntimeError),
    #[error("the port for logs: {0}")]
    Server(#[from] crate::server::ServerError),
    #[error("the credentials: {0}")]
    Connect(#[from] connect::Error),
    #[error("the arguments: {0}")]
    Args(#[source] std::io::Error),
}

/// Runs an agent as a process of its own: with the credentials of a kubeconfig, and with connections of its own.
///
/// # Errors
/// Settings that cannot work.
pub async fn run_apart(args: Args, kubeconfig: Option<&Path>, shutdown: CancellationToken) -> Result<(), AgentError> {
    let rotates = args.rotate_certificates;
    let mut config = Config::try_from(args).map_err(AgentError::Args)?;
    let folder = Folder::of(&config.data_dir);
    let in_folder = folder.kubeconfig();
    if rotates && kubeconfig.is_some_and(|it| it != in_folder) {
        // What is renewed lies beside that one, and another would not see it.
        let why = format!("--rotate-certificates takes the kubeconfig of the data directory, {}", in_folder.display());
        return Err(AgentError::Args(std::io::Error::other(why)));
    }
    let kubeconfig = if rotates { Some(in_folder.as_path()) } else { kubeconfig };
    let settings = connect::config(kubeconfig).await?;
    if config.client_ca_pem.is_none() {
        config.client_ca_pem = settings.root_cert.as_deref().map(crate::config::pem);
    }
    let mut client = connect::client(kubeconfig).await?;
    // A connection of its own for the lease: no load on the other makes the node look dead.
    let mut lease_client = connect::client(kubeconfig).await?;
    if let Some(path) = kubeconfig.filter(|_| rotates) {
        let swaps = vec![Swap::new(client), Swap::new(lease_client)];
        (client, lease_client) = (swaps[0].client(), swaps[1].client());
        let rotation = Rotation::new(folder, &config.node_name, path.to_owned(), swaps);
        let rotation = rotation.map_err(|it| AgentError::Server(ServerError::Tls(it)))?;
        config.serving = ServingCertificate::Rotated(rotation.beside(&settings.cluster_url));
    }
    run_with_lease_client(config, client, lease_client, shutdown).await
}

/// Runs an agent until `shutdown`, which leaves its pods running.
///
/// # Errors
/// Settings that cannot work.
pub async fn run(config: Config, client: kube::Client, shutdown: CancellationToken) -> Result<(), AgentError> {
    run_with_lease_client(config, client.clone(), client, shutdown).await
}

/// As [`run`]; `lease_client` has a connection of its own, so that load on the other
/// does not make the node look dead.
///
/// # Errors
/// Settings that cannot work.
pub async fn run_with_lease_client(
    config: Config,
    client: kube::Client,
    lease_client: kube::Client,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    // A command of this machine may stop this agent, and not whatever else runs in the process.
    let shutdown = shutdown.child_token();
    let client = agent::named(&client, agent::KUBELET);
    let lease_client = agent::named(&lease_client, agent::KUBELET);
    if let Some(count) = config.hollow_nodes {
        crate::fleet::run(&config, count, client, shutdown).await;
        return Ok(());
    }
    let client = turns::in_turn(&client, REQUESTS);
    // Paths of volumes go to the runtime, which has another working directory.
    let data_dir = std::fs::create_dir_all(&config.data_dir)
        .and_then(|()| config.data_dir.canonicalize())
        .map_err(|source| AgentError::DataDir { path: config.data_dir.display().to_string(), source })?;
    let config = Config { data_dir, ..config };
    let hollow = config.runtime == RuntimeKind::Hollow;
    let Chosen { runtime, loader } = crate::chosen::open(&config).await?;
    let power_off = PowerOff::new(config.shutdown_periods.clone());
    power_off.heed_signal(&shutdown);
    let _door = Door::open(&config.data_dir, Arc::clone(&loader), power_off.clone(), shutdown.clone())
        .map_err(|source| AgentError::DataDir { path: config.data_dir.display().to_string(), source })?;
    let logs = Logs::default();
    // Before the node has its range there is no gateway to be reached by.
    let addresses = match config.address {
        Some(Address::At(it)) => it,
        Some(Address::Gateway) => IpAddr::V4(Ipv4Addr::LOCALHOST).into(),
        None => own_addresses(&config.cluster_cidr.iter().collect::<Vec<_>>()),
    };
    let capacity = Capacity::of_this_machine(&config.data_dir);
    let allocatable = config.eviction.allocatable(&capacity);
    let pressure = Board::default();
    let about = About {
        name: config.node_name.clone(),
        addresses,
        capacity: capacity.clone(),
        allocatable: allocatable.clone(),
        pressure: Some(pressure.clone()).filter(|_| !hollow),
        power_off: power_off.clone(),
        data_dir: config.data_dir.clone(),
        port: None,
    };
    let mut keeper = NodeKeeper { about, api: Api::<Node>::all(client.clone()), runtime: Arc::clone(&runtime) };
    let files = config
        .pod_manifest_path
        .clone()
        .filter(|_| !hollow)
        .map(|it| statics::folder::follow(it, &config.node_name, shutdown.clone()));
    let (renewed_sender, renewed) = watch::channel(Instant::now());
    if config.fence_after.is_some() {
        tokio::spawn(pass_on_contact(Arc::clone(&runtime), renewed.clone()));
    }
    let known = async {
        let node = keeper.register(&shutdown).await?;
        let node_uid = node.metadata.uid.clone().unwrap_or_default();
        renewed_sender.send_replace(Instant::now());
        let lease = NodeLease { node: config.node_name.clone(), node_uid, duration: config.lease_duration };
        tokio::spawn(lease.keep(lease_client, renewed_sender, shutdown.clone()));
        keeper.pod_cidr(node, &shutdown).await
    };
    let alone = Alone {
        config: &config,
        client: &client,
        runtime: &runtime,
        capacity: &capacity,
        power_off: &power_off,
        addresses,
        files: files.clone(),
    };
    let Some(pod_cidr) = alone.until(Box::pin(known)).await else { return Ok(()) };
    alone::remember(&config.data_dir, pod_cidr);
    let Some(network) = open_network(&config, &runtime, pod_cidr, hollow, &shutdown).await else { return Ok(()) };
    tokio::spawn(tend(Arc::clone(&network), shutdown.clone()));
    let addresses = match config.address {
        Some(Address::Gateway) if !hollow => gateway(pod_cidr),
        _ => addresses,
    };
    // An address that was chosen is the one to listen on; where it was found, others may lead here, too.
    let listen = match addresses.primary() {
        it if config.address.is_some() => it,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let server = Server::start(&config, Arc::clone(&runtime), logs.clone(), listen, shutdown.clone()).await?;
    keeper.about.addresses = addresses;
    keeper.about.port = Some(server.port());
    if keeper.register(&shutdown).await.is_none() {
        return Ok(());
    }
    let own = config.network == NetworkKind::Own;
    if !hollow && own {
        reach_others(&config, &client, pod_cidr, addresses, &network, &shutdown);
    }
    if let ServingCertificate::Rotated(it) = &config.serving {
        it.start(&client, addresses, &shutdown);
    }
    let labels = keeper.about.labels();
    let runtime_name = runtime_name(&runtime, &shutdown).await;
    let keeping = shutdown.clone();
    tokio::spawn(async move { keeper.keep(keeping).await });

    // Pods that are there already must find them.
    if shutdown.run_until_cancelled(crate::stock::load(&loader, &config.load_images)).await.is_none() {
        return Ok(());
    }
    let (mut services, mut policies) = (None, None);
    if !hollow {
        // The DNS is where the pods reach the node, and where nobody else is asked for it if there is such a place.
        let servers = if own { gateway(pod_cidr) } else { addresses };
        let (known, dns) = serve_services(&config, &client, servers, &shutdown).await;
        services = Some(known);
        policies = Some(keep_policies(&config, &client, &network, dns, &shutdown));
    }
    let recorder = Recorder::start(client.clone(), "kubelet", &config.node_name, shutdown.clone());
    let teller = Teller(recorder);
    let pods = Informer::<Pod>::new(client.clone())
        .fields(&format!("spec.nodeName={}", config.node_name))
        .start(shutdown.clone());
    let (host, bells) = host(
        &config,
        client,
        pods,
        runtime,
        network,
        services,
        policies,
        teller,
        &capacity,
        addresses,
        runtime_name,
        pressure,
        power_off,
    );
    logs.serve(Arc::clone(&host));
    // A node whose name is too long for a label is given no such volumes.
    if !hollow && config.node_name.len() <= LABEL_BYTES {
        let keeper = volumes::keeper::Keeper {
            node: config.node_name.clone(),
            client: host.client.clone(),
            volumes: host.volumes.clone(),
            recorder: host.teller.0.clone(),
        };
        tokio::spawn(keeper.run(shutdown.clone()));
    }
    if !hollow {
        let (host, bells) = (Arc::clone(&host), Arc::clone(&bells));
        let keeper =
            pressure::keeper::Keeper { host, bells, settings: config.eviction.clone(), images: config.image_policy };
        tokio::spawn(keeper.run(shutdown.clone()));
    }
    tracing::info!(node = config.node_name, runtime = host.facts.runtime, address = %addresses, %pod_cidr, port = server.port(), "the agent runs");
    let agent = Agent::new(host, bells, allocatable, labels, shutdown.clone()).with_statics(files);
    agent.run(renewed, config.fence_after).await;
    server.stopped().await;
    Ok(())
}

/// Has the runtime know of each renewal of the node's lease: its pods may have to end by themselves, should this process die.
async fn pass_on_contact(runtime: Arc<dyn Runtime>, mut renewed: watch::Receiver<Instant>) {
    // It ends with who renews.
    while renewed.changed().await.is_ok() {
        let at = *renewed.borrow_and_update();
        runtime.had_contact(at.elapsed());
    }
}

/// The interfaces by which packets of this node's pods come, where that is not the agent's own bridge.
fn interfaces(config: &Config) -> Option<String> {
    (config.network == NetworkKind::Cni).then(|| config.cni_interfaces.clone())
}

/// Starts what leads to the pods of other nodes.
fn reach_others(
    config: &Config,
    client: &kube::Client,
    pod_cidr: Ranges,
    addresses: Ips,
    network: &Arc<dyn PodNetwork>,
    shutdown: &CancellationToken,
) {
    let nodes = Informer::<PeerView>::new(client.clone()).start(shutdown.clone());
    let settings = overlay::keeper::Config {
        node_name: config.node_name.clone(),
        pod_cidr,
        cluster_cidr: config.cluster_cidr,
        addresses,
        overlay: config.overlay,
        compare_every: overlay::keeper::COMPARE_EVERY,
    };
    let keeper = overlay::keeper::Keeper::new(settings, nodes, Arc::clone(network));
    tokio::spawn(keeper.run(shutdown.clone()));
}

/// Starts what serves the cluster's services on this node: the rules, and the DNS. A node without its DNS is better than none: pods ask it
/// in vain until the agent is started anew, which the log says.
async fn serve_services(
    config: &Config,
    client: &kube::Client,
    servers: Ips,
    shutdown: &CancellationToken,
) -> (Known, Option<Dns>) {
    let known = Known::follow(client, &config.node_name, shutdown);
    let mut dns = None;
    let server = config.cluster_dns.map(|address| (address, servers.like(address)));
    if let Some((address, None)) = server {
        tracing::error!(%address, %servers, "the cluster's DNS has an address of a family that the node has none of for pods");
    }
    if let Some((address, Some(server))) = server {
        let bound = Listener::bind(server).await.and_then(|it| it.ports().map(|ports| (it, ports)));
        match bound {
            Ok((listener, (udp_port, tcp_port))) => {
                dns = Some(Dns { address, server, udp_port, tcp_port });
                let settings = Settings { domain: config.cluster_domain.clone(), address };
                tokio::spawn(listener.run(settings, known.clone(), None, shutdown.clone()));
            }
            Err(error) => {
                tracing::error!(%error, %server, "the cluster's DNS cannot listen at the node's address for pods")
            }
        }
    }
    let settings = keeper::Config {
        node_name: config.node_name.clone(),
        cluster_cidrs: config.cluster_cidr.iter().collect(),
        dns: dns.clone(),
        interfaces: interfaces(config),
        compare_every: COMPARE_EVERY,
    };
    tokio::spawn(Keeper::new(settings, known.clone()).run(shutdown.clone()));
    (known, dns)
}

/// Starts what isolates this node's pods as the network policies say.
fn keep_policies(
    config: &Config,
    client: &kube::Client,
    network: &Arc<dyn PodNetwork>,
    dns: Option<Dns>,
    shutdown: &CancellationToken,
) -> Policies {
    let known = policy::view::Known::new();
    known.follow_policies(client, shutdown);
    let network = Arc::clone(network);
    let settings = policy::keeper::Config {
        node_name: config.node_name.clone(),
        dns,
        ledger: Some(Arc::new(move |uid| network.address_of(uid))),
        interfaces: interfaces(config),
        compare_every: COMPARE_EVERY,
    };
    let keeper = policy::keeper::Keeper::new(settings, known, Some(client.clone()));
    let policies = keeper.policies();
    tokio::spawn(keeper.run(shutdown.clone()));
    policies
}

#[allow(clippy::too_many_arguments)] // The parts of one struct, put together once.
pub(crate) fn host(
    config: &Config,
    client: kube::Client,
    pods: Store<Pod>,
    runtime: Arc<dyn Runtime>,
    network: Arc<dyn PodNetwork>,
    services: Option<Known>,
    policies: Option<Policies>,
    teller: Teller,
    capacity: &Capacity,
    addresses: Ips,
    runtime_name: String,
    pressure: Board,
    power_off: PowerOff,
) -> (Arc<Host>, Bells) {
    let bells: Bells = Arc::new(Mutex::default());
    let ring = Arc::clone(&bells);
    let wake = Arc::new(move |uid: &str| {
        if let Some(it) = ring.lock().get(uid) {
            it.references_changed();
        }
    });
    let allocatable = config.eviction.allocatable(capacity);
    let host = Host {
        node_name: config.node_name.clone(),
        client: client.clone(),
        pods,
        images: Images::new(Arc::clone(&runtime), teller.clone(), Ledger::open(&config.data_dir)),
        volumes: Volumes::new(&config.data_dir),
        references: References::new(client, wake),
        teller,
        meter: Meter::default(),
        pressure,
        power_off,
        facts: NodeFacts { host_ips: Some(addresses), runtime: runtime_name },
        memory_bytes: capacity.memory_bytes,
        seccomp_profiles: config.data_dir.join(SECCOMP),
        pids_limit: config.pod_max_pids,
        shares: Shares::new(Share { cpu_milli: allocatable.cpu_milli, memory_bytes: allocatable.memory_bytes }),
        allocatable: [
            ("cpu".to_owned(), orlop_api::quantity::Quantity::from_millis(allocatable.cpu_milli)),
            (
                "memory".to_owned(),
                orlop_api::quantity::Quantity::from_millis(allocatable.memory_bytes.saturating_mul(1000)),
            ),
        ]
        .into(),
        runtime,
        network,
        cluster_dns: config
            .cluster_dns
            .filter(|_| services.is_some())
            .map(|address| ClusterDns { address, domain: config.cluster_domain.clone() }),
        services,
        policies,
    };
    (Arc::new(host), bells)
}

pub(crate) async fn open_network(
    config: &Config,
    runtime: &Arc<dyn Runtime>,
    pod_cidr: Ranges,
    hollow: bool,
    shutdown: &CancellationToken,
) -> Option<Arc<dyn PodNetwork>> {
    if config.network == NetworkKind::Cni {
        return Some(Arc::new(CniNetwork::of(Arc::clone(runtime))));
    }
    loop {
        let opened: Result<Arc<dyn PodNetwork>, _> = if hollow {
            HollowNetwork::open(pod_cidr).map(|it| Arc::new(it) as _)
        } else {
            let settings = bridge::Config {
                node_name: config.node_name.clone(),
                pod_cidr,
                cluster_cidr: config.cluster_cidr,
                data_dir: config.data_dir.clone(),
                overlay: config.overlay,
            };
            BridgeNetwork::open(settings).await.map(|it| Arc::new(it) as _)
        };
        match opened {
            Ok(it) => return Some(it),
            Err(error) => tracing::error!(%error, "the pod network could not be made; it is tried again"),
        }
        shutdown.run_until_cancelled(tokio::time::sleep(random::jitter(RETRY, 0.5))).await?;
    }
}

/// The runtime's name for container ids; waits for a runtime that has yet to come up.
pub(crate) async fn runtime_name(runtime: &Arc<dyn Runtime>, shutdown: &CancellationToken) -> String {
    loop {
        match runtime.info().await {
            Ok(it) => return it.name,
            Err(error) => tracing::warn!(%error, "waiting for the container runtime"),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(random::jitter(RETRY, 0.5))).await.is_none() {
            return String::new();
        }
    }
}
