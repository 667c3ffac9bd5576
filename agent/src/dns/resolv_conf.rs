//! The servers, searches and options that a `resolv.conf` names (resolv.conf(5)). Pure.

use std::net::IpAddr;

/// Servers that are used, as in the C library (`MAXNS`).
const SERVERS_MOST: usize = 3;

/// The lines of a `resolv.conf`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub servers: Vec<IpAddr>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads the text; what is not understood is passed over.
    pub fn parse(text: &str) -> Self {
        let mut out = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => out.servers.extend(words.next().and_then(|it| it.parse::<IpAddr>().ok())),
                // The last one counts.
                Some("search" | "domain") => out.searches = words.map(str::to_owned).collect(),
                Some("options") => out.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        out.servers.truncate(SERVERS_MOST);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "# note\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\nnameserver ::1\ndomain a.example\n\
                    search b.example c.example\noptions ndots:2 rotate\noptions timeout:1\nsortlist x\nnameserver\n";
        let it = ResolvConf::parse(text);
        assert_eq!(it.servers, ["192.0.2.1".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(
            (it.searches.join(" "), it.options.join(" ")),
            ("b.example c.example".into(), "ndots:2 rotate timeout:1".into())
        );
        assert_eq!(ResolvConf::parse("nameserver 1.1.1.1\n".repeat(9).as_str()).servers.len(), 3);
    }
}
