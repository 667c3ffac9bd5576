//! How many durable commits a second the embedded engine takes: `commit_rate [DIR] [SECONDS]`.
//!
//! 1, 16 and 64 committers each create, then update, an object of 1 kB of their own. Every commit is on the disk before it
//! is answered. Also prints how long an empty store takes to open, and one of the size the load leaves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use orlop_store::embedded::Embedded;
use orlop_store::{Commit, Expect, Store};

const VALUE_BYTES: usize = 1000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let base = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: f64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3.0);
    println!("{:>10} {:>10} {:>10} {:>10} {:>10}", "committers", "commits/s", "p50 µs", "p99 µs", "reopen ms");
    for committers in [1, 16, 64] {
        let dir = base.join(format!("orlop-commit-rate-{}-{committers}", std::process::id()));
        let began = Instant::now();
        let store = Arc::new(Embedded::open(&dir).expect("the store opens"));
        let opened = began.elapsed();
        let mut latencies = load(&store, committers, Duration::from_secs_f64(seconds)).await;
        drop(store);
        let began = Instant::now();
        drop(Embedded::open(&dir).expect("the store opens again"));
        let reopened = began.elapsed();
        latencies.sort_unstable();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize].as_micros();
        println!(
            "{committers:>10} {:>10.0} {:>10} {:>10} {:>10.1}   (new store opened in {:.1} ms)",
            latencies.len() as f64 / seconds,
            at(0.5),
            at(0.99),
            reopened.as_secs_f64() * 1e3,
            opened.as_secs_f64() * 1e3,
        );
        std::fs::remove_dir_all(&dir).expect("the directory can be removed");
    }
}

/// Commits for `time` and says how long each commit took.
async fn load(store: &Arc<Embedded>, committers: usize, time: Duration) -> Vec<Duration> {
    let until = Instant::now() + time;
    let tasks: Vec<_> = (0..committers)
        .map(|committer| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                for n in 0_u64.. {
                    let key = format!("/registry/pods/default/{committer}-{}", n / 10).into();
                    let expect = match latencies.last() {
                        Some((_, revision)) if n % 10 != 0 => Expect::At(*revision),
                        _ => Expect::Absent,
                    };
                    let began = Instant::now();
                    let commit = Commit { key, expect, value: Some(Bytes::from(vec![b'x'; VALUE_BYTES])) };
                    let revision = store.commit(commit).await.expect("the commit succeeds");
                    latencies.push((began.elapsed(), revision));
                    if Instant::now() >= until {
                        break;
                    }
                }
                latencies.into_iter().map(|(latency, _)| latency).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.expect("the committer finishes"));
    }
    all
}
