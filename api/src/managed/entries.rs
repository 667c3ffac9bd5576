//! The entries of `metadata.managedFields`: who owns which fields, by which operation, since when.
//!
//! In: their JSON text. Out: [`Entry`]s, whose sets are read only where somebody looks at them, and the text again. Source:
//! `k8s.io/apimachinery/pkg/util/managedfields/internal/{managedfields,capmanagers}.go`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::set::Set;
use super::text::escape;
use crate::meta::whole_seconds;

/// How many managers that update are told apart; the oldest beyond are recorded as one.
const UPDATE_MANAGERS_MAX: usize = 10;

/// The one in whose name the oldest updates are recorded.
const ANCIENT: &str = "ancient-changes";

/// How a manager came to own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn text(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

/// One entry.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    pub manager: Cow<'a, str>,
    pub operation: Operation,
    pub api_version: Cow<'a, str>,
    /// RFC 3339 in whole seconds, UTC.
    pub time: Option<Cow<'a, str>>,
    pub subresource: Cow<'a, str>,
    fields: Fields<'a>,
}

#[derive(Clone, Debug)]
enum Fields<'a> {
    Text(&'a str),
    Set(Set<'a>),
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Wire<'a> {
    #[serde(borrow)]
    manager: Option<Cow<'a, str>>,
    #[serde(borrow)]
    operation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    api_version: Option<Cow<'a, str>>,
    #[serde(borrow)]
    time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    fields_type: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "fieldsV1")]
    fields: Option<&'a RawValue>,
    #[serde(borrow)]
    subresource: Option<Cow<'a, str>>,
}

impl<'a> Entry<'a> {
    /// An entry of these fields.
    pub fn new(manager: Cow<'a, str>, operation: Operation, api_version: Cow<'a, str>, set: Set<'a>) -> Self {
        Entry { manager, operation, api_version, time: None, subresource: Cow::Borrowed(""), fields: Fields::Set(set) }
    }

