//! A command's end of the socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Limited};
use hyper_util::rt::TokioIo;
use tokio::fs::File;
use tokio::net::UnixStream;
use tokio_util::io::ReaderStream;
use tokio_util::task::AbortOnDropHandle;

use super::{LOAD_WITHIN, LocalImage, POWER_OFF_WITHIN, SOCKET, short};
use crate::power_off::Outcome;

/// How long an agent may take to answer what it knows.
const QUICK: Duration = Duration::from_secs(30);
/// The longest answer in bytes: a thousand images with ten names each.
const ANSWER_MAX_BYTES: usize = 4 << 20;
/// How often it is looked whether an agent has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Read from a file at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Why an agent did not do what a command asked.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// There is no socket, or nobody listens on it.
    #[error("the agent of {path} does not run ({source})")]
    Away {
        path: String,
        #[source]
        source: io::Error,
    },
    /// The file that was to be sent.
    #[error("{path}: {source}")]
    File {
        path: String,
        #[source]
        source: io::Error,
    },
    /// In the agent's words.
    #[error("{0}")]
    Refused(String),
    #[error("the agent answers nothing that can be read: {0}")]
    Answer(String),
    #[error("the agent did not answer within {0} s")]
    Slow(u64),
}

/// Has the agent that keeps its things in `data_dir` load an archive, and gives the images that were in it.
///
/// # Errors
/// [`LocalError`].
pub async fn load(data_dir: &Path, archive: &Path) -> Result<Vec<LocalImage>, LocalError> {
    let unreadable = |source| LocalError::File { path: archive.display().to_string(), source };
    let file = File::open(archive).await.map_err(unreadable)?;
    if file.metadata().await.map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let body = Body::from_stream(ReaderStream::with_capacity(file, CHUNK_BYTES));
    let request = Request::post("/images/load").header(header::CONTENT_TYPE, "application/x-tar");
    read_images(&ask(data_dir, request, body, LOAD_WITHIN).await?)
}

/// The images that the agent which keeps its things in `data_dir` has.
///
/// # Errors
/// [`LocalError`].
pub async fn images(data_dir: &Path) -> Result<Vec<LocalImage>, LocalError> {
    read_images(&ask(data_dir, Request::get("/images"), Body::empty(), QUICK).await?)
}

/// Stops the agent that keeps its things in `data_dir`, and waits until it has ended. Its pods go on.
///
/// # Errors
/// [`LocalError::Away`] where none runs, [`LocalError::Slow`] where it does not end.
pub async fn stop(data_dir: &Path) -> Result<(), LocalError> {
    ask(data_dir, Request::post("/stop"), Body::empty(), QUICK).await?;
    let ended = async {
        while data_dir.join(SOCKET).exists() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(QUICK, ended).await.map_err(|_| LocalError::Slow(QUICK.as_secs()))
}

/// Tells the agent that keeps its things in `data_dir` that the machine goes down, and waits until its pods have ended or their time is up.
///
/// # Errors
/// [`LocalError`].
pub async fn power_off(data_dir: &Path) -> Result<Outcome, LocalError> {
    let answer = ask(data_dir, Request::post("/shutdown"), Body::empty(), POWER_OFF_WITHIN).await?;
    serde_json::from_slice(&answer).map_err(|it| LocalError::Answer(it.to_string()))
}

async fn ask(
    data_dir: &Path,
    request: http::request::Builder,
    body: Body,
    within: Duration,
) -> Result<Bytes, LocalError> {
    let away = |source| LocalError::Away { path: data_dir.display().to_string(), source };
    let asking = async {
        let (_folder, near) = short(data_dir).map_err(away)?;
        let stream = UnixStream::connect(near.join(SOCKET)).await.map_err(away)?;
        let unreadable = |it: hyper::Error| LocalError::Answer(it.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(unreadable)?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let request = request.header(header::HOST, "localhost").body(body);
        let request = request.map_err(|it| LocalError::Answer(it.to_string()))?;
        let answer = sender.send_request(request).await.map_err(unreadable)?;
        let status = answer.status();
        let read = Limited::new(answer.into_body(), ANSWER_MAX_BYTES).collect().await;
        let bytes = read.map_err(|it| LocalError::Answer(it.to_string()))?.to_bytes();
        if status.is_success() {
            Ok(bytes)
        } else {
            Err(LocalError::Refused(String::from_utf8_lossy(&bytes).trim().to_owned()))
        }
    };
    tokio::time::timeout(within, asking).await.map_err(|_| LocalError::Slow(within.as_secs()))?
}

fn read_images(bytes: &Bytes) -> Result<Vec<LocalImage>, LocalError> {
    serde_json::from_slice(bytes).map_err(|it| LocalError::Answer(it.to_string()))
}
