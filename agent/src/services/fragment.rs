//! What one service adds to the tables: a pure function of the service, its slices and where this is.
//!
//! Every address and port of a service, its own, external ones, the balancer's and the node ports, is an *entry*: an element of a verdict
//! map that names a chain. Chains say how many endpoints to choose from and what becomes of the client's address, never whose they
//! are, so that ten thousand services share a few dozen; the endpoints themselves are elements of a map, found by the entry and
//! the slot that chance drew. One endpoint more or less changes elements, and no rule. The exception is affinity of clients, for which
//! a service has chains of its own, and a set of clients an endpoint.
//!
//! Semantics are kube-proxy's (KEP-2086, KEP-1669, KEP-3866): `Local` towards the outside keeps the client's address and drops what
//! finds no endpoint on the node, but pods and the node itself are led anywhere; nothing is headless here, for a headless
//! service has no entry.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::backends::{self, Backend, Backends, Here};
use super::protocol::Protocol;
use super::table::{MARK, Place};
use super::view::{ServicePort, ServiceView, SliceView};
use crate::rules::fragment::{self, Place as _};
use crate::rules::table::{Chain, Family, Rule, Set, digest};

/// How long a client keeps its endpoint where the service does not say, in seconds (`DefaultClientIPServiceAffinitySeconds`).
const AFFINITY_SECONDS: u32 = 10_800;
/// Clients that one endpoint remembers. Each takes some 100 bytes of the kernel's memory.
const CLIENTS_MOST: u32 = 65_536;
/// Slots that a draw can tell apart; further endpoints get no connections through this service.
const SLOTS_MOST: usize = 65_536;

/// What stands around all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    pub here: Here,
    /// The addresses of all pods; what comes from elsewhere to a service's own address is masqueraded, so that it is answered this way.
    pub cluster_cidrs: Vec<IpNet>,
    /// The DNS's address: it is never refused, the node's own server has it.
    pub dns: Option<IpAddr>,
}

/// What one service adds.
pub type Fragment = fragment::Fragment<Place>;

/// The fragment of a service.
pub fn of(service: &ServiceView, slices: &[Arc<SliceView>], setting: &Setting) -> Fragment {
    let mut fragment = Fragment::default();
    if service.is_headless()
        || service.is_alias()
        || service.is_others()
        || service.metadata.deletion_timestamp.is_some()
    {
        return fragment;
    }
    let mut families: BTreeSet<Family> = service.cluster_ips().map(Family::of).collect();
    if families.is_empty() {
        return fragment;
    }
    for family in std::mem::take(&mut families) {
        for port in service.ports() {
            let mut backends = backends::of(port, family == Family::V4, slices, &setting.here);
            backends.cluster.truncate(SLOTS_MOST);
            backends.local.truncate(SLOTS_MOST);
            Maker { service, port, family, backends, setting, fragment: &mut fragment }.make();
        }
    }
    fragment
}

/// Where an entry is looked for.
enum At {
    Address(IpAddr),
    NodePort(u16),
}

/// Which endpoints.
#[derive(Clone, Copy, PartialEq)]
enum Whose {
    All,
    Local,
}

struct Maker<'a> {
    service: &'a ServiceView,
    port: &'a ServicePort,
    family: Family,
    backends: Backends,
    setting: &'a Setting,
    fragment: &'a mut Fragment,
}

