//! Removal of fields that a schema does not name.
//!
//! In: an object and its schema. Out: the object without them, and the paths of what went, for warnings and strict errors. The fields
//! `apiVersion`, `kind` and `metadata` of the object and of embedded resources stay; of embedded metadata only the fields of `ObjectMeta`.

use serde_json::Value;

use super::node::{Additional, Node};
use super::trail::{Step, Trail};

/// How many removed fields are named; what goes beyond is removed in silence.
pub const PATHS_LIMIT: usize = 1000;

const META_FIELDS: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// The fields of `ObjectMeta`, in order.
const OBJECT_META: &[&str] = &[
    "annotations",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "labels",
    "managedFields",
    "name",
    "namespace",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// Where a walk stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At the object itself.
    Root,
    Below,
    /// At an element of a list that keeps what is unknown.
    Kept,
}

/// Removes the unknown fields of a whole object; the paths of those removed.
pub fn prune(root: &Node, object: &mut Value) -> Vec<String> {
    let mut removed = Vec::new();
    walk(Some(root), Place::Root, object, &Trail::ROOT, &mut removed);
    removed.sort_unstable();
    removed
}

/// Removes the unknown fields of a value of some schema, which is no whole object unless it is embedded.
pub fn prune_value(node: &Node, value: &mut Value) -> Vec<String> {
    let mut removed = Vec::new();
    walk(Some(node), Place::Below, value, &Trail::ROOT, &mut removed);
    removed
}

/// Removes what is unknown in a value.
fn walk(node: Option<&Node>, place: Place, value: &mut Value, trail: &Trail<'_>, removed: &mut Vec<String>) {
    let preserves = place == Place::Kept || node.is_some_and(|it| it.preserves);
    match value {
        Value::Object(fields) => {
            let has_meta = place == Place::Root || node.is_some_and(|it| it.embedded);
            let mut next = 0;
            fields.retain(|name, value| {
                if has_meta && META_FIELDS.contains(&name.as_str()) {
                    if place != Place::Root && name == "metadata" {
                        prune_metadata(value, &trail.down(Step::Field(name)), removed);
                    }
                    return true;
                }
                let Some(node) = node else {
                    note(&trail.down(Step::Field(name)), removed);
                    return false;
                };
                if let Some((of, is_entry)) = node.child_from(name, &mut next) {
                    let step = if is_entry { Step::Key(name) } else { Step::Field(name) };
                    walk(Some(of), Place::Below, value, &trail.down(step), removed);
                    return true;
                }
                match node.additional {
                    Additional::Absent if preserves => true,
                    Additional::Absent => {
                        note(&trail.down(Step::Field(name)), removed);
                        false
                    }
                    // An entry is allowed, but of its fields none is known.
                    _ => {
                        walk(None, Place::Below, value, &trail.down(Step::Key(name)), removed);
                        true
                    }
                }
            });
        }
        Value::Array(items) => {
            let of = node.and_then(|it| it.items.as_deref());
            if of.is_none() && preserves {
                return;
            }
            let place = if preserves { Place::Kept } else { Place::Below };
            for (index, item) in items.iter_mut().enumerate() {
                walk(of, place, item, &trail.down(Step::Index(index)), removed);
            }
        }
        _ => {}
    }
}

fn prune_metadata(value: &mut Value, trail: &Trail<'_>, removed: &mut Vec<String>) {
    let Value::Object(fields) = value else { return };
    fields.retain(|name, _| {
        let known = OBJECT_META.binary_search(&name.as_str()).is_ok();
        if !known {
            note(&trail.down(Step::Field(name)), removed);
        }
        known
    });
}

fn note(trail: &Trail<'_>, removed: &mut Vec<String>) {
    if removed.len() < PATHS_LIMIT {
        removed.push(trail.dotted());
    }
}
