//! Port-forward over SPDY: two streams a connection, one for data and one for an error, which name the port and share a `requestID`.
//!
//! Source: `k8s.io/kubelet/pkg/cri/streaming/portforward/httpstream.go`.

use std::collections::HashMap;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::{Outlet, Pod, forward};
use crate::server::OPENING_MAX;
use crate::server::spdy::Connection;
use crate::server::spdy::headers::Headers;
use crate::server::spdy::stream::{Outbound, Stream};

#[async_trait]
impl Outlet for Outbound {
    async fn write(&mut self, bytes: Bytes) -> Result<(), ()> {
        Outbound::write(self, bytes).await.map_err(|_| ())
    }
}

/// Which of a pair's streams one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Data,
    Error,
}

/// What a stream's headers say.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    request: String,
    role: Role,
    port: u16,
}

impl Named {
    /// Reads the headers of a stream. Old clients give no number to a request: theirs is that of its error stream, which they open first.
    fn parse(id: u32, headers: &Headers) -> Option<Self> {
        let role = match headers.get("streamType") {
            "data" => Role::Data,
            "error" => Role::Error,
            _ => return None,
        };
        let port = headers.get("port").parse().ok().filter(|it| *it > 0)?;
        let request = match (headers.get("requestID"), role) {
            ("", Role::Error) => id.to_string(),
            ("", Role::Data) => id.checked_sub(2)?.to_string(),
            (given, _) => given.to_owned(),
        };
        Some(Named { request, role, port })
    }
}

/// One of two, which waits for the other.
struct Half {
    stream: Stream,
    named: Named,
    since: Instant,
}

/// Forwards connections until the client goes.
pub async fn run(io: impl AsyncRead + AsyncWrite + Send + 'static, pod: Pod) {
    let mut connection = Connection::start(io);
    let mut halves: HashMap<String, Half> = HashMap::new();
    // Dropped, they end: none outlives its connection. There are never more than half as many as streams.
    let mut pairs = JoinSet::new();
    loop {
        let oldest = halves.values().map(|it| it.since).min();
        let late = async {
            match oldest {
                Some(since) => sleep_until(since + OPENING_MAX).await,
                None => std::future::pending().await,
            }
        };
        let mut stream = tokio::select! {
            next = connection.next() => match next {
                Some(it) => it,
                None => return,
            },
            () = late => {
                halves.retain(|_, it| it.since.elapsed() < OPENING_MAX);
                continue;
            }
            Some(_) = pairs.join_next() => continue,
        };
        let Some(named) = Named::parse(stream.id, &stream.headers) else {
            stream.output.reset();
            continue;
        };
        match halves.remove(&named.request) {
            Some(half) if half.named.role != named.role => {
                let (data, error) = match named.role {
                    Role::Data => (stream, half.stream),
                    Role::Error => (half.stream, stream),
                };
                let port = if named.role == Role::Data { named.port } else { half.named.port };
                pairs.spawn(serve(pod.clone(), port, data, error));
            }
            // A second of the same kind: the first was waiting for another.
            Some(half) => {
                stream.output.reset();
                halves.insert(named.request, half);
            }
            None => {
                halves.insert(named.request.clone(), Half { stream, named, since: Instant::now() });
            }
        }
    }
}

async fn serve(pod: Pod, port: u16, data: Stream, error: Stream) {
    let (Stream { input, mut output, .. }, mut error) = (data, error.output);
    if let Err(why) = forward(&pod, port, input.into_stream(), &mut output).await {
        tracing::debug!(%why, "a connection was not forwarded");
        let _ = error.write(why.into()).await;
    }
    output.close().await;
    error.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(id: u32, headers: &[(&str, &str)], expected: Option<(&str, Role, u16)>) {
        let headers = Headers(headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect());
        let named = Named::parse(id, &headers);
        assert_eq!(named, expected.map(|(request, role, port)| Named { request: request.to_owned(), role, port }));
    }

    #[test]
    fn streams_say_what_they_are() {
        let all = |kind, port, request| [("streamtype", kind), ("port", port), ("requestid", request)];
        check(1, &all("error", "80", "0"), Some(("0", Role::Error, 80)));
        check(3, &all("data", "80", "0"), Some(("0", Role::Data, 80)));
        check(1, &all("error", "80", "")[..2], Some(("1", Role::Error, 80)));
        check(3, &all("data", "80", "")[..2], Some(("1", Role::Data, 80)));
        check(1, &all("data", "80", "")[..2], None);
        for port in ["", "0", "65536", "http", "-1"] {
            check(1, &all("error", port, "0"), None);
        }
        check(1, &all("other", "80", "0"), None);
    }
}
