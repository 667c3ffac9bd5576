//! Reviews: questions that are created, answered and not kept. `kubectl auth can-i` and `kubectl auth whoami` ask them.
//!
//! In: one of [`orlop_api::review::REVIEWS`] with its `spec`. Out: the same with the answer in its status. Source: `pkg/registry/authorization`
//! and `pkg/registry/authentication`.

mod access;
mod identity;
mod rules;

use bytes::Bytes;
use http::StatusCode;
use orlop_api::kind::{Body, Scope};
use orlop_api::review::{self, Review};
use orlop_api::status::{self, Status};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::present::{self, Response};
use crate::request::accept::Form;
use crate::request::{Request, Verb};
use crate::stage::{Authenticator, Authorized, Authorizer};
use crate::verbs::content;

/// The review that a request asks for, if it is one.
pub fn asked(request: &Request) -> Option<&'static Review> {
    // Most requests are for kinds, of which none is a review.
    if request.kind.is_some() || !request.subresource.is_empty() {
        return None;
    }
    review::find(&request.group, &request.version, &request.resource)
}

/// Answers a review.
///
/// # Errors
/// `BadRequest` or `Invalid` for a body that is none, `NotFound` for one in a namespace where there should be none.
pub fn serve(
    it: &Authorized,
    review: &'static Review,
    authenticator: &dyn Authenticator,
    authorizer: &dyn Authorizer,
    body: &Bytes,
) -> status::Result<Response> {
    let request = it.request();
    if (review.scope == Scope::Namespaced) == request.namespace.is_empty() {
        return Err(Status::no_such_path());
    }
    if request.verb != Verb::Create || !request.name.is_empty() {
        return Err(Status::method_not_allowed());
    }
    // An answer has no metadata that a row could show.
    if request.accept.form == Form::Table {
        return Err(request.accept.refusal(false));
    }
    let mut answer = match content::object_of(request, review.kind, &review.api_version(), body)? {
        Body::Bytes(bytes) => serde_json::from_slice(bytes).map_err(|error| unreadable(review, &error))?,
        other => other.value()?,
    };
    if !answer["metadata"].is_object() {
        answer["metadata"] = json!({});
    }
    answer["kind"] = review.kind.into();
    answer["apiVersion"] = review.api_version().into();
    match review.kind {
        "SelfSubjectReview" => identity::own(it.identity(), &mut answer),
        "TokenReview" => identity::of_token(authenticator, spec(review, &answer)?, &mut answer)?,
        "SelfSubjectRulesReview" => rules::answer(it.identity(), authorizer, &spec(review, &answer)?, &mut answer)?,
        _ => access::answer(it, review, authorizer, &spec(review, &answer)?, &mut answer)?,
    }
    let json = Bytes::from(answer.to_string());
    present::encoded(StatusCode::CREATED, json, &request.accept, request.options.pretty)
}

/// What a review asks.
fn spec<T: DeserializeOwned + Default>(review: &Review, answer: &Value) -> status::Result<T> {
    match &answer["spec"] {
        Value::Null => Ok(T::default()),
        spec => T::deserialize(spec).map_err(|error| unreadable(review, &error)),
    }
}

fn unreadable(review: &Review, error: &serde_json::Error) -> Status {
    let (kind, version) = (review.kind, review.version);
    Status::bad_request(format!("{kind} in version {version:?} cannot be handled as a {kind}: json: {error}"))
}
