//! The table of Services: the maps and sets that all services share, and the chains that lead packets through them. Pure.

use std::collections::BTreeMap;

use super::protocol::Protocol;
use crate::rules::fragment::{self, Place as _};
use crate::rules::table::{Chain, Family, Rule, Set, Table};

/// The maps and sets that all services share. A packet is looked up by where it goes; the maps of endpoints add the slot that chance drew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Address, protocol and port of a service → what to do.
    Services,
    /// Protocol and port on any of the node's addresses → what to do.
    NodePorts,
    /// Address and port of a service and a slot → address and port of an endpoint. There is one a protocol: `nft` takes what it has read
    /// back of a map for the rule's own protocol, and refuses another.
    Endpoints(Protocol),
    /// As `Endpoints`, those on this node only.
    LocalEndpoints(Protocol),
    /// Port on any of the node's addresses and a slot → address and port of an endpoint.
    NodePortEndpoints(Protocol),
    /// As `NodePortEndpoints`, those on this node only.
    LocalNodePortEndpoints(Protocol),
    /// Address, protocol and port of services without endpoints.
    Refused,
    /// Protocol and port of node ports without endpoints.
    RefusedNodePorts,
    /// Endpoints on this node, as source and as destination.
    Hairpins,
}

impl Place {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Place> {
        let of_protocol = Protocol::ALL.into_iter().flat_map(|it| {
            [
                Place::Endpoints(it),
                Place::LocalEndpoints(it),
                Place::NodePortEndpoints(it),
                Place::LocalNodePortEndpoints(it),
            ]
        });
        [Place::Services, Place::NodePorts, Place::Refused, Place::RefusedNodePorts, Place::Hairpins]
            .into_iter()
            .chain(of_protocol)
    }

    /// What a packet is looked up by, without the slot.
    pub fn key(self, family: Family) -> String {
        let ip = family.name();
        match self {
            Place::Services | Place::Refused => format!("{ip} daddr . meta l4proto . th dport"),
            Place::NodePorts | Place::RefusedNodePorts => "meta l4proto . th dport".to_owned(),
            Place::Endpoints(it) | Place::LocalEndpoints(it) => format!("{ip} daddr . {} dport", it.name()),
            Place::NodePortEndpoints(it) | Place::LocalNodePortEndpoints(it) => format!("{} dport", it.name()),
            Place::Hairpins => format!("{ip} saddr . {ip} daddr"),
        }
    }

    /// The declaration of the map or set, with `{}` in place of family and table.
    fn declaration(self, family: Family) -> String {
        let (name, ip, key) = (self.name(), family.name(), self.key(family));
        match self {
            Place::Services | Place::NodePorts => format!("map {{}} {name} {{ typeof {key} : verdict; }}"),
            // A slot has the type of what draws it; the bound here says nothing but how wide it is.
            Place::Endpoints(it)
            | Place::LocalEndpoints(it)
            | Place::NodePortEndpoints(it)
            | Place::LocalNodePortEndpoints(it) => {
                let value = format!("{ip} daddr . {} dport", it.name());
                format!("map {{}} {name} {{ typeof {key} . numgen random mod 65536 : {value}; }}")
            }
            Place::Refused | Place::RefusedNodePorts | Place::Hairpins => {
                format!("set {{}} {name} {{ typeof {key}; }}")
            }
        }
    }
}

impl fragment::Place for Place {
    fn name(&self) -> String {
        let of = |name: &str, protocol: Protocol| format!("{name}_{}", protocol.name());
        match *self {
            Place::Services => "services".to_owned(),
            Place::NodePorts => "node_ports".to_owned(),
            Place::Endpoints(it) => of("endpoints", it),
            Place::LocalEndpoints(it) => of("local_endpoints", it),
            Place::NodePortEndpoints(it) => of("node_port_endpoints", it),
            Place::LocalNodePortEndpoints(it) => of("local_node_port_endpoints", it),
            Place::Refused => "refused".to_owned(),
            Place::RefusedNodePorts => "refused_node_ports".to_owned(),
            Place::Hairpins => "hairpins".to_owned(),
        }
    }
}

/// The tables of both families without services.
pub fn bases(pods: &Pods, dns: Option<&Dns>) -> BTreeMap<Family, Table> {
    Family::ALL.iter().map(|it| (*it, base(*it, pods, dns))).collect()
}

