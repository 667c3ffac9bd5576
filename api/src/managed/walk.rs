//! What two objects differ in, and what a configuration states: walks along trees that make sets of fields.
//!
//! In: [`Tree`]s of the same shape. Out: [`Changes`] between them, or the set of all that one states. Source: `compare.go`, `tofieldset.go` and
//! `helpers.go` of `sigs.k8s.io/structured-merge-diff/v6/typed`. An element of a merged list is a member besides its fields; a struct is one
//! where it comes or goes; a map is one where it comes, goes, or is stated to be empty.

use std::borrow::Cow;

use super::set::{Node, Set, Step, key_text};
use super::tree::{self, Tree};
use crate::shape::{Elements, Field, Key, Shape, Types, UNTYPED};

/// In what two objects differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes<'a> {
    /// What the new object has and the old has not, or has with another value.
    pub changed: Set<'a>,
    /// What the old object has and the new has not.
    pub removed: Set<'a>,
}

impl Changes<'_> {
    /// Whether they do not differ.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.removed.is_empty()
    }
}

/// What one part of an object adds to the changes.
#[derive(Default)]
struct Part<'a> {
    changed: (bool, Set<'a>),
    removed: (bool, Set<'a>),
}

/// Fields that count for nothing, as paths of names.
pub type Ignored = &'static [&'static [&'static str]];

/// The differences of two objects, but for ignored fields and what is below them.
pub fn compare<'a>(types: &Types, root: &Field, old: &Tree<'a>, new: &Tree<'a>, ignored: Ignored) -> Changes<'a> {
    let part = differences(types, root, Some(old), Some(new), ignored);
    let mut out = Changes { changed: part.changed.1, removed: part.removed.1 };
    for path in ignored.iter().filter(|it| it.len() > 1) {
        let unwanted = Set::of_path(path);
        out = Changes { changed: out.changed.outside(&unwanted), removed: out.removed.outside(&unwanted) };
    }
    out
}

fn differences<'a>(
    types: &Types,
    field: &Field,
    old: Option<&Tree<'a>>,
    new: Option<&Tree<'a>>,
    ignored: Ignored,
) -> Part<'a> {
    let mut out = Part::default();
    let nothing = |it: Option<&Tree<'a>>| it.is_none_or(Tree::is_empty);
    let parted = |it: Option<&Tree<'a>>| it.is_none_or(|it| it.is_null() || !matches!(it, Tree::Leaf(_)));
    if field.leaf || !parted(old) || !parted(new) || (nothing(old) && nothing(new)) {
        return leaf(old, new);
    }
    if matches!(field.shape, Shape::List(_)) {
        let (Some(was), Some(is)) = (steps_of(field, old), steps_of(field, new)) else { return leaf(old, new) };
        elements(types, types.element_of(field.shape), was, is, &mut out);
    } else {
        fields(types, field, old, new, ignored, &mut out);
    }
    out.changed.0 |= old.is_none();
    out.removed.0 |= new.is_none();
    out
}

/// The difference between values that are owned as a whole.
fn leaf<'a>(old: Option<&Tree<'a>>, new: Option<&Tree<'a>>) -> Part<'a> {
    let mut out = Part::default();
    match (old, new) {
        (_, None) => out.removed.0 = true,
        (None, _) => out.changed.0 = true,
        (Some(old), Some(new)) => out.changed.0 = !old.same(new),
    }
    out
}

fn fields<'a>(
    types: &Types,
    field: &Field,
    old: Option<&Tree<'a>>,
    new: Option<&Tree<'a>>,
    ignored: Ignored,
    out: &mut Part<'a>,
) {
    let (mut changed, mut removed) = (Vec::new(), Vec::new());
    let mut next = 0;
    let mut visit = |name: &Cow<'a, str>, was: Option<&Tree<'a>>, is: Option<&Tree<'a>>| {
        if ignored.iter().any(|it| **it == [&**name]) {
            return;
        }
        let child = types.child_from(field.shape, name, &mut next).unwrap_or(&UNTYPED);
        // The zero of a field that its type always has.
        let stated = |it: Option<&Tree<'a>>| it.is_some_and(|it| matches!(it, Tree::Object(_)));
        let was = was.or_else(|| tree::zero(child).filter(|_| stated(old)));
        let is = is.or_else(|| tree::zero(child).filter(|_| stated(new)));
        let part = differences(types, child, was, is, &[]);
        for ((member, below), nodes) in [(part.changed, &mut changed), (part.removed, &mut removed)] {
            if member || !below.is_empty() {
                nodes.push(Node { step: Step::Field(name.clone()), member, below });
            }
        }
    };
    let was = old.and_then(Tree::fields).unwrap_or_default();
    let is = new.and_then(Tree::fields).unwrap_or_default();
    for (at, (name, value)) in is.iter().enumerate() {
        visit(name, old.and_then(|it| it.get(name, at)), Some(value));
    }
    for (at, (name, value)) in was.iter().enumerate() {
        if new.is_none_or(|it| it.get(name, at).is_none()) {
            visit(name, Some(value), None);
        }
    }
    out.changed.1 = Set::of(changed);
    out.removed.1 = Set::of(removed);
}

