//! The protobuf form of an OpenAPI 2.0 document: gnostic's message `openapi.v2.Document`, the only form of it that client-go reads.
//!
//! In: our own document as JSON. Out: the encoded message. Only the fields that our documents have are written; their numbers are those of
//! the public `OpenAPIv2.proto`.

use serde_json::Value;

/// A message in the making.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

/// Wire type 0 and 2 of the protobuf encoding.
const VARINT: u64 = 0;
const LENGTH_DELIMITED: u64 = 2;

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | LENGTH_DELIMITED);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    /// A text; the empty one is the default and not written.
    fn text(self, field: u64, text: &Value) -> Self {
        match text.as_str() {
            None | Some("") => self,
            Some(text) => self.bytes(field, text.as_bytes()),
        }
    }

    fn texts(self, field: u64, list: &Value) -> Self {
        let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
        texts.fold(self, |out, text| out.bytes(field, text.as_bytes()))
    }

    fn flag(mut self, field: u64, flag: &Value) -> Self {
        if flag == &Value::Bool(true) {
            self.varint(field << 3 | VARINT);
            self.varint(1);
        }
        self
    }

    fn message(self, field: u64, inner: Message) -> Self {
        self.bytes(field, &inner.0)
    }

    /// A message that is written only if there is a value.
    fn maybe(self, field: u64, value: &Value, write: fn(&Value) -> Message) -> Self {
        if value.is_null() { self } else { self.message(field, write(value)) }
    }

    /// One message per entry of a map: name and value.
    fn named(self, field: u64, map: &Value, write: fn(&Value) -> Message) -> Self {
        map.as_object().into_iter().flatten().fold(self, |out, (name, value)| {
            out.message(field, Message::default().bytes(1, name.as_bytes()).message(2, write(value)))
        })
    }

    /// The extensions, which all begin with `x-`.
    fn extensions(self, field: u64, of: &Value) -> Self {
        of.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")).fold(
            self,
            |out, (name, value)| {
                out.message(field, Message::default().bytes(1, name.as_bytes()).message(2, any(value)))
            },
        )
    }
}

/// The encoded document.
pub fn document(json: &Value) -> Vec<u8> {
    let info = Message::default().text(1, &json["info"]["title"]).text(2, &json["info"]["version"]);
    let mut out = Message::default().text(1, &json["swagger"]).message(2, info).0;
    out.extend(entries(json));
    out
}

/// The paths and types of a document, encoded to follow another document, to which they are added.
pub fn entries(json: &Value) -> Vec<u8> {
    let paths = Message::default().named(2, &json["paths"], path_item);
    let definitions = Message::default().named(1, &json["definitions"], schema);
    Message::default().message(8, paths).message(9, definitions).0
}

/// Any value, as YAML, of which JSON is a part.
fn any(value: &Value) -> Message {
    Message::default().bytes(2, format!("{value}\n").as_bytes())
}

fn path_item(json: &Value) -> Message {
    let mut out = Message::default();
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        out = out.maybe(field, &json[method], operation);
    }
    json["parameters"].as_array().into_iter().flatten().fold(out, |out, it| out.message(9, parameter(it)))
}

fn operation(json: &Value) -> Message {
    let mut out = Message::default()
        .texts(1, &json["tags"])
        .text(3, &json["description"])
        .text(5, &json["operationId"])
        .texts(6, &json["produces"])
        .texts(7, &json["consumes"]);
    for it in json["parameters"].as_array().into_iter().flatten() {
        out = out.message(8, parameter(it));
    }
    let responses = Message::default().named(1, &json["responses"], response);
    out.message(9, responses).texts(10, &json["schemes"]).extensions(13, json)
}

fn response(json: &Value) -> Message {
    let answer = Message::default().text(1, &json["description"]);
    let answer = answer.maybe(2, &json["schema"], |it| Message::default().message(1, schema(it)));
    Message::default().message(1, answer)
}

/// A `ParametersItem`, which holds a `Parameter`, which holds one of several kinds.
fn parameter(json: &Value) -> Message {
    let inner = match json["in"].as_str() {
        Some("body") => {
            let body = Message::default()
                .text(1, &json["description"])
                .text(2, &json["name"])
                .text(3, &json["in"])
                .flag(4, &json["required"])
                .message(5, schema(&json["schema"]));
            Message::default().message(1, body)
        }
        Some("path") => {
            let path = Message::default()
                .flag(1, &json["required"])
                .text(2, &json["in"])
                .text(3, &json["description"])
                .text(4, &json["name"])
                .text(5, &json["type"])
                .flag(19, &json["uniqueItems"]);
            Message::default().message(2, Message::default().message(4, path))
        }
        _ => {
            let query = Message::default()
                .flag(1, &json["required"])
                .text(2, &json["in"])
                .text(3, &json["description"])
                .text(4, &json["name"])
                .text(6, &json["type"])
                .flag(20, &json["uniqueItems"]);
            Message::default().message(2, Message::default().message(3, query))
        }
    };
    Message::default().message(1, inner)
}

fn schema(json: &Value) -> Message {
    let mut out = Message::default()
        .text(1, &json["$ref"])
        .text(2, &json["format"])
        .text(4, &json["description"])
        .maybe(5, &json["default"], any)
        .texts(19, &json["required"]);
    if json["additionalProperties"].is_object() {
        out = out.message(21, Message::default().message(1, schema(&json["additionalProperties"])));
    }
    if json["type"].is_string() {
        out = out.message(22, Message::default().text(1, &json["type"]));
    }
    out = out.maybe(23, &json["items"], |it| Message::default().message(1, schema(it)));
    out = out.maybe(25, &json["properties"], |it| Message::default().named(1, it, schema));
    out.extensions(31, json)
}
