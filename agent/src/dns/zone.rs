//! What the cluster's names mean: `(question, world) → answer`. Pure.
//!
//! Names are those of the specification `kubernetes/dns` 1.1.0: `SERVICE.NAMESPACE.svc.ZONE`, `HOSTNAME.SERVICE.NAMESPACE.svc.ZONE` for
//! endpoints (the address with dashes where an endpoint has no name), `_PORT._PROTOCOL.SERVICE.NAMESPACE.svc.ZONE`, the older
//! `A-B-C-D.NAMESPACE.pod.ZONE`, and addresses backwards. A name that has names below it exists. Namespaces are not watched: one is known by its
//! services, and any is good for a pod's dashed name, as in CoreDNS's mode `insecure`.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::RecordType;
use orlop_client::Key;

use crate::services::protocol::Protocol;
use crate::services::view::{Endpoint, Known, ServiceView, SliceView};

/// The version of the specification that these names follow.
pub const VERSION: &str = "1.1.0";

/// What a name has, without its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Data {
    Address(IpAddr),
    /// The port, and the name of who serves it.
    Service(u16, String),
    /// An address's name.
    Pointer(String),
    Text(String),
    /// The server of the zone.
    Server(String),
    /// Stands for the zone's own record, which also says how long a denial holds.
    Authority,
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The records, and addresses of the names that they give, which save the next question.
    Found(Vec<Data>, Vec<(String, IpAddr)>),
    /// The name has another name, which is to be looked up in its place.
    Alias(String),
    /// There is such a name, and nothing of this type.
    NoData,
    /// There is no such name.
    NoSuchName,
    /// Not a name of the cluster's.
    Elsewhere,
}

/// What an answer depends on.
pub struct World<'a> {
    /// The cluster's domain, lower case, without a dot at its end.
    pub domain: &'a str,
    /// Where the domain's server is: the DNS's own address.
    pub server: IpAddr,
    pub known: &'a Known,
}

impl World<'_> {
    /// Answers a question for `name`, without the dot at its end.
    pub fn answer(&self, name: &str, kind: RecordType) -> Answer {
        let name = name.to_ascii_lowercase();
        if let Some(address) = reversed(&name) {
            return self.pointer(address, kind);
        }
        let Some(inner) = name.strip_suffix(self.domain) else { return Answer::Elsewhere };
        let Some(inner) = inner.strip_suffix('.').or_else(|| inner.is_empty().then_some("")) else {
            return Answer::Elsewhere;
        };
        let labels: Vec<&str> = inner.split('.').filter(|it| !it.is_empty()).rev().collect();
        match labels.as_slice() {
            [] => match kind {
                RecordType::SOA => found([Data::Authority]),
                RecordType::NS => found([Data::Server(format!("ns.dns.{}", self.domain))]),
                _ => Answer::NoData,
            },
            ["dns-version"] => only(kind == RecordType::TXT, [Data::Text(VERSION.to_owned())]),
            ["dns"] | ["svc"] | ["pod"] => Answer::NoData,
            ["dns", "ns"] => addresses([self.server].into(), kind),
            ["pod", _] => Answer::NoData,
            ["pod", _, address] => match dashed(address) {
                Some(address) => addresses([address].into(), kind),
                None => Answer::NoSuchName,
            },
            ["svc", namespace] => {
                if self.known.services.list_in(namespace).is_empty() {
                    Answer::NoSuchName
                } else {
                    Answer::NoData
                }
            }
            ["svc", namespace, service, rest @ ..] => {
                let key = Key::new(namespace, service);
                match self.known.services.get(&key) {
                    Some(it) => Named { world: self, service: it, key }.answer(rest, kind),
                    None => Answer::NoSuchName,
                }
            }
            _ => Answer::NoSuchName,
        }
    }

    /// The names of an address: those of services, and of endpoints that have a name.
    fn pointer(&self, address: IpAddr, kind: RecordType) -> Answer {
        let name = |key: &Key| format!("{}.{}.svc.{}", key.name(), key.namespace(), self.domain);
        let mut names: BTreeSet<String> = self.known.services_at(address).iter().map(|it| name(&it.key())).collect();
        for slice in self.known.slices_at(address) {
            let Some(service) = slice.service() else { continue };
            for endpoint in slice.endpoints().iter().filter(|it| has(it, address)) {
                if let Some(host) = &endpoint.hostname {
                    names.insert(format!("{host}.{}", name(&service)));
                }
            }
        }
        if names.is_empty() {
            return Answer::Elsewhere;
        }
        only(kind == RecordType::PTR, names.into_iter().map(Data::Pointer))
    }
}

/// A service that a question is about.
struct Named<'a> {
    world: &'a World<'a>,
    service: Arc<ServiceView>,
    key: Key,
}

