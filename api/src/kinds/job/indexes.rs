//! The indexes of an indexed job as texts: `1,3-5`.
//!
//! Source: `validateIndexesFormat` in `k8s.io/kubernetes/pkg/apis/batch/validation`.

/// How many indexes a text names of a job with so many completions.
///
/// # Errors
/// What is wrong with the text, in Kubernetes' words.
pub(super) fn count(text: &str, completions: i32) -> Result<i64, String> {
    if text.is_empty() {
        return Ok(0);
    }
    let mut last: Option<i64> = None;
    let mut total = 0;
    for part in text.split(',') {
        let (from, to) = interval(part, completions.into())?;
        if let Some(last) = last.filter(|it| *it >= from) {
            return Err(format!("non-increasing order, previous: {last}, current: {from}"));
        }
        total += to - from + 1;
        last = Some(to);
    }
    Ok(total)
}

/// The first index that both texts name; what cannot be read of them names none.
pub(super) fn overlap(completed: &str, failed: &str, completions: i32) -> Option<i64> {
    let read = |text: &str| -> Vec<(i64, i64)> {
        text.split(',').filter_map(|it| interval(it, completions.into()).ok()).collect()
    };
    let (completed, failed) = (read(completed), read(failed));
    let (mut at, mut other) = (0, 0);
    while let (Some(a), Some(b)) = (completed.get(at), failed.get(other)) {
        if a.0 <= b.1 && b.0 <= a.1 {
            return Some(a.0.max(b.0));
        }
        if a.0 <= b.0 {
            at += 1;
        } else {
            other += 1;
        }
    }
    None
}

fn interval(text: &str, completions: i64) -> Result<(i64, i64), String> {
    let number = |text: &str| {
        let number: i64 =
            text.parse().map_err(|_| format!("cannot convert string to integer for index: \"{text}\""))?;
        if number >= completions { Err(format!("too large index: \"{text}\"")) } else { Ok(number) }
    };
    match text.split('-').collect::<Vec<_>>().as_slice() {
        [one] => number(one).map(|it| (it, it)),
        [from, to] => {
            let (from, to) = (number(from)?, number(to)?);
            if from >= to {
                return Err(format!("non-increasing order, previous: {from}, current: {to}"));
            }
            Ok((from, to))
        }
        _ => Err(format!(
            "the fragment \"{text}\" violates the requirement that an index interval can have at most two parts separated by '-'"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<i64, &str>) {
        assert_eq!(count(text, 10), expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn counts_indexes() {
        check("", Ok(0));
        check("1,3-5", Ok(4));
        check("5,3", Err("non-increasing order, previous: 5, current: 3"));
        check("10", Err("too large index: \"10\""));
        check("a", Err("cannot convert string to integer for index: \"a\""));
    }

    #[test]
    fn finds_what_two_texts_share() {
        for (completed, failed, expected) in [
            ("", "1", None),
            ("0,2-4", "1,5", None),
            ("0,2-5", "1,4-6", Some(4)),
            ("x,7", "3,7", Some(7)),
            ("11", "11", None),
        ] {
            assert_eq!(overlap(completed, failed, 10), expected, "{completed:?} and {failed:?}");
        }
    }
}
