//! The agent's end of the socket.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::StreamExt;
use http::StatusCode;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{LOAD_WITHIN, LocalImage, SOCKET, short};
use crate::power_off::PowerOff;
use crate::runtime::RuntimeError;
use crate::runtime::loader::Loader;

/// Connections at once: a few commands of the machine's own user.
const CONNECTIONS: usize = 16;
/// Archives that are taken at once: each may fill the disk up to [`ARCHIVE_MAX_BYTES`], and loading is the disk's work.
const LOADS: usize = 2;
/// The largest archive in bytes: images of machine learning have ten gigabytes, and an archive may hold a few.
const ARCHIVE_MAX_BYTES: u64 = 64 << 30;
/// How long a request's head may take, and how long a body may pause.
const SILENCE: Duration = Duration::from_secs(30);
/// After a failed accept (no file descriptors left) the next attempt waits.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Where archives lie while they are loaded, below the data directory. What a killed agent left there goes at the next start.
const INCOMING: &str = "incoming";
/// Written to the disk at once.
const BUFFER_BYTES: usize = 256 << 10;

/// The socket, while it is open. Dropping it closes it, and ends what is being asked.
#[derive(Debug)]
pub struct Door {
    path: PathBuf,
    _end: DropGuard,
}

#[derive(Clone)]
struct Shared {
    loader: Arc<dyn Loader>,
    incoming: PathBuf,
    loads: Arc<Semaphore>,
    power_off: PowerOff,
    stop: CancellationToken,
}

impl Door {
    /// Opens the socket in an agent's data directory. One that a killed agent left is replaced. Who asks for the agent's end cancels `stop`; who says that the
    /// machine goes down says it to `power_off`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn open(
        data_dir: &Path,
        loader: Arc<dyn Loader>,
        power_off: PowerOff,
        stop: CancellationToken,
    ) -> io::Result<Self> {
        let incoming = data_dir.join(INCOMING);
        match fs::remove_dir_all(&incoming) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(&incoming)?;
        // Bound where nobody else gets to, so that it never was anybody's: the mode comes after the name.
        fs::set_permissions(&incoming, Permissions::from_mode(0o700))?;
        let (_folder, near) = short(&incoming)?;
        let listener = UnixListener::bind(near.join(SOCKET))?;
        fs::set_permissions(near.join(SOCKET), Permissions::from_mode(0o600))?;
        let path = data_dir.join(SOCKET);
        fs::rename(incoming.join(SOCKET), &path)?;
        let shared = Shared { loader, incoming, loads: Arc::new(Semaphore::new(LOADS)), power_off, stop };
        let router = Router::new()
            .route("/images/load", post(load))
            .route("/images", get(images))
            .route("/stop", post(end))
            .route("/shutdown", post(shut_down))
            .with_state(shared);
        let end = CancellationToken::new();
        tokio::spawn(accept(listener, router, end.clone()));
        Ok(Door { path, _end: end.drop_guard() })
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Gone already is as well; one that stays is refused by the kernel, as nobody listens.
        let _ = fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, router: Router, end: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Some(Ok(place)) = end.run_until_cancelled(Arc::clone(&places).acquire_owned()).await else { return };
        let stream = match end.run_until_cancelled(listener.accept()).await {
            None => return,
            Some(Ok((stream, _))) => stream,
            Some(Err(error)) => {
                tracing::warn!(%error, "a connection of this machine could not be taken");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if !is_ours(&stream) {
            continue;
        }
        let (router, end) = (router.clone(), end.clone());
        tokio::spawn(async move {
            let _place = place;
            let mut builder = hyper::server::conn::http1::Builder::new();
            builder.timer(TokioTimer::new()).header_read_timeout(SILENCE);
            let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
            if let Some(Err(error)) = end.run_until_cancelled(serving).await {
                tracing::debug!(%error, "a connection of this machine ended");
            }
        });
    }
}

/// Whether root or the agent's own user is at the other end. The socket's mode says the same; a file's mode may be changed.
fn is_ours(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|it| it.uid() == 0 || it.uid() == own)
}

