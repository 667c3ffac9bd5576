//! Which objects of a kind a list, a watch or a deletion means: the label and the field selector together.
//!
//! In: the two texts and the kind. Out: a [`Selection`] that can be asked about heads, and the index term that narrows a search.

use orlop_api::kind::Kind;
use orlop_api::selector::{field, label};
use orlop_api::status::{self, Status};

use crate::cache::index::{Index, Term};
use crate::cache::{Interest, Object};

/// The objects meant.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    labels: label::Selector,
    fields: field::Selector,
}

impl Selection {
    /// Reads both selectors.
    ///
    /// # Errors
    /// `BadRequest` for texts that are no selectors, and for fields by which the kind cannot be selected.
    pub fn parse(kind: &Kind, labels: &str, fields: &str) -> status::Result<Self> {
        let out = Selection {
            labels: if labels.is_empty() { label::Selector::default() } else { label::Selector::parse(labels)? },
            fields: if fields.is_empty() { field::Selector::default() } else { field::Selector::parse(fields)? },
        };
        for it in out.fields.requirements() {
            let known = it.path == "metadata.name" || it.path == "metadata.namespace";
            if !known && !kind.fields.iter().any(|field| field.path == it.path) {
                return Err(Status::bad_request(match kind.fields {
                    [] => {
                        let path = &it.path;
                        format!(
                            "{path:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""
                        )
                    }
                    _ => format!("field label not supported: {}", it.path),
                }));
            }
        }
        Ok(out)
    }

    /// Whether every object is meant.
    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// The one name that is meant, if it is only one.
    pub fn name(&self) -> Option<&str> {
        self.fields.required("metadata.name")
    }

    /// Whether this object is meant.
    pub fn matches(&self, kind: &Kind, object: &Object) -> bool {
        self.is_everything()
            || (self.labels.matches(&object.head.labels) && self.fields.matches(|path| object.field(kind, path)))
    }

    /// What a watch of these objects waits for; `prefix` is what their keys begin with, `all` what those of the whole table do.
    pub fn interest(&self, kind: &Kind, prefix: &str, all: &str) -> Interest {
        let narrowed = prefix != all;
        if let Some(name) = self.name()
            && (narrowed || !kind.namespaced())
        {
            return Interest::Object(format!("{prefix}{name}").as_str().into());
        }
        match self.term(kind) {
            Some(term) => Interest::Term(term),
            None if narrowed => Interest::Namespace(prefix.into()),
            None => Interest::Everything,
        }
    }

    /// The term by which an index finds all objects that may be meant.
    pub fn term(&self, kind: &Kind) -> Option<Term> {
        // Other forms of a stored kind have fields of their own, which the index of its table does not know.
        let by_field = (!kind.is_converted())
            .then(|| {
                let mut fields = self.fields.requirements().iter().filter(|it| it.op == field::Op::Eq);
                fields.find_map(|it| Index::field(kind, &it.path, &it.value))
            })
            .flatten();
        by_field.or_else(|| {
            self.labels.requirements().iter().find_map(|it| {
                let mut values = it.values();
                let (Some(value), None) = (values.next(), values.next()) else { return None };
                let equals = matches!(
                    it.operator(),
                    label::Operator::Equals | label::Operator::DoubleEquals | label::Operator::In
                );
                equals.then(|| Term::Label(it.key().into(), value.into()))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    #[track_caller]
    fn check(labels: &str, fields: &str, expected: Result<(bool, bool), &str>) {
        let kind = registry::named("", "Pod").unwrap();
        let json = br#"{"metadata":{"name":"a","namespace":"d","labels":{"app":"web"}},"spec":{"nodeName":"n1"}}"#;
        let pod = Object::stored(kind, kind.key("d", "a").as_str().into(), 1, json).unwrap();
        match (Selection::parse(kind, labels, fields), expected) {
            (Ok(it), Ok((matches, indexed))) => {
                assert_eq!((it.matches(kind, &pod), it.term(kind).is_some()), (matches, indexed));
            }
            (Err(status), Err(text)) => assert!(status.message.contains(text), "{status}"),
            (got, expected) => panic!("{got:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn selectors_mean_objects() {
        check("", "", Ok((true, false)));
        check("app=web", "", Ok((true, true)));
        check("app in (web)", "", Ok((true, true)));
        check("app!=web", "", Ok((false, false)));
        check("", "spec.nodeName=n1", Ok((true, true)));
        check("", "spec.nodeName=n2", Ok((false, true)));
        check("", "spec.nodeName=", Ok((false, false)));
        check("", "metadata.name=a", Ok((true, false)));
        check("app", "status.phase!=Running", Ok((true, false)));
        check("", "spec.color=red", Err("field label not supported: spec.color"));
        check("a b=c", "", Err("unable to parse requirement"));
    }
}
