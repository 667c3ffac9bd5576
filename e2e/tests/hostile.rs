//! Hostile input: what would take all time or memory of a server that trusts its clients. Each is refused (or done) with Kubernetes' answer in
//! bounded time and memory, and others are served meanwhile.
//!
//! One server takes it all, from a client who may do everything: whoever is let in could send this. The bounds are those of a debug build beside
//! other tests on two cores, several times what was measured; what grows with the square of its input misses them by far.

#[path = "hostile/bodies.rs"]
mod bodies;
#[path = "hostile/connections.rs"]
mod connections;
#[path = "hostile/wire.rs"]
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use orlop_e2e::server::Server;

use wire::Way;

/// How long anybody else may wait for an answer meanwhile.
const PULSE_LIMIT: Duration = Duration::from_secs(30);
/// How much memory the server may have at any moment; it had 274 at most, with the largest bodies.
const MEMORY_LIMIT_MIB: u64 = 700;

/// The memory of a process now, and the most that it ever had, in MiB.
fn memory_mib(process: u32) -> Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name: &str| -> Result<u64> {
        let line = status.lines().find_map(|it| it.strip_prefix(name)).with_context(|| format!("{name} is missing"))?;
        Ok(line.split_whitespace().next().unwrap_or_default().parse::<u64>()? >> 10)
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}

/// Somebody who asks for a small object all the time, and notes how long that took at worst.
struct Pulse {
    over: Arc<AtomicBool>,
    worst_millis: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Pulse {
    fn start(way: Way) -> Pulse {
        let (over, worst_millis) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stop, worst) = (over.clone(), worst_millis.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                let begun = Instant::now();
                let answer = way.get("/api/v1/namespaces/default", PULSE_LIMIT)?;
                ensure!(answer.starts_with("HTTP/1.1 200"), "others are told {answer}");
                worst.fetch_max(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(())
        });
        Pulse { over, worst_millis, thread }
    }

    /// The longest that an answer took.
    fn end(self) -> Result<Duration> {
        self.over.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the thread that asks has panicked"))??;
        Ok(Duration::from_millis(self.worst_millis.load(Relaxed)))
    }
}

#[test]
fn what_would_take_all_time_or_memory_is_refused_in_bounds() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("orlop-hostile-").tempdir()?;
    let mut server = Server::start(&folder.path().join("data"), "memory")?;
    let (way, process) = (Way::to(&server)?, server.child().id());
    // Connections that do nothing are closed after some time: it passes while the bodies come.
    let idle = connections::idle(&way, process)?;
    let pulse = Pulse::start(way.clone());
    let outcome = bodies::all(&server).and_then(|()| connections::all(&server, &way, process));
    let worst = pulse.end();
    ensure!(server.child().runs(), "the server has ended: {outcome:?}\n{}", server.child().tail());
    outcome.with_context(|| server.child().tail())?;
    idle.are_closed()?;
    println!("others waited {:?} at most", worst?);
    let (now, most) = memory_mib(process)?;
    println!("the server has {now} MiB and had {most} MiB at most");
    ensure!(most < MEMORY_LIMIT_MIB, "the server had {most} MiB");
    ensure!(!server.child().log().contains("panicked"), "{}", server.child().tail());
    Ok(())
}
