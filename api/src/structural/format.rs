//! The formats of texts that Kubernetes knows, and which texts have them.
//!
//! Source: `apiextensions-apiserver/pkg/apiserver/validation/formats.go` and the `strfmt` package of kube-openapi. A format that is not
//! listed there, or stands at another type, means nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;

use super::node::Type;
use crate::name;
use crate::quantity::Quantity;

/// A format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    BsonObjectId,
    Uri,
    Email,
    Hostname,
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    /// The version that the UUID must have; zero for any.
    Uuid(u8),
    Isbn,
    Isbn10,
    Isbn13,
    CreditCard,
    Ssn,
    HexColor,
    RgbColor,
    Byte,
    Password,
    Date,
    Duration,
    DateTime,
    Quantity,
    ShortName,
    LongName,
    /// Of a number: it says how large the number may be, which Kubernetes does not check.
    Number,
}

/// The formats of texts by name without dashes, in order.
const TEXTS: &[(&str, Format)] = &[
    ("bsonobjectid", Format::BsonObjectId),
    ("byte", Format::Byte),
    ("cidr", Format::Cidr),
    ("creditcard", Format::CreditCard),
    ("date", Format::Date),
    ("datetime", Format::DateTime),
    ("duration", Format::Duration),
    ("email", Format::Email),
    ("hexcolor", Format::HexColor),
    ("hostname", Format::Hostname),
    ("ipv4", Format::Ipv4),
    ("ipv6", Format::Ipv6),
    ("isbn", Format::Isbn),
    ("isbn10", Format::Isbn10),
    ("isbn13", Format::Isbn13),
    ("k8slongname", Format::LongName),
    ("k8sshortname", Format::ShortName),
    ("mac", Format::Mac),
    ("password", Format::Password),
    ("quantity", Format::Quantity),
    ("rgbcolor", Format::RgbColor),
    ("ssn", Format::Ssn),
    ("uri", Format::Uri),
    ("uuid", Format::Uuid(0)),
    ("uuid3", Format::Uuid(3)),
    ("uuid4", Format::Uuid(4)),
    ("uuid5", Format::Uuid(5)),
];

impl Format {
    /// The format of this name at this type, where it means anything.
    pub fn find(kind: Type, name: &str) -> Option<Format> {
        match kind {
            Type::Any | Type::String => {
                let plain = name.replace('-', "");
                TEXTS.binary_search_by(|(it, _)| (*it).cmp(&plain)).ok().map(|at| TEXTS[at].1)
            }
            Type::Integer if matches!(name, "int32" | "int64") => Some(Format::Number),
            Type::Number if matches!(name, "float" | "double") => Some(Format::Number),
            _ => None,
        }
    }

    /// Whether a text has this format.
    pub fn is_met(self, text: &str) -> bool {
        match self {
            Format::BsonObjectId => text.len() == 24 && is_hex(text),
            Format::Uri => is_uri(text),
            Format::Email => is_email(text),
            Format::Hostname => is_hostname(text),
            Format::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Format::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Format::Cidr => is_cidr(text),
            Format::Mac => is_mac(text),
            Format::Uuid(version) => is_uuid(text, version),
            Format::Isbn => is_isbn10(text) || is_isbn13(text),
            Format::Isbn10 => is_isbn10(text),
            Format::Isbn13 => is_isbn13(text),
            Format::CreditCard => is_credit_card(text),
            Format::Ssn => is_ssn(text),
            Format::HexColor => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && is_hex(digits)
            }
            Format::RgbColor => is_rgb_color(text),
            Format::Byte => base64::engine::general_purpose::STANDARD.decode(text).is_ok(),
            Format::Password | Format::Number => true,
            Format::Date => is_date(text),
            Format::Duration => is_duration(text),
            Format::DateTime => is_date_time(text),
            Format::Quantity => Quantity::parse(text).is_ok(),
            Format::ShortName => name::dns1123_label(text).is_empty(),
            Format::LongName => name::dns1123_subdomain(text).is_empty(),
        }
    }
}

fn is_hex(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_hexdigit())
}

fn are_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit())
}

/// As Go's `url.ParseRequestURI`: with a scheme, or a path from the root.
fn is_uri(text: &str) -> bool {
    if text.bytes().any(|it| it < b' ' || it == 0x7f) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return text == "*" };
    let starts_well = scheme.starts_with(|it: char| it.is_ascii_alphabetic());
    if !starts_well || !scheme.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-.".contains(&it)) {
        return false;
    }
    let Some(rest) = rest.strip_prefix("//") else { return true };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let port = match host.rfind(']') {
        Some(end) => host[end + 1..].strip_prefix(':').or(if host.ends_with(']') { Some("") } else { None }),
        None => Some(host.split_once(':').map_or("", |(_, port)| port)),
    };
    !host.contains([' ', '<', '>', '"', '`', '{', '}', '|', '\\', '^'])
        && port.is_some_and(|it| it.is_empty() || are_digits(it))
}

