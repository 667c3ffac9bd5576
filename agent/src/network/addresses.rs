//! Which pod has which address of a node's range. Pure.
//!
//! Addresses are handed out in turn, as Kubernetes' own address management does, so that one just given back rests for as long as
//! possible before a new pod gets it. The first address is the gateway's; the network's and the broadcast address are nobody's.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// The addresses of one node.
#[derive(Clone, Debug)]
pub struct Addresses {
    range: Ipv4Net,
    /// Offset in the range of the address handed out last.
    last: u32,
    by_offset: BTreeMap<u32, Box<str>>,
    by_pod: BTreeMap<Box<str>, u32>,
}

/// Offset of the gateway within the range.
const GATEWAY: u32 = 1;

impl Addresses {
    /// All addresses free. None if the range is too small for a gateway and one pod (longer than /30).
    pub fn new(range: Ipv4Net) -> Option<Self> {
        let range = range.trunc();
        (range.prefix_len() <= 30).then(|| Self {
            range,
            last: GATEWAY,
            by_offset: BTreeMap::new(),
            by_pod: BTreeMap::new(),
        })
    }

    /// The range they come from.
    pub fn range(&self) -> Ipv4Net {
        self.range
    }

    /// The node's own address in its range.
    pub fn gateway(&self) -> Ipv4Addr {
        self.at(GATEWAY)
    }

    /// The pod's address, if it has one.
    pub fn of(&self, pod: &str) -> Option<Ipv4Addr> {
        self.by_pod.get(pod).map(|it| self.at(*it))
    }

    /// The address for pods at an offset in the range, if it is one.
    pub fn address_at(&self, offset: u32) -> Option<Ipv4Addr> {
        (offset > GATEWAY && offset < self.end()).then(|| self.at(offset))
    }

    /// Whether a pod has the address at an offset.
    pub fn is_taken(&self, offset: u32) -> bool {
        self.by_offset.contains_key(&offset)
    }

    /// Pods and their addresses, by uid.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Ipv4Addr)> {
        self.by_pod.iter().map(|(pod, offset)| (&**pod, self.at(*offset)))
    }

    /// The pod's address, a new one if it has none; none if all are taken.
    pub fn take(&mut self, pod: &str) -> Option<Ipv4Addr> {
        if let Some(address) = self.of(pod) {
            return Some(address);
        }
        let end = self.end();
        let offset = (self.last + 1..end).chain(GATEWAY + 1..=self.last).find(|it| !self.by_offset.contains_key(it))?;
        self.last = offset;
        self.put(pod, offset);
        Some(self.at(offset))
    }

    /// Notes that a pod has an address, as read from a ledger. False if it is outside the range or another's.
    pub fn restore(&mut self, pod: &str, address: Ipv4Addr) -> bool {
        let offset = u32::from(address).wrapping_sub(u32::from(self.range.network()));
        let usable = offset > GATEWAY && offset < self.end();
        if !usable || self.by_offset.contains_key(&offset) || self.by_pod.contains_key(pod) {
            return self.of(pod) == Some(address);
        }
        self.put(pod, offset);
        self.last = self.last.max(offset);
        true
    }

    /// Takes the address back; returns it if the pod had one.
    pub fn release(&mut self, pod: &str) -> Option<Ipv4Addr> {
        let offset = self.by_pod.remove(pod)?;
        self.by_offset.remove(&offset);
        Some(self.at(offset))
    }

    /// One past the last offset for pods: the broadcast address.
    fn end(&self) -> u32 {
        u32::from(self.range.broadcast()) - u32::from(self.range.network())
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.range.network()) + offset)
    }

    fn put(&mut self, pod: &str, offset: u32) {
        self.by_offset.insert(offset, pod.into());
        self.by_pod.insert(pod.into(), offset);
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
        assert!(Addresses::new("10.0.0.0/31".parse().unwrap()).is_none());
        assert_eq!(of("10.0.0.0/30").take("a").unwrap().to_string(), "10.0.0.2");
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
