//! Access reviews: may somebody do something? One's own, anybody's, and anybody's in one namespace.

use std::collections::BTreeMap;

use orlop_api::field::{Errors, Path};
use orlop_api::review::Review;
use orlop_api::status::{self, Status};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::stage::{Attributes, Authorized, Authorizer, Decision, Identity};

/// How a field or label may be compared.
const OPERATORS: [&str; 4] = ["DoesNotExist", "Exists", "In", "NotIn"];

/// What a review asks about.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    user: String,
    groups: Vec<String>,
    uid: String,
    extra: BTreeMap<String, Vec<String>>,
    resource_attributes: Option<OfResource>,
    non_resource_attributes: Option<OfPath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OfResource {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
    field_selector: Option<Narrowed>,
    label_selector: Option<Narrowed>,
}

/// What of a list or watch is asked about (KEP-4601).
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Narrowed {
    raw_selector: String,
    requirements: Vec<Requirement>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Requirement {
    key: String,
    operator: String,
    values: Vec<String>,
}

impl Narrowed {
    fn check(&self, path: &Path, errors: &mut Errors) {
        if !self.raw_selector.is_empty() && !self.requirements.is_empty() {
            let why = "may not specified at the same time as requirements";
            errors.invalid(path.child("rawSelector"), &self.raw_selector, why);
        }
        if self.raw_selector.is_empty() && self.requirements.is_empty() {
            let why = format!("when {path} is specified, requirements or rawSelector is required");
            errors.required(path.child("requirements"), why);
        }
        for (index, it) in self.requirements.iter().enumerate() {
            let path = path.child("requirements").index(index);
            if it.key.is_empty() {
                errors.required(path.child("key"), "must be specified");
            }
            match it.operator.as_str() {
                "In" | "NotIn" if it.values.is_empty() => {
                    let why = "must be specified when `operator` is 'In' or 'NotIn'";
                    errors.required(path.child("values"), why);
                }
                "Exists" | "DoesNotExist" if !it.values.is_empty() => {
                    let why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                    errors.forbidden(path.child("values"), why);
                }
                "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
                other => errors.not_supported(path.child("operator"), other, &OPERATORS),
            }
        }
    }

    /// The part of it that a selector of a request can say in its simplest form; what it cannot narrows nothing.
    fn text(&self) -> String {
        if !self.raw_selector.is_empty() {
            return self.raw_selector.clone();
        }
        let terms = self.requirements.iter().filter_map(|it| match (it.operator.as_str(), it.values.as_slice()) {
            ("In", [value]) => Some(format!("{}={value}", it.key)),
            ("NotIn", [value]) => Some(format!("{}!={value}", it.key)),
            _ => None,
        });
        terms.collect::<Vec<_>>().join(",")
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OfPath {
    path: String,
    verb: String,
}

/// Asks the authorizer.
///
/// # Errors
/// `Invalid` for a review that asks about nothing, or about two things.
pub fn answer(
    it: &Authorized,
    review: &Review,
    by: &dyn Authorizer,
    spec: &Spec,
    answer: &mut Value,
) -> status::Result<()> {
    let namespace = it.request().namespace.as_str();
    if review.kind == "LocalSubjectAccessReview" {
        answer["metadata"]["namespace"] = namespace.into();
    }
    check(spec, review, namespace)?;
    let other;
    let identity: &Identity = if review.kind == "SelfSubjectAccessReview" {
        it.identity()
    } else {
        // Exactly the groups that are named, so that one may ask about those who are not authenticated, too.
        let (user, uid) = (spec.user.clone(), spec.uid.clone());
        other = Identity { user, uid, groups: spec.groups.clone(), extra: spec.extra.clone() };
        &other
    };
    let of = spec.resource_attributes.as_ref();
    let text = |it: Option<&Narrowed>| it.map(Narrowed::text).unwrap_or_default();
    let fields = text(of.and_then(|it| it.field_selector.as_ref()));
    let labels = text(of.and_then(|it| it.label_selector.as_ref()));
    let attributes = Attributes { field_selector: &fields, label_selector: &labels, ..attributes(spec, identity) };
    answer["status"] = Value::Object(told(by.authorize(&attributes)));
    Ok(())
}

fn told(decision: Decision) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("allowed".into(), (decision == Decision::Allow).into());
    match decision {
        Decision::Allow => {}
        Decision::Deny(why) => {
            out.insert("denied".into(), true.into());
            out.insert("reason".into(), why.into());
        }
        Decision::NoOpinion(why) => {
            if !why.is_empty() {
                out.insert("reason".into(), why.into());
            }
        }
    }
    out
}

fn check(spec: &Spec, review: &Review, namespace: &str) -> status::Result<()> {
    let mut errors = Errors::default();
    let local = review.kind == "LocalSubjectAccessReview";
    match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(_), Some(_)) => errors.invalid(
            "spec.nonResourceAttributes",
            "",
            "cannot be specified in combination with resourceAttributes",
        ),
        (None, None) => errors.invalid(
            "spec.resourceAttributes",
            Value::Null,
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        _ => {}
    }
    if let Some(of) = &spec.resource_attributes {
        let path = Path::new("spec").child("resourceAttributes");
        for (name, selector) in [("fieldSelector", &of.field_selector), ("labelSelector", &of.label_selector)] {
            if let Some(selector) = selector {
                selector.check(&path.child(name), &mut errors);
            }
        }
    }
    if review.kind != "SelfSubjectAccessReview" && spec.user.is_empty() && spec.groups.is_empty() {
        errors.invalid("spec.user", "", "at least one of user or group must be specified");
    }
    if local {
        if let Some(of) = spec.resource_attributes.as_ref().filter(|it| it.namespace != namespace) {
            errors.invalid("spec.resourceAttributes.namespace", &of.namespace, "must match metadata.namespace");
        }
        if spec.non_resource_attributes.is_some() {
            errors.invalid("spec.nonResourceAttributes", "", "disallowed on this kind of request");
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(review.group, review.kind, "", &errors)) }
}

fn attributes<'a>(spec: &'a Spec, identity: &'a Identity) -> Attributes<'a> {
    let nothing = Attributes {
        identity,
        verb: "",
        resource_request: false,
        group: "",
        version: "",
        resource: "",
        subresource: "",
        namespace: "",
        name: "",
        path: "",
        field_selector: "",
        label_selector: "",
    };
    match (&spec.resource_attributes, &spec.non_resource_attributes) {
        (Some(of), _) => Attributes {
            verb: &of.verb,
            resource_request: true,
            group: &of.group,
            version: &of.version,
            resource: &of.resource,
            subresource: &of.subresource,
            namespace: &of.namespace,
            name: &of.name,
            ..nothing
        },
        (None, Some(of)) => Attributes { verb: &of.verb, path: &of.path, ..nothing },
        (None, None) => nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_api::review;

    #[track_caller]
    fn refused(plural: &str, spec: &str) -> bool {
        let review = review::find("authorization.k8s.io", "v1", plural).unwrap();
        check(&serde_json::from_str(spec).unwrap(), review, "d").is_err()
    }

    #[test]
    fn a_review_asks_about_one_thing() {
        let (pods, path) = (r#""resourceAttributes":{"verb":"get"}"#, r#""nonResourceAttributes":{"path":"/x"}"#);
        let own = "selfsubjectaccessreviews";
        assert!(!refused(own, &format!("{{{pods}}}")));
        assert!(!refused(own, &format!("{{{path}}}")));
        assert!(refused(own, &format!("{{{pods},{path}}}")));
        assert!(refused(own, "{}"));
        assert!(refused("subjectaccessreviews", &format!("{{{pods}}}")));
        assert!(!refused("subjectaccessreviews", &format!("{{\"user\":\"ann\",{pods}}}")));
        let local = "localsubjectaccessreviews";
        assert!(refused(local, &format!("{{\"user\":\"ann\",{pods}}}")));
        assert!(refused(local, &format!("{{\"user\":\"ann\",{path}}}")));
        assert!(!refused(local, r#"{"user":"ann","resourceAttributes":{"verb":"get","namespace":"d"}}"#));
    }
}
