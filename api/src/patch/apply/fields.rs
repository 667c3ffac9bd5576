//! Sets of fields, as `managedFields` writes them (`FieldsV1`): a tree of steps, each of which may itself be a member.
//!
//! Source: `sigs.k8s.io/structured-merge-diff`. An element of a merged list is a member besides its fields; a map or object is one only if
//! it is empty or replaced as a whole.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use super::element_steps;
use crate::list_types::KEY_DEFAULTS;
use crate::shape::{Field, Shape, Types};

/// One step into a value, in the form of `FieldsV1`: `f:name`, `k:{"name":"web"}`, `v:"x"`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step(String);

impl Step {
    /// Into the field `name`.
    pub fn field(name: &str) -> Step {
        Step(format!("f:{name}"))
    }

    /// To the scalar `value` of a set.
    pub fn value(value: &Value) -> Step {
        Step(format!("v:{value}"))
    }

    /// To the element of a list whose key fields are those of `element`. None: it has not all of them.
    pub fn key(element: &Value, keys: &[&str]) -> Option<Step> {
        let mut of = BTreeMap::new();
        for key in keys {
            let default = || KEY_DEFAULTS.iter().find(|(it, _)| it == key).map(|(_, value)| Value::from(*value));
            of.insert(*key, element.get(*key).cloned().or_else(default)?);
        }
        Some(Step(format!("k:{}", serde_json::to_string(&of).unwrap_or_default())))
    }
}

/// As paths show it: `.name`, `[name="web"]`, `[="x"]`.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_at_checked(2) {
            Some(("f:", name)) => write!(f, ".{name}"),
            Some(("v:", value)) => write!(f, "[={value}]"),
            Some(("k:", key)) => {
                let of: BTreeMap<String, Value> = serde_json::from_str(key).unwrap_or_default();
                let parts: Vec<String> = of.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "[{}]", parts.join(","))
            }
            _ => write!(f, "[{}]", self.0),
        }
    }
}

/// A set of fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Whether the value at this point is itself a member.
    pub member: bool,
    pub below: BTreeMap<Step, Fields>,
}

/// What a server sets or what names the object: nobody owns it.
const IDENTITY: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "selfLink",
    "managedFields",
    "deletionTimestamp",
];

impl Fields {
    const MEMBER: Fields = Fields { member: true, below: BTreeMap::new() };

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// Reads `fieldsV1`.
    pub fn read(json: &Value) -> Fields {
        let mut out = Fields::default();
        for (step, below) in json.as_object().into_iter().flatten() {
            if step == "." {
                out.member = true;
            } else {
                out.below.insert(Step(step.clone()), Fields::read_below(below));
            }
        }
        out
    }

    fn read_below(json: &Value) -> Fields {
        let out = Fields::read(json);
        if out.is_empty() { Fields::MEMBER } else { out }
    }

