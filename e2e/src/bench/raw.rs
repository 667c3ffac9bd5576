//! The raw limits of the machine under the servers: what etcd itself takes, and what the disk takes for an fsync, and how fast it is at this hour.

use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, Compare, CompareOp, ResponseHeader, Txn, TxnOp, WatchOptions, WatchStream};

use super::generator::Meter;
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::usage::Process;
use super::verbs::Rates;
use crate::etcd::Etcd;

/// The size of a value: what a ConfigMap of 1,024 B is stored as.
const VALUE_BYTES: usize = 1_024;
/// Clients that share a connection to etcd, as gRPC clients do.
const CLIENTS_PER_CHANNEL: usize = 16;
/// How long the watcher may take to hear of the last creates.
const WATCH_PATIENCE: Duration = Duration::from_secs(10);
/// Writes by which the disk is measured.
const FSYNCS: usize = 200;
/// Programs that are started.
const STARTS: usize = 200;
/// Times that JSON is read, and how long it is.
const READS: usize = 20;
const JSON_BYTES: usize = 1_000_000;

/// What a client asks of etcd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// A plain put, which compares nothing and which nobody watches.
    Put,
    /// What the API server asks for a create: a transaction that puts the key if it is absent, told to one watcher.
    Create,
    /// The same for an update: a transaction that puts the key if nobody has since, told to one watcher.
    Update,
}

impl Ask {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Create => "create",
            Self::Update => "update",
        }
    }
}

/// Puts, creates and updates of 1 kB straight into an etcd, by as many clients as the API server gets; the rates of all but the puts. Each kind of write has
/// an etcd of its own from `start`, as the API server has: what earlier writes leave behind would slow it down.
///
/// # Errors
/// When etcd refuses, or its watcher misses a write.
pub fn etcd(scale: &Scale, place: &str, start: &dyn Fn() -> Result<Etcd>) -> Result<(Rates, Table)> {
    let size = report::rate(VALUE_BYTES as f64);
    let title = format!("etcd itself{place} (writes of {size} B over gRPC, no API server)");
    let columns = ["write", "clients", "writes/s", "p50 ms", "p99 ms", "etcd CPU µs/write", "generator CPU µs/write"];
    let mut table = Table::new(title, &columns);
    table.remark(
        "A create is what the API server asks of etcd: a transaction that puts a key if it is absent, with one watcher of the prefix; an update is one \
         that puts it if it is as it was. The API server's share of etcd's own rate is taken of these.",
    );
    table.remark(
        "A put compares nothing and has no watcher. For each transaction etcd 3.4 copies the buffer of its uncommitted writes, which 3.5 \
         does not (etcd-io/etcd#12896).",
    );
    let mut rates = Rates::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for ask in [Ask::Put, Ask::Create, Ask::Update] {
        let etcd = start()?;
        let store = etcd.store();
        let url = store.trim_start_matches("etcd=");
        let processes = [Process { name: "etcd".into(), id: etcd.id() }];
        for &clients in &scale.clients {
            let before = Meter::read(&processes);
            let (mut samples, elapsed) = runtime.block_on(writes(url, ask, clients, scale.verb_limit))?;
            let (own, servers) = Meter::read(&processes).since(&before);
            let rate = samples.len() as f64 / elapsed.as_secs_f64();
            if ask != Ask::Put {
                rates.insert((ask.name(), clients), rate);
            }
            let per_write = |time: &Duration| report::microseconds(*time / samples.len().max(1) as u32);
            let shares: Vec<String> = servers.iter().chain([&own]).map(per_write).collect();
            let times = [samples.median(), samples.percentile(99.0)].map(report::milliseconds);
            let cells = [ask.name().to_owned(), clients.to_string(), report::rate(rate)];
            table.row(cells.into_iter().chain(times).chain(shares));
        }
    }
    Ok((rates, table))
}

