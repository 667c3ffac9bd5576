//! What functions and operators do.
//!
//! In: the values of the arguments. Out: a value, or why there is none, in the words of cel-go and Kubernetes' library. Texts are gone through
//! by code points, as expressions count them.

use std::cmp::Ordering;
use std::rc::Rc;

use jiff::Timestamp;

use super::eval::{Error, Meter};
use super::functions::Op;
use super::network;
use super::semver::Semver;
use super::value::Val;
use super::{image, named_format, text, time};
use crate::quantity::{self, Quantity};
use crate::structural::node::{ListType, Node};

type Result<T> = std::result::Result<T, Error>;

/// Calls a function.
///
/// # Errors
/// Where it does not take such values, or fails on them.
pub fn apply<'a>(op: Op, args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>> {
    match op {
        Op::Eq | Op::Ne => {
            let [one, other] = args else { return Err(Error::no_overload()) };
            Ok(Val::Bool(one.equals(other, meter)? == (op == Op::Eq)))
        }
        Op::Lt | Op::Le | Op::Gt | Op::Ge => compare(op, args),
        Op::Add | Op::Sub | Op::Mul | Op::Div | Op::Mod | Op::Not | Op::Neg => arithmetic(op, args, meter),
        Op::In => match args {
            [item, list] if list.count().is_some() => Ok(Val::Bool(list.contains(item, meter)?)),
            [key, map @ (Val::Object(..) | Val::Map(_))] => Ok(Val::Bool(map.entry(key).is_some())),
            _ => Err(Error::no_overload()),
        },
        Op::Size => size(args),
        Op::ToInt
        | Op::ToUint
        | Op::ToDouble
        | Op::ToString
        | Op::ToBytes
        | Op::ToBool
        | Op::ToDuration
        | Op::ToTimestamp => convert(op, args),
        Op::ToDyn => one(args).cloned(),
        Op::TypeOf => Ok(Val::Type(one(args)?.type_name())),
        Op::FullYear
        | Op::Month
        | Op::DayOfMonth
        | Op::Date
        | Op::DayOfWeek
        | Op::DayOfYear
        | Op::Hours
        | Op::Minutes
        | Op::Seconds
        | Op::Milliseconds => time_part(op, args),
        Op::IndexOf | Op::LastIndexOf if one(args)?.count().is_some() => {
            let [list, item] = args else { return Err(Error::no_overload()) };
            let mut found = -1;
            for (at, it) in list.items().enumerate() {
                if it.equals(item, meter)? {
                    found = at as i64;
                    if op == Op::IndexOf {
                        break;
                    }
                }
            }
            Ok(Val::Int(found))
        }
        Op::Contains
        | Op::StartsWith
        | Op::EndsWith
        | Op::Matches
        | Op::CharAt
        | Op::IndexOf
        | Op::LastIndexOf
        | Op::LowerAscii
        | Op::UpperAscii
        | Op::Replace
        | Op::Split
        | Op::Substring
        | Op::Trim
        | Op::Join
        | Op::Format
        | Op::Quote
        | Op::Find
        | Op::FindAll => text::apply(op, args, meter),
        Op::IsSorted | Op::Sum | Op::Min | Op::Max => aggregate(op, args, meter),
        Op::Url | Op::IsUrl | Op::Scheme | Op::Host | Op::Hostname | Op::Port | Op::EscapedPath | Op::Query => {
            network::url(op, args)
        }
        Op::Quantity
        | Op::IsQuantity
        | Op::Sign
        | Op::IsInteger
        | Op::AsInteger
        | Op::AsFloat
        | Op::QuantityAdd
        | Op::QuantitySub => quantity(op, args),
        Op::IsLess | Op::IsGreater | Op::CompareTo => {
            let order = args
                .first()
                .zip(args.get(1))
                .and_then(|(one, other)| one.order(other))
                .ok_or_else(Error::no_overload)?;
            Ok(match op {
                Op::IsLess => Val::Bool(order.is_lt()),
                Op::IsGreater => Val::Bool(order.is_gt()),
                _ => Val::Int(order as i64),
            })
        }
        Op::Ip
        | Op::IsIp
        | Op::IsCanonical
        | Op::Family
        | Op::IsUnspecified
        | Op::IsLoopback
        | Op::IsLinkLocalMulticast
        | Op::IsLinkLocalUnicast
        | Op::IsGlobalUnicast => network::address(op, args),
        Op::Cidr | Op::IsCidr | Op::ContainsIp | Op::ContainsCidr | Op::CidrIp | Op::Masked | Op::PrefixLength => {
            network::block(op, args)
        }
        Op::NamedFormat | Op::FormatOf(_) | Op::Validate => named_format::apply(op, args),
        Op::Semver | Op::IsSemver | Op::Major | Op::Minor | Op::Patch => semver(op, args),
        Op::Image
        | Op::IsImage
        | Op::ContainsDigest
        | Op::Registry
        | Op::Repository
        | Op::Tag
        | Op::Digest
        | Op::Identifier => image::apply(op, args),
        Op::SetsContains | Op::SetsEquivalent | Op::SetsIntersects => sets(op, args, meter),
        Op::OptionalOf | Op::OptionalNone | Op::OptionalOfNonZero | Op::HasValue | Op::Value => optional(op, args),
        Op::AuthPath
        | Op::AuthGroup
        | Op::AuthServiceAccount
        | Op::AuthResource
        | Op::AuthSubresource
        | Op::AuthNamespace
        | Op::AuthName
        | Op::AuthFields
        | Op::AuthLabels
        | Op::AuthCheck
        | Op::Allowed
        | Op::Reason
        | Op::Errored
        | Op::Error => match args {
            [Val::Authority(it), rest @ ..] => it.apply(op, rest),
            _ => Err(Error::no_overload()),
        },
        // The evaluator does these itself.
        Op::Index | Op::OptIndex | Op::Or | Op::OrValue => Err(Error::no_overload()),
    }
}

