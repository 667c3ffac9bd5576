//! Regular expressions as Go has them, on the `regex` crate, whose running time is linear in the text too.
//!
//! In: a pattern in Go's syntax. Out: whether a text matches. A pattern is compiled when a text first meets it, and equal patterns share
//! one automaton: compiled ones take some ten kilobytes, and most of those in a cluster's schemas are never used.
//! Differences that are bridged: Go's `\d`, `\w`, `\s` and `\b` know ASCII only, a `[` or `&&` in a class stands for itself, and so does a
//! `{` that begins no repetition.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, OnceLock, Weak};

use regex::{Regex, RegexBuilder};

/// The most that one automaton may take: patterns of hand-written schemas stay below a tenth of it.
const SIZE_LIMIT_BYTES: usize = 1 << 20;
/// What matching may use beside it, per thread.
const CACHE_LIMIT_BYTES: usize = 1 << 18;
/// How deep groups may be nested; Go refuses beyond 1000, our stack is smaller.
const NESTING_LIMIT: u32 = 200;
/// The longest pattern looked at.
const TEXT_LIMIT_BYTES: usize = 64 << 10;
/// How many patterns the table of shared automatons holds before it is swept.
const SWEEP_AT: usize = 256;

/// A pattern of a schema.
#[derive(Debug)]
pub struct Pattern {
    text: Box<str>,
    compiled: OnceLock<Option<Arc<Regex>>>,
}

impl Pattern {
    /// Takes a pattern as it is; one that does not compile matches nothing.
    pub fn new(text: &str) -> Self {
        Pattern { text: text.into(), compiled: OnceLock::new() }
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is found anywhere in the text.
    pub fn is_match(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| shared(&self.text).ok());
        compiled.as_ref().is_some_and(|it| it.is_match(text))
    }
}

/// Compiles a pattern of Go's syntax.
///
/// # Errors
/// Why it cannot be compiled, in words.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > TEXT_LIMIT_BYTES {
        return Err("error parsing regexp: expression too large".to_owned());
    }
    RegexBuilder::new(&translated(pattern))
        .octal(true)
        .size_limit(SIZE_LIMIT_BYTES)
        .dfa_size_limit(CACHE_LIMIT_BYTES)
        .nest_limit(NESTING_LIMIT)
        .build()
        .map_err(|error| complaint(pattern, &error))
}

/// Compiles a pattern, or finds it among those that are in use already.
///
/// # Errors
/// As [`compile`].
pub fn shared(pattern: &str) -> Result<Arc<Regex>, String> {
    static USED: LazyLock<std::sync::Mutex<HashMap<Box<str>, Weak<Regex>>>> = LazyLock::new(std::sync::Mutex::default);
    let find = |used: &HashMap<Box<str>, Weak<Regex>>| used.get(pattern).and_then(Weak::upgrade);
    let lock = || USED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(found) = find(&lock()) {
        return Ok(found);
    }
    let compiled = Arc::new(compile(pattern)?);
    let mut used = lock();
    if used.len() >= SWEEP_AT {
        used.retain(|_, it| it.strong_count() > 0);
    }
    used.insert(pattern.into(), Arc::downgrade(&compiled));
    Ok(compiled)
}

/// Go's words for the commonest mistakes.
fn complaint(pattern: &str, error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    let reason = last.strip_prefix("error: ").unwrap_or(last);
    let words = match reason {
        "unclosed group" => format!("missing closing ): `{pattern}`"),
        "unopened group" => format!("unexpected ): `{pattern}`"),
        "unclosed character class" => match pattern.find('[') {
            Some(at) => format!("missing closing ]: `{}`", &pattern[at..]),
            None => format!("missing closing ]: `{pattern}`"),
        },
        "repetition operator missing expression" => {
            let operator: String = pattern.chars().find(|it| "*+?".contains(*it)).into_iter().collect();
            format!("missing argument to repetition operator: `{operator}`")
        }
        "look-around, including look-ahead and look-behind, is not supported" => {
            let at = pattern.find("(?").unwrap_or_default();
            let shown: String = pattern[at..].chars().take(3).collect();
            format!("invalid or unsupported Perl syntax: `{shown}`")
        }
        _ if matches!(error, regex::Error::CompiledTooBig(_)) => "expression too large".to_owned(),
        _ => format!("{reason}: `{pattern}`"),
    };
    format!("error parsing regexp: {words}")
}