impl Named<'_> {
    fn name(&self) -> String {
        format!("{}.{}.svc.{}", self.key.name(), self.key.namespace(), self.world.domain)
    }

    /// `below` are the labels before the service's, the last of them first.
    fn answer(&self, below: &[&str], kind: RecordType) -> Answer {
        if self.service.is_alias() {
            let target = self.service.spec.external_name.as_deref().unwrap_or_default();
            return match below {
                [] if !target.is_empty() => Answer::Alias(target.trim_end_matches('.').to_ascii_lowercase()),
                [] => Answer::NoData,
                _ => Answer::NoSuchName,
            };
        }
        match below {
            [] if kind == RecordType::SRV => self.ports(|_, _| true).unwrap_or(Answer::NoData),
            [] if self.service.is_headless() => addresses(self.endpoints().map(|it| it.1).collect(), kind),
            [] => addresses(self.service.cluster_ips().collect(), kind),
            [protocol] if protocol.starts_with('_') => {
                let any = self.ports(|of, _| of == &protocol[1..]);
                any.map_or(Answer::NoSuchName, |_| Answer::NoData)
            }
            [host] => {
                let found: Vec<IpAddr> = self.endpoints().filter(|it| it.0 == *host).map(|it| it.1).collect();
                if found.is_empty() { Answer::NoSuchName } else { addresses(found, kind) }
            }
            [protocol, port] if protocol.starts_with('_') && port.starts_with('_') => {
                match self.ports(|of, name| of == &protocol[1..] && name == &port[1..]) {
                    Some(answer) if kind == RecordType::SRV => answer,
                    Some(_) => Answer::NoData,
                    None => Answer::NoSuchName,
                }
            }
            _ => Answer::NoSuchName,
        }
    }

    /// The names and addresses of the endpoints that may be told.
    fn endpoints(&self) -> impl Iterator<Item = (String, IpAddr)> {
        let slices = self.world.known.slices_of(&self.key);
        let unready = self.service.spec.publish_not_ready_addresses.unwrap_or(false);
        let of = |slice: Arc<SliceView>| {
            let told = slice.endpoints().iter().filter(|it| unready || it.conditions.is_ready());
            told.flat_map(names).collect::<Vec<_>>()
        };
        slices.into_iter().flat_map(of).collect::<BTreeSet<_>>().into_iter()
    }

    /// The ports that `fits` takes, by protocol and name: for a headless service those of its endpoints. None if there is no such port.
    fn ports(&self, fits: impl Fn(&str, &str) -> bool) -> Option<Answer> {
        let text = |it: &Option<String>| it.clone().unwrap_or_default();
        let fitting = |protocol: Option<&str>, name: &str| fits(Protocol::of(protocol).name(), name);
        let ports = self.service.ports().iter().filter(|it| fitting(it.protocol.as_deref(), &text(&it.name)));
        if !self.service.is_headless() {
            let records: Vec<Data> = ports.map(|it| Data::Service(it.port, self.name())).collect();
            let more = self.service.cluster_ips().map(|it| (self.name(), it)).collect();
            return (!records.is_empty()).then_some(Answer::Found(records, more));
        }
        let known = ports.count() > 0;
        let (mut records, mut more) = (BTreeSet::new(), BTreeSet::new());
        let unready = self.service.spec.publish_not_ready_addresses.unwrap_or(false);
        let slices = self.world.known.slices_of(&self.key);
        for slice in &slices {
            let fitting = slice.ports().iter().filter(|it| fitting(it.protocol.as_deref(), &text(&it.name)));
            for port in fitting.filter_map(|it| it.port) {
                for endpoint in slice.endpoints().iter().filter(|it| unready || it.conditions.is_ready()) {
                    for (host, address) in names(endpoint) {
                        let target = format!("{host}.{}", self.name());
                        records.insert(Data::Service(port, target.clone()));
                        more.insert((target, address));
                    }
                }
            }
        }
        match records.is_empty() {
            true => known.then_some(Answer::NoData),
            false => Some(Answer::Found(records.into_iter().collect(), more.into_iter().collect())),
        }
    }
}

/// The name and the addresses of an endpoint: its host's, or the first address with dashes.
fn names(endpoint: &Endpoint) -> Vec<(String, IpAddr)> {
    let parsed = endpoint.addresses.iter().filter_map(|it| it.parse::<IpAddr>().ok());
    let own = |address: IpAddr| match endpoint.hostname.as_deref().filter(|it| !it.is_empty()) {
        Some(it) => it.to_ascii_lowercase(),
        None => address.to_string().replace(['.', ':'], "-"),
    };
    parsed.map(|it| (own(it), it)).collect()
}

fn has(endpoint: &Endpoint, address: IpAddr) -> bool {
    endpoint.addresses.iter().any(|it| it.parse() == Ok(address))
}

fn found(data: impl IntoIterator<Item = Data>) -> Answer {
    Answer::Found(data.into_iter().collect(), Vec::new())
}

fn only(fits: bool, data: impl IntoIterator<Item = Data>) -> Answer {
    if fits { found(data) } else { Answer::NoData }
}

/// Those addresses that are of the type asked for.
fn addresses(all: Vec<IpAddr>, kind: RecordType) -> Answer {
    let fits = |it: &IpAddr| matches!((kind, it.is_ipv4()), (RecordType::A, true) | (RecordType::AAAA, false));
    let chosen: BTreeSet<IpAddr> = all.into_iter().filter(fits).collect();
    if chosen.is_empty() { Answer::NoData } else { found(chosen.into_iter().map(Data::Address)) }
}

/// `10-244-0-7` as an address.
fn dashed(label: &str) -> Option<IpAddr> {
    let v4 = label.replace('-', ".").parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4);
    v4.or_else(|| label.replace('-', ":").parse::<Ipv6Addr>().ok().map(IpAddr::V6))
}

/// The address whose name backwards this is, below `in-addr.arpa` or `ip6.arpa`.
fn reversed(name: &str) -> Option<IpAddr> {
    if let Some(inner) = name.strip_suffix(".in-addr.arpa") {
        let parts: Vec<&str> = inner.split('.').rev().collect();
        return parts.join(".").parse::<std::net::Ipv4Addr>().ok().map(IpAddr::V4);
    }
    let digits: Vec<&str> = name.strip_suffix(".ip6.arpa")?.split('.').rev().collect();
    if digits.len() != 32 || digits.iter().any(|it| it.len() != 1) {
        return None;
    }
    u128::from_str_radix(&digits.concat(), 16).ok().map(|it| IpAddr::V6(it.into()))
}
