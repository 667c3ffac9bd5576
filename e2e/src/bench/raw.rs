//! The raw limits of the machine under the servers: what etcd itself takes, and what the disk takes for an fsync.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::report::{self, Table};
use super::scale::Scale;
use super::statistics::Samples;
use super::verbs::EtcdRates;

/// The size of a value: what a ConfigMap of 1,024 B is stored as.
const VALUE_BYTES: usize = 1_024;
/// Clients that share a connection to etcd, as gRPC clients do.
const CLIENTS_PER_CHANNEL: usize = 16;
/// Writes by which the disk is measured.
const FSYNCS: usize = 200;

/// Puts of 1 kB straight into etcd, by as many clients as the API server gets; rates by clients.
///
/// # Errors
/// When etcd refuses.
pub fn etcd(url: &str, scale: &Scale) -> Result<(EtcdRates, Table)> {
    let mut table = Table::new(
        "etcd itself (puts of 1,024 B over gRPC, no API server)",
        &["clients", "puts/s", "p50 ms", "p99 ms"],
    );
    let mut rates = EtcdRates::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for &clients in &scale.clients {
        let (mut samples, elapsed) = runtime.block_on(puts(url, clients, scale.verb_limit))?;
        let rate = samples.len() as f64 / elapsed.as_secs_f64();
        rates.insert(clients, rate);
        table.row([
            clients.to_string(),
            report::rate(rate),
            report::milliseconds(samples.median()),
            report::milliseconds(samples.percentile(99.0)),
        ]);
    }
    runtime.block_on(async {
        let mut client = etcd_client::Client::connect([url], None).await?;
        let all = etcd_client::DeleteOptions::new().with_prefix();
        client.delete("/orlop-bench/", Some(all)).await
    })?;
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
