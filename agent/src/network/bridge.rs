//! The pod network of a real node: a bridge, a pair of links per pod, and rules for what leaves.
//!
//! Pods are on the node's bridge, which has the first address of the node's range and is their gateway. Nodes of one host reach each other's
//! pods through the host's own routes, those of several by [`super::overlay`]. What goes to addresses outside the cluster's range is masqueraded. Where
//! there is a range of each family, all of this is so of both. An address is noted in the ledger before it is used, and the host's end of each pair carries the pod's uid, so that either can be made whole from the
//! other. Nothing here runs by itself: [`super::tend`] calls [`PodNetwork::refresh`].

use std::net::IpAddr;
use std::path::PathBuf;

use async_trait::async_trait;
use ipnet::IpNet;
use orlop_api::ranges::Ranges;
use parking_lot::Mutex;

use super::addresses::Addresses;
use super::command;
use super::forward;
use super::ips::Ips;
use super::ledger::{Entries, Entry, Ledger};
use super::link::{Links, Pair, mac};
use super::names::{Names, POD_INTERFACE, SHORTEST_PREFIX};
use super::namespace::Namespace;
use super::overlay::{self, Overlay};
use super::ruleset::{self, Ruleset};
use super::{HostPort, NetworkError, PodNetwork};

/// What a node's network is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names the bridge and the tables; two nodes on one host differ in it.
    pub node_name: String,
    /// The node's ranges of pod addresses: a /24 by default, of IPv6 a /64.
    pub pod_cidr: Ranges,
    /// All pods' ranges: packets to them keep their source.
    pub cluster_cidr: Ranges,
    /// Where the ledger is kept.
    pub data_dir: PathBuf,
    /// How other nodes' pods are reached: packets must fit into a tunnel where there is one.
    pub overlay: Overlay,
}

/// A node's pod network.
#[derive(Debug)]
pub struct BridgeNetwork {
    config: Config,
    names: Names,
    ledger: Ledger,
    links: Links,
    book: Mutex<Book>,
    /// Held while the node's own parts are made or removed, so that two calls do not undo each other's.
    node: tokio::sync::Mutex<()>,
    /// Held from reading the book to the rules' being set, so that an older table does not replace a newer.
    rules: tokio::sync::Mutex<()>,
}

/// Who has what; the ledger is its copy on disk.
#[derive(Debug)]
struct Book {
    addresses: Addresses,
    entries: Entries,
}

impl BridgeNetwork {
    /// Makes or finds the node's bridge and rules, and learns which addresses are taken.
    pub async fn open(config: Config) -> Result<Self, NetworkError> {
        let ranges = config.pod_cidr;
        let fits = |range: IpNet| {
            let fits_a_name = range.addr().is_ipv6() || range.prefix_len() >= SHORTEST_PREFIX;
            fits_a_name && config.cluster_cidr.iter().any(|it| it.contains(&range))
        };
        let addresses = Addresses::new(ranges).filter(|_| ranges.iter().all(fits)).ok_or_else(|| {
            NetworkError::Config(format!(
                "pod CIDR {ranges} must lie within the cluster CIDR {} and be between /{SHORTEST_PREFIX} and /30, of IPv6 \
                 no longer than /126",
                config.cluster_cidr
            ))
        })?;
        let ledger = Ledger::open(&config.data_dir)?;
        let mut book = Book { addresses, entries: Entries::new() };
        for (pod, entry) in ledger.read()? {
            book.restore(pod, entry);
        }
        let names = Names::of(&config.node_name);
        let links = Links::open()?;
        // What the ledger lost, the links still know.
        for (name, link) in links.all().await? {
            let address = names.offset(&name).and_then(|it| book.addresses.address_at(it));
            if let (Some(address), Some(pod)) = (address, link.alias) {
                book.restore(pod, Entry { address: address.primary(), host_ports: Vec::new() });
            }
        }
        let network = Self {
            config,
            names,
            ledger,
            links,
            book: Mutex::new(book),
            node: Default::default(),
            rules: Default::default(),
        };
        network.ledger.write(&network.book.lock().entries)?;
        network.refresh().await?;
        Ok(network)
    }

    /// The node's addresses in its own ranges: its pods' gateway.
    pub fn gateway(&self) -> Ips {
        self.book.lock().addresses.gateway()
    }

    /// The largest packet of a pod: that of the way out, less what the tunnel takes if there is one.
    async fn mtu(&self) -> Result<u32, NetworkError> {
        let outward = self.links.outward_mtu().await?;
        let tunnelled = self.config.overlay == Overlay::Vxlan || self.links.find(&self.names.tunnel).await?.is_some();
        Ok(if tunnelled { outward.saturating_sub(overlay::tunnel_bytes(self.config.pod_cidr)) } else { outward })
    }

