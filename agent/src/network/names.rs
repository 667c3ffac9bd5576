//! The names under which a node's parts are found in the kernel. Pure.
//!
//! Interface names have at most 15 characters, so a node is a hash there: `orl<8 hex>` is its bridge, `ox<8 hex>` its tunnel, `ov<8 hex><offset>` the host's end of
//! the pod whose address has that offset in the node's range. A link thus says whose it is, and no two pods can share a name.

use sha2::{Digest, Sha256};

/// The longest range whose offsets fit into a link's name: 15 - 2 - 8 = 5 hexadecimal digits, 20 bits.
pub const SHORTEST_PREFIX: u8 = 12;

/// A pod's interface in its own namespace.
pub const POD_INTERFACE: &str = "eth0";

/// What all nodes' bridges begin with.
const BRIDGE: &str = "orl";

/// The names of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    pub bridge: String,
    /// The device of the tunnel to other nodes.
    pub tunnel: String,
    pub table: String,
    /// The tables of services, of both families.
    pub services: String,
    /// Those of network policies.
    pub policies: String,
    /// The comment on our rules in chains that are not ours.
    pub tag: String,
    veth: String,
}

impl Names {
    /// The names of the node called `node`.
    pub fn of(node: &str) -> Self {
        let digest = Sha256::digest(node.as_bytes());
        let hash: String = digest[..4].iter().map(|it| format!("{it:02x}")).collect();
        Self {
            bridge: format!("{BRIDGE}{hash}"),
            tunnel: format!("ox{hash}"),
            table: format!("orlop_{hash}"),
            services: format!("orlop_services_{hash}"),
            policies: format!("orlop_policy_{hash}"),
            tag: format!("orlop:{hash}"),
            veth: format!("ov{hash}"),
        }
    }

    /// Whether a link is called like the bridge of a node, this or another.
    pub fn is_bridge(link: &str) -> bool {
        link.strip_prefix(BRIDGE).is_some_and(|it| it.len() == 8 && it.bytes().all(|it| it.is_ascii_hexdigit()))
    }

    /// The host's end of the pod at an offset.
    pub fn veth(&self, offset: u32) -> String {
        format!("{}{offset:x}", self.veth)
    }

    /// The offset in a link's name, if the link is one of this node's pods.
    pub fn offset(&self, link: &str) -> Option<u32> {
        u32::from_str_radix(link.strip_prefix(&self.veth)?, 16).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_read_back() {
        let names = Names::of("a-node-with-a-very-long-name.example.org");
        assert_ne!(names, Names::of("another"));
        let largest = (1 << (32 - SHORTEST_PREFIX)) - 1;
        for offset in [2, 254, largest] {
            let link = names.veth(offset);
            assert!(link.len() <= 15 && names.bridge.len() <= 15, "{link}");
            assert_eq!(names.offset(&link), Some(offset));
        }
        assert!(Names::is_bridge(&names.bridge) && !Names::is_bridge(&names.tunnel) && !Names::is_bridge("orlop0"));
        for other in ["eth0", &names.bridge, &names.tunnel, &Names::of("another").veth(2), "ov", ""] {
            assert_eq!(names.offset(other), None, "{other}");
        }
    }
}
