//! The parameter `timeout` of a request: how long it may take, as Go writes durations (`30s`, `1m30s`, `1.5h`).
//!
//! Source: `k8s.io/apiserver/pkg/endpoints/filters/request_deadline.go`, `time.ParseDuration`.

use std::time::Duration;

use orlop_api::status::{self, Status};

/// Units, and how many seconds each has. Longer names first, for `m` begins `ms`.
const UNITS: &[(&str, f64)] =
    &[("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("μs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];

/// Reads the parameter; none if it is empty or zero.
///
/// # Errors
/// `BadRequest` for what is no duration.
pub fn parse(text: &str) -> status::Result<Option<Duration>> {
    if text.is_empty() {
        return Ok(None);
    }
    let refused = |why: String| Status::bad_request(format!("invalid timeout specified in the request URL - {why}"));
    let seconds = go_seconds(text).map_err(refused)?;
    // What is negative has passed before it began; what is zero means no limit of the client's.
    Ok((seconds != 0.0).then(|| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)))
}

fn go_seconds(text: &str) -> Result<f64, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (sign, mut rest) = match text.as_bytes() {
        [b'-', ..] => (-1.0, &text[1..]),
        [b'+', ..] => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if rest == "0" {
        return Ok(0.0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        rest = &rest[end..];
        let end = rest.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(rest.len());
        let unit = &rest[..end];
        if unit.is_empty() {
            return Err(format!("time: missing unit in duration {text:?}"));
        }
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (_, scale) = known.ok_or_else(|| format!("time: unknown unit {unit:?} in duration {text:?}"))?;
        seconds += number * scale;
        rest = &rest[end..];
    }
    Ok(sign * seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<Option<f64>, &str>) {
        let got = parse(text).map(|it| it.map(|it| it.as_secs_f64())).map_err(|it| it.message);
        let expected = expected.map_err(|why| format!("invalid timeout specified in the request URL - time: {why}"));
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn durations_are_go_s() {
        check("", Ok(None));
        check("0", Ok(None));
        check("32s", Ok(Some(32.0)));
        check("1m30s", Ok(Some(90.0)));
        check("1.5h", Ok(Some(5400.0)));
        check("250ms", Ok(Some(0.25)));
        check("-3s", Ok(Some(0.0)));
        check("soon", Err("invalid duration \"soon\""));
        check("30", Err("missing unit in duration \"30\""));
        check("3x", Err("unknown unit \"x\" in duration \"3x\""));
    }
}
