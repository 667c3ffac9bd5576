//! What the agent and a shim say to each other: frames of a length (four bytes, big-endian) and JSON, over a unix stream socket.
//!
//! A connection carries one request at a time and its answer. [`Request::Subscribe`] turns it into a stream of [`Response::Changed`].
//! Closing a connection abandons what was asked on it: a command that an exec started is killed.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The longest frame, in bytes without its length: the output of an exec is the largest thing that is sent.
pub const FRAME_MAX_BYTES: usize = 1 << 20;

/// Descriptors that come with one request: a command's input, output and errors.
pub const DESCRIPTORS_MAX: usize = 3;

/// The socket's name in the pod's folder.
pub const SOCKET: &str = "shim.sock";

/// What the agent asks. Containers are named by their folder below `containers/` in the pod's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum Request {
    /// Who the shim is.
    Ping,
    /// Creates and starts the container of a bundle; one that runs stays as it is.
    Start { container: String },
    /// Sends a signal, SIGKILL when `grace_ms` milliseconds have passed, and answers when the container has ended.
    Stop { container: String, signal: i32, grace_ms: u64 },
    /// Runs a command in a container to its end, at most `timeout_ms` milliseconds; keeps at most `limit_bytes` of its output.
    Exec { container: String, command: Vec<String>, timeout_ms: u64, limit_bytes: usize },
    /// Runs a command in a container for as long as it takes and the connection stays. The descriptors that come with this request's first bytes
    /// (`SCM_RIGHTS`) are its input, output and errors; with a terminal, the one is a socket on which the terminal's master is sent back. The answer
    /// is [`Response::Done`] when it has started, and [`Response::Executed`] with an empty output when it has ended.
    Session { container: String, command: Vec<String>, tty: bool },
    /// Joins a container's own process for as long as the connection stays or the container runs. With this request's first bytes come a socket, then
    /// the writing end of a pipe for each of the wanted outputs. On the socket, what is written into is sent back, if there is anything: the terminal's
    /// master, wanted or not, else the standard input. The answer is [`Response::Done`], and [`Response::Executed`] with an empty output when the
    /// container has ended.
    Attach { container: String, stdin: bool, stdout: bool, stderr: bool },
    /// From now on the pod ends by itself when the node's last contact with the API server is longer ago than `after_ms` milliseconds. With this request's
    /// first bytes comes the file that says when it was ([`crate::fence`]). Without `after_ms`, and without a file, it does not end for that.
    Fence { after_ms: Option<u64> },
    /// Kills every container; the shim ends after its answer, and the sandbox's namespaces with it.
    Shutdown,
    /// From now on, tell of changes.
    Subscribe,
}

/// What the shim answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "kebab-case")]
pub enum Response {
    /// To [`Request::Ping`]: the process that holds the namespaces, the addresses in its network namespace but the loopback's, and the first process of
    /// the containers' PID namespace where they share one.
    Pong {
        pid: i32,
        addresses: Vec<IpAddr>,
        #[serde(default)]
        first_process: Option<i32>,
    },
    Done,
    /// To [`Request::Exec`], [`Request::Session`] and [`Request::Attach`]; a frame with the output follows, which is bytes and no JSON.
    Executed {
        exit_code: i32,
    },
    Failed {
        why: Failure,
        message: String,
    },
    /// A container started or ended; its files tell what is.
    Changed {
        container: String,
    },
}

/// Kinds of failures, as the agent tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// No such container, or it does not run.
    NotFound,
    /// It could not be created or started; this is recorded as its end.
    Start,
    Timeout,
    Other,
}

/// Why bytes are no frame.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a frame of {} bytes, more than {FRAME_MAX_BYTES}", self.0)
    }
}

impl std::error::Error for TooLong {}

/// A frame around bytes.
///
/// # Errors
/// More than [`FRAME_MAX_BYTES`].
pub fn frame(body: &[u8]) -> Result<Vec<u8>, TooLong> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_MAX_BYTES).ok_or(TooLong(body.len()))?;
    let mut framed = Vec::with_capacity(4 + body.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(body);
    Ok(framed)
}

/// A frame around a message.
///
/// # Errors
/// More than [`FRAME_MAX_BYTES`].
pub fn message<T: Serialize>(it: &T) -> Result<Vec<u8>, TooLong> {
    frame(&serde_json::to_vec(it).unwrap_or_default())
}

/// Takes the first whole frame off what has been received, if it is there.
///
/// # Errors
/// A frame longer than [`FRAME_MAX_BYTES`] was announced: the peer is not to be listened to any more.
pub fn take_frame(received: &mut Vec<u8>) -> Result<Option<Vec<u8>>, TooLong> {
    let Some(length) = received.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    if length > FRAME_MAX_BYTES {
        return Err(TooLong(length));
    }
    if received.len() < 4 + length {
        return Ok(None);
    }
    let body = received[4..4 + length].to_vec();
    received.drain(..4 + length);
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_whole_however_they_are_cut() {
        let request = Request::Stop { container: "a_0".into(), signal: 15, grace_ms: 30_000 };
        let mut sent = message(&request).unwrap();
        sent.extend(frame(b"\xff\x00").unwrap());
        let mut received = Vec::new();
        let mut frames = Vec::new();
        for byte in sent {
            received.push(byte);
            frames.extend(take_frame(&mut received).unwrap());
        }
        assert_eq!(serde_json::from_slice::<Request>(&frames[0]).unwrap(), request);
        assert_eq!((frames[1].as_slice(), frames.len(), received.len()), (b"\xff\x00".as_slice(), 2, 0));
    }

    #[test]
    fn frames_are_bounded() {
        assert_eq!(frame(&vec![0; FRAME_MAX_BYTES + 1]), Err(TooLong(FRAME_MAX_BYTES + 1)));
        assert_eq!(take_frame(&mut vec![0xff; 8]), Err(TooLong(u32::MAX as usize)));
    }
}
