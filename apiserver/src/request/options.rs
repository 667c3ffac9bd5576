//! The options of a request: what its query says.
//!
//! In: the raw query. Out: [`Options`], or the `Status` of an option without meaning. Options that a verb does not know are
//! ignored by it, as Kubernetes does. Those of a deletion can stand in its body instead, which the delete verb reads.

use std::time::Duration;

use orlop_api::json::Strictness;
use orlop_api::status::{self, Status};
use orlop_api::{field, status::Reason};

/// How a resource version is to be understood by a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Match {
    NotOlderThan,
    Exact,
}

/// What becomes of dependents when their owner is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

impl Propagation {
    /// Reads `propagationPolicy`; none for other words.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            _ => None,
        }
    }
}

/// The options of a request.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub label_selector: String,
    pub field_selector: String,
    /// How many objects a page may have; 0: all.
    pub limit: usize,
    /// The token of the next page; empty for the first.
    pub continued: String,
    /// As given: unset and "0" differ.
    pub resource_version: String,
    pub version_match: Option<Match>,
    pub timeout: Option<Duration>,
    pub bookmarks: bool,
    pub watch: bool,
    pub send_initial_events: Option<bool>,
    pub dry_run: bool,
    pub field_manager: String,
    pub strictness: Strictness,
    pub force: bool,
    pub pretty: bool,
    pub propagation: Option<Propagation>,
    pub grace_period_seconds: Option<i64>,
    pub orphan_dependents: Option<bool>,
    /// `includeObject` of Tables: `None`, `Metadata` (if empty) or `Object`.
    pub include_object: String,
}

impl Options {
    /// Reads a query.
    ///
    /// # Errors
    /// `BadRequest` for what cannot be read, `Invalid` for what Kubernetes calls so.
    pub fn parse(query: &str) -> status::Result<Self> {
        let mut out = Options::default();
        if query.is_empty() {
            return Ok(out);
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "labelSelector" => out.label_selector = value.into_owned(),
                "fieldSelector" => out.field_selector = value.into_owned(),
                "limit" => out.limit = usize::try_from(integer(&name, &value)?).unwrap_or(0),
                "continue" => out.continued = value.into_owned(),
                "resourceVersion" => out.resource_version = value.into_owned(),
                "resourceVersionMatch" => out.version_match = version_match(&value)?,
                "timeoutSeconds" => {
                    let seconds = u64::try_from(integer(&name, &value)?).unwrap_or(0);
                    out.timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
                }
                "allowWatchBookmarks" => out.bookmarks = boolean(&name, &value)?,
                "watch" => out.watch = boolean(&name, &value)?,
                "sendInitialEvents" => out.send_initial_events = Some(boolean(&name, &value)?),
                "dryRun" => out.dry_run = dry_run(&value)?,
                "fieldManager" => out.field_manager = field_manager(&value)?,
                "fieldValidation" => out.strictness = Strictness::parse(&value)?,
                "force" => out.force = boolean(&name, &value)?,
                // Kubernetes reads anything but these as a wish for it.
                "pretty" => out.pretty = !matches!(&*value, "false" | "0"),
                "propagationPolicy" => out.propagation = Some(propagation(&value)?),
                "gracePeriodSeconds" => out.grace_period_seconds = Some(integer(&name, &value)?),
                "orphanDependents" => out.orphan_dependents = Some(boolean(&name, &value)?),
                "includeObject" => out.include_object = value.into_owned(),
                _ => {}
            }
        }
        Ok(out)
    }
}

fn boolean(name: &str, text: &str) -> status::Result<bool> {
    match text {
        // A parameter without a value is set.
        "" | "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Status::bad_request(format!("invalid value {text:?} for query parameter {name}: must be a boolean"))),
    }
}

fn integer(name: &str, text: &str) -> status::Result<i64> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| {
        Status::bad_request(format!("invalid value {text:?} for query parameter {name}: must be an integer"))
    })
}

fn version_match(text: &str) -> status::Result<Option<Match>> {
    match text {
        "" => Ok(None),
        "NotOlderThan" => Ok(Some(Match::NotOlderThan)),
        "Exact" => Ok(Some(Match::Exact)),
        _ => {
            let mut errors = field::Errors::default();
            errors.not_supported("resourceVersionMatch", text, &["Exact", "NotOlderThan"]);
            Err(Status::invalid("meta.k8s.io", "ListOptions", "", &errors))
        }
    }
}

fn dry_run(text: &str) -> status::Result<bool> {
    match text {
        "" => Ok(false),
        "All" => Ok(true),
        _ => Err(Status::new(Reason::BadRequest, format!("invalid dryRun value {text:?}: supported values: \"All\""))),
    }
}

/// The longest name of a field manager, in bytes (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).
const FIELD_MANAGER_BYTES_MAX: usize = 128;

fn field_manager(text: &str) -> status::Result<String> {
    if text.len() > FIELD_MANAGER_BYTES_MAX {
        let mut errors = field::Errors::default();
        errors.too_long("fieldManager", FIELD_MANAGER_BYTES_MAX);
        return Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &errors));
    }
    Ok(text.to_owned())
}

fn propagation(text: &str) -> status::Result<Propagation> {
    Propagation::parse(text).ok_or_else(|| {
        let mut errors = field::Errors::default();
        errors.not_supported("propagationPolicy", text, &["Background", "Foreground", "Orphan"]);
        Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_options() {
        let it = Options::parse(
            "labelSelector=app%3Dweb&limit=500&watch&timeoutSeconds=5&dryRun=All&fieldValidation=Strict&pretty=false",
        )
        .unwrap();
        assert_eq!(it.label_selector, "app=web");
        assert_eq!((it.limit, it.watch, it.timeout), (500, true, Some(Duration::from_secs(5))));
        assert!(it.dry_run && !it.pretty);
        assert_eq!(it.strictness, Strictness::Strict);
    }

    #[track_caller]
    fn check(query: &str, code: u16) {
        assert_eq!(Options::parse(query).unwrap_err().code(), code, "{query}");
    }

    #[test]
    fn words_without_meaning_are_refused() {
        check("limit=many", 400);
        check("watch=perhaps", 400);
        check("dryRun=Some", 400);
        check("fieldValidation=Hard", 400);
        check("resourceVersionMatch=Roughly", 422);
        check("propagationPolicy=Sideways", 422);
    }
}
