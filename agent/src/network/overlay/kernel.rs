//! The tunnel's device, its entries for other nodes, and the routes, by netlink in the namespace of the calling thread.
//!
//! Routes of ours are told by their protocol, and by going through our own device; nobody else's are touched.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt;
use ipnet::IpNet;
use orlop_api::ranges::Ranges;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::{LinkUnspec, LinkVxlan, RouteMessageBuilder};

use super::peers::{End, Wanted, Way, end};
use super::{NETWORK, PORT};
use crate::network::NetworkError;
use crate::network::link::{Links, absent_or, local, mac, within};
use crate::network::names::Names;

/// The protocol that our routes bear: one of the numbers that belong to nobody (rtnetlink(7): values above 4 are free for users; those
/// of daemons end below).
const PROTOCOL: RouteProtocol = RouteProtocol::Other(111);

/// The tunnel's device.
#[derive(Clone, Debug)]
pub struct Device<'a> {
    pub name: &'a str,
    /// This node's ranges; the tunnel goes by the family of the primary one.
    pub ranges: Ranges,
    /// This node's address; none lets the kernel choose for each packet.
    pub local: Option<IpAddr>,
    pub mtu: u32,
}

impl Device<'_> {
    fn mac(&self) -> [u8; 6] {
        mac(end(self.ranges.primary()))
    }

    /// An address of the device's own family that is told to nobody: the kernel takes from it by which family the tunnel goes.
    fn nobody(&self) -> Option<Ipv6Addr> {
        self.ranges.primary().addr().is_ipv6().then_some(Ipv6Addr::UNSPECIFIED)
    }
}

/// The kernel of one namespace.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub links: Links,
}

impl Kernel {
    /// All addresses with their networks, by the index of their link; without those of IPv6 that every link has.
    pub async fn addresses(&self) -> Result<Vec<(u32, IpNet)>, NetworkError> {
        let list = self.links.handle().address().get().execute().try_collect::<Vec<_>>();
        let found = within("list addresses", list).await?;
        let net = |it: &rtnetlink::packet_route::address::AddressMessage| {
            let own = local(it).filter(|it| !matches!(it, IpAddr::V6(it) if it.is_unicast_link_local()))?;
            Some((it.header.index, IpNet::new(own, it.header.prefix_len).ok()?))
        };
        Ok(found.iter().filter_map(net).collect())
    }

    /// Makes sure that the device is there, as it should be, and up; gives its index.
    pub async fn device(&self, device: &Device<'_>) -> Result<u32, NetworkError> {
        let of_name = self.links.handle().link().get().match_name(device.name.to_owned()).execute();
        let found: Option<LinkMessage> = match self.links.find(device.name).await? {
            Some(_) => within("look up tunnel", of_name.try_collect::<Vec<_>>()).await?.pop(),
            None => None,
        };
        if found.as_ref().is_some_and(|it| !is_as_wanted(it, device)) {
            self.links.remove(device.name).await?;
        }
        if !found.as_ref().is_some_and(|it| is_as_wanted(it, device)) {
            let mut message = LinkVxlan::new(device.name, NETWORK).port(PORT).learning(false);
            if let Some(nobody) = device.nobody() {
                message = message.group6(nobody);
            }
            message = match device.local {
                Some(IpAddr::V4(it)) => message.local(it),
                Some(IpAddr::V6(it)) => message.local6(it),
                None => message,
            };
            let message = message.address(device.mac().to_vec()).build();
            let add = self.links.handle().link().add(message).execute();
            absent_or("add tunnel", libc::EEXIST, add).await?;
        }
        let link = self.links.expect(device.name).await?;
        let set = LinkUnspec::new_with_index(link.index).mtu(device.mtu).up().build();
        within("set tunnel", self.links.handle().link().set(set).execute()).await?;
        for range in device.ranges.iter() {
            self.links.address(link.index, end(range), range.max_prefix_len(), true).await?;
        }
        Ok(link.index)
    }

