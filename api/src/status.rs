//! The `Status` that answers a failed request: Kubernetes' reasons, codes, messages and causes.
//!
//! [`Status`] is the one error type that crosses the API. It is made where the mistake is found and encoded where the
//! response is written; nothing between the two knows HTTP. Source: `k8s.io/apimachinery/pkg/api/errors`.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::field;

/// Why a request failed, in Kubernetes' words. The code that goes with each is [`Reason::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    BadRequest,
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    NotAcceptable,
    AlreadyExists,
    Conflict,
    Gone,
    Expired,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    Invalid,
    TooManyRequests,
    InternalError,
    ServiceUnavailable,
    ServerTimeout,
    Timeout,
    /// A failure for which Kubernetes has no word: the field is left out.
    #[serde(rename = "")]
    Unknown,
}

impl Reason {
    /// The HTTP status code that Kubernetes sends with this reason.
    pub const fn code(self) -> u16 {
        match self {
            Reason::BadRequest => 400,
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::InternalError | Reason::ServerTimeout | Reason::Unknown => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }
}

/// One cause among several of a failure: which field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// `FieldValueInvalid`, `FieldValueRequired`, `FieldManagerConflict` and so on.
    pub reason: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// What the failure is about: the object, and the causes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource's plural name, or the kind for `Invalid`, as Kubernetes has it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
    /// Where a list whose token has expired may go on, inconsistently. Encoded as `metadata.continue`.
    #[serde(skip)]
    pub continue_token: String,
}

fn is_zero(it: &u32) -> bool {
    *it == 0
}

/// A failed request, as the client reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    pub reason: Reason,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// Code and reason where somebody else has chosen them: a webhook.
    pub given: Option<Box<(u16, String)>>,
}

/// The result of anything a client may ask for.
pub type Result<T> = std::result::Result<T, Status>;

/// A resource as messages name it: `pods`, `deployments.apps`.
pub fn qualified(group: &str, resource: &str) -> String {
    if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") }
}

