//! Functions of texts: searching, cutting, joining, formatting, regular expressions.
//!
//! Places in texts are counted in code points. Results that would be longer than [`LENGTH_LIMIT_BYTES`] are refused.

use super::eval::{Error, Meter, check_elements};
use super::functions::Op;
use super::library::{int_of, shown, text_of};
use super::value::Val;
use crate::structural::pattern;

/// The longest text that a function may make: some times what a request can hold.
const LENGTH_LIMIT_BYTES: usize = 16 << 20;

type Result<T> = std::result::Result<T, Error>;

/// Calls a function of texts.
///
/// # Errors
/// Where it does not take such values, or fails on them.
pub fn apply<'a>(op: Op, args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>> {
    if op == Op::Join {
        return join(args, meter);
    }
    let text = text_of(args, 0)?;
    meter.work(text.len() as u64 / 16)?;
    match op {
        Op::Contains => Ok(Val::Bool(text.contains(text_of(args, 1)?))),
        Op::StartsWith => Ok(Val::Bool(text.starts_with(text_of(args, 1)?))),
        Op::EndsWith => Ok(Val::Bool(text.ends_with(text_of(args, 1)?))),
        Op::Matches | Op::Find | Op::FindAll => search(op, text, args),
        Op::CharAt => {
            let at = place(text, int_of(args, 1)?)?;
            let found: String = text[at..].chars().take(1).collect();
            Ok(Val::text(found))
        }
        Op::IndexOf | Op::LastIndexOf => index_of(op, text, args),
        Op::LowerAscii => Ok(Val::text(text.to_ascii_lowercase())),
        Op::UpperAscii => Ok(Val::text(text.to_ascii_uppercase())),
        Op::Trim => Ok(Val::text(text.trim())),
        Op::Substring => {
            let begin = place(text, int_of(args, 1)?)?;
            let end = if args.len() > 2 { place(text, int_of(args, 2)?)? } else { text.len() };
            if end < begin {
                return Err(Error::new(format!(
                    "invalid substring range. start: {}, end: {}",
                    int_of(args, 1)?,
                    int_of(args, 2)?
                )));
            }
            Ok(Val::text(&text[begin..end]))
        }
        Op::Replace => replace(text, args, meter),
        Op::Split => split(text, args),
        Op::Quote => Ok(Val::text(quoted(text))),
        Op::Format => format(text, args.get(1), meter),
        _ => Err(Error::no_overload()),
    }
}

/// The byte at which the code point of this number begins.
fn place(text: &str, number: i64) -> Result<usize> {
    let out_of_range = || Error::new(format!("index out of range: {number}"));
    let number = usize::try_from(number).map_err(|_| out_of_range())?;
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(number).ok_or_else(out_of_range)
}

fn number_of(text: &str, at: usize) -> i64 {
    text[..at].chars().count() as i64
}

fn search<'a>(op: Op, text: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let pattern = pattern::shared(text_of(args, 1)?).map_err(Error::new)?;
    match op {
        Op::Matches => Ok(Val::Bool(pattern.is_match(text))),
        Op::Find => Ok(Val::text(pattern.find(text).map_or("", |it| it.as_str()))),
        _ => {
            let limit = if args.len() > 2 { int_of(args, 2)? } else { -1 };
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            Ok(Val::list(pattern.find_iter(text).take(limit).map(|it| Val::text(it.as_str())).collect()))
        }
    }
}

fn index_of<'a>(op: Op, text: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let wanted = text_of(args, 1)?;
    let found = match (op, args.len() > 2) {
        (Op::IndexOf, false) => text.find(wanted),
        (Op::IndexOf, true) => {
            let from = place(text, int_of(args, 2)?)?;
            text[from..].find(wanted).map(|it| it + from)
        }
        (_, false) => text.rfind(wanted),
        (_, true) => {
            let from = place(text, int_of(args, 2)?)?;
            let mut end = (from + wanted.len()).min(text.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text[..end].rfind(wanted)
        }
    };
    Ok(Val::Int(found.map_or(-1, |at| number_of(text, at))))
}

fn replace<'a>(text: &str, args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>> {
    let (from, to) = (text_of(args, 1)?, text_of(args, 2)?);
    let limit = if args.len() > 3 { int_of(args, 3)? } else { -1 };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let count = text.matches(from).take(limit).count();
    let length = text.len().saturating_add(count.saturating_mul(to.len()));
    check_length(length)?;
    meter.work(length as u64 / 16)?;
    Ok(Val::text(text.replacen(from, to, limit)))
}

fn split<'a>(text: &str, args: &[Val<'a>]) -> Result<Val<'a>> {
    let separator = text_of(args, 1)?;
    let limit = if args.len() > 2 { int_of(args, 2)? } else { -1 };
    let parts: Vec<&str> = match (limit, separator.is_empty()) {
        (0, _) => Vec::new(),
        (limit, true) => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            let mut out = Vec::new();
            let mut rest = text;
            while let Some(letter) = rest.chars().next() {
                if out.len() + 1 == limit {
                    break;
                }
                let (first, after) = rest.split_at(letter.len_utf8());
                out.push(first);
                rest = after;
            }
            if !rest.is_empty() {
                out.push(rest);
            }
            out
        }
        (limit, false) => text.splitn(usize::try_from(limit).unwrap_or(usize::MAX), separator).collect(),
    };
    check_elements(parts.len())?;
    Ok(Val::list(parts.into_iter().map(Val::text).collect()))
}

