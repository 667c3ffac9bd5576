//! Times and durations of expressions, in the texts of Go.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, Zoned};

use super::functions::Op;

/// The nanoseconds of Go's units; longer names first where one begins another.
const UNITS: &[(&str, f64)] =
    &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Reads a duration: `1h30m`, `-1.5s`.
pub fn duration(text: &str) -> Option<SignedDuration> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanos = 0i128;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let (number, after) = rest.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 19 {
            return None;
        }
        let end = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &after[..end])?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        let part = if fraction.is_empty() { 0.0 } else { format!("0.{fraction}").parse::<f64>().ok()? };
        nanos += whole * (*unit as i128) + (part * unit) as i128;
        rest = &after[end..];
    }
    let nanos = i64::try_from(if negative { -nanos } else { nanos }).ok()?;
    Some(SignedDuration::from_nanos(nanos))
}

/// A duration as CEL prints it: seconds.
pub fn duration_text(value: SignedDuration) -> String {
    let (seconds, nanos) = (value.as_secs(), value.subsec_nanos().unsigned_abs());
    if nanos == 0 {
        return format!("{seconds}s");
    }
    let sign = if value.is_negative() { "-" } else { "" };
    let fraction = format!("{nanos:09}");
    format!("{sign}{}.{}s", seconds.unsigned_abs(), fraction.trim_end_matches('0'))
}

/// A part of a time, in a zone or in UTC; none for zones that do not exist.
pub fn part(op: Op, time: Timestamp, zone: Option<&str>) -> Option<i64> {
    let zone = match zone {
        None => TimeZone::UTC,
        Some(name) => match name.strip_prefix(['+', '-']).map_or(name, |it| it).split_once(':') {
            Some((hours, minutes)) => {
                let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
                let seconds = if name.starts_with('-') { -seconds } else { seconds };
                TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).ok()?)
            }
            None if name.eq_ignore_ascii_case("utc") => TimeZone::UTC,
            None => TimeZone::get(name).ok()?,
        },
    };
    let at: Zoned = time.to_zoned(zone);
    Some(match op {
        Op::FullYear => at.year().into(),
        Op::Month => i64::from(at.month()) - 1,
        Op::DayOfMonth => i64::from(at.day()) - 1,
        Op::Date => at.day().into(),
        Op::DayOfWeek => at.weekday().to_sunday_zero_offset().into(),
        Op::DayOfYear => i64::from(at.day_of_year()) - 1,
        Op::Hours => at.hour().into(),
        Op::Minutes => at.minute().into(),
        Op::Seconds => at.second().into(),
        Op::Milliseconds => at.millisecond().into(),
        _ => return None,
    })
}

/// A duration in whole units.
pub fn whole(op: Op, value: SignedDuration) -> Option<i64> {
    Some(match op {
        Op::Hours => value.as_secs() / 3600,
        Op::Minutes => value.as_secs() / 60,
        Op::Seconds => value.as_secs(),
        Op::Milliseconds => i64::from(value.subsec_millis()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(duration(text).map(duration_text).as_deref(), expected, "{text}");
        };
        check("1h30m", Some("5400s"));
        check("-1.5s", Some("-1.5s"));
        check("100ms", Some("0.1s"));
        check("0", Some("0s"));
        check("1", None);
        check("", None);
        check("h", None);
        check("9999999999999999999h", None);
    }
}
