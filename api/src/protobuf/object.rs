//! One message made into one JSON object.
//!
//! In: the message's bytes and its [`Message`] of the table. Out: the object. What Go's readers and writers do, this does: a field that comes
//! twice counts the second time, messages that come twice are merged, unknown fields are skipped, packed lists and others are both read.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Malformed;
use super::messages::{self, Count, Field, Form, Message};
use super::wire::{Reader, Wire};

/// How deep messages may be nested. The deepest of the built-in kinds have some fifteen levels; only the schemas of definitions hold themselves, by
/// one or two levels of messages for each of their own. JSON ends at 128 of its levels, which are as many.
const DEPTH_MAX: usize = 128;

/// Below this every whole number has a place of its own among the doubles (2^53).
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// The object of a message.
///
/// # Errors
/// [`Malformed`], with the field in which something is wrong.
pub fn decode(bytes: &[u8], message: &Message) -> Result<Map<String, Value>, Malformed> {
    let mut out = Map::new();
    merge(bytes, message, &mut out, 0)?;
    Ok(out)
}

/// Adds the fields of a message to an object.
fn merge(bytes: &[u8], message: &Message, out: &mut Map<String, Value>, depth: usize) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        let Some(field) = message.field(number) else { continue };
        if depth == DEPTH_MAX {
            return Err(Malformed::TooDeep(field.name.to_owned()));
        }
        match field.count {
            Count::Inline => {
                if let Form::Message(inner) = field.form {
                    merge(bytes_of(field.name, wire)?, messages::at(inner), out, depth + 1)?;
                }
            }
            Count::One | Count::NonZero => set(field, wire, out, depth)?,
            Count::List => {
                let entry = out.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
                let Value::Array(list) = entry else { return Err(wrong(field.name)) };
                match (field.form, wire) {
                    (Form::Int, Wire::Bytes(packed)) => {
                        let mut packed = Reader::new(packed);
                        while let Some(number) = packed.next_packed()? {
                            list.push(number.cast_signed().into());
                        }
                    }
                    _ => list.push(value(field.name, field.form, wire, depth)?),
                }
            }
            Count::Map => {
                let (key, value) = entry(field, wire, depth)?;
                let map = out.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(map) = map else { return Err(wrong(field.name)) };
                map.insert(key, value);
            }
        }
    }
    Ok(())
}

/// Sets a field that stands once.
fn set(field: &Field, wire: Wire<'_>, out: &mut Map<String, Value>, depth: usize) -> Result<(), Malformed> {
    if let (Form::Message(inner), Some(Value::Object(before))) = (field.form, out.get_mut(field.name)) {
        return merge(bytes_of(field.name, wire)?, messages::at(inner), before, depth + 1);
    }
    let value = value(field.name, field.form, wire, depth)?;
    let zero = match &value {
        // A time that is not set is `null` in JSON, and means the same as none.
        Value::Null => true,
        Value::Bool(it) => field.count == Count::NonZero && !it,
        Value::Number(it) => field.count == Count::NonZero && it.as_i64() == Some(0),
        Value::String(it) => field.count == Count::NonZero && it.is_empty(),
        _ => false,
    };
    if zero {
        out.remove(field.name);
    } else {
        out.insert(field.name.to_owned(), value);
    }
    Ok(())
}

/// One entry of a map: a message of a key and a value, each zero where it is not there. No map holds numbers, so that the zero of all
/// is the empty text, list or message.
fn entry(field: &Field, wire: Wire<'_>, depth: usize) -> Result<(String, Value), Malformed> {
    let mut reader = Reader::new(bytes_of(field.name, wire)?);
    let mut key = String::new();
    let mut given = Wire::Bytes(&[]);
    while let Some((number, wire)) = reader.next()? {
        match number {
            1 => key = text(field.name, wire)?,
            2 => given = wire,
            _ => {}
        }
    }
    Ok((key, value(field.name, field.form, given, depth)?))
}

