//! Durations as people read them: `k8s.io/apimachinery/pkg/util/duration`.
//!
//! In: whole seconds. Out: two significant units at most, so that columns stay narrow.

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// `kubectl`'s form of a duration: `90s`, `5m30s`, `3d4h`, `2y35d`. Clocks that differ by up to a second show as `0s`, more as `<invalid>`.
pub fn human(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 2 * MINUTE => format!("{seconds}s"),
        _ if seconds < 10 * MINUTE => two(seconds / MINUTE, 'm', seconds % MINUTE, 's'),
        _ if seconds < 3 * HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < 8 * HOUR => two(seconds / HOUR, 'h', seconds / MINUTE % 60, 'm'),
        _ if seconds < 2 * DAY => format!("{}h", seconds / HOUR),
        _ if seconds < 8 * DAY => two(seconds / DAY, 'd', seconds / HOUR % 24, 'h'),
        _ if seconds < 2 * YEAR => format!("{}d", seconds / DAY),
        _ if seconds < 8 * YEAR => two(seconds / YEAR, 'y', seconds / DAY % 365, 'd'),
        _ => format!("{}y", seconds / YEAR),
    }
}

/// The one-unit form, as Events' and leases' ages have it: `5m`, `3d`.
pub fn short(seconds: i64) -> String {
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < MINUTE => format!("{seconds}s"),
        _ if seconds < HOUR => format!("{}m", seconds / MINUTE),
        _ if seconds < DAY => format!("{}h", seconds / HOUR),
        _ if seconds < YEAR => format!("{}d", seconds / DAY),
        _ => format!("{}y", seconds / YEAR),
    }
}

fn two(first: i64, first_unit: char, second: i64, second_unit: char) -> String {
    if second == 0 { format!("{first}{first_unit}") } else { format!("{first}{first_unit}{second}{second_unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(seconds: i64, long: &str, brief: &str) {
        assert_eq!((human(seconds).as_str(), short(seconds).as_str()), (long, brief), "{seconds} s");
    }

    #[test]
    fn durations_as_kubernetes_prints_them() {
        check(-2, "<invalid>", "<invalid>");
        check(-1, "0s", "0s");
        check(0, "0s", "0s");
        check(70, "70s", "1m");
        check(2 * MINUTE, "2m", "2m");
        check(9 * MINUTE + 59, "9m59s", "9m");
        check(10 * MINUTE + 1, "10m", "10m");
        check(179 * MINUTE + 59, "179m", "2h");
        check(3 * HOUR, "3h", "3h");
        check(7 * HOUR + 59 * MINUTE, "7h59m", "7h");
        check(47 * HOUR, "47h", "1d");
        check(2 * DAY, "2d", "2d");
        check(3 * DAY + 4 * HOUR, "3d4h", "3d");
        check(8 * DAY + HOUR, "8d", "8d");
        check(YEAR + 300 * DAY, "665d", "1y");
        check(2 * YEAR + 35 * DAY, "2y35d", "2y");
        check(9 * YEAR, "9y", "9y");
    }
}
