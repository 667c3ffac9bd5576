//! The options of a request: what its query says.
//!
//! In: the raw query. Out: [`Options`]. What has no meaning is noted, and refused by [`Options::check`] where the verb reads that option;
//! options that a verb does not know are ignored by it, as Kubernetes does. Those of a deletion can stand in its body instead, which the
//! delete verb reads.

use std::time::Duration;

use orlop_api::field;
use orlop_api::json::Strictness;
use orlop_api::status::{self, Status};

use super::Verb;

/// What becomes of dependents when their owner is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

impl Propagation {
    /// The words, as refusals list them.
    pub const WORDS: &[&str] = &["Foreground", "Background", "Orphan", "nil"];

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
    /// As given: `list_options` tells which words there are.
    pub version_match: String,
    pub timeout: Option<Duration>,
    pub bookmarks: bool,
    pub watch: bool,
    pub send_initial_events: Option<bool>,
    pub dry_run: bool,
    pub field_manager: String,
    pub strictness: Strictness,
    /// Whether an apply takes over fields of others; as given, for no other patch may name it.
    pub force: Option<bool>,
    /// Whether the answer is indented for people.
    pub pretty: bool,
    /// What the query says of that; none if nothing.
    pub pretty_given: Option<bool>,
    /// How long the request may take, as Go writes durations.
    pub request_timeout: String,
    pub propagation: Option<Propagation>,
    pub grace_period_seconds: Option<i64>,
    pub orphan_dependents: Option<bool>,
    /// `includeObject` of Tables: `None`, `Metadata` (if empty) or `Object`.
    pub include_object: String,
    /// Options whose values have no meaning, with those values; mostly there is none.
    wrong: Vec<(&'static str, String)>,
}

impl Options {
    /// Reads a query.
    pub fn parse(query: &str) -> Self {
        let mut out = Options::default();
        if query.is_empty() {
            return out;
        }
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "labelSelector" => out.label_selector = value.into_owned(),
                "fieldSelector" => out.field_selector = value.into_owned(),
                "limit" => out.limit = out.integer("limit", &value).and_then(|it| it.try_into().ok()).unwrap_or(0),
                "continue" => out.continued = value.into_owned(),
                "resourceVersion" => out.resource_version = value.into_owned(),
                "resourceVersionMatch" => out.version_match = value.into_owned(),
                "timeoutSeconds" => {
                    let seconds = out.integer("timeoutSeconds", &value).and_then(|it| u64::try_from(it).ok());
                    out.timeout = seconds.filter(|it| *it > 0).map(Duration::from_secs);
                }
                "allowWatchBookmarks" => out.bookmarks = boolean(&value),
                "watch" => out.watch = boolean(&value),
                "sendInitialEvents" => out.send_initial_events = Some(boolean(&value)),
                "dryRun" => {
                    out.dry_run |= &*value == "All";
                    if &*value != "All" {
                        out.wrong.push(("dryRun", value.into_owned()));
                    }
                }
                "fieldManager" => out.field_manager = value.into_owned(),
                "fieldValidation" => match Strictness::parse(&value) {
                    Some(strictness) => out.strictness = strictness,
                    None => out.wrong.push(("fieldValidation", value.into_owned())),
                },
                "force" => out.force = Some(boolean(&value)),
                // Go's words for yes; without a value, who asks decides.
                "pretty" if value.is_empty() => {}
                "pretty" => out.pretty_given = Some(matches!(&*value, "1" | "t" | "T" | "true" | "TRUE" | "True")),
                "timeout" => out.request_timeout = value.into_owned(),
                "propagationPolicy" => {
                    out.propagation = Propagation::parse(&value);
                    if out.propagation.is_none() {
                        out.wrong.push(("propagationPolicy", value.into_owned()));
                    }
                }
                "gracePeriodSeconds" => out.grace_period_seconds = out.integer("gracePeriodSeconds", &value),
                "orphanDependents" => out.orphan_dependents = Some(boolean(&value)),
                "includeObject" => out.include_object = value.into_owned(),
                _ => {}
            }
        }
        out
    }

    fn integer(&mut self, name: &'static str, text: &str) -> Option<i64> {
        let read = text.parse().ok();
        if read.is_none() && !text.is_empty() {
            self.wrong.push((name, text.to_owned()));
        }
        read
    }

    /// Refuses what a verb reads and cannot understand.
    ///
    /// # Errors
    /// `BadRequest` for what is no number, `Invalid` for words that the option does not have.
    pub fn check(&self, verb: Verb) -> status::Result<()> {
        let (kind, reads): (&str, &[&str]) = match verb {
            Verb::Create => ("CreateOptions", WRITE),
            Verb::Update => ("UpdateOptions", WRITE),
            Verb::Patch => ("PatchOptions", WRITE),
            Verb::Delete => ("DeleteOptions", DELETE),
            Verb::DeleteCollection => ("DeleteOptions", DELETE_MANY),
            Verb::List | Verb::Watch => ("ListOptions", LIST),
            _ => return Ok(()),
        };
        let manager = if reads == WRITE { self.field_manager.as_str() } else { "" };
        let printable = manager.bytes().all(|it| (b' '..=b'~').contains(&it));
        if self.wrong.is_empty() && manager.len() <= FIELD_MANAGER_BYTES_MAX && printable {
            return Ok(());
        }
        let mut errors = field::Errors::default();
        if manager.len() > FIELD_MANAGER_BYTES_MAX {
            errors.too_long("fieldManager", FIELD_MANAGER_BYTES_MAX);
        }
        for (at, it) in manager.char_indices().filter(|(_, it)| it.is_control()) {
            let why = format!("invalid character U+{:04X} (at position {at})", u32::from(it));
            errors.invalid("fieldManager", manager, why);
        }
        for name in reads {
            let mut given = self.wrong.iter().filter(|(it, _)| it == name).map(|(_, value)| value.as_str());
            let Some(value) = given.next() else { continue };
            match *name {
                // A list of one, as Go prints it.
                "dryRun" => errors.not_supported_text("dryRun", format!("[]string{{{value:?}}}"), &["All"]),
                "fieldValidation" => errors.not_supported("fieldValidation", value, Strictness::WORDS),
                "propagationPolicy" => errors.not_supported("propagationPolicy", value, Propagation::WORDS),
                _ => {
                    let why = match value.trim_start_matches(['+', '-']).bytes().all(|it| it.is_ascii_digit()) {
                        true => "value out of range",
                        false => "invalid syntax",
                    };
                    return Err(Status::bad_request(format!("strconv.ParseInt: parsing {value:?}: {why}")));
                }
            }
        }
        if errors.is_empty() { Ok(()) } else { Err(Status::invalid("meta.k8s.io", kind, "", &errors)) }
    }
}

