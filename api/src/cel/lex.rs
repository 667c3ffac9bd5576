//! The words that an expression consists of.

use std::fmt;

use super::parse::Complaint;

/// One word.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    Ident(Box<str>),
    /// A field's name in backticks.
    Quoted(Box<str>),
    /// Digits without a sign.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Bytes(Box<[u8]>),
    Sign(&'static str),
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Token::Ident(text) | Token::Quoted(text) => f.write_str(text),
            Token::Int(value) | Token::Uint(value) => write!(f, "{value}"),
            Token::Double(value) => write!(f, "{value}"),
            Token::Text(text) => write!(f, "{text:?}"),
            Token::Bytes(_) => f.write_str("bytes"),
            Token::Sign(sign) => f.write_str(sign),
        }
    }
}

/// The signs, longer ones first.
const SIGNS: &[&str] = &[
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ",", ".", "(", ")", "[", "]",
    "{", "}",
];

/// The words of a text, each with where it begins, in bytes.
///
/// # Errors
/// What is no word.
pub fn tokens(text: &str) -> Result<Vec<(Token, u32)>, Complaint> {
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
        if let Some(comment) = rest.strip_prefix("//") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
            continue;
        }
        let Some(first) = rest.chars().next() else { return Ok(out) };
        let at = u32::try_from(text.len() - rest.len()).unwrap_or(u32::MAX);
        let fail = |what: &str| Complaint { at, text: format!("Syntax error: {what}") };
        let next_is_digit = rest[first.len_utf8()..].starts_with(|it: char| it.is_ascii_digit());
        let (token, after) = if let Some(found) = quoted(rest) {
            found.map_err(|why| fail(&why))?
        } else if first.is_ascii_digit() || first == '.' && next_is_digit {
            number(rest).ok_or_else(|| fail("invalid number"))?
        } else if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(rest.len());
            (Token::Ident(rest[..end].into()), &rest[end..])
        } else if first == '`' {
            let (name, after) = rest[1..].split_once('`').ok_or_else(|| fail("unterminated name"))?;
            (Token::Quoted(name.into()), after)
        } else {
            let sign = SIGNS.iter().find(|it| rest.starts_with(**it));
            let sign = sign.ok_or_else(|| {
                // What could have been the first half of a sign was read together with what should have been the other.
                let seen = if "=&|".contains(first) { rest.chars().take(2).collect() } else { first.to_string() };
                fail(&format!("token recognition error at: '{seen}'"))
            })?;
            (Token::Sign(sign), &rest[sign.len()..])
        };
        out.push((token, at));
        rest = after;
    }
}

fn number(text: &str) -> Option<(Token, &str)> {
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        let end = hex.find(|it: char| !it.is_ascii_hexdigit()).unwrap_or(hex.len());
        let value = u64::from_str_radix(&hex[..end], 16).ok()?;
        return Some(suffixed(value, &hex[end..]));
    }
    let digits = |text: &str| text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let mut end = digits(text);
    let mut is_double = false;
    if let Some(fraction) = text[end..].strip_prefix('.')
        && fraction.starts_with(|it: char| it.is_ascii_digit())
    {
        end += 1 + digits(fraction);
        is_double = true;
    }
    if let Some(exponent) = text[end..].strip_prefix(['e', 'E']) {
        let sign = usize::from(exponent.starts_with(['+', '-']));
        let count = digits(&exponent[sign..]);
        if count > 0 {
            end += 1 + sign + count;
            is_double = true;
        }
    }
    if is_double {
        return Some((Token::Double(text[..end].parse().ok()?), &text[end..]));
    }
    Some(suffixed(text[..end].parse().ok()?, &text[end..]))
}

fn suffixed(value: u64, rest: &str) -> (Token, &str) {
    match rest.strip_prefix(['u', 'U']) {
        Some(after) => (Token::Uint(value), after),
        None => (Token::Int(value), rest),
    }
}

/// A text in quotes, if one begins here.
fn quoted(text: &str) -> Option<Result<(Token, &str), String>> {
    let mut rest = text;
    let (mut is_raw, mut is_bytes) = (false, false);
    while let Some(prefix) = rest.chars().next().filter(|it| "rRbB".contains(*it)) {
        let flag = if prefix.eq_ignore_ascii_case(&'r') { &mut is_raw } else { &mut is_bytes };
        if std::mem::replace(flag, true) {
            return None;
        }
        rest = &rest[1..];
    }
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|it| rest.starts_with(it))?;
    Some(body(&rest[quote.len()..], quote, is_raw, is_bytes))
}

fn body<'a>(text: &'a str, quote: &str, is_raw: bool, is_bytes: bool) -> Result<(Token, &'a str), String> {
    let mut out: Vec<u8> = Vec::new();
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix(quote) {
            let token = if is_bytes {
                Token::Bytes(out.into())
            } else {
                Token::Text(String::from_utf8(out).map_err(|_| "invalid UTF-8 in a string")?.into())
            };
            return Ok((token, after));
        }
        let Some(next) = rest.chars().next() else { return Err("unterminated string".to_owned()) };
        let after = &rest[next.len_utf8()..];
        if next == '\n' && quote.len() == 1 {
            return Err("unterminated string".to_owned());
        }
        rest = if next == '\\' && !is_raw {
            escape(after, is_bytes, &mut out).ok_or("invalid escape sequence in a string")?
        } else {
            out.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
            after
        };
    }
}

/// Adds what an escape stands for; the rest behind it.
fn escape<'a>(text: &'a str, is_bytes: bool, out: &mut Vec<u8>) -> Option<&'a str> {
    let letter = text.chars().next()?;
    let after = &text[letter.len_utf8()..];
    let plain = match letter {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '"' | '\'' | '`' | '?' => letter as u8,
        _ => 0,
    };
    if plain != 0 {
        out.push(plain);
        return Some(after);
    }
    let (digits, radix, rest) = match letter {
        'x' | 'X' => (after.get(..2)?, 16, &after[2..]),
        'u' if !is_bytes => (after.get(..4)?, 16, &after[4..]),
        'U' if !is_bytes => (after.get(..8)?, 16, &after[8..]),
        '0'..='3' => (text.get(..3)?, 8, &text[3..]),
        _ => return None,
    };
    let value = u32::from_str_radix(digits, radix).ok()?;
    if is_bytes {
        out.push(u8::try_from(value).ok()?);
    } else {
        out.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(rest)
}
