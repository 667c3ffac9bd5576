//! Custom kinds: what a CustomResourceDefinition adds to the kinds that are built in.
//!
//! A custom kind is a [`Kind`] like any other, made once and kept for the process's life, because requests, tables and watches hold
//! `&'static Kind`. What names it (group, version, names, selectable fields, subresources) is part of the record, so that a definition with
//! other names makes another record; what may change without a change of names (schema, columns, conversion) hangs behind a [`Custom`], which
//! every record of the same resource and version shares, and which the feed replaces. See docs/decisions/007.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

pub mod columns;
pub mod definition;
pub mod json_path;
pub mod object;
pub mod read;
pub(crate) mod record;

pub use definition::Definition;

use crate::kind::{Kind, Names, Scope, Selectable, Sub};
use definition::Version;

/// A version of a definition as it is at the moment.
#[derive(Clone, Debug)]
pub struct Served {
    pub definition: Arc<Definition>,
    /// The place of the version in the definition.
    pub at: usize,
}

impl Served {
    /// The version.
    pub fn version(&self) -> &Version {
        &self.definition.versions[self.at]
    }

    /// Whether objects are stored in the form of this version.
    pub fn is_stored(&self) -> bool {
        self.at == self.definition.storage
    }
}

/// What a custom kind is at the moment.
#[derive(Debug)]
pub struct Custom {
    now: RwLock<Arc<Served>>,
}

impl Custom {
    /// The version as of the last change of its definition.
    pub fn now(&self) -> Arc<Served> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, served: Served) {
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(served);
    }
}

/// What tells one record from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Identity {
    group: Box<str>,
    version: Box<str>,
    scope: Scope,
    names: definition::Names,
    status: bool,
    scale: bool,
    selectable: Box<[Box<str>]>,
}

/// Makes the records of custom kinds, each once. What it makes is never freed: some 600 bytes for every form that a definition ever had, and
/// only who may write definitions can make it grow.
#[derive(Debug, Default)]
pub struct Interner {
    words: HashSet<&'static str>,
    kinds: HashMap<Identity, &'static Kind>,
    customs: HashMap<(Box<str>, Box<str>), &'static Custom>,
}

impl Interner {
    /// The records of all versions of a definition, which from now on are as it says.
    pub fn kinds(&mut self, definition: &Arc<Definition>) -> Vec<&'static Kind> {
        (0..definition.versions.len()).map(|at| self.kind(definition, at)).collect()
    }

    fn kind(&mut self, definition: &Arc<Definition>, at: usize) -> &'static Kind {
        let version = &definition.versions[at];
        let identity = Identity {
            group: definition.group.clone(),
            version: version.name.clone(),
            scope: definition.scope,
            names: definition.names.clone(),
            status: version.status,
            scale: version.scale.is_some(),
            selectable: version.selectable.clone(),
        };
        let custom = self.custom(definition, at);
        if let Some(known) = self.kinds.get(&identity) {
            return known;
        }
        let names = &definition.names;
        let plural = self.word(definition.plural());
        let fields = version.selectable.iter().map(|it| {
            let path = self.word(it.strip_prefix('.').unwrap_or(it));
            Selectable { path, absent: "", from: &[] }
        });
        let fields: Vec<Selectable> = fields.collect();
        let made = Kind::custom(record::Parts {
            group: self.word(&definition.group),
            version: self.word(&version.name),
            kind: self.word(&names.kind),
            names: Names {
                plural,
                singular: self.word(&names.singular),
                short: self.words(&names.short_names),
                categories: self.words(&names.categories),
            },
            scope: definition.scope,
            subs: match (version.status, version.scale.is_some()) {
                (false, false) => &[],
                (true, false) => &[Sub::Status],
                (false, true) => &[Sub::Scale],
                (true, true) => &[Sub::Status, Sub::Scale],
            },
            fields: fields.leak(),
            stored_as: self.word(&format!("{}/{plural}", definition.group)),
            custom,
            decode: object::decode,
            read: object::read,
        });
        let made: &'static Kind = Box::leak(Box::new(made));
        self.kinds.insert(identity, made);
        made
    }

    fn custom(&mut self, definition: &Arc<Definition>, at: usize) -> &'static Custom {
        let served = Served { definition: definition.clone(), at };
        let key = (definition.name.clone(), definition.versions[at].name.clone());
        match self.customs.get(&key) {
            Some(known) => {
                known.set(served);
                known
            }
            None => {
                let made = Box::leak(Box::new(Custom { now: RwLock::new(Arc::new(served)) }));
                self.customs.insert(key, made);
                made
            }
        }
    }

    fn word(&mut self, word: &str) -> &'static str {
        match self.words.get(word) {
            Some(known) => known,
            None => {
                let made: &'static str = Box::leak(word.into());
                self.words.insert(made);
                made
            }
        }
    }

    fn words(&mut self, words: &[String]) -> &'static [&'static str] {
        let words: Vec<&'static str> = words.iter().map(|it| self.word(it)).collect();
        words.leak()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use serde_json::{Value, json};

    fn definition(short: &str, column: &str) -> Arc<Definition> {
        let json: Value = json!({
            "metadata": {"name": "crontabs.example.com", "uid": "u", "generation": 2},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "selectableFields": [{"jsonPath": ".spec.color"}],
                    "additionalPrinterColumns": [{"name": column, "type": "string", "jsonPath": ".x"}]}],
            },
            "status": {"acceptedNames": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": [short]}},
        });
        Arc::new(Definition::parse(&Bytes::from(json.to_string())).unwrap())
    }

    #[test]
    fn the_same_definition_is_the_same_kind() {
        let mut interner = Interner::default();
        let first = interner.kinds(&definition("ct", "A"))[0];
        assert_eq!((first.names.short, first.prefix()), (&["ct"][..], "/registry/example.com/crontabs/".to_owned()));
        assert_eq!((first.fields[0].path, first.subs), ("spec.color", &[Sub::Status][..]));
        let renamed = interner.kinds(&definition("cts", "B"))[0];
        assert!(!std::ptr::eq(first, renamed));
        let again = interner.kinds(&definition("ct", "B"))[0];
        assert!(std::ptr::eq(first, again));
        let columns = first.custom.unwrap().now();
        assert_eq!(&*columns.version().columns[0].name, "B", "what is shown follows the definition");
    }
}