impl Status {
    /// A failure without details.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Status { reason, message: message.into(), details: None, given: None }
    }

    /// The HTTP status code.
    pub fn code(&self) -> u16 {
        self.given.as_ref().map_or(self.reason.code(), |it| it.0)
    }

    /// The same failure with a code and a reason that somebody else has chosen.
    pub fn with_code(mut self, code: u16, reason: impl Into<String>) -> Self {
        self.given = Some(Box::new((code, reason.into())));
        self
    }

    fn about(reason: Reason, group: &str, resource: &str, name: &str, message: String) -> Self {
        let details = Details { name: name.into(), group: group.into(), kind: resource.into(), ..Details::default() };
        Status { reason, message, details: Some(Box::new(details)), given: None }
    }

    /// `pods "web" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, resource));
        Self::about(Reason::NotFound, group, resource, name, message)
    }

    /// A path that names no resource: `the server could not find the requested resource`.
    pub fn no_such_path() -> Self {
        Self::new(Reason::NotFound, "the server could not find the requested resource").with_details(Details::default())
    }

    /// `pods "web" already exists`.
    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, resource));
        Self::about(Reason::AlreadyExists, group, resource, name, message)
    }

    /// `Operation cannot be fulfilled on pods "web": <why>`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(group, resource));
        Self::about(Reason::Conflict, group, resource, name, message)
    }

    /// The conflict of an update whose `resourceVersion` is not the current one.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        Self::conflict(
            group,
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// `pods "web" is forbidden: <why>`, or without a name `pods is forbidden: <why>`.
    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        let subject = if name.is_empty() {
            qualified(group, resource)
        } else {
            format!("{} \"{name}\"", qualified(group, resource))
        };
        Self::about(Reason::Forbidden, group, resource, name, format!("{subject} is forbidden: {why}"))
    }

    /// `Unauthorized`: no credentials, or such as nobody issued.
    pub fn unauthorized() -> Self {
        Self::new(Reason::Unauthorized, "Unauthorized")
    }

    /// A request the server cannot make sense of.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    /// `Pod "web" is invalid: spec.containers: Required value`: one cause per field error, in their order; the message says each text once.
    pub fn invalid(group: &str, kind: &str, name: &str, errors: &field::Errors) -> Self {
        let subject = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        // A hostile object may have a hundred thousand mistakes: the texts are not compared each with each.
        let all: Vec<String> = errors.list().iter().map(ToString::to_string).collect();
        let mut seen = HashSet::with_capacity(all.len());
        let texts: Vec<&str> = all.iter().map(String::as_str).filter(|it| seen.insert(*it)).collect();
        let message = match texts.as_slice() {
            [] => format!("{subject} \"{name}\" is invalid"),
            [only] => format!("{subject} \"{name}\" is invalid: {only}"),
            many => format!("{subject} \"{name}\" is invalid: [{}]", many.join(", ")),
        };
        let mut it = Self::about(Reason::Invalid, group, kind, name, message);
        if let Some(details) = it.details.as_mut() {
            details.causes = errors.list().iter().map(field::Error::to_cause).collect();
        }
        it
    }

    /// The history before this revision is gone; the client must list again.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(Reason::Expired, message)
    }

    /// A watch from a revision that the server no longer keeps.
    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// Load is shed; the client should come again after `seconds`.
    pub fn too_many_requests(message: impl Into<String>, seconds: u32) -> Self {
        Self::new(Reason::TooManyRequests, message)
            .with_details(Details { retry_after_seconds: seconds, ..Details::default() })
    }

    /// The kind does not know this verb.
    pub fn method_not_allowed() -> Self {
        Self::new(Reason::MethodNotAllowed, "the server does not allow this method on the requested resource")
            .with_details(Details::default())
    }

    /// A failure of the server's own. `message` reaches the client: it must not hold secrets.
    pub fn internal(message: impl std::fmt::Display) -> Self {
        let text = message.to_string();
        let cause = Cause { reason: String::new(), message: text.clone(), field: String::new() };
        Self::new(Reason::InternalError, format!("Internal error occurred: {text}"))
            .with_details(Details { causes: vec![cause], ..Details::default() })
    }

    /// The same failure with other details.
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The `Status` object as Kubernetes sends it.
    pub fn to_json(&self) -> serde_json::Value {
        let mut out = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code(),
        });
        let nameless = match &self.given {
            Some(given) => {
                out["reason"] = given.1.as_str().into();
                given.1.is_empty()
            }
            None => self.reason == Reason::Unknown,
        };
        if let (true, Some(fields)) = (nameless, out.as_object_mut()) {
            fields.remove("reason");
        }
        if let Some(details) = &self.details {
            out["details"] = serde_json::to_value(details).unwrap_or_default();
            if !details.continue_token.is_empty() {
                out["metadata"]["continue"] = details.continue_token.as_str().into();
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Errors, Path};

    #[test]
    fn names_every_field_of_an_invalid_object() {
        let mut errors = Errors::default();
        errors.required(Path::new("spec").child("containers"), "");
        errors.invalid(Path::new("spec").child("replicas"), -1, "must be greater than or equal to 0");
        let it = Status::invalid("apps", "Deployment", "web", &errors);
        assert_eq!(
            it.message,
            "Deployment.apps \"web\" is invalid: [spec.containers: Required value, spec.replicas: Invalid value: -1: must be greater than or equal to 0]"
        );
        let json = it.to_json();
        assert_eq!(json["code"], 422);
        assert_eq!(json["details"]["causes"][1]["reason"], "FieldValueInvalid");
        assert_eq!(json["details"]["causes"][1]["message"], "Invalid value: -1: must be greater than or equal to 0");
    }

    #[test]
    fn says_each_text_once_and_no_reason_where_there_is_none() {
        let mut errors = Errors::default();
        errors.required("spec", "");
        errors.required("spec", "");
        let it = Status::invalid("", "Pod", "web", &errors);
        assert_eq!(it.message, "Pod \"web\" is invalid: spec: Required value");
        assert_eq!(it.to_json()["details"]["causes"].as_array().unwrap().len(), 2);
        let it = Status::new(Reason::Unknown, "strconv.ParseUint: parsing \"x\": invalid syntax").to_json();
        assert_eq!((it["code"].as_u64(), it.get("reason")), (Some(500), None));
    }
}
