//! `Event` of `events.k8s.io/v1`, and its conversion to and from the core form in which events are stored.

use k8s_openapi::api::events::v1::Event;
use serde_json::Value;

use crate::field::Errors;
use crate::kind::{Conversion, Names, Part, Selectable, Strategy};
use crate::kinds::checks;
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
        let about = self.regarding.as_ref().and_then(|it| it.namespace.as_deref());
        let rules = Rules {
            namespace: self.metadata.namespace.as_deref().unwrap_or_default(),
            about: about.unwrap_or_default(),
            controller: self.reporting_controller.as_deref().unwrap_or_default(),
            instance: self.reporting_instance.as_deref().unwrap_or_default(),
            action: self.action.as_deref().unwrap_or_default(),
            reason: self.reason.as_deref().unwrap_or_default(),
            message: self.note.as_deref().unwrap_or_default(),
            has_time: self.event_time.is_some(),
        };
        event_rules::validate(&rules, errors);
        match old {
            None => validate_new(self, errors),
            Some(old) => validate_update(self, old, errors),
        }
    }
}

fn validate_series(it: &Event, errors: &mut Errors) {
    if it.series.as_ref().is_some_and(|it| it.count < 2) {
        errors.invalid("series.count", "", "should be at least 2");
    }
}

/// What is deprecated is for the core group alone to say.
fn validate_new(it: &Event, errors: &mut Errors) {
    validate_series(it, errors);
    if it.event_time.is_none() {
        errors.required("eventTime", "");
    }
    let kind = it.type_.as_deref().unwrap_or_default();
    if !matches!(kind, "Normal" | "Warning") {
        errors.invalid("type", "", format!("has invalid value: {kind}"));
    }
    let source = it.deprecated_source.as_ref();
    let said = |text: Option<&String>| text.is_some_and(|it| !it.is_empty());
    for (field, is_set) in [
        ("firstTimestamp", it.deprecated_first_timestamp.is_some()),
        ("lastTimestamp", it.deprecated_last_timestamp.is_some()),
        ("count", it.deprecated_count.unwrap_or(0) != 0),
        ("source", source.is_some_and(|it| said(it.component.as_ref()) || said(it.host.as_ref()))),
    ] {
        if is_set {
            errors.invalid(field, "", "needs to be unset");
        }
    }
}

/// An event goes on, as a series; nothing else of it changes.
fn validate_update(new: &Event, old: &Event, errors: &mut Errors) {
    if new.series != old.series {
        validate_series(new, errors);
    }
    // A text or reference that is not there is an empty one.
    let text = |it: &Option<String>| it.clone().unwrap_or_default();
    let about = |it: &Event| it.regarding.clone().unwrap_or_default();
    let source = |it: &Event| it.deprecated_source.clone().unwrap_or_default();
    let count = |it: &Event| it.deprecated_count.unwrap_or(0);
    checks::immutable(&about(new), &about(old), "involvedObject", errors);
    checks::immutable(&text(&new.reason), &text(&old.reason), "reason", errors);
    checks::immutable(&text(&new.note), &text(&old.note), "message", errors);
    checks::immutable(&source(new), &source(old), "source", errors);
    checks::immutable(&new.deprecated_first_timestamp, &old.deprecated_first_timestamp, "firstTimestamp", errors);
    checks::immutable(&new.deprecated_last_timestamp, &old.deprecated_last_timestamp, "lastTimestamp", errors);
    checks::immutable(&count(new), &count(old), "count", errors);
    checks::immutable(&text(&new.type_), &text(&old.type_), "type", errors);
    checks::immutable(&new.event_time, &old.event_time, "eventTime", errors);
    checks::immutable(&text(&new.action), &text(&old.action), "action", errors);
    checks::immutable(&new.related, &old.related, "related", errors);
    let (now, before) = (text(&new.reporting_controller), text(&old.reporting_controller));
    checks::immutable(&now, &before, "reportingController", errors);
    let (now, before) = (text(&new.reporting_instance), text(&old.reporting_instance));
    checks::immutable(&now, &before, "reportingInstance", errors);
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
        // Of the core form's series nothing is required; this one's Go type leaves nothing out.
        if let Some(series) = fields.get_mut("series").and_then(Value::as_object_mut) {
            series.entry("count").or_insert_with(|| 0.into());
            series.entry("lastObservedTime").or_insert(Value::Null);
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
        let series = |series: Value| from_stored(json!({"series": series}))["series"].take();
        assert_eq!(series(json!({})), json!({"count": 0, "lastObservedTime": null}));
        let told = json!({"count": 3, "lastObservedTime": "2026-01-01T00:00:09.000000Z"});
        assert_eq!(series(told.clone()), told);
    }
}
