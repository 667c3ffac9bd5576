//! What a container wrote, read through the Engine with the times it noted.

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use bytes::Bytes;
use futures::StreamExt;
use jiff::Timestamp;

use super::engine::{Engine, QUICK};
use crate::runtime::{LogChunk, LogOptions, LogStream, RuntimeError};

/// Opens a container's log.
pub async fn read(engine: &Engine, id: &str, options: &LogOptions) -> Result<LogStream, RuntimeError> {
    if engine.owned(id).await?.is_none() {
        return Err(RuntimeError::NotFound(id.to_owned()));
    }
    let since = options.since;
    let request = LogsOptions {
        follow: options.follow,
        stdout: true,
        stderr: true,
        // Whole seconds are what the Engine takes; the rest is cut off below.
        since: since.map_or(0, |it| i32::try_from(it.as_second()).unwrap_or(i32::MAX).max(0)),
        until: 0,
        timestamps: true,
        tail: options.tail_lines.map_or_else(|| "all".to_owned(), |it| it.to_string()),
    };
    let docker = engine.client(QUICK).await?;
    let mut last = Timestamp::UNIX_EPOCH;
    let chunks = docker.logs(id, Some(request)).filter_map(move |output| {
        let chunk = match output {
            Ok(output) => {
                let chunk = parse(output, last);
                last = chunk.time;
                Some(Ok(chunk)).filter(|_| since.is_none_or(|since| last >= since))
            }
            Err(error) => Some(Err(failure(error))),
        };
        std::future::ready(chunk)
    });
    Ok(chunks.boxed())
}

fn failure(error: bollard::errors::Error) -> RuntimeError {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code: 404, message } => {
            RuntimeError::NotFound(message)
        }
        bollard::errors::Error::DockerResponseServerError { message, .. } => RuntimeError::Other(message),
        other => RuntimeError::Unavailable(other.to_string()),
    }
}

/// Takes the time off a line. A part of a line that has none (a terminal's output, split) is of the time of the one before.
fn parse(output: LogOutput, last: Timestamp) -> LogChunk {
    let stderr = matches!(output, LogOutput::StdErr { .. });
    let bytes = output.into_bytes();
    match split(&bytes) {
        Some((time, text)) => LogChunk { time, stderr, bytes: bytes.slice(text..) },
        None => LogChunk { time: last, stderr, bytes },
    }
}

/// The time at the start of a line, and where its text begins.
fn split(line: &Bytes) -> Option<(Timestamp, usize)> {
    // "2006-01-02T15:04:05.000000000Z " is 31 bytes; an offset instead of Z makes it 36.
    let space = line.iter().take(36).position(|it| *it == b' ')?;
    let time = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    Some((time, space + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_off_lines() {
        let check = |line: &'static str, time: &str, text: &str| {
            let message = Bytes::from_static(line.as_bytes());
            let chunk = parse(LogOutput::StdErr { message }, "2020-01-01T00:00:00Z".parse().unwrap());
            assert_eq!(chunk.time, time.parse::<Timestamp>().unwrap(), "{line}");
            assert_eq!(chunk.bytes, text.as_bytes());
            assert!(chunk.stderr);
        };
        check("2026-01-02T03:04:05.123456789Z hello world\n", "2026-01-02T03:04:05.123456789Z", "hello world\n");
        check("2026-01-02T03:04:05.000000000Z \n", "2026-01-02T03:04:05Z", "\n");
        check("2026-01-02T03:04:05.000000000+02:00 x", "2026-01-02T01:04:05Z", "x");
        check("no time here", "2020-01-01T00:00:00Z", "no time here");
        check("", "2020-01-01T00:00:00Z", "");
    }
}
