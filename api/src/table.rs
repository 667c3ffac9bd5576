//! Tables: the rows and columns in which servers show objects to people (`meta.k8s.io/v1` Table).
//!
//! A kind names its [`Column`]s; a cell is computed from the object's JSON. Cells that depend on the time of the look hold the moment they
//! count from, so that a [`Row`] is made once per revision and rendered for every reader straight into the response's bytes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::custom::{Custom, Served};
use crate::duration;
use crate::head::HeadError;
use crate::kind::Kind;
use crate::kinds::KINDS;
use crate::status::{self, Status};

/// One cell of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Number(i64),
    Fraction(f64),
    Flag(bool),
    /// Nothing, which `kubectl` shows as `<none>`.
    Empty,
    /// The time since then, in `kubectl`'s short form; `<unknown>` if there is none.
    Since(Option<Timestamp>),
    /// A text and, in brackets, how long ago: `3 (5m ago)`.
    TextAgo(String, Timestamp),
}

/// A printed column.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// As Kubernetes' column definitions write it: `Ready`, `Up-to-date`.
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub kind: &'static str,
    /// `name` marks what names the object; a column called `Name` does without.
    pub format: &'static str,
    /// 0 shows it always, 1 with `-o wide` only.
    pub priority: i32,
    /// What it shows: a text, or with a dot first (`.status.podIP`) the field whose description it has.
    pub description: &'static str,
    pub cell: fn(&Value) -> Cell,
}

impl Column {
    /// The same column with a description.
    pub const fn doc(mut self, description: &'static str) -> Column {
        self.description = description;
        self
    }

    /// The same column, marked as one that names the object.
    pub const fn naming(mut self) -> Column {
        self.format = NAMING;
        self
    }
}

const NAMING: &str = "name";

/// That an object has come to its end: the condition `Completed` of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    pub reason: &'static str,
    pub message: &'static str,
}

/// What a table's rows carry beside their cells: the parameter `includeObject`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Include {
    None,
    #[default]
    Metadata,
    Object,
}

impl Include {
    /// Reads the query parameter; absent or empty means `Metadata`.
    ///
    /// # Errors
    /// `BadRequest` for other words.
    pub fn parse(text: &str) -> status::Result<Self> {
        match text {
            "" | "Metadata" => Ok(Include::Metadata),
            "None" => Ok(Include::None),
            "Object" => Ok(Include::Object),
            other => Err(Status::bad_request(format!("unrecognized includeObject value: {other}"))),
        }
    }
}

/// The cell as `kubectl` shows it at `now`.
pub fn render(cell: &Cell, now: Timestamp) -> Value {
    match cell {
        Cell::Text(text) => Value::from(text.as_str()),
        Cell::Number(number) => Value::from(*number),
        // Go writes whole numbers without a fraction.
        Cell::Fraction(number) if number.fract() == 0.0 && number.abs() < 1e15 => Value::from(*number as i64),
        Cell::Fraction(number) => Value::from(*number),
        Cell::Flag(flag) => Value::from(*flag),
        Cell::Empty => Value::Null,
        Cell::Since(None) => Value::from("<unknown>"),
        Cell::Since(Some(then)) => Value::from(since(*then, now)),
        Cell::TextAgo(text, then) => Value::from(format!("{text} ({} ago)", since(*then, now))),
    }
}

fn since(then: Timestamp, now: Timestamp) -> String {
    duration::human(now.as_second() - then.as_second())
}

/// A part of a row's encoded cells: what never changes, or a time that does.
#[derive(Clone, Debug, PartialEq)]
enum Piece {
    /// Encoded JSON.
    Fixed(Box<str>),
    Since(Timestamp),
}

/// The cells of one object at one revision, encoded but for the times.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pieces: Box<[Piece]>,
    completed: Option<Completed>,
}

