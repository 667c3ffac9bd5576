//! The columns of events, in which the name comes last. Both groups' events show the same; only their fields' names differ.

use jiff::Timestamp;
use serde_json::Value;

use crate::kinds::cells::{self, str_of, str_or, time};
use crate::table::{Cell, Column};

/// Names itself: see [`crate::kind::Strategy::COLUMNS`].
pub const COLUMNS: &[Column] = &[
    cells::text("Last Seen", |it| Cell::Since(last_seen(it))).doc(".lastTimestamp"),
    cells::text("Type", |it| cells::cell(&it["type"])).doc(".type"),
    cells::text("Reason", |it| cells::cell(&it["reason"])).doc(".reason"),
    cells::text("Object", object).doc(".involvedObject"),
    cells::wide("Subobject", |it| cells::cell(&of(it, "involvedObject", "regarding")["fieldPath"]))
        .doc(".involvedObject.fieldPath"),
    cells::wide("Source", source).doc(".source"),
    cells::text("Message", |it| Cell::Text(str_of(of(it, "message", "note")).trim().to_owned())).doc(".message"),
    cells::wide("First Seen", |it| Cell::Since(first_seen(it))).doc(".firstTimestamp"),
    cells::wide("Count", count).doc(".count"),
    cells::wide("Name", |it| cells::cell(&it["metadata"]["name"])).doc(".metadata.name"),
];

/// The core group's field, or the one that stands for it in `events.k8s.io`.
fn of<'a>(it: &'a Value, core: &str, newer: &str) -> &'a Value {
    it.get(core).unwrap_or(&it[newer])
}

fn first_seen(it: &Value) -> Option<Timestamp> {
    time(of(it, "firstTimestamp", "deprecatedFirstTimestamp")).or_else(|| time(&it["eventTime"]))
}

fn last_seen(it: &Value) -> Option<Timestamp> {
    match &it["series"] {
        Value::Object(series) => series.get("lastObservedTime").and_then(time),
        _ => time(of(it, "lastTimestamp", "deprecatedLastTimestamp")).or_else(|| first_seen(it)),
    }
}

fn count(it: &Value) -> Cell {
    match &it["series"] {
        Value::Object(series) => cells::number(series.get("count").unwrap_or(&Value::Null)),
        // Single events of the newer group do not count.
        _ => Cell::Number(of(it, "count", "deprecatedCount").as_i64().filter(|it| *it != 0).unwrap_or(1)),
    }
}

fn object(it: &Value) -> Cell {
    let object = of(it, "involvedObject", "regarding");
    let kind = str_of(&object["kind"]).to_lowercase();
    Cell::Text(match str_of(&object["name"]) {
        "" => kind,
        name => format!("{kind}/{name}"),
    })
}

fn source(it: &Value) -> Cell {
    let source = of(it, "source", "deprecatedSource");
    let component = str_or(&source["component"], str_of(of(it, "reportingComponent", "reportingController")));
    let host = str_or(&source["host"], str_of(&it["reportingInstance"]));
    Cell::Text(if host.is_empty() { component.to_owned() } else { format!("{component}, {host}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(event: Value, expected: &[(&str, Cell)]) {
        for (name, cell) in expected {
            let column = COLUMNS.iter().find(|it| it.name == *name).unwrap();
            assert_eq!((column.cell)(&event), *cell, "{name}");
        }
    }

    #[test]
    fn shows_both_forms_alike() {
        let at = |text: &str| Cell::Since(Some(text.parse().unwrap()));
        let expected = [
            ("Last Seen", at("2026-01-01T00:00:09Z")),
            ("First Seen", at("2026-01-01T00:00:01Z")),
            ("Count", Cell::Number(3)),
            ("Object", Cell::Text("pod/web".into())),
            ("Source", Cell::Text("kubelet, n1".into())),
            ("Message", Cell::Text("Started".into())),
        ];
        check(
            json!({"involvedObject": {"kind": "Pod", "name": "web"}, "source": {"component": "kubelet", "host": "n1"}, "count": 3, "message": "Started\n",
                "firstTimestamp": "2026-01-01T00:00:01Z", "lastTimestamp": "2026-01-01T00:00:09Z"}),
            &expected,
        );
        check(
            json!({"regarding": {"kind": "Pod", "name": "web"}, "deprecatedSource": {"component": "kubelet", "host": "n1"}, "note": "Started",
                "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:09.000000Z"}, "eventTime": "2026-01-01T00:00:01.000000Z"}),
            &expected,
        );
    }

    #[test]
    fn who_reports_stands_in_for_what_the_source_leaves_out() {
        let source = |event: Value, text: &str| check(event, &[("Source", Cell::Text(text.into()))]);
        source(json!({"source": {"component": "kubelet"}, "reportingInstance": "n1"}), "kubelet, n1");
        source(json!({"source": {"host": "n1"}, "reportingComponent": "kubelet"}), "kubelet, n1");
        source(json!({"reportingController": "x", "deprecatedSource": {}}), "x");
        check(json!({"series": {"count": 0}, "count": 3}), &[("Count", Cell::Number(0))]);
        check(json!({"count": 0}), &[("Count", Cell::Number(1))]);
    }
}
