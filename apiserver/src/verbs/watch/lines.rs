//! The lines of a watch: one JSON object an event, written into the piece of the body that is under way.
//!
//! Objects are copied as bytes; only tables and the other forms are put together anew. An object that comes into a selection is
//! `ADDED` for its watchers, and one that leaves it is `DELETED`.

use std::sync::Arc;

use orlop_api::kind::Kind;
use orlop_api::status::Status;
use orlop_api::table::{self, Include, ListMeta};

use crate::cache::{Event, Object};
use crate::request::accept::Form;
use crate::request::selection::Selection;

/// Writes lines for one watcher.
pub struct Lines {
    kind: &'static Kind,
    form: Form,
    include: Include,
    /// Tables name their columns in the first event only.
    columns_told: bool,
}

impl Lines {
    /// Lines about objects of a kind, in a form.
    pub fn new(kind: &'static Kind, form: Form, include: Include) -> Self {
        Lines { kind, form, include, columns_told: false }
    }

    /// The line of an event, if it is one within the selection.
    pub fn event(&mut self, out: &mut Vec<u8>, event: &Event, selection: &Selection) {
        let kind = self.kind;
        if !kind.is_converted() && selection.is_everything() && self.form == Form::Whole {
            // The common case: bytes and nothing else.
            match (&event.old, &event.new) {
                (None, Some(new)) => line(out, "ADDED", &new.json),
                (Some(_), Some(new)) => line(out, "MODIFIED", &new.json),
                (Some(_), None) => line(out, "DELETED", event.gone().map_or(b"{}", |it| &it[..])),
                (None, None) => {}
            }
            return;
        }
        let served = |it: &Option<Arc<Object>>| it.as_ref().map(|it| it.served_as(kind));
        let meant = |it: &Option<Arc<Object>>| it.as_ref().is_some_and(|it| selection.matches(kind, it));
        let (old, new) = (served(&event.old), served(&event.new));
        match (meant(&old), meant(&new), old, new) {
            (false, true, _, Some(new)) => self.object(out, "ADDED", &new),
            (true, true, _, Some(new)) => self.object(out, "MODIFIED", &new),
            (true, false, Some(old), _) => {
                if !kind.is_converted() && self.form == Form::Whole {
                    line(out, "DELETED", event.gone().map_or(b"{}", |it| &it[..]));
                } else {
                    let gone = Object::served(kind, old.key.clone(), event.revision, old.at_revision(event.revision));
                    match gone {
                        Ok(gone) => self.object(out, "DELETED", &Arc::new(gone)),
                        Err(error) => tracing::error!(key = %old.key, %error, "a deleted object cannot be told of"),
                    }
                }
            }
            _ => {}
        }
    }

    /// The line of an object that is there at the beginning.
    pub fn added(&mut self, out: &mut Vec<u8>, object: &Arc<Object>) {
        self.object(out, "ADDED", object);
    }

    fn object(&mut self, out: &mut Vec<u8>, event: &str, object: &Arc<Object>) {
        match self.form {
            Form::Whole | Form::AggregatedDiscovery => line(out, event, &object.json),
            Form::Metadata => line(out, event, object.partial()),
            Form::Table => {
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
        let mut metadata = serde_json::json!({ "resourceVersion": revision.to_string(), "creationTimestamp": null });
        if initial_end {
            metadata["annotations"] = serde_json::json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = match self.form {
            Form::Table => {
                let revision = revision.to_string();
                let meta = ListMeta { resource_version: &revision, ..ListMeta::default() };
                let mut table = Vec::new();
                table::begin(&mut table, self.kind, &meta, false);
                table::end(&mut table);
                return line(out, "BOOKMARK", &table);
            }
            Form::Metadata => serde_json::json!({
                "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata,
            }),
            Form::Whole | Form::AggregatedDiscovery => serde_json::json!({
                "kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata,
            }),
        };
        line(out, "BOOKMARK", object.to_string().as_bytes());
    }

    /// The line of a failure, the last of its watch.
    pub fn error(&self, out: &mut Vec<u8>, status: &Status) {
        line(out, "ERROR", status.to_json().to_string().as_bytes());
    }
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
            Lines::new(kind, form, Include::Metadata).event(&mut out, &event, &selection);
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
}
