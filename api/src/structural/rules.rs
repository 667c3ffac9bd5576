//! Rules in CEL that a schema adds to its values: `x-kubernetes-validations`.
//!
//! In: the rules as they stand in a schema. Out: what [`super::Schema`] evaluates.

use serde_json::Value;

use super::node::{is_set, text};

/// One rule.
#[derive(Debug)]
pub struct Rule {
    pub rule: Box<str>,
    pub message: Box<str>,
    pub message_expression: Box<str>,
    pub reason: Box<str>,
    pub field_path: Box<str>,
    pub optional_old_self: bool,
}

impl Rule {
    /// Reads one element of `x-kubernetes-validations`.
    pub fn read(json: &Value) -> Rule {
        Rule {
            rule: text(json, "rule").into(),
            message: text(json, "message").into(),
            message_expression: text(json, "messageExpression").into(),
            reason: text(json, "reason").into(),
            field_path: text(json, "fieldPath").into(),
            optional_old_self: is_set(json, "optionalOldSelf"),
        }
    }
}
