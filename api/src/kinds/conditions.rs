//! The rules for `metav1.Condition`, in which newer kinds tell their state (`k8s.io/apimachinery`, `ValidateConditions`).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::field::{Errors, Path};
use crate::name;

const REASON_LIMIT_BYTES: usize = 1024;
const MESSAGE_LIMIT_BYTES: usize = 32 * 1024;
const STATUSES: &[&str] = &["False", "True", "Unknown"];
const BAD_REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Notes every mistake in a status's conditions.
pub fn validate(conditions: Option<&[Condition]>, path: impl Fn() -> Path, errors: &mut Errors) {
    let conditions = conditions.unwrap_or_default();
    for (at, condition) in conditions.iter().enumerate() {
        if conditions[..at].iter().any(|it| it.type_ == condition.type_) {
            errors.duplicate(path().index(at).child("type"), &condition.type_);
        }
        validate_one(condition, &path().index(at), errors);
    }
}

fn validate_one(it: &Condition, path: &Path, errors: &mut Errors) {
    for complaint in name::qualified_name(&it.type_) {
        errors.invalid(path.child("type"), &it.type_, complaint);
    }
    if !STATUSES.contains(&it.status.as_str()) {
        errors.not_supported(path.child("status"), &it.status, STATUSES);
    }
    if let Some(generation) = it.observed_generation.filter(|it| *it < 0) {
        errors.invalid(path.child("observedGeneration"), generation, "must be greater than or equal to zero");
    }
    if it.reason.is_empty() {
        errors.required(path.child("reason"), "must be set");
    } else if !has_reason_form(&it.reason) {
        errors.invalid(path.child("reason"), &it.reason, BAD_REASON);
    }
    if it.reason.len() > REASON_LIMIT_BYTES {
        errors.too_long(path.child("reason"), REASON_LIMIT_BYTES);
    }
    if it.message.len() > MESSAGE_LIMIT_BYTES {
        errors.too_long(path.child("message"), MESSAGE_LIMIT_BYTES);
    }
}

fn has_reason_form(reason: &str) -> bool {
    let inner = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b',' | b':');
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|it| inner(*it))
        && bytes.last().is_some_and(|it| !matches!(it, b',' | b':'))
}
