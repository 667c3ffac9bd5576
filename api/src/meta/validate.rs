//! Which metadata is a mistake: names, labels, annotations, finalizers, owners, and what may never change.
//!
//! Source: `k8s.io/apimachinery/pkg/api/validation/objectmeta.go`, whose order and words these are.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::field::{Errors, Path};
use crate::kind::{Kind, Scope};
use crate::name::{self, NameRule};

/// The most that all annotations of an object may take, keys and values together: 256 KiB.
pub const ANNOTATIONS_LIMIT_BYTES: usize = 256 * 1024;

/// Finalizers that need no prefix.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", ORPHAN, FOREGROUND];
/// The group of definitions.
const APIEXTENSIONS: &str = "apiextensions.k8s.io";
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Notes every mistake in an object's metadata.
pub fn validate(meta: &ObjectMeta, old: Option<&ObjectMeta>, kind: &Kind, rule: NameRule, errors: &mut Errors) {
    let path = Path::new("metadata");
    match old {
        None => validate_names(meta, kind, rule, &path, errors),
        Some(old) => {
            validate_no_new_finalizers(meta, old, || path.child("finalizers"), errors);
            validate_unchanged(meta, old, &path, errors);
        }
    }
    if let Some(generation) = meta.generation.filter(|it| *it < 0) {
        errors.invalid(path.child("generation"), generation, "must be greater than or equal to 0");
    }
    if meta.labels.is_some() {
        validate_labels(meta.labels.as_ref(), &path.child("labels"), errors);
    }
    if meta.annotations.is_some() {
        validate_annotations(meta.annotations.as_ref(), &path.child("annotations"), errors);
    }
    if let Some(owners) = &meta.owner_references {
        validate_owners(owners, &path.child("ownerReferences"), errors);
    }
    if let Some(finalizers) = &meta.finalizers {
        let path = path.child("finalizers");
        validate_finalizers(finalizers, &path, errors);
        // Definitions and their objects are checked by the machinery's rules, which know no standard finalizers.
        if kind.custom.is_none() && kind.group != APIEXTENSIONS {
            for (at, finalizer) in finalizers.iter().enumerate() {
                validate_prefixed(finalizer, || path.index(at), errors);
            }
        }
    }
}

fn validate_names(meta: &ObjectMeta, kind: &Kind, rule: NameRule, path: &Path, errors: &mut Errors) {
    if let Some(base) = meta.generate_name.as_deref().filter(|it| !it.is_empty()) {
        for complaint in rule.check(base, true) {
            errors.invalid(path.child("generateName"), base, complaint);
        }
    }
    match meta.name.as_deref().unwrap_or_default() {
        "" => errors.required(path.child("name"), "name or generateName is required"),
        given => {
            for complaint in rule.check(given, false) {
                errors.invalid(path.child("name"), given, complaint);
            }
        }
    }
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    match kind.scope {
        Scope::Cluster if namespace.is_empty() => {}
        Scope::Cluster => errors.forbidden(path.child("namespace"), "not allowed on this type"),
        Scope::Namespaced if namespace.is_empty() => errors.required(path.child("namespace"), ""),
        Scope::Namespaced => {
            for complaint in name::dns1123_label(namespace) {
                errors.invalid(path.child("namespace"), namespace, complaint);
            }
        }
    }
}

/// What a client may set once or never. Name, uid and creation time have been kept from the old object before.
fn validate_unchanged(meta: &ObjectMeta, old: &ObjectMeta, path: &Path, errors: &mut Errors) {
    if meta.deletion_timestamp != old.deletion_timestamp {
        errors.invalid(path.child("deletionTimestamp"), &meta.deletion_timestamp, "field is immutable");
    }
    if meta.deletion_grace_period_seconds != old.deletion_grace_period_seconds {
        let given = meta.deletion_grace_period_seconds;
        errors.invalid(path.child("deletionGracePeriodSeconds"), given, "field is immutable");
    }
    if meta.namespace != old.namespace {
        errors.invalid(path.child("namespace"), &meta.namespace, "field is immutable");
    }
}

/// Notes every mistake in the labels of an object or of a template.
pub fn validate_labels(labels: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut Errors) {
    for (key, value) in labels.into_iter().flatten() {
        for complaint in name::qualified_name(key) {
            errors.invalid(path.clone(), key, complaint);
        }
        for complaint in name::label_value(value) {
            errors.invalid(path.clone(), value, complaint);
        }
    }
}

/// Notes every mistake in the annotations of an object or of a template.
pub fn validate_annotations(annotations: Option<&BTreeMap<String, String>>, path: &Path, errors: &mut Errors) {
    let mut bytes = 0;
    for (key, value) in annotations.into_iter().flatten() {
        // Unlike those of labels, the prefixes of annotations may have capital letters.
        for complaint in name::qualified_name(&key.to_lowercase()) {
            errors.invalid(path.clone(), key, complaint);
        }
        bytes += key.len() + value.len();
    }
    if bytes > ANNOTATIONS_LIMIT_BYTES {
        errors.too_long(path.clone(), ANNOTATIONS_LIMIT_BYTES);
    }
}

