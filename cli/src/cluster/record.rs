//! What a cluster is made of: `cluster.json` in its folder, which is also the first file of a snapshot.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::family::{self, IpFamily};

/// The form of the file; a newer one is not understood.
const VERSION: u32 = 2;
/// The form of all that an older orlop understands, too: one control plane.
const VERSION_OF_ONE: u32 = 1;

/// Where nodes with control planes know each other's, in every cluster alike: the switch is the cluster's own, and nothing leads there from elsewhere. It is
/// link-local (RFC 3927), and no address that clouds or a node's own DNS are known to use.
const MEMBERS: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 66, 0), 24);

/// The record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    pub version: u32,
    pub name: String,
    pub created: Timestamp,
    /// The names of the nodes. A restored cluster keeps those that it had.
    pub nodes: Vec<String>,
    /// How many have a control plane: the first ones.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub control_planes: u16,
    /// The nodes' own addresses; another if that one is taken at a start.
    #[serde(serialize_with = "as_text", deserialize_with = "from_text")]
    pub subnet: Ipv4Net,
    /// The families of the addresses of pods and services, and of those by which the nodes are known.
    #[serde(default, skip_serializing_if = "IpFamily::is_default")]
    pub ip_family: IpFamily,
    /// How packets travel between the nodes, in the words of the agent's `--overlay`.
    pub overlay: String,
    pub ports: Vec<PortMap>,
    /// After how many seconds without the API a node kills its pods (the agent's `--fence-after`); never if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence_after_seconds: Option<u64>,
    /// The folder of the first node's static pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_manifest_path: Option<PathBuf>,
    /// The DNS server of the host's loopback that nodes are led to, found at each start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolver: Option<Ipv4Addr>,
    /// The kubeconfig that has the cluster's context beside the one in its folder.
    pub kubeconfig: PathBuf,
}

/// A port of the host that leads to a port of the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortMap {
    pub listen: SocketAddr,
    pub port: u16,
}

impl FromStr for PortMap {
    type Err = String;

    /// `8080:30080`, or with the address to listen on before it: `0.0.0.0:8080:30080`, `[::]:8080:30080`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not HOST-PORT:NODE-PORT or ADDRESS:HOST-PORT:NODE-PORT");
        let number = |it: &str| it.parse::<u16>().ok().filter(|it| *it != 0).ok_or_else(wrong);
        let (listen, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let listen = match listen.parse::<SocketAddr>() {
            Ok(it) if it.port() != 0 => it,
            Ok(_) => return Err(wrong()),
            Err(_) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), number(listen)?),
        };
        Ok(PortMap { listen, port: number(port)? })
    }
}

