//! What Rust prints of a value with `{:?}`, read back: the only way to see the names of another's fields.
//!
//! In: the text of a message of prost's. Out: its fields with their names, and which of them are not set.

use std::collections::BTreeMap;

use super::filled::{Leaf, Token, plain};

/// A printed value. `Some` is what it holds.
#[derive(Debug)]
pub enum Tree {
    Struct(String, Vec<(String, Tree)>),
    Map(Vec<(String, Tree)>),
    List(Vec<Tree>),
    Leaf(Token),
    None,
}

impl Tree {
    /// Reads it.
    pub fn parse(text: &str) -> Tree {
        let mut parser = Parser { rest: text };
        let tree = parser.value();
        assert!(parser.rest.trim().is_empty(), "left over: {:.100}", parser.rest);
        tree
    }

    /// All values that are set, and where.
    pub fn leaves(&self) -> Vec<Leaf> {
        let mut out = Vec::new();
        self.collect(&mut Vec::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut Vec<String>, out: &mut Vec<Leaf>) {
        match self {
            Tree::None => {}
            Tree::Leaf(token) => out.push(Leaf { path: path.clone(), token: token.clone() }),
            Tree::Struct(_, fields) | Tree::Map(fields) => {
                for (name, value) in fields {
                    path.push(plain(name));
                    value.collect(path, out);
                    path.pop();
                }
            }
            Tree::List(items) => {
                if let Some(bytes) = bytes_of(items) {
                    out.push(Leaf { path: path.clone(), token: Token::Bytes(bytes) });
                    return;
                }
                for (at, item) in items.iter().enumerate() {
                    path.push(at.to_string());
                    item.collect(path, out);
                    path.pop();
                }
            }
        }
    }

    /// Notes of every field of every type whether it was seen set.
    pub fn note_fields(&self, out: &mut BTreeMap<String, bool>) {
        match self {
            Tree::Leaf(_) | Tree::None => {}
            Tree::List(items) => items.iter().for_each(|it| it.note_fields(out)),
            Tree::Map(entries) => entries.iter().for_each(|(_, it)| it.note_fields(out)),
            Tree::Struct(of, fields) => {
                for (name, value) in fields {
                    let is_set = match value {
                        Tree::None => false,
                        Tree::List(items) => !items.is_empty(),
                        Tree::Map(entries) => !entries.is_empty(),
                        Tree::Leaf(_) | Tree::Struct(..) => true,
                    };
                    *out.entry(format!("{of}.{name}")).or_default() |= is_set;
                    value.note_fields(out);
                }
            }
        }
    }
}

/// A list of bytes: no other numbers are as small.
fn bytes_of(items: &[Tree]) -> Option<Vec<u8>> {
    let byte = |it: &Tree| if let Tree::Leaf(Token::Number(it)) = it { u8::try_from(*it).ok() } else { None };
    if items.is_empty() { None } else { items.iter().map(byte).collect() }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', ',', '\n']);
    }

    fn takes(&mut self, word: &str) -> bool {
        self.skip();
        let Some(rest) = self.rest.strip_prefix(word) else { return false };
        self.rest = rest;
        true
    }

    fn word(&mut self, of: impl Fn(char) -> bool) -> String {
        self.skip();
        let end = self.rest.find(|it| !of(it)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn quoted(&mut self) -> Option<String> {
        if !self.takes("\"") {
            return None;
        }
        // What was filled in needs no escapes.
        let (text, rest) = self.rest.split_once('"').expect("a text ends");
        self.rest = rest;
        Some(text.to_owned())
    }

    fn value(&mut self) -> Tree {
        if let Some(text) = self.quoted() {
            return Tree::Leaf(Token::Text(text));
        }
        if self.takes("[") {
            let mut items = Vec::new();
            while !self.takes("]") {
                items.push(self.value());
            }
            return Tree::List(items);
        }
        if self.takes("{") {
            let mut entries = Vec::new();
            while !self.takes("}") {
                let key = self.quoted().expect("maps have texts as keys");
                assert!(self.takes(":"));
                entries.push((key, self.value()));
            }
            return Tree::Map(entries);
        }
        let word = self.word(|it| it.is_ascii_alphanumeric() || "_#.-".contains(it));
        match word.as_str() {
            "None" => return Tree::None,
            "true" => return Tree::Leaf(Token::Truth(true)),
            "false" => return Tree::Leaf(Token::Truth(false)),
            "Some" => {
                assert!(self.takes("("));
                let inner = self.value();
                assert!(self.takes(")"));
                return inner;
            }
            _ => {}
        }
        if let Ok(number) = word.parse::<i64>() {
            return Tree::Leaf(Token::Number(number));
        }
        if let Ok(number) = word.parse::<f64>() {
            return Tree::Leaf(Token::Double(number.to_bits()));
        }
        let mut fields = Vec::new();
        if self.takes("{") {
            while !self.takes("}") {
                let name = self.word(|it| it.is_ascii_alphanumeric() || "_#".contains(it));
                assert!(self.takes(":"), "no field: {:.100}", self.rest);
                fields.push((name, self.value()));
            }
        }
        Tree::Struct(word, fields)
    }
}