async fn writes(url: &str, ask: Ask, clients: usize, limit: Duration) -> Result<(Samples, Duration)> {
    let mut channels = Vec::new();
    for _ in 0..clients.div_ceil(CLIENTS_PER_CHANNEL) {
        channels.push(Client::connect([url], None).await?);
    }
    let prefix = format!("/orlop-bench/{}/c{clients}/", ask.name());
    // Of a client's key, which it alone updates.
    let mut revisions = vec![0; clients];
    if ask == Ask::Update {
        for (client, revision) in revisions.iter_mut().enumerate() {
            *revision = write(&mut channels[0], Ask::Put, format!("{prefix}{client}"), 0).await?;
        }
    }
    let watch = match ask {
        Ask::Put => None,
        Ask::Create | Ask::Update => {
            let options = WatchOptions::new().with_prefix();
            let mut client = Client::connect([url], None).await?;
            Some(client.watch(prefix.as_str(), Some(options)).await?)
        }
    };
    let told = Arc::new(AtomicUsize::new(0));
    let watcher = watch.map(|watch| tokio::spawn(count(watch, told.clone())));
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let deadline = started + limit;
    let tasks: Vec<_> = revisions
        .into_iter()
        .enumerate()
        .map(|(client, mut revision)| {
            let (mut channel, next) = (channels[client % channels.len()].clone(), next.clone());
            let prefix = prefix.clone();
            tokio::spawn(async move {
                let mut samples = Samples::default();
                while Instant::now() < deadline {
                    let number = if ask == Ask::Update { client } else { next.fetch_add(1, Relaxed) };
                    let begun = Instant::now();
                    revision = write(&mut channel, ask, format!("{prefix}{number}"), revision).await?;
                    samples.push(begun.elapsed());
                }
                anyhow::Ok(samples)
            })
        })
        .collect();
    let mut all = Samples::default();
    for task in tasks {
        all.extend(task.await??);
    }
    let elapsed = started.elapsed();
    if let Some(watcher) = watcher {
        let late = Instant::now() + WATCH_PATIENCE;
        while told.load(Relaxed) < all.len() {
            ensure!(Instant::now() < late, "of {} writes the watcher was told {}", all.len(), told.load(Relaxed));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        watcher.abort();
    }
    Ok((all, elapsed))
}

/// Writes a key, which must be as it was at a revision, or for a create absent; its new revision.
async fn write(channel: &mut Client, ask: Ask, key: String, revision: i64) -> Result<i64> {
    let value = vec![b'x'; VALUE_BYTES];
    let condition = match ask {
        Ask::Put => {
            let response = channel.put(key, value, None).await?;
            return revision_of(response.header());
        }
        Ask::Create => Compare::create_revision(key.as_str(), CompareOp::Equal, 0),
        Ask::Update => Compare::mod_revision(key.as_str(), CompareOp::Equal, revision),
    };
    let transaction = Txn::new().when([condition]).and_then([TxnOp::put(key.as_str(), value, None)]);
    let response = channel.txn(transaction).await?;
    ensure!(response.succeeded(), "{key} was written by somebody else");
    revision_of(response.header())
}

fn revision_of(header: Option<&ResponseHeader>) -> Result<i64> {
    header.map(ResponseHeader::revision).context("an answer of etcd has no header")
}

/// Counts what a watch tells until it ends.
async fn count(mut watch: WatchStream, told: Arc<AtomicUsize>) {
    while let Ok(Some(response)) = watch.message().await {
        told.fetch_add(response.events().len(), Relaxed);
    }
}

/// The median time of writing 4 KiB at the end of a file and fdatasync, in the folder where the servers' data go.
///
/// # Errors
/// When the disk refuses.
pub fn fsync() -> Result<Duration> {
    let file = tempfile::tempfile()?;
    let block = [7u8; 4_096];
    let mut samples = Samples::default();
    for number in 0..FSYNCS {
        let begun = Instant::now();
        file.write_all_at(&block, (number * block.len()) as u64)?;
        file.sync_data()?;
        samples.push(begun.elapsed());
    }
    Ok(samples.median())
}

/// How fast the machine is at this hour, in two medians: a program that does nothing, from its start to its end; and JSON of a megabyte, read. Machines of one kind
/// differ by a factor of two from hour to hour, and with them every rate: only runs with the same medians can be compared.
///
/// # Errors
/// No program can be started.
pub fn pace() -> Result<(Duration, Duration)> {
    let (mut starts, mut reads) = (Samples::default(), Samples::default());
    for _ in 0..STARTS {
        let begun = Instant::now();
        Command::new("true").status()?;
        starts.push(begun.elapsed());
    }
    let objects = std::iter::repeat_n(
        r#"{"metadata":{"name":"a","labels":{"k":"v"}},"spec":{"n":[1,2.5,true]}}"#,
        JSON_BYTES / 72,
    );
    let text = format!("[{}]", objects.collect::<Vec<_>>().join(","));
    for _ in 0..READS {
        let begun = Instant::now();
        let _: serde_json::Value = serde_json::from_str(&text)?;
        reads.push(begun.elapsed());
    }
    Ok((starts.median(), reads.median()))
}
