//! Conversations with what runs in a container: the runtime gives an address for each, and serves the streams there.
//!
//! A command whose client has gone is killed ([`super::abandoned`]).

use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use k8s_cri::v1 as cri;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::abandoned::Abandoned;
use super::endpoint::{Endpoint, QUICK};
use super::upgrade::{self, Streams, Wanted};
use super::{container, inventory};
use crate::runtime::RuntimeError;
use crate::runtime::session::{AttachSpec, ExecSpec, Input, OUTPUT_BYTES, Output, SIZES, Session, TerminalSize};
use crate::server::spdy::stream::{Inbound, Outbound, Stream};

/// How much is copied at once.
const PIECE_BYTES: usize = 32 << 10;
/// How often a process is looked for whose outputs have ended, and how often in a row it is not there when it counts as gone: ten seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const GONE_LOOKS: u32 = 10;
/// How long an attach holds its input back. Containerd passes an input on before it has joined the outputs (`ContainerIO.Attach`, which starts the
/// one in a goroutine ahead of the others) and tells nobody when it has: a process that answers and ends at once would not be heard.
const JOINS_WITHIN: Duration = Duration::from_millis(250);
/// The longest word about the end: a status with a message.
const END_BYTES_MAX: usize = 64 << 10;

/// Runs a command in a container.
///
/// # Errors
/// As [`crate::runtime::Runtime::exec_session`].
pub async fn exec(endpoint: &Endpoint, id: &str, spec: &ExecSpec) -> Result<Session, RuntimeError> {
    let found = container::details(endpoint, id, true).await?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    let guard = Abandoned::new(inventory::pid(&found.info), &spec.command);
    let wanted = Wanted { stdin: spec.stdin, stdout: spec.stdout, stderr: spec.stderr && !spec.tty, sizes: spec.tty };
    let request = cri::ExecRequest {
        container_id: id.to_owned(),
        cmd: spec.command.clone(),
        tty: spec.tty,
        stdin: wanted.stdin,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let url = endpoint.call("Exec", QUICK, |mut it| async move { it.exec(request).await }).await?.url;
    Ok(session(upgrade::open(&url, wanted).await?, Duration::ZERO, Some(guard)))
}

/// Joins a container's own process.
///
/// # Errors
/// As [`crate::runtime::Runtime::attach_session`].
pub async fn attach(endpoint: &Endpoint, id: &str, spec: &AttachSpec) -> Result<Session, RuntimeError> {
    let found = container::details(endpoint, id, true).await?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    // Whether there is a terminal and an input was said when it was made, and stands in what the runtime says beside.
    let info: Value = found.info.get("info").and_then(|it| serde_json::from_str(it).ok()).unwrap_or_default();
    let said = |name: &str| info["config"][name].as_bool().unwrap_or(false);
    let tty = said("tty");
    let wanted =
        Wanted { stdin: spec.stdin && said("stdin"), stdout: spec.stdout, stderr: spec.stderr && !tty, sizes: tty };
    let request = cri::AttachRequest {
        container_id: id.to_owned(),
        stdin: wanted.stdin,
        tty,
        stdout: wanted.stdout,
        stderr: wanted.stderr,
    };
    let url = endpoint.call("Attach", QUICK, |mut it| async move { it.attach(request).await }).await?.url;
    Ok(session(upgrade::open(&url, wanted).await?, JOINS_WITHIN, None))
}

fn session(streams: Streams, hold: Duration, mut guard: Option<Abandoned>) -> Session {
    let Streams { connection, error, stdin, stdout, stderr, sizes } = streams;
    let (stdin, feeding) = stdin.map(|it| input(it, hold)).unzip();
    let (stdout, copying_out) = stdout.map(output).unzip();
    let (stderr, copying_err) = stderr.map(output).unzip();
    let resize = sizes.map(resize);
    let exit = async move {
        let _held = feeding;
        let Stream { input, mut output, .. } = error;
        // Nothing goes this way; dropped, it would end the other as well.
        output.close().await;
        let mut outputs: Vec<AbortOnDropHandle<()>> = [copying_out, copying_err].into_iter().flatten().collect();
        let told = tokio::select! {
            told = end(input) => told,
            () = gone(&mut outputs, guard.as_ref()) => Err(RuntimeError::Other(
                "the command has ended, but the runtime does not say how: it waits for somebody to take its input".to_owned(),
            )),
        };
        // What the process wrote came before the word about its end, and is read from the connection by now.
        connection.finish();
        for it in outputs.into_iter().filter(|it| !it.is_finished()) {
            // What cannot be read to its end has no client any more, who would have heard of it.
            let _ = it.await;
        }
        match (told?, guard.as_mut()) {
            (Some(code), Some(guard)) => {
                guard.end();
                Ok(code)
            }
            (None, Some(_)) => {
                Err(RuntimeError::Unavailable("the runtime did not say how the command ended".to_owned()))
            }
            // What was attached to goes on, or has ended with a code that its status shows.
            (code, None) => Ok(code.unwrap_or_default()),
        }
    };
    Session { stdin, stdout, stderr, resize, exit: exit.boxed() }
}

/// What is written goes to the process, after a while; its end is the input's.
fn input(stream: Stream, hold: Duration) -> (Input, AbortOnDropHandle<()>) {
    let (ours, mut theirs): (DuplexStream, DuplexStream) = tokio::io::duplex(OUTPUT_BYTES);
    let mut to: Outbound = stream.output;
    let copying = async move {
        tokio::time::sleep(hold).await;
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(length) = theirs.read(&mut piece).await {
            if length == 0 || to.write(Bytes::copy_from_slice(&piece[..length])).await.is_err() {
                break;
            }
        }
        to.close().await;
    };
    (Box::new(ours), AbortOnDropHandle::new(tokio::spawn(copying)))
}

/// What the process writes, to its end.
fn output(stream: Stream) -> (Output, AbortOnDropHandle<()>) {
    let (ours, mut theirs) = tokio::io::duplex(OUTPUT_BYTES);
    let Stream { mut input, mut output, .. } = stream;
    let copying = async move {
        // Nothing goes this way.
        output.close().await;
        while let Some(piece) = input.next().await {
            if theirs.write_all(&piece).await.is_err() {
                break;
            }
        }
    };
    (Box::new(ours), AbortOnDropHandle::new(tokio::spawn(copying)))
}

fn resize(stream: Stream) -> mpsc::Sender<TerminalSize> {
    let (sender, mut receiver) = mpsc::channel::<TerminalSize>(SIZES);
    tokio::spawn(async move {
        while let Some(it) = receiver.recv().await {
            let text = json!({"Width": it.width, "Height": it.height}).to_string();
            if stream.output.write(text.into()).await.is_err() {
                break;
            }
        }
    });
    sender
}

/// Comes back when a command's outputs have ended and no process has been there for a while. Before 1.7 containerd never tells the end of a
/// command that has left much of its input; for what was attached to, that is not looked for.
async fn gone(outputs: &mut [AbortOnDropHandle<()>], guard: Option<&Abandoned>) {
    for it in outputs.iter_mut().filter(|it| !it.is_finished()) {
        let _ = it.await;
    }
    let Some(guard) = guard else { return std::future::pending().await };
    let mut looks = 0;
    while looks < GONE_LOOKS {
        tokio::time::sleep(LOOK_EVERY).await;
        looks = if guard.runs().await { 0 } else { looks + 1 };
    }
}

/// Reads what the runtime says of the end; none if the stream ends without a word. The word is one JSON text, and there may be no end of the
/// stream behind it: a runtime that still has an input to give to a process that is gone does not come to close it.
async fn end(mut from: Inbound) -> Result<Option<i32>, RuntimeError> {
    let mut text = Vec::new();
    while let Some(piece) = from.next().await {
        text.extend_from_slice(&piece);
        if text.len() > END_BYTES_MAX || serde_json::from_slice::<Value>(&text).is_ok() {
            break;
        }
    }
    outcome(&text)
}

/// A status in JSON, or nothing.
fn outcome(text: &[u8]) -> Result<Option<i32>, RuntimeError> {
    if text.is_empty() {
        return Ok(None);
    }
    let Ok(status) = serde_json::from_slice::<Value>(text) else {
        return Err(RuntimeError::Other(String::from_utf8_lossy(text).trim().to_owned()));
    };
    if status["status"] == "Success" {
        return Ok(Some(0));
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes.into_iter().flatten().find(|it| it["reason"] == "ExitCode");
    if let Some(code) = code.and_then(|it| it["message"].as_str()?.parse().ok()) {
        return Ok(Some(code));
    }
    Err(RuntimeError::Other(status["message"].as_str().unwrap_or("the command failed").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_from_a_status() {
        let check = |text: &str, expected: Result<Option<i32>, &str>| {
            let found = outcome(text.as_bytes()).map_err(|it| it.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        check("", Ok(None));
        check(r#"{"status":"Success"}"#, Ok(Some(0)));
        let causes = r#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        check(causes, Ok(Some(3)));
        check(r#"{"status":"Failure","message":"no such file"}"#, Err("no such file"));
        check("plain words", Err("plain words"));
    }
}
