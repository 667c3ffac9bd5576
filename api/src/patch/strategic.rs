//! Strategic merge patch: a merge patch that knows which lists are merged by key, with directives for what merging cannot say.
//!
//! Directives: `$patch: replace|delete` in objects and list elements, `$retainKeys`, `$deleteFromPrimitiveList/<field>` and
//! `$setElementOrder/<field>`. Source: `k8s.io/apimachinery/pkg/util/strategicpatch`, as the server uses it (parallel lists merged,
//! unmatched nulls ignored). One difference: where a merge key is shared by several elements (a port in TCP and UDP), the other keys of
//! the list's type tell them apart, and no element of the patch swallows another's.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::order::interleave;
use super::places::{Places, Targets};
use crate::kind::Kind;
use crate::list_types::{KEY_DEFAULTS, List, Rule};
use crate::shape::{Field, Scalar, Shape, Shapes, Types};
use crate::status::{self, Status};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

const BAD_PRIMITIVE_LIST: &str = "invalid patch format of primitive list";
const BAD_RETAIN_KEYS: &str = "invalid patch format of retainKeys";
const BAD_ORDER: &str = "invalid patch format of setElementOrder list";
const LISTS_OF_LISTS: &str = "lists of lists are not supported";

/// The object after the patch.
///
/// # Errors
/// `BadRequest` for directives that Kubernetes does not know or that contradict each other, and for elements without their merge key.
pub fn apply(kind: &Kind, object: &Value, patch: Value) -> status::Result<Value> {
    let Shapes { types, root } = Shapes::of(kind);
    let (Value::Object(original), Value::Object(patch)) = (object, patch) else {
        return Err(Status::bad_request("invalid JSON document"));
    };
    let merged = Merger { types: &types }.object(original.clone(), patch, root.shape)?;
    Ok(Value::Object(merged))
}

fn bad(text: impl Into<String>) -> Status {
    Status::bad_request(text)
}

struct Merger<'a> {
    types: &'a Types,
}