async fn images(State(shared): State<Shared>) -> Response {
    match shared.loader.images().await {
        Ok(images) => answer(images),
        Err(error) => refusal(&error),
    }
}

/// The answer goes out before the agent has ended: that the socket is gone tells the end.
async fn end(State(shared): State<Shared>) -> Response {
    tracing::info!("a command of this machine stops the agent");
    shared.stop.cancel();
    StatusCode::ACCEPTED.into_response()
}

async fn shut_down(State(shared): State<Shared>) -> Response {
    if shared.power_off.periods().is_empty() {
        let why = "the agent was started without --shutdown-grace-period: it leaves its pods running";
        return refused(StatusCode::CONFLICT, why.to_owned());
    }
    tracing::warn!("a command of this machine says that it goes down");
    shared.power_off.ask();
    match shared.power_off.outcome().await {
        Ok(it) => Json(it.as_ref()).into_response(),
        Err(why) => refused(StatusCode::SERVICE_UNAVAILABLE, why),
    }
}

async fn load(State(shared): State<Shared>, body: Body) -> Response {
    match tokio::time::timeout(LOAD_WITHIN, take(&shared, body)).await {
        Ok(it) => it,
        Err(_) => refused(StatusCode::GATEWAY_TIMEOUT, format!("it took longer than {} s", LOAD_WITHIN.as_secs())),
    }
}

async fn take(shared: &Shared, body: Body) -> Response {
    let Ok(_place) = shared.loads.acquire().await else {
        return refused(StatusCode::SERVICE_UNAVAILABLE, "the agent ends".to_owned());
    };
    // Removed when it is dropped, whatever becomes of the request.
    let made = tempfile::Builder::new().prefix("archive-").tempfile_in(&shared.incoming);
    let archive = match made {
        Ok(it) => it.into_temp_path(),
        Err(error) => return refused(StatusCode::INSUFFICIENT_STORAGE, format!("keep the archive: {error}")),
    };
    if let Err((status, why)) = receive(body, &archive, ARCHIVE_MAX_BYTES, SILENCE).await {
        return refused(status, why);
    }
    match shared.loader.load(&archive).await {
        Ok(images) => {
            let names: Vec<&str> = images.iter().flat_map(|it| &it.tags).map(String::as_str).collect();
            tracing::info!(?names, "images were loaded");
            answer(images)
        }
        Err(error) => refusal(&error),
    }
}

/// Writes a body to a file, not more than `max_bytes` of it, and without waiting longer than `silence` for the next part.
pub(super) async fn receive(
    body: Body,
    path: &Path,
    max_bytes: u64,
    silence: Duration,
) -> Result<(), (StatusCode, String)> {
    let storing = |it: io::Error| (StatusCode::INSUFFICIENT_STORAGE, format!("keep the archive: {it}"));
    let mut file = BufWriter::with_capacity(BUFFER_BYTES, File::create(path).await.map_err(storing)?);
    let (mut parts, mut bytes) = (body.into_data_stream(), 0_u64);
    loop {
        let part = match tokio::time::timeout(silence, parts.next()).await {
            Err(_) => {
                let why = format!("nothing came for {} s", silence.as_secs());
                return Err((StatusCode::REQUEST_TIMEOUT, why));
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err((StatusCode::BAD_REQUEST, format!("the archive broke off: {error}"))),
            Ok(Some(Ok(part))) => part,
        };
        bytes += part.len() as u64;
        if bytes > max_bytes {
            let why = format!("the archive has more than {max_bytes} bytes");
            return Err((StatusCode::PAYLOAD_TOO_LARGE, why));
        }
        file.write_all(&part).await.map_err(storing)?;
    }
    file.flush().await.map_err(storing)
}

fn answer(images: Vec<crate::runtime::Image>) -> Response {
    Json(images.into_iter().map(LocalImage::from).collect::<Vec<_>>()).into_response()
}

fn refusal(error: &RuntimeError) -> Response {
    let status = match error {
        RuntimeError::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        RuntimeError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    refused(status, error.to_string())
}

fn refused(status: StatusCode, why: String) -> Response {
    (status, why).into_response()
}
