//! The events of a watch: one JSON object a line, or one protobuf message a frame, written into the piece of the body that is under way.
//!
//! Objects are copied as bytes; only tables are put together anew. An object that comes into a selection is `ADDED` for its watchers, and
//! one that leaves it is `DELETED`, as it was before, with the version of the change.

use std::sync::Arc;

use bytes::Bytes;
use orlop_api::kind::Kind;
use orlop_api::protobuf::answer;
use orlop_api::status::Status;
use orlop_api::table::{self, Include, ListMeta};
use serde_json::Value;

use crate::cache::{Event, Object};
use crate::present::META;
use crate::request::accept::{Accept, Encoding, Form};
use crate::request::selection::Selection;

/// Writes events for one watcher.
pub struct Lines {
    kind: &'static Kind,
    /// The kind in whose form the table stores.
    stored: &'static Kind,
    form: Form,
    protobuf: bool,
    include: Include,
    /// Tables name their columns in the first event only.
    columns_told: bool,
    /// Of the kind, for frames.
    api_version: String,
}

impl Lines {
    /// Events about objects of a kind, in the form that the client accepts.
    pub fn new(kind: &'static Kind, stored: &'static Kind, accept: &Accept, include: Include) -> Self {
        Lines {
            kind,
            stored,
            form: accept.form,
            protobuf: accept.encoding == Encoding::Protobuf,
            include,
            columns_told: false,
            api_version: kind.api_version(),
        }
    }

    /// The line of an event, if it is one within the selection.
    pub fn event(&mut self, out: &mut Vec<u8>, event: &Event, selection: &Selection) {
        let kind = self.kind;
        if !kind.is_converted() && selection.is_everything() {
            // The common case: bytes and nothing else.
            match (&event.old, &event.new) {
                (None, Some(new)) => self.object(out, "ADDED", new),
                (Some(_), Some(new)) => self.object(out, "MODIFIED", new),
                (Some(_), None) => self.gone(out, event),
                (None, None) => {}
            }
            return;
        }
        let served = |it: &Option<Arc<Object>>| it.as_ref().map(|it| it.served_as(kind));
        let meant = |it: &Option<Arc<Object>>| it.as_ref().is_some_and(|it| selection.matches(kind, it));
        let (old, new) = (served(&event.old), served(&event.new));
        match (meant(&old), meant(&new), new) {
            (false, true, Some(new)) => self.object(out, "ADDED", &new),
            (true, true, Some(new)) => self.object(out, "MODIFIED", &new),
            (true, false, _) => self.gone(out, event),
            _ => {}
        }
    }

    /// The line of an object that is there at the beginning.
    pub fn added(&mut self, out: &mut Vec<u8>, object: &Arc<Object>) {
        self.object(out, "ADDED", object);
    }

    fn gone(&mut self, out: &mut Vec<u8>, event: &Event) {
        if let Some(gone) = event.gone(self.stored) {
            self.object(out, "DELETED", &gone.served_as(self.kind));
        }
    }

    fn object(&mut self, out: &mut Vec<u8>, event: &str, object: &Arc<Object>) {
        match (self.form, self.protobuf) {
            (Form::Metadata, true) => {
                answer::frame(out, event, META, "PartialObjectMetadata", object.partial_message());
            }
            (_, true) => answer::frame(out, event, &self.api_version, self.kind.kind, object.message(self.kind)),
            (Form::Whole | Form::AggregatedDiscovery, false) => line(out, event, &object.json),
            (Form::Metadata, false) => line(out, event, object.partial()),
            (Form::Table, false) => {
                let revision = object.revision.to_string();
                let meta = ListMeta { resource_version: &revision, ..ListMeta::default() };
                let with_columns = !std::mem::replace(&mut self.columns_told, true);
                let objects = std::slice::from_ref(object);
                line(out, event, &crate::present::table_of(self.kind, objects, &meta, self.include, with_columns));
            }
        }
    }

    /// The line that says how far the watch has come; `initial_end` marks the end of the state told first.
    pub fn bookmark(&mut self, out: &mut Vec<u8>, revision: u64, initial_end: bool) {
        let mut metadata = serde_json::json!({ "resourceVersion": revision.to_string() });
        if initial_end {
            metadata["annotations"] = serde_json::json!({ "k8s.io/initial-events-end": "true" });
        }
        let (api_version, kind) = match self.form {
            Form::Table if !self.protobuf => {
                let revision = revision.to_string();
                let meta = ListMeta { resource_version: &revision, ..ListMeta::default() };
                let mut table = Vec::new();
                table::begin(&mut table, self.kind, &meta, false);
                table::end(&mut table);
                return line(out, "BOOKMARK", &table);
            }
            Form::Metadata => (META, "PartialObjectMetadata"),
            _ => (self.api_version.as_str(), self.kind.kind),
        };
        let object = serde_json::json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        self.value(out, "BOOKMARK", api_version, kind, &object);
    }

