//! Ten thousand watches at once, as a large cluster's nodes hold them, while 100 objects a second are written.
//!
//! Two crowds. In the first each watch is of one node's pods, so that each event is for one of them: what counts is how late it is. In the
//! second all watch the same ConfigMaps, so that each event goes to all: what two cores deliver is the limit, and the figure is told. The watches
//! share connections by HTTP/2, as those of one client do. An event's delay counts from just before the write is asked for.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::watch as watch_channel;
use tokio_rustls::TlsConnector;

use super::connection::{Connection, Request};
use super::generator::Meter;
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::subject::{Store, Subject};
use super::target::{self, Target};
use super::{budget, fanout, object, verbs};

/// Watches that share a connection: fewer than the streams that servers allow (Kubernetes: 100 and more).
const WATCHES_PER_CONNECTION: usize = 100;
/// Threads that read the watches.
const THREADS: usize = 2;
/// Writes a second.
const WRITES_PER_SECOND: u32 = 100;
/// How long after the last write its events may come.
const GRACE: Duration = Duration::from_secs(20);
/// The size of an object's body as sent.
const OBJECT_BYTES: usize = 1_230;
/// Digits of an object's number in its name.
const DIGITS: usize = 6;
const NAMESPACE: &str = "orlop-bench-crowd";

/// What writer and watches share.
struct Scene {
    begun: Instant,
    /// When each object was written, in nanoseconds since the beginning; objects are numbered in their names.
    written: Vec<AtomicU64>,
    /// Events that came, at all watches.
    heard: AtomicUsize,
    /// Passed when all watches are open.
    ready: Barrier,
    /// Whether all is over.
    ends: watch_channel::Sender<bool>,
}

impl Scene {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}

/// What all watches heard.
#[derive(Default)]
struct Heard {
    delays: Samples,
    bytes: usize,
}

/// One crowd: what is watched, and what is written.
struct Crowd<'a> {
    name: &'a str,
    /// The path and query of the n-th watch, from which the revision is missing.
    watch: &'a (dyn Fn(usize) -> String + Sync),
    /// The n-th write.
    write: &'a (dyn Fn(usize) -> Request + Sync),
    collection: String,
    writes: usize,
    /// How many watches hear of one write.
    listeners: usize,
    /// Whether a write waits until all have heard of the one before.
    in_turn: bool,
}

/// Runs both crowds.
///
/// # Errors
/// When the server cannot be reached or refuses, and when an event does not come.
pub fn run(subject: &Subject, scale: &Scale) -> Result<Table> {
    verbs::begin(&subject.target, NAMESPACE)?;
    let watchers = scale.many_watchers;
    let mut table = Table::new(
        format!("{} watches, {WRITES_PER_SECOND} writes a second: {}", report::rate(watchers as f64), subject.name),
        &[
            "crowd",
            "writes/s",
            "events/s",
            "B/event",
            "delay p50 ms",
            "p99 ms",
            "server's share of a core",
            "generator's",
            "budget",
        ],
    );
    table.remark(format!("{WATCHES_PER_CONNECTION} watches a connection (HTTP/2, TLS); delays from before the write to the event at the watcher."));
    let writes = (scale.many_watchers_time.as_secs() as usize) * WRITES_PER_SECOND as usize;
    let pods = format!("/api/v1/namespaces/{NAMESPACE}/pods");
    let maps = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
    // A prime to the number of watchers, so that every node has its turn.
    let node = |number: usize| format!("node-{:05}", number * 7_919 % watchers);
    let own = Crowd {
        name: "each watches its own node's pods",
        watch: &|number| format!("{pods}?watch=1&fieldSelector=spec.nodeName%3D{}", node(number)),
        write: &|number| Request::post(pods.clone(), object::bound_pod(&name(number), &node(number))),
        collection: pods.clone(),
        writes,
        listeners: 1,
        in_turn: false,
    };
    let same = Crowd {
        name: "all watch the same ConfigMaps, a write when all have heard of the last",
        watch: &|_| format!("{maps}?watch=1"),
        write: &|number| Request::post(maps.clone(), object::config_map(&name(number), 0, OBJECT_BYTES)),
        collection: maps.clone(),
        // What two cores deliver in the time, roughly: an event costs some 3 µs.
        writes: writes / 10,
        listeners: watchers,
        in_turn: true,
    };
    for crowd in [own, same] {
        table.row(crowd.measure(subject, watchers)?);
    }
    verbs::end(subject, NAMESPACE)?;
    Ok(table)
}

