//! The form of a cron schedule: five fields, or a word such as `@daily` or `@every 1h`.
//!
//! In: the text. Out: whether it can be read, in the words of the parser that Kubernetes uses (`github.com/robfig/cron`, standard
//! form). When the next time is, is not decided here.

use std::num::{IntErrorKind, ParseIntError};

/// A field's least and greatest number, and the names that stand for some.
struct Field {
    least: i64,
    greatest: i64,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Minute, hour, day of the month, month, day of the week.
const FIELDS: [Field; 5] = [
    Field { least: 0, greatest: 59, names: &[] },
    Field { least: 0, greatest: 23, names: &[] },
    Field { least: 1, greatest: 31, names: &[] },
    Field { least: 1, greatest: 12, names: MONTHS },
    Field { least: 0, greatest: 6, names: DAYS },
];

const WORDS: &[&str] = &["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// Checks a schedule.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(text: &str) -> Result<(), String> {
    let mut text = text;
    if let Some(rest) = text.strip_prefix("TZ=").or_else(|| text.strip_prefix("CRON_TZ=")) {
        let (zone, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        if !is_zone(zone) {
            return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
        }
        text = rest.trim();
    }
    if text.starts_with('@') {
        return check_word(text);
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    if fields.len() != FIELDS.len() {
        let shown = fields.join(" ");
        return Err(format!("expected exactly {} fields, found {}: [{shown}]", FIELDS.len(), fields.len()));
    }
    for (text, field) in fields.iter().zip(&FIELDS) {
        text.split(',').filter(|it| !it.is_empty()).try_for_each(|it| check_range(it, field))?;
    }
    Ok(())
}

/// Whether Go's `time.LoadLocation` knows a time zone, which asks for its name as it is written.
pub(super) fn is_zone(name: &str) -> bool {
    let listed = || jiff::tz::TimeZone::get(name).is_ok_and(|it| !it.is_unknown() && it.iana_name() == Some(name));
    matches!(name, "" | "UTC" | "Local") || listed()
}

fn check_word(text: &str) -> Result<(), String> {
    match text.strip_prefix("@every ") {
        Some(period) => check_period(period).map_err(|why| format!("failed to parse duration {text}: time: {why}")),
        None if WORDS.contains(&text) => Ok(()),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// `1h30m`, `1.5s`: a duration as Go writes it.
fn check_period(text: &str) -> Result<(), String> {
    let invalid = || Err(format!("invalid duration {text:?}"));
    let is_number = |it: char| it.is_ascii_digit() || it == '.';
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Ok(());
    }
    if rest.is_empty() {
        return invalid();
    }
    while !rest.is_empty() {
        let whole = rest.trim_start_matches(|it: char| it.is_ascii_digit());
        let after = match whole.strip_prefix('.') {
            Some(fraction) => fraction.trim_start_matches(|it: char| it.is_ascii_digit()),
            None => whole,
        };
        if !rest[..rest.len() - after.len()].contains(|it: char| it.is_ascii_digit()) {
            return invalid();
        }
        let end = after.find(is_number).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        match unit {
            "" => return Err(format!("missing unit in duration {text:?}")),
            "ns" | "us" | "\u{b5}s" | "\u{3bc}s" | "ms" | "s" | "m" | "h" => rest = next,
            other => return Err(format!("unknown unit {other:?} in duration {text:?}")),
        }
    }
    Ok(())
}

/// `*`, `*/5`, `1-5`, `1-5/2`, `mon`.
fn check_range(text: &str, field: &Field) -> Result<(), String> {
    let stepped: Vec<&str> = text.split('/').collect();
    let ends: Vec<&str> = stepped[0].split('-').collect();
    let (start, mut end) = match ends.as_slice() {
        ["*" | "?", ..] => (field.least, field.greatest),
        [from, others @ ..] => {
            let start = number_or_name(from, field)?;
            match others {
                [] => (start, start),
                [to] => (start, number_or_name(to, field)?),
                _ => return Err(format!("too many hyphens: {text}")),
            }
        }
        [] => (field.greatest, field.least),
    };
    let step = match stepped.as_slice() {
        [_, step] => {
            // `5/10` starts at five and goes on to the end.
            let step = number(step)?;
            if ends.len() == 1 {
                end = field.greatest;
            }
            step
        }
        [_] => 1,
        _ => return Err(format!("too many slashes: {text}")),
    };
    if start < field.least {
        return Err(format!("beginning of range ({start}) below minimum ({}): {text}", field.least));
    }
    if end > field.greatest {
        return Err(format!("end of range ({end}) above maximum ({}): {text}", field.greatest));
    }
    if start > end {
        return Err(format!("beginning of range ({start}) beyond end of range ({end}): {text}"));
    }
    if step == 0 {
        return Err(format!("step of range should be a positive number: {text}"));
    }
    Ok(())
}

fn number_or_name(text: &str, field: &Field) -> Result<i64, String> {
    match field.names.iter().zip(field.least..).find(|(it, _)| it.eq_ignore_ascii_case(text)) {
        Some((_, number)) => Ok(number),
        None => number(text),
    }
}

fn number(text: &str) -> Result<i64, String> {
    let number: i64 = text.parse().map_err(|error: ParseIntError| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("failed to parse int from {text}: strconv.Atoi: parsing {text:?}: {why}")
    })?;
    if number < 0 { Err(format!("negative number ({number}) not allowed: {text}")) } else { Ok(number) }
}

#[cfg(test)]
mod tests {
    fn check(text: &str, expected: Result<(), &str>) {
        assert_eq!(super::check(text), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn reads_schedules() {
        for good in
            ["*/5 * * * *", "0 9-17/2 1,15 jan-MAR mon", "@hourly", "@every 1h30m", "5/10 * ? * *", "TZ=UTC 0 0 * * *"]
        {
            check(good, Ok(()));
        }
        check("* * * *", Err("expected exactly 5 fields, found 4: [* * * *]"));
        check("60 * * * *", Err("end of range (60) above maximum (59): 60"));
        check("* * 0 * *", Err("beginning of range (0) below minimum (1): 0"));
        check("5-1 * * * *", Err("beginning of range (5) beyond end of range (1): 5-1"));
        check("*/0 * * * *", Err("step of range should be a positive number: */0"));
        check("1-2-3 * * * *", Err("too many hyphens: 1-2-3"));
        check("1/2/3 * * * *", Err("too many slashes: 1/2/3"));
        check("x * * * *", Err("failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"));
        check("@never", Err("unrecognized descriptor: @never"));
        check("@every day", Err("failed to parse duration @every day: time: invalid duration \"day\""));
        check("@every 1.5h.s", Err("failed to parse duration @every 1.5h.s: time: invalid duration \"1.5h.s\""));
        check("@every 5", Err("failed to parse duration @every 5: time: missing unit in duration \"5\""));
        check("@every 2d", Err("failed to parse duration @every 2d: time: unknown unit \"d\" in duration \"2d\""));
        check("x/1/2 * * * *", Err("failed to parse int from x: strconv.Atoi: parsing \"x\": invalid syntax"));
        check("5000000000 * * * *", Err("end of range (5000000000) above maximum (59): 5000000000"));
        check("*/-1 * * * *", Err("negative number (-1) not allowed: -1"));
        check("TZ=utc 0 0 * * *", Err("provided bad location utc: unknown time zone utc"));
        check("TZ=UTC CRON_TZ=UTC 0 0 * * *", Err("expected exactly 5 fields, found 6: [CRON_TZ=UTC 0 0 * * *]"));
    }
}
