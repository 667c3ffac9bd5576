//! The wall clock: the only place of the workspace that reads it.
//!
//! Out: [`now`]. Pure code takes `now` as an argument; durations and deadlines use tokio's clock. A simulation calls
//! [`follow_tokio`] once, and from then on the wall clock moves with tokio's, which it may pause and advance.
//!
//! The wall clock may be set, by hours in either direction. What a process remembers, and compares only with what it remembers, it reads from
//! [`steady`] therefore; who has to do something when the clock was set asks [`set`].

use std::sync::OnceLock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
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

/// Where the steady clock started, on both clocks.
static STEADY: OnceLock<(Timestamp, Instant)> = OnceLock::new();

/// The time by a clock that nobody sets: the wall clock's when it was first asked, and from then on what has passed. It says nothing to anybody but
/// this process.
pub fn steady() -> Timestamp {
    let (start, base) = STEADY.get_or_init(|| (now(), Instant::now()));
    // The addition saturates only in the year 9999.
    start.saturating_add(base.elapsed()).unwrap_or(*start)
}

/// How often it is looked whether the wall clock was set.
const SET_LOOK: Duration = Duration::from_secs(5);
/// By more than this: a clock that is slewed comes nowhere near it between two looks.
const SET_LEAST: Duration = Duration::from_secs(10);

/// Waits until somebody sets the wall clock, and gives by how much, in either direction.
pub async fn set() -> SignedDuration {
    let mut before = now().duration_since(steady());
    loop {
        tokio::time::sleep(SET_LOOK).await;
        let ahead = now().duration_since(steady());
        let moved = ahead.saturating_sub(before);
        if moved.unsigned_abs() > SET_LEAST {
            return moved;
        }
        before = ahead;
    }
}

/// How long ago `then` was at `now`; zero when `then` is in the future, as clocks of two machines may differ.
pub fn since(then: Timestamp, now: Timestamp) -> Duration {
    now.duration_since(then).try_into().unwrap_or_default()
}

/// How long it is from `now` until `then`; zero when `then` has passed.
pub fn until(then: Timestamp, now: Timestamp) -> Duration {
    since(now, then)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_steady_clock_moves_with_what_has_passed() {
        let before = steady();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(since(before, steady()).as_secs() / 60, 60);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_asks_is_told_when_the_wall_clock_and_time_part() {
        let asking = tokio::spawn(set());
        tokio::task::yield_now().await;
        // The wall clock is the machine's, and stands still meanwhile: as if it were set back by a minute.
        tokio::time::advance(Duration::from_secs(60)).await;
        let moved = asking.await.unwrap();
        assert!(moved.is_negative() && moved.unsigned_abs() > SET_LEAST, "{moved}");
    }

    #[test]
    fn durations_do_not_go_below_zero() {
        let then = Timestamp::UNIX_EPOCH;
        let later = then + jiff::SignedDuration::from_secs(5);
        assert_eq!(since(then, later).as_secs(), 5);
        assert_eq!(since(later, then).as_secs(), 0);
        assert_eq!(until(later, then).as_secs(), 5);
    }
}
