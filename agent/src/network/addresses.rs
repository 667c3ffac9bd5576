//! Which pod has which address of a node's range. Pure.
//!
//! Addresses are handed out in turn, as Kubernetes' own address management does, so that one just given back rests for as long as
//! possible before a new pod gets it. The first address is the gateway's; the network's and the broadcast address are nobody's. On a node with a
//! range of each family a pod has the same offset in both.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use orlop_api::ranges::{self, Ranges};

use super::ips::Ips;

/// The addresses of one node.
#[derive(Clone, Debug)]
pub struct Addresses {
    ranges: Ranges,
    /// One past the last offset for pods.
    end: u32,
    /// Offset in the range of the address handed out last.
    last: u32,
    by_offset: BTreeMap<u32, Box<str>>,
    by_pod: BTreeMap<Box<str>, u32>,
}

/// Offset of the gateway within the range.
const GATEWAY: u32 = 1;
/// The bits of a range of IPv6 that are used: more addresses than any node has pods.
const V6_BITS_MOST: u8 = 16;

impl Addresses {
    /// All addresses free. None if a range is too small for a gateway and one pod (longer than /30 or /126).
    pub fn new(ranges: Ranges) -> Option<Self> {
        let bits = |it: IpNet| it.max_prefix_len() - it.prefix_len();
        if ranges.iter().any(|it| bits(it) < 2) {
            return None;
        }
        let most = |it: IpNet| if it.addr().is_ipv4() { bits(it) } else { bits(it).min(V6_BITS_MOST) };
        let least = ranges.iter().map(most).min()?;
        // The last one is the broadcast address.
        let end = u32::MAX >> (32 - u32::from(least));
        Some(Self { ranges, end, last: GATEWAY, by_offset: BTreeMap::new(), by_pod: BTreeMap::new() })
    }

    /// The ranges they come from.
    pub fn ranges(&self) -> Ranges {
        self.ranges
    }

    /// The node's own addresses in its ranges.
    pub fn gateway(&self) -> Ips {
        gateway(self.ranges)
    }

    /// The pod's addresses, if it has any.
    pub fn of(&self, pod: &str) -> Option<Ips> {
        self.by_pod.get(pod).map(|it| self.at(*it))
    }

    /// The addresses for pods at an offset in the range, if they are some.
    pub fn address_at(&self, offset: u32) -> Option<Ips> {
        (offset > GATEWAY && offset < self.end).then(|| self.at(offset))
    }

    /// Whether a pod has the address at an offset.
    pub fn is_taken(&self, offset: u32) -> bool {
        self.by_offset.contains_key(&offset)
    }

    /// The offset of a pod's address.
    pub fn offset_of(&self, pod: &str) -> Option<u32> {
        self.by_pod.get(pod).copied()
    }

    /// Pods and their addresses, by uid.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Ips)> {
        self.by_pod.iter().map(|(pod, offset)| (&**pod, self.at(*offset)))
    }

    /// The pod's addresses, new ones if it has none; none if all are taken.
    pub fn take(&mut self, pod: &str) -> Option<Ips> {
        if let Some(address) = self.of(pod) {
            return Some(address);
        }
        let all = (self.last + 1..self.end).chain(GATEWAY + 1..=self.last);
        let offset = all.into_iter().find(|it| !self.by_offset.contains_key(it))?;
        self.last = offset;
        self.put(pod, offset);
        Some(self.at(offset))
    }

    /// Notes that a pod has an address, as read from a ledger. False if it is outside the ranges or another's.
    pub fn restore(&mut self, pod: &str, address: IpAddr) -> bool {
        let offset = self.ranges.iter().find_map(|it| offset(it, address)).unwrap_or_default();
        let usable = offset > GATEWAY && offset < self.end;
        if !usable || self.by_offset.contains_key(&offset) || self.by_pod.contains_key(pod) {
            return self.of(pod).is_some_and(|it| it.iter().any(|it| it == address));
        }
        self.put(pod, offset);
        self.last = self.last.max(offset);
        true
    }

    /// Takes the addresses back; returns them if the pod had any.
    pub fn release(&mut self, pod: &str) -> Option<Ips> {
        let offset = self.by_pod.remove(pod)?;
        self.by_offset.remove(&offset);
        Some(self.at(offset))
    }

    fn at(&self, offset: u32) -> Ips {
        at(self.ranges, offset)
    }

    fn put(&mut self, pod: &str, offset: u32) {
        self.by_offset.insert(offset, pod.into());
        self.by_pod.insert(pod.into(), offset);
    }
}