    /// The line of a failure, the last of its watch.
    pub fn error(&self, out: &mut Vec<u8>, status: &Status) {
        self.value(out, "ERROR", "v1", "Status", &status.to_json());
    }

    fn value(&self, out: &mut Vec<u8>, event: &str, api_version: &str, kind: &str, value: &Value) {
        let json = value.to_string();
        if self.protobuf {
            let message = answer::message_of(kind, api_version, json.as_bytes()).unwrap_or_default();
            answer::frame(out, event, api_version, kind, &message);
        } else {
            line(out, event, json.as_bytes());
        }
    }
}

/// The events of a piece one by one, without what separates them in a stream of bytes.
pub fn apart(piece: &Bytes, protobuf: bool) -> Vec<Bytes> {
    let mut out = Vec::new();
    let mut rest = piece.clone();
    while !rest.is_empty() {
        let (skip, length) = if protobuf {
            let Some((length, _)) = rest.split_first_chunk() else { break };
            (4, u32::from_be_bytes(*length) as usize)
        } else {
            (0, rest.iter().position(|it| *it == b'\n').map_or(rest.len(), |it| it + 1))
        };
        let mut event = rest.split_to((skip + length).min(rest.len()));
        out.push(event.split_off(skip));
    }
    out
}

fn line(out: &mut Vec<u8>, event: &str, object: &[u8]) {
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn object(app: &str, revision: u64) -> Arc<Object> {
        let kind = registry::named("", "ConfigMap").unwrap();
        let json = format!(r#"{{"metadata":{{"name":"a","namespace":"d","labels":{{"app":"{app}"}}}}}}"#);
        Arc::new(Object::stored(kind, kind.key("d", "a").as_str().into(), revision, json.as_bytes()).unwrap())
    }

    #[track_caller]
    fn check(old: Option<&str>, new: Option<&str>, expected: Option<&str>) {
        let kind = registry::named("", "ConfigMap").unwrap();
        let selection = Selection::parse(kind, "app=web", "").unwrap();
        let event = Event::new(9, old.map(|it| object(it, 8)), new.map(|it| object(it, 9)));
        for form in [Form::Whole, Form::Metadata, Form::Table] {
            let mut out = Vec::new();
            let accept = Accept { form, ..Accept::default() };
            Lines::new(kind, kind, &accept, Include::Metadata).event(&mut out, &event, &selection);
            let Some(expected) = expected else {
                assert!(out.is_empty());
                continue;
            };
            let line: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(line["type"], expected);
            assert_eq!(line["object"]["metadata"]["resourceVersion"], "9");
        }
    }

    #[test]
    fn selections_are_entered_and_left() {
        check(None, Some("web"), Some("ADDED"));
        check(Some("db"), Some("web"), Some("ADDED"));
        check(Some("web"), Some("web"), Some("MODIFIED"));
        check(Some("web"), Some("db"), Some("DELETED"));
        check(Some("web"), None, Some("DELETED"));
        check(Some("db"), None, None);
        check(None, Some("db"), None);
    }

    #[test]
    fn events_come_apart_in_both_encodings() {
        let kind = registry::named("", "ConfigMap").unwrap();
        for encoding in [Encoding::Json, Encoding::Protobuf] {
            let mut out = Vec::new();
            let mut lines = Lines::new(kind, kind, &Accept { encoding, ..Accept::default() }, Include::Metadata);
            lines.added(&mut out, &object("web", 4));
            lines.bookmark(&mut out, 5, true);
            lines.error(&mut out, &Status::too_old(1, 2));
            let events = apart(&out.into(), encoding == Encoding::Protobuf);
            let text: Vec<_> = events.iter().map(|it| String::from_utf8_lossy(it)).collect();
            assert_eq!(text.len(), 3);
            assert!(text[0].contains("ADDED") && text[1].contains("k8s.io/initial-events-end"));
            assert!(text[2].contains("ERROR") && text[2].contains("too old resource version: 1 (2)"));
        }
    }
}
