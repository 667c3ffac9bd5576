//! The table of network policies without any policy: where packets are judged, and by which maps they find their judge. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::rules::fragment;
use crate::rules::table::{Chain, Family, Rule, Set, Table};
use crate::services::table::Dns;

/// The maps and sets that pods put elements into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Address of a pod of this node that is isolated for ingress → its chain.
    Ingress,
    /// The same for egress.
    Egress,
    /// Isolated pods, as source and as destination: nobody is cut off from himself.
    Selves,
    /// What a chain names.
    Selection(Arc<str>),
}

impl fragment::Place for Place {
    fn name(&self) -> String {
        match self {
            Place::Ingress => "ingress".to_owned(),
            Place::Egress => "egress".to_owned(),
            Place::Selves => "selves".to_owned(),
            Place::Selection(it) => it.to_string(),
        }
    }
}

/// Before the translation (-100), after connections are known (-200): here the DNS has its own address yet.
const DNS_AT: i32 = -110;

/// What neighbours and routers say to each other (RFC 4861).
const DISCOVERY: &str = "nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert";

/// The tables of both families for a node with this bridge.
pub fn bases(bridge: &str, dns: Option<&Dns>) -> BTreeMap<Family, Table> {
    Family::ALL.iter().map(|it| (*it, base(*it, bridge, dns))).collect()
}

fn base(family: Family, bridge: &str, dns: Option<&Dns>) -> Table {
    let ip = family.name();
    let mut table = Table::default();
    for (name, declaration) in [
        ("ingress", format!("map {{}} ingress {{ typeof {ip} daddr : verdict; }}")),
        ("egress", format!("map {{}} egress {{ typeof {ip} saddr : verdict; }}")),
        ("selves", format!("set {{}} selves {{ typeof {ip} saddr . {ip} daddr; }}")),
    ] {
        table.sets.insert(name.to_owned(), Set { declaration, ..Set::default() });
    }
    let mut add = |name: &str, hook: &str, rules: Vec<String>| {
        let hook = Some(format!("type filter hook {hook}; policy accept;"));
        table.chains.insert(name.to_owned(), Chain { hook, rules: rules.into_iter().map(Rule::from).collect() });
    };
    // Without it nobody finds anybody: by IPv6 it is a packet like others, and belongs to no connection.
    let discovery = (family == Family::V6).then(|| format!("icmpv6 type {{ {DISCOVERY} }} accept"));
    let forward = discovery.into_iter().chain([
        // What answers was judged when it was asked for.
        "ct state established,related accept".to_owned(),
        format!("{ip} saddr . {ip} daddr @selves accept"),
        // Pods of other nodes, which may share the namespace, are judged by those nodes' tables.
        format!("iifname {bridge} {ip} saddr vmap @egress"),
        format!("oifname {bridge} {ip} daddr vmap @ingress"),
    ]);
    add("forward", "forward priority filter", forward.collect());
    if let Some(it) = dns.filter(|it| Family::of(it.address) == family) {
        let judged = |to: String| format!("iifname {bridge} ct state new {ip} daddr {to} {ip} saddr vmap @egress");
        let rules = vec![
            judged(format!("{} meta l4proto {{ tcp, udp }} th dport 53", it.address)),
            // Who asks it where it listens asks the same.
            judged(format!("{} udp dport {}", it.server, it.udp_port)),
            judged(format!("{} tcp dport {}", it.server, it.tcp_port)),
        ];
        add("dns", &format!("prerouting priority {DNS_AT}"), rules);
    }
    table
}
