//! Whether a value fits its schema, in the words of Kubernetes' schema validator.
//!
//! In: a value, its schema, and the value that stood in its place before. Out: mistakes. What has not changed is not judged again
//! (KEP-4008): mistakes in a value that equals the old one are dropped, where lists of list type map find the old element by its keys.
//! Order and words are those of kube-openapi's `validate` package.

use serde_json::{Number, Value};

use super::elements::Elements;
use super::node::{Additional, Limits, ListType, Node, Type};
use super::trail::{Step, Trail, root_path};
use crate::field::Errors;

/// After so many mistakes a walk ends: an answer of a thousand lines helps nobody, and a million would cost memory.
pub const MISTAKES_LIMIT: usize = 1000;

/// Judges a value; how many checks it passed, by which the best of several alternatives is told.
pub fn judge(node: &Node, value: &Value, old: Option<&Value>, trail: &Trail<'_>, errors: &mut Errors) -> usize {
    if errors.len() >= MISTAKES_LIMIT {
        return 0;
    }
    let before = errors.len();
    let passed = judge_new(node, value, old, trail, errors);
    if errors.len() > before && old.is_some_and(|old| is_same(node, value, old)) {
        errors.truncate(before);
    }
    passed
}

fn judge_new(node: &Node, value: &Value, old: Option<&Value>, trail: &Trail<'_>, errors: &mut Errors) -> usize {
    let mut passed = usize::from(judge_type(node, value, trail, errors)) + 1;
    let limits = node.limits.as_deref();
    if value.is_null() {
        if let Some(limits) = limits {
            judge_options(limits, value, trail, errors);
        }
        return passed;
    }
    if let Some(limits) = limits {
        passed += judge_junctors(limits, value, trail, errors);
    }
    match value {
        Value::String(text) => {
            if let Some(limits) = limits {
                judge_text(limits, text, trail, errors);
            }
        }
        Value::Number(number) => {
            if let Some(limits) = limits {
                judge_number(limits, number, trail, errors);
            }
        }
        Value::Array(items) => passed += judge_list(node, items, old, trail, errors),
        _ => {}
    }
    if let Some(limits) = limits {
        judge_options(limits, value, trail, errors);
    }
    if let Value::Object(fields) = value {
        passed += judge_object(node, fields, old, trail, errors);
    }
    passed
}

/// How messages name the type of a value, and its format.
fn type_of(value: &Value) -> (&'static str, &'static str) {
    match value {
        Value::Null => ("null", ""),
        Value::Bool(_) => ("boolean", ""),
        Value::Number(number) if number.is_f64() => ("number", "float64"),
        Value::Number(_) => ("integer", "int64"),
        Value::String(_) => ("string", ""),
        Value::Array(_) => ("array", ""),
        Value::Object(_) => ("object", ""),
    }
}

fn judge_type(node: &Node, value: &Value, trail: &Trail<'_>, errors: &mut Errors) -> bool {
    let has_whole_value = || value.as_f64().is_some_and(|it| it.fract() == 0.0);
    let fits = match node.kind {
        Type::Any => true,
        _ if value.is_null() => node.nullable,
        Type::Object => value.is_object(),
        Type::Array => value.is_array(),
        Type::String => value.is_string(),
        Type::Boolean => value.is_boolean(),
        Type::Number => value.is_number(),
        Type::Integer => value.is_number() && has_whole_value(),
        Type::IntOrString => value.is_string() || value.is_number() && has_whole_value(),
    };
    let format = node.limits.as_ref().and_then(|it| it.format.as_ref());
    let by_format = format.filter(|_| !value.is_string() && !value.is_array() && !value.is_null());
    let (found, found_format) = type_of(value);
    match (fits, by_format) {
        // A value of the wrong type is told by the format it does not have.
        (false, Some((_, format))) => complain_of_type(format, found_format, trail, errors),
        // A list where a text with a format is asked for is let through, as Kubernetes lets it.
        (false, None) if format.is_some() && value.is_array() && node.kind == Type::String => return true,
        (false, None) => complain_of_type(node.kind.name(), found, trail, errors),
        (true, Some((_, format))) if node.kind == Type::Any => complain_of_type(format, found_format, trail, errors),
        (true, _) => return true,
    }
    false
}

fn complain_of_type(wanted: &str, found: &str, trail: &Trail<'_>, errors: &mut Errors) {
    let detail = format!("{} in body must be of type {wanted}: {found:?}", trail.dotted());
    errors.type_invalid(trail.dotted_path(), found, detail);
}

