//! Clients that store items through all tiers, without pause: each tries an item until it is told that it is stored, and remembers that.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use orlop_e2e::load;

/// At once, and between two items of each: some fifty items a second.
const CLIENTS: usize = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// What takes longer is tried again.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// The last failures are kept, so that a failed test can tell them.
const LOSSES_KEPT: usize = 10;

#[derive(Default)]
struct Seen {
    /// What was answered with 201, and when.
    stored: Vec<(String, Instant)>,
    losses: Vec<String>,
}

/// All clients.
pub struct Clients {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts them.
    pub fn start(at: &str) -> Clients {
        let (over, seen) = (Arc::<AtomicBool>::default(), Arc::<Mutex<Seen>>::default());
        let begin = |client: usize| {
            let (over, seen, at) = (Arc::clone(&over), Arc::clone(&seen), at.to_owned());
            std::thread::spawn(move || {
                for item in 0.. {
                    let name = format!("item {item} of client {client}");
                    while !over.load(Relaxed) {
                        let outcome = load::request(&at, "POST", "/items", &name, REQUEST_LIMIT);
                        let mut seen = lock(&seen);
                        match outcome {
                            Ok(answer) if answer.code == 201 => {
                                seen.stored.push((name, Instant::now()));
                                break;
                            }
                            Ok(answer) => note(&mut seen, format!("{} {}", answer.code, answer.body.trim())),
                            Err(error) => note(&mut seen, format!("{error:#}")),
                        }
                        drop(seen);
                        std::thread::sleep(PAUSE);
                    }
                    if over.load(Relaxed) {
                        return;
                    }
                    std::thread::sleep(PAUSE);
                }
            })
        };
        let threads = (0..CLIENTS).map(begin).collect();
        Clients { over, seen, threads }
    }

    /// How many items are stored.
    pub fn stored(&self) -> usize {
        lock(&self.seen).stored.len()
    }

    /// When the last one was.
    pub fn last(&self) -> Option<Instant> {
        lock(&self.seen).stored.last().map(|it| it.1)
    }

    /// The longest time since `since` in which no client was told that an item is stored.
    pub fn longest_gap_since(&self, since: Instant) -> Duration {
        let times: Vec<Instant> = lock(&self.seen).stored.iter().map(|it| it.1).filter(|it| *it >= since).collect();
        times.windows(2).map(|it| it[1] - it[0]).max().unwrap_or_default()
    }

    /// The last failures, in words.
    pub fn losses(&self) -> String {
        lock(&self.seen).losses.join("\n")
    }

    /// Ends them, and gives what they were told to be stored.
    pub fn stop(self) -> Result<Vec<String>> {
        self.over.store(true, Relaxed);
        for it in self.threads {
            ensure!(it.join().is_ok(), "a client panicked");
        }
        Ok(std::mem::take(&mut lock(&self.seen).stored).into_iter().map(|it| it.0).collect())
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn note(seen: &mut Seen, loss: String) {
    if seen.losses.len() == LOSSES_KEPT {
        seen.losses.remove(0);
    }
    seen.losses.push(loss);
}
