//! Server-side apply: a manager states the fields it wants, and the server keeps who wants what.
//!
//! In: the object as it stands, if it does, and the applied configuration. Out: the merged object and its managed fields, or the conflicts. A
//! field that another manager owns and that the apply changes is a conflict unless forced; a field that the manager applied the last time and
//! does not now, and nobody else owns, is removed. Source: `Apply` of `k8s.io/apimachinery/pkg/util/managedfields/internal/fieldmanager.go`, of
//! the managers that it wraps, and of `sigs.k8s.io/structured-merge-diff/v6/merge`.

use std::borrow::Cow;

use serde_json::Value;

use super::entries::{self, Entry, Operation};
use super::set::Set;
use super::tree::{self, Tree};
use super::update::{self, Standing};
use super::versions::{self, Differences};
use super::walk::{compare, stated};
use super::{Subject, Writer, merge, validate};
use crate::status::{self, Cause, Details, Reason, Status};

/// The manager to whom everything belongs that stood in an object before anybody applied to it, as Kubernetes names it.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The manager that takes over what `kubectl apply` without `--server-side` recorded.
const KUBECTL: &str = "kubectl";

/// Where that is recorded.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What an apply has made.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The object, without managed fields.
    pub bare: String,
    /// Its managed fields; none if it has none.
    pub managed: Option<String>,
}

/// A field that another manager owns.
#[derive(Clone, Debug)]
struct Conflict<'a> {
    owner: Entry<'a>,
    fields: Set<'a>,
}

/// The object after a configuration is applied to it; without an object, the one to create.
///
/// # Errors
/// `BadRequest` for configurations that do not fit their kind, `Conflict` with a cause per field that another manager owns.
pub fn apply(
    subject: &Subject,
    old: Option<Standing<'_>>,
    config: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> status::Result<Applied> {
    let (types, root) = (&subject.shapes.types, &subject.shapes.root);
    check(subject, config)?;
    let config_text = config.to_string();
    let unreadable = || Status::internal("the object cannot be read");
    let config_tree = Tree::read(&config_text, types, root).ok_or_else(unreadable)?;
    let live = match old {
        Some(old) => Tree::read(old.bare, types, root).ok_or_else(unreadable)?,
        None => tree::empty().clone(),
    };
    let managed = old.and_then(|it| it.managed).unwrap_or("null");
    let mut known =
        entries::read(managed).map_err(|why| Status::internal(format!("failed to decode managed fields: {why}")))?;
    if known.is_empty() && old.is_some() {
        let first = Writer { manager: BEFORE_FIRST_APPLY, ..*writer };
        let changes = compare(types, root, tree::empty(), &live, subject.ignored);
        update::give(subject, &mut known, changes, &first);
    }
    let job = Job { subject, live: &live, config: &config_tree, writer, known: &known };
    let (merged, known) = match job.run(force) {
        Ok(done) => done,
        Err(conflicts) => {
            let conflicts = migrated(subject, &live, writer, conflicts);
            if !conflicts.is_empty() {
                return Err(told(&conflicts));
            }
            job.run(true).map_err(|it| told(&it))?
        }
    };
    let mut merged = merged.unwrap_or_else(|| live.clone());
    let recorded = writer.manager == KUBECTL && has_last_applied(&merged);
    if recorded {
        keep_last_applied(&mut merged, config);
    }
    // An apply means one state only if it names it: else it holds for what a faster writer has left, too.
    if config["metadata"]["resourceVersion"].as_str().is_none_or(str::is_empty) {
        merged.remove_at(&["metadata", "resourceVersion"]);
    }
    let mut bare = String::with_capacity(config_text.len() * 2);
    merged.write(&mut bare);
    Ok(Applied { bare, managed: entries::write(known) })
}

/// Whether the configuration is one of this kind.
fn check(subject: &Subject, config: &Value) -> status::Result<()> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (text(&config["apiVersion"]), text(&config["kind"]));
    if version != subject.api_version || kind != subject.kind {
        let version = if version.contains('/') { version } else { format!("/{version}") };
        return Err(Status::bad_request(format!("invalid object type: {version}, Kind={kind}")));
    }
    if config["metadata"]["managedFields"].is_array() {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    validate::check(&subject.shapes.types, &subject.shapes.root, config).map_err(|why| {
        let (namespace, name) = (text(&config["metadata"]["namespace"]), text(&config["metadata"]["name"]));
        Status::bad_request(format!(
            "failed to create typed patch object ({namespace}/{name}; {}, Kind={}): {why}",
            subject.group_version, subject.kind
        ))
    })
}

/// One apply.
struct Job<'j, 'a> {
    subject: &'j Subject,
    live: &'j Tree<'a>,
    config: &'j Tree<'a>,
    writer: &'j Writer<'a>,
    known: &'j [Entry<'a>],
}

