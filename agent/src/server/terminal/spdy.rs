//! Exec and attach over SPDY: a stream each for errors, input, output and sizes, told apart by the header `streamType`.
//!
//! Source: `k8s.io/kubelet/pkg/cri/streaming/remotecommand/httpstream.go`.

use std::collections::BTreeMap;
use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};

use super::outcome::{self, Asked};
use super::{Channel, Ends, LINGER, Outlet, Wanted, converse};
use crate::runtime::RuntimeError;
use crate::runtime::session::Session;
use crate::server::OPENING_MAX;
use crate::server::spdy::Connection;
use crate::server::spdy::stream::{Inbound, Outbound};

/// The header that says which stream it is.
const STREAM_TYPE: &str = "streamType";

struct Outlets(BTreeMap<Channel, Outbound>);

#[async_trait]
impl Outlet for Outlets {
    async fn write(&self, channel: Channel, bytes: Bytes) -> io::Result<()> {
        match self.0.get(&channel) {
            Some(it) => it.write(bytes).await.map_err(|_| io::ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        }
    }
}

/// Speaks with a client until the process ends or the client goes.
pub async fn run(
    io: impl AsyncRead + AsyncWrite + Send + 'static,
    protocol: &'static str,
    asked: Asked,
    wanted: Wanted,
    session: BoxFuture<'static, Result<Session, RuntimeError>>,
) {
    let mut connection = Connection::start(io);
    // Before its third version, the protocol knew no sizes.
    let sizes = wanted.tty && !matches!(protocol, "channel.k8s.io" | "v2.channel.k8s.io");
    let Some((mut inputs, outlets)) = streams(&mut connection, wanted, sizes).await else {
        return tracing::debug!("a client did not open its streams in time");
    };
    let ended = connection.ended();
    let outcome = match session.await {
        Ok(session) => {
            let mut input = |channel| inputs.remove(&channel).map(Inbound::into_stream);
            let gone = Box::pin(ended.cancelled());
            let ends = Ends { stdin: input(Channel::Stdin), sizes: input(Channel::Resize), outlet: &outlets, gone };
            let Some(outcome) = converse(session, ends).await else { return };
            outcome
        }
        Err(error) => Err(error),
    };
    if let Some(text) = outcome::text(asked, &outcome, protocol) {
        let _ = outlets.write(Channel::Error, text).await;
    }
    // The client takes what it has not read yet for lost when the connection ends: it is the one to go.
    for (_, mut outlet) in outlets.0 {
        outlet.close().await;
    }
    connection.close(LINGER).await;
}

/// Waits for the streams that were asked for; none if they do not come in time.
async fn streams(
    connection: &mut Connection,
    wanted: Wanted,
    sizes: bool,
) -> Option<(BTreeMap<Channel, Inbound>, Outlets)> {
    let expected = [
        (Channel::Error, "error", true),
        (Channel::Stdin, "stdin", wanted.stdin),
        (Channel::Stdout, "stdout", wanted.stdout),
        (Channel::Stderr, "stderr", wanted.stderr),
        (Channel::Resize, "resize", sizes),
    ];
    let until = Instant::now() + OPENING_MAX;
    let (mut inputs, mut outlets) = (BTreeMap::new(), BTreeMap::new());
    while outlets.len() < expected.iter().filter(|(_, _, wanted)| *wanted).count() {
        let mut stream = timeout_at(until, connection.next()).await.ok()??;
        let named = stream.headers.get(STREAM_TYPE);
        let found = expected.iter().find(|(_, name, wanted)| *name == named && *wanted);
        let Some((channel, _, _)) = found else {
            stream.output.reset();
            continue;
        };
        inputs.insert(*channel, stream.input);
        outlets.insert(*channel, stream.output);
    }
    Some((inputs, Outlets(outlets)))
}