/// A pattern of Go's syntax in that of the `regex` crate.
fn translated(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern;
    let mut in_class = false;
    while let Some(next) = rest.chars().next() {
        let after = &rest[next.len_utf8()..];
        rest = match next {
            '\\' => escape(after, in_class, &mut out),
            '[' if !in_class => {
                in_class = true;
                // A `]` right behind the beginning stands for itself, as in Rust.
                let negation = if after.starts_with('^') { "^" } else { "" };
                out.push('[');
                out.push_str(negation);
                match after[negation.len()..].strip_prefix(']') {
                    Some(after) => {
                        out.push_str("\\]");
                        after
                    }
                    None => &after[negation.len()..],
                }
            }
            '[' if after.starts_with(':') => match after.find(":]") {
                Some(end) => {
                    out.push('[');
                    out.push_str(&after[..end + 2]);
                    &after[end + 2..]
                }
                None => {
                    out.push_str("\\[");
                    after
                }
            },
            ']' if in_class => {
                in_class = false;
                out.push(']');
                after
            }
            '[' | '&' | '~' if in_class => {
                out.push('\\');
                out.push(next);
                after
            }
            '-' if in_class && after.starts_with('-') => {
                out.push_str("-\\-");
                &after[1..]
            }
            '{' if !in_class && !is_repetition(after) => {
                out.push_str("\\{");
                after
            }
            _ => {
                out.push(next);
                after
            }
        };
    }
    out
}

/// Translates what follows a backslash; the rest behind it.
fn escape<'a>(after: &'a str, in_class: bool, out: &mut String) -> &'a str {
    let Some(next) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let rest = &after[next.len_utf8()..];
    let class = match next {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\f\\r ",
        'D' => "^0-9",
        'W' => "^0-9A-Za-z_",
        'S' => "^\\t\\n\\f\\r ",
        'Q' if !in_class => {
            let (quoted, rest) = rest.split_once("\\E").unwrap_or((rest, ""));
            out.push_str(&regex::escape(quoted));
            return rest;
        }
        'b' | 'B' if !in_class => {
            out.push_str(if next == 'b' { "(?-u:\\b)" } else { "(?-u:\\B)" });
            return rest;
        }
        _ => {
            out.push('\\');
            out.push(next);
            return rest;
        }
    };
    // Within a class only a negated one has to stand as a class of its own.
    if in_class && !class.starts_with('^') {
        out.push_str(class);
    } else {
        out.push('[');
        out.push_str(class);
        out.push(']');
    }
    rest
}

/// Whether what follows a `{` makes it a repetition: `3}`, `3,}`, `3,5}`.
fn is_repetition(after: &str) -> bool {
    let Some((inner, _)) = after.split_once('}') else { return false };
    let (least, most) = inner.split_once(',').unwrap_or((inner, ""));
    let digits = |it: &str| it.bytes().all(|it| it.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, expected: bool) {
        let found = compile(pattern).unwrap_or_else(|why| panic!("{pattern}: {why}")).is_match(text);
        assert_eq!(found, expected, "{pattern} on {text:?}");
    }

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        check(r"^\d+$", "12", true);
        check(r"^\d+$", "١٢", false);
        check(r"^[\d-]+$", "1-2", true);
        check(r"^[\w&&]+$", "a&", true);
        check(r"^[[a]$", "[", true);
        check(r"^[[:alpha:]]+$", "ab", true);
        check(r"^[]a]+$", "]a", true);
        check(r"^[+--]$", ",", true);
        check(r"^[^\S]$", " ", true);
        check(r"^${$", "", false);
        check(r"^a{b}$", "a{b}", true);
        check(r"^a{2,3}$", "aa", true);
        check(r"^\Qa.b\E$", "a.b", true);
        check(r"^\Qa.b\E$", "axb", false);
        check(r"\bfoo\b", "a foo", true);
        check(r"^\101$", "A", true);
        check(r"^\/$", "/", true);
        check(r"(?i)^abc$", "ABC", true);
    }

    #[test]
    fn patterns_that_go_refuses_are_refused_in_its_words() {
        let check = |pattern: &str, expected: &str| assert_eq!(compile(pattern).unwrap_err(), expected, "{pattern}");
        check("(", "error parsing regexp: missing closing ): `(`");
        check("a)", "error parsing regexp: unexpected ): `a)`");
        check("[a", "error parsing regexp: missing closing ]: `[a`");
        check("*a", "error parsing regexp: missing argument to repetition operator: `*`");
        check("(?=a)", "error parsing regexp: invalid or unsupported Perl syntax: `(?=`");
        check("((a{1000}){1000}){1000}", "error parsing regexp: expression too large");
        assert!(compile(&"(".repeat(100_000)).is_err());
        assert!(compile(&format!("{}a{}", "(".repeat(5000), ")".repeat(5000))).is_err());
    }

    #[test]
    fn equal_patterns_share_an_automaton() {
        let (one, other) = (shared("^shared-[a-z]+$").unwrap(), shared("^shared-[a-z]+$").unwrap());
        assert!(Arc::ptr_eq(&one, &other));
    }

    #[test]
    fn a_hostile_pattern_takes_linear_time() {
        let pattern = Pattern::new("^(a+)+$");
        let text = "a".repeat(1 << 20) + "b";
        let begun = std::time::Instant::now();
        assert!(!pattern.is_match(&text));
        assert!(begun.elapsed().as_secs() < 5);
    }
}
