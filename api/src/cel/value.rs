//! Values that expressions work with.
//!
//! Objects are not copied: a value of an object is a reference into its JSON, with the schema at that place where there is one, by which
//! texts become times and numbers doubles as they are read. What expressions make themselves is shared.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use base64::Engine;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use super::authorizer::Authority;
use super::eval::{Error, Meter};
use super::image::Image;
use super::network::{Cidr, Url};
use super::semver::Semver;
use crate::quantity::Quantity;
use crate::structural::format::Format;
use crate::structural::node::{ListType, Node, Type};

/// A text of an object or of an expression, or one that was made.
#[derive(Clone, Debug)]
pub enum Text<'a> {
    Borrowed(&'a str),
    Shared(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Text::Borrowed(text) => text,
            Text::Shared(text) => text,
        }
    }
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Text(Rc<str>),
}

/// A value.
#[derive(Clone)]
pub enum Val<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Rc<[u8]>),
    Duration(SignedDuration),
    Timestamp(Timestamp),
    /// A list of an object.
    Array(&'a [Value], Option<&'a Node>),
    /// An object, or a map of one.
    Object(&'a Map<String, Value>, Option<&'a Node>),
    List(Rc<[Val<'a>]>),
    Map(Rc<BTreeMap<Key, Val<'a>>>),
    Optional(Option<Rc<Val<'a>>>),
    Type(&'static str),
    Url(Rc<Url>),
    Quantity(Quantity),
    Ip(std::net::IpAddr),
    Cidr(Cidr),
    Format(&'static str),
    Semver(Rc<Semver>),
    Image(Rc<Image>),
    /// Asks an authorizer, or its answer.
    Authority(Authority<'a>),
    /// An object whose fields are computed when they are asked for.
    Lazy(Rc<dyn Fields<'a> + 'a>),
}

/// An object whose fields are computed: `variables`.
pub trait Fields<'a> {
    /// The value of a field; none where there is no such field. What it costs goes to the meter.
    fn field(self: Rc<Self>, name: &str, meter: &mut Meter) -> Option<Result<Val<'a>, Error>>;
}

impl<'a> Val<'a> {
    /// A value of an object, at a place with this schema.
    pub fn of(value: &'a Value, node: Option<&'a Node>) -> Val<'a> {
        match value {
            Value::Null => Val::Null,
            Value::Bool(value) => Val::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(value) if node.is_none_or(|it| it.kind != Type::Number) => Val::Int(value),
                _ => Val::Double(number.as_f64().unwrap_or_default()),
            },
            Value::String(text) => of_text(text, node),
            Value::Array(items) => Val::Array(items, node),
            Value::Object(fields) => Val::Object(fields, node),
        }
    }

    /// A text that was made.
    pub fn text(text: impl Into<Rc<str>>) -> Val<'a> {
        Val::Text(Text::Shared(text.into()))
    }

    /// A list that was made.
    pub fn list(items: Vec<Val<'a>>) -> Val<'a> {
        Val::List(items.into())
    }

    /// An optional of this.
    pub fn some(self) -> Val<'a> {
        Val::Optional(Some(Rc::new(self)))
    }

    /// The truth that it is.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Val::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The text that it is.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Val::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How many elements, entries or bytes it holds; one for scalars. What costs go by.
    pub fn size(&self) -> u64 {
        let size = match self {
            Val::Text(text) => text.len(),
            Val::Bytes(bytes) => bytes.len(),
            Val::Array(items, _) => items.len(),
            Val::List(items) => items.len(),
            Val::Object(fields, _) => fields.len(),
            Val::Map(entries) => entries.len(),
            _ => 1,
        };
        size as u64
    }

    /// How many elements a list has.
    pub fn count(&self) -> Option<usize> {
        match self {
            Val::Array(items, _) => Some(items.len()),
            Val::List(items) => Some(items.len()),
            _ => None,
        }
    }

    /// An element of a list.
    pub fn at(&self, index: usize) -> Option<Val<'a>> {
        match self {
            Val::Array(items, node) => Some(Val::of(items.get(index)?, node.and_then(|it| it.items.as_deref()))),
            Val::List(items) => items.get(index).cloned(),
            _ => None,
        }
    }

    /// The elements of a list.
    pub fn items(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.count().unwrap_or_default()).filter_map(|index| self.at(index))
    }

    /// An entry of a map or a field of an object.
    pub fn get(&self, key: &str) -> Option<Val<'a>> {
        match self {
            Val::Object(fields, node) => Some(of_field(fields.get(key)?, key, *node)),
            Val::Map(entries) => entries.get(&Key::Text(key.into())).cloned(),
            _ => None,
        }
    }

    /// The entry of a map under a key of any type.
    pub fn entry(&self, key: &Val<'a>) -> Option<Val<'a>> {
        match (self, key) {
            (_, Val::Text(text)) => self.get(text),
            (Val::Map(entries), _) => entries.get(&key.to_key()?).cloned(),
            _ => None,
        }
    }

    /// It as the key of a map.
    pub fn to_key(&self) -> Option<Key> {
        Some(match self {
            Val::Bool(value) => Key::Bool(*value),
            Val::Int(value) => Key::Int(*value),
            Val::Uint(value) => Key::Int(i64::try_from(*value).ok()?),
            Val::Double(value) if value.fract() == 0.0 && value.abs() < 9e15 => Key::Int(*value as i64),
            Val::Text(text) => Key::Text((**text).into()),
            _ => return None,
        })
    }

    /// The keys of a map, in order; none where it is no map.
    pub fn keys(&self) -> Option<Vec<Val<'a>>> {
        match self {
            Val::Object(fields, _) => Some(fields.keys().map(|it| Val::Text(Text::Borrowed(it))).collect()),
            Val::Map(entries) => Some(
                entries
                    .keys()
                    .map(|it| match it {
                        Key::Bool(value) => Val::Bool(*value),
                        Key::Int(value) => Val::Int(*value),
                        Key::Text(text) => Val::text(text.clone()),
                    })
                    .collect(),
            ),
            _ => None,
        }
    }

    /// How messages and `type(x)` name its type.
    pub fn type_name(&self) -> &'static str {
        use super::functions as f;
        match self {
            Val::Null => "null_type",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int",
            Val::Uint(_) => "uint",
            Val::Double(_) => "double",
            Val::Text(_) => "string",
            Val::Bytes(_) => "bytes",
            Val::Duration(_) => "google.protobuf.Duration",
            Val::Timestamp(_) => "google.protobuf.Timestamp",
            Val::Array(..) | Val::List(_) => "list",
            Val::Object(..) | Val::Map(_) | Val::Lazy(_) => "map",
            Val::Optional(_) => "optional_type",
            Val::Type(_) => "type",
            Val::Url(_) => f::URL,
            Val::Quantity(_) => f::QUANTITY,
            Val::Ip(_) => f::IP,
            Val::Cidr(_) => f::CIDR,
            Val::Format(_) => f::FORMAT,
            Val::Semver(_) => f::SEMVER,
            Val::Image(_) => f::IMAGE,
            Val::Authority(it) => it.type_name(),
        }
    }

    /// Whether it counts as nothing for `optional.ofNonZeroValue`.
    pub fn is_zero(&self) -> bool {
        match self {
            Val::Null | Val::Bool(false) | Val::Int(0) | Val::Uint(0) | Val::Optional(None) => true,
            Val::Double(value) => *value == 0.0,
            Val::Duration(value) => value.is_zero(),
            Val::Text(_) | Val::Bytes(_) | Val::Array(..) | Val::List(_) | Val::Object(..) | Val::Map(_) => {
                self.size() == 0
            }
            _ => false,
        }
    }

    /// It as JSON, for audit annotations and the like; none for what JSON has no form of.
    pub fn to_json(&self) -> Option<Value> {
        Some(match self {
            Val::Null => Value::Null,
            Val::Bool(value) => (*value).into(),
            Val::Int(value) => (*value).into(),
            Val::Uint(value) => (*value).into(),
            Val::Double(value) => (*value).into(),
            Val::Text(text) => (**text).into(),
            Val::Bytes(bytes) => base64::engine::general_purpose::STANDARD.encode(bytes).into(),
            Val::Array(items, _) => items.to_vec().into(),
            Val::Object(fields, _) => Value::Object((*fields).clone()),
            Val::List(items) => Value::Array(items.iter().map(Val::to_json).collect::<Option<_>>()?),
            Val::Map(entries) => {
                let text = |key: &Key| match key {
                    Key::Bool(value) => value.to_string(),
                    Key::Int(value) => value.to_string(),
                    Key::Text(text) => text.to_string(),
                };
                let entries = entries.iter().map(|(key, it)| Some((text(key), it.to_json()?)));
                Value::Object(entries.collect::<Option<_>>()?)
            }
            Val::Duration(value) => super::time::duration_text(*value).into(),
            Val::Timestamp(value) => value.to_string().into(),
            Val::Optional(value) => return value.as_ref().map_or(Some(Value::Null), |it| it.to_json()),
            Val::Quantity(value) => value.to_text().0.into(),
            Val::Ip(value) => value.to_string().into(),
            Val::Cidr(value) => value.to_string().into(),
            _ => return None,
        })
    }

    /// Whether two values are equal. Numbers are by what they are worth, lists of list type set and map in any order.
    ///
    /// # Errors
    /// Where comparing takes more work than is allowed.
    pub fn equals(&self, other: &Val<'a>, meter: &mut Meter) -> Result<bool, Error> {
        meter.work(1 + self.size().min(other.size()) / 16)?;
        Ok(match (self, other) {
            (Val::Text(one), Val::Text(other)) => **one == **other,
            (Val::Bytes(one), Val::Bytes(other)) => one == other,
            (Val::Null, Val::Null) => true,
            (Val::Bool(one), Val::Bool(other)) => one == other,
            (Val::Duration(one), Val::Duration(other)) => one == other,
            (Val::Timestamp(one), Val::Timestamp(other)) => one == other,
            (Val::Type(one), Val::Type(other)) => one == other,
            (Val::Quantity(one), Val::Quantity(other)) => one == other,
            (Val::Ip(one), Val::Ip(other)) => one == other,
            (Val::Cidr(one), Val::Cidr(other)) => one == other,
            (Val::Url(one), Val::Url(other)) => one == other,
            (Val::Semver(one), Val::Semver(other)) => one.cmp(other).is_eq(),
            (Val::Format(one), Val::Format(other)) => one == other,
            (Val::Image(one), Val::Image(other)) => one == other,
            (Val::Optional(one), Val::Optional(other)) => match (one, other) {
                (None, None) => true,
                (Some(one), Some(other)) => one.equals(other, meter)?,
                _ => false,
            },
            (Val::Array(..) | Val::List(_), Val::Array(..) | Val::List(_)) => self.equals_list(other, meter)?,
            (Val::Object(one, _), Val::Object(other, _)) if std::ptr::eq(*one, *other) => true,
            (Val::Object(..) | Val::Map(_), Val::Object(..) | Val::Map(_)) => {
                if self.size() != other.size() {
                    return Ok(false);
                }
                for key in self.keys().unwrap_or_default() {
                    let (Some(one), Some(two)) = (self.entry(&key), other.entry(&key)) else { return Ok(false) };
                    if !one.equals(&two, meter)? {
                        return Ok(false);
                    }
                }
                true
            }
            _ => self.order(other).is_some_and(Ordering::is_eq),
        })
    }

    fn equals_list(&self, other: &Val<'a>, meter: &mut Meter) -> Result<bool, Error> {
        if self.count() != other.count() {
            return Ok(false);
        }
        let is_unordered = |it: &Val<'_>| matches!(it, Val::Array(_, Some(node)) if node.list != ListType::Atomic);
        if is_unordered(self) || is_unordered(other) {
            for one in self.items() {
                if !other.contains(&one, meter)? {
                    return Ok(false);
                }
            }
            return Ok(true);
        }
        for (one, other) in self.items().zip(other.items()) {
            if !one.equals(&other, meter)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a list has such an element.
    ///
    /// # Errors
    /// As [`Val::equals`].
    pub fn contains(&self, wanted: &Val<'a>, meter: &mut Meter) -> Result<bool, Error> {
        for item in self.items() {
            if item.equals(wanted, meter)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Which of two values of an ordered type comes first; none where they cannot be compared.
    pub fn order(&self, other: &Val<'a>) -> Option<Ordering> {
        Some(match (self, other) {
            (Val::Bool(one), Val::Bool(other)) => one.cmp(other),
            (Val::Int(one), Val::Int(other)) => one.cmp(other),
            (Val::Uint(one), Val::Uint(other)) => one.cmp(other),
            (Val::Int(one), Val::Uint(other)) => i128::from(*one).cmp(&i128::from(*other)),
            (Val::Uint(one), Val::Int(other)) => i128::from(*one).cmp(&i128::from(*other)),
            (Val::Double(one), Val::Double(other)) => return one.partial_cmp(other),
            (Val::Double(one), Val::Int(other)) => return one.partial_cmp(&(*other as f64)),
            (Val::Int(one), Val::Double(other)) => return (*one as f64).partial_cmp(other),
            (Val::Double(one), Val::Uint(other)) => return one.partial_cmp(&(*other as f64)),
            (Val::Uint(one), Val::Double(other)) => return (*one as f64).partial_cmp(other),
            (Val::Text(one), Val::Text(other)) => (**one).cmp(&**other),
            (Val::Bytes(one), Val::Bytes(other)) => one.cmp(other),
            (Val::Duration(one), Val::Duration(other)) => one.cmp(other),
            (Val::Timestamp(one), Val::Timestamp(other)) => one.cmp(other),
            (Val::Quantity(one), Val::Quantity(other)) => one.cmp(other),
            (Val::Semver(one), Val::Semver(other)) => one.cmp(other),
            _ => return None,
        })
    }
}

fn of_field<'a>(value: &'a Value, key: &str, node: Option<&'a Node>) -> Val<'a> {
    Val::of(value, node.and_then(|it| it.child(key)).map(|(it, _)| it))
}

/// A text, or what its format makes of it.
fn of_text<'a>(text: &'a str, node: Option<&'a Node>) -> Val<'a> {
    let format = node.filter(|it| it.kind == Type::String).and_then(|it| it.limits.as_ref()?.format.as_ref());
    let made = match format.map(|(it, _)| *it) {
        Some(Format::DateTime) => text.parse().ok().map(Val::Timestamp),
        Some(Format::Date) => format!("{text}T00:00:00Z").parse().ok().map(Val::Timestamp),
        Some(Format::Duration) => super::time::duration(text).map(Val::Duration),
        Some(Format::Byte) => {
            base64::engine::general_purpose::STANDARD.decode(text).ok().map(|it| Val::Bytes(it.into()))
        }
        _ => None,
    };
    made.unwrap_or(Val::Text(Text::Borrowed(text)))
}
