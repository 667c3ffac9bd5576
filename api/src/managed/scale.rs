//! The managed fields of an object's scale, which is written as an object of its own: who owns the replicas there owns them here.
//!
//! In: the managed fields of the object, and where its replicas stand. Out: those of its scale, and back. Source:
//! `k8s.io/apimachinery/pkg/util/managedfields/scalehandler.go`.

use std::borrow::Cow;
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::apply::{self, Applied};
use super::entries::{self, Entry};
use super::set::Set;
use super::update::{self, Sent, Standing};
use super::versions::Versions;
use super::{Subject, Writer};
use crate::shape::{Shapes, custom};
use crate::status;

/// The kind and version in which every scale is served.
const KIND: &str = "Scale";
const API_VERSION: &str = "autoscaling/v1";

/// Where a scale has its replicas.
const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// An object whose scale is written.
#[derive(Clone, Copy, Debug)]
pub struct Scaled<'a> {
    /// Its managed fields.
    pub managed: Option<&'a str>,
    /// The version in which it is served.
    pub api_version: &'a str,
    /// Where it has its replicas.
    pub replicas: &'a [&'a str],
    /// Its scale as it stands.
    pub scale: &'a Value,
}

fn subject() -> Subject {
    static SHAPES: OnceLock<Shapes> = OnceLock::new();
    let shapes = SHAPES.get_or_init(|| {
        let count = json!({"type": "integer"});
        custom::shapes(Some(&json!({"type": "object", "properties": {
            "spec": {"type": "object", "properties": {"replicas": count}},
            "status": {"type": "object", "properties": {"replicas": count, "selector": {"type": "string"}}},
        }})))
    });
    Subject {
        shapes: shapes.clone(),
        api_version: API_VERSION.to_owned(),
        group_version: API_VERSION.to_owned(),
        kind: KIND.to_owned(),
        ignored: &[],
        versions: Versions::One,
    }
}

/// The managed fields of an object after a plain write to its scale, which then is `new`.
pub fn record(object: Scaled<'_>, new: &Value, writer: &Writer<'_>) -> Option<String> {
    let managed = of_object(object.managed, object.replicas);
    let (old, new) = (object.scale.to_string(), new.to_string());
    let standing = Standing { bare: &old, managed: managed.as_deref() };
    let after = update::record(&subject(), Some(standing), &new, Sent::Nothing, writer);
    to_object(object.managed, after.as_deref(), object.api_version, object.replicas)
}

/// The scale after a configuration is applied to it, and the managed fields of its object.
///
/// # Errors
/// As [`apply::apply`].
pub fn applied(object: Scaled<'_>, config: &Value, writer: &Writer<'_>, force: bool) -> status::Result<Applied> {
    let managed = of_object(object.managed, object.replicas);
    let old = object.scale.to_string();
    let standing = Standing { bare: &old, managed: managed.as_deref() };
    let after = apply::apply(&subject(), Some(standing), config, writer, force)?;
    let managed = to_object(object.managed, after.managed.as_deref(), object.api_version, object.replicas);
    Ok(Applied { managed, ..after })
}

/// The managed fields of the scale.
fn of_object(managed: Option<&str>, replicas: &[&str]) -> Option<String> {
    let mut known = entries::read(managed?).ok()?;
    known.retain(|it| it.set().has_path(replicas));
    for entry in &mut known {
        entry.put(Set::of_path(&REPLICAS));
        entry.api_version = Cow::Borrowed(API_VERSION);
    }
    entries::write(known)
}

/// The managed fields of the object after its scale was written: `scale` are those of the scale.
fn to_object(managed: Option<&str>, scale: Option<&str>, api_version: &str, replicas: &[&str]) -> Option<String> {
    let known = managed.and_then(|it| entries::read(it).ok()).unwrap_or_default();
    let mut of_scale = scale.and_then(|it| entries::read(it).ok()).unwrap_or_default();
    let mut out: Vec<Entry<'_>> = Vec::new();
    for mut entry in known {
        if !entry.set().has_path(replicas) {
            out.push(entry);
            continue;
        }
        let same = |it: &Entry<'_>| {
            it.manager == entry.manager && it.operation == entry.operation && it.subresource == entry.subresource
        };
        match of_scale.iter().position(same) {
            // It is still the one who owns them.
            Some(at) => {
                of_scale.remove(at);
            }
            None => {
                let left = entry.set().difference(&Set::of_path(replicas));
                entry.put(left);
            }
        }
        out.push(entry);
    }
    for mut entry in of_scale {
        entry.put(Set::of_path(replicas));
        entry.api_version = Cow::Borrowed(api_version);
        // As in Kubernetes, which looks for the time among the object's entries.
        entry.time = None;
        out.push(entry);
    }
    entries::write(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_change_their_owner_through_the_scale() {
        let managed = r#"[{"manager":"a","operation":"Apply","apiVersion":"apps/v1","time":"2026-01-02T03:04:05Z","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{},"f:paused":{}}}}]"#;
        let scale = of_object(Some(managed), &REPLICAS).unwrap();
        assert!(scale.contains(r#""apiVersion":"autoscaling/v1""#) && !scale.contains("paused"), "{scale}");
        assert_eq!(to_object(Some(managed), Some(&scale), "apps/v1", &REPLICAS).as_deref(), Some(managed));
        let other = r#"[{"manager":"b","operation":"Update","apiVersion":"autoscaling/v1","fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{}}},"subresource":"scale"}]"#;
        let after = to_object(Some(managed), Some(other), "apps/v1", &REPLICAS).unwrap();
        assert!(after.contains(r#"{"f:spec":{"f:paused":{}}}"#), "{after}");
        assert!(after.contains(r#""manager":"b","operation":"Update","apiVersion":"apps/v1""#), "{after}");
        assert_eq!(of_object(None, &REPLICAS), None);
    }
}
