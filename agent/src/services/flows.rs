//! Flows of UDP that go on to an endpoint that is gone, removed from the kernel's table of connections (ctnetlink).
//!
//! The kernel looks a packet up in the rules only when it begins a flow, and a flow of UDP lasts as long as packets come. Without
//! this, a client that keeps sending from one port would be led to the old endpoint for ever. Connections of TCP end by themselves. One
//! dump is read for all flows of a change; the rules have changed already, so that no new flow can begin by the old ones.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
};
use nix::sys::time::TimeVal;

use super::stale::Flow;

/// How long the kernel may be silent, in seconds.
const SILENCE_SECONDS: i64 = 2;
/// The kernel puts no more than this into one answer (`NLMSG_GOODSIZE` and a dump's 32 KiB).
const ANSWER_BYTES: usize = 64 * 1024;
/// Flows removed at one time. The table has a quarter of a million in all by default; what is left ends by itself.
const FLOWS_MOST: usize = 65_536;

/// `NFNL_SUBSYS_CTNETLINK`, in a message's type.
const SUBSYSTEM: u16 = 1 << 8;
const GET: u16 = SUBSYSTEM | 1;
const DELETE: u16 = SUBSYSTEM | 2;
const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const DUMP: u16 = 0x300;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// A message's header, and that with netfilter's own.
const HEADER: usize = 16;
const HEADERS: usize = HEADER + 4;
const TUPLE_ORIGINAL: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ZONE: u16 = 18;
/// The bits of an attribute's type that are its type.
const TYPE: u16 = 0x3fff;
const UDP: u8 = 17;

/// Removes these flows.
///
/// # Errors
/// The kernel refuses or is silent.
pub async fn forget(flows: Vec<Flow>) -> io::Result<()> {
    if flows.is_empty() {
        return Ok(());
    }
    // The socket is read with a time limit of its own, on a thread that may wait.
    tokio::task::spawn_blocking(move || {
        [AddressFamily::Inet, AddressFamily::Inet6].into_iter().try_for_each(|family| remove(family, &flows))
    })
    .await
    .map_err(io::Error::other)?
}

fn remove(family: AddressFamily, flows: &[Flow]) -> io::Result<()> {
    let family = family as u8;
    let socket = open()?;
    send(socket.as_raw_fd(), &message(GET, REQUEST | DUMP, family, &[]), MsgFlags::empty())?;
    let mut stale = Vec::new();
    let mut buffer = vec![0; ANSWER_BYTES];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        let (found, done) = read(buffer.get(..length).unwrap_or_default())?;
        let fits = |it: &Connection| flows.iter().any(|flow| it.is_of(flow));
        stale.extend(found.into_iter().filter(fits).take(FLOWS_MOST - stale.len()));
        if done {
            break;
        }
    }
    for it in stale {
        send(socket.as_raw_fd(), &message(DELETE, REQUEST | ACKNOWLEDGE, family, &it.name), MsgFlags::empty())?;
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
        match read(buffer.get(..length).unwrap_or_default()) {
            // It ended in between.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => drop(other?),
        }
    }
    Ok(())
}

fn open() -> io::Result<OwnedFd> {
    let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter)?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    setsockopt(&socket, ReceiveTimeout, &TimeVal::new(SILENCE_SECONDS, 0))?;
    Ok(socket)
}