impl Record {
    /// A record of the present form.
    pub fn new(name: String, nodes: Vec<String>, subnet: Ipv4Net, created: Timestamp) -> Self {
        Record {
            version: VERSION_OF_ONE,
            name,
            created,
            nodes,
            control_planes: 1,
            subnet,
            ip_family: IpFamily::default(),
            overlay: "auto".to_owned(),
            ports: Vec::new(),
            fence_after_seconds: None,
            pod_manifest_path: None,
            resolver: None,
            kubeconfig: PathBuf::new(),
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// When it is not there, damaged, or of a newer form.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let record: Record = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
        if record.version > VERSION {
            bail!("{} was written by a newer orlop (form {})", path.display(), record.version);
        }
        let plain = |it: &String| !it.is_empty() && it.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-');
        if record.nodes.is_empty() || !record.nodes.iter().all(plain) {
            bail!("{} is damaged: its nodes have no proper names", path.display());
        }
        if record.planes() == 0 || record.planes() > record.nodes.len() {
            bail!(
                "{} is damaged: {} of {} nodes have a control plane",
                path.display(),
                record.planes(),
                record.nodes.len()
            );
        }
        Ok(record)
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        let next = path.with_extension("next");
        std::fs::write(&next, serde_json::to_vec_pretty(self)?)?;
        std::fs::rename(&next, path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Has this many nodes have a control plane.
    pub fn with_planes(self, control_planes: u16) -> Self {
        let version = if control_planes == 1 { VERSION_OF_ONE } else { VERSION };
        Record { version, control_planes, ..self }
    }

    /// How many nodes have a control plane.
    pub fn planes(&self) -> usize {
        usize::from(self.control_planes)
    }

    /// The address by which the control planes know a node that has one, and the length of their network's prefix; it is the same for ever.
    pub fn member_address(&self, node: usize) -> Ipv4Addr {
        let offset = u32::try_from(node).unwrap_or(u32::MAX - 1) + 1;
        Ipv4Addr::from(u32::from(MEMBERS.network()).saturating_add(offset))
    }

    /// [`member_address`](Self::member_address), as it is given to a link.
    pub fn member_net(&self, node: usize) -> String {
        format!("{}/{}", self.member_address(node), MEMBERS.prefix_len())
    }

    /// The host's address in the nodes' network, which is their way out.
    pub fn gateway(&self) -> Ipv4Addr {
        self.at(GATEWAY)
    }

    /// The same of IPv6.
    pub fn gateway_v6(&self) -> Ipv6Addr {
        self.at_v6(GATEWAY)
    }

    /// The address by which a node is known first, by its place among them.
    pub fn address(&self, node: usize) -> IpAddr {
        self.addresses(node)[0]
    }

    /// All addresses by which a node is known.
    pub fn addresses(&self, node: usize) -> Vec<IpAddr> {
        let (older, newer) = (IpAddr::V4(self.address_v4(node)), IpAddr::V6(self.address_v6(node)));
        match self.ip_family {
            IpFamily::Ipv4 => vec![older],
            IpFamily::Ipv6 => vec![newer],
            IpFamily::Dual => vec![older, newer],
        }
    }

    /// The node's address of IPv4, which it has in any family: much of what is outside has no other.
    pub fn address_v4(&self, node: usize) -> Ipv4Addr {
        self.at(offset(node))
    }

    /// The node's address of IPv6.
    pub fn address_v6(&self, node: usize) -> Ipv6Addr {
        self.at_v6(offset(node))
    }

    fn at(&self, offset: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.subnet.network()).saturating_add(offset))
    }

    fn at_v6(&self, offset: u32) -> Ipv6Addr {
        Ipv6Addr::from(u128::from(family::subnet(self.subnet).network()).saturating_add(offset.into()))
    }
}

/// Where the host's address is in the nodes' network; the nodes' follow.
const GATEWAY: u32 = 1;

fn offset(node: usize) -> u32 {
    u32::try_from(node).unwrap_or(u32::MAX - 2) + GATEWAY + 1
}

fn one() -> u16 {
    1
}

fn is_one(count: &u16) -> bool {
    *count == 1
}

fn as_text<S: Serializer>(net: &Ipv4Net, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(net)
}

fn from_text<'de, D: Deserializer<'de>>(from: D) -> Result<Ipv4Net, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_in_both_forms() {
        let check = |text: &str, expected: Option<(&str, u16)>| {
            let found = text.parse::<PortMap>().ok().map(|it| (it.listen.to_string(), it.port));
            assert_eq!(found, expected.map(|(listen, port)| (listen.to_owned(), port)), "{text}");
        };
        check("8080:30080", Some(("127.0.0.1:8080", 30080)));
        check("0.0.0.0:8080:30080", Some(("0.0.0.0:8080", 30080)));
        check("[::1]:8080:30080", Some(("[::1]:8080", 30080)));
        for wrong in
            ["", "8080", "8080:", ":30080", "0:1", "1:0", "70000:1", "a:1", "127.0.0.1:0:1", "1:2:3", "1.2.3.4:80"]
        {
            check(wrong, None);
        }
    }

    #[test]
    fn a_record_reads_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.json");
        let nodes = vec!["a-1".to_owned(), "a-2".to_owned()];
        let mut record = Record::new("a".into(), nodes, "172.30.4.0/24".parse().unwrap(), Timestamp::UNIX_EPOCH);
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
        assert_eq!(
            (record.gateway().to_string(), record.address(1).to_string()),
            ("172.30.4.1".into(), "172.30.4.3".into())
        );
        record.ip_family = IpFamily::Dual;
        let addresses: Vec<String> = record.addresses(1).iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["172.30.4.3", "fd00:172:30:4::3"]);
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), record);
        record.ip_family = IpFamily::default();
        record.write(&path).unwrap();
        // An older orlop reads it, as it would one that it wrote.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"version\": 1") && !text.contains("controlPlanes"), "{text}");
        let two = record.clone().with_planes(2);
        two.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap(), two);
        assert_eq!((two.version, two.member_net(1)), (2, "169.254.66.2/24".into()));
        for wrong in [0, 3] {
            record.clone().with_planes(wrong).write(&path).unwrap();
            assert!(Record::read(&path).unwrap_err().to_string().contains("control plane"));
        }
        record.version = VERSION + 1;
        record.write(&path).unwrap();
        assert!(Record::read(&path).unwrap_err().to_string().contains("newer"));
        record.version = VERSION_OF_ONE;
        record.nodes[0] = "../x".into();
        record.write(&path).unwrap();
        assert!(Record::read(&path).is_err());
        std::fs::write(&path, "{").unwrap();
        assert!(Record::read(&path).unwrap_err().to_string().contains("damaged"));
    }
}
