//! Addresses of expressions: URLs, IP addresses, blocks of addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

use super::eval::Error;
use super::functions::Op;
use super::library::{one, text_of};
use super::value::{Key, Val};

type Result<T> = std::result::Result<T, Error>;

/// A URL as Go's `url.ParseRequestURI` splits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    /// With the port.
    pub host: String,
    pub path: String,
    /// By name, in order.
    pub query: Vec<(String, Vec<String>)>,
}

impl Url {
    /// Reads an absolute URL or an absolute path.
    pub fn parse(text: &str) -> Option<Self> {
        if !crate::structural::format::Format::Uri.is_met(text) {
            return None;
        }
        let (text, query) = text.split_once('?').unwrap_or((text, ""));
        let (scheme, rest) = if text.starts_with('/') { ("", text) } else { text.split_once(':')? };
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) if !scheme.is_empty() => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            _ if scheme.is_empty() => ("", rest),
            _ => ("", ""),
        };
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let mut out = Url {
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: Vec::new(),
        };
        for pair in query.split('&').filter(|it| !it.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (unescaped(name), unescaped(value));
            match out.query.iter_mut().find(|(it, _)| *it == name) {
                Some((_, values)) => values.push(value),
                None => out.query.push((name, vec![value])),
            }
        }
        Some(out)
    }

    /// The host without the port and brackets.
    pub fn hostname(&self) -> &str {
        match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        }
    }

    /// The port, or "".
    pub fn port(&self) -> &str {
        let rest = self.host.rfind(']').map_or(&*self.host, |at| &self.host[at + 1..]);
        rest.rsplit_once(':').map_or("", |(_, port)| port)
    }
}

fn unescaped(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let mut ahead = bytes.clone();
                let digits: Option<(u32, u32)> = ahead
                    .next()
                    .zip(ahead.next())
                    .and_then(|(a, b)| char::from(a).to_digit(16).zip(char::from(b).to_digit(16)));
                match digits {
                    Some((high, low)) => {
                        out.push((high * 16 + low) as u8);
                        bytes = ahead;
                    }
                    None => out.push(b'%'),
                }
            }
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A block of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub ip: IpAddr,
    pub bits: u8,
}

/// Reads an address; those that carry an IPv4 address in an IPv6 one are none, as in Kubernetes.
pub fn ip(text: &str) -> Option<IpAddr> {
    text.parse().ok().filter(|it| !matches!(it, IpAddr::V6(it) if it.to_ipv4_mapped().is_some()))
}

impl Cidr {
    /// Reads a block.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let fits = crate::structural::format::is_cidr(text);
        Some(Cidr { ip: ip(address)?, bits: bits.parse().ok().filter(|_| fits)? })
    }

    fn number(ip: IpAddr) -> (u128, u32) {
        match ip {
            IpAddr::V4(it) => (u128::from(it.to_bits()), 32),
            IpAddr::V6(it) => (it.to_bits(), 128),
        }
    }

    fn shift(self) -> u32 {
        Self::number(self.ip).1.saturating_sub(u32::from(self.bits))
    }

    /// Whether an address is in the block.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ((own, width), (other, other_width)) = (Self::number(self.ip), Self::number(ip));
        let high = |it: u128| it.checked_shr(self.shift()).unwrap_or_default();
        width == other_width && high(own) == high(other)
    }

    /// Whether all of a block is in this one.
    pub fn contains_block(&self, other: Cidr) -> bool {
        self.bits <= other.bits && self.contains(other.ip)
    }

    /// The block by its first address.
    pub fn masked(self) -> Cidr {
        let (own, _) = Self::number(self.ip);
        let first = own.checked_shr(self.shift()).unwrap_or_default().checked_shl(self.shift()).unwrap_or_default();
        let ip = match self.ip {
            IpAddr::V4(_) => IpAddr::V4((first as u32).into()),
            IpAddr::V6(_) => IpAddr::V6(first.into()),
        };
        Cidr { ip, ..self }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

/// Whether an address is of some sort, as Go's `netip` tells it.
pub fn is(op: Op, ip: IpAddr) -> Option<bool> {
    let is_link_local_multicast = match ip {
        IpAddr::V4(it) => it.octets()[..3] == [224, 0, 0],
        IpAddr::V6(it) => it.segments()[0] & 0xff0f == 0xff02,
    };
    let is_link_local = match ip {
        IpAddr::V4(it) => it.is_link_local(),
        IpAddr::V6(it) => Ipv6Addr::is_unicast_link_local(&it),
    };
    let is_broadcast = matches!(ip, IpAddr::V4(it) if it.is_broadcast());
    Some(match op {
        Op::IsUnspecified => ip.is_unspecified(),
        Op::IsLoopback => ip.is_loopback(),
        Op::IsLinkLocalMulticast => is_link_local_multicast,
        Op::IsLinkLocalUnicast => is_link_local,
        Op::IsGlobalUnicast => {
            !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast() && !is_link_local && !is_broadcast
        }
        _ => return None,
    })
}

/// Calls a function of URLs.
///
/// # Errors
/// Where it does not take such values, or fails on them.
pub fn url<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    if let Op::Url | Op::IsUrl = op {
        let text = text_of(args, 0)?;
        let found = Url::parse(text);
        return match (op, found) {
            (Op::IsUrl, found) => Ok(Val::Bool(found.is_some())),
            (_, Some(url)) => Ok(Val::Url(Rc::new(url))),
            (_, None) => Err(Error::new(format!(
                "URL parse error during conversion from string: parse {text:?}: invalid URI for request"
            ))),
        };
    }
    let Val::Url(url) = one(args)? else { return Err(Error::no_overload()) };
    Ok(match op {
        Op::Scheme => Val::text(url.scheme.as_str()),
        Op::Host => Val::text(url.host.as_str()),
        Op::Hostname => Val::text(url.hostname()),
        Op::Port => Val::text(url.port()),
        Op::EscapedPath => Val::text(url.path.as_str()),
        _ => {
            let values = |values: &Vec<String>| Val::list(values.iter().map(|it| Val::text(it.as_str())).collect());
            let entries: BTreeMap<Key, Val<'a>> =
                url.query.iter().map(|(name, it)| (Key::Text(name.as_str().into()), values(it))).collect();
            Val::Map(Rc::new(entries))
        }
    })
}

