//! The back-off of container restarts, as the kubelet counts it.
//!
//! The first restart is at once; each further one waits 10 s, 20 s, 40 s … 5 min from the end of the last run. A run that ended more than
//! 10 minutes after its start was scheduled begins anew. What the agent forgot by dying is told from the number of attempts.

use std::time::Duration;

use jiff::Timestamp;

/// The delay of the second restart.
pub const INITIAL: Duration = Duration::from_secs(10);
/// The longest delay.
pub const LONGEST: Duration = Duration::from_secs(300);
/// A container that came this far after its last restart is healthy again: twice the longest delay.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);

/// The delay that holds for the next restart, and when it was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    pub delay: Duration,
    pub set: Timestamp,
}

/// What the back-off says of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// Now, and the delay of the one after it.
    Now { next: Duration },
    /// Not before `at`.
    At { at: Timestamp, delay: Duration },
}

/// The delay after `restarts` restarts: none of them waited before the first.
pub fn after(restarts: u32) -> Option<Duration> {
    let doublings = restarts.checked_sub(1)?;
    Some(INITIAL.saturating_mul(1 << doublings.min(5)).min(LONGEST))
}

/// Whether what ended at `ended` may be started again at `now`.
pub fn restart(back_off: Option<BackOff>, ended: Timestamp, now: Timestamp) -> Restart {
    let Some(BackOff { delay, set }) = back_off else { return Restart::Now { next: INITIAL } };
    if since(set, ended) > FORGIVEN_AFTER {
        return Restart::Now { next: INITIAL };
    }
    // A clock that was set back must not hold a restart up for longer than the delay itself.
    if since(ended, now) >= delay || since(now, ended) > delay {
        return Restart::Now { next: (delay * 2).min(LONGEST) };
    }
    Restart::At { at: later(ended, delay), delay }
}

/// How long after `from` is `to`; nothing where it is before.
pub fn since(from: Timestamp, to: Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// `at` plus a while, at most the end of time.
pub fn later(at: Timestamp, by: Duration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// A duration of whole seconds as Go prints it: `10s`, `1m20s`, `1h0m0s`.
pub fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest}s"),
        (0, _) => format!("{minutes}m{rest}s"),
        _ => format!("{hours}h{minutes}m{rest}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    #[test]
    fn delays_double_to_five_minutes() {
        let delays: Vec<_> = (0..8).map(|it| after(it).map(go_duration).unwrap_or_default()).collect();
        assert_eq!(delays, ["", "10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"]);
    }

    #[test]
    fn the_first_restart_is_at_once_and_a_long_run_is_forgiven() {
        let ten = BackOff { delay: INITIAL, set: at(0) };
        assert_eq!(restart(None, at(5), at(5)), Restart::Now { next: INITIAL });
        assert_eq!(restart(Some(ten), at(5), at(6)), Restart::At { at: at(15), delay: INITIAL });
        assert_eq!(restart(Some(ten), at(5), at(15)), Restart::Now { next: INITIAL * 2 });
        let long = BackOff { delay: LONGEST, set: at(0) };
        assert_eq!(restart(Some(long), at(601), at(601)), Restart::Now { next: INITIAL });
    }

    #[test]
    fn a_clock_set_back_by_an_hour_does_not_hold_a_restart_up() {
        let ten = BackOff { delay: INITIAL, set: at(0) };
        assert_eq!(restart(Some(ten), at(5), at(-3600)), Restart::Now { next: INITIAL * 2 });
    }
}
