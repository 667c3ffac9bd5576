//! What a deletion does to an object: nothing more, a mark, or the end. Pure.

use jiff::{SignedDuration, Timestamp};
use orlop_api::field::Errors;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};
use serde_json::{Value, json};

use crate::request::options::Propagation;

/// Finalizers by which the garbage collector holds an object until its dependents are dealt with.
const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// How an object is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub grace_period_seconds: Option<i64>,
    pub propagation: Option<Propagation>,
    pub orphan_dependents: Option<bool>,
    /// Only the object of this uid, and only in this version.
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

impl Options {
    /// Reads `DeleteOptions`; the second part tells whether it is only tried.
    ///
    /// # Errors
    /// `BadRequest` for parts of another type, `Invalid` for words without meaning.
    pub fn read(value: &Value) -> status::Result<(Self, bool)> {
        #[derive(Default, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Preconditions {
            uid: Option<String>,
            resource_version: Option<String>,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            #[serde(default)]
            kind: Option<String>,
            #[serde(default)]
            grace_period_seconds: Option<i64>,
            #[serde(default)]
            propagation_policy: Option<String>,
            #[serde(default)]
            orphan_dependents: Option<bool>,
            #[serde(default)]
            preconditions: Option<Preconditions>,
            #[serde(default)]
            dry_run: Option<Vec<String>>,
        }
        let raw: Raw = serde_json::from_value(value.clone()).map_err(|error| {
            Status::bad_request(format!("unable to decode the body as DeleteOptions: json: {error}"))
        })?;
        if let Some(kind) = raw.kind.filter(|it| !it.is_empty() && it != "DeleteOptions") {
            return Err(Status::bad_request(format!("the body of a deletion must be DeleteOptions, not {kind}")));
        }
        let mut errors = Errors::default();
        let propagation = raw.propagation_policy.as_deref().filter(|it| !it.is_empty());
        let parsed = propagation.and_then(Propagation::parse);
        if let (Some(given), None) = (propagation, parsed) {
            errors.not_supported("propagationPolicy", given, Propagation::WORDS);
        }
        let dry_run = raw.dry_run.unwrap_or_default();
        if dry_run.iter().any(|it| it != "All") {
            let given: Vec<String> = dry_run.iter().map(|it| format!("{it:?}")).collect();
            errors.not_supported_text("dryRun", format!("[]string{{{}}}", given.join(", ")), &["All"]);
        }
        if !errors.is_empty() {
            return Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors));
        }
        let preconditions = raw.preconditions.unwrap_or_default();
        let options = Options {
            grace_period_seconds: raw.grace_period_seconds,
            propagation: parsed,
            orphan_dependents: raw.orphan_dependents,
            uid: preconditions.uid,
            resource_version: preconditions.resource_version,
        };
        Ok((options, !dry_run.is_empty()))
    }

    /// Refuses options that contradict each other.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self) -> status::Result<()> {
        if self.orphan_dependents.is_none() || self.propagation.is_none() {
            return Ok(());
        }
        let mut errors = Errors::default();
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.invalid("propagationPolicy", format!("{:?}", self.propagation.unwrap_or(Propagation::Orphan)), why);
        Err(Status::invalid("meta.k8s.io", "DeleteOptions", "", &errors))
    }
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// It is being deleted already, and nothing about that changes.
    Nothing,
    /// It is written with the mark of deletion.
    Mark(Value),
    Remove,
}

