//! Field selectors: `metadata.name=web,status.phase!=Running`.
//!
//! In: the text of a query parameter. Out: requirements on field paths; which paths a kind knows is checked by the caller.
//! `\`, `,` and `=` within a value are escaped by a backslash. Source: `k8s.io/apimachinery/pkg/fields`.

use std::fmt;

use crate::name;
use crate::status::{self, Status};

/// The longest text of a field selector, as of a label selector: URLs are not longer.
pub const TEXT_LIMIT_BYTES: usize = 64 * 1024;
/// How many requirements a field selector may have; matching costs time for each.
pub const TERMS_LIMIT: usize = 10_000;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    Eq,
    NotEq,
}

/// One condition on one field.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    pub path: String,
    pub op: Op,
    pub value: String,
}

impl Requirement {
    /// Whether a field of this value fulfils it.
    pub fn matches(&self, value: &str) -> bool {
        (self.value == value) == (self.op == Op::Eq)
    }
}

/// Conditions on fields, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    requirements: Box<[Requirement]>,
}

impl Selector {
    /// Reads the text of a `fieldSelector` parameter.
    ///
    /// # Errors
    /// `BadRequest` with Kubernetes' words where the text is no selector, too long or of too many terms.
    pub fn parse(text: &str) -> status::Result<Self> {
        if text.len() > TEXT_LIMIT_BYTES {
            let why = name::too_long(TEXT_LIMIT_BYTES);
            return Err(Status::bad_request(format!("the field selector is too long: {why}")));
        }
        let mut terms = terms(text);
        if terms.len() > TERMS_LIMIT {
            return Err(Status::bad_request(format!("the field selector must have at most {TERMS_LIMIT} terms")));
        }
        terms.sort_unstable();
        let mut requirements = Vec::new();
        for term in terms.into_iter().filter(|it| !it.is_empty()) {
            let Some((path, op, value)) = split(term) else {
                return Err(Status::bad_request(format!("invalid selector: '{text}'; can't understand '{term}'")));
            };
            requirements.push(Requirement { path: path.to_owned(), op, value: unescape(value)? });
        }
        Ok(Selector { requirements: requirements.into() })
    }

    /// Its conditions.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether it matches everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether an object is selected whose fields `field` tells; a field it does not know counts as empty.
    pub fn matches<'a>(&self, field: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|it| it.matches(field(&it.path).unwrap_or_default()))
    }

    /// The value that every match has at `path`, where a condition demands one.
    pub fn required(&self, path: &str) -> Option<&str> {
        self.requirements.iter().find(|it| it.op == Op::Eq && it.path == path).map(|it| it.value.as_str())
    }
}

/// The parts between commas that no backslash precedes.
fn terms(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b',' => {
                out.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    out.push(&text[start..]);
    out
}

/// Path, sign and value: the first sign counts.
fn split(term: &str) -> Option<(&str, Op, &str)> {
    for (at, _) in term.char_indices() {
        for (sign, op) in [("!=", Op::NotEq), ("==", Op::Eq), ("=", Op::Eq)] {
            if let Some(value) = term[at..].strip_prefix(sign) {
                return Some((&term[..at], op, value));
            }
        }
    }
    None
}

fn unescape(value: &str) -> status::Result<String> {
    let mut out = String::with_capacity(value.len());
    let mut letters = value.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some(it @ ('\\' | ',' | '=')) => out.push(it),
                other => {
                    let sequence: String = other.into_iter().collect();
                    return Err(Status::bad_request(format!(
                        "invalid field selector: invalid escape sequence: \\{sequence}"
                    )));
                }
            },
            // Kubernetes prints the character's number.
            ',' | '=' => {
                return Err(Status::bad_request(format!(
                    "invalid field selector: unescaped character in value: {}",
                    u32::from(letter)
                )));
            }
            _ => out.push(letter),
        }
    }
    Ok(out)
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Requirement { path, op, value }) in self.requirements.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let sign = if *op == Op::Eq { "=" } else { "!=" };
            let value = value.replace('\\', "\\\\").replace(',', "\\,").replace('=', "\\=");
            write!(f, "{comma}{path}{sign}{value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let got = Selector::parse(text).map(|it| it.to_string()).map_err(|it| it.message);
        assert_eq!(got.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn reads_and_prints() {
        check("", Ok(""));
        check("b!=2,a==1", Ok("a=1,b!=2"));
        check("a=,", Ok("a="));
        check(r"a=x\,y\=z\\", Ok(r"a=x\,y\=z\\"));
        check("nonsense", Err("invalid selector: 'nonsense'; can't understand 'nonsense'"));
        check(r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x"));
        check("a=b=c", Err("invalid field selector: unescaped character in value: 61"));
    }

    #[test]
    fn matches_fields() {
        let selector = Selector::parse("spec.nodeName=n1,status.phase!=Running").unwrap();
        let of = |phase: &'static str| move |path: &str| Some(if path == "spec.nodeName" { "n1" } else { phase });
        assert!(selector.matches(of("Pending")));
        assert!(!selector.matches(of("Running")));
        assert_eq!(selector.required("spec.nodeName"), Some("n1"));
        assert_eq!(selector.required("status.phase"), None);
    }

    proptest! {
        #[test]
        fn printed_selectors_read_back(parts in prop::collection::vec(("[a-z.]{1,5}", any::<bool>(), r"[a-z,=\\!]{0,5}"), 0..4)) {
            let mut requirements: Vec<Requirement> = parts
                .into_iter()
                .map(|(path, equal, value)| Requirement { path, op: if equal { Op::Eq } else { Op::NotEq }, value })
                .collect();
            let printed = Selector { requirements: requirements.clone().into() }.to_string();
            let mut read = Selector::parse(&printed).unwrap().requirements.to_vec();
            let order = |it: &Requirement| format!("{it:?}");
            requirements.sort_by_key(order);
            read.sort_by_key(order);
            prop_assert_eq!(read, requirements);
        }
    }
}
