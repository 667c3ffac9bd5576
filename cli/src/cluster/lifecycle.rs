//! A cluster brought up and down, in order.
//!
//! Up: cables, credentials, etcd where there is one, API servers; then everything else at once. Down: whoever asks the API servers first, then pods and API
//! servers, then etcd, then what is left in the namespaces, mounts, cables. Each step finds what an interrupted one has left, so that either way may be gone again from any
//! point: `start` on a running cluster starts what has died.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::future::join_all;
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::Signal;
use orlop_agent::pods;
use orlop_apiserver::args;
use orlop_apiserver::at_rest::configuration::Configuration;
use orlop_apiserver::pki::etcd::EtcdFiles;
use orlop_apiserver::pki::{Pki, shared};
use orlop_client::{clock, connect};

use super::family;
use super::folder::Folder;
use super::name::Name;
use super::parts::{self, Part, Role};
use super::process::{self, Process, Processes};
use super::record::Record;
use super::{ready, subnet, wiring};
use crate::kubeconfig;

/// How long the parts get to end: leases are given back and statuses written in less than a second, an API server drains its requests.
const PARTS_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether a part that is waited for has died.
const DEATH_LOOK: Duration = Duration::from_millis(50);

/// A cluster.
#[derive(Debug)]
pub struct Cluster {
    pub folder: Folder,
    pub record: Record,
    clusters: PathBuf,
}

/// How a cluster is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Stopped,
    /// These parts do not run.
    Degraded(Vec<String>),
}

impl Cluster {
    /// One that is there.
    ///
    /// # Errors
    /// It is not, or its record cannot be read.
    pub fn open(clusters: &Path, name: &Name) -> Result<Self> {
        let folder = Folder::existing(clusters, name)?;
        let record = Record::read(&folder.record())?;
        Ok(Cluster { folder, record, clusters: clusters.to_owned() })
    }

    /// A new one: its folder and record, and nothing that runs.
    ///
    /// # Errors
    /// There is one of this name, or the disk refuses.
    pub fn make(clusters: &Path, name: &Name, record: Record) -> Result<Self> {
        let folder = Folder::of(clusters, name);
        if folder.record().exists() {
            bail!("there is a cluster \"{name}\" already: delete it first, or choose another name");
        }
        make_private(clusters)?;
        make_private(folder.root())?;
        record.write(&folder.record())?;
        Ok(Cluster { folder, record, clusters: clusters.to_owned() })
    }

    /// The context of the cluster in kubeconfigs.
    pub fn context(&self) -> String {
        format!("orlop-{}", self.record.name)
    }

    /// Which of its parts run.
    ///
    /// # Errors
    /// What was noted of them cannot be read.
    pub fn state(&self) -> Result<State> {
        let processes = process::read(&self.folder.processes())?;
        let lives = |part: &String| processes.get(part).is_some_and(Process::lives);
        let (living, dead): (Vec<_>, Vec<_>) = self.names(&parts::all(&self.record)).into_iter().partition(lives);
        Ok(match (living.is_empty(), dead.is_empty()) {
            (_, true) => State::Running,
            (true, _) => State::Stopped,
            _ => State::Degraded(dead),
        })
    }

    /// Brings up what does not run, and waits until nodes are ready and names are answered; without a `wait`, until everything is started. `images` are
    /// folders of archives for the nodes to load first.
    ///
    /// # Errors
    /// Something does not start, or not in time.
    pub async fn up(&mut self, images: &[PathBuf], wait: Option<Duration>) -> Result<()> {
        let bringing = self.bring_up(images, wait.is_some());
        match wait {
            None => bringing.await,
            Some(limit) => match tokio::time::timeout(limit, bringing).await {
                Ok(outcome) => outcome,
                Err(_) => bail!("the cluster is not ready within {} s\n{}", limit.as_secs(), self.tails()),
            },
        }
    }

