//! The raw limits of the machine under the servers: what etcd itself takes, and what the disk takes for an fsync, and how fast it is at this hour.

use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use etcd_client::{Client, Compare, CompareOp, Txn, TxnOp, WatchOptions, WatchStream};

use super::generator::Meter;
use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::usage::Process;
use super::verbs::EtcdRates;
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
}

impl Ask {
    fn name(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Create => "create",
        }
    }
}

/// Puts and creates of 1 kB straight into an etcd, by as many clients as the API server gets; the creates' rates by clients. Puts, creates and
/// the API server have an etcd each: what earlier writes leave behind would slow it down.
///
/// # Errors
/// When etcd refuses, or its watcher misses a create.
pub fn etcd(scale: &Scale) -> Result<(EtcdRates, Table)> {
    let title = format!("etcd itself (writes of {} B over gRPC, no API server)", report::rate(VALUE_BYTES as f64));
    let columns = ["write", "clients", "writes/s", "p50 ms", "p99 ms", "etcd CPU µs/write", "generator CPU µs/write"];
    let mut table = Table::new(title, &columns);
    table.remark(
        "A create is what the API server asks of etcd: a transaction that puts a key if it is absent, with one watcher of the prefix. \
         The API server's share of etcd's own rate is judged by the creates.",
    );
    table.remark(
        "A put compares nothing and has no watcher. For each transaction etcd 3.4 copies the buffer of its uncommitted writes, which 3.5 \
         does not (etcd-io/etcd#12896).",
    );
    let mut rates = EtcdRates::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for ask in [Ask::Put, Ask::Create] {
        let etcd = Etcd::start()?;
        let store = etcd.store();
        let url = store.trim_start_matches("etcd=");
        let processes = [Process { name: "etcd".into(), id: etcd.id() }];
        for &clients in &scale.clients {
            let before = Meter::read(&processes);
            let (mut samples, elapsed) = runtime.block_on(writes(url, ask, clients, scale.verb_limit))?;
            let (own, servers) = Meter::read(&processes).since(&before);
            let rate = samples.len() as f64 / elapsed.as_secs_f64();
            if ask == Ask::Create {
                rates.insert(clients, rate);
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
    let watch = match ask {
        Ask::Put => None,
        Ask::Create => {
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
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (mut channel, next) = (channels[client % channels.len()].clone(), next.clone());
            let prefix = prefix.clone();
            tokio::spawn(async move {
                let mut samples = Samples::default();
                while Instant::now() < deadline {
                    let key = format!("{prefix}{}", next.fetch_add(1, Relaxed));
                    let begun = Instant::now();
                    write(&mut channel, ask, key).await?;
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
            ensure!(Instant::now() < late, "of {} creates the watcher was told {}", all.len(), told.load(Relaxed));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        watcher.abort();
    }
    Ok((all, elapsed))
}

async fn write(channel: &mut Client, ask: Ask, key: String) -> Result<()> {
    let value = vec![b'x'; VALUE_BYTES];
    match ask {
        Ask::Put => drop(channel.put(key, value, None).await?),
        Ask::Create => {
            let absent = Compare::create_revision(key.as_str(), CompareOp::Equal, 0);
            let txn = Txn::new().when([absent]).and_then([TxnOp::put(key.as_str(), value, None)]);
            ensure!(channel.txn(txn).await?.succeeded(), "{key} was there already");
        }
    }
    Ok(())
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