/// The name of the n-th object, as [`number_in`] reads it.
fn name(number: usize) -> String {
    format!("crowd-{number:0DIGITS$}")
}

impl Crowd<'_> {
    fn measure(&self, subject: &Subject, watchers: usize) -> Result<Vec<String>> {
        let scene = Scene {
            begun: Instant::now(),
            written: (0..self.writes).map(|_| AtomicU64::default()).collect(),
            heard: AtomicUsize::default(),
            ready: Barrier::new(THREADS + 1),
            ends: watch_channel::Sender::new(false),
        };
        let revision = fanout::revision(&subject.target, &self.collection)?;
        let (all, elapsed, used) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let numbers: Vec<usize> = (thread..watchers).step_by(THREADS).collect();
                    let (scene, revision) = (&scene, &revision);
                    scope.spawn(move || self.listen(&subject.target, &numbers, revision, scene))
                })
                .collect();
            scene.ready.wait();
            let before = Meter::read(&subject.processes);
            let started = Instant::now();
            let outcome = self.write(&subject.target, &scene);
            let elapsed = started.elapsed();
            let used = Meter::read(&subject.processes).since(&before);
            scene.ends.send_replace(true);
            let mut all = Heard::default();
            for thread in threads {
                let part = thread.join().map_err(|_| anyhow!("a watching thread panicked"))??;
                all.delays.extend(part.delays);
                all.bytes += part.bytes;
            }
            outcome?;
            anyhow::Ok((all, elapsed, used))
        })?;
        Ok(self.tell(subject, all, elapsed, used))
    }

    fn tell(
        &self,
        subject: &Subject,
        mut all: Heard,
        elapsed: Duration,
        (own, servers): (Duration, Vec<Duration>),
    ) -> Vec<String> {
        let seconds = elapsed.as_secs_f64();
        let p99 = all.delays.percentile(99.0);
        let share = |it: Duration| format!("{:.0} %", 100.0 * it.as_secs_f64() / seconds);
        let mut cells = vec![self.name.to_owned(), report::rate(self.writes as f64 / seconds)];
        cells.push(report::rate(all.delays.len() as f64 / seconds));
        cells.push(format!("{:.0}", all.bytes as f64 / all.delays.len().max(1) as f64));
        cells.extend([all.delays.median(), p99].map(report::milliseconds));
        cells.push(servers.first().map(|it| share(*it)).unwrap_or_default());
        cells.push(share(own));
        let judged = subject.store != Store::Foreign && !self.in_turn;
        cells.push(if judged { budget::at_most(p99, budget::WATCH_DELAY, "50 ms") } else { String::new() });
        cells
    }

    /// Writes at the rate, or one after the other, until all is heard.
    fn write(&self, target: &Target, scene: &Scene) -> Result<()> {
        target::runtime()?.block_on(async {
            let mut connection = Connection::open(target).await?;
            let started = tokio::time::Instant::now();
            for number in 0..self.writes {
                if !self.in_turn {
                    tokio::time::sleep_until(started + Duration::from_secs(1) * number as u32 / WRITES_PER_SECOND)
                        .await;
                }
                scene.written[number].store(scene.now(), Relaxed);
                connection.ask((self.write)(number)).await?;
                if self.in_turn || number + 1 == self.writes {
                    let wanted = (number + 1) * self.listeners;
                    let begun = Instant::now();
                    while scene.heard.load(Relaxed) < wanted {
                        if begun.elapsed() > GRACE {
                            bail!("only {} of {wanted} events were heard", scene.heard.load(Relaxed));
                        }
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
            Ok(())
        })
    }

    /// One thread's watches, until all is written and heard.
    fn listen(&self, target: &Target, numbers: &[usize], revision: &str, scene: &Scene) -> Result<Heard> {
        let prepared = target::runtime().and_then(|runtime| {
            let opened = runtime.block_on(async {
                let mut streams = Vec::new();
                let mut connections = Vec::new();
                for numbers in numbers.chunks(WATCHES_PER_CONNECTION) {
                    // Each connection is another client's: servers bound the watches of one.
                    let user = format!("crowd-{}", numbers[0]);
                    let mut connection = open(target).await?;
                    for number in numbers {
                        let path = format!("{}&resourceVersion={revision}", (self.watch)(*number));
                        streams.push(watch(&mut connection, target, &user, &path).await?);
                    }
                    connections.push(connection);
                }
                anyhow::Ok((connections, streams))
            })?;
            Ok((runtime, opened))
        });
        scene.ready.wait();
        let (runtime, (connections, streams)) = prepared?;
        let heard = runtime.block_on(futures::future::try_join_all(streams.into_iter().map(|it| hear(it, scene))))?;
        drop(connections);
        Ok(heard.into_iter().fold(Heard::default(), |mut all, part| {
            all.delays.extend(part.delays);
            all.bytes += part.bytes;
            all
        }))
    }
}

/// Reads one watch until the scene ends.
async fn hear(mut stream: Incoming, scene: &Scene) -> Result<Heard> {
    let mut heard = Heard::default();
    let mut line = Vec::new();
    let mut ends = scene.ends.subscribe();
    let ended = ends.wait_for(|it| *it);
    tokio::pin!(ended);
    loop {
        let frame = tokio::select! {
            frame = stream.frame() => frame.context("the server ended a watch")??,
            _ = &mut ended => return Ok(heard),
        };
        let Some(data) = frame.data_ref() else { continue };
        heard.bytes += data.len();
        let now = scene.now();
        for part in data.split_inclusive(|it| *it == b'\n') {
            line.extend_from_slice(part);
            if part.last() == Some(&b'\n') {
                let number = number_in(&line).context("an event of an object that was not written")?;
                let written = scene.written.get(number).context("an event of a later time")?.load(Relaxed);
                heard.delays.push(Duration::from_nanos(now.saturating_sub(written)));
                scene.heard.fetch_add(1, Relaxed);
                line.clear();
            }
        }
    }
}

/// The number of the object that an event is about.
fn number_in(line: &[u8]) -> Option<usize> {
    const BEFORE: &[u8] = b"\"name\":\"crowd-";
    let at = line.windows(BEFORE.len()).position(|it| it == BEFORE)? + BEFORE.len();
    std::str::from_utf8(line.get(at..at + DIGITS)?).ok()?.parse().ok()
}

/// A connection that watches share.
async fn open(target: &Target) -> Result<SendRequest<Empty<Bytes>>> {
    let socket = TcpStream::connect(&target.authority).await?;
    socket.set_nodelay(true)?;
    let mut tls = (*target.tls).clone();
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TlsConnector::from(Arc::new(tls)).connect(target.server_name.clone(), socket).await?;
    let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    // It ends with the connection; why is told by the watch that ends.
    tokio::spawn(driver);
    Ok(sender)
}

async fn watch(
    connection: &mut SendRequest<Empty<Bytes>>,
    target: &Target,
    user: &str,
    path: &str,
) -> Result<Incoming> {
    connection.ready().await?;
    let mut request = http::Request::get(format!("https://{}{path}", target.authority)).body(Empty::new())?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    request.headers_mut().insert("impersonate-user", HeaderValue::from_str(user)?);
    request.headers_mut().insert("impersonate-group", HeaderValue::from_static("system:masters"));
    if let Some(it) = &target.authorization {
        request.headers_mut().insert(AUTHORIZATION, it.clone());
    }
    let answer = tokio::time::timeout(GRACE, connection.send_request(request)).await.context("no answer in time")??;
    if answer.status() != StatusCode::OK {
        bail!("the watch {path} is refused: {}", answer.status());
    }
    Ok(answer.into_body())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_by_their_number() {
        let line = format!("{{\"object\":{{\"metadata\":{{\"name\":\"{}\"}}}}}}", name(1_234));
        assert_eq!(number_in(line.as_bytes()), Some(1_234));
        assert_eq!(number_in(b"{\"name\":\"other\"}"), None);
    }
}