/// Compares elements by their steps. Where several have the same, they count as one whole.
fn elements<'a>(types: &Types, element: &Field, was: Elems<'_, 'a>, is: Elems<'_, 'a>, out: &mut Part<'a>) {
    let (mut changed, mut removed) = (Vec::new(), Vec::new());
    let (mut was, mut is) = (sorted(was), sorted(is));
    was.reverse();
    is.reverse();
    loop {
        let step = match (was.last(), is.last()) {
            (None, None) => break,
            (Some((step, _)), None) | (None, Some((step, _))) => step.clone(),
            (Some((one, _)), Some((other, _))) => one.min(other).clone(),
        };
        let (old, new) = (take(&mut was, &step), take(&mut is, &step));
        let part = match (&*old, &*new) {
            ([], [one]) => differences(types, element, None, Some(one), &[]),
            ([one], []) => differences(types, element, Some(one), None, &[]),
            ([one], [other]) => differences(types, element, Some(one), Some(other), &[]),
            (_, []) => Part { removed: (true, Set::default()), ..Part::default() },
            (several, [one]) => {
                let mut part = differences(types, element, None, Some(one), &[]);
                part.changed.0 = !several.is_empty();
                part
            }
            ([one], _) => {
                let mut part = differences(types, element, Some(one), None, &[]);
                (part.changed.0, part.removed.0) = (true, false);
                part
            }
            (old, new) => {
                let same = old.len() == new.len() && old.iter().zip(new).all(|(one, other)| one.same(other));
                Part { changed: (!same, Set::default()), ..Part::default() }
            }
        };
        for ((member, below), nodes) in [(part.changed, &mut changed), (part.removed, &mut removed)] {
            nodes.push(Node { step: step.clone(), member, below });
        }
    }
    out.changed.1 = Set::of(changed);
    out.removed.1 = Set::of(removed);
}

/// The elements at the end of a list that have this step, in the list's order.
fn take<'t, 'a>(of: &mut Elems<'t, 'a>, step: &Step<'_>) -> Vec<&'t Tree<'a>> {
    let mut found = Vec::new();
    while of.last().is_some_and(|(it, _)| it == step) {
        found.extend(of.pop().map(|(_, value)| value));
    }
    found
}

/// The elements of a value that may be no list, with their steps.
fn steps_of<'t, 'a>(field: &Field, value: Option<&'t Tree<'a>>) -> Option<Elems<'t, 'a>> {
    value.and_then(Tree::list).map_or(Some(Vec::new()), |list| steps(field, list))
}

/// Elements of a list, with the steps that lead to them.
type Elems<'t, 'a> = Vec<(Step<'a>, &'t Tree<'a>)>;

fn sorted<'t, 'a>(mut elements: Elems<'t, 'a>) -> Elems<'t, 'a> {
    elements.sort_by(|(one, _), (other, _)| one.cmp(other));
    elements
}

/// The elements of a merged list with their steps. None: one has no step, as it lacks a key.
pub fn steps<'t, 'a>(field: &Field, list: &'t [Tree<'a>]) -> Option<Elems<'t, 'a>> {
    list.iter().map(|it| Some((step(&field.elements, it).ok()?, it))).collect()
}

/// The step that leads to an element.
///
/// # Errors
/// Why there is none, in Kubernetes' words.
pub fn step<'a>(elements: &Elements, element: &Tree<'a>) -> Result<Step<'a>, String> {
    match elements {
        Elements::Keyed(keys) => key_of(keys, element).map(Step::Key),
        Elements::Set | Elements::Atomic => match element {
            Tree::Leaf(text) if text == "null" => {
                Err("associative list without keys has an element that's an explicit null".to_owned())
            }
            Tree::Leaf(text) => match text.as_bytes().first() {
                Some(b'{') => Err("associative list without keys has an element that's a map type".to_owned()),
                Some(b'[') => Err("not supported: associative list with lists as elements".to_owned()),
                _ => Ok(Step::Value(text.clone())),
            },
            Tree::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Tree::List(_) => Err("not supported: associative list with lists as elements".to_owned()),
        },
    }
}

