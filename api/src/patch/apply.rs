//! Server-side apply: a manager states the fields it wants, and the server keeps who wants what (KEP-555).
//!
//! In: the live object, the applied configuration, who applies. Out: the merged object with its `metadata.managedFields`. Fields are merged
//! by the list types of [`crate::list_types`]; a field that another manager owns with another value is a conflict unless forced; a field that
//! the manager no longer applies and nobody else owns is removed. Simplifying assumptions: owners are recorded from the first apply on, so that
//! plain writes stay cheap (what stood before belongs to `before-first-apply`), and all entries are of one version of the API.

use std::borrow::Cow;

use serde_json::{Value, json};

use self::fields::{Fields, Step};
use crate::kind::Kind;
use crate::shape::{Field, Shape, Types};
use crate::status::{self, Cause, Details, Reason, Status};

pub mod fields;
mod merge;

/// The manager to whom everything belongs that stood in an object before anybody applied to it, as Kubernetes names it.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// `fieldManager`.
    pub manager: &'a str,
    /// The subresource written to; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the write, RFC 3339 in whole seconds.
    pub now: &'a str,
}

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq)]
struct Entry {
    manager: String,
    applied: bool,
    api_version: String,
    time: String,
    subresource: String,
    fields: Fields,
}

impl Entry {
    fn is(&self, writer: &Writer<'_>, applied: bool) -> bool {
        self.manager == writer.manager && self.applied == applied && self.subresource == writer.subresource
    }

    fn read(json: &Value) -> Option<Entry> {
        let text = |field: &str| json[field].as_str().unwrap_or_default().to_owned();
        Some(Entry {
            manager: text("manager"),
            applied: json["operation"] == "Apply",
            api_version: text("apiVersion"),
            time: text("time"),
            subresource: text("subresource"),
            fields: Fields::read(json.get("fieldsV1")?),
        })
    }

    fn write(&self) -> Value {
        let mut out = json!({
            "manager": self.manager, "operation": if self.applied { "Apply" } else { "Update" },
            "apiVersion": self.api_version, "time": self.time, "fieldsType": "FieldsV1", "fieldsV1": self.fields.write(),
        });
        if !self.subresource.is_empty() {
            out["subresource"] = self.subresource.as_str().into();
        }
        out
    }

    /// How conflicts name the manager.
    fn title(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applied {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }
}

fn entries(object: &Value) -> Vec<Entry> {
    object["metadata"]["managedFields"].as_array().into_iter().flatten().filter_map(Entry::read).collect()
}

fn set_entries(object: &mut Value, entries: &[Entry]) {
    let Some(meta) = object["metadata"].as_object_mut() else { return };
    if entries.is_empty() {
        meta.remove("managedFields");
    } else {
        meta.insert("managedFields".to_owned(), entries.iter().map(Entry::write).collect());
    }
}

/// Whether an encoded object records its managers, so that a write to it has to call [`update`].
pub fn is_tracked(json: &[u8]) -> bool {
    const NAME: &[u8] = b"\"managedFields\":[{";
    json.windows(NAME.len()).any(|it| it == NAME)
}

/// The object after `config` is applied to `live`; without a live object, the object to create.
///
/// # Errors
/// `BadRequest` for configurations with unknown fields or repeated keys, `Conflict` with a cause per field that another manager owns.
pub fn apply(
    kind: &Kind,
    live: Option<&Value>,
    config: &Value,
    writer: &Writer<'_>,
    force: bool,
) -> status::Result<Value> {
    let types = Types::get();
    let shape = types.root(kind);
    if !config["metadata"].is_object() {
        return Err(Status::bad_request("metadata must be an object"));
    }
    if config["metadata"].get("managedFields").is_some_and(|it| !it.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let config = merge::without_nulls(config.clone());
    let applied = Fields::of(types, &shape, &config).map_err(|why| {
        let text = |field: &str| config["metadata"][field].as_str().unwrap_or_default().to_owned();
        Status::bad_request(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): {why}",
            text("namespace"),
            text("name"),
            kind.api_version(),
            kind.kind
        ))
    })?;
    let applied = applied.without_identity();
    let (mut all, live) = match live {
        Some(live) => (known_entries(types, &shape, kind, live)?, Cow::Borrowed(live)),
        None => (Vec::new(), Cow::Owned(json!({"metadata": {}}))),
    };
    let before = all.iter().position(|it| it.is(writer, true)).map(|at| all.remove(at));
    let mut merged = merge::merged(types, &shape, None, &live, &config);
    let changed = Fields::changed(types, &shape, &live, &merged).without_identity();
    let conflicts: Vec<(String, Vec<String>)> = all
        .iter()
        .map(|it| (it.title(), it.fields.intersection(&changed).paths()))
        .filter(|(_, paths)| !paths.is_empty())
        .collect();
    if !conflicts.is_empty() {
        if !force {
            return Err(conflict(&conflicts));
        }
        for entry in &mut all {
            entry.fields = entry.fields.difference(&changed);
        }
        all.retain(|it| !it.fields.is_empty());
    }
    if let Some(before) = &before {
        let others = all.iter().fold(Fields::default(), |sum, it| sum.union(&it.fields));
        merge::prune(types, &shape, None, &mut merged, &before.fields, &applied, &others);
    }
    let unchanged = before.as_ref().is_some_and(|it| it.fields == applied);
    let time = before.filter(|_| unchanged).map_or_else(|| writer.now.to_owned(), |it| it.time);
    all.push(Entry {
        manager: writer.manager.to_owned(),
        applied: true,
        api_version: kind.api_version(),
        time,
        subresource: writer.subresource.to_owned(),
        fields: applied,
    });
    all.sort_by(|a, b| {
        (!a.applied, &a.time, &a.manager, &a.subresource).cmp(&(!b.applied, &b.time, &b.manager, &b.subresource))
    });
    set_entries(&mut merged, &all);
    Ok(merged)
}