    fn from_wire(at: usize, wire: Wire<'a>) -> Result<Self, String> {
        let operation = match wire.operation.as_deref() {
            Some("Apply") => Operation::Apply,
            Some("Update") => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = wire.api_version.filter(|it| !it.is_empty());
        let api_version = api_version.ok_or_else(|| "apiVersion must not be empty".to_owned())?;
        match wire.fields_type.as_deref() {
            Some("FieldsV1") => {}
            None | Some("") => return Err(format!("missing fieldsType in managed fields entry {at}")),
            Some(other) => return Err(format!("invalid fieldsType {other:?} in managed fields entry {at}")),
        }
        let text = wire.fields.map(RawValue::get).filter(|it| *it != "null").unwrap_or("{}");
        Ok(Entry {
            manager: wire.manager.unwrap_or_default(),
            operation,
            api_version,
            time: wire.time.map(normal_time),
            subresource: wire.subresource.unwrap_or_default(),
            fields: Fields::Text(text),
        })
    }

    /// What tells entries apart: manager and operation, and of updates the version too.
    fn identity(&self) -> (Cow<'a, str>, Operation, Cow<'a, str>, Cow<'a, str>) {
        let version = if self.operation == Operation::Apply { Cow::Borrowed("") } else { self.api_version.clone() };
        (self.manager.clone(), self.operation, self.subresource.clone(), version)
    }

    /// Whether both are of the same manager and operation: updates are told apart by version too.
    pub fn is_of_same(&self, other: &Entry<'_>) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }

    /// The fields.
    pub fn set(&self) -> Cow<'_, Set<'a>> {
        match &self.fields {
            Fields::Set(set) => Cow::Borrowed(set),
            Fields::Text(text) => Cow::Owned(Set::read(text).unwrap_or_default()),
        }
    }

    /// Other fields in their place.
    pub fn put(&mut self, set: Set<'a>) {
        self.fields = Fields::Set(set);
    }

    /// Whether its fields may have one whose path begins with one of these: told from the text.
    pub fn may_touch(&self, steps: &Set<'_>) -> bool {
        let Fields::Text(text) = &self.fields else { return true };
        let mut name = String::new();
        steps.nodes().iter().any(|node| {
            name.clear();
            name.push('"');
            node.step.write_to(&mut name);
            name.push('"');
            text.contains(name.as_str())
        })
    }

    /// Whether it has no fields.
    pub fn is_empty(&self) -> bool {
        match &self.fields {
            Fields::Set(set) => set.is_empty(),
            Fields::Text(text) => *text == "{}",
        }
    }

    /// Whether both record the same, but for the time.
    fn records_same(&self, other: &Entry<'_>) -> bool {
        let fields = match (&self.fields, &other.fields) {
            (Fields::Text(one), Fields::Text(other)) if one == other => true,
            _ => *self.set() == *other.set(),
        };
        fields && self.is_of_same(other) && self.api_version == other.api_version
    }

    /// How conflicts name the manager.
    pub fn title(&self) -> String {
        let mut out = format!("{:?}", self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }

    fn write(&self, out: &mut String) {
        let field = |name: &str, value: &Cow<'_, str>, out: &mut String| {
            if value.is_empty() {
                return;
            }
            out.push_str(if out.ends_with('{') { "\"" } else { ",\"" });
            out.push_str(name);
            out.push_str("\":\"");
            escape(&Cow::Owned(value.to_string()), out);
            out.push('"');
        };
        out.push('{');
        field("manager", &self.manager, out);
        field("operation", &Cow::Borrowed(self.operation.text()), out);
        field("apiVersion", &self.api_version, out);
        if let Some(time) = &self.time {
            field("time", time, out);
        }
        out.push_str(",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
        match &self.fields {
            Fields::Text(text) => out.push_str(text),
            Fields::Set(set) => set.write(out),
        }
        field("subresource", &self.subresource, out);
        out.push('}');
    }
}

/// Times come in any zone and precision, and are kept in one form.
fn normal_time(text: Cow<'_, str>) -> Cow<'_, str> {
    const FORM_BYTES: usize = "2026-01-02T03:04:05Z".len();
    if text.len() == FORM_BYTES && text.ends_with('Z') {
        return text;
    }
    text.parse::<jiff::Timestamp>().map_or(Cow::Borrowed(""), |it| Cow::Owned(whole_seconds(it).to_string()))
}

/// Reads entries.
///
/// # Errors
/// What is wrong with them, in Kubernetes' words.
pub fn read(text: &str) -> Result<Vec<Entry<'_>>, String> {
    let wire: Option<Vec<Wire<'_>>> = serde_json::from_str(text).map_err(|it| it.to_string())?;
    let mut out: Vec<Entry<'_>> = Vec::new();
    // A body has room for 50,000 entries: they are not compared each with each.
    let mut places = HashMap::new();
    for (at, wire) in wire.unwrap_or_default().into_iter().enumerate() {
        let entry = Entry::from_wire(at, wire)?;
        match places.entry(entry.identity()) {
            hash_map::Entry::Occupied(twice) => out[*twice.get()] = entry,
            hash_map::Entry::Vacant(place) => {
                place.insert(out.len());
                out.push(entry);
            }
        }
    }
    Ok(out)
}

/// Whether the sets of all entries can be read.
pub fn are_readable(entries: &[Entry<'_>]) -> bool {
    entries.iter().all(|it| match it.fields {
        Fields::Text(text) => Set::read(text).is_some(),
        Fields::Set(_) => true,
    })
}

/// Writes entries in their order. None: there are none.
pub fn write(mut entries: Vec<Entry<'_>>) -> Option<String> {
    entries.retain(|it| !it.is_empty());
    if entries.is_empty() {
        return None;
    }
    entries.sort_by(|one, other| {
        (one.operation.cmp(&other.operation))
            .then_with(|| one.time.as_deref().unwrap_or_default().cmp(other.time.as_deref().unwrap_or_default()))
            .then_with(|| one.manager.cmp(&other.manager))
            .then_with(|| one.api_version.cmp(&other.api_version))
            .then_with(|| one.subresource.cmp(&other.subresource))
    });
    let mut out = String::with_capacity(1024);
    out.push('[');
    for (at, entry) in entries.iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        entry.write(&mut out);
    }
    out.push(']');
    Some(out)
}

/// Records the oldest updates as one, until no more managers than [`UPDATE_MANAGERS_MAX`] are left: one for each version.
pub fn cap(entries: &mut Vec<Entry<'_>>) {
    let updates = entries.iter().filter(|it| it.operation == Operation::Update).count();
    let mut excess = updates.saturating_sub(UPDATE_MANAGERS_MAX);
    if excess == 0 {
        return;
    }
    let mut oldest: Vec<usize> = (0..entries.len()).filter(|it| entries[*it].operation == Operation::Update).collect();
    oldest.sort_by_key(|at| {
        let it = &entries[*at];
        (it.time.clone().unwrap_or_default(), it.manager.clone(), it.api_version.clone(), it.subresource.clone())
    });
    let mut gone = vec![false; entries.len()];
    // The first entry of each version, into which the later ones of that version go.
    let mut buckets: HashMap<Cow<'_, str>, (usize, Vec<usize>)> = HashMap::new();
    for at in oldest {
        if excess == 0 {
            break;
        }
        match buckets.entry(entries[at].api_version.clone()) {
            hash_map::Entry::Vacant(bucket) => {
                bucket.insert((at, Vec::new()));
            }
            hash_map::Entry::Occupied(mut bucket) => {
                bucket.get_mut().1.push(at);
                gone[at] = true;
                excess -= 1;
            }
        }
    }
    for (bucket, later) in buckets.into_values() {
        let Some(last) = later.last() else { continue };
        let time = entries[*last].time.clone();
        let sets = std::iter::once(&bucket).chain(&later).map(|at| entries[*at].set().into_owned()).collect();
        let into = &mut entries[bucket];
        (into.manager, into.subresource, into.time) = (Cow::Borrowed(ANCIENT), Cow::Borrowed(""), time);
        into.put(united(sets));
    }
    let mut at = 0;
    entries.retain(|_| {
        at += 1;
        !gone[at - 1]
    });
}

/// The members of all sets: united by pairs, so that no member is moved more often than the logarithm of their number.
fn united(mut sets: Vec<Set<'_>>) -> Set<'_> {
    while sets.len() > 1 {
        let mut pairs = sets.into_iter();
        let mut fewer = Vec::with_capacity(pairs.len().div_ceil(2));
        while let Some(one) = pairs.next() {
            fewer.push(match pairs.next() {
                Some(other) => one.union(&other),
                None => one,
            });
        }
        sets = fewer;
    }
    sets.pop().unwrap_or_default()
}

/// Whether two texts record the same, but for the times.
pub fn same_but_times(one: &str, other: &str) -> bool {
    let (Ok(one), Ok(other)) = (read(one), read(other)) else { return false };
    // No two entries of one text are of the same manager, operation and version.
    let others: HashMap<_, _> = other.iter().map(|it| (it.identity(), it)).collect();
    one.len() == other.len()
        && one.iter().all(|it| others.get(&it.identity()).is_some_and(|other| it.records_same(other)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(
        manager: &'static str,
        operation: Operation,
        version: &'static str,
        time: &'static str,
        field: &'static str,
    ) -> Entry<'static> {
        let mut out = Entry::new(manager.into(), operation, version.into(), Set::of_path(&[field]));
        out.time = Some(time.into());
        out
    }

    #[test]
    fn entries_are_read_and_written_as_kubernetes_does() {
        let text = r#"[{"manager":"a","operation":"Apply","apiVersion":"v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:data":{}}},{"manager":"b","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{"f:data":{"f:x":{}}},"subresource":"status"}]"#;
        let read_back = read(text).unwrap();
        assert_eq!(read_back[1].title(), r#""b" with subresource "status" using v1"#);
        assert_eq!(write(read_back).unwrap(), text);
        assert!(
            same_but_times(text, &text.replace("2026", "2027")) && !same_but_times(text, &text.replace("f:x", "f:y"))
        );
        for (bad, why) in [
            (r#"[{"operation":"x"}]"#, "operation must be `Apply` or `Update`"),
            (r#"[{"operation":"Apply"}]"#, "apiVersion must not be empty"),
            (r#"[{"operation":"Apply","apiVersion":"v1"}]"#, "missing fieldsType in managed fields entry 0"),
            (
                r#"[{"operation":"Apply","apiVersion":"v1","fieldsType":"F"}]"#,
                "invalid fieldsType \"F\" in managed fields entry 0",
            ),
        ] {
            assert_eq!(read(bad).unwrap_err(), why);
        }
        assert_eq!(write(Vec::new()), None);
    }

    #[test]
    fn the_oldest_updates_become_one() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        let times = ["10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21"];
        let mut entries: Vec<Entry<'static>> =
            names.iter().zip(times).map(|(name, time)| entry(name, Operation::Update, "v1", time, name)).collect();
        entries.push(entry("other", Operation::Apply, "v1", "09", "x"));
        cap(&mut entries);
        assert_eq!(entries.len(), 11);
        let ancient = entries.iter().find(|it| it.manager == ANCIENT).unwrap();
        assert_eq!(ancient.set().paths(), [".a", ".b", ".c"]);
        assert_eq!(ancient.time.as_deref(), Some("12"));
        let before = entries.len();
        cap(&mut entries);
        assert_eq!(entries.len(), before);
    }
}
