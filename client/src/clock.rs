//! The wall clock: the only place of the workspace that reads it.
//!
//! Out: [`now`]. Pure code takes `now` as an argument; durations and deadlines use tokio's clock. A simulation calls
//! [`follow_tokio`] once, and from then on the wall clock moves with tokio's, which it may pause and advance.

use std::sync::OnceLock;

use jiff::Timestamp;
use tokio::time::Instant;

/// Where the virtual clock started, on both clocks; unset while the real clock is read.
static VIRTUAL: OnceLock<(Timestamp, Instant)> = OnceLock::new();

/// The time now.
pub fn now() -> Timestamp {
    match VIRTUAL.get() {
        // The addition saturates only in the year 9999.
        Some((start, base)) => start.saturating_add(base.elapsed()).unwrap_or(*start),
        None => Timestamp::now(),
    }
}

/// Makes [`now`] start at `start` and move with tokio's clock, for the rest of the process. Only the first call counts.
pub fn follow_tokio(start: Timestamp) {
    VIRTUAL.get_or_init(|| (start, Instant::now()));
}

/// How long ago `then` was at `now`; zero when `then` is in the future, as clocks of two machines may differ.
pub fn since(then: Timestamp, now: Timestamp) -> std::time::Duration {
    now.duration_since(then).try_into().unwrap_or_default()
}

/// How long it is from `now` until `then`; zero when `then` has passed.
pub fn until(then: Timestamp, now: Timestamp) -> std::time::Duration {
    since(now, then)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_do_not_go_below_zero() {
        let then = Timestamp::UNIX_EPOCH;
        let later = then + jiff::SignedDuration::from_secs(5);
        assert_eq!(since(then, later).as_secs(), 5);
        assert_eq!(since(later, then).as_secs(), 0);
        assert_eq!(until(later, then).as_secs(), 5);
    }
}
