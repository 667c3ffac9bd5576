//! Conversations with what runs in a container of the Engine's.
//!
//! In: a container and the wanted streams. Out: a [`Session`]. One task copies what the process writes, one passes sizes on; both end with the
//! session. A command whose session is dropped is killed, since nobody would ever read what it writes.

use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ExecConfig, ExecInspectResponse};
use bollard::query_parameters::ResizeContainerTTYOptions;
use futures::FutureExt;
use orlop_client::clock;
use serde_json::json;
use tokio::io::{AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::engine::{Engine, QUICK};
use super::exec;
use super::hijack::{self, Demux, Hijacked};
use crate::runtime::RuntimeError;
use crate::runtime::session::{AttachSpec, ExecSpec, Input, OUTPUT_BYTES, Output, SIZES, Session, TerminalSize};

/// A command's terminal is there a moment after its start, which an Engine under load lets wait for seconds. For so long its size is tried again, with
/// pauses that double from the first to the longest.
const RESIZE_WITHIN: Duration = Duration::from_secs(30);
const RESIZE_PAUSE: Duration = Duration::from_millis(20);
const RESIZE_PAUSE_LONGEST: Duration = Duration::from_millis(500);

/// Runs a command in a container.
///
/// # Errors
/// As [`crate::runtime::Runtime::exec_session`].
pub async fn exec(engine: &Arc<Engine>, id: &str, spec: &ExecSpec) -> Result<Session, RuntimeError> {
    let config = ExecConfig {
        attach_stdin: Some(spec.stdin),
        attach_stdout: Some(spec.stdout),
        attach_stderr: Some(spec.stderr && !spec.tty),
        tty: Some(spec.tty),
        cmd: Some(spec.command.clone()),
        ..ExecConfig::default()
    };
    let made = engine.call("create exec", QUICK, |docker| async move { docker.create_exec(id, config).await }).await?;
    let began = clock::now() - exec::REPLAY;
    let body = json!({"Detach": false, "Tty": spec.tty}).to_string();
    let hijacked = hijack::open(engine, &format!("/exec/{}/start", made.id), body).await?;
    let streams = Streams::of(hijacked, (spec.stdin, spec.stdout, spec.stderr && !spec.tty), !spec.tty);
    let guard = Abandoned { engine: engine.clone(), exec: made.id.clone(), ended: false };
    let resize = spec.tty.then(|| sizes(engine.clone(), Sized::Exec(made.id.clone())));
    let (engine, id, copying) = (engine.clone(), id.to_owned(), streams.copying);
    let exit = async move {
        let mut guard = guard;
        // What cannot be read to its end has no client any more, who would have heard of it.
        let _ = copying.await;
        let code = exec::end(&engine, &id, &made.id, began).await?;
        guard.ended = true;
        Ok(code)
    };
    Ok(Session { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr, resize, exit: exit.boxed() })
}

/// Joins a container's own process.
///
/// # Errors
/// As [`crate::runtime::Runtime::attach_session`].
pub async fn attach(engine: &Arc<Engine>, id: &str, spec: &AttachSpec) -> Result<Session, RuntimeError> {
    let container = engine.owned(id).await?.ok_or_else(|| RuntimeError::NotFound(id.to_owned()))?;
    let config = container.config.unwrap_or_default();
    let tty = config.tty.unwrap_or(false);
    // Input that the process was not given would never be read.
    let stdin = spec.stdin && config.open_stdin.unwrap_or(false);
    let path = format!(
        "/containers/{id}/attach?stream=1&stdin={}&stdout={}&stderr={}",
        u8::from(stdin),
        u8::from(spec.stdout),
        u8::from(spec.stderr && !tty)
    );
    let hijacked = hijack::open(engine, &path, String::new()).await?;
    let streams = Streams::of(hijacked, (stdin, spec.stdout, spec.stderr && !tty), !tty);
    let resize = tty.then(|| sizes(engine.clone(), Sized::Container(id.to_owned())));
    let copying = streams.copying;
    let exit = async move {
        let _ = copying.await;
        Ok(0)
    };
    Ok(Session { stdin: streams.stdin, stdout: streams.stdout, stderr: streams.stderr, resize, exit: exit.boxed() })
}

/// The streams of a connection that is a process's.
struct Streams {
    stdin: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
    copying: AbortOnDropHandle<()>,
}

impl Streams {
    fn of(hijacked: Hijacked, (stdin, stdout, stderr): (bool, bool, bool), frames: bool) -> Self {
        let pipe = |wanted: bool| -> (Option<DuplexStream>, Option<Output>) {
            let (ours, theirs) = tokio::io::duplex(OUTPUT_BYTES);
            if wanted { (Some(ours), Some(Box::new(theirs))) } else { (None, None) }
        };
        let ((to_stdout, stdout), (to_stderr, stderr)) = (pipe(stdout), pipe(stderr));
        let Hijacked { reader, writer } = hijacked;
        let (stdin, held): (Option<Input>, _) =
            if stdin { (Some(Box::new(writer)), None) } else { (None, Some(writer)) };
        let copying = async move {
            let copied = Demux { stdout: to_stdout, stderr: to_stderr }.copy(reader, frames).await;
            if let Err(error) = copied {
                tracing::debug!(%error, "a container's output was not read to its end");
            }
            // Kept until now: to drop it is to close the input.
            if let Some(mut held) = held {
                let _ = held.shutdown().await;
            }
        };
        Streams { stdin, stdout, stderr, copying: AbortOnDropHandle::new(tokio::spawn(copying)) }
    }
}

/// Kills a command whose session is dropped before its end.
struct Abandoned {
    engine: Arc<Engine>,
    exec: String,
    ended: bool,
}

impl Drop for Abandoned {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (engine, exec) = (self.engine.clone(), std::mem::take(&mut self.exec));
        // While the process ends there may be nobody left to do it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { exec::abort(&engine, &exec).await });
        }
    }
}