impl Maker<'_> {
    fn make(mut self) {
        let spec = &self.service.spec;
        let of_family = |it: &&IpAddr| Family::of(**it) == self.family;
        let parsed = |it: &str| it.parse::<IpAddr>().ok();
        let own: Vec<IpAddr> = self.service.cluster_ips().filter(|it| of_family(&it)).collect();
        let external: Vec<IpAddr> =
            spec.external_ips.iter().flatten().filter_map(|it| parsed(it)).filter(|it| of_family(&it)).collect();
        let ingress = self.service.status.load_balancer.ingress.iter().flatten();
        let balancer: Vec<IpAddr> = ingress
            .filter(|it| it.ip_mode.as_deref() != Some("Proxy"))
            .filter_map(|it| parsed(it.ip.as_deref()?))
            .filter(|it| of_family(&it) && spec.type_.as_deref() == Some("LoadBalancer"))
            .collect();
        let inside_local = spec.internal_traffic_policy.as_deref() == Some("Local");
        let outside_local = spec.external_traffic_policy.as_deref() == Some("Local");
        for address in own {
            let verdict = |it: &mut Self, at: &At| {
                if inside_local { it.choose(at, Whose::Local) } else { it.choose(at, Whose::All) }
            };
            self.enter(&At::Address(address), verdict);
        }
        for address in external {
            self.enter(&At::Address(address), |it, at| it.external(at, outside_local));
        }
        for address in balancer {
            self.enter(&At::Address(address), |it, at| {
                let verdict = it.external(at, outside_local);
                it.guarded(verdict)
            });
        }
        if let Some(port) = self.port.node_port.filter(|it| *it > 0) {
            self.enter(&At::NodePort(port), |it, at| it.external(at, outside_local));
        }
        for backend in self.backends.cluster.iter().chain(&self.backends.local).filter(|it| it.local) {
            let key = format!("{0} . {0}", backend.address);
            self.fragment.elements.insert((self.family, Place::Hairpins, key), String::new());
        }
    }

    /// Adds an entry with its verdict, or has it refused where there is nobody to answer.
    fn enter(&mut self, at: &At, verdict: impl FnOnce(&mut Self, &At) -> String) {
        let key = self.key(at);
        let is_dns = matches!(at, At::Address(it) if Some(*it) == self.setting.dns) && self.port.port == 53;
        let nobody = self.backends.cluster.is_empty();
        let place = match (at, nobody) {
            (_, true) if is_dns => return,
            (At::Address(_), true) => Place::Refused,
            (At::NodePort(_), true) => Place::RefusedNodePorts,
            (At::Address(_), false) => Place::Services,
            (At::NodePort(_), false) => Place::NodePorts,
        };
        let verdict = if nobody { String::new() } else { verdict(self, at) };
        self.fragment.elements.insert((self.family, place, key), verdict);
    }

    fn key(&self, at: &At) -> String {
        let protocol = Protocol::of(self.port.protocol.as_deref()).name();
        match at {
            At::Address(address) => format!("{address} . {protocol} . {}", self.port.port),
            At::NodePort(port) => format!("{protocol} . {port}"),
        }
    }

    /// The verdict for what comes from outside the cluster to an address that is there for it.
    fn external(&mut self, at: &At, local: bool) -> String {
        let all = self.choose(at, Whose::All);
        let marked = format!("meta mark set meta mark | {MARK} {all}");
        if !local {
            return self.shared(&format!("outside_{}", target(&all)), vec![marked]);
        }
        let near = self.choose(at, Whose::Local);
        let mut rules = self.pods().map(|it| format!("{it} {all}")).into_iter().collect::<Vec<_>>();
        rules.push(format!("fib saddr type local {marked}"));
        rules.push(near.clone());
        self.shared(&format!("outside_{}_{}", target(&all), target(&near)), rules)
    }

    /// Lets only `loadBalancerSourceRanges` through, and the node itself.
    fn guarded(&mut self, verdict: String) -> String {
        let ranges = self.service.spec.load_balancer_source_ranges.iter().flatten();
        let mut ranges: Vec<IpNet> =
            ranges.filter_map(|it| it.trim().parse::<IpNet>().ok()).map(|it| it.trunc()).collect();
        let given = !ranges.is_empty();
        ranges.retain(|it| Family::of(it.addr()) == self.family);
        // Ranges that lie within others would overlap in the set, which `nft` refuses.
        let ranges = IpNet::aggregate(&ranges);
        if !given || ranges.iter().any(|it| it.prefix_len() == 0) {
            return verdict;
        }
        let ip = self.family.name();
        let list = ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let mut rules = vec![format!("fib saddr type local {verdict}"), "drop".to_owned()];
        if !list.is_empty() {
            rules.insert(0, format!("{ip} saddr {{ {list} }} {verdict}"));
        }
        let name = format!("guard_{}", digest(&rules.concat()));
        self.shared(&name, rules)
    }

    /// The verdict that sends a packet to one of the endpoints, and the elements or chains that it needs.
    fn choose(&mut self, at: &At, whose: Whose) -> String {
        let chosen = match whose {
            Whose::All => self.backends.cluster.clone(),
            Whose::Local => self.backends.local.clone(),
        };
        if chosen.is_empty() {
            return "drop".to_owned();
        }
        // Only what may go to other nodes: an endpoint on this node answers through it anyway.
        let from_elsewhere = self
            .pods()
            .filter(|_| whose == Whose::All)
            .map(|it| format!("{} meta mark set meta mark | {MARK}", it.replace("saddr", "saddr !=")));
        if self.service.spec.session_affinity.as_deref() == Some("ClientIP") {
            return self.sticky(&chosen, from_elsewhere);
        }
        let protocol = Protocol::of(self.port.protocol.as_deref());
        let place = match (at, whose) {
            (At::Address(_), Whose::All) => Place::Endpoints(protocol),
            (At::Address(_), Whose::Local) => Place::LocalEndpoints(protocol),
            (At::NodePort(_), Whose::All) => Place::NodePortEndpoints(protocol),
            (At::NodePort(_), Whose::Local) => Place::LocalNodePortEndpoints(protocol),
        };
        let key = match at {
            At::Address(address) => format!("{address} . {}", self.port.port),
            At::NodePort(port) => port.to_string(),
        };
        for (slot, Backend { address, port, .. }) in chosen.iter().enumerate() {
            let element = (self.family, place, format!("{key} . {slot}"));
            self.fragment.elements.insert(element, format!("{address} . {port}"));
        }
        let (ip, count, name) = (self.family.name(), chosen.len(), place.name());
        let draw = format!(
            "meta l4proto {} dnat {ip} addr . port to {} . numgen random mod {count} map @{name}",
            protocol.name(),
            place.key(self.family),
        );
        self.shared(&format!("{name}_{count}"), from_elsewhere.into_iter().chain([draw]).collect())
    }

    /// Affinity: who has been here goes where he was, everybody else is drawn for. All entries of a port share the endpoints' memory.
    fn sticky(&mut self, chosen: &[Backend], from_elsewhere: Option<String>) -> String {
        let (ip, service, port) = (self.family.name(), self.service.key(), self.port);
        let protocol = Protocol::of(port.protocol.as_deref()).name();
        let config = self.service.spec.session_affinity_config.as_ref().and_then(|it| it.client_ip.as_ref());
        let seconds = config.and_then(|it| it.timeout_seconds).unwrap_or(AFFINITY_SECONDS).max(1);
        let whole = format!("{service} {protocol} {} {}", port.port, port.name.as_deref().unwrap_or_default());
        let mut rules: Vec<String> = from_elsewhere.into_iter().collect();
        let mut draws = Vec::new();
        for (slot, Backend { address, port, .. }) in chosen.iter().enumerate() {
            let id = digest(&format!("{whole} {address} {port}"));
            // The time is a part of the name, because a set cannot change it.
            let (chain, clients) = (format!("to_{id}"), format!("clients_{id}_{seconds}"));
            let kind = if self.family == Family::V4 { "ipv4_addr" } else { "ipv6_addr" };
            let declaration = format!(
                "set {{}} {clients} {{ type {kind}; flags dynamic, timeout; timeout {seconds}s; size {CLIENTS_MOST}; }}"
            );
            self.fragment
                .sets
                .insert((self.family, clients.clone()), Set { declaration, by_packets: true, ..Set::default() });
            let to = std::net::SocketAddr::new(*address, *port);
            let remember = format!("update @{clients} {{ {ip} saddr }}");
            self.shared(&chain, vec![remember, format!("meta l4proto {protocol} dnat to {to}")]);
            rules.push(format!("{ip} saddr @{clients} goto {chain}"));
            draws.push(format!("{slot} : goto {chain}"));
        }
        rules.push(format!("numgen random mod {} vmap {{ {} }}", draws.len(), draws.join(", ")));
        let name = format!("sticky_{}", digest(&format!("{whole} {}", rules.concat())));
        self.shared(&name, rules)
    }

    /// Adds a chain, whose name says all that is in it, and gives the verdict that leads there.
    fn shared(&mut self, name: &str, rules: Vec<String>) -> String {
        let chain = Chain { hook: None, rules: rules.into_iter().map(Rule::from).collect() };
        self.fragment.chains.insert((self.family, name.to_owned()), chain);
        format!("goto {name}")
    }

    /// The match for packets from pods, if the family has any.
    fn pods(&self) -> Option<String> {
        let cidr = self.setting.cluster_cidrs.iter().find(|it| Family::of(it.addr()) == self.family)?;
        Some(format!("{} saddr {cidr}", self.family.name()))
    }
}

/// The chain that a verdict names, or the verdict.
fn target(verdict: &str) -> &str {
    verdict.strip_prefix("goto ").unwrap_or(verdict)
}
