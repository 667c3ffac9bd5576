//! Elements of lists that are told apart: which old element a new one was, and which stand twice.
//!
//! Lists of list type map go by their key fields, in which a field that is left out counts as its default; lists of list type set by
//! their elements. Source: `apiserver/schema/listtype` and `apiserver/pkg/cel/common/maplist.go`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::node::{ListType, Node};
use super::trail::{Step, Trail};
use crate::field::Errors;

/// The elements of an old list of list type map.
pub struct Elements<'a> {
    node: &'a Node,
    old: &'a [Value],
    /// By their keys as JSON; made when an element is not where it was.
    by_key: Option<HashMap<String, &'a Value>>,
}

impl<'a> Elements<'a> {
    /// The elements of this list.
    pub fn new(node: &'a Node, old: &'a [Value]) -> Self {
        Elements { node, old, by_key: None }
    }

    /// The old element with the keys of the new one, which stands at this place now.
    pub fn find(&mut self, at: usize, item: &Value) -> Option<&'a Value> {
        let node = self.node;
        if let Some(old) = self.old.get(at)
            && node.keys().iter().all(|name| key_field(node, item, name) == key_field(node, old, name))
        {
            return Some(old);
        }
        let old = self.old;
        let by_key = self.by_key.get_or_insert_with(|| old.iter().map(|it| (key(node, it), it)).collect());
        by_key.get(&key(node, item)).copied()
    }
}

fn key_field<'a>(node: &'a Node, item: &'a Value, name: &str) -> Option<&'a Value> {
    item.get(name).or_else(|| node.items.as_deref()?.property(name)?.default.as_deref())
}

fn key(node: &Node, item: &Value) -> String {
    let mut out = String::new();
    for name in node.keys() {
        out.push_str(&key_field(node, item, name).map(Value::to_string).unwrap_or_default());
        out.push('\0');
    }
    out
}

/// Notes the elements of lists that stand twice, here and below.
pub fn judge_lists(node: &Node, value: &Value, trail: &Trail<'_>, errors: &mut Errors) {
    if !node.lists {
        return;
    }
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let Some((of, is_entry)) = node.child(name) else { continue };
                let step = if is_entry { Step::Key(name) } else { Step::Field(name) };
                judge_lists(of, value, &trail.down(step), errors);
            }
        }
        Value::Array(items) => {
            match node.list {
                ListType::Atomic => {}
                ListType::Set => judge_set(items, trail, errors),
                ListType::Map => judge_map(node, items, trail, errors),
            }
            let Some(of) = &node.items else { return };
            for (index, item) in items.iter().enumerate() {
                judge_lists(of, item, &trail.down(Step::Index(index)), errors);
            }
        }
        _ => {}
    }
}

/// The places at which something stands for the second time.
fn repeated(keys: impl Iterator<Item = String>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut out = Vec::new();
    for (index, key) in keys.enumerate() {
        let times = seen.entry(key).or_default();
        *times += 1;
        if *times == 2 {
            out.push(index);
        }
    }
    out
}

fn judge_set(items: &[Value], trail: &Trail<'_>, errors: &mut Errors) {
    for index in repeated(items.iter().map(Value::to_string)) {
        errors.duplicate(trail.down(Step::Index(index)).path(), &items[index]);
    }
}

fn judge_map(node: &Node, items: &[Value], trail: &Trail<'_>, errors: &mut Errors) {
    if let Some(index) = items.iter().position(|it| !it.is_object() && !it.is_null()) {
        let path = trail.down(Step::Index(index)).path();
        errors.invalid(path, &items[index], "must be an object for an array of list-type map");
        return;
    }
    let keys_of = |item: &Value| -> Map<String, Value> {
        let field = |name: &str| Some((name.to_owned(), item.get(name)?.clone()));
        node.keys().iter().filter_map(|it| field(it)).collect()
    };
    let keys: Vec<Value> = items.iter().map(|it| Value::Object(keys_of(it))).collect();
    for index in repeated(keys.iter().map(Value::to_string)) {
        errors.duplicate(trail.down(Step::Index(index)).path(), &keys[index]);
    }
}
