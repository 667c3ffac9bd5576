//! The rules for events, which are the same in both groups. Mistakes are told by the names that the fields have inside Kubernetes, whose
//! form of events is that of the core group but for `reportingController`.
//!
//! Source: `ValidateEventCreate`, `ValidateEventUpdate` and `legacyValidateEvent` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use crate::field::Errors;
use crate::name;

/// The longest message, in bytes.
const MESSAGE_LIMIT_BYTES: usize = 1024;
/// The longest reason, action and reporting instance, in bytes.
const WORD_LIMIT_BYTES: usize = 128;

/// What the rules look at.
pub struct Rules<'a> {
    pub namespace: &'a str,
    /// The namespace of the object that the event is about.
    pub about: &'a str,
    pub controller: &'a str,
    pub instance: &'a str,
    pub action: &'a str,
    pub reason: &'a str,
    pub message: &'a str,
    /// Whether `eventTime` is set, as only the newer way of recording events does.
    pub has_time: bool,
}

/// Notes every mistake in an event.
pub fn validate(it: &Rules<'_>, errors: &mut Errors) {
    let about = it.about;
    // What lives in no namespace has its events in "default"; the newer way allows "kube-system" too.
    let fits = if about.is_empty() {
        matches!(it.namespace, "" | "default") || (it.has_time && it.namespace == "kube-system")
    } else {
        it.has_time || about == it.namespace
    };
    if !fits {
        errors.invalid("involvedObject.namespace", about, "does not match event.namespace");
    }
    if it.has_time {
        validate_words(it, errors);
    }
    for complaint in name::dns1123_subdomain(it.namespace) {
        errors.invalid("namespace", it.namespace, complaint);
    }
}

fn validate_words(it: &Rules<'_>, errors: &mut Errors) {
    if it.controller.is_empty() {
        errors.required("reportingController", "");
    }
    for complaint in name::qualified_name(it.controller) {
        errors.invalid("reportingController", it.controller, complaint);
    }
    for (field, word) in [("reportingInstance", it.instance), ("action", it.action), ("reason", it.reason)] {
        if word.is_empty() {
            errors.required(field, "");
        } else if word.len() > WORD_LIMIT_BYTES {
            errors.invalid(field, "", format!("can have at most {WORD_LIMIT_BYTES} characters"));
        }
    }
    if it.message.len() > MESSAGE_LIMIT_BYTES {
        errors.invalid("message", "", format!("can have at most {MESSAGE_LIMIT_BYTES} characters"));
    }
}
