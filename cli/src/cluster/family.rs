//! Which families of addresses a cluster has, and what ranges follow from that. Pure.
//!
//! The names are kind's (`ipFamily`). The ranges of IPv6 are local ones (RFC 4193), in which the digits of the usual ones of IPv4 come back.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use orlop_api::ranges::Ranges;
use serde::{Deserialize, Serialize};

/// The families of the addresses of pods and Services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum IpFamily {
    #[default]
    Ipv4,
    Ipv6,
    /// Both, IPv4 first.
    Dual,
}

const PODS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 244, 0, 0), 16);
const SERVICES: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 96, 0, 0), 16);
/// Room for 256 nodes with a /64 each.
const PODS_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x244, 0, 0, 0, 0, 0), 56);
/// As many addresses as the range of IPv4 has.
const SERVICES_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0x10, 0x96, 0, 0, 0, 0, 0), 112);
/// Where the address of the DNS is in the range of services.
const DNS_OFFSET: u32 = 10;

impl IpFamily {
    /// Whether it is what clusters have unless they ask for another.
    pub fn is_default(&self) -> bool {
        *self == IpFamily::default()
    }

    /// Whether there are addresses of IPv6.
    pub fn has_v6(self) -> bool {
        self != IpFamily::Ipv4
    }

    /// The addresses of pods.
    pub fn pods(self) -> Ranges {
        self.choose(PODS, PODS_V6)
    }

    /// The addresses of services.
    pub fn services(self) -> Ranges {
        self.choose(SERVICES, SERVICES_V6)
    }

    fn choose(self, v4: Ipv4Net, v6: Ipv6Net) -> Ranges {
        let (primary, secondary) = match self {
            IpFamily::Ipv4 => (IpNet::V4(v4), None),
            IpFamily::Ipv6 => (IpNet::V6(v6), None),
            IpFamily::Dual => (IpNet::V4(v4), Some(IpNet::V6(v6))),
        };
        Ranges::new(primary, secondary).expect("one of each family")
    }
}

/// The address of the cluster's DNS in its services' range.
pub fn dns(services: Ranges) -> std::net::IpAddr {
    services.nth(DNS_OFFSET)
}

/// The ranges of pods and of services that follow from what was given of both and of the family.
///
/// # Errors
/// What was given contradicts itself.
pub fn ranges(
    family: Option<IpFamily>,
    pods: Option<Ranges>,
    services: Option<Ranges>,
) -> Result<(Ranges, Ranges), String> {
    let shape = |it: Ranges| it.iter().map(|it| it.addr().is_ipv6()).collect::<Vec<_>>();
    let wanted = match (family, pods.or(services)) {
        (Some(family), _) => shape(family.pods()),
        (None, Some(given)) => shape(given),
        (None, None) => shape(IpFamily::default().pods()),
    };
    for (flag, given) in [("--cluster-cidr", pods), ("--service-cidr", services)] {
        let Some(given) = given else { continue };
        // Who names ranges of both families says by their order which is the primary one.
        let fits = shape(given) == wanted || family.is_some() && given.is_dual() && wanted.len() == 2;
        if !fits {
            return Err(format!("{flag} {given}: its families are not those of the other flags"));
        }
    }
    if let (Some(pods), Some(services)) = (pods, services)
        && shape(pods) != shape(services)
    {
        return Err(format!(
            "--cluster-cidr {pods} and --service-cidr {services} must be of the same families, in the same order"
        ));
    }
    let order = pods.or(services).map_or(wanted, shape);
    let usual = |v4: Ipv4Net, v6: Ipv6Net| {
        let all: Vec<IpNet> = order.iter().map(|it| if *it { IpNet::V6(v6) } else { IpNet::V4(v4) }).collect();
        Ranges::new(all[0], all.get(1).copied()).expect("one of each family")
    };
    Ok((pods.unwrap_or_else(|| usual(PODS, PODS_V6)), services.unwrap_or_else(|| usual(SERVICES, SERVICES_V6))))
}

/// The nodes' network of IPv6 that goes with one of IPv4: `fd00:172:30:7::/64` with `172.30.7.0/24`.
pub fn subnet(of: Ipv4Net) -> Ipv6Net {
    let [a, b, c, _] = of.network().octets();
    // The digits are the same, and so no two networks have one.
    let digits = |it: u8| {
        u16::from_str_radix(&it.to_string(), 16).expect("decimal digits are hexadecimal ones, and three of them fit")
    };
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, digits(a), digits(b), digits(c), 0, 0, 0, 0), 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_its_ranges() {
        let check = |it: IpFamily, pods: &str, services: &str, dns: &str| {
            assert_eq!((it.pods().to_string(), it.services().to_string()), (pods.to_owned(), services.to_owned()));
            assert_eq!(super::dns(it.services()).to_string(), dns);
        };
        check(IpFamily::Ipv4, "10.244.0.0/16", "10.96.0.0/16", "10.96.0.10");
        check(IpFamily::Ipv6, "fd00:10:244::/56", "fd00:10:96::/112", "fd00:10:96::a");
        check(IpFamily::Dual, "10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16,fd00:10:96::/112", "10.96.0.10");
        assert_eq!(subnet("172.31.255.0/24".parse().unwrap()).to_string(), "fd00:172:31:255::/64");
    }

    #[test]
    fn flags_agree_or_are_refused() {
        let check = |family, pods: &str, services: &str, expected: Option<(&str, &str)>| {
            let parse = |it: &str| (!it.is_empty()).then(|| it.parse::<Ranges>().unwrap());
            let found = ranges(family, parse(pods), parse(services)).ok();
            let found = found.map(|it| (it.0.to_string(), it.1.to_string()));
            let expected = expected.map(|it| (it.0.to_owned(), it.1.to_owned()));
            assert_eq!(found, expected, "{family:?} {pods} {services}");
        };
        check(None, "", "", Some(("10.244.0.0/16", "10.96.0.0/16")));
        check(Some(IpFamily::Ipv6), "", "", Some(("fd00:10:244::/56", "fd00:10:96::/112")));
        check(None, "10.7.0.0/16", "", Some(("10.7.0.0/16", "10.96.0.0/16")));
        check(None, "fd00::/56,10.7.0.0/16", "", Some(("fd00::/56,10.7.0.0/16", "fd00:10:96::/112,10.96.0.0/16")));
        check(
            Some(IpFamily::Dual),
            "fd00::/56,10.7.0.0/16",
            "",
            Some(("fd00::/56,10.7.0.0/16", "fd00:10:96::/112,10.96.0.0/16")),
        );
        check(Some(IpFamily::Dual), "10.7.0.0/16", "", None);
        check(Some(IpFamily::Ipv4), "", "fd00::/112", None);
        check(None, "10.7.0.0/16,fd00::/56", "fd00:1::/112,10.8.0.0/16", None);
    }
}
