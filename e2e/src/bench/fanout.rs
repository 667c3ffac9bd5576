//! Watch fan-out: 200 watchers of one namespace, each with a connection of its own, while 1,000 objects are created in it.
//!
//! The watchers are spread over two threads and count lines: an event is a line. What is delivered per second of the server's processor time
//! says what an event costs, also where two cores are too few for server and watchers.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::budget::Reference;
use super::connection::{Connection, Request};
use super::generator::{self, Load, Meter};
use super::report::{self, Table};
use super::scale::Scale;
use super::subject::{Store, Subject};
use super::target::{self, Target};
use super::{object, verbs};

/// The size of an object's body as sent; with the server's metadata and the event around it 1.4 kB.
const OBJECT_BYTES: usize = 1_230;
/// Clients that create the objects.
const WRITERS: usize = 4;
/// Threads that read the watches.
const THREADS: usize = 2;
/// A watcher that hears nothing for this long is lost.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// Runs the fan-out; with the table the events per second of the server's processor time, where that is known.
///
/// # Errors
/// When the server cannot be reached or refuses; also when a watcher misses an event or gets one too many.
pub fn run(subject: &Subject, scale: &Scale, reference: &Reference) -> Result<(Table, Option<f64>)> {
    let namespace = "orlop-bench-watch";
    verbs::begin(&subject.target, namespace)?;
    let path = format!("/api/v1/namespaces/{namespace}/configmaps");
    let begun = Barrier::new(THREADS + 1);
    let watch = format!("{path}?watch=1&resourceVersion={}", revision(&subject.target, &path)?);
    let (writing, bytes, elapsed, used) = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let watchers = scale.watchers / THREADS + usize::from(thread < scale.watchers % THREADS);
                let (begun, watch) = (&begun, &watch);
                scope.spawn(move || listen(&subject.target, watch, watchers, scale.events, begun))
            })
            .collect();
        begun.wait();
        let before = Meter::read(&subject.processes);
        let started = Instant::now();
        let load = Load { clients: WRITERS, limit: Duration::from_secs(120), requests: scale.events };
        let writing = generator::drive(&subject.target, load, &[], &|number| {
            Request::post(path.clone(), object::config_map(&format!("event-{number:05}"), 0, OBJECT_BYTES))
        })?;
        let mut bytes = 0;
        for thread in threads {
            bytes += thread.join().map_err(|_| anyhow!("a watching thread panicked"))??;
        }
        let elapsed = started.elapsed();
        anyhow::Ok((writing, bytes, elapsed, Meter::read(&subject.processes).since(&before)))
    })?;
    if !writing.failures.is_empty() {
        bail!("creates failed: {:?}", writing.failures);
    }
    verbs::end(subject, namespace)?;
    Ok(tell(subject, scale, bytes, elapsed, used, reference))
}

fn tell(
    subject: &Subject,
    scale: &Scale,
    bytes: usize,
    elapsed: Duration,
    (own, servers): (Duration, Vec<Duration>),
    reference: &Reference,
) -> (Table, Option<f64>) {
    let delivered = (scale.watchers * scale.events) as f64;
    let title = format!("Watch fan-out: {}, {} watchers, {} events", subject.name, scale.watchers, scale.events);
    let mut columns = vec!["events/s", "B/event", "seconds"];
    let shares: Vec<String> = subject.processes.iter().map(|it| format!("{} CPU s", it.name)).collect();
    columns.extend(shares.iter().map(String::as_str));
    columns.extend(["events per server CPU second", "generator CPU s", "budget"]);
    let mut table = Table::new(title, &columns);
    let mut cells = vec![report::rate(delivered / elapsed.as_secs_f64())];
    cells.push(format!("{:.0}", bytes as f64 / delivered));
    cells.push(report::significant(elapsed.as_secs_f64()));
    cells.extend(servers.iter().map(|it| report::significant(it.as_secs_f64())));
    let per_second = servers.first().map(|it| delivered / it.as_secs_f64().max(1e-9));
    cells.push(per_second.map(report::rate).unwrap_or_default());
    cells.push(report::significant(own.as_secs_f64()));
    let judged = per_second.filter(|_| subject.store != Store::Foreign);
    cells.push(judged.map(|it| reference.judge(it)).unwrap_or_default());
    table.row(cells);
    table.remark(format!(
        "From the first create ({WRITERS} clients) to the last event at the last watcher; TLS to each watcher."
    ));
    (table, per_second)
}

/// The revision from which to watch.
pub(super) fn revision(target: &Target, path: &str) -> Result<String> {
    let body = target::runtime()?.block_on(async {
        let mut connection = Connection::open(target).await?;
        connection.ask(Request::get(format!("{path}?limit=1"))).await
    })?;
    let list: serde_json::Value = serde_json::from_slice(&body)?;
    list["metadata"]["resourceVersion"].as_str().map(str::to_owned).context("the list has no resourceVersion")
}

/// One thread's watchers; gives the bytes that they read.
fn listen(target: &Target, watch: &str, watchers: usize, events: usize, begun: &Barrier) -> Result<usize> {
    let prepared = target::runtime().and_then(|runtime| {
        let opening = futures::future::try_join_all((0..watchers).map(|_| async {
            let mut connection = Connection::open(target).await?;
            let stream = connection.watch(watch.to_owned()).await?;
            anyhow::Ok((connection, stream))
        }));
        let streams = runtime.block_on(opening)?;
        Ok((runtime, streams))
    });
    begun.wait();
    let (runtime, streams) = prepared?;
    let (connections, streams): (Vec<_>, Vec<_>) = streams.into_iter().unzip();
    let read = runtime.block_on(futures::future::try_join_all(streams.into_iter().map(|it| count(it, events))))?;
    drop(connections);
    Ok(read.into_iter().sum())
}

/// Reads until `events` lines have come; gives the bytes.
async fn count(mut stream: Incoming, events: usize) -> Result<usize> {
    let (mut lines, mut bytes) = (0, 0);
    while lines < events {
        let frame = tokio::time::timeout(SILENCE_LIMIT, stream.frame()).await;
        let frame = frame.with_context(|| format!("a watcher got {lines} of {events} events, then none"))?;
        let frame = frame.with_context(|| format!("the server ended a watch after {lines} of {events} events"))??;
        if let Some(data) = frame.data_ref() {
            lines += data.iter().filter(|it| **it == b'\n').count();
            bytes += data.len();
        }
    }
    if lines > events {
        bail!("a watcher got {lines} events for {events} objects");
    }
    Ok(bytes)
}
