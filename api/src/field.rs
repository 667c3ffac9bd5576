//! Field paths and the errors of validation, worded as `k8s.io/apimachinery/pkg/util/validation/field` words them.
//!
//! A validator appends to [`Errors`]; [`crate::status::Status::invalid`] turns the list into the client's answer.

use std::fmt;

use crate::status::Cause;

/// Where in an object a value stands: `spec.containers[0].name`, `metadata.labels[app]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path(String);

impl Path {
    /// A path of one field.
    pub fn new(name: &str) -> Self {
        Path(name.to_owned())
    }

    /// The field `name` below this one.
    pub fn child(&self, name: &str) -> Self {
        if self.0.is_empty() { Path(name.to_owned()) } else { Path(format!("{}.{name}", self.0)) }
    }

    /// The element at `index` of this list.
    pub fn index(&self, index: usize) -> Self {
        Path(format!("{}[{index}]", self.0))
    }

    /// The entry of this map under `key`.
    pub fn key(&self, key: &str) -> Self {
        Path(format!("{}[{key}]", self.0))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        Path(text.to_owned())
    }
}

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    NotFound,
    Required,
    Duplicate,
    Invalid,
    NotSupported,
    Forbidden,
    TooLong,
    TooMany,
    Internal,
    TypeInvalid,
}

impl ErrorType {
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            ErrorType::NotFound => ("FieldValueNotFound", "Not found"),
            ErrorType::Required => ("FieldValueRequired", "Required value"),
            ErrorType::Duplicate => ("FieldValueDuplicate", "Duplicate value"),
            ErrorType::Invalid => ("FieldValueInvalid", "Invalid value"),
            ErrorType::NotSupported => ("FieldValueNotSupported", "Unsupported value"),
            ErrorType::Forbidden => ("FieldValueForbidden", "Forbidden"),
            ErrorType::TooLong => ("FieldValueTooLong", "Too long"),
            ErrorType::TooMany => ("FieldValueTooMany", "Too many"),
            ErrorType::Internal => ("InternalError", "Internal error"),
            ErrorType::TypeInvalid => ("FieldValueTypeInvalid", "Invalid value"),
        }
    }
}

/// One mistake in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub kind: ErrorType,
    pub path: Path,
    /// The offending value as JSON, where the message shows it.
    pub value: Option<String>,
    pub detail: String,
}

impl Error {
    fn body(&self) -> String {
        let (_, text) = self.kind.words();
        let mut out = text.to_owned();
        if let Some(value) = &self.value {
            out.push_str(": ");
            out.push_str(value);
        }
        if !self.detail.is_empty() {
            out.push_str(": ");
            out.push_str(&self.detail);
        }
        out
    }

    /// The cause that a `Status` lists for this error.
    pub fn to_cause(&self) -> Cause {
        Cause { reason: self.kind.words().0.to_owned(), message: self.body(), field: self.path.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.body())
    }
}

/// The mistakes found in one object, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

