//! HTTP as a user's clients speak it: single requests, and a steady load that counts what was lost.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: u16,
    pub body: String,
}

/// One GET over a connection of its own.
///
/// # Errors
/// When there is no whole answer within `limit`.
pub fn get(address: &str, path: &str, limit: Duration) -> Result<Answer> {
    request(address, "GET", path, "", limit)
}

/// One request over a connection of its own.
///
/// # Errors
/// When there is no whole answer within `limit`.
pub fn request(address: &str, method: &str, path: &str, body: &str, limit: Duration) -> Result<Answer> {
    let target = address.to_socket_addrs()?.next().with_context(|| format!("{address} is no address"))?;
    let mut stream = TcpStream::connect_timeout(&target, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer breaks off in its head")?;
    let code = head.split(' ').nth(1).and_then(|it| it.parse().ok()).context("the answer has no code")?;
    let expected = head.lines().find_map(|it| it.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    if expected.is_some_and(|it: usize| it != body.len()) {
        bail!("the answer breaks off in its body");
    }
    let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { join_chunks(body).context("the answer breaks off in its body")? } else { body.to_owned() };
    Ok(Answer { code, body })
}

/// A body that came in pieces, each after its length; none if the last, empty one is missing.
fn join_chunks(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (length, after) = rest.split_once("\r\n")?;
        let length = usize::from_str_radix(length.trim(), 16).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.push_str(after.get(..length)?);
        rest = after.get(length..)?.strip_prefix("\r\n")?;
    }
}

/// What a load has done so far.
#[derive(Clone, Debug, Default)]
pub struct Count {
    pub answered: u64,
    pub lost: u64,
    /// The first losses, in words.
    pub losses: Vec<String>,
}

/// The first losses are kept, so that a failed test can tell them.
const LOSSES_KEPT: usize = 20;
/// A request that takes longer is lost.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// A steady load: one GET every `pause` to one of the addresses that `targets` gives, in turn.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    losses: Arc<Mutex<Vec<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts the load. `targets` is asked before each request, as a client asks its name service.
    pub fn start(path: &'static str, pause: Duration, targets: impl Fn() -> Vec<String> + Send + 'static) -> Load {
        let (stop, answered, lost) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        let losses = Arc::<Mutex<Vec<String>>>::default();
        let (stopped, good, bad, kept) = (stop.clone(), answered.clone(), lost.clone(), losses.clone());
        let started = Instant::now();
        let thread = std::thread::spawn(move || {
            for turn in 0.. {
                if stopped.load(Relaxed) {
                    return;
                }
                let targets = targets();
                let outcome = match targets.get(turn % targets.len().max(1)) {
                    None => Err("there is nobody to ask".to_owned()),
                    Some(target) => match get(target, path, REQUEST_LIMIT) {
                        Ok(answer) if answer.code == 200 => Ok(()),
                        Ok(answer) => Err(format!("{target}: {} {}", answer.code, answer.body.trim())),
                        Err(error) => Err(format!("{target}: {error:#}")),
                    },
                };
                match outcome {
                    Ok(()) => good.fetch_add(1, Relaxed),
                    Err(why) => {
                        let mut kept = kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        if kept.len() < LOSSES_KEPT {
                            kept.push(format!("after {:?}: {why}", started.elapsed()));
                        }
                        bad.fetch_add(1, Relaxed)
                    }
                };
                std::thread::sleep(pause);
            }
        });
        Load { stop, answered, lost, losses, thread: Some(thread) }
    }

    /// What has been counted so far.
    pub fn count(&self) -> Count {
        let losses = self.losses.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        Count { answered: self.answered.load(Relaxed), lost: self.lost.load(Relaxed), losses }
    }

    /// Ends the load.
    pub fn stop(mut self) -> Count {
        self.end();
        self.count()
    }

    fn end(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic in the load shows as a count that stands still.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}
