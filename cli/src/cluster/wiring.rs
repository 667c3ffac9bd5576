//! The cables of a cluster: nodes on a switch, the switch on the host, and the way from there to the outside.
//!
//! The switch is a bridge in a namespace of its own. In the host's it would be the host's rules that decide about packets between nodes, and
//! Docker's drop them. What nodes send to the outside goes through the host, which masquerades it in a table of our own.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use ipnet::Ipv4Net;
use orlop_agent::network::forward;

use super::family;
use super::folder::Folder;
use super::namespace::Namespace;
use super::record::Record;
use super::{resolver, subnet};

/// The switch's namespace, and its bridge. A node has at most 50 + 4 characters, and no name without a number.
const SWITCH: &str = "switch";
/// Networks that are tried: more than one is taken only where several commands choose at once.
const TRIES: usize = 16;

/// Makes all of it, and notes in the record which network the nodes have.
///
/// # Errors
/// When no network is free, or the kernel refuses; what was made is there for [`remove`].
pub async fn make(folder: &Folder, clusters: &Path, record: &mut Record) -> Result<()> {
    std::fs::create_dir_all(folder.namespaces())?;
    let switch = Namespace::make(&file(folder, SWITCH))?;
    connect_host(clusters, record, &switch)?;
    record.resolver = resolver::of_host();
    record.write(&folder.record())?;
    let mut words = vec![
        "link set lo up".to_owned(),
        // No protocol decides when a port forwards: it does at once.
        format!("link add name {SWITCH} type bridge stp_state 0 forward_delay 0 mcast_snooping 0"),
        format!("link set dev {SWITCH} up"),
        format!("link set dev uplink master {SWITCH} up"),
    ];
    let mut nodes = Vec::new();
    for (at, name) in record.nodes.iter().enumerate() {
        let node = Namespace::make(&file(folder, name))?;
        words.push(format!("link add name port{at} type veth peer name eth0 netns {}", node.path().display()));
        words.push(format!("link set dev port{at} master {SWITCH} up"));
        nodes.push(node);
    }
    switch.run(|| ip(&words))?;
    let (bits, bits_v6) = (record.subnet.prefix_len(), family::subnet(record.subnet).prefix_len());
    for (at, node) in nodes.iter().enumerate() {
        node.run(|| {
            let mut words = vec![
                "link set dev lo up".to_owned(),
                format!("address add {}/{bits} dev eth0", record.address_v4(at)),
                "link set dev eth0 up".to_owned(),
                format!("route add default via {}", record.gateway()),
            ];
            if record.ip_family.has_v6() {
                words.push(format!("address add {}/{bits_v6} dev eth0 nodad", record.address_v6(at)));
                words.push(format!("route add default via {}", record.gateway_v6()));
            }
            if record.planes() > 1 && at < record.planes() {
                // Never the source of what goes elsewhere.
                words.push(format!("address add {} dev eth0 scope link", record.member_net(at)));
            }
            ip(&words)?;
            if record.resolver.is_some() { resolver::lead(record.gateway()) } else { Ok(()) }
        })?;
    }
    open_the_way_out(record).await
}

/// The namespace of a node; none if it is not there.
///
/// # Errors
/// The file cannot be read.
pub fn node(folder: &Folder, name: &str) -> Result<Option<Namespace>> {
    Namespace::open(&file(folder, name))
}