impl Errors {
    /// All mistakes so far.
    pub fn list(&self) -> &[Error] {
        &self.0
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many mistakes were found so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all but the first `len` mistakes.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Adds the mistakes of another list after these.
    pub fn append(&mut self, mut other: Errors) {
        self.0.append(&mut other.0);
    }

    /// Every mistake, changed.
    pub fn map(self, change: impl FnMut(Error) -> Error) -> Errors {
        Errors(self.0.into_iter().map(change).collect())
    }

    /// Puts the mistakes in the order of their texts, where Kubernetes does so because it found them in no order.
    pub fn sort(&mut self) {
        self.0.sort_by_cached_key(ToString::to_string);
    }

    fn push(&mut self, kind: ErrorType, path: impl Into<Path>, value: Option<String>, detail: impl Into<String>) {
        self.0.push(Error { kind, path: path.into(), value, detail: detail.into() });
    }

    /// `Required value`, with an explanation or "".
    pub fn required(&mut self, path: impl Into<Path>, detail: impl Into<String>) {
        self.push(ErrorType::Required, path, None, detail);
    }

    /// `Invalid value: <value>: <detail>`.
    pub fn invalid(&mut self, path: impl Into<Path>, value: impl serde::Serialize, detail: impl Into<String>) {
        self.push(ErrorType::Invalid, path, Some(shown(&value)), detail);
    }

    /// `Invalid value: <value>: <detail>` of a value that has another type than its schema says.
    pub fn type_invalid(&mut self, path: impl Into<Path>, value: impl serde::Serialize, detail: impl Into<String>) {
        self.push(ErrorType::TypeInvalid, path, Some(shown(&value)), detail);
    }

    /// `Internal error: <detail>`.
    pub fn internal(&mut self, path: impl Into<Path>, detail: impl Into<String>) {
        self.push(ErrorType::Internal, path, None, detail);
    }

    /// `Invalid value: <detail>`, where the value is too large to be shown.
    pub fn invalid_whole(&mut self, path: impl Into<Path>, detail: impl Into<String>) {
        self.push(ErrorType::Invalid, path, None, detail);
    }

    /// `Unsupported value: "x": supported values: "a", "b"`, in the order given: where Kubernetes sorts them, so does the caller.
    pub fn not_supported(&mut self, path: impl Into<Path>, value: impl serde::Serialize, supported: &[&str]) {
        let values: Vec<String> = supported.iter().map(|it| format!("\"{it}\"")).collect();
        let detail = if values.is_empty() { String::new() } else { format!("supported values: {}", values.join(", ")) };
        self.push(ErrorType::NotSupported, path, Some(shown(&value)), detail);
    }

    /// As [`Errors::not_supported`], of a value whose text is given as the message shows it.
    pub fn not_supported_text(&mut self, path: impl Into<Path>, text: String, supported: &[&str]) {
        self.not_supported(path, "", supported);
        if let Some(error) = self.0.last_mut() {
            error.value = Some(text);
        }
    }

    /// `Duplicate value: <value>`.
    pub fn duplicate(&mut self, path: impl Into<Path>, value: impl serde::Serialize) {
        self.push(ErrorType::Duplicate, path, Some(shown(&value)), "");
    }

    /// As [`Errors::invalid`], of a value whose JSON is given: Kubernetes shows some values in its internal form, which no type here has.
    pub fn invalid_text(&mut self, path: impl Into<Path>, text: String, detail: impl Into<String>) {
        self.push(ErrorType::Invalid, path, Some(text), detail);
    }

    /// As [`Errors::duplicate`], of a value whose JSON is given, with an explanation or "".
    pub fn duplicate_text(&mut self, path: impl Into<Path>, text: String, detail: impl Into<String>) {
        self.push(ErrorType::Duplicate, path, Some(text), detail);
    }

    /// `Forbidden: <detail>`.
    pub fn forbidden(&mut self, path: impl Into<Path>, detail: impl Into<String>) {
        self.push(ErrorType::Forbidden, path, None, detail);
    }

    /// `Not found: <value>`.
    pub fn not_found(&mut self, path: impl Into<Path>, value: impl serde::Serialize) {
        self.push(ErrorType::NotFound, path, Some(shown(&value)), "");
    }

    /// As [`Errors::not_found`], with an explanation.
    pub fn not_found_explained(
        &mut self,
        path: impl Into<Path>,
        value: impl serde::Serialize,
        detail: impl Into<String>,
    ) {
        self.push(ErrorType::NotFound, path, Some(shown(&value)), detail);
    }

    /// `Too long: may not be more than <limit> bytes`.
    pub fn too_long(&mut self, path: impl Into<Path>, limit_bytes: usize) {
        let unit = if limit_bytes == 1 { "byte" } else { "bytes" };
        self.push(ErrorType::TooLong, path, None, format!("may not be more than {limit_bytes} {unit}"));
    }

    /// `Too many: <actual>: must have at most <limit> items`.
    pub fn too_many(&mut self, path: impl Into<Path>, actual: usize, limit: usize) {
        let unit = if limit == 1 { "item" } else { "items" };
        self.push(ErrorType::TooMany, path, Some(actual.to_string()), format!("must have at most {limit} {unit}"));
    }
}

/// A value as messages show it: strings quoted, numbers and booleans bare, the rest as JSON.
fn shown(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| error.to_string())
}
