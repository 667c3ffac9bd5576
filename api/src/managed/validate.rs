//! Whether an applied configuration fits its kind's types.
//!
//! In: the configuration and the shape of its kind. Out: every mistake, in the words of `sigs.k8s.io/structured-merge-diff`: fields that are not
//! declared, values of another type, elements without or with repeated keys. What the values mean is checked later, with the whole object.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::Value;

use super::set::Step;
use super::tree::Tree;
use super::walk::step;
use crate::shape::{Field, Scalar, Shape, Types};

/// How many mistakes are told.
const TOLD_MAX: usize = 100;

/// Checks a configuration.
///
/// # Errors
/// All mistakes in one text.
pub fn check(types: &Types, root: &Field, config: &Value) -> Result<(), String> {
    let mut mistakes = Vec::new();
    walk(types, root, config, &mut String::new(), &mut mistakes);
    match &*mistakes {
        [] => Ok(()),
        [only] => Err(only.clone()),
        many => {
            let mut text = "errors:".to_owned();
            for it in many.iter().take(TOLD_MAX) {
                text.push_str("\n  ");
                text.push_str(it);
            }
            Err(text)
        }
    }
}

fn walk(types: &Types, field: &Field, value: &Value, path: &mut String, mistakes: &mut Vec<String>) {
    let mut wrong = |path: &str, text: String| {
        mistakes.push(if path.is_empty() { text } else { format!("{path}: {text}") });
    };
    match (field.shape, value) {
        (_, Value::Null) | (Shape::Untyped, Value::Object(_)) => {}
        (Shape::Untyped, _) => {}
        (Shape::Object(_) | Shape::Map(_), Value::Object(fields)) => {
            let length = path.len();
            for (name, value) in fields {
                path.push('.');
                path.push_str(name);
                match types.child(field.shape, name) {
                    Some(child) => walk(types, child, value, path, mistakes),
                    None => {
                        mistakes.push(format!("{path}: field not declared in schema"));
                        path.truncate(length);
                        // Kubernetes looks no further in this object.
                        return;
                    }
                }
                path.truncate(length);
            }
        }
        (Shape::Object(_) | Shape::Map(_), other) => wrong(path, format!("expected map, got &{{{}}}", go(other))),
        (Shape::List(_), Value::Array(list)) => elements(types, field, list, path, mistakes),
        (Shape::List(_), other) => wrong(path, format!("expected list, got &{{{}}}", go(other))),
        (Shape::Scalar(of), value) => {
            let fits = match of {
                Scalar::Text => value.is_string(),
                Scalar::Number => value.is_number(),
                Scalar::Boolean => value.is_boolean(),
                Scalar::Any => !value.is_object() && !value.is_array(),
            };
            if !fits {
                let text = match of {
                    Scalar::Number => "expected numeric (int or float), got value.valueUnstructured".to_owned(),
                    Scalar::Boolean => format!("expected boolean, got &{{{}}}", go(value)),
                    _ => format!("expected string, got &value.valueUnstructured{{Value:{}}}", quoted(value)),
                };
                wrong(path, text);
            }
        }
    }
}

fn elements(types: &Types, field: &Field, list: &[Value], path: &mut String, mistakes: &mut Vec<String>) {
    let element = types.element_of(field.shape);
    let mut seen = BTreeSet::new();
    let length = path.len();
    for (at, value) in list.iter().enumerate() {
        let place = if field.leaf {
            Ok(Step::Index(i64::try_from(at).unwrap_or(i64::MAX)))
        } else {
            step(&field.elements, &shallow(value))
        };
        let place = match place {
            Ok(place) => place,
            Err(why) => {
                mistakes.push(format!("{path}: element {at}: {why}"));
                return;
            }
        };
        let _ = write!(path, "{place}");
        let name = path[length..].to_owned();
        if !seen.insert(place) {
            mistakes.push(format!("{}: duplicate entries for key {name}", &path[..length]));
        }
        walk(types, element, value, path, mistakes);
        path.truncate(length);
    }
}

/// An element with its fields as text, which is what its keys are read from.
fn shallow(value: &Value) -> Tree<'static> {
    let leaf = |it: &Value| Tree::Leaf(it.to_string().into());
    match value {
        Value::Object(fields) => {
            Tree::Object(fields.iter().map(|(name, it)| (name.clone().into(), leaf(it))).collect())
        }
        Value::Array(_) => Tree::List(Vec::new()),
        other => leaf(other),
    }
}

/// A value as Go prints it.
fn go(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        Value::Array(list) => format!("[{}]", list.iter().map(go).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, it)| format!("{name}:{}", go(it))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

/// A value as Go writes it in source.
fn quoted(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[]interface {{}}{{{}}}", list.iter().map(quoted).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let fields: Vec<String> = fields.iter().map(|(name, it)| format!("{name:?}:{}", quoted(it))).collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use crate::shape::Shapes;
    use serde_json::json;

    fn said(kind: &str, config: Value) -> Option<String> {
        let Shapes { types, root } = Shapes::of(KINDS.iter().find(|it| it.kind == kind).unwrap());
        check(&types, &root, &config).err()
    }

    #[test]
    fn mistakes_are_told_in_kubernetes_words() {
        let deployment = |container: Value| json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        for (config, expected) in [
            (json!({"spec": {"replicas": 1, "selector": {"matchLabels": {}}}}), None),
            (json!({"spec": {"relicas": 1}}), Some(".spec.relicas: field not declared in schema")),
            (
                json!({"spec": {"replicas": "1"}}),
                Some(".spec.replicas: expected numeric (int or float), got value.valueUnstructured"),
            ),
            (json!({"spec": []}), Some(".spec: expected map, got &{[]}")),
            (
                deployment(json!({"image": "x"})),
                Some(
                    ".spec.template.spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)",
                ),
            ),
            (
                deployment(json!({"name": "a", "image": 7})),
                Some(
                    ".spec.template.spec.containers[name=\"a\"].image: expected string, got &value.valueUnstructured{Value:7}",
                ),
            ),
            (
                deployment(json!({"name": "a", "args": "x"})),
                Some(".spec.template.spec.containers[name=\"a\"].args: expected list, got &{x}"),
            ),
            (
                json!({"spec": {"template": {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}}}}),
                Some(".spec.template.spec.containers: duplicate entries for key [name=\"a\"]"),
            ),
            (
                json!({"spec": {"paused": "no", "replicas": []}}),
                Some(
                    "errors:\n  .spec.paused: expected boolean, got &{no}\n  .spec.replicas: expected numeric (int or float), got value.valueUnstructured",
                ),
            ),
        ] {
            assert_eq!(said("Deployment", config).as_deref(), expected);
        }
        assert_eq!(
            said("ConfigMap", json!({"data": {"a": 1}})).as_deref(),
            Some(".data.a: expected string, got &value.valueUnstructured{Value:1}")
        );
    }
}
