//! Filling in of defaults.
//!
//! In: a pruned object and its schema. Out: the object with the defaults of fields that are absent, or null where null is not allowed.
//! A null of a field that is neither nullable nor has a default is dropped, as if it had not been written.

use serde_json::Value;

use super::node::{Additional, Node};

/// Drops nulls that say nothing and fills in defaults.
pub fn fill(node: &Node, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                !value.is_null() || node.property(name).is_none_or(|it| it.nullable || it.default.is_some())
            });
            if !node.defaults && !fields.values().any(|it| it.is_object() || it.is_array()) {
                return;
            }
            for (name, of) in &node.properties {
                let Some(default) = &of.default else { continue };
                match fields.get_mut(&**name) {
                    Some(value) if value.is_null() && !of.nullable => *value = (**default).clone(),
                    Some(_) => {}
                    None => {
                        fields.insert((**name).to_owned(), (**default).clone());
                    }
                }
            }
            for (name, value) in fields.iter_mut() {
                if !value.is_object() && !value.is_array() && !value.is_null() {
                    continue;
                }
                if let Some(of) = node.property(name) {
                    fill(of, value);
                } else if let Additional::Schema(of) = &node.additional {
                    fill_element(of, value);
                }
            }
        }
        Value::Array(items) => {
            let Some(of) = &node.items else { return };
            for item in items {
                fill_element(of, item);
            }
        }
        _ => {}
    }
}

/// A null among the elements of a list or the entries of a map stays where there is no default.
fn fill_element(of: &Node, value: &mut Value) {
    if value.is_null()
        && !of.nullable
        && let Some(default) = &of.default
    {
        *value = (**default).clone();
    }
    fill(of, value);
}
