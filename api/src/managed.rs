//! Who manages which fields of an object: `metadata.managedFields` of every write, and server-side apply (KEP-555).
//!
//! In: an object as it stands and as a write leaves it, or a configuration to apply, both as JSON text; who writes. Out: the text of the managed
//! fields, and for an apply the merged object. Modules stand in the order of the data: [`text`] finds the managed fields in an object, [`tree`]
//! reads an object along its kind's shape, [`set`] holds sets of fields, [`walk`] makes them, [`merge`] and [`validate`] are for
//! applies, [`entries`] for the record; then the two kinds of writes, [`update`] and [X

use crate::kind::{Kind, Part};
use crate::shape::Shapes;

pub mod text;

mod entries;
mod merge;
mod set;
mod tree;
mod validate;
mod versions;
mod walk;

pub mod apply;
pub mod scale;
pub mod update;

pub use entries::same_but_times;
use versions::Versions;
use walk::Ignored;

/// Who writes, and when.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// `fieldManager`, or what [`manager_of`] makes of the user agent.
    pub manager: &'a str,
    /// The subresource written to; empty for the object itself.
    pub subresource: &'a str,
    /// The time of the write, RFC 3339 in whole seconds, UTC.
    pub now: &'a str,
    /// What the server itself has filled in before the write was recorded, and nobody owns: the text of a set (see [`filled_in`]).
    pub unowned: Option<&'a str>,
}

/// What one form of an object has that the other has not, as the text of a set.
pub fn filled_in(kind: &Kind, before: &serde_json::Value, after: &serde_json::Value) -> Option<String> {
    let Shapes { types, root } = kind.shapes();
    let (before, after) = (before.to_string(), after.to_string());
    let (before, after) = (tree::Tree::read(&before, &types, &root)?, tree::Tree::read(&after, &types, &root)?);
    let changes = walk::compare(&types, &root, &before, &after, &[]);
    let mut out = String::new();
    changes.changed.write(&mut out);
    Some(out)
}

/// The longest name of a manager (`FieldManagerMaxLength`).
pub const MANAGER_LIMIT_BYTES: usize = 128;

/// The manager's name of one who gives none.
const UNKNOWN: &str = "unknown";

/// The name under which a writer is recorded who gives none: what its user agent has before the first slash, as far as it can be printed.
pub fn manager_of(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    let mut out = String::new();
    for it in name.chars().filter(|it| !it.is_control()) {
        if out.len() + it.len_utf8() > MANAGER_LIMIT_BYTES {
            break;
        }
        out.push(it);
    }
    out
}

/// Checks managed fields that admission has left in an object.
///
/// # Errors
/// What is wrong with them.
pub fn check(managed: Option<&str>) -> Result<(), String> {
    let known = managed.map(entries::read).transpose()?.unwrap_or_default();
    if entries::are_readable(&known) { Ok(()) } else { Err("error decoding set".to_owned()) }
}

/// How an object's kind and a write to it bear on its managers.
#[derive(Clone, Debug)]
pub struct Subject {
    shapes: Shapes,
    api_version: String,
    /// Group and version as Go writes them: `/v1`, `apps/v1`.
    group_version: String,
    kind: String,
    ignored: Ignored,
    versions: Versions,
}

impl Subject {
    /// A write to this part of an object.
    pub fn of(kind: &Kind, part: Part) -> Self {
        Subject {
            shapes: kind.shapes(),
            api_version: kind.api_version(),
            group_version: format!("{}/{}", kind.group, kind.version),
            kind: kind.kind.to_owned(),
            ignored: kind.reset_fields(part),
            versions: Versions::of(kind),
        }
    }
}

#[cfg(test)]
mod tests;