/// The first argument.
pub fn one<'b, 'a>(args: &'b [Val<'a>]) -> Result<&'b Val<'a>> {
    args.first().ok_or_else(Error::no_overload)
}

/// The text of an argument.
pub fn text_of<'b>(args: &'b [Val<'_>], at: usize) -> Result<&'b str> {
    args.get(at).and_then(Val::as_text).ok_or_else(Error::no_overload)
}

/// The integer of an argument.
pub fn int_of(args: &[Val<'_>], at: usize) -> Result<i64> {
    match args.get(at) {
        Some(Val::Int(value)) => Ok(*value),
        _ => Err(Error::no_overload()),
    }
}

/// A value as messages show it.
pub fn shown(value: &Val<'_>) -> String {
    match value {
        Val::Text(text) => text.to_string(),
        other => other.to_json().map_or_else(|| other.type_name().to_owned(), |it| it.to_string()),
    }
}

fn compare<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    let [one, other] = args else { return Err(Error::no_overload()) };
    if let (Val::Double(one), Val::Double(other)) = (one, other)
        && (one.is_nan() || other.is_nan())
    {
        return Ok(Val::Bool(false));
    }
    let order = one.order(other).ok_or_else(Error::no_overload)?;
    Ok(Val::Bool(match op {
        Op::Lt => order.is_lt(),
        Op::Le => order.is_le(),
        Op::Gt => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn arithmetic<'a>(op: Op, args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>> {
    let overflow = |what: &str| Error::new(format!("{what} overflow"));
    match (op, args) {
        (Op::Not, [Val::Bool(value)]) => Ok(Val::Bool(!value)),
        (Op::Neg, [Val::Int(value)]) => value.checked_neg().map(Val::Int).ok_or_else(|| overflow("integer")),
        (Op::Neg, [Val::Double(value)]) => Ok(Val::Double(-value)),
        (_, [Val::Int(one), Val::Int(other)]) => {
            let found = match op {
                Op::Add => one.checked_add(*other),
                Op::Sub => one.checked_sub(*other),
                Op::Mul => one.checked_mul(*other),
                Op::Div if *other == 0 => return Err(Error::new("division by zero")),
                Op::Mod if *other == 0 => return Err(Error::new("modulus by zero")),
                Op::Div => one.checked_div(*other),
                _ => one.checked_rem(*other),
            };
            found.map(Val::Int).ok_or_else(|| overflow("integer"))
        }
        (_, [Val::Uint(one), Val::Uint(other)]) => {
            let found = match op {
                Op::Add => one.checked_add(*other),
                Op::Sub => one.checked_sub(*other),
                Op::Mul => one.checked_mul(*other),
                Op::Div if *other == 0 => return Err(Error::new("division by zero")),
                Op::Mod if *other == 0 => return Err(Error::new("modulus by zero")),
                Op::Div => one.checked_div(*other),
                _ => one.checked_rem(*other),
            };
            found.map(Val::Uint).ok_or_else(|| overflow("unsigned integer"))
        }
        (Op::Add, [Val::Double(one), Val::Double(other)]) => Ok(Val::Double(one + other)),
        (Op::Sub, [Val::Double(one), Val::Double(other)]) => Ok(Val::Double(one - other)),
        (Op::Mul, [Val::Double(one), Val::Double(other)]) => Ok(Val::Double(one * other)),
        (Op::Div, [Val::Double(one), Val::Double(other)]) => Ok(Val::Double(one / other)),
        (Op::Add, [Val::Text(one), Val::Text(other)]) => {
            meter.work((one.len() + other.len()) as u64 / 16)?;
            Ok(Val::text([&**one, &**other].concat()))
        }
        (Op::Add, [Val::Bytes(one), Val::Bytes(other)]) => {
            meter.work((one.len() + other.len()) as u64 / 16)?;
            Ok(Val::Bytes([&**one, &**other].concat().into()))
        }
        (Op::Add, [one, other]) if one.count().is_some() && other.count().is_some() => {
            let count = one.count().unwrap_or_default() + other.count().unwrap_or_default();
            super::eval::check_elements(count)?;
            meter.work(count as u64)?;
            match one {
                Val::Array(_, Some(node)) if node.list != ListType::Atomic => merged(one, other, node, meter),
                _ => Ok(Val::list(one.items().chain(other.items()).collect())),
            }
        }
        (Op::Add, [Val::Duration(one), Val::Duration(other)]) => {
            one.checked_add(*other).map(Val::Duration).ok_or_else(|| overflow("duration"))
        }
        (Op::Sub, [Val::Duration(one), Val::Duration(other)]) => {
            one.checked_sub(*other).map(Val::Duration).ok_or_else(|| overflow("duration"))
        }
        (Op::Add, [Val::Timestamp(time), Val::Duration(by)] | [Val::Duration(by), Val::Timestamp(time)]) => {
            time.checked_add(*by).map(Val::Timestamp).map_err(|_| overflow("timestamp"))
        }
        (Op::Sub, [Val::Timestamp(time), Val::Duration(by)]) => {
            time.checked_sub(*by).map(Val::Timestamp).map_err(|_| overflow("timestamp"))
        }
        (Op::Sub, [Val::Timestamp(one), Val::Timestamp(other)]) => Ok(Val::Duration(one.duration_since(*other))),
        _ => Err(Error::no_overload()),
    }
}

/// The sum of lists whose elements stand once: those of the other replace those with the same keys, or are left out where they are there.
fn merged<'a>(one: &Val<'a>, other: &Val<'a>, node: &Node, meter: &mut Meter) -> Result<Val<'a>> {
    let mut out: Vec<Val<'a>> = one.items().collect();
    for item in other.items() {
        let mut place = None;
        for (at, old) in out.iter().enumerate() {
            let mut is_same = !node.keys().is_empty() || old.equals(&item, meter)?;
            for key in node.keys() {
                meter.work(1)?;
                is_same &= match (old.get(key), item.get(key)) {
                    (Some(one), Some(other)) => one.equals(&other, meter)?,
                    (one, other) => one.is_none() && other.is_none(),
                };
            }
            if is_same {
                place = Some(at);
                break;
            }
        }
        match place {
            Some(at) => out[at] = item,
            None => out.push(item),
        }
    }
    Ok(Val::list(out))
}

fn size<'a>(args: &[Val<'a>]) -> Result<Val<'a>> {
    let size = match one(args)? {
        Val::Text(text) => text.chars().count() as u64,
        it @ (Val::Bytes(_) | Val::Array(..) | Val::List(_) | Val::Object(..) | Val::Map(_)) => it.size(),
        _ => return Err(Error::no_overload()),
    };
    Ok(Val::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

fn convert<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    let of = one(args)?;
    let range = || Error::new("range error converting a number");
    let bad = |text: &str| Error::new(format!("type conversion error from 'string' to '{text}'"));
    Ok(match (op, of) {
        (Op::ToInt, Val::Int(_)) | (Op::ToUint, Val::Uint(_)) | (Op::ToDouble, Val::Double(_)) => of.clone(),
        (Op::ToString, Val::Text(_)) | (Op::ToBytes, Val::Bytes(_)) | (Op::ToBool, Val::Bool(_)) => of.clone(),
        (Op::ToDuration, Val::Duration(_)) | (Op::ToTimestamp, Val::Timestamp(_)) => of.clone(),
        (Op::ToInt, Val::Uint(value)) => {
            Val::Int(i64::try_from(*value).map_err(|_| Error::new("unsigned integer overflow"))?)
        }
        (Op::ToInt, Val::Double(value)) if value.abs() < 9_223_372_036_854_775_807.0 => Val::Int(*value as i64),
        (Op::ToInt, Val::Text(text)) => Val::Int(text.parse().map_err(|_| bad("int"))?),
        (Op::ToInt, Val::Timestamp(time)) => Val::Int(time.as_second()),
        (Op::ToInt, Val::Duration(value)) => Val::Int(i64::try_from(value.as_nanos()).map_err(|_| range())?),
        (Op::ToUint, Val::Int(value)) => {
            Val::Uint(u64::try_from(*value).map_err(|_| Error::new("unsigned integer overflow"))?)
        }
        (Op::ToUint, Val::Double(value)) if *value >= 0.0 && *value < 18_446_744_073_709_551_615.0 => {
            Val::Uint(*value as u64)
        }
        (Op::ToUint, Val::Text(text)) => Val::Uint(text.parse().map_err(|_| bad("uint"))?),
        (Op::ToInt | Op::ToUint, Val::Double(_)) => return Err(range()),
        (Op::ToDouble, Val::Int(value)) => Val::Double(*value as f64),
        (Op::ToDouble, Val::Uint(value)) => Val::Double(*value as f64),
        (Op::ToDouble, Val::Text(text)) => Val::Double(text.parse().map_err(|_| bad("double"))?),
        (Op::ToString, Val::Int(value)) => Val::text(value.to_string()),
        (Op::ToString, Val::Uint(value)) => Val::text(value.to_string()),
        (Op::ToString, Val::Double(value)) => Val::text(crate::structural::judge::go_float(*value)),
        (Op::ToString, Val::Bool(value)) => Val::text(if *value { "true" } else { "false" }),
        (Op::ToString, Val::Bytes(bytes)) => Val::text(
            std::str::from_utf8(bytes).map_err(|_| Error::new("invalid UTF-8 in bytes, cannot convert to string"))?,
        ),
        (Op::ToString, Val::Timestamp(time)) => Val::text(time.to_string()),
        (Op::ToString, Val::Duration(value)) => Val::text(time::duration_text(*value)),
        (Op::ToString, Val::Ip(ip)) => Val::text(ip.to_string()),
        (Op::ToString, Val::Cidr(block)) => Val::text(block.to_string()),
        (Op::ToBytes, Val::Text(text)) => Val::Bytes(text.as_bytes().into()),
        (Op::ToBool, Val::Text(text)) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Val::Bool(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Val::Bool(false),
            _ => return Err(bad("bool")),
        },
        (Op::ToDuration, Val::Text(text)) => {
            Val::Duration(time::duration(text).ok_or_else(|| bad("google.protobuf.Duration"))?)
        }
        (Op::ToTimestamp, Val::Text(text)) => {
            Val::Timestamp(text.parse().map_err(|_| bad("google.protobuf.Timestamp"))?)
        }
        (Op::ToTimestamp, Val::Int(value)) => Val::Timestamp(Timestamp::from_second(*value).map_err(|_| range())?),
        _ => return Err(Error::no_overload()),
    })
}

fn time_part<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    let found = match args {
        [Val::Timestamp(at)] => time::part(op, *at, None),
        [Val::Timestamp(at), Val::Text(zone)] => {
            Some(time::part(op, *at, Some(zone)).ok_or_else(|| Error::new(format!("unknown time zone {}", &**zone)))?)
        }
        [Val::Duration(value)] => time::whole(op, *value),
        _ => None,
    };
    found.map(Val::Int).ok_or_else(Error::no_overload)
}

fn aggregate<'a>(op: Op, args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>> {
    let list = one(args)?;
    if list.count().is_none() {
        return Err(Error::no_overload());
    }
    let mut items = list.items();
    let Some(mut held) = items.next() else {
        return match op {
            Op::IsSorted => Ok(Val::Bool(true)),
            Op::Sum => Ok(Val::Int(0)),
            Op::Min => Err(Error::new("min called on empty list")),
            _ => Err(Error::new("max called on empty list")),
        };
    };
    if op == Op::IsSorted || op == Op::Min || op == Op::Max {
        held.order(&held).ok_or_else(Error::no_overload)?;
    }
    for item in items {
        meter.work(1)?;
        let order = || item.order(&held).ok_or_else(Error::no_overload);
        let takes = match op {
            Op::Sum => {
                held = arithmetic(Op::Add, &[held, item], meter)?;
                continue;
            }
            Op::IsSorted if order()? == Ordering::Less => return Ok(Val::Bool(false)),
            Op::IsSorted => true,
            Op::Min => order()? == Ordering::Less,
            _ => order()? == Ordering::Greater,
        };
        if takes {
            held = item;
        }
    }
    Ok(if op == Op::IsSorted { Val::Bool(true) } else { held })
}

