//! Links, addresses and routes, by netlink in the namespace of the calling thread.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};
use rtnetlink::{Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::NetworkError;
use super::namespace::Namespace;

/// How long the kernel may take for a message; it takes microseconds unless something holds its one lock for links.
const LIMIT: Duration = Duration::from_secs(10);

/// The largest packet where no route says otherwise: Ethernet's.
const DEFAULT_MTU: u32 = 1500;

/// A link as far as it matters here.
#[derive(Clone, Debug, Default)]
pub struct Link {
    pub index: u32,
    pub mtu: u32,
    pub controller: Option<u32>,
    /// Free text that we set to the pod's uid.
    pub alias: Option<String>,
}

/// The kernel's links in one namespace.
#[derive(Clone, Debug)]
pub struct Links {
    handle: Handle,
}

impl Links {
    /// Talks to the kernel from the calling thread's namespace.
    pub fn open() -> Result<Self, NetworkError> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|it| NetworkError::Kernel { what: "netlink".to_owned(), reason: it.to_string() })?;
        // It ends when the last handle is dropped.
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// For what is asked of the kernel beside links.
    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// All links, by name.
    pub async fn all(&self) -> Result<BTreeMap<String, Link>, NetworkError> {
        let messages = self.handle.link().get().execute().try_collect::<Vec<LinkMessage>>();
        Ok(within("list links", messages).await?.iter().map(read).collect())
    }

    /// One link.
    pub async fn find(&self, name: &str) -> Result<Option<Link>, NetworkError> {
        let mut found = std::pin::pin!(self.handle.link().get().match_name(name).execute());
        let first = tokio::time::timeout(LIMIT, found.next())
            .await
            .map_err(|_| NetworkError::Timeout(format!("look up link {name}")))?;
        match first {
            Some(Ok(message)) => Ok(Some(read(&message).1)),
            None => Ok(None),
            Some(Err(error)) if is(&error, libc::ENODEV) => Ok(None),
            Some(Err(error)) => Err(refused(&format!("look up link {name}"), error)),
        }
    }

    /// Makes sure that a bridge is there and up; returns its index.
    pub async fn bridge(&self, name: &str, mac: [u8; 6], mtu: u32) -> Result<u32, NetworkError> {
        if self.find(name).await?.is_none() {
            let add = self.handle.link().add(LinkBridge::new(name).address(mac.to_vec()).build()).execute();
            absent_or("add bridge", libc::EEXIST, add).await?;
        }
        let link = self.expect(name).await?;
        // The largest packet is set even where it is right already: a bridge whose MTU was never set takes the least of its ports.
        let set = self.handle.link().set(LinkUnspec::new_with_index(link.index).mtu(mtu).up().build()).execute();
        within("set bridge", set).await?;
        Ok(link.index)
    }

    /// Makes sure that a link has this address and, if `alone`, no other of its family but those of the link alone.
    pub async fn address(&self, index: u32, address: IpAddr, prefix: u8, alone: bool) -> Result<(), NetworkError> {
        let found = self.addresses(index).await?;
        for message in found.iter().filter(|it| local(it).is_some_and(|it| is_alike(it, address))) {
            let (it, length) = (local(message), message.header.prefix_len);
            if alone && (it, length) != (Some(address), prefix) {
                let delete = self.handle.address().del(message.clone()).execute();
                absent_or("remove address", libc::EADDRNOTAVAIL, delete).await?;
            }
        }
        if found.iter().any(|it| (local(it), it.header.prefix_len) == (Some(address), prefix)) {
            return Ok(());
        }
        let mut add = self.handle.address().add(index, address, prefix);
        if address.is_ipv6() {
            // Nobody else can have it, so nobody is asked: until then it could not be used.
            add.message_mut().header.flags = AddressHeaderFlags::Nodad;
        }
        absent_or("add address", libc::EEXIST, add.execute()).await
    }

    /// Whether a link has this address.
    pub async fn has_address(&self, index: u32, address: IpAddr) -> Result<bool, NetworkError> {
        Ok(self.addresses(index).await?.iter().any(|it| local(it) == Some(address)))
    }

    /// Makes a pair: `name` here on a bridge, `peer` in the namespace. Both come and go together.
    pub async fn pair(&self, pair: &Pair<'_>) -> Result<(), NetworkError> {
        let peer = LinkMessageBuilder::<LinkUnspec>::new()
            .name(pair.peer)
            .address(pair.mac.to_vec())
            .mtu(pair.mtu)
            .setns_by_fd(pair.namespace.fd())
            .build();
        let message = LinkMessageBuilder::<LinkVeth>::new(pair.name, pair.peer)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .mtu(pair.mtu)
            .controller(pair.bridge)
            .build();
        within("add link pair", self.handle.link().add(message).execute()).await
    }

    /// Puts a pod's end on its bridge (again), names its pod and brings it up.
    pub async fn port(&self, name: &str, bridge: u32, alias: &str) -> Result<(), NetworkError> {
        let link = self.expect(name).await?;
        let message = LinkUnspec::new_with_index(link.index).controller(bridge).alias(alias).up().build();
        within("set link", self.handle.link().set(message).execute()).await?;
        // Hairpin: a pod may reach itself through an address that is translated to its own.
        let message = LinkBridgePort::new(link.index).hairpin(true).build();
        within("set bridge port", self.handle.link().set_port(message).execute()).await
    }

    /// Brings a link up.
    pub async fn up(&self, index: u32) -> Result<(), NetworkError> {
        within("set link up", self.handle.link().set(LinkUnspec::new_with_index(index).up().build()).execute()).await
    }

    /// Removes a link, if it is there.
    pub async fn remove(&self, name: &str) -> Result<(), NetworkError> {
        match self.find(name).await? {
            Some(link) => absent_or("remove link", libc::ENODEV, self.handle.link().del(link.index).execute()).await,
            None => Ok(()),
        }
    }

    /// Makes the default route of the gateway's family.
    pub async fn default_route(&self, gateway: IpAddr) -> Result<(), NetworkError> {
        let route = match gateway {
            IpAddr::V4(it) => RouteMessageBuilder::<Ipv4Addr>::new().gateway(it).build(),
            IpAddr::V6(it) => RouteMessageBuilder::<Ipv6Addr>::new().gateway(it).build(),
        };
        within("add route", self.handle.route().add(route).replace().execute()).await
    }

    /// The largest packet of the link by which this namespace reaches the outside.
    pub async fn outward_mtu(&self) -> Result<u32, NetworkError> {
        let older = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let newer = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut out = None;
        for every in [older, newer] {
            let routes = self.handle.route().get(every).execute().try_collect::<Vec<_>>();
            let routes = within("list routes", routes).await?;
            // In the table of the machine's own addresses there is no way out.
            let outward =
                |it: &&RouteMessage| it.header.destination_prefix_length == 0 && it.header.kind == RouteType::Unicast;
            out = out.or_else(|| routes.iter().filter(outward).find_map(link_of));
        }
        let Some(out) = out else { return Ok(DEFAULT_MTU) };
        Ok(self.all().await?.values().find(|it| it.index == out).map_or(DEFAULT_MTU, |it| it.mtu))
    }

    /// A link that was there a moment ago.
    pub async fn expect(&self, name: &str) -> Result<Link, NetworkError> {
        let gone = || NetworkError::Kernel { what: format!("link {name}"), reason: "it is gone".to_owned() };
        self.find(name).await?.ok_or_else(gone)
    }

    async fn addresses(&self, index: u32) -> Result<Vec<AddressMessage>, NetworkError> {
        let list = self.handle.address().get().set_link_index_filter(index).execute().try_collect::<Vec<_>>();
        Ok(within("list addresses", list).await?.into_iter().filter(|it| local(it).is_some()).collect())
    }
}

