//! `Event` of `events.k8s.io/v1`, and its conversion to and from the core form in which events are stored.

use k8s_openapi::api::events::v1::Event;
use serde_json::Value;

use crate::field::Errors;
use crate::kind::{Conversion, Names, Part, Selectable, Strategy};
use crate::kinds::event_columns::COLUMNS;
use crate::kinds::event_rules::{self, Rules};
use crate::table::Column;

impl Strategy for Event {
    const NAMES: Names = Names { plural: "events", singular: "event", short: &["ev"], categories: &[] };
    const FIELDS: &'static [Selectable] = &[
        Selectable { path: "regarding.kind", absent: "", from: &[] },
        Selectable { path: "regarding.namespace", absent: "", from: &[] },
        Selectable { path: "regarding.name", absent: "", from: &[] },
        Selectable { path: "regarding.uid", absent: "", from: &[] },
        Selectable { path: "regarding.apiVersion", absent: "", from: &[] },
        Selectable { path: "regarding.resourceVersion", absent: "", from: &[] },
        Selectable { path: "regarding.fieldPath", absent: "", from: &[] },
        Selectable { path: "reason", absent: "", from: &[] },
        Selectable { path: "reportingController", absent: "", from: &[] },
        Selectable { path: "type", absent: "", from: &[] },
    ];
    const COLUMNS: &'static [Column] = COLUMNS;
    const CREATE_ON_UPDATE: bool = true;

    fn validate(&self, _part: Part, old: Option<&Self>, errors: &mut Errors) {
        // Events written through the core group need not have the newer fields when they are updated through this one.
        if self.event_time.is_none() && old.is_none() {
            errors.required("eventTime", "");
        }
        let kind = self.type_.as_deref().unwrap_or_default();
        if old.is_none() && !matches!(kind, "Normal" | "Warning") {
            errors.invalid("type", "", format!("has invalid value: {kind}"));
        }
        let about = self.regarding.as_ref().and_then(|it| it.namespace.as_deref());
        let rules = Rules {
            namespace: self.metadata.namespace.as_deref().unwrap_or_default(),
            about: ("regarding.namespace", about.unwrap_or_default()),
            controller: ("reportingController", self.reporting_controller.as_deref().unwrap_or_default()),
            instance: self.reporting_instance.as_deref().unwrap_or_default(),
            action: self.action.as_deref().unwrap_or_default(),
            reason: self.reason.as_deref().unwrap_or_default(),
            message: ("note", self.note.as_deref().unwrap_or_default()),
            has_time: self.event_time.is_some(),
        };
        event_rules::validate(&rules, errors);
    }
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