/// As Go's `mail.ParseAddress`, but for comments and quoted local parts.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let address = match text.strip_suffix('>') {
        Some(named) => match named.rsplit_once('<') {
            Some((_, address)) => address,
            None => return false,
        },
        None => text,
    };
    let Some((local, domain)) = address.rsplit_once('@') else { return false };
    let atom = |it: &str| {
        !it.is_empty()
            && it.chars().all(|it| it.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(it) || !it.is_ascii())
    };
    let quoted = local.len() > 2 && local.starts_with('"') && local.ends_with('"');
    (quoted || local.split('.').all(atom)) && domain.split('.').all(atom)
}

fn is_hostname(text: &str) -> bool {
    if text.is_empty() || text.len() > 255 {
        return false;
    }
    let part = |it: &str| {
        !it.is_empty()
            && it.chars().count() <= 63
            && !it.starts_with('-')
            && !it.ends_with('-')
            && it.chars().all(|it| it.is_alphanumeric() || it == '-')
    };
    text.strip_suffix('.').unwrap_or(text).split('.').all(part)
}

/// As Go's `net.ParseCIDR`.
pub fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    are_digits(bits) && bits.len() <= 3 && bits.parse::<u16>().is_ok_and(|it| it <= most)
}

fn is_mac(text: &str) -> bool {
    let groups = |separator: char, digits: usize, counts: &[usize]| {
        let parts: Vec<&str> = text.split(separator).take(21).collect();
        counts.contains(&parts.len()) && parts.iter().all(|it| it.len() == digits && is_hex(it))
    };
    groups(':', 2, &[6, 8, 20]) || groups('-', 2, &[6, 8, 20]) || groups('.', 4, &[3, 4, 10])
}

fn is_uuid(text: &str, version: u8) -> bool {
    // Each dash may be missing by itself.
    let mut rest = text;
    let mut digits = String::with_capacity(32);
    for (at, count) in [8, 4, 4, 4, 12].into_iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix('-').unwrap_or(rest);
        }
        let Some(group) = rest.get(..count) else { return false };
        digits.push_str(group);
        rest = &rest[count..];
    }
    let variant = digits.as_bytes().get(16).map(u8::to_ascii_lowercase);
    rest.is_empty()
        && is_hex(&digits)
        && (version == 0 || digits.as_bytes()[12] == b'0' + version)
        && (version < 4 || variant.is_some_and(|it| b"89ab".contains(&it)))
}

fn without_separators(text: &str) -> Vec<u8> {
    text.bytes().filter(|it| !b" -".contains(it)).collect()
}

fn is_isbn10(text: &str) -> bool {
    let digits = without_separators(text);
    if digits.len() != 10 || !digits[..9].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let last = match digits[9] {
        b'X' => 10,
        it if it.is_ascii_digit() => u32::from(it - b'0'),
        _ => return false,
    };
    let sum: u32 = (1..).zip(&digits[..9]).map(|(weight, it)| weight * u32::from(it - b'0')).sum();
    (sum + 10 * last).is_multiple_of(11)
}

fn is_isbn13(text: &str) -> bool {
    let digits = without_separators(text);
    if digits.len() != 13 || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let weights = [1, 3].into_iter().cycle();
    let sum: u32 = digits[..12].iter().zip(weights).map(|(it, weight)| weight * u32::from(it - b'0')).sum();
    u32::from(digits[12] - b'0') == (10 - sum % 10) % 10
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|it| it.to_digit(10)).collect();
    if !(13..=16).contains(&digits.len()) {
        return false;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, it)| {
            if at % 2 == 0 {
                *it
            } else if *it > 4 {
                it * 2 - 9
            } else {
                it * 2
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn is_ssn(text: &str) -> bool {
    let mut rest = text;
    for (at, count) in [3, 2, 4].into_iter().enumerate() {
        if at > 0 {
            rest = rest.strip_prefix(['-', ' ']).unwrap_or(rest);
        }
        let Some(group) = rest.get(..count).filter(|it| are_digits(it)) else { return false };
        rest = &rest[group.len()..];
    }
    rest.is_empty()
}

fn is_rgb_color(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|it| it.strip_suffix(')')) else { return false };
    let parts: Vec<&str> = inner.split(',').take(4).map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|it| it.len() <= 3 && are_digits(it) && it.parse::<u8>().is_ok())
}

fn is_date(text: &str) -> bool {
    text.len() == 10
        && text.bytes().all(|it| it.is_ascii_digit() || it == b'-')
        && text.parse::<jiff::civil::Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let Some((date, time)) = lower.split_once('t') else { return false };
    if !is_date(date) {
        return false;
    }
    let two = |it: &str, most: &str| it.len() == 2 && are_digits(it) && it <= most;
    let (Some(hour), Some(minute), Some(second)) = (time.get(..2), time.get(3..5), time.get(6..8)) else {
        return false;
    };
    let separated = time.as_bytes()[2] == b':' && time.as_bytes()[5] == b':';
    if !separated || !two(hour, "23") || !two(minute, "59") || !two(second, "59") {
        return false;
    }
    let rest = &time[8..];
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|it: char| it.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let offset = |it: &str| it.len() == 5 && it.as_bytes()[2] == b':' && are_digits(&it[..2]) && are_digits(&it[3..]);
    zone == "z" || zone.is_ascii() && zone.strip_prefix(['+', '-']).is_some_and(offset)
}

