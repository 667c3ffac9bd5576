//! The shapes of types: which field holds what, and how it is merged. What patches and field managers walk along.
//!
//! In: the [`table`] of the built-in kinds' types with [`crate::list_types`], or the schema of a custom resource, which says itself how it is merged
//! ([`custom`]). Out: the same graph of types for both, without descriptions. The graph of the built-in kinds grows by a kind when that is
//! first asked for: pods and what is made of them are most of it, some 50 kB.

use std::sync::{Arc, RwLock};

use serde_json::Value;

use crate::kind::Kind;
use crate::list_types::{self, KEY_DEFAULTS, List, Rule};

use table::{Entry, Table};

pub mod custom;
pub mod table;

/// Where in the graph a type stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeId(u32);

/// Where in the graph the elements of a list, or the values of a map, are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementId(u32);

/// Which scalar a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    Text,
    Number,
    Boolean,
    /// Quantities, times, numbers or texts: whatever is no list and no object.
    Any,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Scalar(Scalar),
    /// Nothing is known: objects are maps of such values, lists are wholes.
    Untyped,
    /// An object with declared fields.
    Object(TypeId),
    /// A map from any key.
    Map(ElementId),
    /// A list.
    List(ElementId),
}

/// One field by which elements of a list are told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub name: Box<str>,
    /// What an element that leaves the field out has.
    pub default: Option<Value>,
}

/// How the elements of a list are told apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Elements {
    /// The list is a whole, or the field holds no list.
    Atomic,
    /// Scalars, each of which stands once.
    Set,
    /// Objects with these fields as key, in the order of their names.
    Keyed(Arc<[Key]>),
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub shape: Shape,
    pub elements: Elements,
    /// Whether the value is replaced and owned as a whole.
    pub leaf: bool,
    /// Whether every object of the type has the field, if only empty or zero.
    pub present: bool,
    /// The patch strategy of a built-in type.
    pub rule: Option<&'static Rule>,
}

/// A value of which nothing is known.
pub static UNTYPED: Field =
    Field { shape: Shape::Untyped, elements: Elements::Atomic, leaf: false, present: false, rule: None };

impl Field {
    /// A field that is owned as a whole.
    const fn leaf(shape: Shape) -> Field {
        Field { shape, elements: Elements::Atomic, leaf: true, present: false, rule: None }
    }

    /// A field that is merged part by part.
    const fn merged(shape: Shape) -> Field {
        Field { shape, elements: Elements::Atomic, leaf: false, present: false, rule: None }
    }
}

/// One type.
#[derive(Clone, Debug, Default)]
pub struct Type {
    /// In the order of their names.
    fields: Box<[(Box<str>, Field)]>,
    /// The fields that are always there.
    required: Box<[Box<str>]>,
    /// Whether fields that are not declared are kept.
    open: bool,
}

/// How many fields are looked at before the field of a name is searched for.
const AHEAD: usize = 4;

impl Type {
    /// The field of this name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.binary_search_by(|(it, _)| (**it).cmp(name)).ok().map(|at| &self.fields[at].1)
    }

    /// The same, for names that are asked for in some order: `next` is where the one behind the last stands, from where the search begins.
    /// Encoders write fields in the order of their names, so that hardly any name is compared with more than a few.
    pub fn field_from(&self, name: &str, next: &mut usize) -> Option<&Field> {
        let mut ahead = self.fields.iter().enumerate().skip(*next).take(AHEAD);
        let near = ahead.find(|(_, (it, _))| **it == *name).map(|(at, _)| at);
        let at = near.or_else(|| self.fields.binary_search_by(|(it, _)| (**it).cmp(name)).ok())?;
        *next = at + 1;
        Some(&self.fields[at].1)
    }

    /// All its fields.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.fields.iter().map(|(name, field)| (&**name, field))
    }

    /// Whether the field is always there, if only empty.
    pub fn requires(&self, name: &str) -> bool {
        self.required.iter().any(|it| **it == *name)
    }
}

/// A graph of types.
#[derive(Clone, Debug, Default)]
pub struct Types {
    types: Vec<Type>,
    elements: Vec<Field>,
    by_name: Vec<(Box<str>, TypeId)>,
    roots: Vec<(Root, TypeId)>,
}

