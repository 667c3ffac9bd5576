//! Empty lists and maps that Kubernetes does not keep: those of fields that Go leaves out when they are empty.
//!
//! In: an encoded object of a kind. Out: whether it holds such a field ([`holds_any`], a search of the bytes that costs less than a
//! microsecond and is nearly always the end of it), and the object without them ([`pruned`]). Structs without content (`emptyDir: {}`) mean
//! something and stay; which is which the types say.

use serde_json::Value;

use crate::kind::Kind;
use crate::shape::{Shape, Shapes, Types};

/// Whether an encoded object may hold an empty list or map that is not kept.
pub fn holds_any(json: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = json[at..].iter().position(|it| *it == b':') {
        at += found + 1;
        let is_map = match json.get(at..at + 2) {
            Some(b"[]") => false,
            Some(b"{}") => true,
            _ => continue,
        };
        let Some(key) = key_before(&json[..at - 1]) else { continue };
        if !is_map || MAP_FIELDS.binary_search_by(|it| it.as_bytes().cmp(key)).is_ok() {
            return true;
        }
    }
    false
}

/// The key whose closing quote these bytes end with; none within a text, where quotes are escaped.
fn key_before(json: &[u8]) -> Option<&[u8]> {
    let inner = json.strip_suffix(b"\"")?;
    let begins = inner.iter().rposition(|it| *it == b'"')?;
    let is_key = matches!(inner[..begins].last(), Some(b'{' | b','));
    (is_key && inner.last() != Some(&b'\\')).then(|| &inner[begins + 1..])
}

/// The names of all fields of all kinds that hold maps, in order. Written out because the types take milliseconds to build, which a
/// server's start would pay; a test compares.
const MAP_FIELDS: &[&str] = &[
    "allocatable",
    "allocatedResourceStatuses",
    "allocatedResources",
    "annotations",
    "attachmentMetadata",
    "attributes",
    "binaryData",
    "capacity",
    "consumedCapacity",
    "counters",
    "data",
    "default",
    "defaultRequest",
    "definitions",
    "dependencies",
    "deprecatedTopology",
    "disruptedPods",
    "extra",
    "hard",
    "labels",
    "limits",
    "matchLabels",
    "max",
    "maxLimitRequestRatio",
    "min",
    "nodeSelector",
    "options",
    "overhead",
    "parameters",
    "patternProperties",
    "podFixed",
    "properties",
    "requests",
    "selector",
    "stringData",
    "used",
    "userAnnotations",
    "volumeAttributes",
];

/// The object without the empty lists and maps of fields that need not be there.
pub fn pruned(kind: &Kind, mut object: Value) -> Value {
    let Shapes { types, root } = Shapes::of(kind);
    prune(&types, root.shape, &mut object);
    object
}

fn prune(types: &Types, shape: Shape, value: &mut Value) {
    match (shape, value) {
        (Shape::Object(id), Value::Object(fields)) => {
            let of = types.at(id);
            fields.retain(|name, value| {
                let Some(field) = of.field(name) else { return true };
                let empty = match (field.shape, &*value) {
                    (Shape::List(_), Value::Array(items)) => items.is_empty(),
                    (Shape::Map(_), Value::Object(entries)) => entries.is_empty(),
                    _ => false,
                };
                if empty {
                    return of.requires(name);
                }
                prune(types, field.shape, value);
                true
            });
        }
        (Shape::List(of), Value::Array(items)) => {
            items.iter_mut().for_each(|it| prune(types, types.element(of).shape, it))
        }
        (Shape::Map(of), Value::Object(entries)) => {
            entries.values_mut().for_each(|it| prune(types, types.element(of).shape, it))
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use serde_json::json;

    fn check(kind: &str, value: Value, expected: Option<Value>) {
        let kind = KINDS.iter().find(|it| it.kind == kind).unwrap();
        let found = holds_any(value.to_string().as_bytes());
        assert_eq!(found, expected.is_some(), "{value}");
        let pruned = pruned(kind, value.clone());
        assert_eq!(pruned, expected.unwrap_or(value));
    }

    #[test]
    fn the_fields_that_hold_maps_are_listed() {
        let types = Types::of(KINDS);
        let fields = types.fields().filter(|(_, it)| matches!(it.shape, Shape::Map(_)));
        let mut names: Vec<&str> = fields.map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names, MAP_FIELDS);
    }

    #[test]
    fn empty_lists_and_maps_are_not_kept() {
        check("Node", json!({"spec": {"taints": [], "podCIDR": "x"}}), Some(json!({"spec": {"podCIDR": "x"}})));
        check("Pod", json!({"metadata": {"labels": {}, "name": "a"}}), Some(json!({"metadata": {"name": "a"}})));
        check(
            "Pod",
            json!({"spec": {"containers": [{"name": "a", "resources": {"limits": {}}, "args": []}], "nodeSelector": {}}}),
            Some(json!({"spec": {"containers": [{"name": "a", "resources": {}}]}})),
        );
        check("ConfigMap", json!({"data": {}}), Some(json!({})));
    }

    #[test]
    fn what_means_something_is_kept() {
        check("Pod", json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}], "securityContext": {}}}), None);
        check("Pod", json!({"metadata": {"annotations": {"a": "{\"labels\":{},\"x\":[]}"}}}), None);
        check("ConfigMap", json!({"data": {"a": ":[]", "b": "\":[]"}}), None);
        let required = json!({"addressType": "IPv4", "endpoints": []});
        let slice = KINDS.iter().find(|it| it.kind == "EndpointSlice").unwrap();
        assert_eq!(pruned(slice, required.clone()), required);
    }
}
