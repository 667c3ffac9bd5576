//! The address of an API server, as a user writes it: `192.0.2.1`, `api.example:6443`, `https://[2001:db8::1]:6443`.

use std::fmt;
use std::str::FromStr;

/// The port where none is given.
const PORT: u16 = 6443;

/// An API server's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// A name or an address, without brackets.
    pub host: String,
    pub port: u16,
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| format!("{text:?} is no address of an API server ({why}), such as 192.0.2.1:6443");
        let rest = match text.split_once("://") {
            None => text,
            Some(("https", rest)) => rest,
            Some((scheme, _)) => return Err(wrong(&format!("{scheme} is not https"))),
        };
        let rest = rest.trim_end_matches('/');
        if rest.parse::<std::net::Ipv6Addr>().is_ok() {
            return Ok(Server { host: rest.to_owned(), port: PORT });
        }
        let authority: http::uri::Authority =
            rest.parse().map_err(|it: http::uri::InvalidUri| wrong(&it.to_string()))?;
        if authority.as_str().contains('@') {
            return Err(wrong("a user has no place in it"));
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((before, _)) if authority.port().is_none() && !before.starts_with('[') => {
                return Err(wrong("the port is no number"));
            }
            _ => authority.port_u16().unwrap_or(PORT),
        };
        Ok(Server { host, port })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "https://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "https://{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let check = |text: &str, expected: &str| assert_eq!(text.parse::<Server>().unwrap().to_string(), expected);
        check("192.0.2.1", "https://192.0.2.1:6443");
        check("192.0.2.1:7443", "https://192.0.2.1:7443");
        check("https://api.example:443/", "https://api.example:443");
        check("[2001:db8::1]:7443", "https://[2001:db8::1]:7443");
        check("2001:db8::1", "https://[2001:db8::1]:6443");
        for wrong in ["", "http://a:1", "https://", "a b", "a:port", "https://me@a:1", "a/b"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong}");
        }
    }
}
