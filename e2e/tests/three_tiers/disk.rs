//! A watch on the database's folder: which containers' PostgreSQL works on it, looked up in the machine's processes many times a second.
//!
//! Neither the API nor an agent is asked, so that what is seen is what is.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub looks: u64,
    /// How often another container had the folder than before.
    pub takeovers: u32,
    /// For each takeover how long nobody had it.
    pub pauses: Vec<Duration>,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "looked at the disk {} times: never two databases on it; nobody had it for {:.1?}",
            self.looks, self.pauses
        )
    }
}

/// The watch.
pub struct Disk {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Disk {
    /// Begins to watch a folder on which one database works.
    pub fn watch(folder: &Path) -> Result<Disk> {
        ensure!(owners(folder)?.len() == 1, "databases work on {}: {:?}", folder.display(), owners(folder)?);
        let (over, folder) = (Arc::<AtomicBool>::default(), folder.to_owned());
        let is_over = Arc::clone(&over);
        let thread = std::thread::spawn(move || look(&folder, &is_over));
        Ok(Disk { over, thread })
    }

    /// Ends it.
    ///
    /// # Errors
    /// When two databases worked on the folder at once.
    pub fn end(self) -> Result<Seen> {
        self.over.store(true, Relaxed);
        self.thread.join().map_err(|_| anyhow!("the watch on the disk panicked"))?
    }
}

fn look(folder: &Path, over: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut last: Option<(u64, Instant)> = None;
    while !over.load(Relaxed) {
        let owners = owners(folder)?;
        if owners.len() > 1 {
            bail!("databases of {} containers work on one folder", owners.len());
        }
        if let Some(owner) = owners.first().copied() {
            if let Some((_, until)) = last.filter(|it| it.0 != owner) {
                seen.takeovers += 1;
                seen.pauses.push(until.elapsed());
            }
            last = Some((owner, Instant::now()));
        }
        seen.looks += 1;
        std::thread::sleep(PAUSE);
    }
    Ok(seen)
}

/// The pid namespaces (one a container) in which a PostgreSQL has the folder as its working directory, which is the first that it does.
fn owners(folder: &Path) -> Result<BTreeSet<u64>> {
    let place = |path: &Path| std::fs::metadata(path).map(|it| (it.dev(), it.ino()));
    let wanted = place(folder)?;
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let named = std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|it| it.trim_end() == "postgres");
        if named
            && place(&entry.path().join("cwd")).is_ok_and(|it| it == wanted)
            // It may end meanwhile.
            && let Ok(space) = std::fs::metadata(entry.path().join("ns/pid"))
        {
            found.insert(space.ino());
        }
    }
    Ok(found)
}
