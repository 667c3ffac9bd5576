//! The managed fields of an object's scale, which is written as an object of its own: who owns the replicas there owns them here.
//!
//! In: the managed fields of the object, and where its replicas stand. Out: those of its scale, and back. Source:
//! `k8s.io/apimachinery/pkg/util/managedfields/scalehandler.go`.

use std::borrow::Cow;

use super::entries::{self, Entry};
use super::set::Set;

/// The version in which every scale is served.
pub const API_VERSION: &str = "autoscaling/v1";

/// Where a scale has its replicas.
const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// The managed fields of the scale.
pub fn of_object(managed: Option<&str>, replicas: &[&str]) -> Option<String> {
    let mut known = entries::read(managed?).ok()?;
    known.retain(|it| it.set().has_path(replicas));
    for entry in &mut known {
        entry.put(Set::of_path(&REPLICAS));
        entry.api_version = Cow::Borrowed(API_VERSION);
    }
    entries::write(known)
}

/// The managed fields of the object after its scale was written: `scale` are those of the scale.
pub fn to_object(managed: Option<&str>, scale: Option<&str>, api_version: &str, replicas: &[&str]) -> Option<String> {
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
