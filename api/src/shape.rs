//! The shapes of types: which field holds what, and how it is merged. What patches walk along.
//!
//! In: the schemas of the built-in kinds and [`crate::list_types`]. Out: one graph of all types without their descriptions, built at
//! first use (a few milliseconds) and kept (about 100 kB). Values without a known shape are treated as JSON merge patch treats them.

use std::collections::HashMap;
use std::sync::OnceLock;

use serde_json::Value;

use crate::kind::Kind;
use crate::kinds::KINDS;
use crate::list_types::{self, List, Rule};
use crate::openapi::schema;

/// Where in the graph a type stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u32);

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A scalar, or something of which nothing is known.
    Scalar,
    /// An object with declared fields.
    Object(TypeId),
    /// A map from any key.
    Map(Box<Shape>),
    /// A list.
    List(Box<Shape>),
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    pub shape: Shape,
    pub rule: Option<&'static Rule>,
}

impl Field {
    /// How the field's list is merged by server-side apply.
    pub fn list(&self) -> List {
        self.rule.and_then(|it| it.list).unwrap_or(List::Atomic)
    }
}

/// One type.
#[derive(Clone, Debug, Default)]
pub struct Type {
    fields: HashMap<Box<str>, Field>,
    /// The fields that are always there.
    required: Box<[Box<str>]>,
    /// Whether its objects are replaced as a whole.
    pub atomic: bool,
}

impl Type {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.get(name)
    }

    /// Whether the field is always there, if only empty.
    pub fn requires(&self, name: &str) -> bool {
        self.required.iter().any(|it| **it == *name)
    }
}

/// All types.
#[derive(Debug, Default)]
pub struct Types {
    types: Vec<Type>,
    by_name: HashMap<Box<str>, TypeId>,
}

impl Types {
    /// The types of the built-in kinds.
    pub fn get() -> &'static Types {
        static TYPES: OnceLock<Types> = OnceLock::new();
        TYPES.get_or_init(|| Types::of(KINDS))
    }

    /// The types of these kinds.
    pub fn of(kinds: &[Kind]) -> Types {
        let mut all = Types::default();
        for kind in kinds {
            let schema = (kind.schema)();
            for (name, of) in schema.get("$defs").and_then(Value::as_object).into_iter().flatten() {
                all.add(name, of);
            }
            if let Some(title) = schema.get("title").and_then(Value::as_str) {
                all.add(title, schema.as_value());
            }
        }
        all
    }

    fn id(&mut self, name: &str) -> TypeId {
        if let Some(id) = self.by_name.get(name) {
            return *id;
        }
        let id = TypeId(u32::try_from(self.types.len()).expect("there are fewer than four billion types"));
        self.types.push(Type { atomic: list_types::is_atomic(name), ..Type::default() });
        self.by_name.insert(name.into(), id);
        id
    }

    fn add(&mut self, name: &str, schema: &Value) {
        let id = self.id(name);
        if !self.types[id.0 as usize].fields.is_empty() {
            return;
        }
        let mut fields = HashMap::new();
        for (field, of) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let shape = self.shape(of);
            fields.insert(field.as_str().into(), Field { shape, rule: list_types::rule_of(name, field) });
        }
        let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
        let required = required.filter_map(Value::as_str).map(Into::into).collect();
        let of = &mut self.types[id.0 as usize];
        (of.fields, of.required) = (fields, required);
    }

    fn shape(&mut self, schema: &Value) -> Shape {
        // A reference with a description of its own stands in `allOf`.
        let reference = schema.get("$ref").or_else(|| schema.pointer("/allOf/0/$ref")).and_then(Value::as_str);
        if let Some(name) = reference.and_then(|it| it.rsplit('/').next()) {
            return Shape::Object(self.id(name));
        }
        if let Some(items) = schema.get("items") {
            return Shape::List(Box::new(self.shape(items)));
        }
        match schema.get("additionalProperties") {
            Some(values) if values.is_object() => Shape::Map(Box::new(self.shape(values))),
            _ => Shape::Scalar,
        }
    }

    /// All fields of all types, with their names.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.types.iter().flat_map(|it| it.fields.iter()).map(|(name, field)| (&**name, field))
    }

    /// The type at `id`.
    pub fn at(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// The shape of a kind's objects.
    pub fn root(&self, kind: &Kind) -> Shape {
        // The schema's name is costly to ask for; the kinds' names are regular but for the package.
        let name = schema::name_of(kind);
        self.by_name.get(name.as_str()).map_or(Shape::Scalar, |id| Shape::Object(*id))
    }

    /// Follows one field of a value of this shape. None: the field is not declared, or nothing is known.
    pub fn child(&self, shape: &Shape, name: &str) -> Option<Field> {
        match shape {
            Shape::Object(id) => self.at(*id).field(name).cloned(),
            Shape::Map(of) => Some(Field { shape: (**of).clone(), rule: None }),
            Shape::List(_) | Shape::Scalar => None,
        }
    }

    /// Whether values of this shape have no parts of their own.
    pub fn is_leaf(&self, shape: &Shape) -> bool {
        match shape {
            Shape::Scalar => true,
            // Times, quantities and the like are types without fields.
            Shape::Object(id) => self.at(*id).atomic || self.at(*id).fields.is_empty(),
            Shape::Map(_) | Shape::List(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, path: &[&str], expected: fn(&Field) -> bool) {
        let types = Types::get();
        let kind = KINDS.iter().find(|it| it.kind == kind).unwrap();
        let mut field = Field { shape: types.root(kind), rule: None };
        for name in path {
            let inner = if let Shape::List(of) = &field.shape { (**of).clone() } else { field.shape };
            field = types.child(&inner, name).unwrap_or_else(|| panic!("no {name} in {path:?}"));
        }
        assert!(expected(&field), "{path:?}: {field:?}");
    }

    #[test]
    fn finds_the_rules_of_nested_fields() {
        check("Deployment", &["spec", "template", "spec", "containers", "ports"], |it| {
            it.list() == List::Map(&["containerPort", "protocol"])
        });
        check("Service", &["spec", "selector"], |it| it.rule.is_some_and(|it| it.atomic_map));
        check("ConfigMap", &["data"], |it| matches!(it.shape, Shape::Map(_)));
        check("Pod", &["metadata", "finalizers"], |it| it.rule.is_some_and(Rule::merges));
        check("Pod", &["metadata", "creationTimestamp"], |it| Types::get().is_leaf(&it.shape));
    }

    #[test]
    fn every_kind_has_a_shape() {
        for kind in KINDS {
            assert_ne!(Types::get().root(kind), Shape::Scalar, "{kind:?}");
        }
    }
}