    /// Makes the device's entries those of the other nodes: which hardware address has which inner and which outer one.
    pub async fn ends(&self, device: u32, ends: &BTreeMap<IpAddr, End>) -> Result<(), NetworkError> {
        let doors: BTreeMap<Vec<u8>, IpAddr> = ends.values().map(|it| (it.mac.to_vec(), it.outer)).collect();
        let mut known = BTreeMap::new();
        for it in self.neighbours(AddressFamily::Bridge, device).await? {
            let (hardware, outer) = (hardware(&it), destination(&it));
            match hardware.clone().and_then(|it| doors.get(&it)) {
                Some(wanted) if outer == Some(*wanted) => drop(known.insert(hardware, ())),
                _ => self.forget("remove tunnel entry", it).await?,
            }
        }
        for (hardware, outer) in doors.iter().filter(|it| !known.contains_key(&Some(it.0.clone()))) {
            let neighbours = self.links.handle().neighbours();
            let add = neighbours.add_bridge(device, hardware).destination(*outer).flags(NeighbourFlags::Own);
            within("add tunnel entry", add.replace().execute()).await?;
        }
        let mut known = BTreeMap::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            for it in self.neighbours(family, device).await? {
                let found = destination(&it);
                // The kernel's own, for groups of IPv6 that the device is in.
                if found.is_some_and(|it| it.is_multicast()) {
                    continue;
                }
                match found.and_then(|end| Some((end, ends.get(&end)?))) {
                    Some((end, wanted)) if hardware(&it).as_deref() == Some(&wanted.mac) => drop(known.insert(end, ())),
                    _ => self.forget("remove neighbour", it).await?,
                }
            }
        }
        for (end, wanted) in ends.iter().filter(|it| !known.contains_key(it.0)) {
            let neighbours = self.links.handle().neighbours();
            let add = neighbours.add(device, *end).link_layer_address(&wanted.mac);
            within("add neighbour", add.replace().execute()).await?;
        }
        Ok(())
    }

    /// Makes our routes those that are wanted; `device` is the tunnel's, if there is one.
    pub async fn routes(&self, device: Option<u32>, wanted: &Wanted) -> Result<(), NetworkError> {
        let wanted: BTreeMap<IpNet, (Option<u32>, IpAddr)> = wanted
            .routes
            .iter()
            .map(|(range, way)| match way {
                Way::Link { index, gateway } => (*range, (Some(*index), *gateway)),
                Way::Tunnel { gateway } => (*range, (device, *gateway)),
            })
            .collect();
        let mut known = BTreeMap::new();
        let mut stale = Vec::new();
        for it in self.ours().await? {
            let Some((range, to)) = read(&it) else { continue };
            match wanted.get(&range) == Some(&to) {
                true => drop(known.insert(range, ())),
                false => stale.push(it),
            }
        }
        // Of IPv6 the kernel takes no gateway on one link that a route has on another; of IPv4 a replacement leaves no gap.
        let (first, last): (Vec<_>, Vec<_>) =
            stale.into_iter().partition(|it| it.header.address_family == AddressFamily::Inet6);
        for it in first {
            absent_or("remove route", libc::ESRCH, self.links.handle().route().del(it).execute()).await?;
        }
        for (range, (link, gateway)) in wanted.iter().filter(|it| !known.contains_key(it.0)) {
            let Some(link) = link else { continue };
            // The other end of a tunnel is on no network of the device; the device leads there all the same.
            let Some(route) = route(*range, *gateway, *link, Some(*link) == device) else { continue };
            within("add route", self.links.handle().route().add(route).replace().execute()).await?;
        }
        for it in last {
            // One that was replaced is gone already.
            absent_or("remove route", libc::ESRCH, self.links.handle().route().del(it).execute()).await?;
        }
        Ok(())
    }

    /// Our routes.
    async fn ours(&self) -> Result<Vec<RouteMessage>, NetworkError> {
        let mut all = Vec::new();
        for every in [RouteMessageBuilder::<Ipv4Addr>::new().build(), RouteMessageBuilder::<Ipv6Addr>::new().build()] {
            let list = self.links.handle().route().get(every).execute().try_collect::<Vec<_>>();
            all.extend(within("list routes", list).await?);
        }
        let is_ours = |it: &RouteMessage| {
            it.header.protocol == PROTOCOL
                && it.header.table == RouteHeader::RT_TABLE_MAIN
                && it.header.kind == RouteType::Unicast
        };
        Ok(all.into_iter().filter(is_ours).collect())
    }

    async fn neighbours(&self, family: AddressFamily, device: u32) -> Result<Vec<NeighbourMessage>, NetworkError> {
        let list = self.links.handle().neighbours().get().set_address_family(family).execute();
        let found = within("list neighbours", list.try_collect::<Vec<_>>()).await?;
        Ok(found.into_iter().filter(|it| it.header.ifindex == device).collect())
    }

    async fn forget(&self, what: &str, it: NeighbourMessage) -> Result<(), NetworkError> {
        absent_or(what, libc::ENOENT, self.links.handle().neighbours().del(it).execute()).await
    }
}