/// A pair of links to be made.
#[derive(Debug)]
pub struct Pair<'a> {
    pub name: &'a str,
    pub peer: &'a str,
    pub namespace: &'a Namespace,
    pub bridge: u32,
    pub mac: [u8; 6],
    pub mtu: u32,
}

/// The hardware address that goes with an address, so that neighbours who remember an address that went to another pod are not wrong:
/// the locally administered prefix `0a:58` and the address, as Kubernetes' bridge plugin forms it.
///
/// Of an address of version 6 it has what tells addresses of one range and ranges of one cluster apart: the last four bytes of the network's half and
/// those of the other, one over the other.
pub fn mac(address: IpAddr) -> [u8; 6] {
    let [a, b, c, d] = match address {
        IpAddr::V4(it) => it.octets(),
        IpAddr::V6(it) => {
            let bytes = it.octets();
            std::array::from_fn(|at| bytes[4 + at] ^ bytes[12 + at])
        }
    };
    [0x0a, 0x58, a, b, c, d]
}

/// The link by which a route leads.
fn link_of(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|it| match it {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn read(message: &LinkMessage) -> (String, Link) {
    let mut link = Link { index: message.header.index, ..Link::default() };
    let mut name = String::new();
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(it) => name.clone_from(it),
            LinkAttribute::Mtu(it) => link.mtu = *it,
            LinkAttribute::Controller(it) => link.controller = Some(*it),
            LinkAttribute::IfAlias(it) => link.alias = Some(it.clone()),
            _ => {}
        }
    }
    (name, link)
}

