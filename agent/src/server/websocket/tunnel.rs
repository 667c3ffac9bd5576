//! A stream of bytes through a WebSocket: the frames of SPDY as kubectl's port-forward sends them.
//!
//! In: a WebSocket. Out: a connection whose bytes are those of its messages, wherever those begin and end. Source: KEP-4006,
//! `k8s.io/client-go/tools/portforward` (TunnelingConnection).

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::{PIECE_BYTES, Reader, Writer};

/// Copies both ways until either side ends. The other end of `inner` is what speaks through the tunnel.
pub async fn run(mut reader: Reader<impl AsyncRead + Unpin>, writer: Writer, inner: DuplexStream) {
    let (mut from, mut to) = tokio::io::split(inner);
    let inward = async {
        loop {
            match reader.next().await {
                Ok(Some(piece)) => {
                    if to.write_all(&piece.bytes).await.is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    tracing::debug!(%error, "a tunnel broke");
                    break;
                }
            }
        }
        let _ = to.shutdown().await;
    };
    let outward = async {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let bytes = bytes::Bytes::copy_from_slice(&piece[..length]);
            if writer.send(false, bytes).await.is_err() {
                break;
            }
        }
        writer.close().await;
    };
    // Once nothing more is sent, nobody answers what still comes.
    tokio::select! {
        () = outward => {}
        () = async { inward.await; std::future::pending::<()>().await } => {}
        () = writer.closed() => {}
    }
}