/// Judges `anyOf`, `oneOf`, `allOf` and `not`.
fn judge_junctors(limits: &Limits, value: &Value, trail: &Trail<'_>, errors: &mut Errors) -> usize {
    let mut passed = 1;
    let complain =
        |text: String, errors: &mut Errors| errors.invalid(root_path(), "", format!("{:?} {text}", trail.dotted()));
    if !limits.any_of.is_empty() {
        let (valid, best, count) = alternatives(&limits.any_of, value, trail, true);
        passed += count;
        if valid == 0 {
            complain("must validate at least one schema (anyOf)".to_owned(), errors);
            errors.append(best);
        }
    }
    if !limits.one_of.is_empty() {
        let (valid, best, count) = alternatives(&limits.one_of, value, trail, false);
        passed += count;
        if valid != 1 {
            let found =
                if valid == 0 { "Found none valid".to_owned() } else { format!("Found {valid} valid alternatives") };
            complain(format!("must validate one and only one schema (oneOf). {found}"), errors);
            errors.append(best);
        }
    }
    if !limits.all_of.is_empty() {
        let mut valid = 0;
        for node in &limits.all_of {
            let before = errors.len();
            passed += judge(node, value, None, trail, errors);
            valid += usize::from(errors.len() == before);
        }
        if valid != limits.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            complain(format!("must validate all the schemas (allOf){none}"), errors);
        }
    }
    if let Some(node) = &limits.not {
        let mut found = Errors::default();
        judge(node, value, None, trail, &mut found);
        if found.is_empty() {
            complain("must not validate the schema (not)".to_owned(), errors);
        }
    }
    passed
}

/// How many alternatives fit, the mistakes of the one that comes closest where none does, and how many checks it passed.
fn alternatives(nodes: &[Node], value: &Value, trail: &Trail<'_>, first_is_enough: bool) -> (usize, Errors, usize) {
    let mut valid = 0;
    let mut best: Option<(usize, Errors)> = None;
    for node in nodes {
        let mut found = Errors::default();
        let passed = judge(node, value, None, trail, &mut found);
        if found.is_empty() {
            if valid == 0 {
                best = Some((passed, Errors::default()));
            }
            valid += 1;
            if first_is_enough {
                break;
            }
        } else if valid == 0 && best.as_ref().is_none_or(|(most, _)| passed > *most) {
            best = Some((passed, found));
        }
    }
    let (passed, found) = best.unwrap_or_default();
    (valid, found, passed)
}

fn judge_text(limits: &Limits, text: &str, trail: &Trail<'_>, errors: &mut Errors) {
    let complain = |detail: String, errors: &mut Errors| {
        errors.invalid(trail.dotted_path(), text, format!("{} in body {detail}", trail.dotted()));
    };
    if limits.max_length.is_some() || limits.min_length.is_some() {
        let length = text.chars().count() as u64;
        if let Some(most) = limits.max_length.filter(|it| length > *it) {
            errors.too_long(trail.dotted_path(), usize::try_from(most).unwrap_or(usize::MAX));
            return;
        }
        if let Some(least) = limits.min_length.filter(|it| length < *it) {
            complain(format!("should be at least {least} chars long"), errors);
            return;
        }
    }
    if let Some(pattern) = &limits.pattern
        && !pattern.is_match(text)
    {
        complain(format!("should match '{}'", pattern.text()), errors);
    }
    if let Some((format, name)) = &limits.format
        && !format.is_met(text)
    {
        let detail = format!("{} in body must be of type {name}: {text:?}", trail.dotted());
        errors.type_invalid(trail.dotted_path(), text, detail);
    }
}

fn judge_number(limits: &Limits, number: &Number, trail: &Trail<'_>, errors: &mut Errors) {
    let complain = |detail: String, errors: &mut Errors| {
        errors.invalid(trail.dotted_path(), number, format!("{} in body {detail}", trail.dotted()));
    };
    let value = number.as_f64().unwrap_or_default();
    let whole = number.as_i64();
    // Whole numbers are compared as such, so that large ones keep their last digits.
    let order = |limit: f64| match whole {
        Some(whole) => whole.cmp(&(limit as i64)),
        None => value.total_cmp(&limit),
    };
    let shown = |limit: f64| if whole.is_some() { (limit as i64).to_string() } else { go_float(limit) };
    if let Some(factor) = limits.multiple_of {
        let fits = match whole {
            Some(whole) if factor as i64 != 0 => whole % (factor as i64) == 0,
            _ => {
                let times = if factor < 1.0 { 1.0 / factor * value } else { value / factor };
                (times - times.round()).abs() < 1e-9
            }
        };
        if !fits {
            complain(format!("should be a multiple of {}", shown(factor)), errors);
        }
    }
    if let Some(most) = limits.maximum {
        let found = order(most);
        if found.is_gt() || limits.exclusive_maximum && found.is_eq() {
            let or_equal = if limits.exclusive_maximum { "" } else { " or equal to" };
            complain(format!("should be less than{or_equal} {}", shown(most)), errors);
        }
    }
    if let Some(least) = limits.minimum {
        let found = order(least);
        if found.is_lt() || limits.exclusive_minimum && found.is_eq() {
            let or_equal = if limits.exclusive_minimum { "" } else { " or equal to" };
            complain(format!("should be greater than{or_equal} {}", shown(least)), errors);
        }
    }
}

