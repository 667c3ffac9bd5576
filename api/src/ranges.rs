//! Ranges of addresses that a cluster is given: one, or one of each family (KEP-563).

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// One range, or one of each family. The first is the primary: what has one address only has one of its family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ranges {
    primary: IpNet,
    secondary: Option<IpNet>,
}

/// A text that names no ranges.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangesError {
    #[error("{0:?} is no range of addresses, such as 10.244.0.0/16 or fd00:10:244::/56")]
    NoRange(String),
    #[error("{0:?}: a second range must be of the other family of addresses, and there can be no third")]
    Families(String),
}

impl Ranges {
    /// One range or two; none if both are of one family.
    pub fn new(primary: IpNet, secondary: Option<IpNet>) -> Option<Self> {
        let is_v6 = |it: &IpNet| it.addr().is_ipv6();
        let fits = secondary.as_ref().is_none_or(|it| is_v6(it) != is_v6(&primary));
        fits.then(|| Ranges { primary: primary.trunc(), secondary: secondary.map(|it| it.trunc()) })
    }

    /// The first.
    pub fn primary(&self) -> IpNet {
        self.primary
    }

    /// The second.
    pub fn secondary(&self) -> Option<IpNet> {
        self.secondary
    }

    /// All of them, the primary first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + use<> {
        [self.primary].into_iter().chain(self.secondary)
    }

    /// That of IPv4.
    pub fn ipv4(&self) -> Option<Ipv4Net> {
        self.iter().find_map(|it| match it {
            IpNet::V4(it) => Some(it),
            IpNet::V6(_) => None,
        })
    }

    /// That of IPv6.
    pub fn ipv6(&self) -> Option<Ipv6Net> {
        self.iter().find_map(|it| match it {
            IpNet::V6(it) => Some(it),
            IpNet::V4(_) => None,
        })
    }

    /// Whether there is one of each family.
    pub fn is_dual(&self) -> bool {
        self.secondary.is_some()
    }

    /// The address at an offset of the primary range.
    pub fn nth(&self, offset: u32) -> IpAddr {
        nth(self.primary, offset)
    }
}

/// The address at an offset of a range, counted from the network's own.
pub fn nth(range: IpNet, offset: u32) -> IpAddr {
    match range {
        IpNet::V4(it) => IpAddr::V4(u32::from(it.network()).saturating_add(offset).into()),
        IpNet::V6(it) => IpAddr::V6(u128::from(it.network()).saturating_add(offset.into()).into()),
    }
}

impl From<Ipv4Net> for Ranges {
    fn from(it: Ipv4Net) -> Self {
        Ranges { primary: IpNet::V4(it.trunc()), secondary: None }
    }
}

impl FromStr for Ranges {
    type Err = RangesError;

    /// `10.244.0.0/16`, or `10.244.0.0/16,fd00:10:244::/56` in either order.
    fn from_str(text: &str) -> Result<Self, RangesError> {
        let range = |it: &str| it.trim().parse::<IpNet>().map_err(|_| RangesError::NoRange(it.trim().to_owned()));
        let all = text.split(',').map(range).collect::<Result<Vec<_>, _>>()?;
        let families = || RangesError::Families(text.to_owned());
        match all.as_slice() {
            [one] => Ranges::new(*one, None),
            [one, other] => Ranges::new(*one, Some(*other)),
            _ => None,
        }
        .ok_or_else(families)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.secondary {
            Some(second) => write!(f, "{},{second}", self.primary),
            None => write!(f, "{}", self.primary),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_or_one_of_each_family() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = text.parse::<Ranges>().map(|it| it.to_string()).map_err(|it| it.to_string());
            assert_eq!(found.as_deref().map_err(|it| it.split(':').next().unwrap_or_default()), expected, "{text}");
        };
        check("10.244.0.7/16", Ok("10.244.0.0/16"));
        check("fd00:10:244::/56", Ok("fd00:10:244::/56"));
        check("10.244.0.0/16, fd00:10:244::/56", Ok("10.244.0.0/16,fd00:10:244::/56"));
        check("fd00::/56,10.244.0.0/16", Ok("fd00::/56,10.244.0.0/16"));
        check("10.0.0.0/16,10.1.0.0/16", Err("\"10.0.0.0/16,10.1.0.0/16\""));
        check("10.0.0.0/16,fd00", Err("\"fd00\" is no range of addresses, such as 10.244.0.0/16 or fd00"));
        check("", Err("\"\" is no range of addresses, such as 10.244.0.0/16 or fd00"));
        let dual: Ranges = "fd00::/56,10.244.0.0/16".parse().unwrap();
        assert!(dual.is_dual() && dual.nth(10).to_string() == "fd00::a");
        assert_eq!(dual.ipv4().unwrap().to_string(), "10.244.0.0/16");
        assert_eq!(dual.ipv6().unwrap().to_string(), "fd00::/56");
        assert_eq!(nth("10.0.0.0/8".parse().unwrap(), 256).to_string(), "10.0.1.0");
    }
}
