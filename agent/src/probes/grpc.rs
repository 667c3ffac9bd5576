//! gRPC probes: the standard health check (`grpc.health.v1.Health/Check`) over plain HTTP/2.
//!
//! The two messages of that service are one string and one number; they are written and read by hand, a protobuf library would be more
//! code than this.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::connect;

/// The answer's status `SERVING`.
const SERVING: u8 = 1;
/// A health answer is seven bytes; what is much longer is none.
const ANSWER_BYTES: usize = 1024;
/// The longest service name, so that its length fits one byte of the message.
const SERVICE_BYTES: usize = 127;

/// Asks for the health of `service` (empty for the server's own).
///
/// # Errors
/// It does not serve, or does not answer.
pub async fn check(address: SocketAddr, service: &str, timeout: Duration) -> Result<(), String> {
    let asking = async {
        let stream = connect(address, timeout).await?;
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|it| format!("failed to connect service {address}: {it}"))?;
        let driver = tokio::spawn(connection);
        let answer = ask(&mut sender, address, service).await;
        driver.abort();
        answer
    };
    let late = || Err(format!("timeout: failed to connect service \"{address}\" within {}s", timeout.as_secs()));
    tokio::time::timeout(timeout, asking).await.unwrap_or_else(|_| late())
}

async fn ask(
    sender: &mut hyper::client::conn::http2::SendRequest<Full<Bytes>>,
    address: SocketAddr,
    service: &str,
) -> Result<(), String> {
    let request = Request::post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.35")
        .body(Full::new(question(service)?))
        .map_err(|it| it.to_string())?;
    let response = sender.send_request(request).await.map_err(|it| it.to_string())?;
    let failed = |headers: &http::HeaderMap| {
        let code = headers.get("grpc-status")?.to_str().ok()?.to_owned();
        (code != "0").then(|| format!("rpc error: code = {code}"))
    };
    if let Some(error) = failed(response.headers()) {
        return Err(error);
    }
    let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await.map_err(|it| it.to_string())?;
    if let Some(error) = body.trailers().and_then(failed) {
        return Err(error);
    }
    match status(&body.to_bytes()) {
        Some(SERVING) => Ok(()),
        _ => Err("service unhealthy (responded with \"NOT_SERVING\")".into()),
    }
}

/// The request in its frame: not compressed, length, then field 1 with the service's name.
fn question(service: &str) -> Result<Bytes, String> {
    let length = u8::try_from(service.len()).ok().filter(|it| usize::from(*it) <= SERVICE_BYTES);
    let length = length.ok_or_else(|| format!("the service's name is longer than {SERVICE_BYTES} bytes"))?;
    let mut frame = BytesMut::new();
    let message_length = if length == 0 { 0 } else { u32::from(length) + 2 };
    frame.put_u8(0);
    frame.put_u32(message_length);
    if length > 0 {
        frame.put_slice(&[0x0a, length]);
        frame.put_slice(service.as_bytes());
    }
    Ok(frame.freeze())
}

/// The status in an answer's frame: field 1, a number; left out where it is zero.
fn status(frame: &[u8]) -> Option<u8> {
    match frame.get(5..) {
        Some([0x08, status, ..]) => Some(*status),
        Some([]) => Some(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_framed() {
        assert_eq!(question("").unwrap().as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(question("ab").unwrap().as_ref(), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert!(question(&"x".repeat(200)).is_err());
        assert_eq!(status(&[0, 0, 0, 0, 2, 8, 1]), Some(SERVING));
        assert_eq!(status(&[0, 0, 0, 0, 0]), Some(0));
        assert_eq!(status(&[]), None);
    }
}