/// Takes the tunnel of a node away, and our routes where no other node's bridge is left in this namespace.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove(names: &Names, links: &Links) -> Result<(), NetworkError> {
    links.remove(&names.tunnel).await?;
    if links.all().await?.keys().any(|it| Names::is_bridge(it) && *it != names.bridge) {
        return Ok(());
    }
    Kernel { links: links.clone() }.routes(None, &Wanted::default()).await
}

fn is_as_wanted(link: &LinkMessage, device: &Device<'_>) -> bool {
    let mut hardware = None;
    let (mut network, mut local, mut port, mut learning) = (None, None, None, true);
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::Address(it) => hardware = Some(it.clone()),
            LinkAttribute::LinkInfo(infos) => {
                let tunnels = infos.iter().filter_map(|it| match it {
                    LinkInfo::Data(InfoData::Vxlan(it)) => Some(it),
                    _ => None,
                });
                for it in tunnels.flatten() {
                    match it {
                        InfoVxlan::Id(it) => network = Some(*it),
                        InfoVxlan::Local(it) => local = Some(IpAddr::V4(*it)),
                        InfoVxlan::Local6(it) => local = Some(IpAddr::V6(*it)),
                        InfoVxlan::Port(it) => port = Some(*it),
                        InfoVxlan::Learning(it) => learning = *it,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    hardware.as_deref() == Some(&device.mac())
        && (network, local, port, learning) == (Some(NETWORK), device.local, Some(PORT), false)
}

fn hardware(it: &NeighbourMessage) -> Option<Vec<u8>> {
    it.attributes.iter().find_map(|it| match it {
        NeighbourAttribute::LinkLayerAddress(it) => Some(it.clone()),
        _ => None,
    })
}

/// The address in an entry. Those of a tunnel's table come without their family.
fn destination(it: &NeighbourMessage) -> Option<IpAddr> {
    it.attributes.iter().find_map(|it| match it {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(it)) => Some(IpAddr::V4(*it)),
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(it)) => Some(IpAddr::V6(*it)),
        NeighbourAttribute::Destination(NeighbourAddress::Other(it)) => match it.len() {
            4 => <[u8; 4]>::try_from(it.as_slice()).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(it.as_slice()).ok().map(IpAddr::from),
        },
        _ => None,
    })
}

/// Where a route leads, and by which link and gateway.
fn read(route: &RouteMessage) -> Option<(IpNet, (Option<u32>, IpAddr))> {
    let address = |it: &RouteAddress| match it {
        RouteAddress::Inet(it) => Some(IpAddr::V4(*it)),
        RouteAddress::Inet6(it) => Some(IpAddr::V6(*it)),
        _ => None,
    };
    let nowhere = match route.header.address_family {
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let (mut to, mut link, mut gateway) = (nowhere, None, nowhere);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(it) => to = address(it)?,
            RouteAttribute::Gateway(it) => gateway = address(it)?,
            RouteAttribute::Oif(it) => link = Some(*it),
            _ => {}
        }
    }
    Some((IpNet::new(to, route.header.destination_prefix_length).ok()?, (link, gateway)))
}

/// A route of ours; none if range and gateway are of different families.
fn route(range: IpNet, gateway: IpAddr, link: u32, onlink: bool) -> Option<RouteMessage> {
    match (range, gateway) {
        (IpNet::V4(range), IpAddr::V4(gateway)) => {
            let it = RouteMessageBuilder::<Ipv4Addr>::new().protocol(PROTOCOL).output_interface(link);
            let it = it.destination_prefix(range.network(), range.prefix_len()).gateway(gateway);
            Some(if onlink { it.onlink() } else { it }.build())
        }
        (IpNet::V6(range), IpAddr::V6(gateway)) => {
            let it = RouteMessageBuilder::<Ipv6Addr>::new().protocol(PROTOCOL).output_interface(link);
            let it = it.destination_prefix(range.network(), range.prefix_len()).gateway(gateway);
            Some(if onlink { it.onlink() } else { it }.build())
        }
        _ => None,
    }
}
