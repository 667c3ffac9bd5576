//! The addresses of one thing: one, or one of each family. Pure.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The addresses of a pod or a node. The first is the primary, which those use who know of one only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ips {
    primary: IpAddr,
    secondary: Option<IpAddr>,
}

impl Ips {
    /// The first of `all`, and the first of the other family; none without any.
    pub fn of(all: impl IntoIterator<Item = IpAddr>) -> Option<Self> {
        let mut all = all.into_iter();
        let primary = all.next()?;
        let secondary = all.find(|it| it.is_ipv4() != primary.is_ipv4());
        Some(Ips { primary, secondary })
    }

    /// The first.
    pub fn primary(&self) -> IpAddr {
        self.primary
    }

    /// All of them, the primary first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [self.primary].into_iter().chain(self.secondary)
    }

    /// That of the same family as another address.
    pub fn like(&self, other: IpAddr) -> Option<IpAddr> {
        self.iter().find(|it| it.is_ipv4() == other.is_ipv4())
    }
}

impl From<IpAddr> for Ips {
    fn from(primary: IpAddr) -> Self {
        Ips { primary, secondary: None }
    }
}

impl FromStr for Ips {
    type Err = String;

    /// `192.0.2.1`, or `192.0.2.1,2001:db8::1` in either order.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no address, and not one of each family with a comma between them");
        let all = text.split(',').map(|it| it.trim().parse()).collect::<Result<Vec<IpAddr>, _>>();
        let all = all.map_err(|_| wrong())?;
        let count = all.len();
        Ips::of(all).filter(|it| it.iter().count() == count).ok_or_else(wrong)
    }
}

impl fmt::Display for Ips {
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
    fn one_address_or_one_of_each_family() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<Ips>().ok().map(|it| it.to_string()).as_deref(), expected, "{text}");
        };
        check("192.0.2.1", Some("192.0.2.1"));
        check("192.0.2.1, 2001:db8::1", Some("192.0.2.1,2001:db8::1"));
        check("2001:db8::1,192.0.2.1", Some("2001:db8::1,192.0.2.1"));
        for wrong in ["", "x", "192.0.2.1,192.0.2.2", "192.0.2.1,2001:db8::1,2001:db8::2"] {
            check(wrong, None);
        }
        let both: Ips = "192.0.2.1,2001:db8::1".parse().unwrap();
        assert_eq!(both.like("::1".parse().unwrap()), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(Ips::from(both.primary()).like("::1".parse().unwrap()), None);
    }
}