/// A kind by group, version and name.
type Root = [&'static str; 3];

/// The shape of a kind's objects, and the graph in which it stands.
#[derive(Clone, Debug)]
pub struct Shapes {
    pub types: Arc<Types>,
    pub root: Field,
}

static BUILT_IN: RwLock<Option<Arc<Types>>> = RwLock::new(None);

impl Shapes {
    /// The shape of a built-in kind's objects.
    pub fn of(kind: &Kind) -> Shapes {
        let known = BUILT_IN.read().unwrap_or_else(|it| it.into_inner()).clone();
        if let Some(types) = known
            && let Some(root) = types.root(kind)
        {
            return Shapes { types, root };
        }
        let mut known = BUILT_IN.write().unwrap_or_else(|it| it.into_inner());
        let types = Arc::make_mut(known.get_or_insert_default());
        types.add_kind(&Table::read(), kind);
        let types = known.get_or_insert_default().clone();
        let root = types.root(kind).unwrap_or_else(|| UNTYPED.clone());
        Shapes { types, root }
    }
}

impl Types {
    /// The types of these kinds.
    pub fn of(kinds: &[Kind]) -> Types {
        let mut all = Types::default();
        let table = Table::read();
        kinds.iter().for_each(|it| all.add_kind(&table, it));
        all
    }

    fn root(&self, kind: &Kind) -> Option<Field> {
        let name = [kind.group, kind.version, kind.kind];
        let (_, id) = self.roots.iter().find(|(it, _)| *it == name)?;
        Some(Field::merged(Shape::Object(*id)))
    }

    fn add_kind(&mut self, table: &Table, kind: &Kind) {
        let name = [kind.group, kind.version, kind.kind];
        if self.roots.iter().any(|(it, _)| *it == name) {
            return;
        }
        if let Some(of) = table.of_kind(kind) {
            let id = self.add(table, of);
            self.roots.push((name, id));
        }
    }

    fn push(&mut self, of: Type) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).expect("there are fewer than four billion types"));
        self.types.push(of);
        id
    }

    fn push_element(&mut self, of: Field) -> ElementId {
        let id = ElementId(u32::try_from(self.elements.len()).expect("there are fewer than four billion types"));
        self.elements.push(of);
        id
    }

    /// Adds a type of the table by its name there, with all that it is made of.
    fn add(&mut self, table: &Table, name: &str) -> TypeId {
        let whole = table::whole(name);
        let at = match self.by_name.binary_search_by(|(it, _)| (**it).cmp(&*whole)) {
            Ok(at) => return self.by_name[at].1,
            Err(at) => at,
        };
        // Before its fields, of which one may be of the same type.
        let id = self.push(Type::default());
        self.by_name.insert(at, (whole.as_str().into(), id));
        let mut fields: Vec<(Box<str>, Field)> = Vec::new();
        let mut required = Vec::new();
        for line in table.entry(name).into_iter().flat_map(Entry::fields) {
            let rule = list_types::rule_of(&whole, line.name);
            let mut of = Field { rule, ..self.shape_of(table, line.form, rule) };
            of.present = match of.shape {
                Shape::Object(_) => list_types::is_present(&whole, line.name),
                Shape::Scalar(_) => line.required,
                _ => false,
            };
            if line.required {
                required.push(line.name.into());
            }
            fields.push((line.name.into(), of));
        }
        let of = &mut self.types[id.0 as usize];
        (of.fields, of.required) = (fields.into(), required.into());
        id
    }

    fn shape_of(&mut self, table: &Table, form: &str, rule: Option<&'static Rule>) -> Field {
        if let Some(items) = form.strip_prefix("[]") {
            let element = self.shape_of(table, items, None);
            let element = self.push_element(element);
            let elements = match rule.and_then(|it| it.list).unwrap_or(List::Atomic) {
                List::Atomic => return Field::leaf(Shape::List(element)),
                List::Set => Elements::Set,
                List::Map(names) => Elements::Keyed(keys(names)),
            };
            return Field { elements, ..Field::merged(Shape::List(element)) };
        }
        if let Some(values) = form.strip_prefix("{}") {
            let element = self.shape_of(table, values, None);
            let shape = Shape::Map(self.push_element(element));
            return if rule.is_some_and(|it| it.atomic_map) { Field::leaf(shape) } else { Field::merged(shape) };
        }
        let scalar = match form {
            "text" => Scalar::Text,
            "number" => Scalar::Number,
            "bool" => Scalar::Boolean,
            "any" => Scalar::Any,
            "untyped" => return UNTYPED.clone(),
            name => {
                let shape = Shape::Object(self.add(table, name));
                let granular = rule.is_some_and(|it| it.granular);
                let whole = list_types::is_atomic(&table::whole(name)) && !granular;
                return if whole { Field::leaf(shape) } else { Field::merged(shape) };
            }
        };
        Field::leaf(Shape::Scalar(scalar))
    }

    /// All fields of all types, with their names.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Field)> {
        self.types.iter().flat_map(Type::fields)
    }

    /// The type at `id`.
    pub fn at(&self, id: TypeId) -> &Type {
        &self.types[id.0 as usize]
    }

    /// What a list's elements or a map's values are.
    pub fn element(&self, id: ElementId) -> &Field {
        &self.elements[id.0 as usize]
    }

    /// What the elements of a list of this shape are.
    pub fn element_of(&self, shape: Shape) -> &Field {
        match shape {
            Shape::List(of) | Shape::Map(of) => self.element(of),
            _ => &UNTYPED,
        }
    }

    /// A field that the shape declares.
    pub fn declared(&self, shape: Shape, name: &str) -> Option<&Field> {
        match shape {
            Shape::Object(id) => self.at(id).field(name),
            _ => None,
        }
    }

    /// Follows one field of a value of this shape. None: there is no such field.
    pub fn child(&self, shape: Shape, name: &str) -> Option<&Field> {
        self.child_from(shape, name, &mut 0)
    }

    /// The same, for names that are asked for in some order: see [`Type::field_from`].
    pub fn child_from(&self, shape: Shape, name: &str, next: &mut usize) -> Option<&Field> {
        match shape {
            Shape::Object(id) => {
                let of = self.at(id);
                of.field_from(name, next).or_else(|| of.open.then_some(&UNTYPED))
            }
            Shape::Map(of) => Some(self.element(of)),
            Shape::Untyped => Some(&UNTYPED),
            Shape::List(_) | Shape::Scalar(_) => None,
        }
    }
}

