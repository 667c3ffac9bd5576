//! What may stand in a CustomResourceDefinition.
//!
//! Kubernetes checks an internal form in which what is the same in all versions stands once, at the top: so do the paths of mistakes
//! (`spec.validation.openAPIV3Schema` where there is one version). Source: `pkg/apis/apiextensions/validation/validation.go`.

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames, CustomResourceDefinitionSpec,
};

use super::{approval, conversion_rules, version_rules};
use crate::field::{Errors, Path};
use crate::kinds::checks;
use crate::name;

/// Notes every mistake but those of the metadata.
pub fn validate(it: &CustomResourceDefinition, old: Option<&CustomResourceDefinition>, errors: &mut Errors) {
    let spec = &it.spec;
    if old.is_none() {
        let given = it.metadata.name.as_deref().unwrap_or_default();
        if given != format!("{}.{}", spec.names.plural, spec.group) {
            errors.invalid("metadata.name", given, "must be spec.names.plural+\".\"+spec.group");
        }
    }
    validate_spec(spec, old, errors);
    if let Some(old) = old {
        let was = &old.spec;
        if is_established(old) {
            checks::immutable(&spec.scope, &was.scope, "spec.scope", errors);
            checks::immutable(&spec.names.kind, &was.names.kind, "spec.names.kind", errors);
        }
        checks::immutable(&spec.group, &was.group, "spec.group", errors);
        checks::immutable(&spec.names.plural, &was.names.plural, "spec.names.plural", errors);
    }
    if let Some(names) = it.status.as_ref().and_then(|it| it.accepted_names.as_ref()) {
        validate_names(names, "status.acceptedNames", errors);
    }
    validate_stored(it, errors);
    approval::validate(it, old, errors);
    let preserved_before = old.is_some_and(|it| it.spec.preserve_unknown_fields == Some(true));
    if spec.preserve_unknown_fields == Some(true) && !preserved_before {
        errors.invalid(
            "spec.preserveUnknownFields",
            true,
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead",
        );
    }
}

fn is_established(it: &CustomResourceDefinition) -> bool {
    let conditions = it.status.as_ref().and_then(|it| it.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == "Established" && it.status == "True")
}

fn validate_spec(spec: &CustomResourceDefinitionSpec, old: Option<&CustomResourceDefinition>, errors: &mut Errors) {
    match &*spec.group {
        "" => errors.required("spec.group", ""),
        group => {
            let complaints = name::dns1123_subdomain(group);
            if !complaints.is_empty() {
                errors.invalid("spec.group", group, joined(complaints));
            } else if !group.contains('.') {
                errors.invalid("spec.group", group, "should be a domain with at least one dot");
            }
        }
    }
    checks::one_of(Some(&*spec.scope), &["Cluster", "Namespaced"], || "spec.scope".into(), errors);
    for (at, version) in spec.versions.iter().enumerate() {
        if version.schema.as_ref().is_none_or(|it| it.open_api_v3_schema.is_none()) {
            errors.required(format!("spec.versions[{at}].schema.openAPIV3Schema").as_str(), "schemas are required");
        }
    }
    version_rules::validate(spec, old.map(|it| &it.spec), errors);
    let names: BTreeSet<&String> = spec.versions.iter().map(|it| &it.name).collect();
    if names.len() < spec.versions.len() {
        errors.invalid("spec.versions", &spec.versions, "must contain unique version names");
    }
    if spec.versions.iter().filter(|it| it.storage).count() != 1 {
        errors.invalid("spec.versions", &spec.versions, "must have exactly one version marked as storage version");
    }
    let names = &spec.names;
    let none = String::new();
    let required = [
        ("plural", &names.plural),
        ("singular", names.singular.as_ref().unwrap_or(&none)),
        ("kind", &names.kind),
        ("listKind", names.list_kind.as_ref().unwrap_or(&none)),
    ];
    for (field, value) in required {
        if value.is_empty() {
            errors.required(format!("spec.names.{field}").as_str(), "");
        }
    }
    validate_names(names, "spec.names", errors);
    if let Some(conversion) = &spec.conversion {
        conversion_rules::validate(conversion, old, errors);
    }
}

pub(super) fn joined(complaints: name::Complaints) -> String {
    let texts: Vec<String> = complaints.into_iter().map(|it| it.to_string()).collect();
    texts.join(",")
}

/// Notes names that are none.
pub fn validate_names(names: &CustomResourceDefinitionNames, path: &str, errors: &mut Errors) {
    let path = Path::new(path);
    let none = String::new();
    let label = |value: &str, at: Path, before: &str, errors: &mut Errors| {
        let complaints = name::dns1035_label(&if before.is_empty() { value.to_owned() } else { value.to_lowercase() });
        if !value.is_empty() && !complaints.is_empty() {
            errors.invalid(at, value, format!("{before}{}", joined(complaints)));
        }
    };
    let (singular, list_kind) = (names.singular.as_ref().unwrap_or(&none), names.list_kind.as_ref().unwrap_or(&none));
    const MIXED: &str = "may have mixed case, but should otherwise match: ";
    label(&names.plural, path.child("plural"), "", errors);
    label(singular, path.child("singular"), "", errors);
    label(&names.kind, path.child("kind"), MIXED, errors);
    label(list_kind, path.child("listKind"), MIXED, errors);
    for (at, short) in names.short_names.iter().flatten().enumerate() {
        let complaints = name::dns1035_label(short);
        if !complaints.is_empty() {
            errors.invalid(path.child("shortNames").index(at), short, joined(complaints));
        }
    }
    if !names.kind.is_empty() && names.kind == *list_kind {
        errors.invalid(path.child("listKind"), list_kind, "kind and listKind may not be the same");
    }
    for (at, category) in names.categories.iter().flatten().enumerate() {
        let complaints = name::dns1035_label(category);
        if !complaints.is_empty() {
            errors.invalid(path.child("categories").index(at), category, joined(complaints));
        }
    }
}

/// A version in whose form objects may be stored must stay.
fn validate_stored(it: &CustomResourceDefinition, errors: &mut Errors) {
    const PATH: &str = "status.storedVersions";
    let none = Vec::new();
    let stored = it.status.as_ref().and_then(|it| it.stored_versions.as_ref()).unwrap_or(&none);
    if stored.is_empty() {
        errors.invalid(PATH, stored, "must have at least one stored version");
        return;
    }
    for version in it.spec.versions.iter().filter(|it| it.storage && !stored.contains(&it.name)) {
        errors.invalid(PATH, stored, format!("must have the storage version {}", version.name));
    }
    for (at, version) in stored.iter().enumerate() {
        if !it.spec.versions.iter().any(|it| it.name == *version) {
            errors.invalid(
                Path::new(PATH).index(at),
                version,
                format!("missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions until a storage migration ensures no data remains persisted in {version} and removes {version} from status.storedVersions"),
            );
        }
    }
}
