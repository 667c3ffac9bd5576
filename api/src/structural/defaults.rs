//! Whether the defaults of a schema fit it.
//!
//! Source: `apiserver/schema/defaulting/validation.go`: a default has no unknown fields, its embedded resources are well formed, and it
//! fits the schema at which it stands.

use serde_json::Value;

use super::elements::judge_lists;
use super::node::{Additional, Node};
use super::trail::Trail;
use super::{embedded, judge, prune, rules};
use crate::field::{Error, Errors, Path};

/// Notes every default that does not fit.
pub fn check(node: &Node, path: &Path, errors: &mut Errors) {
    if !node.defaults {
        return;
    }
    if let Some(default) = &node.default {
        check_default(node, default, &path.child("default"), errors);
    }
    if let Some(items) = &node.items {
        check(items, &path.child("items"), errors);
    }
    for (name, of) in &node.properties {
        check(of, &path.child("properties").key(name), errors);
    }
    if let Additional::Schema(of) = &node.additional {
        check(of, &path.child("additionalProperties"), errors);
    }
}

/// Notes every default that breaks a rule of its schema. The rules themselves are known to be well-formed.
pub fn check_rules(node: &Node, path: &Path, errors: &mut Errors) {
    if !node.defaults {
        return;
    }
    if let Some(default) = node.default.as_ref().filter(|_| node.ruled) {
        let mut found = Errors::default();
        rules::judge_rules(node, default, None, &mut found);
        errors.append(found.map(|error| below(&path.child("default"), error)));
    }
    if let Some(items) = &node.items {
        check_rules(items, &path.child("items"), errors);
    }
    for (name, of) in &node.properties {
        check_rules(of, &path.child("properties").key(name), errors);
    }
    if let Additional::Schema(of) = &node.additional {
        check_rules(of, &path.child("additionalProperties"), errors);
    }
}

fn check_default(node: &Node, default: &Value, path: &Path, errors: &mut Errors) {
    let mut pruned = default.clone();
    prune::prune_value(node, &mut pruned);
    if pruned != *default {
        errors.invalid(path.clone(), default, "must not have unknown fields");
    }
    let mut found = Errors::default();
    embedded::judge(node, default, &Trail::ROOT, &mut found);
    if found.is_empty() {
        judge::judge(node, default, None, &Trail::ROOT, &mut found);
    }
    if found.is_empty() {
        judge_lists(node, default, &Trail::ROOT, &mut found);
    }
    errors.append(found.map(|error| below(path, error)));
}

/// A mistake in a default, told by where the default stands.
fn below(path: &Path, error: Error) -> Error {
    let inner = error.path.to_string();
    let place = match inner.as_str() {
        "<nil>" | "" => path.clone(),
        inner if inner.starts_with('[') => Path::new(&format!("{path}{inner}")),
        inner => path.child(inner),
    };
    Error { path: place, ..error }
}