type KeyParts<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

fn key_of<'a>(keys: &[Key], element: &Tree<'a>) -> Result<KeyParts<'a>, String> {
    if element.is_null() {
        return Err("associative list with keys may not have a null element".to_owned());
    }
    // The elements of some lists are wholes, and stay text.
    let read;
    let element = match element {
        Tree::Leaf(text) if text.starts_with('{') => {
            read = whole(text);
            &read
        }
        other => other,
    };
    if element.fields().is_none() {
        return Err("associative list with keys may not have non-map elements".to_owned());
    }
    keys.iter()
        .map(|key| {
            let value = match (element.get(&key.name, 0), &key.default) {
                (Some(Tree::Leaf(text)), _) => key_text(text),
                (Some(_), _) => None,
                (None, Some(default)) => Some(Cow::Owned(default.to_string())),
                (None, None) => None,
            };
            let value = value.ok_or_else(|| {
                format!(
                    "associative list with keys has an element that omits key field {:?} (and doesn't have default value)",
                    key.name
                )
            })?;
            Ok((Cow::Owned(key.name.to_string()), value))
        })
        .collect()
}

/// The fields of an object that is text, each as text.
fn whole(text: &str) -> Tree<'static> {
    let fields: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).unwrap_or_default();
    let leaf = |it: serde_json::Value| Tree::Leaf(Cow::Owned(it.to_string()));
    Tree::Object(fields.into_iter().map(|(name, it)| (Cow::Owned(name), leaf(it))).collect())
}

/// All that an object states.
pub fn stated<'a>(types: &Types, root: &Field, object: &Tree<'a>) -> Set<'a> {
    stated_by(types, root, object).1
}

fn stated_by<'a>(types: &Types, field: &Field, value: &Tree<'a>) -> (bool, Set<'a>) {
    match value {
        Tree::Object(parts) if !field.leaf => {
            let mut nodes = Vec::with_capacity(parts.len());
            for (name, value) in parts {
                let declared = types.declared(field.shape, name);
                let child = declared.or_else(|| types.child(field.shape, name)).unwrap_or(&UNTYPED);
                let (member, below) = stated_by(types, child, value);
                let empty = value.is_null() || matches!(value, Tree::Object(parts) if parts.is_empty());
                let member = member || empty || declared.is_none();
                nodes.push(Node { step: Step::Field(name.clone()), member, below });
            }
            (false, Set::of(nodes))
        }
        Tree::List(list) if !field.leaf => {
            let Some(elements) = steps(field, list) else { return (true, Set::default()) };
            let element = types.element_of(field.shape);
            let mut nodes: Vec<Node<'a>> = Vec::with_capacity(list.len());
            for (step, value) in sorted(elements) {
                match nodes.last_mut().filter(|it| it.step == step) {
                    // Elements that share a step are owned as one.
                    Some(twice) => twice.below = Set::default(),
                    None => {
                        let (_, below) = stated_by(types, element, value);
                        nodes.push(Node { step, member: true, below });
                    }
                }
            }
            (false, Set::of(nodes))
        }
        Tree::Leaf(text) if !field.leaf && text == "null" => (false, Set::default()),
        _ => (true, Set::default()),
    }
}

