//! What the verbs work with: the store they commit to, the cache they read, and the rules of admission.

use std::sync::Arc;

use orlop_api::kind::{Kind, Sub};
use orlop_api::status::{self, Reason, Status};
use orlop_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::cache::{Cache, Object};
use crate::callout::Caller;
use crate::convert;
use crate::labels::Labels;
use crate::proxy::Proxies;
use crate::service_addresses::ServiceAddresses;
use crate::stage::{Connector, Plugin};
use crate::usage::Usage;

/// What the verbs work with.
pub struct Core {
    pub store: Arc<dyn Store>,
    pub cache: Arc<Cache>,
    pub plugins: Vec<Arc<dyn Plugin>>,
    pub connectors: Vec<Arc<dyn Connector>>,
    pub addresses: ServiceAddresses,
    pub labels: Arc<Labels>,
    pub usage: Usage,
    pub proxies: Proxies,
    /// Calls the webhooks that convert custom objects.
    pub caller: Arc<Caller>,
    /// A stop was asked for: the server says that it is not ready.
    pub stopping: CancellationToken,
    /// The server drains: watches end.
    pub draining: CancellationToken,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core").field("revision", &self.cache.revision()).finish_non_exhaustive()
    }
}

impl Core {
    /// Waits until the cache shows every write that was answered before this call.
    ///
    /// # Errors
    /// When the store is away or the cache does not follow in time.
    pub async fn catch_up(&self) -> status::Result<()> {
        let revision = self.store.revision().await.map_err(unavailable)?;
        self.cache.wait_for(revision.0).await
    }

    /// One object in the form of `kind`, as of the last batch; where a webhook has to make that form, it is asked.
    ///
    /// # Errors
    /// What Kubernetes says of a webhook that fails.
    pub async fn get(&self, kind: &'static Kind, namespace: &str, name: &str) -> status::Result<Option<Arc<Object>>> {
        if !convert::is_asked(kind) {
            return Ok(self.cache.get(kind, namespace, name));
        }
        let Some(found) = self.cache.table(kind).get(&kind.key(namespace, name)) else { return Ok(None) };
        convert::ready(self, kind, std::iter::once(&found)).await?;
        Ok(Some(found.served_as(kind)))
    }

    /// Who serves a subresource of a kind in its own way.
    pub fn connector(&self, plural: &str, sub: Sub) -> Option<&Arc<dyn Connector>> {
        self.connectors.iter().find(|it| it.serves() == (plural, sub))
    }
}

/// What a client hears of a store that did not do what it was asked. That a write's outcome is unknown is said, never guessed.
pub fn unavailable(error: StoreError) -> Status {
    match error {
        StoreError::Unavailable { unknown: true, reason } => {
            tracing::warn!(%reason, "the outcome of a write is unknown");
            Status::new(
                Reason::Timeout,
                "Timeout: the store did not answer in time; the write may or may not have taken effect",
            )
        }
        StoreError::Unavailable { reason, .. } => {
            tracing::warn!(%reason, "the store is unavailable");
            Status::new(Reason::ServiceUnavailable, format!("the store is unavailable: {reason}"))
        }
        // Kubernetes passes on what etcd says, as an error of the server's; the code is that of what it means.
        StoreError::TooLarge { .. } => Status::new(Reason::RequestEntityTooLarge, "etcdserver: request is too large"),
        other => {
            tracing::error!(error = %other, "the store failed");
            Status::internal(other)
        }
    }
}
