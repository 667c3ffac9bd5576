//! A command run in a container to its end, within a time and an amount of output.

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ExecConfig, ExecInspectResponse};
use bollard::query_parameters::EventsOptions;
use futures::StreamExt;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgid};

use super::engine::{Engine, QUICK};
use crate::runtime::{ExecOutput, RuntimeError};
use orlop_client::clock;

/// How much older than the exec the first event asked for is, to cover the way to the Engine.
pub const REPLAY: Duration = Duration::from_secs(1);

/// Runs a command. When the time is up, the command is killed.
pub async fn run(
    engine: &Engine,
    id: &str,
    command: &[String],
    timeout: Duration,
    limit_bytes: usize,
) -> Result<ExecOutput, RuntimeError> {
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.to_vec()),
        ..ExecConfig::default()
    };
    let exec =
        engine.call("create exec", QUICK, |docker| async move { docker.create_exec(id, config).await }).await?.id;
    let finished = tokio::time::timeout(timeout, finish(engine, id, &exec, limit_bytes)).await;
    match finished {
        Ok(output) => output,
        Err(_) => {
            abort(engine, &exec).await;
            let text = format!("command {:?} timed out after {} s", command.join(" "), timeout.as_secs_f32());
            Err(RuntimeError::Timeout(text))
        }
    }
}

/// Starts the exec, reads all it writes and waits for its end.
async fn finish(engine: &Engine, id: &str, exec: &str, limit_bytes: usize) -> Result<ExecOutput, RuntimeError> {
    let began = clock::now() - REPLAY;
    let options = StartExecOptions { detach: false, tty: false, output_capacity: None };
    let started =
        engine.call("start exec", QUICK, |docker| async move { docker.start_exec(exec, Some(options)).await }).await?;
    let mut kept = Vec::new();
    // The input stays open until the end: closing it would close the output as well.
    if let StartExecResults::Attached { mut output, input: _input } = started {
        while let Some(chunk) = output.next().await {
            let chunk = chunk.map_err(|it| engine.explain("read exec", it))?;
            let bytes = chunk.as_ref();
            let room = limit_bytes.saturating_sub(kept.len()).min(bytes.len());
            kept.extend_from_slice(&bytes[..room]);
        }
    }
    let exit_code = end(engine, id, exec, began).await?;
    Ok(ExecOutput { exit_code, output: kept })
}

/// The exit code of a command that has closed its outputs; `began` is a moment before its start.
pub async fn end(engine: &Engine, id: &str, exec: &str, began: jiff::Timestamp) -> Result<i32, RuntimeError> {
    let code = match inspect(engine, exec).await? {
        ExecInspectResponse { running: Some(false), exit_code: Some(code), .. } => code,
        // It closed its output and runs on, or the Engine has yet to note its end.
        _ => await_end(engine, id, exec, began).await?,
    };
    Ok(i32::try_from(code).unwrap_or(-1))
}

async fn inspect(engine: &Engine, exec: &str) -> Result<ExecInspectResponse, RuntimeError> {
    engine.call("inspect exec", QUICK, |docker| async move { docker.inspect_exec(exec).await }).await
}

/// Waits for the event of an exec's end, from before its start on, so that it cannot be missed.
async fn await_end(engine: &Engine, id: &str, exec: &str, began: jiff::Timestamp) -> Result<i64, RuntimeError> {
    let filters = HashMap::from([
        ("container".to_owned(), vec![id.to_owned()]),
        ("event".to_owned(), vec!["exec_die".to_owned(), "die".to_owned()]),
    ]);
    let options = EventsOptions { since: Some(began.as_second().to_string()), until: None, filters: Some(filters) };
    let docker: Docker = engine.client(QUICK).await?;
    let mut events = std::pin::pin!(docker.events(Some(options)));
    while let Some(event) = events.next().await {
        let event = event.map_err(|it| engine.explain("exec events", it))?;
        let attributes = event.actor.and_then(|it| it.attributes).unwrap_or_default();
        let number = |name: &str| attributes.get(name).and_then(|it| it.parse().ok());
        match event.action.as_deref() {
            Some("exec_die") if attributes.get("execID").is_some_and(|it| it == exec) => {
                return Ok(number("exitCode").unwrap_or(-1));
            }
            // The container ended and took the command with it.
            Some("die") => return Ok(number("exitCode").unwrap_or(-1)),
            _ => {}
        }
    }
    Err(RuntimeError::Unavailable("the Docker Engine went away during an exec".to_owned()))
}

/// Kills a command that took too long, or whose client has gone; Docker itself has no way to.
pub async fn abort(engine: &Engine, exec: &str) {
    match inspect(engine, exec).await {
        Ok(ExecInspectResponse { running: Some(true), pid: Some(pid), .. }) if pid > 1 => {
            let Ok(pid) = i32::try_from(pid) else { return };
            let pid = Pid::from_raw(pid);
            // The Engine makes each command the first of a group: what it has started goes along.
            let leads = getpgid(Some(pid)) == Ok(pid);
            let killed = if leads { killpg(pid, Signal::SIGKILL) } else { kill(pid, Signal::SIGKILL) };
            if let Err(error) = killed {
                tracing::debug!(%error, "an abandoned command could not be killed");
            }
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "an abandoned command could not be found"),
    }
}
