//! Admission: the rules that look beyond one object, in the order in which they run.
//!
//! In: a write, who makes it, the object as it stands and as it would be stored. Out: the object changed, or a refusal in Kubernetes'
//! words. A new plugin is a file below and a line in [`plugins`]. Plugins look objects up in the cache first, and what they would refuse
//! for its absence in the store, because the cache may be a moment behind.

pub mod lister;

pub mod namespace_lifecycle;

pub mod limit_ranger;
pub mod service_account;

pub mod node_restriction;
pub mod node_revocation;
pub mod taint_nodes_by_condition;

pub mod default_toleration_seconds;
pub mod pod_security;
pub mod priority;

pub mod admin_access;
pub mod claim_resize;
pub mod default_storage_class;
pub mod runtime_class;
pub mod storage_object_in_use_protection;

pub mod certificates;
pub mod default_ingress_class;
pub mod escalation;

pub mod expressions;
pub mod policies;
pub mod selection;
pub mod webhooks;

pub mod resource_quota;

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use orlop_api::kind::Kind;
use orlop_api::status::{self, Status};
use orlop_store::Store;

use crate::authenticate::{Found, Objects};
use crate::authorize::Policy;
use crate::callout::Caller;
use crate::quota::Ledger;
use crate::registry;
use crate::stage::{Admission, Plugin};
use default_toleration_seconds::Patience;

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
        match registry::named("", kind) {
            Some(kind) => self.find_in_store(kind, namespace, name).await,
            None => Ok(None),
        }
    }

    /// An object of any kind, likewise.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn find_of(&self, kind: &'static Kind, namespace: &str, name: &str) -> status::Result<Option<Found>> {
        let known = self.objects.table(kind).and_then(|it| it.get(&kind.key(namespace, name)));
        match known {
            Some(it) => {
                Ok(Some(Found { uid: it.head.uid.to_string(), deleting: it.head.deleting, json: it.json.clone() }))
            }
            None => self.find_in_store(kind, namespace, name).await,
        }
    }

    async fn find_in_store(&self, kind: &Kind, namespace: &str, name: &str) -> status::Result<Option<Found>> {
        let (entry, _) = self.store.get(&kind.key(namespace, name)).await.map_err(|error| {
            tracing::warn!(%error, "admission could not ask the store");
            Status::new(status::Reason::ServiceUnavailable, "the store is unavailable")
        })?;
        let Some(entry) = entry else { return Ok(None) };
        let head = kind.head(&entry.value).map_err(Status::internal)?;
        Ok(Some(Found { uid: head.uid.into(), deleting: head.deleting, json: entry.value }))
    }
}

/// What admission can be told to do differently.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Plugins that are left out, by their names (kube-apiserver's `--disable-admission-plugins`).
    pub disabled: Vec<String>,
    pub patience: Patience,
}

/// All plugins, in their order.
pub fn plugins(
    sight: &Sight,
    policy: &Arc<Policy>,
    ledger: &Arc<Ledger>,
    caller: &Arc<Caller>,
    options: &Options,
) -> Vec<Arc<dyn Plugin>> {
    let mut all: Vec<Arc<dyn Plugin>> = vec![
        Arc::new(namespace_lifecycle::NamespaceLifecycle::new(sight.clone())),
        Arc::new(limit_ranger::LimitRanger::new(sight)),
        Arc::new(service_account::ServiceAccount::new(sight.clone())),
        Arc::new(node_restriction::NodeRestriction::new(sight.clone())),
        Arc::new(node_revocation::NodeRevocation::new(policy.clone())),
        Arc::new(taint_nodes_by_condition::TaintNodesByCondition),
        Arc::new(pod_security::PodSecurity::new(sight)),
        Arc::new(priority::Priority::new(sight)),
        Arc::new(default_toleration_seconds::DefaultTolerationSeconds(options.patience)),
        Arc::new(default_storage_class::DefaultStorageClass::new(sight)),
        Arc::new(storage_object_in_use_protection::StorageObjectInUseProtection),
        Arc::new(claim_resize::ClaimResize::new(sight)),
        Arc::new(runtime_class::RuntimeClass::new(sight)),
        Arc::new(admin_access::AdminAccess::new(sight)),
        Arc::new(default_ingress_class::DefaultIngressClass::new(sight)),
        Arc::new(escalation::Escalation::new(policy.clone())),
        Arc::new(policies::Policies::new(sight, policy, caller)),
    ];
    all.extend(certificates::plugins(policy));
    all.extend(webhooks::plugins(sight, policy, caller));
    // Last, so that only what nobody else refuses is charged.
    all.push(Arc::new(resource_quota::ResourceQuota::new(sight, ledger)));
    all.into_iter().filter(|it| !options.disabled.iter().any(|name| name == it.name())).collect()
}

/// The class that is marked as the default one: of several the newest, and of those the first by name.
fn default_of<'a>(classes: impl Iterator<Item = &'a ObjectMeta>, marks: &[&str]) -> Option<String> {
    let marked = |it: &&ObjectMeta| {
        let annotation = |mark: &&str| it.annotations.as_ref()?.get(*mark).map(|it| it == "true");
        marks.iter().any(|mark| annotation(mark) == Some(true))
    };
    let born = |it: &ObjectMeta| it.creation_timestamp.as_ref().map(|it| it.0);
    let newest = classes.filter(marked).max_by(|a, b| born(a).cmp(&born(b)).then_with(|| b.name.cmp(&a.name)));
    newest.and_then(|it| it.name.clone())
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
