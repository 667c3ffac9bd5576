//! Admission: the rules that look beyond one object, in the order in which they run.
//!
//! In: a write, who makes it, the object as it stands and as it would be stored. Out: the object changed, or a refusal in Kubernetes'
//! words. A new plugin is a file below and a line in [`plugins`]. Plugins look objects up in the cache first, and what they would refuse
//! for its absence in the store, because the cache may be a moment behind.

pub mod certificates;
pub mod escalation;
pub mod namespace_lifecycle;
pub mod node_restriction;
pub mod service_account;

use std::sync::Arc;

use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};
use orlop_store::Store;

use crate::authenticate::{Found, Objects};
use crate::authorize::Policy;
use crate::registry;
use crate::stage::{Admission, Plugin};

/// Where plugins look objects up.
#[derive(Clone)]
pub struct Sight {
    pub objects: Arc<dyn Objects>,
    pub store: Arc<dyn Store>,
}

impl Sight {
    /// An object of a built-in kind: from the cache, or where it is not there, from the store.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn find(&self, kind: &str, namespace: &str, name: &str) -> status::Result<Option<Found>> {
        if let Some(found) = self.objects.find("", kind, namespace, name) {
            return Ok(Some(found));
        }
        self.find_in_store(kind, namespace, name).await
    }

    async fn find_in_store(&self, kind: &str, namespace: &str, name: &str) -> status::Result<Option<Found>> {
        let Some(kind) = registry::named("", kind) else { return Ok(None) };
        let (entry, _) = self.store.get(&kind.key(namespace, name)).await.map_err(|error| {
            tracing::warn!(%error, "admission could not ask the store");
            Status::new(status::Reason::ServiceUnavailable, "the store is unavailable")
        })?;
        let Some(entry) = entry else { return Ok(None) };
        let head = kind.head(&entry.value).map_err(Status::internal)?;
        Ok(Some(Found { uid: head.uid.into(), deleting: head.deleting, json: entry.value }))
    }
}

/// All plugins, in their order.
pub fn plugins(sight: &Sight, policy: &Arc<Policy>) -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle::new(sight.clone())),
        Arc::new(service_account::ServiceAccount::new(sight.clone())),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(certificates::Requester),
        Arc::new(certificates::Approval::new(policy.clone())),
        Arc::new(certificates::Signing::new(policy.clone())),
        Arc::new(certificates::SubjectRestriction),
        Arc::new(escalation::Escalation::new(policy.clone())),
    ]
}

/// `pods "web" is forbidden: <why>`.
fn forbidden(write: &Admission<'_>, why: &str) -> Status {
    Status::forbidden(write.kind.group, write.kind.names.plural, write.name, why)
}

fn is(kind: &Kind, group: &str, name: &str) -> bool {
    kind.group == group && kind.kind == name
}

#[cfg(test)]
mod tests;