fn join<'a>(args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>> {
    let list = args.first().filter(|it| it.count().is_some()).ok_or_else(Error::no_overload)?;
    let separator = if args.len() > 1 { text_of(args, 1)? } else { "" };
    let mut out = String::new();
    for (at, item) in list.items().enumerate() {
        if at > 0 {
            out.push_str(separator);
        }
        let text = item.as_text().ok_or_else(Error::no_overload)?;
        check_length(out.len() + text.len())?;
        meter.work(1 + text.len() as u64 / 16)?;
        out.push_str(text);
    }
    Ok(Val::text(out))
}

fn check_length(length: usize) -> Result<()> {
    if length > LENGTH_LIMIT_BYTES { Err(Error::CostExceeded) } else { Ok(()) }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for letter in text.chars() {
        match letter {
            '\x07' => out.push_str("\\a"),
            '\x08' => out.push_str("\\b"),
            '\x0c' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x0b' => out.push_str("\\v"),
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

/// Fills in `%s`, `%d`, `%f`, `%e`, `%x`, `%X`, `%o`, `%b` and `%%`.
fn format<'a>(text: &str, args: Option<&Val<'a>>, meter: &mut Meter) -> Result<Val<'a>> {
    let args = args.filter(|it| it.count().is_some()).ok_or_else(Error::no_overload)?;
    let mut next = 0;
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let (precision, after) = match after.strip_prefix('.') {
            Some(digits) => {
                let end = digits.find(|it: char| !it.is_ascii_digit()).unwrap_or(digits.len());
                let precision: usize =
                    digits[..end].parse().map_err(|_| Error::new("could not parse formatting clause"))?;
                (Some(precision.min(100)), &digits[end..])
            }
            None => (None, after),
        };
        let Some(clause) = after.chars().next() else { return Err(Error::new("unexpected end of string")) };
        let value = args.at(next).ok_or_else(|| Error::new(format!("index {next} out of range")))?;
        next += 1;
        out.push_str(&clause_text(clause, precision, &value)?);
        check_length(out.len())?;
        rest = &after[clause.len_utf8()..];
    }
    out.push_str(rest);
    meter.work(out.len() as u64 / 16)?;
    Ok(Val::text(out))
}

fn clause_text(clause: char, precision: Option<usize>, value: &Val<'_>) -> Result<String> {
    let bad = |what: &str| {
        Error::new(format!(
            "error during formatting: {what} clause can only be used on other types, was given {}",
            value.type_name()
        ))
    };
    Ok(match (clause, value) {
        ('s', Val::Double(value)) => crate::structural::judge::go_float(*value),
        ('s', Val::Type(name)) => (*name).to_owned(),
        ('s', Val::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        ('s', it @ (Val::Duration(_) | Val::Timestamp(_))) => {
            it.to_json().and_then(|it| it.as_str().map(str::to_owned)).unwrap_or_default()
        }
        ('s', it @ (Val::Array(..) | Val::List(_))) => {
            let items: Result<Vec<String>> = it.items().map(|it| clause_text('s', None, &it)).collect();
            format!("[{}]", items?.join(", "))
        }
        ('s', it) => shown(it),
        ('d', Val::Int(value)) => value.to_string(),
        ('d', Val::Uint(value)) => value.to_string(),
        ('f', Val::Double(value)) => format!("{value:.*}", precision.unwrap_or(6)),
        ('f', Val::Int(value)) => format!("{:.*}", precision.unwrap_or(6), *value as f64),
        ('e', Val::Double(value)) => exponential(*value, precision.unwrap_or(6)),
        ('b', Val::Int(value)) if *value < 0 => format!("-{:b}", value.unsigned_abs()),
        ('b', Val::Int(value)) => format!("{value:b}"),
        ('b', Val::Uint(value)) => format!("{value:b}"),
        ('b', Val::Bool(value)) => u8::from(*value).to_string(),
        ('o', Val::Int(value)) if *value < 0 => format!("-{:o}", value.unsigned_abs()),
        ('o', Val::Int(value)) => format!("{value:o}"),
        ('o', Val::Uint(value)) => format!("{value:o}"),
        ('x' | 'X', Val::Int(value)) => {
            let sign = if *value < 0 { "-" } else { "" };
            cased(clause, format!("{sign}{:x}", value.unsigned_abs()))
        }
        ('x' | 'X', Val::Uint(value)) => cased(clause, format!("{value:x}")),
        ('x' | 'X', Val::Text(text)) => cased(clause, text.bytes().map(|it| format!("{it:02x}")).collect()),
        ('x' | 'X', Val::Bytes(bytes)) => cased(clause, bytes.iter().map(|it| format!("{it:02x}")).collect()),
        ('d', _) => return Err(bad("integer")),
        ('f' | 'e', _) => return Err(bad("fixed-point")),
        ('b' | 'o' | 'x' | 'X', _) => return Err(bad("number")),
        _ => {
            return Err(Error::new(format!(
                "could not parse formatting clause: unrecognized formatting clause: \"{clause}\""
            )));
        }
    })
}

fn cased(clause: char, text: String) -> String {
    if clause == 'X' { text.to_ascii_uppercase() } else { text }
}

fn exponential(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |it| ('-', it));
    format!("{digits}e{sign}{exponent:0>2}")
}
