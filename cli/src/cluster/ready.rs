//! Whether a cluster answers: the API, its nodes, and the DNS of every node.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use tokio::time::timeout;

use super::namespace::Namespace;

/// The pause between two questions to what is just starting.
const PAUSE: Duration = Duration::from_millis(5);
/// How long an answer may take: all is on this machine.
const ANSWER_LIMIT: Duration = Duration::from_millis(100);
/// A request to a server that has other things to do.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// The port of the cluster's DNS.
const DNS_PORT: u16 = 53;
/// The types of addresses in questions (RFC 1035, RFC 3596).
const A: u8 = 1;
const AAAA: u8 = 28;
/// A name that every cluster has.
const NAME: &str = "kubernetes.default.svc.cluster.local";
/// The largest answer over UDP without extensions (RFC 1035).
const DATAGRAM_BYTES: usize = 512;

/// Waits until `/readyz` is well.
pub async fn api(client: &kube::Client) {
    loop {
        let request = http::Request::get("/readyz").body(Vec::new());
        if let Ok(request) = request
            && matches!(timeout(REQUEST_LIMIT, client.request_text(request)).await, Ok(Ok(_)))
        {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until all these nodes are ready.
pub async fn nodes(client: &kube::Client, names: &[String]) {
    let api = Api::<Node>::all(client.clone());
    loop {
        if let Ok(Ok(list)) = timeout(REQUEST_LIMIT, api.list(&ListParams::default())).await {
            let ready =
                |name: &String| list.items.iter().any(|it| it.metadata.name.as_ref() == Some(name) && is_ready(it));
            if names.iter().all(ready) {
                return;
            }
        }
        tokio::time::sleep(PAUSE * 4).await;
    }
}

/// Whether a node says that it is.
pub fn is_ready(node: &Node) -> bool {
    let mut conditions = node.status.iter().filter_map(|it| it.conditions.as_ref()).flatten();
    conditions.any(|it| it.type_ == "Ready" && it.status == "True")
}

/// Waits until the DNS answers in a node's namespace, which its agent does last. `server` is its address, as pods know it.
///
/// # Errors
/// The namespace cannot be used.
pub async fn dns(namespace: &Namespace, server: IpAddr) -> Result<()> {
    let mut turn: u16 = 0;
    let (own, kind) = match server {
        IpAddr::V4(_) => (IpAddr::V4(Ipv4Addr::UNSPECIFIED), A),
        IpAddr::V6(_) => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), AAAA),
    };
    loop {
        turn = turn.wrapping_add(1);
        // A socket is where it was made, whoever uses it. Each question has its own: what was asked before the rules were there has left a
        // flow that goes past them, and stays as long as it is used.
        let socket = namespace.run(|| {
            let socket = UdpSocket::bind((own, 0))?;
            socket.connect((server, DNS_PORT))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })?;
        match ask(&tokio::net::UdpSocket::from_std(socket)?, turn, kind).await {
            Ok(()) => return Ok(()),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn ask(socket: &tokio::net::UdpSocket, turn: u16, kind: u8) -> Result<()> {
    timeout(ANSWER_LIMIT, async {
        socket.send(&question(turn, kind)).await?;
        let mut answer = [0; DATAGRAM_BYTES];
        let length = socket.recv(&mut answer).await?;
        check(&answer[..length], turn)
    })
    .await
    .context("no answer")?
}

/// A question for the addresses of [`NAME`] of a type (RFC 1035, 4.1).
fn question(id: u16, kind: u8) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    // A query that wants recursion, with one question.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in NAME.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap_or_default());
        bytes.extend(label.as_bytes());
    }
    // The root; the type, class IN.
    bytes.extend([0, 0, kind, 0, 1]);
    bytes
}

/// Sees that it answers this question, without an error and with an address.
fn check(answer: &[u8], id: u16) -> Result<()> {
    let Some(head) = answer.first_chunk::<8>() else { bail!("it is cut off") };
    let is_response = head[2] & 0x80 != 0;
    let (code, answers) = (head[3] & 0x0f, u16::from_be_bytes([head[6], head[7]]));
    match head[..2] == id.to_be_bytes() && is_response && code == 0 && answers > 0 {
        true => Ok(()),
        false => bail!("code {code}, {answers} answers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_others() {
        let check = |bytes: &[u8], good: bool| assert_eq!(check(bytes, 0x0102).is_ok(), good, "{bytes:?}");
        check(&[1, 2, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], true);
        // Another question's; a question; a failure; no address; cut off.
        check(&[1, 3, 0x81, 0x80, 0, 1, 0, 1], false);
        check(&[1, 2, 0x01, 0x80, 0, 1, 0, 1], false);
        check(&[1, 2, 0x81, 0x82, 0, 1, 0, 1], false);
        check(&[1, 2, 0x81, 0x80, 0, 1, 0, 0], false);
        check(&[1, 2, 0x81], false);
        let question = question(7, A);
        assert_eq!((question.len(), &question[12..23]), (12 + NAME.len() + 2 + 4, &b"\x0akubernetes"[..]));
    }

    #[test]
    fn a_node_is_ready_when_it_says_so() {
        let check = |conditions: serde_json::Value, ready: bool| {
            let node: Node =
                serde_json::from_value(serde_json::json!({ "metadata": {}, "status": { "conditions": conditions } }))
                    .unwrap();
            assert_eq!(is_ready(&node), ready);
        };
        check(serde_json::json!([{ "type": "Ready", "status": "True" }]), true);
        check(
            serde_json::json!([{ "type": "Ready", "status": "Unknown" }, { "type": "DiskPressure", "status": "True" }]),
            false,
        );
        check(serde_json::json!([]), false);
    }
}
