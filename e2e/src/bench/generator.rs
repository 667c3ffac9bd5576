//! The load generator: N clients, one connection each, asking as fast as they are answered, for a bounded time and number of requests.
//!
//! In: a target, a [`Load`], and what the n-th request is. Out: an [`Outcome`] with every latency, and the processor time that the generator
//! itself and the servers used meanwhile. The clients are spread over at most two threads with a runtime each, and no request crosses
//! threads, so that the generator costs little beside the server with which it shares the machine.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::connection::{Connection, Request};
use super::statistics::Samples;
use super::target::{self, Target};
use super::usage::{self, Process};

/// From this many clients on, two threads drive them: one could not ask quickly enough for a server that answers in 40 µs.
const CLIENTS_PER_THREAD: usize = 8;
/// More threads than this would only take the cores away from the server.
const THREADS_MAX: usize = 2;
/// How often a client connects again after its connection broke, before it gives up.
const RECONNECTS: usize = 5;

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Connections at once.
    pub clients: usize,
    /// No request begins later than this.
    pub limit: Duration,
    /// No more requests than this in all.
    pub requests: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Of the requests that succeeded.
    pub latencies: Samples,
    /// Numbers given out: the first so many requests were made.
    pub asked: usize,
    /// What went wrong, and how often.
    pub failures: BTreeMap<String, usize>,
    /// From the first request to the last answer.
    pub elapsed: Duration,
    /// Processor time of this program.
    pub own: Duration,
    /// Processor time of the watched processes, in their order.
    pub servers: Vec<Duration>,
}

impl Outcome {
    /// Successful requests per second.
    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// A share of `time` per successful request.
    pub fn per_request(&self, time: Duration) -> Duration {
        time.checked_div(self.latencies.len() as u32).unwrap_or_default()
    }
}

/// Processor time so far: of this program, and of each process. A process that has ended counts as nothing.
#[derive(Clone, Debug)]
pub struct Meter {
    own: Duration,
    servers: Vec<Duration>,
}

impl Meter {
    /// Reads all.
    pub fn read(processes: &[Process]) -> Meter {
        Meter {
            own: usage::own_processor().unwrap_or_default(),
            servers: processes.iter().map(|it| usage::processor(it.id).unwrap_or_default()).collect(),
        }
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Meter) -> (Duration, Vec<Duration>) {
        let servers = self.servers.iter().zip(&earlier.servers).map(|(now, then)| now.saturating_sub(*then));
        (self.own.saturating_sub(earlier.own), servers.collect())
    }
}

/// Drives the load to its end. `request(n)` makes the n-th request, from 0, each number once.
///
/// # Errors
/// When clients cannot connect. Requests that fail are counted, not an error.
pub fn drive(
    target: &Target,
    load: Load,
    processes: &[Process],
    request: &(dyn Fn(usize) -> Request + Sync),
) -> Result<Outcome> {
    let threads = (load.clients / CLIENTS_PER_THREAD).clamp(1, THREADS_MAX);
    let next = AtomicUsize::new(0);
    // Nobody asks before everybody is connected: handshakes are not what is measured.
    let connected = Barrier::new(threads + 1);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let clients = load.clients / threads + usize::from(thread < load.clients % threads);
                let (next, connected) = (&next, &connected);
                scope.spawn(move || work(target, clients, load, next, connected, request))
            })
            .collect();
        connected.wait();
        let before = Meter::read(processes);
        let started = Instant::now();
        let mut outcome = Outcome::default();
        let mut ended = started;
        for worker in workers {
            let part = worker.join().map_err(|_| anyhow!("a thread of the load generator panicked"))??;
            outcome.latencies.extend(part.latencies);
            for (what, count) in part.failures {
                *outcome.failures.entry(what).or_default() += count;
            }
            ended = ended.max(part.ended);
        }
        (outcome.own, outcome.servers) = Meter::read(processes).since(&before);
        outcome.elapsed = ended - started;
        outcome.asked = next.load(Relaxed).min(load.requests);
        Ok(outcome)
    })
}

/// What one thread, or one client, has done.
struct Part {
    latencies: Samples,
    failures: BTreeMap<String, usize>,
    ended: Instant,
}

fn work(
    target: &Target,
    clients: usize,
    load: Load,
    next: &AtomicUsize,
    connected: &Barrier,
    request: &(dyn Fn(usize) -> Request + Sync),
) -> Result<Part> {
    let prepared = target::runtime().and_then(|runtime| {
        let opening = futures::future::try_join_all((0..clients).map(|_| Connection::open(target)));
        let connections = runtime.block_on(opening)?;
        Ok((runtime, connections))
    });
    // Also when it failed, for the others wait.
    connected.wait();
    let (runtime, connections) = prepared?;
    let deadline = Instant::now() + load.limit;
    let clients = connections.into_iter().map(|it| client(target, it, deadline, load.requests, next, request));
    let parts = runtime.block_on(futures::future::join_all(clients));
    let mut whole = Part { latencies: Samples::default(), failures: BTreeMap::new(), ended: Instant::now() };
    for part in parts {
        whole.latencies.extend(part.latencies);
        for (what, count) in part.failures {
            *whole.failures.entry(what).or_default() += count;
        }
    }
    Ok(whole)
}

async fn client(
    target: &Target,
    mut connection: Connection,
    deadline: Instant,
    requests: usize,
    next: &AtomicUsize,
    request: &(dyn Fn(usize) -> Request + Sync),
) -> Part {
    let mut part = Part { latencies: Samples::default(), failures: BTreeMap::new(), ended: Instant::now() };
    let mut reconnects = 0;
    while Instant::now() < deadline {
        let number = next.fetch_add(1, Relaxed);
        if number >= requests {
            break;
        }
        let request = request(number);
        let begun = Instant::now();
        match connection.exchange(request).await {
            Ok((code, _)) if code.is_success() => part.latencies.push(begun.elapsed()),
            Ok((code, _)) => *part.failures.entry(code.to_string()).or_default() += 1,
            Err(error) => {
                *part.failures.entry(format!("{error:#}")).or_default() += 1;
                reconnects += 1;
                match Connection::open(target).await.context("connecting again") {
                    Ok(it) if reconnects <= RECONNECTS => connection = it,
                    Ok(_) => break,
                    Err(error) => {
                        *part.failures.entry(format!("{error:#}")).or_default() += 1;
                        break;
                    }
                }
            }
        }
    }
    part.ended = Instant::now();
    part
}