impl Row {
    /// The row of `object`, which is of `kind`.
    pub fn of(kind: &Kind, object: &Value) -> Row {
        let mut pieces = Vec::new();
        let mut text = String::from("[");
        if kind.name_comes_first() {
            text.push_str(&object["metadata"]["name"].to_string());
        }
        let custom = kind.custom.map(Custom::now);
        let own = kind.columns.iter().map(|it| (it.cell)(object));
        let defined = custom.iter().flat_map(|it| &it.version().columns).map(|it| it.cell(object));
        for (at, cell) in own.chain(defined).enumerate() {
            if at > 0 || kind.name_comes_first() {
                text.push(',');
            }
            match cell {
                Cell::Since(Some(then)) => {
                    text.push('"');
                    pieces.push(Piece::Fixed(std::mem::take(&mut text).into()));
                    pieces.push(Piece::Since(then));
                    text.push('"');
                }
                Cell::TextAgo(before, then) => {
                    let quoted = Value::from(before).to_string();
                    text.push_str(&quoted[..quoted.len() - 1]);
                    text.push_str(" (");
                    pieces.push(Piece::Fixed(std::mem::take(&mut text).into()));
                    pieces.push(Piece::Since(then));
                    text.push_str(" ago)\"");
                }
                // Its form does not depend on the time.
                fixed => text.push_str(&render(&fixed, Timestamp::UNIX_EPOCH).to_string()),
            }
        }
        text.push(']');
        pieces.push(Piece::Fixed(text.into()));
        Row { pieces: pieces.into(), completed: kind.completed.and_then(|it| it(object)) }
    }

    /// The row of an encoded object.
    ///
    /// # Errors
    /// When the bytes are no JSON.
    pub fn parse(kind: &Kind, json: &[u8]) -> Result<Row, HeadError> {
        Ok(Row::of(kind, &serde_json::from_slice(json)?))
    }

    /// How much memory it holds, in bytes.
    pub fn size_bytes(&self) -> usize {
        let texts = self.pieces.iter().map(|it| if let Piece::Fixed(text) = it { text.len() } else { 0 });
        self.pieces.len() * size_of::<Piece>() + texts.sum::<usize>()
    }

    /// Appends the encoded array of cells as they are at `now`.
    pub fn write_cells(&self, out: &mut Vec<u8>, now: Timestamp) {
        for piece in &self.pieces {
            match piece {
                Piece::Fixed(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Since(then) => out.extend_from_slice(since(*then, now).as_bytes()),
            }
        }
    }

    /// Appends the encoded row. `object` is what it carries: encoded partial metadata, the encoded object, or nothing.
    pub fn write_row(&self, out: &mut Vec<u8>, now: Timestamp, object: Option<&[u8]>) {
        out.extend_from_slice(b"{\"cells\":");
        self.write_cells(out, now);
        if let Some(Completed { reason, message }) = self.completed {
            let condition =
                serde_json::json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
            out.extend_from_slice(format!(",\"conditions\":{condition}").as_bytes());
        }
        out.extend_from_slice(b",\"object\":");
        out.extend_from_slice(object.unwrap_or(b"null"));
        out.push(b'}');
    }
}

/// What a list says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta<'a> {
    pub resource_version: &'a str,
    /// The token of the next page; empty: this is the last.
    pub continue_token: &'a str,
    pub remaining: Option<u64>,
}

impl ListMeta<'_> {
    /// Appends the encoded `metadata` of a list.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut meta = serde_json::Map::new();
        if !self.resource_version.is_empty() {
            meta.insert("resourceVersion".into(), self.resource_version.into());
        }
        if !self.continue_token.is_empty() {
            meta.insert("continue".into(), self.continue_token.into());
        }
        if let Some(remaining) = self.remaining {
            meta.insert("remainingItemCount".into(), remaining.into());
        }
        out.extend_from_slice(Value::Object(meta).to_string().as_bytes());
    }
}