    async fn bring_up(&mut self, images: &[PathBuf], wait: bool) -> Result<()> {
        std::fs::create_dir_all(self.folder.root().join("logs"))?;
        if !self.is_wired()? {
            self.down(Duration::ZERO).await?;
            wiring::make(&self.folder, &self.clusters, &mut self.record).await?;
        }
        self.write_credentials()?;
        let mut processes = process::read(&self.folder.processes())?;
        // What has died is started anew below.
        processes.retain(|_, it| it.lives());
        self.let_go(&processes)?;
        for part in parts::of(&self.record, &[Role::Store, Role::ApiServer, Role::Forwarder, Role::Balancer]) {
            self.start(part, images, &mut processes)?;
        }
        let client = connect::client(Some(&self.folder.kubeconfig())).await?;
        self.unless_dead(&processes, self.servers_ready(&client)).await??;
        for part in parts::of(&self.record, &[Role::Controllers, Role::Scheduler, Role::Agent]) {
            self.start(part, images, &mut processes)?;
        }
        kubeconfig::offer(&self.folder.kubeconfig(), &self.record.kubeconfig, &self.context())?;
        if !wait {
            return Ok(());
        }
        let folder = &self.folder;
        let server = family::dns(self.record.ip_family.services());
        let names = self.record.nodes.iter().map(|it| async move {
            let namespace = wiring::node(folder, it)?.with_context(|| format!("node {it} is gone"))?;
            ready::dns(&namespace, server).await
        });
        let all = async {
            let (names, ()) = tokio::join!(join_all(names), ready::nodes(&client, &self.record.nodes));
            names.into_iter().collect::<Result<()>>()
        };
        self.unless_dead(&processes, all).await?
    }

    /// Waits until every API server is well, and what leads to them.
    async fn servers_ready(&self, client: &kube::Client) -> Result<()> {
        let mut clients = vec![client.clone()];
        for at in 0..self.record.planes() {
            let mut config = connect::config(Some(&self.folder.kubeconfig())).await?;
            config.cluster_url = format!("https://{}", parts::api_address(&self.record, at)).parse()?;
            clients.push(kube::Client::try_from(config)?);
        }
        join_all(clients.iter().map(ready::api)).await;
        Ok(())
    }

    /// Ends everything that runs. Containers are asked to end, and killed after `grace`. What is on disk stays.
    ///
    /// # Errors
    /// Something does not end; the rest does.
    pub async fn down(&self, grace: Duration) -> Result<()> {
        let pods = |data: PathBuf| async move { pods::stop(&data, grace).await };
        self.take_down(pods).await
    }

    /// Ends everything, and removes every trace.
    ///
    /// # Errors
    /// Something cannot be removed; the rest is.
    pub async fn remove(&self) -> Result<()> {
        let mut outcome = self.take_down(|data: PathBuf| async move { pods::remove(&data).await }).await;
        outcome =
            outcome.and(kubeconfig::withdraw(&self.folder.kubeconfig(), &self.record.kubeconfig, &self.context()));
        outcome?;
        let root = self.folder.root();
        std::fs::remove_dir_all(root).with_context(|| format!("cannot remove {}", root.display()))
    }

    async fn take_down<F>(&self, pods: impl Fn(PathBuf) -> F) -> Result<()>
    where
        F: Future<Output = Result<(), orlop_agent::runtime::RuntimeError>>,
    {
        let mut processes = process::read(&self.folder.processes()).unwrap_or_else(|error| {
            // What runs in the cluster's namespaces is found without it.
            eprintln!("warning: it is not known which processes the cluster has: {error:#}");
            Processes::new()
        });
        self.let_go(&processes)?;
        let mut take = |roles: &[Role]| -> Vec<Process> {
            let names = self.names(&parts::of(&self.record, roles));
            names.iter().filter_map(|it| processes.remove(it)).collect()
        };
        let stores = take(&[Role::Store]);
        // Clients reach API servers through the balancers.
        let servers = take(&[Role::ApiServer, Role::Balancer, Role::Forwarder]);
        let clients: Vec<Process> = processes.into_values().collect();
        let mut outcome = process::end(&clients, PARTS_LIMIT).await;
        let nodes = self.record.nodes.iter().filter(|it| self.folder.node(it).exists());
        let pods = nodes.map(|it| {
            let ending = pods(self.folder.node(it));
            async move { ending.await.with_context(|| format!("the pods of {it}")) }
        });
        let (ended, pods) = tokio::join!(process::end(&servers, PARTS_LIMIT), join_all(pods));
        outcome = outcome.and(ended).and(pods.into_iter().collect());
        outcome = outcome.and(process::end(&stores, PARTS_LIMIT).await);
        let namespaces = wiring::namespaces(&self.folder, &self.record)?;
        let numbers: Vec<u64> = namespaces.iter().flat_map(|it| it.number()).collect();
        outcome = outcome.and(process::end(&process::in_namespaces(&numbers), Duration::ZERO).await);
        outcome = outcome.and(unmount(&self.folder.nodes()));
        outcome = outcome.and(pods::remove_cgroup(&parts::cgroup(&self.folder)).context("the cluster's cgroup"));
        outcome = outcome.and(wiring::remove(&self.folder, &self.record).await);
        if outcome.is_ok() {
            process::write(&self.folder.processes(), &Processes::new())?;
        }
        outcome
    }