fn message(kind: u16, flags: u16, family: u8, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADERS + attributes.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(HEADERS + attributes.len());
    out.extend(length.to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(flags.to_ne_bytes());
    // Sequence and port: one question at a time, and the kernel fills in the port.
    out.extend([0; 8]);
    out.extend([family, 0, 0, 0]);
    out.extend(attributes);
    out
}

/// A connection of UDP.
#[derive(Debug, PartialEq)]
struct Connection {
    to: IpAddr,
    port: u16,
    /// Who answers.
    from: IpAddr,
    /// The attributes by which the kernel finds it.
    name: Vec<u8>,
}

impl Connection {
    fn is_of(&self, flow: &Flow) -> bool {
        flow.port == self.port
            && flow.to.is_none_or(|it| it == self.to)
            && flow.endpoint.is_none_or(|it| it == self.from)
    }
}

/// The connections in an answer, and whether it was the last.
fn read(mut bytes: &[u8]) -> io::Result<(Vec<Connection>, bool)> {
    let mut found = Vec::new();
    while let Some((length, kind)) = u32_at(bytes, 0).zip(u16_at(bytes, 4)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(message) = bytes.get(..length).filter(|_| length >= HEADER) else { break };
        match kind {
            DONE => return Ok((found, true)),
            ERROR => {
                let code = u32_at(message, HEADER).unwrap_or(0) as i32;
                return if code == 0 {
                    Ok((found, true))
                } else {
                    Err(io::Error::from_raw_os_error(code.wrapping_neg()))
                };
            }
            _ => found.extend(message.get(HEADERS..).and_then(connection)),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok((found, false))
}

fn connection(bytes: &[u8]) -> Option<Connection> {
    let original = attribute(bytes, TUPLE_ORIGINAL)?;
    let reply = attribute(bytes, TUPLE_REPLY)?;
    let of_protocol = attribute(original.1, 2)?.1;
    if attribute(of_protocol, 1)?.1.first() != Some(&UDP) {
        return None;
    }
    let port = attribute(of_protocol, 3)?.1;
    let mut name = original.0.to_vec();
    if let Some((whole, _)) = attribute(bytes, ZONE) {
        name.extend(whole);
    }
    Some(Connection {
        to: address(original.1, [2, 4])?,
        port: u16::from_be_bytes(port.get(..2)?.try_into().ok()?),
        from: address(reply.1, [1, 3])?,
        name,
    })
}

/// The address of a tuple under one of two types, that of version 4 and that of version 6.
fn address(tuple: &[u8], types: [u16; 2]) -> Option<IpAddr> {
    let of_ip = attribute(tuple, 1)?.1;
    if let Some((_, it)) = attribute(of_ip, types[0]) {
        return Some(IpAddr::from(<[u8; 4]>::try_from(it.get(..4)?).ok()?));
    }
    Some(IpAddr::from(<[u8; 16]>::try_from(attribute(of_ip, types[1])?.1.get(..16)?).ok()?))
}

/// An attribute of a type: the whole of it with its padding, and its content.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<(&[u8], &[u8])> {
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        let content = bytes.get(4..length)?;
        let padded = length.next_multiple_of(4).min(bytes.len());
        if u16_at(bytes, 2)? & TYPE == kind {
            return Some((&bytes[..padded], content));
        }
        bytes = &bytes[padded..];
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_of(kind: u16, content: &[u8]) -> Vec<u8> {
        let mut out = u16::try_from(4 + content.len()).unwrap().to_ne_bytes().to_vec();
        out.extend(kind.to_ne_bytes());
        out.extend(content);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    fn tuple(kind: u16, from: [u8; 4], to: [u8; 4], protocol: u8, ports: [u16; 2]) -> Vec<u8> {
        let ip = [attribute_of(1, &from), attribute_of(2, &to)].concat();
        let ports = ports.map(u16::to_be_bytes);
        let proto = [attribute_of(1, &[protocol]), attribute_of(2, &ports[0]), attribute_of(3, &ports[1])].concat();
        attribute_of(kind | 0x8000, &[attribute_of(1 | 0x8000, &ip), attribute_of(2 | 0x8000, &proto)].concat())
    }

    #[test]
    fn connections_are_read_and_told_apart() {
        let (client, service, endpoint) = ([10, 244, 0, 2], [10, 96, 0, 9], [10, 244, 0, 3]);
        let original = tuple(1, client, service, UDP, [4000, 53]);
        let reply = tuple(2, endpoint, client, UDP, [5353, 4000]);
        let udp = message(SUBSYSTEM, 0, 2, &[original.clone(), reply].concat());
        let tcp = message(
            SUBSYSTEM,
            0,
            2,
            &[tuple(1, client, service, 6, [1, 53]), tuple(2, endpoint, client, 6, [1, 1])].concat(),
        );
        let bytes = [udp, tcp, message(DONE, 0, 0, &[])].concat();
        let (found, done) = read(&bytes).unwrap();
        let it = Connection { to: service.into(), port: 53, from: endpoint.into(), name: original };
        assert!(done && found == [it], "{found:?}");
        let check = |to: Option<[u8; 4]>, port, endpoint: Option<[u8; 4]>, expected| {
            let flow = Flow { to: to.map(IpAddr::from), port, endpoint: endpoint.map(IpAddr::from) };
            assert_eq!(found[0].is_of(&flow), expected, "{flow:?}");
        };
        check(Some(service), 53, None, true);
        check(None, 53, Some(endpoint), true);
        check(Some(service), 54, None, false);
        check(Some(client), 53, None, false);
        check(Some(service), 53, Some(client), false);
        for cut in 0..bytes.len() {
            let _ = read(&bytes[..cut]);
        }
        let refused =
            [16u32.to_ne_bytes().to_vec(), vec![2, 0, 0, 0], vec![0; 8], (-13i32).to_ne_bytes().to_vec()].concat();
        let refused = [20u32.to_ne_bytes().to_vec(), refused[4..].to_vec()].concat();
        assert_eq!(read(&refused).unwrap_err().raw_os_error(), Some(13));
    }
}