fn quantity<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    if let Op::Quantity | Op::IsQuantity = op {
        return match (op, Quantity::parse(text_of(args, 0)?)) {
            (Op::IsQuantity, found) => Ok(Val::Bool(found.is_ok())),
            (_, Ok(found)) => Ok(Val::Quantity(found)),
            (_, Err(error)) => Err(Error::new(error.to_string())),
        };
    }
    let Val::Quantity(of) = one(args)? else { return Err(Error::no_overload()) };
    let other = match args.get(1) {
        Some(Val::Quantity(other)) => *other,
        Some(Val::Int(other)) => Quantity::from_units(*other, quantity::Format::DecimalSi),
        _ => Quantity::ZERO,
    };
    let whole = of.is_whole() && !matches!(of.value_ceil(), i64::MAX | i64::MIN);
    Ok(match op {
        Op::Sign => Val::Int(if of.is_zero() {
            0
        } else if of.is_negative() {
            -1
        } else {
            1
        }),
        Op::IsInteger => Val::Bool(whole),
        Op::AsInteger if whole => Val::Int(of.value_ceil()),
        Op::AsInteger => return Err(Error::new("cannot convert value to integer")),
        Op::AsFloat => Val::Double(of.to_f64()),
        Op::QuantityAdd => Val::Quantity(*of + other),
        _ => Val::Quantity(*of - other),
    })
}