    async fn apply_ruleset(&self) -> Result<(), NetworkError> {
        let _alone = self.rules.lock().await;
        let text = {
            let book = self.book.lock();
            let (names, addresses, pods) = (&self.names, &book.addresses, &book.entries);
            let Config { pod_cidr, cluster_cidr, .. } = self.config;
            Ruleset { names, pod_cidr, cluster_cidr, pods, addresses }.text()
        };
        command::run("nft", "nftables", &["-f", "-"], &text).await
    }

    /// Notes a pod's address and ports before either is used; tells whether the ports changed.
    fn enter(&self, pod: &str, host_ports: &[HostPort]) -> Result<(Ips, bool), NetworkError> {
        let mut book = self.book.lock();
        let ranges = book.addresses.ranges();
        let address = book.addresses.take(pod).ok_or_else(|| NetworkError::Exhausted(ranges.to_string()))?;
        let entry = Entry { address: address.primary(), host_ports: host_ports.to_vec() };
        let before = book.entries.insert(pod.to_owned(), entry.clone());
        if before.as_ref() != Some(&entry)
            && let Err(error) = self.ledger.write(&book.entries)
        {
            // What is not noted is not given.
            match before {
                Some(before) => drop(book.entries.insert(pod.to_owned(), before)),
                None => {
                    book.entries.remove(pod);
                    book.addresses.release(pod);
                }
            }
            return Err(error);
        }
        let ports_before = before.map(|it| it.host_ports).unwrap_or_default();
        Ok((address, ports_before != host_ports))
    }

    /// Connects a namespace, unless it is connected as it should be.
    async fn connect(&self, pod: &str, namespace: &Namespace, addresses: Ips) -> Result<(), NetworkError> {
        let offset = self.book.lock().addresses.offset_of(pod);
        let offset = offset.ok_or_else(|| NetworkError::Config(format!("pod {pod} has no address")))?;
        let name = self.names.veth(offset);
        let prefixes: Vec<(IpAddr, u8)> = self.prefixes(addresses);
        let gateway = self.gateway();
        let bridge = self.links.expect(&self.names.bridge).await?;
        let host_end = self.links.find(&name).await?;
        // A pair from an earlier sandbox, or one whose making was cut short, is made anew; a whole one is left as it is, because
        // connections go through it.
        let kept = namespace
            .run("look into the pod's namespace", move || async move {
                let links = Links::open()?;
                let Some(link) = links.find(POD_INTERFACE).await? else { return Ok(false) };
                let whole = host_end.is_some() && links.has_address(link.index, addresses.primary()).await?;
                if !whole {
                    links.remove(POD_INTERFACE).await?;
                }
                Ok(whole)
            })
            .await?;
        if !kept {
            self.links.remove(&name).await?;
            let (mac, mtu) = (mac(addresses.primary()), bridge.mtu);
            let pair = Pair { name: &name, peer: POD_INTERFACE, namespace, bridge: bridge.index, mac, mtu };
            self.links.pair(&pair).await?;
        }
        self.links.port(&name, bridge.index, pod).await?;
        namespace
            .run("set up the pod's interface", move || async move {
                let links = Links::open()?;
                links.up(links.expect("lo").await?.index).await?;
                let link = links.expect(POD_INTERFACE).await?;
                if addresses.iter().any(|it| it.is_ipv6()) {
                    // Some engines switch the family off. Who is the router is told here, and by no pod.
                    set("net/ipv6/conf/all/disable_ipv6", "0")?;
                    set(&format!("net/ipv6/conf/{POD_INTERFACE}/disable_ipv6"), "0")?;
                    set(&format!("net/ipv6/conf/{POD_INTERFACE}/accept_ra"), "0")?;
                }
                for (address, prefix) in prefixes {
                    links.address(link.index, address, prefix, true).await?;
                }
                links.up(link.index).await?;
                for it in gateway.iter() {
                    links.default_route(it).await?;
                }
                Ok(())
            })
            .await
    }

    /// Addresses of the node's ranges with the bits of their networks.
    fn prefixes(&self, addresses: Ips) -> Vec<(IpAddr, u8)> {
        let ranges = self.config.pod_cidr;
        let of = |it: IpAddr| ranges.iter().find(|range| range.contains(&it)).map(|range| (it, range.prefix_len()));
        addresses.iter().filter_map(of).collect()
    }
}

impl Book {
    /// Takes over what a ledger or a link says, where it can be true.
    fn restore(&mut self, pod: String, entry: Entry) {
        if self.addresses.restore(&pod, entry.address) {
            self.entries.entry(pod).or_insert(entry);
        }
    }
}

