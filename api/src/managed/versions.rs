//! The other versions in which an object's managers have written: fields are compared in the version in which they are owned.
//!
//! In: an object in the version of a write, before and after it, and who owns what in which version. Out: the same two objects in every other
//! version that somebody wrote in, and what differs there; and for an apply, the merged object without what its manager stated in whatever
//! version the last time. A version that the kind has no more is forgotten, with those who wrote in it. Source: `update` and `prune` of
//! `sigs.k8s.io/structured-merge-diff/v6/merge/update.go`, with the converter of `k8s.io/apimachinery/pkg/util/managedfields`.
//! One simplifying assumption: versions between which a webhook converts have the same fields, as what decides here asks nobody.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::entries::Entry;
use super::merge::without;
use super::set::Set;
use super::tree::Tree;
use super::walk::{Changes, compare, stated, with_named};
use super::{Ignored, Subject};
use crate::custom::Served;
use crate::custom::definition::Conversion as CustomConversion;
use crate::kind::Kind;
use crate::kinds::KINDS;
use crate::shape::Shapes;

/// Where a kind's other versions are known from.
#[derive(Clone, Debug)]
pub enum Versions {
    /// It has none.
    One,
    /// From the list of kinds: those that are stored in the same place.
    BuiltIn,
    /// From its definition.
    Custom(Arc<Served>),
}

impl Versions {
    /// The versions of a kind.
    pub fn of(kind: &Kind) -> Self {
        match kind.custom {
            Some(custom) => Versions::Custom(custom.now()),
            None => Versions::BuiltIn,
        }
    }
}

/// What is known of a version.
enum Found {
    /// Objects can be converted to it and back.
    At(Version),
    /// Only a webhook can convert to it: its fields are taken for those of the version of the write.
    Alike,
    /// The kind has no such version.
    Missing,
}

/// Another version, and the way there from the version of a write.
struct Version {
    shapes: Shapes,
    way: Way,
}

#[derive(Clone)]
enum Way {
    /// It is the same version.
    Same,
    BuiltIn {
        own: &'static Kind,
        other: &'static Kind,
    },
    /// Only `apiVersion` differs.
    Named {
        own: String,
        other: String,
    },
}

fn convert(from: &Kind, to: &Kind, value: Value) -> Value {
    let stored = from.conversion.map_or_else(|| value.clone(), |it| (it.to_stored)(value.clone()));
    to.conversion.map_or_else(|| stored.clone(), |it| (it.from_stored)(stored.clone()))
}

impl Version {
    /// An object of the write's version in this one.
    fn there(&self, bare: &str) -> Option<String> {
        self.converted(bare, true)
    }

    /// An object of this version in the write's.
    fn back(&self, bare: &str) -> Option<String> {
        self.converted(bare, false)
    }

    fn converted(&self, bare: &str, there: bool) -> Option<String> {
        if let Way::Same = self.way {
            return Some(bare.to_owned());
        }
        let mut value: Value = serde_json::from_str(bare).ok()?;
        match &self.way {
            Way::Same => {}
            Way::BuiltIn { own, other } => {
                let (from, to) = if there { (own, other) } else { (other, own) };
                value = convert(from, to, value);
            }
            Way::Named { own, other } => {
                let name = if there { other } else { own };
                value.as_object_mut()?.insert("apiVersion".to_owned(), name.as_str().into());
            }
        }
        Some(value.to_string())
    }

    fn tree<'t>(&self, text: &'t str) -> Option<Tree<'t>> {
        Tree::read(text, &self.shapes.types, &self.shapes.root)
    }

    fn named<'t>(&self, set: &Set<'t>) -> Set<'t> {
        with_named(&self.shapes.types, &self.shapes.root, set)
    }

    /// All that an object states, and what names its parts.
    fn all<'t>(&self, tree: &Tree<'t>) -> Set<'t> {
        self.named(&stated(&self.shapes.types, &self.shapes.root, tree))
    }

    /// The text of an object without the members of a set.
    fn without(&self, tree: &Tree<'_>, unwanted: &Set<'_>) -> String {
        let mut out = String::new();
        match without(&self.shapes.types, &self.shapes.root, tree, unwanted) {
            Some(left) => left.write(&mut out),
            None => out.push_str("{}"),
        }
        out
    }
}

impl Subject {
    fn version(&self, api_version: &str) -> Found {
        if api_version == self.api_version {
            return Found::At(Version { shapes: self.shapes.clone(), way: Way::Same });
        }
        match &self.versions {
            Versions::One => Found::Missing,
            Versions::BuiltIn => {
                let of = |version: &str| KINDS.iter().find(|it| it.kind == self.kind && it.api_version() == version);
                match (of(&self.api_version), of(api_version)) {
                    (Some(own), Some(other)) if own.stored_as == other.stored_as => {
                        Found::At(Version { shapes: other.shapes(), way: Way::BuiltIn { own, other } })
                    }
                    _ => Found::Missing,
                }
            }
            Versions::Custom(served) => {
                let definition = &served.definition;
                let at = (0..definition.versions.len()).find(|at| definition.api_version(*at) == api_version);
                let Some(at) = at else { return Found::Missing };
                if definition.conversion != CustomConversion::None {
                    return Found::Alike;
                }
                let way = Way::Named { own: self.api_version.clone(), other: api_version.to_owned() };
                Found::At(Version { shapes: definition.versions[at].shapes(), way })
            }
        }
    }

