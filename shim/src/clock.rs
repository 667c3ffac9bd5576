//! The shim's clocks. It has no async runtime and no simulation around it, so it reads the kernel's; nothing else in this crate does.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, UTC. A clock before 1970 counts as 1970.
pub fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The time since the machine was started, its sleep included. Nobody can set it.
///
/// # Errors
/// There is no `/proc`.
pub fn since_boot() -> std::io::Result<Duration> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    let seconds = text.split_whitespace().next().and_then(|it| it.parse().ok());
    seconds.and_then(|it| Duration::try_from_secs_f64(it).ok()).ok_or_else(|| std::io::Error::other(text))
}

/// The clock that only goes forward, for deadlines.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// A time as Go's RFC3339Nano with all nine digits, as the CRI log format has it: `2026-01-02T03:04:05.000000006Z`.
pub fn rfc3339_nano(ns: u64) -> String {
    let (seconds, nanos) = (ns / 1_000_000_000, ns % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// The date of a day since 1970-01-01, in the Gregorian calendar: years are counted from March, so that the leap day is the last of a year,
/// in eras of 400 years, which all have 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    // Days from 0000-03-01 to 1970-01-01.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 153 days in each five.
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_runs_for_some_time() {
        let before = since_boot().unwrap();
        assert!(before > Duration::ZERO && since_boot().unwrap() >= before);
    }

    #[test]
    fn times_are_told_as_dates() {
        let check = |seconds: u64, nanos: u64, expected: &str| {
            assert_eq!(rfc3339_nano(seconds * 1_000_000_000 + nanos), expected);
        };
        check(0, 0, "1970-01-01T00:00:00.000000000Z");
        check(951_782_399, 999_999_999, "2000-02-28T23:59:59.999999999Z");
        check(951_782_400, 0, "2000-02-29T00:00:00.000000000Z");
        check(1_767_323_045, 6, "2026-01-02T03:04:05.000000006Z");
        check(4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z");
        check(4_107_542_399, 0, "2100-02-28T23:59:59.000000000Z");
    }
}