/// The encoded `columnDefinitions` of a kind's tables: made at first use, because descriptions come from the kind's schema, and kept.
pub fn column_definitions(kind: &Kind) -> Arc<str> {
    if let Some(custom) = kind.custom {
        return custom_definitions(&custom.now()).to_string().into();
    }
    type Key = (&'static str, &'static str, &'static str, usize);
    static MADE: LazyLock<RwLock<HashMap<Key, Arc<str>>>> = LazyLock::new(RwLock::default);
    // The columns themselves belong to the key, for a custom kind may get others.
    let key = (kind.group, kind.version, kind.kind, kind.columns.as_ptr() as usize);
    let made = MADE.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
    made.unwrap_or_else(|| {
        let made: Arc<str> = definitions(kind).to_string().into();
        MADE.write().unwrap_or_else(PoisonError::into_inner).insert(key, made.clone());
        made
    })
}

/// What a definition says of its columns, behind the name.
fn custom_definitions(it: &Served) -> Value {
    const NAME: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and configuration definition. Cannot be updated. More info: https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
    let name =
        serde_json::json!({"name": "Name", "type": "string", "format": "name", "description": NAME, "priority": 0});
    let columns = it.version().columns.iter().map(|it| {
        serde_json::json!({
            "name": it.name, "type": it.of, "format": it.format, "description": it.description, "priority": it.priority,
        })
    });
    std::iter::once(name).chain(columns).collect()
}

fn definitions(kind: &Kind) -> Value {
    // What is stored as another kind has that kind's descriptions, as its fields are that kind's by another name.
    let other =
        kind.conversion.is_some().then(|| KINDS.iter().find(|it| it.kind == kind.kind && it.conversion.is_none()));
    let schema = (other.flatten().unwrap_or(kind).schema)();
    let definition = |name: &str, of: &str, format: &str, priority: i32, description: &str| {
        let format = if name == "Name" { NAMING } else { format };
        let description = match description.strip_prefix('.') {
            Some(path) => description_of(schema.as_value(), path).unwrap_or_default(),
            None => description,
        };
        serde_json::json!({"name": name, "type": of, "format": format, "description": description, "priority": priority})
    };
    let first = kind.name_comes_first().then(|| definition("Name", "string", NAMING, 0, ".metadata.name"));
    let columns = kind.columns.iter().map(|it| definition(it.name, it.kind, it.format, it.priority, it.description));
    first.into_iter().chain(columns).collect()
}

/// What the schema says of a field.
fn description_of<'s>(schema: &'s Value, path: &str) -> Option<&'s str> {
    let mut at = schema;
    for field in path.split('.') {
        let reference = at.get("$ref").or_else(|| at.pointer("/allOf/0/$ref")).and_then(Value::as_str);
        if let Some(name) = reference.and_then(|it| it.rsplit('/').next()) {
            at = schema.get("$defs")?.get(name)?;
        }
        at = at.get("properties")?.get(field)?;
    }
    at.get("description")?.as_str()
}

/// Begins an encoded table. The rows follow, by [`Row::write_row`] with commas between them, then [`end`]. The tables of a watch
/// name their columns only in the first event.
pub fn begin(out: &mut Vec<u8>, kind: &Kind, list: &ListMeta<'_>, with_columns: bool) {
    out.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    list.write(out);
    out.extend_from_slice(b",\"columnDefinitions\":");
    if with_columns {
        out.extend_from_slice(column_definitions(kind).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
    out.extend_from_slice(b",\"rows\":[");
}

/// Ends what [`begin`] began.
pub fn end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"]}");
}

