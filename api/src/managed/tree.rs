//! An object as field managers see it: a tree down to what is owned as a whole, which stays text.
//!
//! In: the JSON text of an object and its shape. Out: a [`Tree`] that borrows from the text. Two leaves are equal if their texts are: both
//! come from the same encoder. An object that states nothing of a field that its type always has counts as stating its zero.

use std::borrow::Cow;

use super::text::{Cursor, escape};
use crate::shape::{Field, Scalar, Shape, Types, UNTYPED};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree<'a> {
    /// A scalar, null, or something that is owned as a whole: its JSON text.
    Leaf(Cow<'a, str>),
    /// A struct or map. A name that is borrowed has no characters that JSON escapes.
    Object(Vec<(Cow<'a, str>, Tree<'a>)>),
    /// A list that is merged element by element.
    List(Vec<Tree<'a>>),
}

/// What an absent struct counts as where its type always has it.
static EMPTY: Tree<'static> = Tree::Object(Vec::new());
static ZERO: Tree<'static> = Tree::Leaf(Cow::Borrowed("0"));
static NO_TEXT: Tree<'static> = Tree::Leaf(Cow::Borrowed("\"\""));
static FALSE: Tree<'static> = Tree::Leaf(Cow::Borrowed("false"));
static WHOLE: Tree<'static> = Tree::Leaf(Cow::Borrowed("{}"));

/// An object of a type before anybody has written to it.
pub fn empty() -> &'static Tree<'static> {
    &EMPTY
}

/// What a field holds that its type always has.
pub fn zero(field: &Field) -> Option<&'static Tree<'static>> {
    if !field.present {
        return None;
    }
    match field.shape {
        Shape::Object(_) if field.leaf => Some(&WHOLE),
        Shape::Object(_) => Some(&EMPTY),
        Shape::Scalar(Scalar::Text) => Some(&NO_TEXT),
        Shape::Scalar(Scalar::Number) => Some(&ZERO),
        Shape::Scalar(Scalar::Boolean) => Some(&FALSE),
        _ => None,
    }
}

/// How deep two objects are compared as text: the object, and its metadata, specification and status. Deeper, to look for where a text ends
/// would cost more than it saves.
const COMPARED_DEPTH: usize = 2;

/// The fields of an object, each as text.
fn texts(object: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let mut cursor = Cursor::new(object);
    let mut parts = Vec::new();
    let mut more = cursor.open(b'{', b'}')?;
    while more {
        let name = cursor.name()?;
        parts.push((name, cursor.value()?));
        more = cursor.next(b'}')?;
    }
    Some(parts)
}

impl<'a> Tree<'a> {
    /// Reads a text. None: it is no JSON.
    pub fn read(text: &'a str, types: &Types, field: &Field) -> Option<Tree<'a>> {
        Self::value(&mut Cursor::new(text), types, field)
    }

    fn value(cursor: &mut Cursor<'a>, types: &Types, field: &Field) -> Option<Tree<'a>> {
        match (cursor.peek()?, field.shape) {
            (b'{', Shape::Object(_) | Shape::Map(_) | Shape::Untyped) if !field.leaf => {
                let mut parts = Vec::new();
                let mut more = cursor.open(b'{', b'}')?;
                let mut next = 0;
                while more {
                    let name = cursor.name()?;
                    let child = types.child_from(field.shape, &name, &mut next).unwrap_or(&UNTYPED);
                    let value = Self::value(cursor, types, child)?;
                    parts.push((name, value));
                    more = cursor.next(b'}')?;
                }
                Some(Tree::Object(parts))
            }
            (b'[', Shape::List(element)) if !field.leaf => {
                let mut parts = Vec::new();
                let mut more = cursor.open(b'[', b']')?;
                while more {
                    parts.push(Self::value(cursor, types, types.element(element))?);
                    more = cursor.next(b']')?;
                }
                Some(Tree::List(parts))
            }
            _ => cursor.value().map(|it| Tree::Leaf(Cow::Borrowed(it))),
        }
    }

    /// Reads two texts of one object, before and after a write, without the fields in which both are the same text: nothing has changed there,
    /// and most writes change little. None: one is no JSON.
    pub fn read_both(old: &'a str, new: &'a str, types: &Types, field: &Field) -> Option<(Tree<'a>, Tree<'a>)> {
        Self::both(old, new, types, field, COMPARED_DEPTH)
    }

    fn both(old: &'a str, new: &'a str, types: &Types, field: &Field, depth: usize) -> Option<(Tree<'a>, Tree<'a>)> {
        let read = |text| Self::read(text, types, field);
        let parted = !field.leaf && matches!(field.shape, Shape::Object(_) | Shape::Map(_) | Shape::Untyped);
        if depth == 0 || !parted || !old.starts_with('{') || !new.starts_with('{') {
            return Some((read(old)?, read(new)?));
        }
        let (was, is) = (texts(old)?, texts(new)?);
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let mut next = 0;
        for (at, (name, value)) in is.iter().enumerate() {
            let found = was.get(at).filter(|it| it.0 == *name).or_else(|| was.iter().find(|it| it.0 == *name));
            let child = types.child_from(field.shape, name, &mut next).unwrap_or(&UNTYPED);
            match found {
                Some((_, stood)) if stood == value => {}
                Some((_, stood)) => {
                    let (one, other) = Self::both(stood, value, types, child, depth - 1)?;
                    before.push((name.clone(), one));
                    after.push((name.clone(), other));
                }
                None => after.push((name.clone(), Self::read(value, types, child)?)),
            }
        }
        for (at, (name, value)) in was.into_iter().enumerate() {
            if is.get(at).is_none_or(|it| it.0 != name) && !is.iter().any(|it| it.0 == name) {
                let child = types.child(field.shape, &name).unwrap_or(&UNTYPED);
                before.push((name, Self::read(value, types, child)?));
            }
        }
        Some((Tree::Object(before), Tree::Object(after)))
    }

    /// Writes the value as JSON.
    pub fn write(&self, out: &mut String) {
        match self {
            Tree::Leaf(text) => out.push_str(text),
            Tree::Object(parts) => {
                out.push('{');
                for (at, (name, value)) in parts.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push('"');
                    escape(name, out);
                    out.push_str("\":");
                    value.write(out);
                }
                out.push('}');
            }
            Tree::List(parts) => {
                out.push('[');
                for (at, value) in parts.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    value.write(out);
                }
                out.push(']');
            }
        }
    }

    /// The same, borrowing nothing.
    pub fn into_owned<'b>(self) -> Tree<'b> {
        match self {
            Tree::Leaf(text) => Tree::Leaf(Cow::Owned(text.into_owned())),
            Tree::Object(parts) => Tree::Object(
                parts.into_iter().map(|(name, it)| (Cow::Owned(name.into_owned()), it.into_owned())).collect(),
            ),
            Tree::List(parts) => Tree::List(parts.into_iter().map(Tree::into_owned).collect()),
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Tree::Leaf(text) if text == "null")
    }

    /// Whether it is null, or has parts but none is there.
    pub fn is_empty(&self) -> bool {
        match self {
            Tree::Leaf(text) => text == "null",
            Tree::Object(parts) => parts.is_empty(),
            Tree::List(parts) => parts.is_empty(),
        }
    }

    /// Its fields, if it is an object.
    pub fn fields(&self) -> Option<&[(Cow<'a, str>, Tree<'a>)]> {
        match self {
            Tree::Object(parts) => Some(parts),
            _ => None,
        }
    }

    /// Its elements, if it is a list.
    pub fn list(&self) -> Option<&[Tree<'a>]> {
        match self {
            Tree::List(parts) => Some(parts),
            _ => None,
        }
    }

    /// One of its fields. `near` is where it stands if it stands where it stood in a tree of the same shape.
    pub fn get(&self, name: &str, near: usize) -> Option<&Tree<'a>> {
        let parts = self.fields()?;
        if let Some((it, value)) = parts.get(near)
            && it == name
        {
            return Some(value);
        }
        parts.iter().find(|(it, _)| it == name).map(|(_, value)| value)
    }

    /// The text of a field further down, if it is one.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        let mut at = self;
        for name in path {
            at = at.get(name, 0)?;
        }
        match at {
            Tree::Leaf(text) => Some(text),
            _ => None,
        }
    }

    /// Puts a field further down, where the objects on the way are there.
    pub fn set_at(&mut self, path: &[&str], value: Tree<'a>) {
        let Some((last, way)) = path.split_last() else { return };
        let Some(parts) = self.parts_at(way) else { return };
        match parts.iter_mut().find(|(it, _)| it == last) {
            Some((_, stood)) => *stood = value,
            None => parts.push((Cow::Owned((*last).to_owned()), value)),
        }
    }

    /// Takes a field further down away.
    pub fn remove_at(&mut self, path: &[&str]) {
        let Some((last, way)) = path.split_last() else { return };
        if let Some(parts) = self.parts_at(way) {
            parts.retain(|(it, _)| it != last);
        }
    }

    /// The fields of an object further down.
    fn parts_at(&mut self, way: &[&str]) -> Option<&mut Vec<(Cow<'a, str>, Tree<'a>)>> {
        let mut at = self;
        for name in way {
            let Tree::Object(parts) = at else { return None };
            at = &mut parts.iter_mut().find(|(it, _)| it == name)?.1;
        }
        match at {
            Tree::Object(parts) => Some(parts),
            Tree::List(_) | Tree::Leaf(_) => None,
        }
    }

    /// Whether two values are the same, in whatever order their fields stand.
    pub fn same(&self, other: &Tree<'_>) -> bool {
        match (self, other) {
            (Tree::Leaf(one), Tree::Leaf(other)) => one == other,
            (Tree::Object(one), Tree::Object(_)) => {
                other.fields().is_some_and(|it| it.len() == one.len())
                    && one
                        .iter()
                        .enumerate()
                        .all(|(at, (name, value))| other.get(name, at).is_some_and(|it| value.same(it)))
            }
            (Tree::List(one), Tree::List(other)) => {
                one.len() == other.len() && one.iter().zip(other).all(|(one, other)| one.same(other))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use crate::shape::Shapes;

    fn check(kind: &str, text: &str) {
        let kind = KINDS.iter().find(|it| it.kind == kind).unwrap();
        let Shapes { types, root } = Shapes::of(kind);
        let tree = Tree::read(text, &types, &root).unwrap();
        let mut out = String::new();
        tree.write(&mut out);
        assert_eq!(out, text);
        assert!(tree.same(&tree));
    }

    #[test]
    fn what_is_read_is_written() {
        check("ConfigMap", r#"{"metadata":{"name":"a"},"data":{"a\"b":"1","c":""}}"#);
        check("Pod", r#"{"spec":{"containers":[{"name":"a","args":["x"],"ports":[]}],"nodeSelector":{"a":"b"}}}"#);
        check("Deployment", r#"{"spec":null,"status":{"replicas":1}}"#);
    }

    #[test]
    fn wholes_stay_text() {
        let kind = KINDS.iter().find(|it| it.kind == "Service").unwrap();
        let Shapes { types, root } = Shapes::of(kind);
        let tree = Tree::read(r#"{"spec":{"selector":{"a":"b"},"ports":[{"port":1}]}}"#, &types, &root).unwrap();
        assert_eq!(tree.text_at(&["spec", "selector"]), Some(r#"{"a":"b"}"#));
        assert!(tree.get("spec", 0).unwrap().get("ports", 1).unwrap().list().is_some());
        assert!(Tree::read("{\"a\":", &types, &root).is_none());
    }
}