impl Merger<'_> {
    fn object(
        &self,
        mut original: Map<String, Value>,
        mut patch: Map<String, Value>,
        shape: Shape,
    ) -> status::Result<Map<String, Value>> {
        match patch.remove(PATCH) {
            None => {}
            Some(Value::String(it)) if it == "replace" => return Ok(patch),
            Some(Value::String(it)) if it == "delete" => return Ok(Map::new()),
            Some(other) => return Err(unknown_directive(&other, &patch)),
        }
        retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, shape)?;
        for (name, value) in patch {
            if let Some(field) = name.strip_prefix(DELETE_FROM) {
                let Value::Array(unwanted) = value else { return Err(bad(BAD_PRIMITIVE_LIST)) };
                if let Some(Value::Array(list)) = original.get_mut(field) {
                    list.retain(|it| !unwanted.contains(it));
                }
                continue;
            }
            let field = self.types.child(shape, &name);
            match (original.remove(&name), value) {
                (_, Value::Null) => {}
                (Some(Value::Object(_)), Value::Object(new))
                    if field.as_ref().and_then(|it| it.rule).is_some_and(Rule::replaces) =>
                {
                    original.insert(name, Value::Object(new));
                }
                (Some(Value::Object(old)), Value::Object(new)) => {
                    let shape = field.map_or(Shape::Scalar(Scalar::Any), |it| it.shape);
                    original.insert(name, Value::Object(self.object(old, new, shape)?));
                }
                (Some(Value::Array(old)), Value::Array(new)) => {
                    original.insert(name, Value::Array(self.list(old, new, field)?));
                }
                (_, new) => {
                    if let Some(new) = without_directives(new) {
                        original.insert(name, new);
                    }
                }
            }
        }
        Ok(original)
    }

    /// Merges the lists for which the patch gives an order, and takes them out of the patch.
    fn ordered_lists(
        &self,
        original: &mut Map<String, Value>,
        patch: &mut Map<String, Value>,
        shape: Shape,
    ) -> status::Result<()> {
        let names: Vec<String> = patch.keys().filter(|it| it.starts_with(SET_ORDER)).cloned().collect();
        for directive in names {
            let Some(Value::Array(order)) = patch.remove(&directive) else { return Err(bad(BAD_ORDER)) };
            let name = &directive[SET_ORDER.len()..];
            let old = match original.get(name) {
                None => None,
                Some(Value::Array(list)) => Some(list.clone()),
                Some(_) => return Err(bad(BAD_ORDER)),
            };
            let new = match patch.remove(name) {
                None => None,
                Some(Value::Array(list)) => Some(list),
                // The list is removed or becomes something else: there is nothing to order.
                Some(other) => {
                    patch.insert(name.to_owned(), other);
                    continue;
                }
            };
            let field = self.types.child(shape, name);
            let rule = field.and_then(|it| it.rule);
            if let Some(new) = &new {
                check_order(new, &order, rule)?;
            }
            let merged = match (&old, new) {
                (None, None) => continue,
                (Some(old), None) => old.clone(),
                (None, Some(new)) => new.into_iter().filter_map(without_directives).collect(),
                (Some(old), Some(new)) => self.list(old.clone(), new, field)?,
            };
            let server = old.unwrap_or_default();
            let (ordered, stood) = (Places::of(&order, rule), Places::of(&server, rule));
            let (mut named, others): (Vec<Value>, Vec<Value>) =
                merged.into_iter().partition(|it| ordered.first(it).is_some());
            named.sort_by_cached_key(|it| ordered.first(it));
            let sorted = interleave(others, named, |it| stood.first(it));
            original.insert(name.to_owned(), Value::Array(sorted));
        }
        Ok(())
    }

    fn list(&self, old: Vec<Value>, new: Vec<Value>, field: Option<&Field>) -> status::Result<Vec<Value>> {
        let Some((field, rule)) = field.and_then(|it| Some((it, it.rule?))).filter(|(_, rule)| rule.merges()) else {
            return Ok(new.into_iter().filter_map(without_directives).collect());
        };
        if old.iter().chain(&new).any(Value::is_array) {
            return Err(bad(LISTS_OF_LISTS));
        }
        if rule.merge_key.is_empty() {
            return Ok(union(old, new));
        }
        self.keyed(old, new, self.types.element_of(field.shape).shape, rule)
    }

    /// Merges lists of objects by their merge key.
    fn keyed(&self, old: Vec<Value>, new: Vec<Value>, shape: Shape, rule: &Rule) -> status::Result<Vec<Value>> {
        let mut wanted = Vec::with_capacity(new.len());
        let stood = Places::of(&old, Some(rule));
        let mut deleted = HashSet::new();
        let mut replace = false;
        for element in new {
            let Value::Object(mut element) = element else {
                return Err(bad(format!("map: {element} does not contain declared merge key: {}", rule.merge_key)));
            };
            match element.remove(PATCH) {
                None => wanted.push(element),
                Some(Value::String(it)) if it == "replace" => replace = true,
                Some(Value::String(it)) if it == "delete" => {
                    let unwanted = Value::Object(element);
                    require_key(&unwanted, rule)?;
                    deleted.extend(stood.sharing(&unwanted).filter(|at| deletes(&unwanted, &old[*at], rule)));
                }
                Some(Value::String(it)) if it == "merge" => {
                    return Err(bad("merging lists cannot yet be specified in the patch"));
                }
                Some(other) => return Err(unknown_directive(&other, &element)),
            }
        }
        if replace {
            return Ok(wanted.into_iter().map(Value::Object).filter_map(without_directives).collect());
        }
        let wanted: Vec<Value> = wanted.into_iter().map(Value::Object).collect();
        let kept: Vec<Value> =
            old.iter().enumerate().filter(|(at, _)| !deleted.contains(at)).map(|(_, it)| it.clone()).collect();
        let targets = Targets::of(&kept, &wanted, rule);
        let mut patched = Vec::with_capacity(wanted.len());
        let mut taken = HashSet::new();
        for element in &wanted {
            require_key(element, rule)?;
            let at = targets.of_element(element).filter(|it| !taken.contains(it));
            let (Value::Object(element), Some(at)) = (element.clone(), at) else {
                patched.extend(without_directives(element.clone()));
                continue;
            };
            taken.insert(at);
            if let Value::Object(original) = &kept[at] {
                patched.push(Value::Object(self.object(original.clone(), element, shape)?));
            }
        }
        let server_only =
            kept.iter().enumerate().filter(|(at, _)| !taken.contains(at)).map(|(_, it)| it.clone()).collect();
        Ok(interleave(server_only, patched, |element| stood.first(element)))
    }
}

