//! Whether a definition in one of Kubernetes' own groups was approved (KEP-1111): an annotation says where, or that it was not.
//!
//! Source: `k8s.io/apiextensions-apiserver/pkg/apihelpers`, GetAPIApprovalState.

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use crate::field::Errors;

/// Where the approval stands.
pub const ANNOTATION: &str = "api-approved.kubernetes.io";

const PULL_REQUEST: &str = "https://github.com/kubernetes/enhancements/pull/1111";

/// What an annotation says: the reason of the condition, whether it conforms, and in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    pub reason: &'static str,
    pub conforms: bool,
    pub message: String,
}

/// What is to be said of a definition's approval; none where the group is nobody's but its owner's.
pub fn approval(group: &str, annotations: Option<&BTreeMap<String, String>>) -> Option<Approval> {
    let protected = ["k8s.io", "kubernetes.io"]
        .into_iter()
        .any(|it| group == it || group.strip_suffix(it).is_some_and(|before| before.ends_with('.')));
    if !protected {
        return None;
    }
    let given = annotations.and_then(|it| it.get(ANNOTATION)).map_or("", String::as_str);
    let has_host = given.split_once("://").is_some_and(|(scheme, rest)| {
        let letters = scheme.bytes().all(|it| it.is_ascii_alphanumeric() || b"+-.".contains(&it));
        !scheme.is_empty() && letters && !rest.split(['/', '?', '#']).next().unwrap_or_default().is_empty()
    });
    let (reason, message) = match given {
        "" => (
            "MissingAnnotation",
            format!("protected groups must have approval annotation {ANNOTATION:?}, see {PULL_REQUEST}"),
        ),
        given if given.starts_with("unapproved") => ("UnapprovedAnnotation", format!("not approved: {given:?}")),
        given if has_host => ("ApprovedAnnotation", format!("approved in {given}")),
        _ => (
            "InvalidAnnotation",
            format!(
                "protected groups must have approval annotation {ANNOTATION:?} with either a URL or a reason starting with \"unapproved\", see {PULL_REQUEST}"
            ),
        ),
    };
    Some(Approval { reason, conforms: reason == "ApprovedAnnotation", message })
}

/// Refuses what is not approved, but not where it was there before.
pub fn validate(definition: &CustomResourceDefinition, old: Option<&CustomResourceDefinition>, errors: &mut Errors) {
    let of = |it: &CustomResourceDefinition| approval(&it.spec.group, it.metadata.annotations.as_ref());
    let Some(now) = of(definition) else { return };
    if old.is_some_and(|old| of(old).is_some_and(|it| it.reason == now.reason)) {
        return;
    }
    let path = format!("metadata.annotations[{ANNOTATION}]");
    let given = definition.metadata.annotations.as_ref().and_then(|it| it.get(ANNOTATION));
    match now.reason {
        "MissingAnnotation" => errors.required(path.as_str(), now.message),
        "InvalidAnnotation" => errors.invalid(path.as_str(), given, now.message),
        _ => {}
    }
}
