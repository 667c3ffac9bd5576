//! Access reviews: may somebody do something? `kubectl auth can-i` asks this.
//!
//! In: a `SelfSubjectAccessReview`, or a `SubjectAccessReview` that names whom it is about. Out: the same with the authorizer's answer in its
//! status. Nothing is stored. Source: `pkg/registry/authorization`.

use bytes::Bytes;
use http::StatusCode;
use orlop_api::field::Errors;
use orlop_api::status::{self, Status};
use serde::Deserialize;
use serde_json::Value;

use crate::present::{self, Response};
use crate::request::{Request, Verb};
use crate::stage::{Attributes, Authorized, Authorizer, Decision, Identity};
use crate::verbs::content;

const GROUP: &str = "authorization.k8s.io";
const API_VERSION: &str = "authorization.k8s.io/v1";

/// What a review asks about.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
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

/// The kind of review that a request is, if it is one.
pub fn kind_of(request: &Request) -> Option<&'static str> {
    if request.group != GROUP || request.version != "v1" || !request.subresource.is_empty() {
        return None;
    }
    match request.resource.as_str() {
        "selfsubjectaccessreviews" => Some("SelfSubjectAccessReview"),
        "subjectaccessreviews" => Some("SubjectAccessReview"),
        _ => None,
    }
}

/// Answers a review.
///
/// # Errors
/// `BadRequest` or `Invalid` for a body that is none.
pub fn serve(it: &Authorized, kind: &'static str, by: &dyn Authorizer, body: &Bytes) -> status::Result<Response> {
    if it.request().verb != Verb::Create {
        return Err(Status::method_not_allowed());
    }
    let mut review = content::value_of(it.request(), kind, API_VERSION, body)?;
    let spec: Spec = serde_json::from_value(review["spec"].clone()).map_err(|error| {
        Status::bad_request(format!("{kind} in version \"v1\" cannot be handled as a {kind}: json: {error}"))
    })?;
    check(&spec, kind)?;
    let other;
    let identity: &Identity = if kind == "SubjectAccessReview" {
        let groups: Vec<&str> = spec.groups.iter().map(String::as_str).collect();
        other = Identity::new(&spec.user, &groups);
        &other
    } else {
        it.identity()
    };
    let mut answer = serde_json::Map::new();
    match by.authorize(&attributes(&spec, identity)) {
        Decision::Allow => _ = answer.insert("allowed".into(), true.into()),
        Decision::Deny(why) => {
            answer.insert("allowed".into(), false.into());
            answer.insert("denied".into(), true.into());
            answer.insert("reason".into(), why.into());
        }
        Decision::NoOpinion(why) => {
            answer.insert("allowed".into(), false.into());
            if !why.is_empty() {
                answer.insert("reason".into(), why.into());
            }
        }
    }
    review["kind"] = kind.into();
    review["apiVersion"] = API_VERSION.into();
    if !review["metadata"].is_object() {
        review["metadata"] = Value::Object(serde_json::Map::new());
    }
    review["status"] = Value::Object(answer);
    present::encoded(
        StatusCode::CREATED,
        Bytes::from(review.to_string()),
        &it.request().accept,
        it.request().options.pretty,
    )
}

fn check(spec: &Spec, kind: &str) -> status::Result<()> {
    let mut errors = Errors::default();
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
    if kind == "SubjectAccessReview" && spec.user.is_empty() && spec.groups.is_empty() {
        errors.invalid("spec.user", "", "at least one of user or group must be specified");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid(GROUP, kind, "", &errors)) }
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

    #[test]
    fn a_review_asks_about_one_thing() {
        let spec = |text: &str| serde_json::from_str::<Spec>(text).unwrap();
        let (pods, path) = (r#""resourceAttributes":{"verb":"get"}"#, r#""nonResourceAttributes":{"path":"/x"}"#);
        assert!(check(&spec(&format!("{{{pods}}}")), "SelfSubjectAccessReview").is_ok());
        assert!(check(&spec(&format!("{{{path}}}")), "SelfSubjectAccessReview").is_ok());
        assert!(check(&spec(&format!("{{{pods},{path}}}")), "SelfSubjectAccessReview").is_err());
        assert!(check(&spec("{}"), "SelfSubjectAccessReview").is_err());
        assert!(check(&spec(&format!("{{{pods}}}")), "SubjectAccessReview").is_err());
        assert!(check(&spec(&format!("{{\"user\":\"ann\",{pods}}}")), "SubjectAccessReview").is_ok());
    }
}