    /// Whether these entries are all of the version of the write.
    pub(super) fn is_alone(&self, known: &[Entry<'_>]) -> bool {
        known.iter().all(|it| it.api_version == self.api_version)
    }
}

/// The versions of entries beside that of the write.
fn others<'e>(subject: &Subject, known: &'e [Entry<'_>]) -> BTreeSet<&'e str> {
    known.iter().map(|it| &*it.api_version).filter(|it| *it != subject.api_version).collect()
}

/// An object in another version, before and after a write.
pub struct Elsewhere {
    api_version: String,
    shapes: Shapes,
    before: String,
    after: String,
}

/// The object in each of the other versions that entries are of. Entries of versions that the kind does not have are dropped.
pub fn elsewhere(subject: &Subject, known: &mut Vec<Entry<'_>>, before: &str, after: &str) -> Vec<Elsewhere> {
    let mut out = Vec::new();
    let mut gone: BTreeSet<String> = BTreeSet::new();
    for api_version in others(subject, known) {
        match subject.version(api_version) {
            Found::Missing => {
                gone.insert(api_version.to_owned());
            }
            Found::Alike => {}
            Found::At(version) => {
                if let Some((before, after)) = version.there(before).zip(version.there(after)) {
                    out.push(Elsewhere { api_version: api_version.to_owned(), shapes: version.shapes, before, after });
                }
            }
        }
    }
    known.retain(|it| !gone.contains(&*it.api_version));
    out
}

/// What a write changes in each version.
pub struct Differences<'a> {
    /// In its own.
    own: &'a Changes<'a>,
    others: Vec<(&'a str, Changes<'a>)>,
}

impl<'a> Differences<'a> {
    /// Compares the object in each of these versions.
    pub fn of(own: &'a Changes<'a>, elsewhere: &'a [Elsewhere], ignored: Ignored) -> Self {
        let others = elsewhere.iter().filter_map(|it| {
            let Shapes { types, root } = &it.shapes;
            let (before, after) = (Tree::read(&it.before, types, root)?, Tree::read(&it.after, types, root)?);
            Some((&*it.api_version, compare(types, root, &before, &after, ignored)))
        });
        Differences { own, others: others.collect() }
    }

    /// What it changes for one who wrote in this version.
    pub fn at(&self, api_version: &str) -> &Changes<'a> {
        self.others.iter().find(|(it, _)| *it == api_version).map_or(self.own, |(_, changes)| changes)
    }

    /// Takes from everybody what has changed.
    pub fn take_from(&self, known: &mut Vec<Entry<'_>>) {
        let own = self.own.changed.clone().union(&self.own.removed);
        for entry in known.iter_mut() {
            let changes = self.at(&entry.api_version);
            let other;
            let both = if std::ptr::eq(changes, self.own) {
                &own
            } else {
                other = changes.changed.clone().union(&changes.removed);
                &other
            };
            if entry.may_touch(both) {
                let left = entry.set().difference(both);
                entry.put(left);
            }
        }
        known.retain(|it| !it.is_empty());
    }
}

/// Takes out of a merged object what its manager stated the last time and does not any more, and nobody else owns, each in the version in
/// which it was written. `owners` are all who own something now, the manager included.
pub fn pruned<'a>(subject: &Subject, merged: Tree<'a>, last: &Entry<'a>, owners: &[&Entry<'a>]) -> Tree<'a> {
    match pruned_text(subject, &merged, last, owners) {
        None => merged,
        Some(text) => {
            let read = Tree::read(&text, &subject.shapes.types, &subject.shapes.root);
            read.map_or(merged, Tree::into_owned)
        }
    }
}

fn at(subject: &Subject, api_version: &str) -> Option<Version> {
    match subject.version(api_version) {
        Found::At(version) => Some(version),
        Found::Alike => Some(Version { shapes: subject.shapes.clone(), way: Way::Same }),
        Found::Missing => None,
    }
}

fn pruned_text(subject: &Subject, merged: &Tree<'_>, last: &Entry<'_>, owners: &[&Entry<'_>]) -> Option<String> {
    let mut own = String::new();
    merged.write(&mut own);
    let first = at(subject, &last.api_version)?;
    let whole_text = first.there(&own)?;
    let whole = first.tree(&whole_text)?;
    let unwanted = first.named(&last.set());
    let mut left = first.back(&first.without(&whole, &unwanted))?;
    // In the version of the last time first: what was taken out may be needed to convert.
    let mut versions: Vec<&str> = vec![&last.api_version];
    versions.extend(owners.iter().map(|it| &*it.api_version).collect::<BTreeSet<&str>>());
    versions.dedup();
    for (turn, api_version) in versions.iter().enumerate() {
        if versions[..turn].contains(api_version) {
            continue;
        }
        let Some(version) = at(subject, api_version) else { continue };
        let (merged_text, left_text) = (version.there(&own)?, version.there(&left)?);
        let (merged, bare) = (version.tree(&merged_text)?, version.tree(&left_text)?);
        let owned = owners.iter().filter(|it| it.api_version == *api_version);
        let owned = owned.fold(Set::default(), |sum: Set<'_>, it| sum.union(&it.set()));
        let kept = version.all(&bare).union(&version.named(&owned));
        let unwanted = version.all(&merged).difference(&kept);
        left = version.back(&version.without(&merged, &unwanted))?;
    }
    // What never was the manager's comes back.
    let left_text = first.there(&left)?;
    let kept = first.all(&first.tree(&left_text)?);
    let gone = first.all(&whole).difference(&kept).intersection(&first.named(&last.set()));
    first.back(&first.without(&whole, &gone))
}

#[cfg(test)]
mod tests;
