//! The cells that several kinds show: age, counts, containers and images, selectors.
//!
//! In: an object's JSON. Out: a [`Cell`] with the text that `kubectl get` prints against Kubernetes
//! (`k8s.io/kubernetes/pkg/printers/internalversion`). Whether a column is asked for, and how old "ago" is, is decided elsewhere.

use jiff::Timestamp;
use serde_json::Value;

use crate::table::{Cell, Column};

/// What Kubernetes prints where there is nothing.
pub const NONE: &str = "<none>";

/// How many list entries a cell names before it says `+ N more...`.
const LISTED_LIMIT: usize = 3;

/// The column that most kinds end with.
pub const AGE: Column = text("Age", age).doc(".metadata.creationTimestamp");

/// A column of text that is always shown.
pub const fn text(name: &'static str, cell: fn(&Value) -> Cell) -> Column {
    Column { name, kind: "string", format: "", priority: 0, description: "", cell }
}

/// A column of whole numbers that is always shown.
pub const fn integer(name: &'static str, cell: fn(&Value) -> Cell) -> Column {
    Column { name, kind: "integer", format: "", priority: 0, description: "", cell }
}

/// A column of true and false that is always shown.
pub const fn flag(name: &'static str, cell: fn(&Value) -> Cell) -> Column {
    Column { name, kind: "boolean", format: "", priority: 0, description: "", cell }
}

/// A column that only `-o wide` shows.
pub const fn wide(name: &'static str, cell: fn(&Value) -> Cell) -> Column {
    Column { name, kind: "string", format: "", priority: 1, description: "", cell }
}

/// How long ago the object was created.
pub fn age(it: &Value) -> Cell {
    Cell::Since(time(&it["metadata"]["creationTimestamp"]))
}

/// The text of a value, "" if it is none.
pub fn str_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The text of a value, or `absent` where it is empty or none.
pub fn str_or<'a>(value: &'a Value, absent: &'a str) -> &'a str {
    value.as_str().filter(|it| !it.is_empty()).unwrap_or(absent)
}

/// A cell of the value's text.
pub fn cell(value: &Value) -> Cell {
    Cell::Text(str_of(value).to_owned())
}

/// A cell of the value's text, `<none>` if it is empty.
pub fn cell_or_none(value: &Value) -> Cell {
    Cell::Text(str_or(value, NONE).to_owned())
}

/// A cell of a whole number, 0 if it is none.
pub fn number(value: &Value) -> Cell {
    Cell::Number(value.as_i64().unwrap_or(0))
}

/// The entries of a list; none if it is no list.
pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// How many entries a map has.
pub fn count(value: &Value) -> i64 {
    value.as_object().map_or(0, |it| it.len() as i64)
}

/// A timestamp as objects write it.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// `a,b,c + 2 more...`: the first entries, and how many there are in all; `empty` where that leaves no text.
pub fn first_of(entries: impl Iterator<Item = String>, empty: &str) -> String {
    let mut shown: Vec<String> = Vec::with_capacity(LISTED_LIMIT);
    let mut more = 0;
    for entry in entries {
        if shown.len() < LISTED_LIMIT {
            shown.push(entry);
        } else {
            more += 1;
        }
    }
    match (shown.join(","), more) {
        (text, 0) if text.is_empty() => empty.to_owned(),
        (text, 0) => text,
        (text, more) => format!("{text} + {more} more..."),
    }
}

/// The texts of a field of every entry, joined by commas.
pub fn joined(entries: &Value, field: &str) -> String {
    list(entries).iter().map(|it| str_of(&it[field])).collect::<Vec<_>>().join(",")
}

/// The names of a pod template's containers.
pub fn template_containers(it: &Value) -> Cell {
    Cell::Text(joined(&it["spec"]["template"]["spec"]["containers"], "name"))
}

/// The images of a pod template's containers.
pub fn template_images(it: &Value) -> Cell {
    Cell::Text(joined(&it["spec"]["template"]["spec"]["containers"], "image"))
}

/// `1/3`: how many pods are ready of those asked for.
pub fn ready_of_desired(it: &Value) -> Cell {
    let count = |value: &Value| value.as_i64().unwrap_or(0);
    Cell::Text(format!("{}/{}", count(&it["status"]["readyReplicas"]), count(&it["spec"]["replicas"])))
}

/// A map of labels as a selector: `a=1,b=2`, `<none>` if there is none.
pub fn labels(value: &Value) -> String {
    let pairs: Vec<String> = value.as_object().map_or_else(Vec::new, |it| {
        let mut pairs: Vec<String> = it.iter().map(|(key, value)| format!("{key}={}", str_of(value))).collect();
        pairs.sort();
        pairs
    });
    if pairs.is_empty() { NONE.to_owned() } else { pairs.join(",") }
}

/// `spec.selector`, a LabelSelector, as text: `app=web,tier in (a,b)`; `<none>` if it selects everything.
pub fn label_selector(it: &Value) -> Cell {
    Cell::Text(selector(&it["spec"]["selector"]))
}

/// A LabelSelector as text; `<none>` if it selects everything.
pub fn selector(selector: &Value) -> String {
    let mut terms: Vec<(&str, String)> = Vec::new();
    if let Some(pairs) = selector["matchLabels"].as_object() {
        terms.extend(pairs.iter().map(|(key, value)| (key.as_str(), format!("{key}={}", str_of(value)))));
    }
    for term in list(&selector["matchExpressions"]) {
        let key = str_of(&term["key"]);
        let mut values: Vec<&str> = list(&term["values"]).iter().map(str_of).collect();
        values.sort_unstable();
        let values = values.join(",");
        let text = match str_of(&term["operator"]) {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        };
        terms.push((key, text));
    }
    // What says the same key stays in order: labels first.
    terms.sort_by_key(|it| it.0);
    let texts: Vec<String> = terms.into_iter().map(|(_, text)| text).collect();
    if texts.is_empty() { NONE.to_owned() } else { texts.join(",") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(selector: Value, expected: &str) {
        assert_eq!(label_selector(&json!({ "spec": { "selector": selector } })), Cell::Text(expected.to_owned()));
    }

    #[test]
    fn writes_selectors_as_kubernetes_does() {
        check(json!({}), "<none>");
        check(json!({"matchLabels": {"b": "2", "a": "1"}}), "a=1,b=2");
        check(
            json!({"matchLabels": {"b": "2"}, "matchExpressions": [
                {"key": "a", "operator": "In", "values": ["y", "x"]}, {"key": "c", "operator": "DoesNotExist"}]}),
            "a in (x,y),b=2,!c",
        );
        check(
            json!({"matchLabels": {"a": "x"}, "matchExpressions": [
                {"key": "a", "operator": "Exists"}, {"key": "a", "operator": "In", "values": ["x"]}]}),
            "a=x,a,a in (x)",
        );
    }

    #[test]
    fn counts_what_it_does_not_list() {
        let of = |n: usize| first_of((0..n).map(|it| it.to_string()), "<unset>");
        assert_eq!([of(0), of(3), of(5)], ["<unset>", "0,1,2", "0,1,2 + 2 more..."]);
        assert_eq!(first_of(std::iter::once(String::new()), "<unset>"), "<unset>");
    }
}