fn semver<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    if let Op::Semver | Op::IsSemver = op {
        let tolerant = args.get(1).and_then(Val::as_bool).unwrap_or_default();
        return match (op, Semver::parse(text_of(args, 0)?, tolerant)) {
            (Op::IsSemver, found) => Ok(Val::Bool(found.is_some())),
            (_, Some(found)) => Ok(Val::Semver(Rc::new(found))),
            (_, None) => {
                Err(Error::new(format!("semver parse error during conversion from string: {:?}", text_of(args, 0)?)))
            }
        };
    }
    let Val::Semver(of) = one(args)? else { return Err(Error::no_overload()) };
    let part = match op {
        Op::Major => of.major,
        Op::Minor => of.minor,
        _ => of.patch,
    };
    Ok(Val::Int(i64::try_from(part).map_err(|_| Error::new("integer overflow"))?))
}

fn sets<'a>(op: Op, args: &[Val<'a>], meter: &mut Meter) -> Result<Val<'a>> {
    let [one, other] = args else { return Err(Error::no_overload()) };
    if one.count().is_none() || other.count().is_none() {
        return Err(Error::no_overload());
    }
    let mut holds_all = |one: &Val<'a>, other: &Val<'a>| -> Result<bool> {
        for item in other.items() {
            if !one.contains(&item, meter)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    Ok(Val::Bool(match op {
        Op::SetsContains => holds_all(one, other)?,
        Op::SetsEquivalent => holds_all(one, other)? && holds_all(other, one)?,
        _ => {
            for item in other.items() {
                if one.contains(&item, meter)? {
                    return Ok(Val::Bool(true));
                }
            }
            false
        }
    }))
}

fn optional<'a>(op: Op, args: &[Val<'a>]) -> Result<Val<'a>> {
    match (op, args) {
        (Op::OptionalNone, []) => Ok(Val::Optional(None)),
        (Op::OptionalOf, [value]) => Ok(value.clone().some()),
        (Op::OptionalOfNonZero, [value]) if value.is_zero() => Ok(Val::Optional(None)),
        (Op::OptionalOfNonZero, [value]) => Ok(value.clone().some()),
        (Op::HasValue, [Val::Optional(value)]) => Ok(Val::Bool(value.is_some())),
        (Op::Value, [Val::Optional(Some(value))]) => Ok((**value).clone()),
        (Op::Value, [Val::Optional(None)]) => Err(Error::new("optional.none() dereference")),
        _ => Err(Error::no_overload()),
    }
}
