//! A container's log as `kubectl logs` asks for it: which lines, from when, and whether to go on.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use http::{StatusCode, header};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use orlop_client::clock;

use crate::host::Host;
use crate::node::within;
use crate::runtime::{ContainerState, LogChunk, LogOptions, LogStream, Phase};

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub follow: bool,
    pub previous: bool,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    pub since_seconds: Option<u64>,
    pub since_time: Option<Timestamp>,
    pub limit_bytes: Option<u64>,
}

impl Asked {
    /// Reads a query.
    ///
    /// # Errors
    /// A value that is none.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut asked = Asked::default();
        for pair in query.split('&').filter(|it| !it.is_empty()) {
            let (key, raw) = pair.split_once('=').unwrap_or((pair, "true"));
            let value = unescape(raw);
            let number = || value.parse::<u64>().map_err(|_| format!("{key}: Invalid value: {value:?}"));
            let flag = || match value.as_str() {
                "true" | "1" | "" => Ok(true),
                "false" | "0" => Ok(false),
                _ => Err(format!("{key}: Invalid value: {value:?}")),
            };
            match key {
                "follow" => asked.follow = flag()?,
                "previous" => asked.previous = flag()?,
                "timestamps" => asked.timestamps = flag()?,
                "tailLines" => asked.tail_lines = Some(number()?),
                "sinceSeconds" => asked.since_seconds = Some(number()?),
                "sinceTime" => {
                    asked.since_time = Some(value.parse().map_err(|_| format!("{key}: Invalid value: {value:?}"))?)
                }
                "limitBytes" => asked.limit_bytes = Some(number()?),
                _ => {}
            }
        }
        Ok(asked)
    }

    fn options(&self, now: Timestamp) -> LogOptions {
        let ago = |it: u64| now.checked_sub(Duration::from_secs(it)).unwrap_or(Timestamp::MIN);
        LogOptions {
            follow: self.follow,
            tail_lines: self.tail_lines,
            since: self.since_time.or_else(|| self.since_seconds.map(ago)),
        }
    }
}

/// `%3A` and `+` in a query's value.
fn unescape(raw: &str) -> String {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [a, b, ..]) => std::str::from_utf8(&[*a, *b]).ok().and_then(|it| u8::from_str_radix(it, 16).ok()),
            _ => None,
        };
        bytes.push(escaped.unwrap_or(if *first == b'+' { b' ' } else { *first }));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Answers with the log, or says why there is none.
pub async fn answer(host: &Host, namespace: &str, pod: &str, container: &str, asked: &Asked) -> Response {
    let inventory = match host.runtime.inventory().await {
        Ok(it) => it,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    };
    let mut of_it: Vec<ContainerState> = inventory
        .containers
        .into_iter()
        .filter(|it| it.pod.namespace == namespace && it.pod.name == pod && it.name == container)
        .collect();
    // Of two pods of one name, the one that is going may still be here: the newest start is the one that is meant.
    of_it.sort_by_key(|it| (begun(it), it.attempt));
    let uid = of_it.last().map(|it| it.pod.uid.clone());
    of_it.retain(|it| Some(&it.pod.uid) == uid.as_ref());
    let chosen = if asked.previous { of_it.iter().rev().nth(1) } else { of_it.last() };
    let Some(chosen) = chosen else {
        if asked.previous {
            let text = format!("previous terminated container {container:?} in pod {pod:?} not found");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
        return match waiting_for(host, namespace, pod, container).await {
            Some(what) => {
                let text = format!("container {container:?} in pod {pod:?} is waiting to start: {what}");
                (StatusCode::BAD_REQUEST, text).into_response()
            }
            None => {
                (StatusCode::NOT_FOUND, format!("container {container:?} in pod {pod:?} not found")).into_response()
            }
        };
    };
    match host.runtime.logs(&chosen.id, &asked.options(clock::now())).await {
        Ok(stream) => body(stream, asked).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// What a container that has never run waits for, in the kubelet's words; none if it does not wait.
async fn waiting_for(host: &Host, namespace: &str, pod: &str, container: &str) -> Option<String> {
    let api = Api::<Pod>::namespaced(host.client.clone(), namespace);
    let status = within(api.get(pod)).await.ok()?.status?;
    let lists = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let mut all = lists.into_iter().flatten().flatten();
    let reason = all.find(|it| it.name == container)?.state.clone()?.waiting?.reason.unwrap_or_default();
    Some(match reason.as_str() {
        "ErrImagePull" => "image can't be pulled".to_owned(),
        "ImagePullBackOff" => "trying and failing to pull image".to_owned(),
        _ => reason,
    })
}

fn begun(it: &ContainerState) -> Timestamp {
    match &it.phase {
        Phase::Created => Timestamp::MAX,
        Phase::Running { started } => *started,
        Phase::Exited { started, finished, .. } => started.unwrap_or(*finished),
    }
}

fn body(stream: LogStream, asked: &Asked) -> Response {
    let (timestamps, mut left) = (asked.timestamps, asked.limit_bytes.unwrap_or(u64::MAX));
    let mut at_line_start = true;
    let lines = stream.map(move |it| it.map(|it| text(&it, timestamps, &mut at_line_start)));
    let limited = lines.scan((), move |(), it| {
        let it = match it {
            _ if left == 0 => None,
            Ok(bytes) => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                left -= u64::try_from(take).unwrap_or(left).min(left);
                Some(Ok(bytes.slice(..take)))
            }
            Err(error) => Some(Err(std::io::Error::other(error.to_string()))),
        };
        std::future::ready(it)
    });
    ([(header::CONTENT_TYPE, "text/plain")], Body::from_stream(limited)).into_response()
}

/// A chunk with the time before each of its lines.
fn text(chunk: &LogChunk, timestamps: bool, at_line_start: &mut bool) -> Bytes {
    if !timestamps {
        return chunk.bytes.clone();
    }
    let mut out = BytesMut::new();
    for line in chunk.bytes.split_inclusive(|it| *it == b'\n') {
        if *at_line_start {
            out.extend_from_slice(format!("{:.9} ", chunk.time).as_bytes());
        }
        out.extend_from_slice(line);
        *at_line_start = line.ends_with(b"\n");
    }
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read() {
        let asked =
            Asked::parse("follow=true&tailLines=5&sinceTime=2026-01-01T00%3A00%3A00Z&limitBytes=7&other=x").unwrap();
        assert!(asked.follow && !asked.previous);
        assert_eq!((asked.tail_lines, asked.limit_bytes), (Some(5), Some(7)));
        assert_eq!(asked.since_time, Some("2026-01-01T00:00:00Z".parse().unwrap()));
        assert!(Asked::parse("tailLines=-1").is_err());
    }

    #[tokio::test]
    async fn lines_carry_times_and_end_at_the_limit() {
        let chunk = |it: &'static str| LogChunk {
            time: Timestamp::UNIX_EPOCH,
            stderr: false,
            bytes: Bytes::from_static(it.as_bytes()),
        };
        let mut start = true;
        assert_eq!(
            text(&chunk("a\nb"), true, &mut start),
            "1970-01-01T00:00:00.000000000Z a\n1970-01-01T00:00:00.000000000Z b"
        );
        assert_eq!(text(&chunk("c\n"), true, &mut start), "c\n");
        let stream = futures::stream::iter([Ok(chunk("one\n")), Ok(chunk("two\n"))]).boxed();
        let answer = body(stream, &Asked { limit_bytes: Some(6), ..Asked::default() });
        let bytes = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
        assert_eq!(bytes, "one\ntw");
    }
}
