//! A client's end of an exec or attach, joined to the runtime's, whatever protocol the client speaks.
//!
//! In: a [`Session`] of the runtime's and the client's [`Ends`]. Out: how it ended, if the client was still there to hear it. [`spdy`] and
//! [`websocket`] make the ends of what they speak, [`outcome`] puts the end into words. Bytes wait only in the pipes between: who does not read
//! holds up who writes. Source: `k8s.io/kubelet/pkg/cri/streaming/remotecommand`.

pub mod outcome;
pub mod spdy;
pub mod websocket;

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::upgrade::Offer;
use crate::runtime::RuntimeError;
use crate::runtime::session::{Input, Output, Session, TerminalSize};

/// What is spoken, the newest first.
pub const OFFER: Offer = Offer {
    websocket: &[
        "v5.channel.k8s.io",
        "v4.channel.k8s.io",
        "v4.base64.channel.k8s.io",
        "v3.channel.k8s.io",
        "channel.k8s.io",
        "base64.channel.k8s.io",
    ],
    spdy: &["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io"],
    unnamed: "channel.k8s.io",
};

/// How long a client that has been told the end may take to read all and go. One that pages through long output takes its time; what it costs
/// is a connection.
pub const LINGER: Duration = Duration::from_secs(300);

/// Output is passed on in pieces of at most this.
const PIECE_BYTES: usize = 32 << 10;

/// What a client may send about its terminal's size without a size being whole.
const SIZE_BYTES_MAX: usize = 4096;

/// The streams between a client and a process, by the numbers that WebSockets give them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    Error = 3,
    Resize = 4,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

/// Takes what goes to the client.
#[async_trait]
pub trait Outlet: Send + Sync {
    /// Sends a piece, as fast as the client takes it.
    ///
    /// # Errors
    /// When the client has gone.
    async fn write(&self, channel: Channel, bytes: Bytes) -> io::Result<()>;
}

/// A client's end.
pub struct Ends<'a> {
    /// Ends where the client closes its input.
    pub stdin: Option<BoxStream<'static, Bytes>>,
    pub sizes: Option<BoxStream<'static, Bytes>>,
    pub outlet: &'a dyn Outlet,
    /// Resolves when the client has gone.
    pub gone: BoxFuture<'a, ()>,
}

/// Joins both ends until the process ends; none when the client went before that, which abandons the session.
pub async fn converse(session: Session, ends: Ends<'_>) -> Option<Result<i32, RuntimeError>> {
    let Session { stdin, stdout, stderr, resize, exit } = session;
    let inward = async {
        tokio::join!(take_input(ends.stdin, stdin), take_sizes(ends.sizes, resize));
        std::future::pending::<()>().await;
    };
    let outward = async {
        let outputs = futures::future::try_join(
            give(stdout, Channel::Stdout, ends.outlet),
            give(stderr, Channel::Stderr, ends.outlet),
        );
        // An output that the client does not take ends it all.
        futures::future::try_join(outputs, exit.map(Ok)).await.ok().map(|(_, code)| code)
    };
    tokio::select! {
        ended = outward => ended,
        () = inward => None,
        () = ends.gone => None,
    }
}

/// Passes the client's input on and closes it behind its last byte.
async fn take_input(from: Option<BoxStream<'static, Bytes>>, to: Option<Input>) {
    let Some(mut from) = from else { return };
    let Some(mut to) = to else {
        // Nobody reads it; it must not hold up the connection.
        while from.next().await.is_some() {}
        return;
    };
    while let Some(piece) = from.next().await {
        if to.write_all(&piece).await.is_err() || to.flush().await.is_err() {
            // The process has closed its input, and may have much to say yet.
            while from.next().await.is_some() {}
            return;
        }
    }
    let _ = to.shutdown().await;
}

/// As `k8s.io/client-go/tools/remotecommand` writes sizes.
#[derive(Deserialize)]
struct Size {
    #[serde(rename = "Width")]
    width: u16,
    #[serde(rename = "Height")]
    height: u16,
}

/// Passes the sizes of the client's terminal on. They come as JSON, one behind the other.
async fn take_sizes(from: Option<BoxStream<'static, Bytes>>, to: Option<mpsc::Sender<TerminalSize>>) {
    let Some(mut from) = from else { return };
    let mut text = BytesMut::new();
    while let Some(piece) = from.next().await {
        text.extend_from_slice(&piece);
        while let Some(end) = text.iter().position(|it| *it == b'}') {
            let one = text.split_to(end + 1);
            let (Ok(size), Some(to)) = (serde_json::from_slice::<Size>(&one), &to) else { continue };
            if size.width > 0 && size.height > 0 {
                let _ = to.send(TerminalSize { width: size.width, height: size.height }).await;
            }
        }
        if text.len() > SIZE_BYTES_MAX {
            text.clear();
        }
    }
}

/// Passes an output on to its end.
async fn give(from: Option<Output>, channel: Channel, to: &dyn Outlet) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    loop {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        if from.read_buf(&mut piece).await? == 0 {
            return Ok(());
        }
        to.write(channel, piece.freeze()).await?;
    }
}

#[cfg(test)]
mod tests;