/// A number as Go's `%v` prints it.
pub fn go_float(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    // As many digits as tell it from others, and an exponent where there would be more than five zeros or digits.
    if value != 0.0 && (value.abs() < 1e-4 || value.abs() >= 1e6) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |it| ('-', it));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    value.to_string()
}

fn judge_options(limits: &Limits, value: &Value, trail: &Trail<'_>, errors: &mut Errors) {
    if limits.options.is_empty() || limits.options.iter().any(|it| is_equal(it, value)) {
        return;
    }
    let shown: Vec<String> =
        limits.options.iter().map(|it| it.as_str().map_or_else(|| it.to_string(), str::to_owned)).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    errors.not_supported(trail.dotted_path(), value, &shown);
}

/// Equality that does not tell `1` from `1.0`.
pub fn is_equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        _ => one == other,
    }
}

fn judge_list(node: &Node, items: &[Value], old: Option<&Value>, trail: &Trail<'_>, errors: &mut Errors) -> usize {
    let mut passed = 1;
    if let Some(of) = &node.items {
        let old = old.and_then(Value::as_array).filter(|_| node.list == ListType::Map);
        let mut elements = old.map(|old| Elements::new(node, old));
        for (index, item) in items.iter().enumerate() {
            let before = elements.as_mut().and_then(|it| it.find(index, item));
            passed += judge(of, item, before, &trail.down(Step::Index(index)), errors);
        }
    }
    let Some(limits) = &node.limits else { return passed };
    let count = items.len() as u64;
    if let Some(least) = limits.min_items.filter(|it| count < *it) {
        let detail = format!("{} in body should have at least {least} items", trail.dotted());
        errors.invalid(trail.dotted_path(), count, detail);
    }
    if let Some(most) = limits.max_items.filter(|it| count > *it) {
        errors.too_many(trail.dotted_path(), items.len(), usize::try_from(most).unwrap_or(usize::MAX));
    }
    passed
}

fn judge_object(
    node: &Node,
    fields: &serde_json::Map<String, Value>,
    old: Option<&Value>,
    trail: &Trail<'_>,
    errors: &mut Errors,
) -> usize {
    let count = fields.len() as u64;
    if let Some(limits) = &node.limits {
        if let Some(least) = limits.min_properties.filter(|it| count < *it) {
            let detail = format!("{} in body should have at least {least} properties", trail.dotted());
            errors.invalid(trail.dotted_path(), count, detail);
            return 1;
        }
        if let Some(most) = limits.max_properties.filter(|it| count > *it) {
            errors.too_many(trail.dotted_path(), fields.len(), usize::try_from(most).unwrap_or(usize::MAX));
            return 1;
        }
    }
    let mut passed = 1;
    let mut next = 0;
    for (name, value) in fields {
        match node.child_from(name, &mut next) {
            Some((of, is_entry)) => {
                let step = if is_entry { Step::Key(name) } else { Step::Field(name) };
                passed += judge(of, value, old.and_then(|it| it.get(name)), &trail.down(step), errors);
            }
            None if matches!(node.additional, Additional::Forbidden) => {
                let detail = format!("{}.{name} in body is a forbidden property", trail.dotted());
                errors.invalid(trail.dotted_path(), name, detail);
            }
            None => {}
        }
    }
    for name in &node.required {
        if !fields.contains_key(&**name) {
            errors.required(trail.down(Step::Field(name)).dotted_path(), "");
        }
    }
    passed
}

/// Whether a value says the same as the old one: lists of list type map in any order.
pub fn is_same(node: &Node, value: &Value, old: &Value) -> bool {
    if value == old {
        return true;
    }
    match (value, old) {
        _ if !node.lists => false,
        (Value::Array(new), Value::Array(old)) if new.len() == old.len() && node.list == ListType::Map => {
            let Some(of) = &node.items else { return false };
            let mut elements = Elements::new(node, old);
            new.iter().enumerate().all(|(at, it)| elements.find(at, it).is_some_and(|old| is_same(of, it, old)))
        }
        (Value::Object(new), Value::Object(old)) if new.len() == old.len() => new.iter().all(|(name, value)| {
            let Some(old) = old.get(name) else { return false };
            value == old || node.child(name).is_some_and(|(of, _)| is_same(of, value, old))
        }),
        _ => false,
    }
}