/// All namespaces that are there.
///
/// # Errors
/// A file cannot be read.
pub fn namespaces(folder: &Folder, record: &Record) -> Result<Vec<Namespace>> {
    let names = record.nodes.iter().map(String::as_str).chain([SWITCH]);
    Ok(names.map(|it| Namespace::open(&file(folder, it))).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// Takes all of it away. What is not there is gone already.
///
/// # Errors
/// The kernel refuses.
pub async fn remove(folder: &Folder, record: &Record) -> Result<()> {
    let link = subnet::link(record.subnet);
    // The cable is ours if its other end is in our switch; another cluster may have taken the network meanwhile.
    if let Some(switch) = Namespace::open(&file(folder, SWITCH))? {
        switch.run(|| ip_if_there(&["link", "delete", "dev", "uplink"]))?;
        nft(&removal(record.subnet))?;
        forward::remove(&link, &tag(&link)).await?;
    }
    for name in record.nodes.iter().map(String::as_str).chain([SWITCH]) {
        Namespace::remove(&file(folder, name))?;
    }
    Ok(())
}

/// Plugs the host into the switch, with the first address of a network that is free.
fn connect_host(clusters: &Path, record: &mut Record, switch: &Namespace) -> Result<()> {
    let used = subnet::used(clusters, &record.name)?;
    for candidate in subnet::free(&used, Some(record.subnet)).take(TRIES) {
        let link = subnet::link(candidate);
        let peer = switch.path().display().to_string();
        let made =
            run("ip", &["link", "add", "name", &link, "type", "veth", "peer", "name", "uplink", "netns", &peer], "");
        match made {
            Err(error) if error.to_string().contains("File exists") => continue,
            outcome => outcome?,
        }
        record.subnet = candidate;
        let (gateway, bits) = (record.gateway(), candidate.prefix_len());
        let mut words = vec![format!("address add {gateway}/{bits} dev {link}"), format!("link set dev {link} up")];
        if record.ip_family.has_v6() {
            let bits = family::subnet(candidate).prefix_len();
            words.push(format!("address add {}/{bits} dev {link} nodad", record.gateway_v6()));
        }
        return ip(&words);
    }
    bail!("no network is free for the nodes: the host's routes or other clusters have all of 172.30.0.0/15")
}

/// Lets nodes out through the host, as a container engine lets containers.
async fn open_the_way_out(record: &Record) -> Result<()> {
    let link = subnet::link(record.subnet);
    let v6 = record.ip_family.has_v6();
    let switches = ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];
    for forwarding in switches.iter().take(if v6 { 2 } else { 1 }) {
        if std::fs::read_to_string(forwarding)?.trim() != "1" {
            std::fs::write(forwarding, "1").with_context(|| format!("cannot switch on {forwarding}"))?;
        }
    }
    nft(&way_out(record.subnet, record.gateway()))?;
    if v6 {
        nft(&way_out_v6(record.subnet, record.gateway_v6()))?;
    }
    Ok(forward::ensure(&link, &tag(&link), true, v6).await?)
}

fn removal(subnet: Ipv4Net) -> String {
    let table = table(subnet);
    ["ip", "ip6"].map(|it| format!("add table {it} {table}\ndelete table {it} {table}\n")).concat()
}

/// The same as [`way_out`] of IPv6.
fn way_out_v6(subnet: Ipv4Net, gateway: Ipv6Addr) -> String {
    let (table, link, subnet) = (table(subnet), subnet::link(subnet), family::subnet(subnet));
    format!(
        "add table ip6 {table}
flush table ip6 {table}
table ip6 {table} {{
  comment \"nodes of a local cluster, whose gateway is {gateway}\"
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip6 saddr {subnet} oifname != {link} masquerade
  }}
}}
"
    )
}

fn way_out(subnet: Ipv4Net, gateway: Ipv4Addr) -> String {
    let table = table(subnet);
    let (subnet, link) = (subnet.trunc(), subnet::link(subnet));
    format!(
        "add table ip {table}
flush table ip {table}
table ip {table} {{
  comment \"nodes of a local cluster, whose gateway is {gateway}\"
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != {link} masquerade
  }}
}}
"
    )
}

fn table(subnet: Ipv4Net) -> String {
    format!("orlop_{}", subnet::link(subnet))
}

fn tag(link: &str) -> String {
    format!("orlop:{link}")
}

fn file(folder: &Folder, name: &str) -> PathBuf {
    folder.namespaces().join(name)
}

/// Several commands of `ip`, in one process and in the namespace of the calling thread.
fn ip(words: &[String]) -> Result<()> {
    run("ip", &["-batch", "-"], &(words.join("\n") + "\n"))
}

fn ip_if_there(words: &[&str]) -> Result<()> {
    match run("ip", words, "") {
        Err(error) if error.to_string().contains("Cannot find device") => Ok(()),
        outcome => outcome,
    }
}

/// A change of rules, in the namespace of the calling thread.
///
/// # Errors
/// The kernel or the program refuses.
pub fn nft(text: &str) -> Result<()> {
    run("nft", &["-f", "-"], text)
}

/// Runs a program that must succeed. What it is given is a few lines, which a pipe takes without a reader.
fn run(program: &str, words: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new(program);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {program} (packages iproute2, nftables)"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends without reading says why on its own.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{program} {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_by_either_family_is_masqueraded() {
        let subnet = "172.30.3.0/24".parse().unwrap();
        insta::assert_snapshot!(way_out_v6(subnet, Ipv6Addr::new(0xfd00, 0x172, 0x30, 3, 0, 0, 0, 1)), @r#"
        add table ip6 orlop_oclu3
        flush table ip6 orlop_oclu3
        table ip6 orlop_oclu3 {
          comment "nodes of a local cluster, whose gateway is fd00:172:30:3::1"
          chain postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            ip6 saddr fd00:172:30:3::/64 oifname != oclu3 masquerade
          }
        }
        "#);
    }

    #[test]
    fn what_leaves_is_masqueraded() {
        insta::assert_snapshot!(way_out("172.30.3.0/24".parse().unwrap(), Ipv4Addr::new(172, 30, 3, 1)), @r#"
        add table ip orlop_oclu3
        flush table ip orlop_oclu3
        table ip orlop_oclu3 {
          comment "nodes of a local cluster, whose gateway is 172.30.3.1"
          chain postrouting {
            type nat hook postrouting priority srcnat; policy accept;
            ip saddr 172.30.3.0/24 oifname != oclu3 masquerade
          }
        }
        "#);
    }
}