/// The object's metadata alone, as `PartialObjectMetadata`: its bytes are copied, not decoded.
///
/// # Errors
/// When `json` is no object with metadata.
pub fn partial(json: &[u8]) -> Result<Bytes, HeadError> {
    #[derive(Deserialize)]
    struct Shell<'a> {
        #[serde(borrow)]
        metadata: &'a RawValue,
    }
    let shell: Shell<'_> = serde_json::from_slice(json)?;
    let meta = shell.metadata.get().as_bytes();
    let head = b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":";
    let mut out = Vec::with_capacity(head.len() + meta.len() + 1);
    out.extend_from_slice(head);
    out.extend_from_slice(meta);
    out.push(b'}');
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[
        Column {
            name: "Ready",
            kind: "string",
            format: "",
            priority: 0,
            description: "",
            cell: |it| Cell::Text(it["ready"].to_string()),
        },
        Column {
            name: "Restarts",
            kind: "string",
            format: "",
            priority: 0,
            description: "",
            cell: |_| Cell::TextAgo("3".into(), Timestamp::UNIX_EPOCH),
        },
        Column { name: "Count", kind: "integer", format: "", priority: 1, description: "", cell: |_| Cell::Number(7) },
        Column {
            name: "Age",
            kind: "string",
            format: "",
            priority: 0,
            description: "",
            cell: |it| Cell::Since(it["at"].as_str().and_then(|it| it.parse().ok())),
        },
    ];

    fn kind() -> Kind {
        let mut kind = KINDS[0].clone();
        kind.columns = COLUMNS;
        kind
    }

    fn check(object: Value, now_seconds: i64, expected: Value) {
        let kind = kind();
        let now = Timestamp::from_second(now_seconds).unwrap();
        let row = Row::of(&kind, &object);
        let mut out = Vec::new();
        row.write_cells(&mut out, now);
        let cells: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(cells, expected);
        let rendered: Vec<Value> = COLUMNS.iter().map(|it| render(&(it.cell)(&object), now)).collect();
        assert_eq!(cells.as_array().unwrap()[1..], rendered);
    }

    #[test]
    fn rows_are_rendered_at_the_time_of_the_look() {
        let object = serde_json::json!({"metadata": {"name": "a\"b"}, "ready": "1/1", "at": "1970-01-01T00:01:00Z"});
        check(object.clone(), 90, serde_json::json!(["a\"b", "\"1/1\"", "3 (90s ago)", 7, "30s"]));
        check(object, 7200, serde_json::json!(["a\"b", "\"1/1\"", "3 (120m ago)", 7, "119m"]));
        check(
            serde_json::json!({"metadata": {"name": "c"}}),
            5,
            serde_json::json!(["c", "null", "3 (5s ago)", 7, "<unknown>"]),
        );
    }

    #[test]
    fn every_row_has_a_cell_for_every_column() {
        for kind in KINDS {
            let object = serde_json::json!({"metadata": {"name": "a"}});
            let mut cells = Vec::new();
            Row::of(kind, &object).write_cells(&mut cells, Timestamp::UNIX_EPOCH);
            let cells: Vec<Value> = serde_json::from_slice(&cells).unwrap();
            let columns: Value = serde_json::from_str(&column_definitions(kind)).unwrap();
            assert_eq!(cells.len(), columns.as_array().unwrap().len(), "{kind:?}");
            let name = columns.as_array().unwrap().iter().position(|it| it["format"] == "name").unwrap();
            assert_eq!(cells[name], "a", "{kind:?}");
        }
    }

    #[test]
    fn every_column_says_what_it_shows() {
        for kind in KINDS {
            let columns: Vec<Value> = serde_json::from_str(&column_definitions(kind)).unwrap();
            // Kubernetes looks for the handler's description where it is not.
            for column in columns.iter().filter(|it| kind.kind != "RuntimeClass" || it["name"] != "Handler") {
                assert!(column["description"].as_str().is_some_and(|it| it.len() > 10), "{kind:?}: {column}");
            }
        }
        let pods = KINDS.iter().find(|it| it.kind == "Pod").unwrap();
        let definitions: Value = serde_json::from_str(&column_definitions(pods)).unwrap();
        let ip = definitions[5]["description"].as_str().unwrap();
        assert!(ip.starts_with("podIP address allocated to the pod."), "{ip}");
    }

    #[test]
    fn tables_and_partial_objects_are_well_formed() {
        let json = br#"{"spec":{"metadata":{}},"metadata":{"name":"a","labels":{"x":"y"}}}"#;
        let partial = partial(json).unwrap();
        let row = Row::parse(&kind(), json).unwrap();
        let mut out = Vec::new();
        begin(&mut out, &kind(), &ListMeta { resource_version: "7", continue_token: "t", remaining: Some(3) }, true);
        row.write_row(&mut out, Timestamp::UNIX_EPOCH, Some(&partial));
        out.push(b',');
        row.write_row(&mut out, Timestamp::UNIX_EPOCH, None);
        end(&mut out);
        let table: Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(table["columnDefinitions"][0]["format"], "name");
        assert_eq!(table["columnDefinitions"][3]["priority"], 1);
        assert_eq!(
            table["metadata"],
            serde_json::json!({"resourceVersion": "7", "continue": "t", "remainingItemCount": 3})
        );
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        assert_eq!(table["rows"][0]["object"]["metadata"]["labels"]["x"], "y");
        assert!(table["rows"][1]["object"].is_null());
        assert!(super::partial(b"[]").is_err());
    }

    #[test]
    fn rows_of_what_has_ended_say_so() {
        let pods = KINDS.iter().find(|it| it.kind == "Pod").unwrap();
        let of = |phase: &str| {
            let mut out = Vec::new();
            Row::of(pods, &serde_json::json!({"status": {"phase": phase}})).write_row(
                &mut out,
                Timestamp::UNIX_EPOCH,
                None,
            );
            serde_json::from_slice::<Value>(&out).unwrap()["conditions"].clone()
        };
        let condition = |reason: &str, message: &str| serde_json::json!([{"type": "Completed", "status": "True", "reason": reason, "message": message}]);
        assert_eq!(of("Succeeded"), condition("Succeeded", "The pod has completed successfully."));
        assert_eq!(of("Failed"), condition("Failed", "The pod failed."));
        assert_eq!(of("Running"), Value::Null);
    }
}
