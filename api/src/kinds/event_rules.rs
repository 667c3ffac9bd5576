//! The rules for events, which are the same in both groups but for the names of the fields.
//!
//! Source: `ValidateEventCreate` and `legacyValidateEvent` in `k8s.io/kubernetes/pkg/apis/core/validation`.

use crate::field::Errors;
use crate::name;

/// The longest message, in bytes.
const MESSAGE_LIMIT_BYTES: usize = 1024;
/// The longest reason, action and reporting instance, in bytes.
const WORD_LIMIT_BYTES: usize = 128;

/// What the rules look at; where the groups name a field differently, the name comes with it.
pub struct Rules<'a> {
    pub namespace: &'a str,
    pub about: (&'static str, &'a str),
    pub controller: (&'static str, &'a str),
    pub instance: &'a str,
    pub action: &'a str,
    pub reason: &'a str,
    pub message: (&'static str, &'a str),
    /// Whether `eventTime` is set, as only the newer way of recording events does.
    pub has_time: bool,
}

/// Notes every mistake in an event.
pub fn validate(it: &Rules<'_>, errors: &mut Errors) {
    let (field, about) = it.about;
    // What lives in no namespace has its events in "default"; the newer way allows "kube-system" too.
    let fits = if about.is_empty() {
        matches!(it.namespace, "" | "default") || (it.has_time && it.namespace == "kube-system")
    } else {
        it.has_time || about == it.namespace
    };
    if !fits {
        errors.invalid(field, about, "does not match event.namespace");
    }
    if !it.has_time {
        return;
    }
    let (field, controller) = it.controller;
    if controller.is_empty() {
        errors.required(field, "");
    } else {
        for complaint in name::qualified_name(controller) {
            errors.invalid(field, controller, complaint);
        }
    }
    for (field, word) in [("reportingInstance", it.instance), ("action", it.action), ("reason", it.reason)] {
        if word.is_empty() {
            errors.required(field, "");
        } else if word.len() > WORD_LIMIT_BYTES {
            errors.invalid(field, "", format!("can have at most {WORD_LIMIT_BYTES} characters"));
        }
    }
    let (field, message) = it.message;
    if message.len() > MESSAGE_LIMIT_BYTES {
        errors.invalid(field, "", format!("can have at most {MESSAGE_LIMIT_BYTES} characters"));
    }
}
