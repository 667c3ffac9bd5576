//! What a command should print, written as a person would: exact lines, with `*` for what differs from run to run.
//!
//! In: the expected and the real text. Out: nothing, or an error that shows both. Runs of blanks count as one, since the width of a column
//! depends on the longest name in it. `*` stands for any characters of one line, a line of `...` for any lines.

use anyhow::{Result, bail};

/// Checks that `text` is what `expected` says.
///
/// # Errors
/// When it is not.
pub fn check(expected: &str, text: &str) -> Result<()> {
    let (wanted, found) = (lines(expected), lines(text));
    if all_match(&wanted, &found) {
        return Ok(());
    }
    bail!("expected:\n{}\nfound:\n{}", indent(&wanted), indent(&found))
}

/// Whether one line is what a pattern says.
pub fn line_matches(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = line.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    true
}

fn lines(text: &str) -> Vec<String> {
    let squeezed = text.lines().map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "));
    squeezed.filter(|it| !it.is_empty()).collect()
}

fn all_match(wanted: &[String], found: &[String]) -> bool {
    match wanted.split_first() {
        None => found.is_empty(),
        Some((any, rest)) if any == "..." => (0..=found.len()).any(|skip| all_match(rest, &found[skip..])),
        Some((first, rest)) => {
            found.split_first().is_some_and(|(line, more)| line_matches(first, line) && all_match(rest, more))
        }
    }
}

fn indent(lines: &[String]) -> String {
    lines.iter().map(|it| format!("    {it}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_exact_but_for_what_differs() {
        for (expected, text, good) in [
            ("a b", "a   b\n", true),
            ("a b", "a b\nc", false),
            ("web-* 1/1 *", "web-5d9-x 1/1 Running 3s", true),
            ("web-* 1/1", "web-5d9-x 1/1 Running", false),
            ("*", "", false),
            ("a\n...\nd", "a\nb\nc\nd", true),
            ("a\n...\nd", "a\nd", true),
            ("a\n...", "b\nc", false),
            ("a*b", "ab", true),
        ] {
            assert_eq!(check(expected, text).is_ok(), good, "{expected:?} {text:?}");
        }
    }
}
