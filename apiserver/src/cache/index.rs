//! Which objects of a table have a label or a field of some value.
//!
//! In: heads that come and go. Out: candidates for a selector, in key order. Only equality is indexed: it is what selectors of
//! controllers, services and node agents ask for.

use std::collections::{BTreeSet, HashMap};

use orlop_api::kind::Kind;
use orlop_store::Key;

use super::Object;

/// The fields worth an index: each is asked for by some informer with one value among many. Others are filtered.
const INDEXED_FIELDS: &[&str] = &["spec.nodeName", "involvedObject.name"];

/// What is looked up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Term {
    Label(Box<str>, Box<str>),
    /// The place of the field in its kind's list.
    Field(usize, Box<str>),
}

/// The index of one table.
#[derive(Debug, Default)]
pub struct Index {
    keys: HashMap<Term, BTreeSet<Key>>,
}

impl Index {
    /// The term of a field that is indexed; none for the others.
    pub fn field(kind: &Kind, path: &str, value: &str) -> Option<Term> {
        let at = kind.fields.iter().position(|it| it.path == path)?;
        (INDEXED_FIELDS.contains(&path) && !value.is_empty()).then(|| Term::Field(at, value.into()))
    }

    /// Everything by which an object can be looked up.
    pub(super) fn terms<'a>(kind: &'a Kind, object: &'a Object) -> impl Iterator<Item = Term> + 'a {
        let labels = object.head.labels.iter().map(|(key, value)| Term::Label(key.into(), value.into()));
        let fields = kind.fields.iter().zip(object.head.fields.iter());
        labels.chain(fields.filter_map(|(field, value)| Self::field(kind, field.path, value)))
    }

    /// Follows one change.
    pub fn change(&mut self, kind: &Kind, old: Option<&Object>, new: Option<&Object>) {
        if let (Some(old), Some(new)) = (old, new)
            && old.head.labels == new.head.labels
            && old.head.fields == new.head.fields
        {
            return;
        }
        if let Some(old) = old {
            for term in Self::terms(kind, old) {
                if let Some(keys) = self.keys.get_mut(&term) {
                    keys.remove(&old.key);
                    if keys.is_empty() {
                        self.keys.remove(&term);
                    }
                }
            }
        }
        if let Some(new) = new {
            for term in Self::terms(kind, new) {
                self.keys.entry(term).or_default().insert(new.key.clone());
            }
        }
    }

    /// Every label that objects have, and how many.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        self.keys.iter().filter_map(|(term, keys)| match term {
            Term::Label(key, value) => Some((&**key, &**value, keys.len())),
            Term::Field(..) => None,
        })
    }

    /// The keys of all objects with this term; none if there is none.
    pub fn get(&self, term: &Term) -> Option<&BTreeSet<Key>> {
        self.keys.get(term)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[test]
    fn objects_move_between_terms() {
        let kind = registry::named("", "ConfigMap").unwrap();
        let object = |value: &str| {
            let json = format!(r#"{{"metadata":{{"name":"a","namespace":"d","labels":{{"app":"{value}"}}}}}}"#);
            Object::stored(kind, "/registry/configmaps/d/a".into(), 1, json.as_bytes()).unwrap()
        };
        let (one, two) = (object("one"), object("two"));
        let count =
            |index: &Index, value: &str| index.get(&Term::Label("app".into(), value.into())).map_or(0, BTreeSet::len);
        let mut index = Index::default();
        index.change(kind, None, Some(&one));
        assert_eq!((count(&index, "one"), count(&index, "two")), (1, 0));
        index.change(kind, Some(&one), Some(&two));
        assert_eq!((count(&index, "one"), count(&index, "two")), (0, 1));
        index.change(kind, Some(&two), None);
        assert!(index.keys.is_empty());
    }
}
