//! The two changes of an apply: what is applied is merged in, and what is no longer applied is taken out.

use serde_json::{Map, Value};

use super::element_steps;
use super::fields::{Fields, Step, element, is_whole};
use crate::patch::order::interleave;
use crate::shape::{Field, Shape, Types};

/// A configuration without nulls, which state nothing.
pub fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            fields.into_iter().filter(|(_, it)| !it.is_null()).map(|(name, it)| (name, without_nulls(it))).collect()
        }
        Value::Array(list) => Value::Array(list.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// `live` with all that `config` states.
pub fn merged(types: &Types, shape: &Shape, field: Option<&Field>, live: &Value, config: &Value) -> Value {
    let this = field.cloned().unwrap_or_else(|| Field { shape: shape.clone(), rule: None });
    if is_whole(types, &this) {
        return config.clone();
    }
    match (live, config) {
        (Value::Object(live), Value::Object(config)) => {
            let mut out = live.clone();
            for (name, value) in config {
                let child = types.child(shape, name);
                let value = match (&child, live.get(name)) {
                    (Some(child), Some(stood)) => merged(types, &child.shape, Some(child), stood, value),
                    _ => value.clone(),
                };
                out.insert(name.clone(), value);
            }
            Value::Object(out)
        }
        (Value::Array(live), Value::Array(config)) => merged_list(types, &this, live, config),
        _ => config.clone(),
    }
}

fn merged_list(types: &Types, field: &Field, live: &[Value], config: &[Value]) -> Value {
    let (Some(stood), Some(wanted)) = (element_steps(Some(field), live), element_steps(Some(field), config)) else {
        return Value::Array(config.to_vec());
    };
    let inner = element(field);
    let position = |step: &Step| stood.iter().position(|it| it == step);
    let mut changed = Vec::with_capacity(config.len());
    for (step, value) in wanted.iter().zip(config) {
        changed.push(match position(step) {
            Some(at) => merged(types, &inner.shape, Some(&inner), &live[at], value),
            None => value.clone(),
        });
    }
    let others = stood.iter().zip(live).filter(|(step, _)| !wanted.contains(step)).map(|(_, it)| it.clone()).collect();
    let place = |value: &Value| {
        let step = element_steps(Some(field), std::slice::from_ref(value))?.pop()?;
        position(&step)
    };
    Value::Array(interleave(others, changed, place))
}

/// Takes out of `value` what was applied before, is not applied now, and belongs to nobody else.
pub fn prune(
    types: &Types,
    shape: &Shape,
    field: Option<&Field>,
    value: &mut Value,
    before: &Fields,
    now: &Fields,
    others: &Fields,
) {
    let nothing = Fields::default();
    match value {
        Value::Object(object) => {
            let mut gone = Vec::new();
            for (name, stands) in object.iter_mut() {
                let step = Step::field(name);
                let Some(before) = before.below.get(&step) else { continue };
                let kept = (now.below.get(&step), others.below.get(&step));
                if let (None, None) = kept
                    && before.member
                {
                    gone.push(name.clone());
                    continue;
                }
                let Some(child) = types.child(shape, name) else { continue };
                let (now, others) = (kept.0.unwrap_or(&nothing), kept.1.unwrap_or(&nothing));
                let had_parts = has_parts(stands);
                prune(types, &child.shape, Some(&child), stands, before, now, others);
                // What only held the removed fields goes with them.
                if had_parts && !has_parts(stands) && now.is_empty() && others.is_empty() {
                    gone.push(name.clone());
                }
            }
            remove_all(object, &gone);
        }
        Value::Array(list) => {
            let Some(steps) = element_steps(field, list) else { return };
            let inner = field.map_or(Field { shape: Shape::Scalar, rule: None }, element);
            let mut steps = steps.into_iter();
            list.retain_mut(|stands| {
                let Some(step) = steps.next() else { return true };
                let Some(before) = before.below.get(&step) else { return true };
                let kept = (now.below.get(&step), others.below.get(&step));
                if let (None, None) = kept {
                    return !before.member;
                }
                let (now, others) = (kept.0.unwrap_or(&nothing), kept.1.unwrap_or(&nothing));
                prune(types, &inner.shape, Some(&inner), stands, before, now, others);
                true
            });
        }
        _ => {}
    }
}

fn has_parts(value: &Value) -> bool {
    match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(list) => !list.is_empty(),
        _ => false,
    }
}

fn remove_all(object: &mut Map<String, Value>, names: &[String]) {
    for name in names {
        object.remove(name);
    }
}