impl<'a> Job<'_, 'a> {
    /// The merged object, or none if it is the live one, and the managers.
    fn run(&self, force: bool) -> Result<(Option<Tree<'a>>, Vec<Entry<'a>>), Vec<Conflict<'a>>> {
        let subject = self.subject;
        let (types, root) = (&subject.shapes.types, &subject.shapes.root);
        let mut set = stated(types, root, self.config);
        for path in subject.ignored {
            set = set.outside(&Set::of_path(path));
        }
        let mut mine = Entry::new(
            Cow::Borrowed(self.writer.manager),
            Operation::Apply,
            Cow::Owned(subject.api_version.clone()),
            set,
        );
        mine.subresource = Cow::Borrowed(self.writer.subresource);
        let mut others = self.known.to_vec();
        let last = others.iter().position(|it| it.is_of_same(&mine)).map(|at| others.remove(at));
        let mut merged = merge::merged(types, root, self.live, self.config);
        let alone = subject.is_alone(&others) && last.as_ref().is_none_or(|it| it.api_version == mine.api_version);
        match &last {
            Some(last) if !alone => {
                let owners: Vec<&Entry<'a>> = others.iter().chain([&mine]).collect();
                merged = versions::pruned(subject, merged, last, &owners);
            }
            Some(last) if !last.set().is_within(&mine.set()) => {
                let owned = others.iter().fold(mine.set().into_owned(), |sum, it| sum.union(&it.set()));
                merged = merge::pruned(types, root, merged, &last.set(), &owned);
            }
            _ => {}
        }
        let changes = compare(types, root, self.live, &merged, subject.ignored);
        if !changes.is_empty() {
            let (mut before, mut after) = (String::new(), String::new());
            if !alone {
                self.live.write(&mut before);
                merged.write(&mut after);
            }
            let elsewhere = versions::elsewhere(subject, &mut others, &before, &after);
            let differences = Differences::of(&changes, &elsewhere, subject.ignored);
            let mut conflicts = Vec::new();
            for entry in &others {
                let changed = &differences.at(&entry.api_version).changed;
                if !entry.may_touch(changed) {
                    continue;
                }
                let fields = entry.set().intersection(changed);
                if !fields.is_empty() {
                    conflicts.push(Conflict { owner: entry.clone(), fields });
                }
            }
            if !force && !conflicts.is_empty() {
                return Err(conflicts);
            }
            differences.take_from(&mut others);
        }
        // Nothing new: the time stays, and one who only joins in has none.
        let unchanged = self.live.same(&merged);
        mine.time = match last {
            Some(last) if unchanged => last.time,
            _ if unchanged => None,
            _ => Some(Cow::Borrowed(self.writer.now)),
        };
        let stripped = mine.set().into_owned().outside_identity();
        mine.put(stripped);
        others.push(mine);
        others.retain(|it| !it.is_empty());
        Ok(((!unchanged).then_some(merged), others))
    }
}

/// The conflicts that are left when `kubectl` takes over what it applied from the client's side: those with fields that the last applied
/// configuration did not state, or stated otherwise than they stand.
fn migrated<'a>(
    subject: &Subject,
    live: &Tree<'a>,
    writer: &Writer<'_>,
    mut conflicts: Vec<Conflict<'a>>,
) -> Vec<Conflict<'a>> {
    if writer.manager != KUBECTL {
        return conflicts;
    }
    let Some(text) = live.text_at(&["metadata", "annotations", LAST_APPLIED]) else { return conflicts };
    let Ok(text) = serde_json::from_str::<String>(text) else { return conflicts };
    let (types, root) = (&subject.shapes.types, &subject.shapes.root);
    let Ok(applied) = serde_json::from_str::<Value>(&text) else { return conflicts };
    if applied["apiVersion"] != subject.api_version.as_str() || validate::check(types, root, &applied).is_err() {
        return conflicts;
    }
    let text = applied.to_string();
    let Some(applied) = Tree::read(&text, types, root) else { return conflicts };
    let differing = compare(types, root, &applied, live, &[]);
    let allowed = stated(types, root, &applied).difference(&differing.changed).difference(&differing.removed);
    for conflict in &mut conflicts {
        conflict.fields = conflict.fields.difference(&allowed);
    }
    conflicts.retain(|it| !it.fields.is_empty());
    conflicts
}

fn has_last_applied(object: &Tree<'_>) -> bool {
    object.text_at(&["metadata", "annotations", LAST_APPLIED]).is_some_and(|it| it != "\"\"")
}

/// Keeps the record of the client's side up to date, for clients that still go by it.
fn keep_last_applied(object: &mut Tree<'_>, config: &Value) {
    let mut config = config.clone();
    if let Some(annotations) = config["metadata"]["annotations"].as_object_mut() {
        annotations.remove(LAST_APPLIED);
    }
    // As Go encodes: three characters that HTML knows are escaped, and a line ends.
    let mut text = String::new();
    for it in config.to_string().chars() {
        match it {
            '<' => text.push_str("\\u003c"),
            '>' => text.push_str("\\u003e"),
            '&' => text.push_str("\\u0026"),
            other => text.push(other),
        }
    }
    text.push('\n');
    let fits = text.len() <= crate::meta::ANNOTATIONS_LIMIT_BYTES;
    let value = if fits { Value::from(text).to_string() } else { "null".to_owned() };
    object.set_at(&["metadata", "annotations", LAST_APPLIED], Tree::Leaf(Cow::Owned(value)));
}

/// `Apply failed with 1 conflict: conflict with "kubectl" using v1: .spec.replicas`.
fn told(conflicts: &[Conflict<'_>]) -> Status {
    // Kubernetes goes by the JSON of an entry.
    let mut sorted: Vec<&Conflict<'_>> = conflicts.iter().collect();
    sorted.sort_by_key(|it| (it.owner.manager.to_string(), it.owner.operation, it.owner.api_version.to_string()));
    let mut causes = Vec::new();
    let mut lines = Vec::new();
    for conflict in sorted {
        let title = conflict.owner.title();
        lines.push(format!("conflicts with {title}:"));
        for path in conflict.fields.paths() {
            lines.push(format!("- {path}"));
            let message = format!("conflict with {title}");
            causes.push(Cause { reason: "FieldManagerConflict".to_owned(), message, field: path });
        }
    }
    let message = match &*causes {
        [only] => format!("Apply failed with 1 conflict: {}: {}", only.message, only.field),
        many => format!("Apply failed with {} conflicts: {}", many.len(), lines.join("\n")),
    };
    Status::new(Reason::Conflict, message).with_details(Details { causes, ..Details::default() })
}
