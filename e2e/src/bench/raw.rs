//! The raw limits of the machine under the servers: what etcd itself takes, and what the disk takes for an fsync.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Result;

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
/// Writes by which the disk is measured.
const FSYNCS: usize = 200;

/// Puts of 1 kB straight into an etcd of their own, by as many clients as the API server gets; rates by clients. The etcd under the API
/// server is another: what these puts leave behind would slow it down.
///
/// # Errors
/// When etcd refuses.
pub fn etcd(scale: &Scale) -> Result<(EtcdRates, Table)> {
    let etcd = Etcd::start()?;
    let store = etcd.store();
    let url = store.trim_start_matches("etcd=");
    let processes = [Process { name: "etcd".into(), id: etcd.id() }];
    let title = format!("etcd itself (puts of {} B over gRPC, no API server)", report::rate(VALUE_BYTES as f64));
    let mut table =
        Table::new(title, &["clients", "puts/s", "p50 ms", "p99 ms", "etcd CPU µs/put", "generator CPU µs/put"]);
    let mut rates = EtcdRates::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for &clients in &scale.clients {
        let before = Meter::read(&processes);
        let (mut samples, elapsed) = runtime.block_on(puts(url, clients, scale.verb_limit))?;
        let (own, servers) = Meter::read(&processes).since(&before);
        let rate = samples.len() as f64 / elapsed.as_secs_f64();
        rates.insert(clients, rate);
        let per_put = |time: &Duration| report::microseconds(*time / samples.len().max(1) as u32);
        let shares: Vec<String> = servers.iter().chain([&own]).map(per_put).collect();
        let times = [samples.median(), samples.percentile(99.0)].map(report::milliseconds);
        table.row([clients.to_string(), report::rate(rate)].into_iter().chain(times).chain(shares));
    }
    Ok((rates, table))
}

async fn puts(url: &str, clients: usize, limit: Duration) -> Result<(Samples, Duration)> {
    let mut channels = Vec::new();
    for _ in 0..clients.div_ceil(CLIENTS_PER_CHANNEL) {
        channels.push(etcd_client::Client::connect([url], None).await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let deadline = started + limit;
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let (mut channel, next) = (channels[client % channels.len()].clone(), next.clone());
            tokio::spawn(async move {
                let mut samples = Samples::default();
                while Instant::now() < deadline {
                    let key = format!("/orlop-bench/c{clients}-{}", next.fetch_add(1, Relaxed));
                    let begun = Instant::now();
                    channel.put(key, vec![b'x'; VALUE_BYTES], None).await?;
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
    Ok((all, started.elapsed()))
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