/// Decides. `grace` is how long the kind lets such an object wait (none: not at all), `held` whether the kind holds it.
///
/// # Errors
/// `Conflict` for preconditions that do not hold.
pub fn decide(
    kind: &Kind,
    object: Value,
    grace: Option<i64>,
    held: bool,
    options: &Options,
    now: Timestamp,
) -> status::Result<Outcome> {
    check_preconditions(kind, &object, options)?;
    let meta = &object["metadata"];
    let pending = meta["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    let deleting = meta["deletionTimestamp"].is_string();
    let mut marked = object.clone();
    if let (false, Some(change)) = (deleting, kind.before_deletion) {
        change(&mut marked, now);
    }
    let finalizers = texts(&marked["metadata"]["finalizers"]);
    // A negative period stands for the shortest one (`rest.BeforeDelete`).
    let asked = options.grace_period_seconds.map(|it| if it < 0 { 1 } else { it });
    let graceful = if deleting && pending > 0 {
        match asked {
            // Only a shorter period may be given.
            Some(shorter) if shorter < pending => {
                let end: Option<Timestamp> = meta["deletionTimestamp"].as_str().and_then(|it| it.parse().ok());
                let end =
                    end.unwrap_or(now).saturating_sub(SignedDuration::from_secs(pending - shorter)).unwrap_or(now);
                mark(&mut marked, end, shorter);
                Some(shorter)
            }
            _ => return Ok(Outcome::Nothing),
        }
    } else if deleting {
        None
    } else {
        grace.map(|default| asked.unwrap_or(default).max(0)).inspect(|period| {
            let end = now.saturating_add(SignedDuration::from_secs(*period)).unwrap_or(now);
            mark(&mut marked, end, *period);
        })
    };
    let wanted = wanted_finalizers(&finalizers, options, kind.orphans_dependents);
    let changed = wanted != finalizers;
    if changed {
        set_finalizers(&mut marked, &wanted);
    }
    if wanted.is_empty() && !held && graceful.unwrap_or(0) == 0 {
        return Ok(Outcome::Remove);
    }
    if graceful.is_none() {
        if deleting && !changed {
            return Ok(Outcome::Nothing);
        }
        if !deleting {
            mark(&mut marked, now, 0);
        }
    }
    if !deleting {
        // A definition's generation is that of what it defines, which has not changed.
        if kind.before_deletion.is_none() {
            raise_generation(&mut marked);
        }
        if held && marked["status"]["phase"].is_string() {
            // What holds itself while it is emptied says so (a namespace).
            marked["status"]["phase"] = "Terminating".into();
        }
    }
    if let Some(metadata) = marked["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
    }
    Ok(Outcome::Mark(marked))
}

fn check_preconditions(kind: &Kind, object: &Value, options: &Options) -> status::Result<()> {
    let meta = &object["metadata"];
    let name = meta["name"].as_str().unwrap_or_default();
    let stands = |field: &str| meta[field].as_str().unwrap_or_default().to_owned();
    let conflict = |why: String| Err(Status::conflict(kind.group, kind.names.plural, name, &why));
    if let Some(asked) = options.uid.as_deref()
        && asked != stands("uid")
    {
        let stands = stands("uid");
        return conflict(format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {stands}"));
    }
    if let Some(asked) = options.resource_version.as_deref()
        && asked != stands("resourceVersion")
    {
        let stands = stands("resourceVersion");
        return conflict(format!(
            "Precondition failed: ResourceVersion in precondition: {asked}, ResourceVersion in object meta: {stands}"
        ));
    }
    Ok(())
}

/// The finalizers after the options had their say (`deletionFinalizersForGarbageCollection`).
fn wanted_finalizers(standing: &[String], options: &Options, orphans: bool) -> Vec<String> {
    let has = |name: &str| standing.iter().any(|it| it == name);
    let (orphan, foreground) = match (options.orphan_dependents, options.propagation) {
        (Some(orphan), _) => (orphan, false),
        (None, Some(Propagation::Orphan)) => (true, false),
        (None, Some(Propagation::Foreground)) => (false, true),
        (None, Some(Propagation::Background)) => (false, false),
        (None, None) if !has(ORPHAN) && !has(FOREGROUND) => (orphans, false),
        (None, None) => (has(ORPHAN), has(FOREGROUND)),
    };
    if (orphan, foreground) == (has(ORPHAN), has(FOREGROUND)) {
        return standing.to_vec();
    }
    let mut out: Vec<String> = standing.iter().filter(|it| *it != ORPHAN && *it != FOREGROUND).cloned().collect();
    if orphan {
        out.push(ORPHAN.to_owned());
    }
    if foreground {
        out.push(FOREGROUND.to_owned());
    }
    out
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn set_finalizers(object: &mut Value, finalizers: &[String]) {
    let Some(metadata) = object["metadata"].as_object_mut() else { return };
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), json!(finalizers));
    }
}

