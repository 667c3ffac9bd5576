//! Waiting for something to become true, with a limit and the last reason why it was not.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `check` succeeds; gives what it gave.
///
/// # Errors
/// When `limit` is over; the error is that of the last look.
pub fn until<T>(what: &str, limit: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let started = Instant::now();
    loop {
        match check() {
            Ok(it) => return Ok(it),
            Err(why) if started.elapsed() > limit => bail!("{what}: not within {limit:?}: {why:#}"),
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