    /// Writes `fieldsV1`.
    pub fn write(&self) -> Value {
        let mut out = Map::new();
        if self.member && !self.below.is_empty() {
            out.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (step, below) in &self.below {
            out.insert(step.0.clone(), below.write());
        }
        Value::Object(out)
    }

    /// All fields of a value.
    ///
    /// # Errors
    /// A text that names a field that is not declared, or a key that stands twice.
    pub fn of(types: &Types, shape: &Shape, value: &Value) -> Result<Fields, String> {
        Self::walk(types, &Field { shape: shape.clone(), rule: None }, value, &mut String::new())
    }

    fn walk(types: &Types, field: &Field, value: &Value, path: &mut String) -> Result<Fields, String> {
        if is_whole(types, field) {
            return Ok(Fields::MEMBER);
        }
        let mut out = Fields::default();
        let length = path.len();
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    let step = Step::field(name);
                    path.push_str(&step.to_string());
                    let Some(child) = types.child(&field.shape, name) else {
                        return Err(format!("{path}: field not declared in schema"));
                    };
                    out.below.insert(step, Self::walk(types, &child, value, path)?);
                    path.truncate(length);
                }
            }
            Value::Array(list) => {
                let Some(steps) = element_steps(Some(field), list) else { return Ok(Fields::MEMBER) };
                let inner = element(field);
                for (step, value) in steps.into_iter().zip(list) {
                    if out.below.contains_key(&step) {
                        return Err(format!("{path}: duplicate entries for key {step}"));
                    }
                    path.push_str(&step.to_string());
                    let mut below = Self::walk(types, &inner, value, path)?;
                    below.member = true;
                    out.below.insert(step, below);
                    path.truncate(length);
                }
            }
            _ => return Ok(Fields::MEMBER),
        }
        out.member = out.below.is_empty();
        Ok(out)
    }

    /// The fields that `new` has and `old` has not, or has with another value.
    pub fn changed(types: &Types, shape: &Shape, old: &Value, new: &Value) -> Fields {
        Self::compare(types, &Field { shape: shape.clone(), rule: None }, Some(old), new)
    }

    /// The fields that `old` has and `new` has not.
    pub fn removed(types: &Types, shape: &Shape, old: &Value, new: &Value) -> Fields {
        let of = |value: &Value| Self::everything(types, &Field { shape: shape.clone(), rule: None }, value);
        of(old).difference(&of(new))
    }

    /// All fields of a value that was stored: what is not declared is a leaf.
    fn everything(types: &Types, field: &Field, value: &Value) -> Fields {
        Self::compare(types, field, None, value)
    }

    fn compare(types: &Types, field: &Field, old: Option<&Value>, new: &Value) -> Fields {
        if old == Some(new) || new.is_null() {
            return Fields::default();
        }
        if is_whole(types, field) {
            return Fields::MEMBER;
        }
        let mut out = Fields::default();
        match new {
            Value::Object(object) => {
                for (name, value) in object {
                    let child = types.child(&field.shape, name).unwrap_or(Field { shape: Shape::Scalar, rule: None });
                    let below = Self::compare(types, &child, old.and_then(|it| it.get(name)), value);
                    if !below.is_empty() {
                        out.below.insert(Step::field(name), below);
                    }
                }
                out.member = object.is_empty();
            }
            Value::Array(list) => {
                let Some(steps) = element_steps(Some(field), list) else { return Fields::MEMBER };
                let before = old.and_then(Value::as_array).map_or(&[][..], |it| it);
                let old_steps = element_steps(Some(field), before).unwrap_or_default();
                let inner = element(field);
                for (step, value) in steps.into_iter().zip(list) {
                    let stood = old_steps.iter().position(|it| *it == step).map(|at| &before[at]);
                    let mut below = Self::compare(types, &inner, stood, value);
                    below.member |= stood.is_none();
                    if !below.is_empty() {
                        out.below.insert(step, below);
                    }
                }
                out.member = list.is_empty();
            }
            _ => return Fields::MEMBER,
        }
        out
    }

    /// Without what names the object and what the server alone sets.
    pub fn without_identity(mut self) -> Fields {
        for name in ["apiVersion", "kind"] {
            self.below.remove(&Step::field(name));
        }
        let metadata = Step::field("metadata");
        if let Some(meta) = self.below.get_mut(&metadata) {
            meta.member = false;
            for name in IDENTITY {
                meta.below.remove(&Step::field(name));
            }
            if meta.is_empty() {
                self.below.remove(&metadata);
            }
        }
        self.member = false;
        self
    }

    /// The members of either set.
    pub fn union(&self, other: &Fields) -> Fields {
        let mut out = self.clone();
        out.member |= other.member;
        for (step, theirs) in &other.below {
            let ours = out.below.entry(step.clone()).or_default();
            *ours = ours.union(theirs);
        }
        out
    }

    /// The members of both sets.
    pub fn intersection(&self, other: &Fields) -> Fields {
        let mut out = Fields { member: self.member && other.member, below: BTreeMap::new() };
        for (step, ours) in &self.below {
            let both = other.below.get(step).map(|theirs| ours.intersection(theirs)).unwrap_or_default();
            if !both.is_empty() {
                out.below.insert(step.clone(), both);
            }
        }
        out
    }

    /// The members of this set that the other has not.
    pub fn difference(&self, other: &Fields) -> Fields {
        let mut out = Fields { member: self.member && !other.member, below: BTreeMap::new() };
        for (step, ours) in &self.below {
            let rest = other.below.get(step).map_or_else(|| ours.clone(), |theirs| ours.difference(theirs));
            if !rest.is_empty() {
                out.below.insert(step.clone(), rest);
            }
        }
        out
    }

    /// The paths of all members: `.spec.containers[name="web"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect(&mut String::new(), &mut out);
        out
    }

    fn collect(&self, path: &mut String, out: &mut Vec<String>) {
        if self.member {
            out.push(path.clone());
        }
        let length = path.len();
        for (step, below) in &self.below {
            path.push_str(&step.to_string());
            below.collect(path, out);
            path.truncate(length);
        }
    }
}

/// Whether a value is owned as a whole.
pub(super) fn is_whole(types: &Types, field: &Field) -> bool {
    types.is_leaf(&field.shape) || field.rule.is_some_and(|it| it.atomic_map)
}

/// What a list's elements are.
pub(super) fn element(field: &Field) -> Field {
    let shape = if let Shape::List(of) = &field.shape { (**of).clone() } else { Shape::Scalar };
    Field { shape, rule: None }
}