/// Calls a function of addresses.
///
/// # Errors
/// As [`url`].
pub fn address<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    match op {
        Op::Ip | Op::IsIp | Op::IsCanonical => {
            let text = text_of(args, 0)?;
            match (op, ip(text)) {
                (Op::IsIp, found) => Ok(Val::Bool(found.is_some())),
                (Op::IsCanonical, Some(found)) => Ok(Val::Bool(found.to_string() == text)),
                (_, Some(found)) => Ok(Val::Ip(found)),
                (_, None) => Err(Error::new(format!(
                    "IP Address {text:?} parse error during conversion from string: ParseAddr({text:?}): unable to parse IP"
                ))),
            }
        }
        _ => {
            let Val::Ip(ip) = one(args)? else { return Err(Error::no_overload()) };
            match op {
                Op::Family => Ok(Val::Int(if ip.is_ipv4() { 4 } else { 6 })),
                _ => is(op, *ip).map(Val::Bool).ok_or_else(Error::no_overload),
            }
        }
    }
}

/// Calls a function of blocks.
///
/// # Errors
/// As [`url`].
pub fn block<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    let read = |text: &str| {
        Cidr::parse(text).ok_or_else(|| {
            Error::new(format!(
                "network address parse error during conversion from string: netip.ParsePrefix({text:?}): no '/'"
            ))
        })
    };
    match (op, args) {
        (Op::Cidr, [Val::Text(text)]) => Ok(Val::Cidr(read(text)?)),
        (Op::IsCidr, [Val::Text(text)]) => Ok(Val::Bool(Cidr::parse(text).is_some())),
        (Op::ContainsIp, [Val::Cidr(block), Val::Ip(ip)]) => Ok(Val::Bool(block.contains(*ip))),
        (Op::ContainsIp, [Val::Cidr(block), it @ Val::Text(_)]) => match address(Op::Ip, std::slice::from_ref(it))? {
            Val::Ip(ip) => Ok(Val::Bool(block.contains(ip))),
            _ => Err(Error::no_overload()),
        },
        (Op::ContainsCidr, [Val::Cidr(block), Val::Cidr(other)]) => Ok(Val::Bool(block.contains_block(*other))),
        (Op::ContainsCidr, [Val::Cidr(block), Val::Text(text)]) => Ok(Val::Bool(block.contains_block(read(text)?))),
        (Op::CidrIp, [Val::Cidr(block)]) => Ok(Val::Ip(block.ip)),
        (Op::Masked, [Val::Cidr(block)]) => Ok(Val::Cidr(block.masked())),
        (Op::PrefixLength, [Val::Cidr(block)]) => Ok(Val::Int(block.bits.into())),
        _ => Err(Error::no_overload()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split() {
        let url = Url::parse("https://u:p@example.com:80/a%20b?k=1&k=2&e=%20").unwrap();
        assert_eq!(
            (&*url.scheme, &*url.host, url.hostname(), url.port(), &*url.path),
            ("https", "example.com:80", "example.com", "80", "/a%20b")
        );
        assert_eq!(
            url.query,
            [("k".to_owned(), vec!["1".to_owned(), "2".to_owned()]), ("e".to_owned(), vec![" ".to_owned()])]
        );
        let url = Url::parse("https://[::1]:80/").unwrap();
        assert_eq!((url.hostname(), url.port()), ("::1", "80"));
        assert_eq!(Url::parse("no url"), None);
    }

    #[test]
    fn blocks_hold_addresses() {
        let block = Cidr::parse("192.168.0.5/24").unwrap();
        assert!(block.contains(ip("192.168.0.77").unwrap()));
        assert!(!block.contains(ip("192.168.1.77").unwrap()));
        assert!(!block.contains(ip("::1").unwrap()));
        assert_eq!(block.masked().to_string(), "192.168.0.0/24");
        assert!(Cidr::parse("0.0.0.0/0").unwrap().contains_block(block));
        assert!(Cidr::parse("::/0").unwrap().contains(ip("::1").unwrap()));
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
        assert_eq!(ip("::ffff:1.2.3.4"), None);
    }
}
