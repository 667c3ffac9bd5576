//! One JSON object made into one message: the way back of [`super::object`], over the same table.
//!
//! In: an object and its [`Message`]. Out: the message's bytes, fields in the order of their numbers and maps in the order of their keys, as Go
//! writes them. What is null or, where Go leaves it out of JSON, zero is not written: to every reader that is the same as a zero that is.
//! Fields that the table does not know are not written either, and a value of another type than its field's is left out: what is stored was
//! decoded by its type before.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::messages::{self, Count, Form, Message};

/// Wire types: what stands behind a field's number.
const VARINT: u32 = 0;
const FIXED_64: u32 = 1;
const BYTES: u32 = 2;

/// Appends a number in groups of seven bits.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How many bytes [`varint`] appends.
pub fn varint_len(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

fn tag(out: &mut Vec<u8>, number: u32, wire: u32) {
    varint(out, u64::from(number << 3 | wire));
}

/// Appends a field that holds bytes.
pub fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    tag(out, number, BYTES);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn int(out: &mut Vec<u8>, number: u32, value: i64) {
    tag(out, number, VARINT);
    varint(out, value.cast_unsigned());
}

/// Appends a field that holds what `fill` appends. Its length stands before it and is known only behind it: one byte is kept free for it,
/// which does for most, and what is longer is moved up.
fn nested(out: &mut Vec<u8>, number: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    tag(out, number, BYTES);
    let at = out.len();
    out.push(0);
    fill(out);
    let length = out.len() - at - 1;
    let more = varint_len(length as u64) - 1;
    if more > 0 {
        out.resize(out.len() + more, 0);
        out.copy_within(at + 1..at + 1 + length, at + 1 + more);
    }
    let mut left = length;
    for (place, byte) in out[at..=at + more].iter_mut().enumerate() {
        *byte = (left & 0x7f) as u8 | if place < more { 0x80 } else { 0 };
        left >>= 7;
    }
}

/// Appends the fields of a message.
pub fn message(out: &mut Vec<u8>, message: &Message, object: &Map<String, Value>) {
    for field in &message.fields {
        if field.count == Count::Inline {
            if let Form::Message(inner) = field.form {
                let before = out.len();
                nested(out, field.number, |out| self::message(out, messages::at(inner), object));
                // Two bytes are the field's tag and a length of zero: none of its fields is there. No embedded message has a number above 15.
                if out.len() == before + 2 {
                    out.truncate(before);
                }
            }
            continue;
        }
        let Some(value) = object.get(field.name) else { continue };
        match (field.count, value) {
            (_, Value::Null) => {}
            (Count::List, Value::Array(items)) => items.iter().for_each(|it| one(out, field.number, field.form, it)),
            (Count::Map, Value::Object(entries)) => {
                for (key, value) in entries {
                    nested(out, field.number, |out| {
                        bytes(out, 1, key.as_bytes());
                        one(out, 2, field.form, value);
                    });
                }
            }
            (Count::NonZero, value) if is_zero(value) => {}
            (Count::One | Count::NonZero, value) => one(out, field.number, field.form, value),
            _ => {}
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(it) => !it,
        Value::Number(it) => it.as_i64() == Some(0),
        Value::String(it) => it.is_empty(),
        _ => false,
    }
}

/// Appends one field that is there.
fn one(out: &mut Vec<u8>, number: u32, form: Form, value: &Value) {
    match (form, value) {
        (Form::String, Value::String(it)) => bytes(out, number, it.as_bytes()),
        (Form::Int, Value::Number(it)) => int(out, number, it.as_i64().unwrap_or_default()),
        (Form::Bool, Value::Bool(it)) => int(out, number, i64::from(*it)),
        (Form::Bytes, Value::String(it)) => bytes(out, number, &STANDARD.decode(it).unwrap_or_default()),
        (Form::Quantity, Value::String(it)) => nested(out, number, |out| bytes(out, 1, it.as_bytes())),
        (Form::Quantity, Value::Number(it)) => nested(out, number, |out| bytes(out, 1, it.to_string().as_bytes())),
        (Form::IntOrString, Value::Number(it)) => nested(out, number, |out| {
            int(out, 1, 0);
            int(out, 2, it.as_i64().unwrap_or_default());
        }),
        (Form::IntOrString, Value::String(it)) => nested(out, number, |out| {
            int(out, 1, 1);
            bytes(out, 3, it.as_bytes());
        }),
        (Form::Time | Form::MicroTime, Value::String(it)) => {
            let Ok(time) = it.parse::<Timestamp>() else { return };
            nested(out, number, |out| {
                // Both even if they are zero: an empty message is no time at all.
                int(out, 1, time.as_second());
                int(out, 2, i64::from(time.subsec_nanosecond()));
            });
        }
        (Form::Raw, value) => nested(out, number, |out| bytes(out, 1, value.to_string().as_bytes())),
        (Form::Strings, Value::Array(items)) => nested(out, number, |out| {
            items.iter().filter_map(Value::as_str).for_each(|it| bytes(out, 1, it.as_bytes()));
        }),
        (Form::Double, Value::Number(it)) => {
            tag(out, number, FIXED_64);
            out.extend_from_slice(&it.as_f64().unwrap_or_default().to_le_bytes());
        }
        (Form::Message(inner), Value::Object(object)) => {
            nested(out, number, |out| message(out, messages::at(inner), object));
        }
        (Form::OrBool(inner), value) => nested(out, number, |out| match value {
            Value::Object(_) => {
                int(out, 1, 1);
                one(out, 2, Form::Message(inner), value);
            }
            value => one(out, 1, Form::Bool, value),
        }),
        (Form::OrList(inner), value) => nested(out, number, |out| match value {
            Value::Array(items) => items.iter().for_each(|it| one(out, 2, Form::Message(inner), it)),
            value => one(out, 1, Form::Message(inner), value),
        }),
        (Form::OrStrings(inner), value) => nested(out, number, |out| match value {
            Value::Array(items) => items.iter().for_each(|it| one(out, 2, Form::String, it)),
            value => one(out, 1, Form::Message(inner), value),
        }),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_any_size_stand_before_what_they_measure() {
        for length in [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_152] {
            let mut out = vec![7];
            let text = vec![b'x'; length];
            nested(&mut out, 3, |out| out.extend_from_slice(&text));
            let mut expected = vec![7];
            bytes(&mut expected, 3, &text);
            assert!(out == expected, "{length}");
            let mut number = Vec::new();
            varint(&mut number, length as u64);
            assert_eq!(number.len(), varint_len(length as u64));
        }
        assert_eq!(varint_len(u64::MAX), 10);
    }
}