/// What has a terminal.
enum Sized {
    Exec(String),
    Container(String),
}

/// Passes sizes on until nobody gives any more.
fn sizes(engine: Arc<Engine>, of: Sized) -> mpsc::Sender<TerminalSize> {
    let (sender, mut receiver) = mpsc::channel::<TerminalSize>(SIZES);
    tokio::spawn(async move {
        while let Some(mut size) = receiver.recv().await {
            let (began, mut pause) = (Instant::now(), RESIZE_PAUSE);
            while began.elapsed() < RESIZE_WITHIN {
                while let Ok(newer) = receiver.try_recv() {
                    size = newer;
                }
                match resize(&engine, &of, size).await {
                    Ok(()) => break,
                    // It is over.
                    Err(RuntimeError::NotFound(_)) => return,
                    Err(error) => tracing::debug!(%error, "a terminal did not take its size"),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(RESIZE_PAUSE_LONGEST);
            }
        }
    });
    sender
}

async fn resize(engine: &Engine, of: &Sized, size: TerminalSize) -> Result<(), RuntimeError> {
    match of {
        Sized::Exec(exec) => {
            // Before its process is there the Engine takes the call and loses the size.
            let found = engine.call("inspect exec", QUICK, |docker| async move { docker.inspect_exec(exec).await });
            let found = found.await?;
            if found.exit_code.is_some() {
                return Err(RuntimeError::NotFound("the command has ended".to_owned()));
            }
            if let ExecInspectResponse { pid: None | Some(0), .. } = found {
                return Err(RuntimeError::Other("the command has yet to start".to_owned()));
            }
            let options = bollard::exec::ResizeExecOptions { height: size.height, width: size.width };
            engine.call("resize exec", QUICK, |docker| async move { docker.resize_exec(exec, options).await }).await
        }
        Sized::Container(id) => {
            let options = ResizeContainerTTYOptions { h: size.height.into(), w: size.width.into() };
            engine.call("resize", QUICK, |docker| async move { docker.resize_container_tty(id, options).await }).await
        }
    }
}