fn value(name: &str, form: Form, wire: Wire<'_>, depth: usize) -> Result<Value, Malformed> {
    Ok(match form {
        Form::String => text(name, wire)?.into(),
        Form::Int => int(name, wire)?.into(),
        Form::Bool => (int(name, wire)? != 0).into(),
        Form::Bytes => STANDARD.encode(bytes_of(name, wire)?).into(),
        Form::Quantity => match field_of(name, wire, 1)? {
            Some(amount) => text(name, amount)?.into(),
            None => "0".into(),
        },
        Form::IntOrString => match field_of(name, wire, 1)? {
            // `intstr.Type`: zero stands for a number, one for a text.
            Some(Wire::Varint(1)) => match field_of(name, wire, 3)? {
                Some(given) => text(name, given)?.into(),
                None => "".into(),
            },
            None | Some(Wire::Varint(0)) => match field_of(name, wire, 2)? {
                Some(given) => int(name, given)?.into(),
                None => 0.into(),
            },
            Some(_) => {
                return Err(Malformed::Value { field: name.to_owned(), why: "neither int nor string".to_owned() });
            }
        },
        Form::Time | Form::MicroTime => time(name, form, wire)?,
        Form::Raw => match field_of(name, wire, 1)? {
            Some(json) => serde_json::from_slice(bytes_of(name, json)?)
                .map_err(|error| Malformed::Value { field: name.to_owned(), why: error.to_string() })?,
            None => Value::Null,
        },
        Form::Strings => {
            let mut list = Vec::new();
            let mut reader = Reader::new(bytes_of(name, wire)?);
            while let Some((number, wire)) = reader.next()? {
                if number == 1 {
                    list.push(text(name, wire)?.into());
                }
            }
            Value::Array(list)
        }
        Form::Double => double(name, wire)?,
        Form::Message(inner) => {
            let mut out = Map::new();
            merge(bytes_of(name, wire)?, messages::at(inner), &mut out, depth + 1)?;
            Value::Object(out)
        }
        Form::OrBool(inner) => match field_of(name, wire, 2)? {
            Some(object) => value(name, Form::Message(inner), object, depth + 1)?,
            None => match field_of(name, wire, 1)? {
                Some(given) => value(name, Form::Bool, given, depth)?,
                None => false.into(),
            },
        },
        Form::OrList(inner) => either(name, wire, Form::Message(inner), Form::Message(inner), depth)?,
        Form::OrStrings(inner) => either(name, wire, Form::Message(inner), Form::String, depth)?,
    })
}

/// One object, the first field of the message, or else a list, the second.
fn either(name: &str, wire: Wire<'_>, object: Form, item: Form, depth: usize) -> Result<Value, Malformed> {
    if let Some(given) = field_of(name, wire, 1)? {
        return value(name, object, given, depth + 1);
    }
    let mut list = Vec::new();
    let mut reader = Reader::new(bytes_of(name, wire)?);
    while let Some((number, wire)) = reader.next()? {
        if number == 2 {
            list.push(value(name, item, wire, depth + 1)?);
        }
    }
    Ok(Value::Array(list))
}

/// A number with a fraction; one that has none is written without, as Go does.
fn double(name: &str, wire: Wire<'_>) -> Result<Value, Malformed> {
    let Wire::Fixed64(bits) = wire else { return Err(wrong(name)) };
    let number = f64::from_bits(bits);
    if number.fract() == 0.0 && number.abs() < WHOLE_MAX {
        return Ok((number as i64).into());
    }
    let why = || Malformed::Value { field: name.to_owned(), why: format!("{number} is no number in JSON") };
    serde_json::Number::from_f64(number).map(Value::Number).ok_or_else(why)
}

/// A time in the form of JSON; null for the one that is not set, which has no field at all.
fn time(name: &str, form: Form, wire: Wire<'_>) -> Result<Value, Malformed> {
    if bytes_of(name, wire)?.is_empty() {
        return Ok(Value::Null);
    }
    let part = |number| field_of(name, wire, number)?.map_or(Ok(0), |it| int(name, it));
    let (seconds, nanoseconds) = (part(1)?, part(2)?);
    let out_of_range = |error: jiff::Error| Malformed::Value { field: name.to_owned(), why: error.to_string() };
    let time = Timestamp::from_second(seconds).map_err(out_of_range)?;
    if form == Form::Time {
        return Ok(time.to_string().into());
    }
    // Kubernetes cuts off what is finer than a microsecond, and prints all six places.
    let micros = nanoseconds.clamp(0, 999_999_999) / 1000;
    let whole = time.strftime("%Y-%m-%dT%H:%M:%S");
    Ok(format!("{whole}.{micros:06}Z").into())
}

/// The last field of this number in a small message.
fn field_of<'a>(name: &str, wire: Wire<'a>, number: u32) -> Result<Option<Wire<'a>>, Malformed> {
    let mut reader = Reader::new(bytes_of(name, wire)?);
    let mut found = None;
    while let Some((it, wire)) = reader.next()? {
        if it == number {
            found = Some(wire);
        }
    }
    Ok(found)
}

fn bytes_of<'a>(name: &str, wire: Wire<'a>) -> Result<&'a [u8], Malformed> {
    if let Wire::Bytes(bytes) = wire { Ok(bytes) } else { Err(wrong(name)) }
}

fn int(name: &str, wire: Wire<'_>) -> Result<i64, Malformed> {
    if let Wire::Varint(number) = wire { Ok(number.cast_signed()) } else { Err(wrong(name)) }
}

/// A text.
///
/// # Errors
/// Where the field is none, or not UTF-8.
pub fn text(name: &str, wire: Wire<'_>) -> Result<String, Malformed> {
    let text = std::str::from_utf8(bytes_of(name, wire)?);
    text.map(str::to_owned).map_err(|error| Malformed::Value { field: name.to_owned(), why: error.to_string() })
}

fn wrong(name: &str) -> Malformed {
    Malformed::WireType(name.to_owned())
}
