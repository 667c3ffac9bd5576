//! Fields that stand twice in one object of a JSON text, of which decoders keep the last in silence.
//!
//! In: text that a decoder has read without complaint; other text is looked at as far as it goes. Out: the places of the second ones. Nothing is
//! decoded or copied on the way of a text that has none: every write of every client passes here.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write as _;

use smallvec::SmallVec;

use super::{NAMED_FIELDS_LIMIT, unknown_field};
use crate::managed::text::Cursor;

/// How deep a text may be nested: as deep as the decoder goes.
const DEPTH_LIMIT: usize = 128;

/// Up to so many names of one object are compared with each other; more are hashed.
const COMPARED_NAMES_MAX: usize = 16;

/// The fields that stand twice in one object, in the order of their second appearance, as Kubernetes' decoder tells of them.
pub fn duplicates(json: &[u8]) -> Vec<String> {
    problems(json, &[])
}

/// Beside them the fields of which the typed decoder has found that nobody knows them, by their places; all in the order of the text. What is
/// unknown is told once, and nothing of what stands in it.
pub(super) fn problems(json: &[u8], unknown: &[String]) -> Vec<String> {
    let mut search = Search { unknown, found: Vec::new() };
    if let Ok(text) = std::str::from_utf8(json) {
        let _ = walk(&mut Cursor::new(text), &Trail { above: None, step: Step::Name("") }, 0, &mut search);
    }
    search.found
}

/// What is looked for, and what was found of it.
struct Search<'u> {
    unknown: &'u [String],
    found: Vec<String>,
}

/// The way to a value, written out only where there is something to tell.
struct Trail<'t> {
    above: Option<&'t Trail<'t>>,
    step: Step<'t>,
}

enum Step<'t> {
    Name(&'t str),
    Index(usize),
}

impl Trail<'_> {
    fn path(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        let Some(above) = self.above else { return };
        above.write(out);
        match self.step {
            Step::Name(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Index(at) => {
                let _ = write!(out, "[{at}]");
            }
        }
    }
}

fn duplicate_field(path: &str) -> String {
    format!("duplicate field \"{path}\"")
}

/// The names that an object has shown so far.
#[derive(Default)]
struct Names<'a> {
    few: SmallVec<[Cow<'a, str>; COMPARED_NAMES_MAX]>,
    many: HashSet<Cow<'a, str>>,
}

impl<'a> Names<'a> {
    /// Adds a name; false if it was there.
    fn insert(&mut self, name: Cow<'a, str>) -> bool {
        if !self.many.is_empty() {
            return self.many.insert(name);
        }
        if self.few.contains(&name) {
            return false;
        }
        if self.few.len() == COMPARED_NAMES_MAX {
            self.many.extend(self.few.drain(..));
            return self.many.insert(name);
        }
        self.few.push(name);
        true
    }
}

/// Looks through a value; none where the text is no JSON.
fn walk<'a>(cursor: &mut Cursor<'a>, trail: &Trail<'_>, depth: usize, search: &mut Search<'_>) -> Option<()> {
    if depth == DEPTH_LIMIT {
        return None;
    }
    match cursor.peek()? {
        b'{' => {
            let mut names = Names::default();
            let mut more = cursor.open(b'{', b'}')?;
            while more {
                let name = cursor.name()?;
                let below = Trail { above: Some(trail), step: Step::Name(&name) };
                let is_new = names.insert(name.clone());
                let path = (!is_new || !search.unknown.is_empty()).then(|| below.path());
                let is_unknown = path.as_ref().is_some_and(|it| search.unknown.contains(it));
                if let Some(path) = path.filter(|_| is_new == is_unknown && search.found.len() < NAMED_FIELDS_LIMIT) {
                    search.found.push(if is_unknown { unknown_field(&path) } else { duplicate_field(&path) });
                }
                if is_unknown {
                    cursor.value()?;
                } else {
                    walk(cursor, &below, depth + 1, search)?;
                }
                more = cursor.next(b'}')?;
            }
        }
        b'[' => {
            let mut more = cursor.open(b'[', b']')?;
            let mut index = 0;
            while more {
                walk(cursor, &Trail { above: Some(trail), step: Step::Index(index) }, depth + 1, search)?;
                index += 1;
                more = cursor.next(b']')?;
            }
        }
        _ => {
            cursor.value()?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &[&str]) {
        let expected: Vec<_> = expected.iter().map(|it| format!("duplicate field \"{it}\"")).collect();
        assert_eq!(duplicates(json.as_bytes()), expected, "{json}");
    }

    #[test]
    fn fields_that_stand_twice_are_told_with_their_places() {
        check(r#"{"a":{"b":1,"c":[{"b":1},{"b":1}]},"d":{"b":1}}"#, &[]);
        check(r#"{"a":1,"b":{"a":1,"a":2,"a":3},"a":[{"x":"{\"}","x":null}]}"#, &["b.a", "b.a", "a", "a[0].x"]);
        check(r#"{ "a" : [ [ { "b" : true , "\u0062" : 1e3 } ] ] }"#, &["a[0][0].b"]);
    }

    #[test]
    fn of_many_names_the_second_is_found() {
        let fields: Vec<_> = (0..COMPARED_NAMES_MAX + 5).chain([3, COMPARED_NAMES_MAX + 2]).collect();
        let fields: Vec<_> = fields.iter().map(|it| format!("\"f{it}\":{it}")).collect();
        check(&format!("{{{}}}", fields.join(",")), &["f3", "f18"]);
        let many = format!("{{{}}}", ["\"a\":1"; 1000].join(","));
        assert_eq!(duplicates(many.as_bytes()).len(), NAMED_FIELDS_LIMIT);
    }

    #[test]
    fn what_breaks_off_or_goes_deep_ends_there() {
        check(r#"{"a":1,"a":2,"b":{"c""#, &["a"]);
        check(&"[".repeat(1_000_000), &[]);
        check("", &[]);
    }
}
