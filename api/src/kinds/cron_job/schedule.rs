//! The form of a cron schedule: five fields, or a word such as `@daily` or `@every 1h`.
//!
//! In: the text. Out: whether it can be read, in the words of the parser that Kubernetes uses (`github.com/robfig/cron`, standard
//! form). When the next time is, is not decided here.

/// A field's least and greatest number, and the names that stand for some.
struct Field {
    least: u32,
    greatest: u32,
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
    for prefix in ["TZ=", "CRON_TZ="] {
        if let Some(rest) = text.strip_prefix(prefix) {
            let (zone, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            if jiff::tz::TimeZone::get(zone).is_err() {
                return Err(format!("provided bad location {zone}: unknown time zone {zone}"));
            }
            text = rest.trim();
        }
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

fn check_word(text: &str) -> Result<(), String> {
    match text.strip_prefix("@every ") {
        Some(period) if is_period(period) => Ok(()),
        Some(period) => Err(format!("failed to parse duration {text}: time: invalid duration \"{period}\"")),
        None if WORDS.contains(&text) => Ok(()),
        None => Err(format!("unrecognized descriptor: {text}")),
    }
}

/// `1h30m`, `1.5s`: a duration as Go writes it.
fn is_period(text: &str) -> bool {
    let mut rest = text.trim_start_matches(['+', '-']);
    let mut parts = 0;
    while !rest.is_empty() {
        let digits = rest.trim_start_matches(|it: char| it.is_ascii_digit() || it == '.');
        if digits.len() == rest.len() || rest.starts_with('.') && rest[1..].len() == digits.len() {
            return false;
        }
        let Some(unit) = ["ns", "us", "µs", "ms", "s", "m", "h"]
            .iter()
            .find(|it| digits.strip_prefix(**it).is_some_and(|it| !it.starts_with(|it: char| it.is_alphabetic())))
        else {
            return false;
        };
        rest = &digits[unit.len()..];
        parts += 1;
    }
    parts > 0
}

/// `*`, `*/5`, `1-5`, `1-5/2`, `mon`.
fn check_range(text: &str, field: &Field) -> Result<(), String> {
    let mut stepped = text.split('/');
    let range = stepped.next().unwrap_or_default();
    let step = stepped.next();
    if stepped.next().is_some() {
        return Err(format!("too many slashes: {text}"));
    }
    let mut ends = range.split('-');
    let from = ends.next().unwrap_or_default();
    let to = ends.next();
    let (start, end) = if from == "*" || from == "?" {
        (field.least, field.greatest)
    } else {
        let start = number_or_name(from, field)?;
        let end = to.map(|it| number_or_name(it, field)).transpose()?;
        if ends.next().is_some() {
            return Err(format!("too many hyphens: {text}"));
        }
        // `5/10` starts at five and goes on to the end.
        (start, end.unwrap_or(if step.is_some() { field.greatest } else { start }))
    };
    let step = step.map_or(Ok(1), number)?;
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

fn number_or_name(text: &str, field: &Field) -> Result<u32, String> {
    match field.names.iter().zip(field.least..).find(|(it, _)| it.eq_ignore_ascii_case(text)) {
        Some((_, number)) => Ok(number),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u32, String> {
    let number: i64 = text
        .parse()
        .map_err(|_| format!("failed to parse int from {text}: strconv.Atoi: parsing \"{text}\": invalid syntax"))?;
    u32::try_from(number).map_err(|_| format!("negative number ({number}) not allowed: {text}"))
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
    }
}