/// The mistakes of one owner are told at the list, as Kubernetes tells them.
fn validate_owners(owners: &[OwnerReference], path: &Path, errors: &mut Errors) {
    let mut controller: Option<&OwnerReference> = None;
    for owner in owners {
        let version = owner.api_version.rsplit('/').next().unwrap_or_default();
        if version.is_empty() {
            errors.invalid(path.child("apiVersion"), &owner.api_version, "version must not be empty");
        }
        for (field, value) in [("kind", &owner.kind), ("name", &owner.name), ("uid", &owner.uid)] {
            if value.is_empty() {
                errors.invalid(path.child(field), value, "must not be empty");
            }
        }
        if owner.api_version == "v1" && owner.kind == "Event" {
            errors.invalid(path.clone(), owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.controller != Some(true) {
            continue;
        }
        let Some(first) = controller else {
            controller = Some(owner);
            continue;
        };
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {}/{} and {}/{}",
            first.kind, first.name, owner.kind, owner.name
        );
        errors.invalid(path.clone(), owners, why);
    }
}

fn validate_finalizers(finalizers: &[String], path: &Path, errors: &mut Errors) {
    for finalizer in finalizers {
        for complaint in name::qualified_name(finalizer) {
            errors.invalid(path.clone(), finalizer, complaint);
        }
    }
    let has = |wanted: &str| finalizers.iter().any(|it| it == wanted);
    if has(ORPHAN) && has(FOREGROUND) {
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.invalid(path.clone(), finalizers, why);
    }
}

/// Notes every mistake in one finalizer.
pub fn validate_finalizer(finalizer: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    for complaint in name::qualified_name(finalizer) {
        errors.invalid(path(), finalizer, complaint);
    }
    validate_prefixed(finalizer, path, errors);
}

fn validate_prefixed(finalizer: &str, path: impl Fn() -> Path, errors: &mut Errors) {
    if !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer) {
        let why = "name is neither a standard finalizer name nor is it fully qualified";
        errors.invalid(path(), finalizer, why);
    }
}

fn validate_no_new_finalizers(meta: &ObjectMeta, old: &ObjectMeta, path: impl Fn() -> Path, errors: &mut Errors) {
    if old.deletion_timestamp.is_none() || meta.finalizers.is_none() {
        return;
    }
    let before: BTreeSet<&String> = old.finalizers.iter().flatten().collect();
    let added: BTreeSet<&String> = meta.finalizers.iter().flatten().filter(|it| !before.contains(it)).collect();
    if !added.is_empty() {
        let texts: Vec<String> = added.into_iter().map(|it| format!("{it:?}")).collect();
        let texts = texts.join(", ");
        errors.forbidden(
            path(),
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{texts}}}"
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::KINDS;
    use serde_json::{Value, json};

    fn check(new: Value, old: Option<Value>, expected: &[&str]) {
        let kind = KINDS.iter().find(|it| it.kind == "ConfigMap").unwrap();
        let new: ObjectMeta = serde_json::from_value(new).unwrap();
        let old: Option<ObjectMeta> = old.map(|it| serde_json::from_value(it).unwrap());
        let mut errors = Errors::default();
        validate(&new, old.as_ref(), kind, NameRule::Subdomain, &mut errors);
        let texts: Vec<String> = errors.list().iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), expected.len(), "{texts:?}");
        for (text, start) in texts.iter().zip(expected) {
            assert!(text.starts_with(start), "{text} does not start with {start}");
        }
    }

    #[test]
    fn names_what_is_wrong_in_new_objects() {
        check(
            json!({"name": "a", "namespace": "d", "labels": {"a": "b"}, "finalizers": ["orphan", "x.io/y"]}),
            None,
            &[],
        );
        check(json!({"namespace": "d"}), None, &["metadata.name: Required value: name or generateName is required"]);
        check(
            json!({"name": "A", "namespace": "d", "labels": {"-": "-"}, "annotations": {"A.io/x": "", "": ""}}),
            None,
            &[
                "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain",
                "metadata.labels: Invalid value: \"-\": name part must consist",
                "metadata.labels: Invalid value: \"-\": a valid label must be",
                "metadata.annotations: Invalid value: \"\": name part must be non-empty",
                "metadata.annotations: Invalid value: \"\": name part must consist",
            ],
        );
        let long = "x".repeat(ANNOTATIONS_LIMIT_BYTES);
        check(
            json!({"name": "a", "namespace": "d", "annotations": {"k": long}}),
            None,
            &["metadata.annotations: Too long: may not be more than 262144 bytes"],
        );
        let owner = |name: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "u", "controller": true});
        check(
            json!({"name": "a", "namespace": "d", "ownerReferences": [owner("x"), owner("y"), {"apiVersion": "", "kind": "", "name": "n", "uid": "u"}], "finalizers": ["mine"]}),
            None,
            &[
                "metadata.ownerReferences: Invalid value: [{",
                "metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty",
                "metadata.ownerReferences.kind: Invalid value: \"\": must not be empty",
                "metadata.finalizers[0]: Invalid value: \"mine\": name is neither a standard",
            ],
        );
    }

    #[test]
    fn keeps_what_may_not_change() {
        let old = json!({"name": "a", "namespace": "d", "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x.io/a"]});
        let mut new = old.clone();
        new["finalizers"] = json!(["x.io/a", "x.io/c", "x.io/b"]);
        check(
            new,
            Some(old),
            &[
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"x.io/b\", \"x.io/c\"}",
            ],
        );
        check(
            json!({"name": "a", "namespace": "d", "deletionTimestamp": "2026-01-01T00:00:00Z"}),
            Some(json!({"name": "a", "namespace": "d"})),
            &["metadata.deletionTimestamp: Invalid value: \"2026-01-01T00:00:00Z\": field is immutable"],
        );
    }
}