/// The address itself. The kernel names one of version 6 otherwise than one of version 4, which may have another end.
pub(super) fn local(message: &AddressMessage) -> Option<IpAddr> {
    let is_v6 = message.header.family == AddressFamily::Inet6;
    message.attributes.iter().find_map(|it| match it {
        AddressAttribute::Local(it) if !is_v6 => Some(*it),
        AddressAttribute::Address(it) if is_v6 => Some(*it),
        _ => None,
    })
}

/// Whether one may stand in for the other: of one family, and neither of the link alone.
fn is_alike(one: IpAddr, other: IpAddr) -> bool {
    let of_link = |it: IpAddr| matches!(it, IpAddr::V6(it) if it.is_unicast_link_local());
    one.is_ipv4() == other.is_ipv4() && of_link(one) == of_link(other)
}

pub(super) async fn within<T>(
    what: &str,
    work: impl Future<Output = Result<T, rtnetlink::Error>>,
) -> Result<T, NetworkError> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(outcome) => outcome.map_err(|it| refused(what, it)),
        Err(_) => Err(NetworkError::Timeout(what.to_owned())),
    }
}

/// As [`within`], where one refusal means that the work was done already.
pub(super) async fn absent_or(
    what: &str,
    done: i32,
    work: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), NetworkError> {
    let tolerant = async {
        match work.await {
            Err(error) if is(&error, done) => Ok(()),
            outcome => outcome,
        }
    };
    within(what, tolerant).await
}

fn is(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -errno)
}

fn refused(what: &str, error: rtnetlink::Error) -> NetworkError {
    let reason = match &error {
        rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
        other => other.to_string(),
    };
    NetworkError::Kernel { what: what.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_tell_addresses_and_networks_apart() {
        let check = |address: &str, expected: [u8; 6]| assert_eq!(mac(address.parse().unwrap()), expected, "{address}");
        check("10.244.3.7", [0x0a, 0x58, 10, 244, 3, 7]);
        check("fd00:10:244:3::7", [0x0a, 0x58, 0x02, 0x44, 0, 3 ^ 7]);
        check("fd00:10:244:3::", [0x0a, 0x58, 0x02, 0x44, 0, 3]);
        check("fd00:10:244:4::", [0x0a, 0x58, 0x02, 0x44, 0, 4]);
    }
}
