//! An object with every field set that its schema has, each with a value of its own.
//!
//! In: the schemas of the OpenAPI document. Out: the object, and a list of what was put where, in the words of protobuf: a time is its seconds,
//! a quantity its text. It does not know the table of messages, which it is there to judge.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// A value that stands somewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Token {
    Text(String),
    Number(i64),
    /// The bits of a number with a fraction.
    Double(u64),
    Truth(bool),
    Bytes(Vec<u8>),
}

/// A value and where it stands. Names are in lower case, without anything but letters and digits.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub path: Vec<String>,
    pub token: Token,
}

/// Which of the truths are true.
#[derive(Clone, Copy, Debug)]
pub enum Truths {
    All,
    /// Those whose number has this bit.
    Bit(u32),
}

/// The first number. Smaller ones are bytes, or say of which kind a union is.
pub const FIRST: i64 = 1000;

/// How often a type may hold itself.
const WITHIN_ITSELF_MAX: usize = 2;

/// See the file's header.
pub struct Filled<'a> {
    schemas: &'a Map<String, Value>,
    truths: Truths,
    next: i64,
    path: Vec<String>,
    open: Vec<&'a str>,
    pub object: Value,
    pub leaves: Vec<Leaf>,
}

/// A name of either side, as both write it.
pub fn plain(name: &str) -> String {
    let name = name.strip_prefix("r#").unwrap_or(name);
    name.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase()).collect()
}

impl<'a> Filled<'a> {
    /// An object of a schema.
    pub fn of(schemas: &'a Map<String, Value>, of: &'a Value, truths: Truths) -> Self {
        let mut made = Filled {
            schemas,
            truths,
            next: FIRST,
            path: Vec::new(),
            open: Vec::new(),
            object: Value::Null,
            leaves: Vec::new(),
        };
        made.object = made.fields(of);
        made
    }

    fn number(&mut self) -> i64 {
        self.next += 1;
        self.next
    }

    fn put(&mut self, token: Token) {
        self.leaves.push(Leaf { path: self.path.clone(), token });
    }

    fn within(&mut self, name: &str, of: &'a Value) -> Option<Value> {
        self.path.push(plain(name));
        let value = self.value(of);
        self.path.pop();
        value
    }

    /// The fields of an object. Of which kind it is stands in no message, if it has a kind at all.
    fn fields(&mut self, of: &'a Value) -> Value {
        let has_kind = of["x-kubernetes-group-version-kind"].is_array();
        let properties = of["properties"].as_object().into_iter().flatten();
        let fields = properties.filter(|(name, _)| !has_kind || !["kind", "apiVersion"].contains(&name.as_str()));
        fields.filter_map(|(name, it)| Some((name.clone(), self.within(name, it)?))).collect()
    }

    /// A value of a type; none where the type holds itself too often.
    fn value(&mut self, of: &'a Value) -> Option<Value> {
        if let Some(name) = of["$ref"].as_str().and_then(|it| it.rsplit('/').next()) {
            return self.of_type(name);
        }
        if let Some(inner) = of["allOf"].get(0) {
            return self.value(inner);
        }
        let number = self.number();
        Some(match of["type"].as_str().unwrap_or_default() {
            "string" if of["format"] == "byte" => self.bytes(number),
            "string" => self.text(format!("t{number}")),
            "integer" => {
                self.put(Token::Number(number));
                number.into()
            }
            "number" => {
                let double = number as f64 + 0.5;
                self.put(Token::Double(double.to_bits()));
                double.into()
            }
            "boolean" => {
                let truth = match self.truths {
                    Truths::All => true,
                    Truths::Bit(bit) => number >> bit & 1 == 1,
                };
                self.put(Token::Truth(truth));
                truth.into()
            }
            "array" => vec![self.within("0", &of["items"])?].into(),
            "object" if of["additionalProperties"].is_object() => {
                let key = format!("key{number}");
                let value = self.within(&key, &of["additionalProperties"])?;
                Value::Object(Map::from_iter([(key, value)]))
            }
            "object" => self.fields(of),
            other => panic!("{:?} is of type {other:?}", self.path),
        })
    }

    fn text(&mut self, text: String) -> Value {
        self.put(Token::Text(text.clone()));
        text.into()
    }

    fn bytes(&mut self, number: i64) -> Value {
        let bytes = number.to_be_bytes();
        self.put(Token::Bytes(bytes.to_vec()));
        STANDARD.encode(bytes).into()
    }

    fn raw(&mut self) -> Value {
        let value = json!({ "f:n": self.number() });
        self.put(Token::Bytes(value.to_string().into_bytes()));
        value
    }

    fn of_type(&mut self, name: &str) -> Option<Value> {
        let number = self.number();
        match name.rsplit('.').next().unwrap_or_default() {
            "Quantity" => return Some(self.text(number.to_string())),
            "IntOrString" if number % 2 == 0 => return Some(self.text(format!("{number}%"))),
            "IntOrString" => {
                self.put(Token::Number(number));
                return Some(number.into());
            }
            "Time" | "MicroTime" => {
                let time = Timestamp::from_second(number).expect("it is soon after 1970");
                self.put(Token::Number(number));
                if name.ends_with("MicroTime") {
                    let micros = self.number();
                    self.put(Token::Number(micros * 1000));
                    return Some(format!("{}.{micros:06}Z", time.strftime("%Y-%m-%dT%H:%M:%S")).into());
                }
                return Some(time.to_string().into());
            }
            "FieldsV1" | "RawExtension" | "JSON" => return Some(self.raw()),
            "ByteString" => return Some(self.bytes(number)),
            _ => {}
        }
        // What is a schema or something else is filled in as a schema, or as a list of one.
        const SCHEMA: &str = "JSONSchemaProps";
        let array = name.ends_with("JSONSchemaPropsOrArray");
        let base = name.find(SCHEMA).map_or(name, |at| &name[..at + SCHEMA.len()]);
        let (base, of) = self.schemas.get_key_value(base)?;
        if self.open.iter().filter(|it| *it == base).count() >= WITHIN_ITSELF_MAX {
            return None;
        }
        self.open.push(base);
        let value = if array {
            self.path.push("0".to_owned());
            let item = self.value_of(of);
            self.path.pop();
            item.map(|it| Value::Array(vec![it]))
        } else {
            self.value_of(of)
        };
        self.open.pop();
        value
    }

    /// A named type: an object with its fields, or a word for something simple.
    fn value_of(&mut self, of: &'a Value) -> Option<Value> {
        if of["properties"].is_object() || of["type"] == "object" && of["additionalProperties"].is_null() {
            return Some(self.fields(of));
        }
        self.value(of)
    }
}
