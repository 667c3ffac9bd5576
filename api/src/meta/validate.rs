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
const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Notes every mistake in an object's metadata.
pub fn validate(meta: &ObjectMeta, old: Option<&ObjectMeta>, kind: &Kind, rule: NameRule, errors: &mut Errors) {
    let path = Path::new("metadata");
    match old {
        None => validate_names(meta, kind, rule, &path, errors),
        Some(old) => validate_unchanged(meta, old, &path, errors),
    }
    if let Some(generation) = meta.generation.filter(|it| *it < 0) {
        errors.invalid(path.child("generation"), generation, "must be greater than or equal to 0");
    }
    validate_labels(meta.labels.as_ref(), &path.child("labels"), errors);
    validate_annotations(meta.annotations.as_ref(), &path.child("annotations"), errors);
    validate_owners(meta.owner_references.as_deref().unwrap_or_default(), &path.child("ownerReferences"), errors);
    validate_finalizers(meta, old, &path.child("finalizers"), errors);
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

fn validate_owners(owners: &[OwnerReference], path: &Path, errors: &mut Errors) {
    let mut controller: Option<String> = None;
    for (at, owner) in owners.iter().enumerate() {
        let path = path.index(at);
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
    }
    for owner in owners.iter().filter(|it| it.controller == Some(true)) {
        let this = format!("{}/{}", owner.kind, owner.name);
        match &controller {
            None => controller = Some(this),
            Some(first) => errors.invalid(
                path.clone(),
                owners,
                format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                ),
            ),
        }
    }
}

fn validate_finalizers(meta: &ObjectMeta, old: Option<&ObjectMeta>, path: &Path, errors: &mut Errors) {
    let finalizers = meta.finalizers.as_deref().unwrap_or_default();
    for (at, finalizer) in finalizers.iter().enumerate() {
        for complaint in name::qualified_name(finalizer) {
            errors.invalid(path.clone(), finalizer, complaint);
        }
        if old.is_none() && !finalizer.contains('/') && !STANDARD_FINALIZERS.contains(&finalizer.as_str()) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            errors.invalid(path.index(at), finalizer, why);
        }
    }
    let has = |wanted: &str| finalizers.iter().any(|it| it == wanted);
    if has(ORPHAN) && has(FOREGROUND) {
        let why = format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set");
        errors.invalid(path.clone(), finalizers, why);
    }
    let Some(old) = old.filter(|it| it.deletion_timestamp.is_some()) else { return };
    let before: BTreeSet<&String> = old.finalizers.iter().flatten().collect();
    let added: BTreeSet<&String> = finalizers.iter().filter(|it| !before.contains(it)).collect();
    if !added.is_empty() {
        let texts: Vec<String> = added.into_iter().map(|it| format!("{it:?}")).collect();
        errors.forbidden(
            path.clone(),
            format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                texts.join(", ")
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
                "metadata.ownerReferences[2].apiVersion: Invalid value: \"\": version must not be empty",
                "metadata.ownerReferences[2].kind: Invalid value: \"\": must not be empty",
                "metadata.ownerReferences: Invalid value: [{",
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