/// As Go's `time.ParseDuration`, or a number with a unit in words.
fn is_duration(text: &str) -> bool {
    const UNITS: &[&str] = &["ns", "us", "µs", "μs", "ms", "s", "m", "h"];
    const WORDS: &[&str] = &[
        "ns",
        "nano",
        "nanosecond",
        "us",
        "µs",
        "micro",
        "microsecond",
        "ms",
        "milli",
        "millisecond",
        "s",
        "sec",
        "second",
        "m",
        "min",
        "minute",
        "h",
        "hr",
        "hour",
        "d",
        "day",
        "w",
        "week",
        "wk",
    ];
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut parts = 0;
    while !rest.is_empty() {
        let end = rest.find(|it: char| !it.is_ascii_digit() && it != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(end);
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        let end = after.find(|it: char| it.is_ascii_digit() || it == '.').unwrap_or(after.len());
        if digits == 0 || number.len() - digits > 1 || !UNITS.contains(&&after[..end]) {
            parts = 0;
            break;
        }
        parts += 1;
        rest = &after[end..];
    }
    if parts > 0 {
        return true;
    }
    let end = text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    !number.is_empty() && (WORDS.contains(&unit) || unit.strip_suffix('s').is_some_and(|it| WORDS.contains(&it)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, good: &[&str], bad: &[&str]) {
        let format = Format::find(Type::String, name).unwrap();
        for text in good {
            assert!(format.is_met(text), "{name}: {text}");
        }
        for text in bad {
            assert!(!format.is_met(text), "{name}: {text}");
        }
    }

    #[test]
    fn names_are_in_order() {
        assert!(TEXTS.is_sorted_by_key(|(name, _)| *name));
        assert_eq!(Format::find(Type::String, "int32"), None);
        assert_eq!(Format::find(Type::Boolean, "date"), None);
        assert_eq!(Format::find(Type::Integer, "int64"), Some(Format::Number));
    }

    #[test]
    fn texts_have_formats() {
        check(
            "date-time",
            &["2014-12-15T19:30:20.000Z", "2014-12-15t19:30:20+01:00"],
            &[
                "2014-12-15",
                "2014-13-15T19:30:20Z",
                "2014-12-15T24:30:20Z",
                "2014-12-15T19:30:20",
                "2014-12-15T1é:30:20Z",
            ],
        );
        check("date", &["2024-02-29"], &["2023-02-29", "2023-2-9", "x"]);
        check("duration", &["1h30m", "-1.5s", "22 ns", "3 days", "0"], &["", "1", "1x", "h"]);
        check("uri", &["http://a/b", "/a", "urn:x"], &["a", "", "http://a b/", "1a:b"]);
        check("email", &["a@b.c", "A B <a@b>"], &["a", "@b", "a b@c"]);
        check("hostname", &["a.b-c.de", "a"], &["", "-a", "a..b"]);
        check("ipv4", &["1.2.3.4"], &["1.2.3.04", "::1"]);
        check("ipv6", &["::1"], &["1.2.3.4", "::g"]);
        check("cidr", &["10.0.0.0/8", "::/0"], &["10.0.0.0/33", "10.0.0.0", "10.0.0.0/-1"]);
        check("mac", &["01:23:45:67:89:ab", "0123.4567.89ab"], &["01:23", "x"]);
        check("uuid", &["123E4567-e89b-12d3-a456-426614174000", "123e4567e89b12d3a456426614174000"], &["123", ""]);
        check("uuid4", &["123e4567-e89b-42d3-a456-426614174000"], &["123e4567-e89b-12d3-a456-426614174000"]);
        check("isbn10", &["0321751043"], &["0321751044"]);
        check("isbn13", &["978-0321751041"], &["978-0321751042"]);
        check("creditcard", &["4111-1111-1111-1111"], &["4111-1111-1111-1112"]);
        check("ssn", &["111-11-1111"], &["11-111-1111"]);
        check("hexcolor", &["#FFF", "ffffff"], &["#ffff"]);
        check("rgbcolor", &["rgb(1, 2,255)"], &["rgb(1,2,256)"]);
        check("byte", &["aGk="], &["a-"]);
        check("quantity", &["10Gi"], &["x"]);
        check("bsonobjectid", &["507f1f77bcf86cd799439011"], &["5"]);
        check("k8s-short-name", &["a-b"], &["A", "a.b"]);
        check("k8s-long-name", &["a.b"], &["A"]);
    }
}