/// The keys of a built-in list, with their defaults.
fn keys(names: &[&str]) -> Arc<[Key]> {
    let default = |name: &str| KEY_DEFAULTS.iter().find(|(it, _)| *it == name).map(|(_, it)| Value::from(*it));
    let mut keys: Vec<Key> = names.iter().map(|it| Key { name: (*it).into(), default: default(it) }).collect();
    keys.sort_by(|one, other| one.name.cmp(&other.name));
    keys.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;

    fn check(kind: &str, path: &[&str], expected: fn(&Field) -> bool) {
        let kind = KINDS.iter().find(|it| it.kind == kind).unwrap();
        let Shapes { types, root } = Shapes::of(kind);
        let mut field = root;
        for name in path {
            let shape = if let Shape::List(of) = field.shape { types.element(of).shape } else { field.shape };
            field = types.child(shape, name).unwrap_or_else(|| panic!("no {name} in {path:?}")).clone();
        }
        assert!(expected(&field), "{path:?}: {field:?}");
    }

    #[test]
    fn finds_the_rules_of_nested_fields() {
        check("Deployment", &["spec", "template", "spec", "containers", "ports"], |it| {
            let Elements::Keyed(keys) = &it.elements else { return false };
            let names: Vec<&str> = keys.iter().map(|it| &*it.name).collect();
            names == ["containerPort", "protocol"] && keys[1].default == Some("TCP".into())
        });
        check("Service", &["spec", "selector"], |it| it.leaf);
        check("ConfigMap", &["data"], |it| matches!(it.shape, Shape::Map(_)) && !it.leaf);
        check("Pod", &["metadata", "finalizers"], |it| it.elements == Elements::Set);
        check("Pod", &["metadata", "creationTimestamp"], |it| it.shape == Shape::Scalar(Scalar::Any) && it.leaf);
        check("PersistentVolume", &["spec", "claimRef"], |it| !it.leaf);
        check("Deployment", &["spec", "selector"], |it| it.leaf && !it.present);
        check("Deployment", &["spec", "strategy"], |it| it.present);
        check("ControllerRevision", &["data"], |it| it.shape == Shape::Untyped);
        check("Pod", &["spec", "containers", "resources", "limits", "cpu"], |it| it.leaf);
    }

    #[test]
    fn every_kind_has_a_shape() {
        for kind in KINDS {
            assert_ne!(Shapes::of(kind).root.shape, Shape::Untyped, "{kind:?}");
        }
    }
}