fn mark(object: &mut Value, end: Timestamp, period: i64) {
    object["metadata"]["deletionTimestamp"] = end.to_string().into();
    object["metadata"]["deletionGracePeriodSeconds"] = period.into();
}

fn raise_generation(object: &mut Value) {
    if let Some(generation) = object["metadata"]["generation"].as_i64().filter(|it| *it > 0) {
        object["metadata"]["generation"] = (generation + 1).into();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry;

    fn run(meta: Value, grace: Option<i64>, held: bool, options: &Options) -> status::Result<Outcome> {
        let mut meta = meta;
        meta["name"] = "a".into();
        meta["uid"] = "u".into();
        meta["resourceVersion"] = "7".into();
        let now = Timestamp::from_second(1_000_000).unwrap();
        let kind = registry::named("", "Pod").unwrap();
        decide(kind, json!({ "metadata": meta, "status": { "phase": "Active" } }), grace, held, options, now)
    }

    #[track_caller]
    fn check(meta: Value, grace: Option<i64>, options: Options, expected: &str) {
        let text = match run(meta, grace, false, &options) {
            Ok(Outcome::Nothing) => "nothing".to_owned(),
            Ok(Outcome::Remove) => "remove".to_owned(),
            Ok(Outcome::Mark(it)) => format!(
                "{} {} {}",
                it["metadata"]["deletionTimestamp"].as_str().unwrap(),
                it["metadata"]["deletionGracePeriodSeconds"],
                texts(&it["metadata"]["finalizers"]).join(",")
            ),
            Err(status) => status.message,
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn what_nothing_holds_goes_at_once() {
        check(json!({}), None, Options::default(), "remove");
        let zero = Options { grace_period_seconds: Some(0), ..Options::default() };
        check(json!({}), Some(30), zero, "remove");
    }

    #[test]
    fn grace_can_only_be_shortened() {
        check(json!({}), Some(30), Options::default(), "1970-01-12T13:47:10Z 30 ");
        let deleting = json!({ "deletionTimestamp": "1970-01-12T13:47:10Z", "deletionGracePeriodSeconds": 30 });
        check(deleting.clone(), Some(30), Options::default(), "nothing");
        let of = |seconds| Options { grace_period_seconds: Some(seconds), ..Options::default() };
        check(deleting.clone(), Some(30), of(60), "nothing");
        check(deleting.clone(), Some(30), of(5), "1970-01-12T13:46:45Z 5 ");
        check(deleting, Some(30), of(0), "remove");
    }

    #[test]
    fn finalizers_hold() {
        let of = |propagation| Options { propagation: Some(propagation), ..Options::default() };
        check(json!({ "finalizers": ["x"] }), None, Options::default(), "1970-01-12T13:46:40Z 0 x");
        check(json!({}), None, of(Propagation::Foreground), "1970-01-12T13:46:40Z 0 foregroundDeletion");
        check(json!({}), None, of(Propagation::Orphan), "1970-01-12T13:46:40Z 0 orphan");
        check(json!({ "finalizers": ["orphan"] }), None, of(Propagation::Background), "remove");
        let deleting = json!({ "deletionTimestamp": "1970-01-12T13:46:40Z", "finalizers": ["x"] });
        check(deleting, None, Options::default(), "nothing");
    }

    #[test]
    fn what_holds_itself_is_terminating() {
        let Ok(Outcome::Mark(it)) = run(json!({}), None, true, &Options::default()) else { panic!("not marked") };
        assert_eq!(it["status"]["phase"], "Terminating");
    }

    #[test]
    fn preconditions_are_conflicts() {
        let of = Options { uid: Some("v".to_owned()), ..Options::default() };
        check(
            json!({}),
            None,
            of,
            "Operation cannot be fulfilled on pods \"a\": Precondition failed: UID in precondition: v, UID in object meta: u",
        );
        let both =
            Options { propagation: Some(Propagation::Orphan), orphan_dependents: Some(true), ..Options::default() };
        assert_eq!(both.check().unwrap_err().code(), 422);
    }
}
