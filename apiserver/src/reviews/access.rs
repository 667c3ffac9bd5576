//! Access reviews: may somebody do something? One's own, anybody's, and anybody's in one namespace.

use orlop_api::field::Errors;
use orlop_api::review::Review;
use orlop_api::status::{self, Status};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::stage::{Attributes, Authorized, Authorizer, Decision, Identity};

/// What a review asks about.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    user: String,
    groups: Vec<String>,
    resource_attributes: Option<OfResource>,
    non_resource_attributes: Option<OfPath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OfResource {
    namespace: String,
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    name: String,
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
        let groups: Vec<&str> = spec.groups.iter().map(String::as_str).collect();
        other = Identity::new(&spec.user, &groups);
        &other
    };
    answer["status"] = Value::Object(told(by.authorize(&attributes(spec, identity))));
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
