//! One finalizer of an object, put on or taken off.
//!
//! In: an object's metadata and a finalizer's name. Out: the write, or none where nothing is to be done. The list is replaced as a whole, so
//! that the write holds only for the version that was seen.

use kube::core::ObjectMeta;
use orlop_client::write::{Action, Resource};
use serde_json::json;

use crate::view::{key_of, uid_of};

/// Whether the object is about to go and this finalizer holds it.
pub fn holds(meta: &ObjectMeta, name: &str) -> bool {
    meta.deletion_timestamp.is_some() && has(meta, name)
}

/// Puts the finalizer on an object that stays and lacks it.
pub fn put_on(resource: Resource, meta: &ObjectMeta, name: &str) -> Option<Action> {
    if meta.deletion_timestamp.is_some() || has(meta, name) {
        return None;
    }
    let all = meta.finalizers.iter().flatten().map(String::as_str).chain([name]).collect();
    Some(patch(resource, meta, all))
}

/// Takes the finalizer off.
pub fn take_off(resource: Resource, meta: &ObjectMeta, name: &str) -> Action {
    patch(resource, meta, meta.finalizers.iter().flatten().map(String::as_str).filter(|it| *it != name).collect())
}

fn has(meta: &ObjectMeta, name: &str) -> bool {
    meta.finalizers.iter().flatten().any(|it| it == name)
}

fn patch(resource: Resource, meta: &ObjectMeta, all: Vec<&str>) -> Action {
    let all = Some(all).filter(|it| !it.is_empty());
    Action::Patch {
        resource,
        key: key_of(meta),
        sub: None,
        uid: uid_of(meta).to_owned(),
        revision: meta.resource_version.clone(),
        patch: json!({ "metadata": { "finalizers": all } }),
    }
}
