//! The objects of one kind, as admission looks them up: from the cache, and where one is missing there, from the store.
//!
//! Plugins that look at lists ask first whether there is anything: with an empty table that is all they cost.

use std::sync::Arc;

use orlop_api::kind::Kind;
use orlop_api::status;
use serde::de::DeserializeOwned;

use super::Sight;
use crate::cache::{Object, Table};
use crate::registry;

/// Looks up objects of one kind.
#[derive(Clone)]
pub struct Lister {
    sight: Sight,
    kind: Option<&'static Kind>,
}

impl Lister {
    /// Of this kind. A kind that is not served has no objects.
    pub fn new(sight: &Sight, group: &str, kind: &str) -> Self {
        Lister { sight: sight.clone(), kind: registry::named(group, kind) }
    }

    fn table(&self) -> Option<Arc<Table>> {
        self.sight.objects.table(self.kind?)
    }

    /// Whether there are none at all.
    pub fn is_empty(&self) -> bool {
        self.table().is_none_or(|it| it.is_empty())
    }

    /// The revision of the last change, which is the same as long as nothing has changed.
    pub fn revision(&self) -> u64 {
        self.table().map_or(0, |it| it.revision())
    }

    /// All of a namespace, in the order of their names; of all namespaces where it is empty.
    pub fn objects(&self, namespace: &str) -> Vec<Arc<Object>> {
        let (Some(table), Some(kind)) = (self.table(), self.kind) else { return Vec::new() };
        let prefix = if namespace.is_empty() { kind.prefix() } else { format!("{}{namespace}/", kind.prefix()) };
        let snapshot = table.snapshot();
        snapshot.range(&prefix, None).cloned().collect()
    }

    /// The same, decoded. What cannot be read is told in the log and passed over.
    pub fn all<T: DeserializeOwned>(&self, namespace: &str) -> Vec<T> {
        let objects = self.objects(namespace);
        objects.iter().filter_map(|it| read(&it.key, &it.json)).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn get<T: DeserializeOwned>(&self, namespace: &str, name: &str) -> status::Result<Option<T>> {
        let Some(kind) = self.kind else { return Ok(None) };
        let found = self.sight.find_of(kind, namespace, name).await?;
        Ok(found.and_then(|it| read(name, &it.json)))
    }
}

fn read<T: DeserializeOwned>(what: &str, json: &[u8]) -> Option<T> {
    serde_json::from_slice(json)
        .inspect_err(|error| tracing::warn!(what, %error, "admission cannot read an object"))
        .ok()
}