/// The addresses of a node's bridge, given the node's ranges.
pub fn gateway(ranges: Ranges) -> Ips {
    at(ranges, GATEWAY)
}

fn at(ranges: Ranges, offset: u32) -> Ips {
    let all = ranges.iter().map(|it| ranges::nth(it, offset));
    Ips::of(all).unwrap_or_else(|| ranges.nth(offset).into())
}

/// Where in a range an address is.
fn offset(range: IpNet, address: IpAddr) -> Option<u32> {
    match (range, address) {
        (IpNet::V4(range), IpAddr::V4(it)) => u32::from(it).checked_sub(range.network().into()),
        (IpNet::V6(range), IpAddr::V6(it)) => u32::try_from(u128::from(it).checked_sub(range.network().into())?).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(range: &str) -> Addresses {
        Addresses::new(range.parse().unwrap()).unwrap()
    }

    #[test]
    fn addresses_go_round_and_are_stable() {
        let mut it = of("10.244.3.0/29");
        assert_eq!(it.gateway().to_string(), "10.244.3.1");
        let mut check = |pod: &str, expected: Option<&str>| {
            assert_eq!(it.take(pod).map(|it| it.to_string()).as_deref(), expected, "{pod}");
        };
        check("a", Some("10.244.3.2"));
        check("b", Some("10.244.3.3"));
        check("a", Some("10.244.3.2"));
        check("c", Some("10.244.3.4"));
        check("d", Some("10.244.3.5"));
        check("e", Some("10.244.3.6"));
        check("f", None);
        it.release("b");
        it.release("d");
        assert_eq!(it.take("g").unwrap().to_string(), "10.244.3.3");
        assert_eq!(it.release("nobody"), None);
    }

    #[test]
    fn a_ledger_is_believed_only_where_it_can_be_true() {
        let mut it = of("10.244.3.0/24");
        assert!(it.restore("a", "10.244.3.7".parse().unwrap()));
        assert!(it.restore("a", "10.244.3.7".parse().unwrap()));
        for wrong in
            ["10.244.3.7", "10.244.3.1", "10.244.3.0", "10.244.3.255", "10.244.4.2", "0.0.0.0", "255.255.255.255"]
        {
            assert!(!it.restore("b", wrong.parse().unwrap()), "{wrong}");
        }
        assert_eq!(it.take("c").unwrap().to_string(), "10.244.3.8");
    }

    #[test]
    fn a_range_needs_room() {
        for small in ["10.0.0.0/31", "fd00::/127", "10.0.0.0/24,fd00::/128"] {
            assert!(Addresses::new(small.parse().unwrap()).is_none(), "{small}");
        }
        assert_eq!(of("10.0.0.0/30").take("a").unwrap().to_string(), "10.0.0.2");
    }

    #[test]
    fn with_two_ranges_a_pod_has_one_of_each() {
        let mut it = of("10.244.3.0/24,fd00:10:244:3::/64");
        assert_eq!(it.gateway().to_string(), "10.244.3.1,fd00:10:244:3::1");
        assert_eq!(it.take("a").unwrap().to_string(), "10.244.3.2,fd00:10:244:3::2");
        // A ledger knows one of them, of either family.
        assert!(it.restore("b", "10.244.3.9".parse().unwrap()) && it.restore("c", "fd00:10:244:3::a".parse().unwrap()));
        assert_eq!(it.of("c").unwrap().to_string(), "10.244.3.10,fd00:10:244:3::a");
        assert!(!it.restore("d", "fd00:10:244:4::a".parse().unwrap()));
        let mut six = of("fd00:10:244::/64");
        assert_eq!(six.take("a").unwrap().to_string(), "fd00:10:244::2");
        assert!(six.restore("b", "fd00:10:244::fffe".parse().unwrap()));
        assert_eq!(six.take("c").unwrap().to_string(), "fd00:10:244::3");
    }

    proptest! {
        #[test]
        fn no_address_is_given_twice(steps in proptest::collection::vec((any::<bool>(), 0u8..20), 1..200)) {
            let mut it = of("10.0.0.0/28");
            for (take, pod) in steps {
                let pod = pod.to_string();
                if take { it.take(&pod); } else { it.release(&pod); }
                let taken: Vec<_> = it.iter().map(|(_, address)| address).collect();
                let unique: std::collections::BTreeSet<_> = taken.iter().collect();
                prop_assert_eq!(unique.len(), taken.len());
                prop_assert!(taken.len() <= 13);
                prop_assert!(!taken.contains(&it.gateway()));
            }
        }
    }
}
