//! Records a plain write: create, update, every patch but an apply.
//!
//! In: the object before and after the write, as its kind decoded and defaulted it. Out: its managed fields. What the write changed belongs to
//! the writer alone; what it removed belongs to nobody; what it left as it was belongs to whom it belonged. Source: `Update` of
//! `k8s.io/apimachinery/pkg/util/managedfields/internal/fieldmanager.go` and of the managers that it wraps.

use std::borrow::Cow;

use super::entries::{self, Entry, Operation};
use super::set::Set;
use super::tree::{self, Tree};
use super::versions::{self, Differences};
use super::walk::{Changes, compare};
use super::{Subject, UNKNOWN, Writer};

/// The managed fields that a client sends with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent<'a> {
    /// It says nothing of them.
    Nothing,
    /// An empty list, or one empty entry: they are to be forgotten.
    Reset,
    /// These.
    Fields(&'a str),
}

impl<'a> Sent<'a> {
    /// What the text of the field says; none: the field is not there.
    pub fn of(text: Option<&'a str>) -> Self {
        match text.map(str::trim) {
            None | Some("null") => Sent::Nothing,
            Some("[]" | "[{}]") => Sent::Reset,
            Some(text) => Sent::Fields(text),
        }
    }
}

/// An object as it stands: its text without managed fields, and those.
#[derive(Clone, Copy, Debug)]
pub struct Standing<'a> {
    pub bare: &'a str,
    pub managed: Option<&'a str>,
}

/// What the managed fields are after a write. None: the object has none.
pub fn record<'a>(
    subject: &Subject,
    old: Option<Standing<'a>>,
    new_text: &'a str,
    sent: Sent<'a>,
    writer: &Writer<'a>,
) -> Option<String> {
    let standing = old.and_then(|it| it.managed);
    let stood = || standing.and_then(|it| entries::read(it).ok()).unwrap_or_default();
    // A client may change the managed fields of an object, but not by a subresource.
    let sent = if writer.subresource.is_empty() { sent } else { Sent::Nothing };
    let (known, untouched) = match sent {
        Sent::Reset => (Vec::new(), false),
        Sent::Fields(text) if Some(text) != standing => match entries::read(text) {
            // Who does not understand them shall not lose them.
            Ok(given) if !given.is_empty() && entries::are_readable(&given) => (given, false),
            _ => (stood(), true),
        },
        _ => (stood(), true),
    };
    if known.is_empty() && old.is_some() {
        return None;
    }
    let as_stood = |known: Vec<Entry<'_>>| match standing.filter(|_| untouched) {
        Some(text) => Some(text.to_owned()),
        None => entries::write(known),
    };
    let (types, root) = (&subject.shapes.types, &subject.shapes.root);
    let both = match old {
        Some(old) => Tree::read_both(old.bare, new_text, types, root),
        None => Tree::read(new_text, types, root).map(|new| (tree::empty().clone(), new)),
    };
    let Some((before, new)) = both else { return as_stood(known) };
    let mut changes = compare(types, root, &before, &new, subject.ignored);
    if let Some(unowned) = writer.unowned.and_then(Set::read) {
        changes.changed = changes.changed.outside(&unowned);
    }
    if changes.is_empty() {
        return as_stood(known);
    }
    let mut known = known;
    // A new object is its writer's alone.
    if !known.is_empty() {
        let elsewhere = versions::elsewhere(subject, &mut known, old.map_or("{}", |it| it.bare), new_text);
        Differences::of(&changes, &elsewhere, subject.ignored).take_from(&mut known);
    }
    give(subject, &mut known, changes, writer);
    entries::cap(&mut known);
    entries::write(known)
}

/// Gives what has changed to its writer.
pub(super) fn give<'a>(subject: &Subject, known: &mut Vec<Entry<'a>>, changes: Changes<'a>, writer: &Writer<'a>) {
    let mine = changes.changed.outside_identity();
    if mine.is_empty() {
        return;
    }
    let manager = if writer.manager.is_empty() { UNKNOWN } else { writer.manager };
    let version = Cow::Owned(subject.api_version.clone());
    let mut entry = Entry::new(Cow::Borrowed(manager), Operation::Update, version, mine);
    entry.subresource = Cow::Borrowed(writer.subresource);
    entry.time = Some(Cow::Borrowed(writer.now));
    match known.iter_mut().find(|it| it.is_of_same(&entry)) {
        Some(mine) => {
            let set = entry.set().into_owned().union(&mine.set());
            mine.put(set);
            mine.time = entry.time;
        }
        None => known.push(entry),
    }
}

/// What names the object and what the server alone sets: nobody owns it.
const IDENTITY: [&str; 9] = [
    "clusterName",
    "creationTimestamp",
    "generation",
    "managedFields",
    "name",
    "namespace",
    "resourceVersion",
    "selfLink",
    "uid",
];

impl<'a> Set<'a> {
    /// The set without what names the object and what the server alone sets.
    pub(super) fn outside_identity(self) -> Set<'a> {
        use super::set::{Node, Step};
        let is = |it: &Step<'_>, name: &str| matches!(it, Step::Field(of) if of == name);
        let nodes = self.into_nodes().into_iter().filter(|it| !is(&it.step, "apiVersion") && !is(&it.step, "kind"));
        let nodes = nodes.map(|node| {
            if !is(&node.step, "metadata") {
                return node;
            }
            let owned = |it: &Node<'a>| !matches!(&it.step, Step::Field(name) if IDENTITY.contains(&&**name));
            let below = Set::of(node.below.into_nodes().into_iter().filter(owned).collect());
            // Only members of these names: what is below them stays, as there is nothing below them.
            Node { step: node.step, member: false, below }
        });
        Set::of(nodes.collect())
    }
}
