//! Reading JSON text without decoding it: where values begin and end, and where `metadata.managedFields` stands.
//!
//! In: text that is known to be JSON, because a decoder has read it or an encoder has written it; other text is answered with nothing, never
//! with a panic. Out: slices of it. Managed fields are half of many an object and seldom change: they travel as text beside it.

use std::borrow::Cow;

/// A place in a JSON text.
#[derive(Clone, Copy, Debug)]
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// At the beginning of a text.
    pub fn new(text: &'a str) -> Self {
        Cursor { text, at: 0 }
    }

    /// The first byte of what comes next.
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Passes this byte, if it comes next.
    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Passes a string; gives what stands between its quotes, escapes and all.
    fn string(&mut self) -> Option<&'a str> {
        if !self.eat(b'"') {
            return None;
        }
        let bytes = self.text.as_bytes();
        let begin = self.at;
        loop {
            match bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        self.text.get(begin..self.at - 1)
    }

    /// Passes a value of any kind; gives its text.
    pub fn value(&mut self) -> Option<&'a str> {
        let first = self.peek()?;
        let begin = self.at;
        match first {
            b'"' => {
                self.string()?;
            }
            b'{' | b'[' => {
                let bytes = self.text.as_bytes();
                let mut depth = 0_usize;
                loop {
                    match bytes.get(self.at)? {
                        b'"' => {
                            self.string()?;
                            continue;
                        }
                        b'{' | b'[' => depth += 1,
                        b'}' | b']' => depth = depth.checked_sub(1)?,
                        _ => {}
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            _ => {
                let rest = &self.text.as_bytes()[begin..];
                let ends = |it: &u8| matches!(it, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r');
                self.at = begin + rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        self.text.get(begin..self.at).filter(|it| !it.is_empty())
    }

    /// Passes the bracket that opens an object or a list, and what of it stands before the first part. Gives whether there is a part.
    pub fn open(&mut self, open: u8, close: u8) -> Option<bool> {
        if !self.eat(open) {
            return None;
        }
        Some(!self.eat(close))
    }

    /// Passes what stands between two parts. Gives whether another comes.
    pub fn next(&mut self, close: u8) -> Option<bool> {
        if self.eat(b',') {
            return Some(true);
        }
        self.eat(close).then_some(false)
    }

    /// Passes a field's name and the colon. A name without escapes is borrowed, one with escapes is decoded and owned.
    pub fn name(&mut self) -> Option<Cow<'a, str>> {
        let raw = self.string()?;
        if !self.eat(b':') {
            return None;
        }
        unescaped(raw)
    }
}

/// What a string with these characters between its quotes says.
fn unescaped(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('\\') {
        return Some(Cow::Borrowed(raw));
    }
    serde_json::from_str::<String>(&format!("\"{raw}\"")).ok().map(Cow::Owned)
}

/// Writes a string's characters as they stand between its quotes.
#[allow(clippy::ptr_arg)] // Whether it is borrowed says whether it needs escaping.
pub fn escape(text: &Cow<'_, str>, out: &mut String) {
    match text {
        // It stood between quotes already.
        Cow::Borrowed(text) => out.push_str(text),
        Cow::Owned(text) => {
            let quoted = serde_json::to_string(text).unwrap_or_default();
            out.push_str(quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default());
        }
    }
}

/// Where something stands in an object's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// The first byte of the field's name and the byte after its value.
    field: Option<(usize, usize)>,
    /// The first byte of its value.
    value: usize,
    /// Before which byte the field belongs if it is not there.
    before: usize,
    /// Whether there is a field before that one, and one after.
    follows: bool,
    precedes: bool,
}

/// Finds `metadata.managedFields`, or the place for it: fields stand in the order of their names.
fn find(text: &str) -> Option<Place> {
    let mut cursor = Cursor::new(text);
    let mut more = cursor.open(b'{', b'}')?;
    while more {
        if cursor.name()? == "metadata" {
            return find_in(&mut cursor);
        }
        cursor.value()?;
        more = cursor.next(b'}')?;
    }
    None
}

fn find_in(cursor: &mut Cursor<'_>) -> Option<Place> {
    let mut more = cursor.open(b'{', b'}')?;
    let mut place =
        Place { field: None, value: 0, before: cursor.at - usize::from(!more), follows: false, precedes: false };
    let mut settled = false;
    let mut any = false;
    while more {
        cursor.peek()?;
        let begin = cursor.at;
        let name = cursor.name()?;
        if name == "managedFields" {
            cursor.peek()?;
            place.value = cursor.at;
            cursor.value()?;
            place.field = Some((begin, cursor.at));
            (place.before, place.follows) = (begin, any);
            place.precedes = cursor.next(b'}')?;
            return Some(place);
        }
        if !settled && *name > *"managedFields" {
            (place.before, place.follows, place.precedes, settled) = (begin, any, true, true);
        }
        any = true;
        cursor.value()?;
        let end = cursor.at;
        more = cursor.next(b'}')?;
        if !more && !settled {
            (place.before, place.follows) = (end, true);
        }
    }
    Some(place)
}

/// An object's text without its managed fields, and theirs. None: it has none, or is no object.
pub fn split(text: &str) -> Option<(String, &str)> {
    let place = find(text)?;
    let (mut begin, mut end) = place.field?;
    let value = text.get(place.value..end)?;
    // One of the commas around it goes with it.
    if place.precedes {
        end += text[end..].find(',')? + 1;
    } else if place.follows {
        begin = text[..begin].rfind(',')?;
    }
    let mut bare = String::with_capacity(text.len() - (end - begin));
    bare.push_str(&text[..begin]);
    bare.push_str(&text[end..]);
    Some((bare, value))
}

/// An object's text with these managed fields in their place. An object without metadata stays as it is.
pub fn join(bare: &str, managed: &str) -> String {
    let Some(place) = find(bare).filter(|it| it.field.is_none()) else { return bare.to_owned() };
    let mut out = String::with_capacity(bare.len() + managed.len() + 20);
    out.push_str(&bare[..place.before]);
    if place.follows && !place.precedes {
        out.push(',');
    }
    out.push_str("\"managedFields\":");
    out.push_str(managed);
    if place.precedes {
        out.push(',');
    }
    out.push_str(&bare[place.before..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(whole: &str, bare: &str, managed: &str) {
        assert_eq!(split(whole), Some((bare.to_owned(), managed)), "{whole}");
        assert_eq!(join(bare, managed), whole, "{bare}");
    }

    #[test]
    fn managed_fields_are_taken_out_and_put_back() {
        check(
            r#"{"kind":"A","metadata":{"labels":{"a":"}"},"managedFields":[{"a":"]"}],"name":"x"},"spec":{}}"#,
            r#"{"kind":"A","metadata":{"labels":{"a":"}"},"name":"x"},"spec":{}}"#,
            r#"[{"a":"]"}]"#,
        );
        check(r#"{"metadata":{"managedFields":[],"name":"x"}}"#, r#"{"metadata":{"name":"x"}}"#, "[]");
        check(r#"{"metadata":{"labels":{},"managedFields":[]}}"#, r#"{"metadata":{"labels":{}}}"#, "[]");
        check(r#"{"metadata":{"managedFields":[]}}"#, r#"{"metadata":{}}"#, "[]");
        assert_eq!(split(r#"{"metadata":{"name":"managedFields"},"managedFields":[]}"#), None);
        let spaced = "{ \"metadata\" : { \"name\" : \"x\" ,\n \"managedFields\" : null } }";
        let (bare, managed) = split(spaced).unwrap();
        assert_eq!(managed, "null");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&bare).unwrap()["metadata"]["name"], "x");
    }

    #[test]
    fn what_is_no_object_has_none() {
        for text in ["", "{", "[]", "{\"metadata\":", "{\"metadata\":{\"a\\", "{\"metadata\":3}", "nul", "{\"a\":]}"] {
            assert_eq!(split(text), None, "{text}");
            assert_eq!(join(text, "[]"), text);
        }
    }

    #[test]
    fn names_are_read_and_written() {
        let mut cursor = Cursor::new(r#""a\"b":1"#);
        let name = cursor.name().unwrap();
        assert_eq!(name, "a\"b");
        let mut out = String::new();
        escape(&name, &mut out);
        assert_eq!(out, "a\\\"b");
        assert_eq!(cursor.value(), Some("1"));
    }
}