/// The entries of an object; one that has none gets the entry of what stood before.
fn known_entries(types: &Types, shape: &Shape, kind: &Kind, live: &Value) -> status::Result<Vec<Entry>> {
    let all = entries(live);
    if !all.is_empty() {
        return Ok(all);
    }
    let mut stood = live.clone();
    if let Some(object) = stood.as_object_mut() {
        object.remove("status");
    }
    let fields = Fields::of(types, shape, &merge::without_nulls(stood)).map_err(Status::internal)?.without_identity();
    if fields.is_empty() {
        return Ok(Vec::new());
    }
    let time = live["metadata"]["creationTimestamp"].as_str().unwrap_or_default().to_owned();
    Ok(vec![Entry {
        manager: BEFORE_FIRST_APPLY.to_owned(),
        applied: false,
        api_version: kind.api_version(),
        time,
        subresource: String::new(),
        fields,
    }])
}

/// Records a plain write (create, update, patch) of an object that records its managers: what the writer set belongs to it, alone; what it
/// removed belongs to nobody. `new` is given the entries that `old` had, changed by that. Objects without entries stay so.
pub fn update(kind: &Kind, old: &Value, new: &mut Value, writer: &Writer<'_>) {
    let mut all = entries(old);
    if all.is_empty() {
        return;
    }
    let types = Types::get();
    let shape = types.root(kind);
    let changed = Fields::changed(types, &shape, old, new).without_identity();
    let removed = Fields::removed(types, &shape, old, new).without_identity();
    if !changed.is_empty() || !removed.is_empty() {
        for entry in &mut all {
            entry.fields = entry.fields.difference(&removed);
            if !entry.is(writer, false) {
                entry.fields = entry.fields.difference(&changed);
            }
        }
        if !changed.is_empty() {
            match all.iter_mut().find(|it| it.is(writer, false)) {
                Some(entry) => {
                    entry.fields = entry.fields.union(&changed);
                    entry.time = writer.now.to_owned();
                }
                None => all.push(Entry {
                    manager: writer.manager.to_owned(),
                    applied: false,
                    api_version: kind.api_version(),
                    time: writer.now.to_owned(),
                    subresource: writer.subresource.to_owned(),
                    fields: changed,
                }),
            }
        }
        all.retain(|it| !it.fields.is_empty());
    }
    set_entries(new, &all);
}

/// `Apply failed with 1 conflict: conflict with "kubectl" using v1: .spec.replicas`.
fn conflict(conflicts: &[(String, Vec<String>)]) -> Status {
    let mut causes = Vec::new();
    for (title, paths) in conflicts {
        for path in paths {
            causes.push(Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {title}"),
                field: path.clone(),
            });
        }
    }
    let message = match &*causes {
        [only] => format!("Apply failed with 1 conflict: {}: {}", only.message, only.field),
        many => {
            let texts: Vec<String> = conflicts
                .iter()
                .map(|(title, paths)| format!("conflicts with {title}:\n- {}", paths.join("\n- ")))
                .collect();
            format!("Apply failed with {} conflicts: {}", many.len(), texts.join("\n"))
        }
    };
    Status::new(Reason::Conflict, message).with_details(Details { causes, ..Details::default() })
}

/// The steps into a list's elements, where the list is merged by element; nothing where it is a whole.
fn element_steps(field: Option<&Field>, list: &[Value]) -> Option<Vec<Step>> {
    use crate::list_types::List;
    match field.map_or(List::Atomic, Field::list) {
        List::Atomic => None,
        List::Set => Some(list.iter().map(Step::value).collect()),
        List::Map(keys) => list.iter().map(|it| Step::key(it, keys)).collect(),
    }
}

#[cfg(test)]
mod tests;