/// The table without services, of the node with these `pods`. `dns` leads the DNS's address to its server, for them and
/// for the node itself. Packets from another node's pods, which may share the namespace, are left to that node's table.
fn base(family: Family, pods: &Pods, dns: Option<&Dns>) -> Table {
    let (ip, bridge) = (family.name(), &pods.bridge);
    let sets =
        Place::all().map(|it| (it.name(), Set { declaration: it.declaration(family), ..Set::default() })).collect();
    let mut table = Table { sets, chains: BTreeMap::new() };
    let nat = |hook: &str, priority: &str| Some(format!("type nat hook {hook} priority {priority}; policy accept;"));
    let filter = |hook: &str| Some(format!("type filter hook {hook} priority {REFUSE_AT}; policy accept;"));
    let dispatch = [
        format!("{} vmap @{}", Place::Services.key(family), Place::Services.name()),
        format!("fib daddr type local {} vmap @{}", Place::NodePorts.key(family), Place::NodePorts.name()),
    ];
    let refuse = [
        format!("{} @{} reject", Place::Refused.key(family), Place::Refused.name()),
        format!(
            "fib daddr type local {} @{} reject",
            Place::RefusedNodePorts.key(family),
            Place::RefusedNodePorts.name()
        ),
    ];
    let postrouting = [
        // The mark is given back: it is nobody else's business.
        format!(
            "ct status dnat meta mark & {MARK} == {MARK} meta mark set meta mark & {UNMARK} masquerade fully-random"
        ),
        // A pod that reached itself through a service must be answered through the node, or the answer bears a strange address.
        format!("ct status dnat {ip} saddr . {ip} daddr @{} masquerade fully-random", Place::Hairpins.name()),
    ];
    let (from_pods, from_node, to_dns) = match dns.filter(|it| Family::of(it.address) == family) {
        Some(it) => (vec![format!("iifname {bridge} jump {DNS}")], vec![format!("jump {DNS}")], Some(it.rules(family))),
        None => (vec![], vec![], None),
    };
    let mut add = |name: &str, hook: Option<String>, rules: Vec<String>| {
        table.chains.insert(name.to_owned(), Chain { hook, rules: rules.into_iter().map(Rule::from).collect() });
    };
    add("dispatch", None, dispatch.into());
    add("refuse", None, refuse.into());
    let others = || vec![format!("iifname {BRIDGES} iifname != {bridge} return")];
    let dispatch = || vec!["jump dispatch".to_owned()];
    add("prerouting", nat("prerouting", "dstnat"), [others(), from_pods, dispatch()].concat());
    add("output", nat("output", "-100"), [from_node, dispatch()].concat());
    add("postrouting", nat("postrouting", "srcnat"), postrouting.into());
    let refusal = || vec!["ct state new jump refuse".to_owned()];
    add("filter_prerouting", filter("prerouting"), [others(), refusal()].concat());
    add("filter_output", filter("output"), refusal());
    if !pods.bridged_pass {
        let hook = Some("type filter hook forward priority mangle; policy accept;".to_owned());
        let rule = format!("ct status dnat iifname {bridge} oifname {bridge} meta mark set meta mark | {MARK}");
        add("same_bridge", hook, vec![rule]);
    }
    if let Some(rules) = to_dns {
        add(DNS, None, rules);
    }
    table
}

/// Marks packets that must be masqueraded: bit 14, as kube-proxy's default.
pub const MARK: &str = "0x00004000";
const UNMARK: &str = "0xffffbfff";
/// Before the translation (-100), after connections are known (-200).
const REFUSE_AT: i32 = -110;
const DNS: &str = "dns";
/// All nodes' bridges, by the names that the network gives them.
const BRIDGES: &str = "\"orl*\"";

/// Where a node's pods are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// The interface that they send from.
    pub bridge: String,
    /// Whether packets between two of them pass the rules; otherwise what is led from one to the other is masqueraded.
    pub bridged_pass: bool,
}

/// How the cluster's DNS is reached on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// The address that pods know.
    pub address: std::net::IpAddr,
    /// Where the server listens.
    pub server: std::net::IpAddr,
    pub udp_port: u16,
    pub tcp_port: u16,
}

impl Dns {
    fn rules(&self, family: Family) -> Vec<String> {
        let Dns { address, server, .. } = self;
        [("udp", self.udp_port), ("tcp", self.tcp_port)]
            .iter()
            .map(|(protocol, port)| {
                let to = std::net::SocketAddr::new(*server, *port);
                format!("{ip} daddr {address} {protocol} dport 53 dnat to {to}", ip = family.name())
            })
            .collect()
    }
}