/// The options that verbs read and may find without meaning, in the order in which Kubernetes looks at them.
const WRITE: &[&str] = &["dryRun", "fieldValidation"];
const DELETE: &[&str] = &["gracePeriodSeconds", "propagationPolicy", "dryRun"];
const DELETE_MANY: &[&str] = &["gracePeriodSeconds", "limit", "timeoutSeconds", "propagationPolicy", "dryRun"];
const LIST: &[&str] = &["limit", "timeoutSeconds"];

/// Only these mean no; a parameter without a value is set.
fn boolean(text: &str) -> bool {
    text != "0" && !text.eq_ignore_ascii_case("false")
}

/// The longest name of a field manager, in bytes (`k8s.io/apimachinery/pkg/apis/meta/v1/validation`).
const FIELD_MANAGER_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_becomes_options() {
        let it = Options::parse(
            "labelSelector=app%3Dweb&limit=500&watch&timeoutSeconds=5&dryRun=All&fieldValidation=Strict&pretty=false",
        );
        assert_eq!(it.label_selector, "app=web");
        assert_eq!((it.limit, it.watch, it.timeout), (500, true, Some(Duration::from_secs(5))));
        assert!(it.dry_run && it.pretty_given == Some(false));
        assert_eq!(it.strictness, Strictness::Strict);
    }

    #[track_caller]
    fn check(verb: Verb, query: &str, expected: Option<(u16, &str)>) {
        let got = Options::parse(query).check(verb).err().map(|it| (it.code(), it.message));
        assert_eq!(got.as_ref().map(|(code, text)| (*code, text.as_str())), expected, "{query}");
    }

    #[test]
    fn words_without_meaning_are_refused_by_who_reads_them() {
        use Verb::*;
        let long = format!("fieldManager={}", "x".repeat(129));
        for (verb, query, code, text) in [
            (List, "limit=many", 400, "strconv.ParseInt: parsing \"many\": invalid syntax"),
            (
                List,
                "limit=99999999999999999999",
                400,
                "strconv.ParseInt: parsing \"99999999999999999999\": value out of range",
            ),
            (
                Create,
                "dryRun=Some",
                422,
                "CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: []string{\"Some\"}: supported values: \"All\"",
            ),
            (
                Update,
                "fieldValidation=Hard",
                422,
                "UpdateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"Hard\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
            ),
            (
                Patch,
                long.as_str(),
                422,
                "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes",
            ),
            (
                Create,
                "fieldManager=a%07",
                422,
                "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Invalid value: \"a\\u0007\": invalid character U+0007 (at position 1)",
            ),
            (
                Delete,
                "propagationPolicy=Sideways",
                422,
                "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"Sideways\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
            ),
        ] {
            check(verb, query, Some((code, text)));
            check(Get, query, None);
        }
        assert!(Options::parse("watch=perhaps").watch && !Options::parse("watch=FALSE").watch);
    }
}