/// Drops the fields that `$retainKeys` does not name.
fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> status::Result<()> {
    let Some(directive) = patch.remove(RETAIN_KEYS) else { return Ok(()) };
    let names = directive.as_array().ok_or_else(|| bad(BAD_RETAIN_KEYS))?;
    let retained: HashSet<&str> = names.iter().filter_map(Value::as_str).collect();
    let in_vain = |(name, value): (&String, &Value)| {
        !value.is_null() && !name.starts_with('$') && !retained.contains(name.as_str())
    };
    if patch.iter().any(in_vain) {
        return Err(bad(BAD_RETAIN_KEYS));
    }
    original.retain(|name, _| retained.contains(name.as_str()));
    Ok(())
}

/// Elements of the patch must stand in the order list, and in that order.
fn check_order(new: &[Value], order: &[Value], rule: Option<&Rule>) -> status::Result<()> {
    let mut last = None;
    let places = Places::of(order, rule);
    for element in new.iter().filter(|it| it.get(PATCH).is_none()) {
        let at = places.first(element);
        if at.is_none() || at < last {
            return Err(bad(BAD_ORDER));
        }
        last = at;
    }
    Ok(())
}

/// The union of two lists of scalars, in the patch's order.
fn union(old: Vec<Value>, new: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    let patched: Vec<Value> = new.into_iter().filter(|it| seen.insert(it.to_string())).collect();
    let position: HashMap<String, usize> = old.iter().enumerate().rev().map(|(at, it)| (it.to_string(), at)).collect();
    let server_only = old.into_iter().filter(|it| !seen.contains(&it.to_string())).collect();
    interleave(server_only, patched, |it| position.get(&it.to_string()).copied())
}

/// The value of a key field, defaults applied.
pub(super) fn key_value<'a>(element: &'a Value, key: &str) -> Option<std::borrow::Cow<'a, Value>> {
    use std::borrow::Cow;
    if let Some(value) = element.get(key) {
        return Some(Cow::Borrowed(value));
    }
    KEY_DEFAULTS.iter().find(|(it, _)| *it == key).map(|(_, value)| Cow::Owned(Value::from(*value)))
}

/// Whether two elements are the same by the merge key alone, or, for scalars, equal.
fn shares_merge_key(one: &Value, other: &Value, rule: &Rule) -> bool {
    one.get(rule.merge_key).is_some() && one.get(rule.merge_key) == other.get(rule.merge_key)
}

/// Whether a `$patch: delete` element means this one: the keys it names must fit.
fn deletes(unwanted: &Value, element: &Value, rule: &Rule) -> bool {
    let Some(List::Map(keys)) = rule.list else { return shares_merge_key(unwanted, element, rule) };
    shares_merge_key(unwanted, element, rule)
        && keys
            .iter()
            .filter(|it| unwanted.get(**it).is_some())
            .all(|it| key_value(unwanted, it) == key_value(element, it))
}

fn require_key(element: &Value, rule: &Rule) -> status::Result<()> {
    if element.get(rule.merge_key).is_some() {
        return Ok(());
    }
    Err(bad(format!("map: {element} does not contain declared merge key: {}", rule.merge_key)))
}

fn unknown_directive(directive: &Value, patch: &Map<String, Value>) -> Status {
    let directive = directive.as_str().map_or_else(|| directive.to_string(), str::to_owned);
    bad(format!("unknown patch type '{directive}' in map: {}", Value::Object(patch.clone())))
}

/// A value that is new to the object: nulls and directives have nothing to act on. None: the value itself is such.
fn without_directives(value: Value) -> Option<Value> {
    match value {
        Value::Object(fields) if fields.get(PATCH).is_some_and(|it| it == "delete") => None,
        Value::Object(fields) => Some(Value::Object(
            fields
                .into_iter()
                .filter(|(name, value)| {
                    let directive = name == PATCH
                        || name == RETAIN_KEYS
                        || name.starts_with(DELETE_FROM)
                        || name.starts_with(SET_ORDER);
                    !directive && !value.is_null()
                })
                .filter_map(|(name, value)| Some((name, without_directives(value)?)))
                .collect(),
        )),
        Value::Array(list) => Some(Value::Array(list.into_iter().filter_map(without_directives).collect())),
        other => Some(other),
    }
}

/// A patch as Go prints a map of it (`%+v`), which is how refusals show it.
pub fn shown(patch: &Value) -> String {
    let list = |items: Vec<String>| items.join(" ");
    match patch {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(fields) => {
            format!("map[{}]", list(fields.iter().map(|(name, it)| format!("{name}:{}", shown(it))).collect()))
        }
        Value::Array(items) => format!("[{}]", list(items.iter().map(shown).collect())),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