#[async_trait]
impl PodNetwork for BridgeNetwork {
    async fn attach(
        &self,
        pod_uid: &str,
        netns_pid: Option<u32>,
        host_ports: &[HostPort],
    ) -> Result<Ips, NetworkError> {
        let pid =
            netns_pid.ok_or_else(|| NetworkError::Config("a sandbox without a process cannot be attached".into()))?;
        let namespace = Namespace::of_process(pid)?;
        let known = self.book.lock().entries.get(pod_uid).map(|it| it.host_ports.clone()).unwrap_or_default();
        host_ports.iter().filter(|it| !known.contains(it)).try_for_each(HostPort::is_free)?;
        let (address, ports_changed) = self.enter(pod_uid, host_ports)?;
        self.connect(pod_uid, &namespace, address).await?;
        // Also where they did not change: an earlier attempt may have noted them and failed to set them.
        if ports_changed || !host_ports.is_empty() {
            self.apply_ruleset().await?;
        }
        Ok(address)
    }

    fn address_of(&self, pod_uid: &str) -> Option<Ips> {
        self.book.lock().addresses.of(pod_uid)
    }

    async fn detach(&self, pod_uid: &str) -> Result<(), NetworkError> {
        let Some(offset) = self.book.lock().addresses.offset_of(pod_uid) else { return Ok(()) };
        self.links.remove(&self.names.veth(offset)).await?;
        // The address is free only when nothing uses it any more.
        let had_ports = {
            let mut book = self.book.lock();
            let entry = book.entries.remove(pod_uid);
            book.addresses.release(pod_uid);
            self.ledger.write(&book.entries)?;
            entry.is_some_and(|it| !it.host_ports.is_empty())
        };
        if had_ports {
            self.apply_ruleset().await?;
        }
        Ok(())
    }

    async fn reconcile(&self, pod_uids: &[&str]) -> Result<(), NetworkError> {
        let gone: Vec<String> = {
            let book = self.book.lock();
            book.addresses.iter().map(|it| it.0).filter(|it| !pod_uids.contains(it)).map(str::to_owned).collect()
        };
        for pod in gone {
            self.detach(&pod).await?;
        }
        for name in self.links.all().await?.keys() {
            let Some(offset) = self.names.offset(name) else { continue };
            let taken = self.book.lock().addresses.is_taken(offset);
            if !taken {
                self.links.remove(name).await?;
            }
        }
        Ok(())
    }

    async fn refresh(&self) -> Result<(), NetworkError> {
        let _alone = self.node.lock().await;
        let gateway = self.gateway();
        let mtu = self.mtu().await?;
        let bridge = self.links.bridge(&self.names.bridge, mac(gateway.primary()), mtu).await?;
        let ranges = self.config.pod_cidr;
        if ranges.ipv6().is_some() {
            set("net/ipv6/conf/all/forwarding", "1")?;
            // No pod tells the node who is a router.
            set(&format!("net/ipv6/conf/{}/disable_ipv6", self.names.bridge), "0")?;
            set(&format!("net/ipv6/conf/{}/accept_ra", self.names.bridge), "0")?;
        }
        for (address, prefix) in self.prefixes(gateway) {
            self.links.address(bridge, address, prefix, true).await?;
        }
        if ranges.ipv4().is_some() {
            set("net/ipv4/ip_forward", "1")?;
            // A host port on 127.0.0.1 leaves the host with that source until it is masqueraded; the table drops what a pod sends there.
            set(&format!("net/ipv4/conf/{}/route_localnet", self.names.bridge), "1")?;
        }
        self.apply_ruleset().await?;
        forward::ensure(&self.names.bridge, &self.names.tag, ranges.ipv4().is_some(), ranges.ipv6().is_some()).await
    }

    async fn teardown(&self) -> Result<(), NetworkError> {
        let _alone = self.node.lock().await;
        remove_node(&self.names, &self.links).await?;
        let mut book = self.book.lock();
        for pod in std::mem::take(&mut book.entries).into_keys() {
            book.addresses.release(&pod);
        }
        self.ledger.remove()
    }
}

/// Takes the network of a node away that no agent serves any more: its links, its rules, its ledger.
///
/// # Errors
/// When something cannot be removed.
pub async fn remove(node_name: &str, data_dir: &std::path::Path) -> Result<(), NetworkError> {
    remove_node(&Names::of(node_name), &Links::open()?).await?;
    Ledger::open(data_dir)?.remove()
}

async fn remove_node(names: &Names, links: &Links) -> Result<(), NetworkError> {
    for name in links.all().await?.keys() {
        if names.offset(name).is_some() {
            links.remove(name).await?;
        }
    }
    overlay::remove(names, links).await?;
    links.remove(&names.bridge).await?;
    forward::remove(&names.bridge, &names.tag).await?;
    command::run("nft", "nftables", &["-f", "-"], &ruleset::removal(names)).await
}

/// Sets a setting of the kernel, in the namespace of the calling thread, if it is not so.
fn set(name: &str, value: &str) -> Result<(), NetworkError> {
    let path = format!("/proc/sys/{name}");
    let failed = |it: std::io::Error| NetworkError::Kernel { what: path.clone(), reason: it.to_string() };
    // On this thread: it is the thread whose namespace the file shows, and it takes no time.
    if std::fs::read_to_string(&path).map_err(failed)?.trim() == value {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(failed)
}
