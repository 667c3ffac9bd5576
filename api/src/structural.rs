//! Structural schemas: what a CustomResourceDefinition says of its objects (KEP-1693), as Kubernetes checks and applies it.
//!
//! In: the `openAPIV3Schema` of a version. Out: a [`Schema`] that drops unknown fields, fills in defaults and judges objects, in the order
//! in which a write meets them. It knows neither kinds nor requests: who asks decides what becomes of the fields that were dropped, and
//! adds what Kubernetes says of every object's metadata.
//!
//! Everything is bounded: schemas by [`node::DEPTH_LIMIT`], patterns by the size of their automaton, answers by
//! [`judge::MISTAKES_LIMIT`]. Patterns take time linear in the text.

use serde_json::Value;

use self::node::Node;
use self::trail::Trail;
use crate::field::{ErrorType, Errors, Path};

pub mod check;
pub mod form;
pub mod node;
pub mod rules;

pub mod default;
pub mod defaults;
pub mod prune;

pub mod elements;
pub mod embedded;
pub mod field_path;
pub mod format;
pub mod judge;
pub mod pattern;
pub mod trail;

/// The mistakes beside which rules are not evaluated: they may rely on what these miss.
const BLOCKING: [ErrorType; 5] =
    [ErrorType::NotSupported, ErrorType::Required, ErrorType::TooLong, ErrorType::TooMany, ErrorType::TypeInvalid];

/// The schema of one version of a custom resource.
#[derive(Debug)]
pub struct Schema {
    root: Node,
}

impl Schema {
    /// Checks a schema and reads it. `path` is where it stands: `spec.versions[0].schema.openAPIV3Schema`; `has_status` says whether the
    /// version has the status as a subresource.
    ///
    /// # Errors
    /// What Kubernetes finds wrong with it.
    pub fn parse(schema: &Value, path: &Path, has_status: bool) -> Result<Schema, Errors> {
        let mut errors = Errors::default();
        form::check_root(schema, has_status, path, &mut errors);
        let root = Node::build(schema);
        let unstructured = check::check(schema, path);
        if unstructured.is_empty() {
            defaults::check(&root, path, &mut errors);
        } else {
            errors.append(unstructured);
        }
        form::check(schema, path, &mut errors);
        // What is wrong with rules can be told only where the types of values are known.
        if errors.is_empty() {
            rules::check(&root, path, &mut errors);
        }
        if errors.is_empty() {
            defaults::check_rules(&root, path, &mut errors);
        }
        if errors.is_empty() { Ok(Schema { root }) } else { Err(errors) }
    }

    /// Reads a schema that was checked when it was stored.
    pub fn stored(schema: &Value) -> Schema {
        Schema { root: Node::build(schema) }
    }

    /// Drops the fields that the schema does not name; their paths, in order: `spec.foo`.
    pub fn prune(&self, object: &mut Value) -> Vec<String> {
        prune::prune(&self.root, object)
    }

    /// Drops nulls where none are allowed and fills in defaults. The object has been pruned.
    pub fn default(&self, object: &mut Value) {
        default::fill(&self.root, object);
    }

    /// Notes the mistakes in an object; of an object that is changed, only those that the change brings (KEP-4008).
    pub fn validate(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        judge::judge(&self.root, object, old, &Trail::ROOT, errors);
        embedded::judge(&self.root, object, &Trail::ROOT, errors);
        self.validate_lists(object, old, errors);
        if !self.root.ruled {
            return;
        }
        if errors.list().iter().any(|it| BLOCKING.contains(&it.kind)) {
            let why = "some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
            errors.invalid(trail::root_path(), "null", why);
            return;
        }
        rules::judge_rules(&self.root, object, old, errors);
    }

    /// Elements that stand twice are let through where some stood twice before.
    fn validate_lists(&self, object: &Value, old: Option<&Value>, errors: &mut Errors) {
        let mut found = Errors::default();
        elements::judge_lists(&self.root, object, &Trail::ROOT, &mut found);
        if found.is_empty() {
            return;
        }
        let mut before = Errors::default();
        if let Some(old) = old {
            elements::judge_lists(&self.root, old, &Trail::ROOT, &mut before);
        }
        if before.is_empty() {
            errors.append(found);
        }
    }

    /// What a client is warned of that writes such a schema: formats that mean nothing.
    pub fn warnings(schema: &Value) -> Vec<String> {
        let mut out = Vec::new();
        form::note_formats(schema, &mut out);
        out
    }

    /// About how many bytes it takes in memory.
    pub fn size_bytes(&self) -> usize {
        self.root.size_bytes()
    }

    /// The schema of the whole object.
    pub fn root(&self) -> &Node {
        &self.root
    }
}

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;
