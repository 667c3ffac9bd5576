//! Port-forward over the channels of a WebSocket: two a port, one for data and one for an error, each of which begins with the port's number.
//!
//! The ports stand in the request, and each has one connection. Source: `k8s.io/kubelet/pkg/cri/streaming/portforward/websocket.go`.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::{Outlet, Pod, forward};
use crate::server::terminal::LINGER;
use crate::server::terminal::websocket::{Splitter, is_base64, message};
use crate::server::websocket::{self, Reader, Writer};

/// Ports of one request: their channels are numbered by bytes.
pub const PORTS_MAX: usize = 100;

/// Pieces of one connection that may wait for its port.
const PIECES: usize = 2;

struct Channel {
    writer: Writer,
    base64: bool,
    number: u8,
}

#[async_trait]
impl Outlet for Channel {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ()> {
        self.writer.send(self.base64, message(self.base64, self.number, &bytes)).await.map_err(|_| ())
    }
}

/// Reads the ports of a request's query: `port=80,81`.
///
/// # Errors
/// In the kubelet's words.
pub fn ports(query: &str) -> Result<Vec<u16>, String> {
    let given = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "port");
    let given: Vec<String> = given.flat_map(|(_, it)| it.split(',').map(str::to_owned).collect::<Vec<_>>()).collect();
    if given.is_empty() {
        return Err("query parameter \"port\" is required".to_owned());
    }
    if given.len() > PORTS_MAX {
        return Err(format!("at most {PORTS_MAX} ports can be forwarded by one request"));
    }
    let number = |it: &String| match it.parse::<u16>() {
        Ok(0) => Err("port \"0\" must be > 0".to_owned()),
        Ok(port) => Ok(port),
        Err(_) => Err(format!("unable to parse {it:?} as a port")),
    };
    given.iter().map(number).collect()
}

/// Forwards the ports until all are closed or the client goes.
pub async fn run(io: impl AsyncRead + AsyncWrite + Send + 'static, protocol: &'static str, pod: Pod, ports: Vec<u16>) {
    let (reader, writer, writing) = websocket::start(io);
    let base64 = is_base64(protocol);
    let (mut inputs, mut pairs) = (Vec::new(), JoinSet::new());
    for (at, port) in ports.into_iter().enumerate() {
        let (sender, receiver) = mpsc::channel(PIECES);
        inputs.push(Some(sender));
        let channel = |number: usize| Channel { writer: writer.clone(), base64, number: number as u8 };
        let (data, error) = (channel(2 * at), channel(2 * at + 1));
        pairs.spawn(serve(pod.clone(), port, receiver, data, error));
    }
    let taking = async {
        if let Err(error) = take(reader, &mut inputs, base64).await {
            tracing::debug!(%error, "a client's websocket broke");
        }
    };
    tokio::pin!(taking);
    let all = async { while pairs.join_next().await.is_some() {} };
    tokio::select! {
        () = all => {}
        () = &mut taking => return,
        () = writer.closed() => return,
    }
    writer.close().await;
    let _ = timeout(LINGER, async { tokio::join!(writing, taking) }).await;
}

async fn serve(pod: Pod, port: u16, from: mpsc::Receiver<Bytes>, mut data: Channel, mut error: Channel) {
    // Each channel says first whose it is.
    let number = Bytes::copy_from_slice(&port.to_le_bytes());
    if data.write(number.clone()).await.is_err() || error.write(number).await.is_err() {
        return;
    }
    if let Err(why) = forward(&pod, port, ReceiverStream::new(from).boxed(), &mut data).await {
        tracing::debug!(%why, "a connection was not forwarded");
        let _ = error.write(why.into()).await;
    }
}

/// Gives what comes to its port; what comes for one that is closed is thrown away.
async fn take(
    mut reader: Reader<impl AsyncRead + Unpin>,
    inputs: &mut [Option<mpsc::Sender<Bytes>>],
    base64: bool,
) -> io::Result<()> {
    let mut splitter = Splitter::new(base64);
    while let Some(piece) = reader.next().await? {
        let Some((channel, bytes)) = splitter.split(piece)? else { continue };
        if channel % 2 == 1 || bytes.is_empty() {
            continue;
        }
        let Some(input) = inputs.get_mut(usize::from(channel / 2)) else { continue };
        if let Some(sender) = input
            && sender.send(bytes).await.is_err()
        {
            *input = None;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read_as_the_kubelet_reads_them() {
        let check = |query: &str, expected: Result<Vec<u16>, &str>| {
            assert_eq!(ports(query), expected.map_err(str::to_owned), "{query}");
        };
        check("port=80", Ok(vec![80]));
        check("port=80,443&other=1&port=8080", Ok(vec![80, 443, 8080]));
        check("", Err("query parameter \"port\" is required"));
        check("port=0", Err("port \"0\" must be > 0"));
        check("port=http", Err("unable to parse \"http\" as a port"));
        check(&format!("port={}", ["1"; 101].join(",")), Err("at most 100 ports can be forwarded by one request"));
    }
}
