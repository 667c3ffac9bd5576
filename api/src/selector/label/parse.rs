//! The text of label selectors: tokens and grammar of `k8s.io/apimachinery/pkg/labels`, one token of look-ahead.

use super::{Operator, Requirement, Selector, TERMS_LIMIT, TEXT_LIMIT_BYTES};
use crate::name;
use crate::status::{self, Status};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    End,
    Identifier,
    In,
    NotIn,
    Not,
    Equals,
    DoubleEquals,
    NotEquals,
    Greater,
    Less,
    Open,
    Close,
    Comma,
}

/// Reads a selector.
pub fn selector(text: &str) -> status::Result<Selector> {
    if text.len() > TEXT_LIMIT_BYTES {
        return Err(Status::bad_request(format!("the selector is too long: {}", name::too_long(TEXT_LIMIT_BYTES))));
    }
    let mut parser = Parser { rest: text };
    let mut requirements = Vec::new();
    loop {
        match parser.peek_value() {
            (Token::Identifier | Token::Not, _) => {
                let requirement = parser
                    .requirement()
                    .map_err(|error| Status::bad_request(format!("unable to parse requirement: {}", error.message)))?;
                requirements.push(requirement);
                match parser.take_value() {
                    (Token::End, _) => return Selector::of(requirements),
                    (Token::Comma, _) => match parser.peek_value() {
                        (Token::Identifier | Token::Not, _) => {}
                        (_, found) => return Err(expected(found, "identifier after ','")),
                    },
                    (_, found) => return Err(expected(found, "',' or 'end of string'")),
                }
            }
            (Token::End, _) => return Selector::of(requirements),
            (_, found) => return Err(expected(found, "!, identifier, or 'end of string'")),
        }
    }
}

fn expected(found: &str, what: &str) -> Status {
    Status::bad_request(format!("found '{found}', expected: {what}"))
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    /// The next token and the text after it.
    fn scan(&self) -> (Token, &'a str, &'a str) {
        let rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        let symbol = |token, length: usize| (token, &rest[..length], &rest[length..]);
        match rest.as_bytes() {
            [] => (Token::End, "", ""),
            [b'=', b'=', ..] => symbol(Token::DoubleEquals, 2),
            [b'!', b'=', ..] => symbol(Token::NotEquals, 2),
            [b'=', ..] => symbol(Token::Equals, 1),
            [b'!', ..] => symbol(Token::Not, 1),
            [b'>', ..] => symbol(Token::Greater, 1),
            [b'<', ..] => symbol(Token::Less, 1),
            [b'(', ..] => symbol(Token::Open, 1),
            [b')', ..] => symbol(Token::Close, 1),
            [b',', ..] => symbol(Token::Comma, 1),
            _ => {
                let ends = |it: char| " \t\r\n=!(),<>".contains(it);
                let (word, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
                let token = match word {
                    "in" => Token::In,
                    "notin" => Token::NotIn,
                    _ => Token::Identifier,
                };
                (token, word, after)
            }
        }
    }

    /// The next token, taken, where an operator may stand.
    fn take(&mut self) -> (Token, &'a str) {
        let (token, text, after) = self.scan();
        self.rest = after;
        (token, text)
    }

    /// The next token where a key or value is read: `in` and `notin` are words there.
    fn peek_value(&self) -> (Token, &'a str) {
        match self.scan() {
            (Token::In | Token::NotIn, text, _) => (Token::Identifier, text),
            (token, text, _) => (token, text),
        }
    }

    fn take_value(&mut self) -> (Token, &'a str) {
        let found = self.peek_value();
        self.take();
        found
    }

    fn requirement(&mut self) -> status::Result<Requirement> {
        let (mut token, mut key) = self.take_value();
        let negated = token == Token::Not;
        if negated {
            (token, key) = self.take_value();
        }
        if token != Token::Identifier {
            return Err(expected(key, "identifier"));
        }
        let complaints = name::qualified_name(key);
        if !complaints.is_empty() {
            // Kubernetes prints the path of a requirement that has none so.
            let why = complaints.join("; ");
            return Err(Status::bad_request(format!("<nil>: Invalid value: \"{key}\": {why}")));
        }
        if negated {
            return Requirement::new(key, Operator::DoesNotExist, Vec::new());
        }
        if let (Token::End | Token::Comma, _) = self.peek_value() {
            return Requirement::new(key, Operator::Exists, Vec::new());
        }
        let operator = match self.take() {
            (Token::In, _) => Operator::In,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::Equals, _) => Operator::Equals,
            (Token::DoubleEquals, _) => Operator::DoubleEquals,
            (Token::NotEquals, _) => Operator::NotEquals,
            (Token::Greater, _) => Operator::GreaterThan,
            (Token::Less, _) => Operator::LessThan,
            (_, found) => return Err(expected(found, "in, notin, =, ==, !=, gt, lt")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.set()?,
            _ => vec![self.exact()?],
        };
        Requirement::new(key, operator, values)
    }

    /// The value after `=` and the like; nothing there is the empty value.
    fn exact(&mut self) -> status::Result<String> {
        if let (Token::End | Token::Comma, _) = self.peek_value() {
            return Ok(String::new());
        }
        match self.take_value() {
            (Token::Identifier, text) => Ok(text.to_owned()),
            (_, found) => Err(expected(found, "identifier")),
        }
    }

    /// `(a, b)`; nothing between two commas or brackets is the empty value.
    fn set(&mut self) -> status::Result<Vec<String>> {
        match self.take_value() {
            (Token::Open, _) => {}
            // Without the comma, as Kubernetes has it.
            (_, found) => return Err(Status::bad_request(format!("found '{found}' expected: '('"))),
        }
        let mut values = Vec::new();
        let mut empty = true;
        loop {
            match self.take_value() {
                (Token::Identifier, text) if empty => {
                    values.push(text.to_owned());
                    empty = false;
                }
                (Token::Comma, _) => {
                    if empty {
                        values.push(String::new());
                    }
                    empty = true;
                }
                (Token::Close, _) => {
                    if empty {
                        values.push(String::new());
                    }
                    return Ok(values);
                }
                (_, found) if values.is_empty() => return Err(expected(found, "',', ')' or identifier")),
                (_, found) if empty => return Err(expected(found, "',', or identifier")),
                (_, found) => return Err(expected(found, "',' or ')'")),
            }
            if values.len() > TERMS_LIMIT {
                return Err(Status::bad_request(format!("the selector must have at most {TERMS_LIMIT} terms")));
            }
        }
    }
}
