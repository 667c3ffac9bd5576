//! `Event` of `events.k8s.io/v1`, and its conversion to and from the core form in which events are stored.

use k8s_openapi::api::events::v1::Event;
use serde_json::Value;

use crate::kind::{Conversion, Names, Selectable, Strategy};
use crate::kinds::event_columns::COLUMNS;
use crate::table::Column;

impl Strategy for Event {
    const NAMES: Names = Names { plural: "events", singular: "event", short: &["ev"], categories: &[] };
    const FIELDS: &'static [Selectable] = &[
        Selectable { path: "regarding.kind", absent: "" },
        Selectable { path: "regarding.namespace", absent: "" },
        Selectable { path: "regarding.name", absent: "" },
        Selectable { path: "regarding.uid", absent: "" },
        Selectable { path: "regarding.apiVersion", absent: "" },
        Selectable { path: "regarding.resourceVersion", absent: "" },
        Selectable { path: "regarding.fieldPath", absent: "" },
        Selectable { path: "reason", absent: "" },
        Selectable { path: "reportingController", absent: "" },
        Selectable { path: "type", absent: "" },
    ];
    const COLUMNS: &'static [Column] = COLUMNS;
    const CREATE_ON_UPDATE: bool = true;
}

/// Between `v1` and `events.k8s.io/v1`.
pub const CONVERSION: Conversion = Conversion { from_stored, to_stored };

/// The fields that have another name, first the core group's. Those that have the same are not listed.
const RENAMED: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
];

fn from_stored(mut event: Value) -> Value {
    if let Some(fields) = event.as_object_mut() {
        for (core, newer) in RENAMED {
            if let Some(value) = fields.remove(*core) {
                fields.insert((*newer).to_owned(), value);
            }
        }
        fields.insert("apiVersion".to_owned(), "events.k8s.io/v1".into());
    }
    event
}

fn to_stored(mut event: Value) -> Value {
    if let Some(fields) = event.as_object_mut() {
        for (core, newer) in RENAMED {
            if let Some(value) = fields.remove(*newer) {
                fields.insert((*core).to_owned(), value);
            }
        }
        // The core form always says what it is about, if only by an empty reference.
        fields.entry("involvedObject").or_insert_with(|| Value::Object(Default::default()));
        fields.insert("apiVersion".to_owned(), "v1".into());
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(stored: Value, served: Value) {
        assert_eq!(from_stored(stored.clone()), served);
        assert_eq!(to_stored(served), stored);
    }

    #[test]
    fn converts_there_and_back() {
        check(
            json!({"apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"}, "involvedObject": {"kind": "Pod"}, "message": "m",
                "source": {"component": "c"}, "count": 2, "reportingComponent": "r", "eventTime": null}),
            json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "a"}, "regarding": {"kind": "Pod"}, "note": "m",
                "deprecatedSource": {"component": "c"}, "deprecatedCount": 2, "reportingController": "r", "eventTime": null}),
        );
    }
}