    /// Lets everything go on that a snapshot has held still: it does so itself, unless it was killed.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn let_go(&self, processes: &Processes) -> Result<()> {
        pods::freeze(&parts::cgroup(&self.folder), false).context("the pods stand still")?;
        processes.values().for_each(|it| it.signal(Signal::SIGCONT));
        Ok(())
    }

    /// The ends of the logs of all parts.
    fn tails(&self) -> String {
        let tail = |part: &String| format!("--- {part} ---\n{}", parts::tail(&self.folder, part));
        self.names(&parts::all(&self.record)).iter().map(tail).collect::<Vec<_>>().join("\n")
    }

    fn names(&self, parts: &[Part]) -> Vec<String> {
        parts.iter().map(|it| it.name(&self.record)).collect()
    }

    fn is_wired(&self) -> Result<bool> {
        let namespaces = wiring::namespaces(&self.folder, &self.record)?.len();
        let link = Path::new("/sys/class/net").join(subnet::link(self.record.subnet));
        Ok(namespaces == self.record.nodes.len() + 1 && link.exists())
    }

    /// Starts a part that does not run, and notes it.
    fn start(&self, part: Part, images: &[PathBuf], processes: &mut Processes) -> Result<()> {
        let name = part.name(&self.record);
        if processes.get(&name).is_some_and(Process::lives) {
            return Ok(());
        }
        processes.insert(name, parts::start(&self.folder, &self.record, part, images)?);
        process::write(&self.folder.processes(), processes)
    }

    /// Waits for something, unless a part dies first.
    async fn unless_dead<T>(&self, processes: &Processes, waited: impl Future<Output = T>) -> Result<T> {
        let dead = async {
            loop {
                tokio::time::sleep(DEATH_LOOK).await;
                if let Some((part, _)) = processes.iter().find(|it| !it.1.lives()) {
                    return anyhow!("{part} has ended: {}", parts::tail(&self.folder, part));
                }
            }
        };
        tokio::select! {
            it = waited => Ok(it),
            error = dead => Err(error),
        }
    }

    /// Makes the keys and certificates, or brings them up to the nodes' addresses, and everybody's kubeconfigs with them.
    fn write_credentials(&self) -> Result<()> {
        let (record, now, url) = (&self.record, clock::now(), parts::node_url(&self.record));
        let first = self.folder.control_plane(0);
        for at in 0..record.planes() {
            let data = self.folder.control_plane(at);
            if at > 0 {
                shared::share(&first, &data)?;
            }
            let mut config = orlop_apiserver::Config::new("embedded", &data);
            config.listen = Some(parts::api_address(record, at));
            // The server's own names are these, and that of the machine it sees: its node.
            config.service_cidr = record.ip_family.services();
            config.extra_sans = vec![record.name.clone(), record.nodes[at].clone()];
            config.extra_sans.extend((record.planes() > 1).then(|| record.gateway().to_string()));
            let service = config.kubernetes_service_address();
            let pki = Pki::open(&data, &args::names(&config), service, now)?;
            pki.write_kubeconfigs(&url, now)?;
            if record.planes() > 1 {
                let address = IpAddr::V4(record.member_address(at));
                EtcdFiles::open(&data, &record.nodes[at], &[address], now)?;
            }
            if at == 0 {
                // Before others are given the same.
                Configuration::open(None, &data)?;
                for (at, node) in record.nodes.iter().enumerate() {
                    make_private(&self.folder.node(node))?;
                    pki.write_node(node, &record.addresses(at), &url, now)?;
                }
            }
        }
        let mut own = kube::config::Kubeconfig::read_from(first.join("kubeconfig"))?;
        for it in own.clusters.iter_mut().filter_map(|it| it.cluster.as_mut()) {
            it.server = Some(parts::host_url(record));
        }
        kubeconfig::write(&self.folder.kubeconfig(), &kubeconfig::renamed(own, &self.context()))
    }
}

/// Unmounts everything below a folder: what pods had is of no use to a new one, and a reboot would have taken it, too.
fn unmount(below: &Path) -> Result<()> {
    let Ok(below) = below.canonicalize() else { return Ok(()) };
    let text = std::fs::read_to_string("/proc/self/mountinfo")?;
    // The field's escapes do not matter: paths with blanks are told by their unescaped beginning.
    let points = text.lines().filter_map(|it| it.split(' ').nth(4)).map(|it| PathBuf::from(it.replace("\\040", " ")));
    let ours: Vec<PathBuf> = points.filter(|it| it.starts_with(&below)).collect();
    // The last first: it may lie upon or within another.
    for it in ours.iter().rev() {
        umount2(it, MntFlags::MNT_DETACH).with_context(|| format!("cannot unmount {}", it.display()))?;
    }
    Ok(())
}

fn make_private(folder: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make {}", folder.display()))
}