/// A set with every declared field on the way to a member, as if it were one itself.
pub fn with_named<'a>(types: &Types, field: &Field, set: &Set<'a>) -> Set<'a> {
    let nodes = set.nodes().iter().map(|node| {
        let (child, declared) = match &node.step {
            Step::Field(name) => {
                let declared = types.declared(field.shape, name);
                (declared.or_else(|| types.child(field.shape, name)), declared.is_some())
            }
            _ => (Some(types.element_of(field.shape)), false),
        };
        let below = with_named(types, child.unwrap_or(&UNTYPED), &node.below);
        Node { step: node.step.clone(), member: node.member || (declared && !below.is_empty()), below }
    });
    Set::of(nodes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use crate::shape::Shapes;

    fn shapes(kind: &str) -> Shapes {
        Shapes::of(KINDS.iter().find(|it| it.kind == kind).unwrap())
    }

    fn check(kind: &str, old: &str, new: &str, changed: &[&str], removed: &[&str]) {
        let Shapes { types, root } = shapes(kind);
        let (old, new) = (Tree::read(old, &types, &root).unwrap(), Tree::read(new, &types, &root).unwrap());
        let changes = compare(&types, &root, &old, &new, &[&["status"]]);
        assert_eq!((changes.changed.paths(), changes.removed.paths()), (owned(changed), owned(removed)));
        assert!(compare(&types, &root, &new, &new, &[]).is_empty());
    }

    fn owned(paths: &[&str]) -> Vec<String> {
        paths.iter().map(|it| (*it).to_owned()).collect()
    }

    #[test]
    fn a_new_object_has_changed_in_all_it_states() {
        check(
            "Deployment",
            "{}",
            r#"{"metadata":{"labels":{"a":"b"}},"spec":{"replicas":1,"strategy":{"rollingUpdate":{"maxSurge":1},"type":"RollingUpdate"},
                "selector":{"matchLabels":{"a":"b"}},"template":{"spec":{"containers":[{"name":"c","resources":{}}]}}},"status":{"replicas":1}}"#,
            &[
                ".metadata.labels",
                ".metadata.labels.a",
                ".spec.replicas",
                ".spec.selector",
                ".spec.strategy.rollingUpdate",
                ".spec.strategy.type",
                ".spec.strategy.rollingUpdate.maxSurge",
                ".spec.template.spec.containers",
                r#".spec.template.spec.containers[name="c"]"#,
                r#".spec.template.spec.containers[name="c"].name"#,
                r#".spec.template.spec.containers[name="c"].resources"#,
            ],
            &[],
        );
    }

    #[test]
    fn parts_come_change_and_go() {
        let old = r#"{"metadata":{"labels":{"a":"1","b":"2"}},"data":{"x":"1","y":"2"}}"#;
        let new = r#"{"metadata":{"labels":{"a":"1"}},"data":{"y":"3","z":"4"},"immutable":true}"#;
        check("ConfigMap", old, new, &[".immutable", ".data.y", ".data.z"], &[".data.x", ".metadata.labels.b"]);
        check(
            "ConfigMap",
            old,
            r#"{"metadata":{}}"#,
            &[],
            &[".data", ".data.x", ".data.y", ".metadata.labels", ".metadata.labels.a", ".metadata.labels.b"],
        );
        check("ConfigMap", r#"{"data":{}}"#, r#"{"data":{"a":"1"}}"#, &[".data.a"], &[]);
    }

    #[test]
    fn elements_are_told_apart_by_their_keys() {
        let old = r#"{"spec":{"ports":[{"port":80},{"port":53,"protocol":"UDP"}]}}"#;
        let new = r#"{"spec":{"ports":[{"port":80,"protocol":"TCP","targetPort":8080},{"port":53,"protocol":"TCP"}]}}"#;
        check(
            "Service",
            old,
            new,
            &[
                r#".spec.ports[port=53,protocol="TCP"]"#,
                r#".spec.ports[port=53,protocol="TCP"].port"#,
                r#".spec.ports[port=53,protocol="TCP"].protocol"#,
                r#".spec.ports[port=80,protocol="TCP"].protocol"#,
                r#".spec.ports[port=80,protocol="TCP"].targetPort"#,
            ],
            &[
                r#".spec.ports[port=53,protocol="UDP"]"#,
                r#".spec.ports[port=53,protocol="UDP"].port"#,
                r#".spec.ports[port=53,protocol="UDP"].protocol"#,
            ],
        );
        let one = r#"{"metadata":{"finalizers":["a","b"]}}"#;
        let two = r#"{"metadata":{"finalizers":["b","c"]}}"#;
        check("Pod", one, two, &[r#".metadata.finalizers[="c"]"#], &[r#".metadata.finalizers[="a"]"#]);
        let twice = r#"{"spec":{"imagePullSecrets":[{"name":"a"},{"name":"a"}]}}"#;
        check(
            "Pod",
            twice,
            r#"{"spec":{"imagePullSecrets":[{"name":"a"},{"name":"b"}]}}"#,
            &[r#".spec.imagePullSecrets[name="a"]"#, r#".spec.imagePullSecrets[name="b"]"#],
            &[],
        );
    }

    #[test]
    fn a_configuration_states_its_fields() {
        let Shapes { types, root } = shapes("Pod");
        let text = r#"{"kind":"Pod","metadata":{"labels":{}},"spec":{"containers":[{"name":"a","env":[],"securityContext":null}],"nodeSelector":{"a":"b"}}}"#;
        let tree = Tree::read(text, &types, &root).unwrap();
        let set = stated(&types, &root, &tree);
        assert_eq!(
            set.paths(),
            [
                ".kind",
                ".metadata.labels",
                ".spec.nodeSelector",
                r#".spec.containers[name="a"]"#,
                r#".spec.containers[name="a"].name"#,
                r#".spec.containers[name="a"].securityContext"#,
            ]
        );
        let named = with_named(&types, &root, &set);
        assert!(named.has_path(&["spec", "containers"]) && named.has_path(&["metadata"]));
    }
}
