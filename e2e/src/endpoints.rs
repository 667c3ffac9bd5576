//! Whom to ask for a Service, learned as its clients learn it: from a watch on its EndpointSlices.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use orlop_client::informer::Source;
use orlop_client::{Informer, Store};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::Api;

/// The label that says whose a slice is.
const SERVICE: &str = "kubernetes.io/service-name";
/// How long the first list may take.
const SYNC_LIMIT: Duration = Duration::from_secs(20);

/// A Service's ready endpoints. While the API is away they stay as they were last, as with any client.
pub struct Endpoints {
    store: Store<EndpointSlice>,
    service: String,
    _watching: DropGuard,
}

impl Endpoints {
    /// Watches the slices of a Service.
    ///
    /// # Errors
    /// When they cannot be listed in time.
    pub fn watch(api: &Api, namespace: &str, service: &str) -> Result<Endpoints> {
        let (runtime, client) = api.parts();
        let shutdown = CancellationToken::new();
        let _entered = runtime.enter();
        let source = Source::namespaced::<EndpointSlice>(namespace);
        let store = Informer::of(client.clone(), source).start(shutdown.clone());
        runtime.block_on(async { tokio::time::timeout(SYNC_LIMIT, store.synced()).await })?;
        Ok(Endpoints { store, service: service.to_owned(), _watching: shutdown.drop_guard() })
    }

    /// The addresses, with ports, of the endpoints that are ready now.
    pub fn ready(&self) -> Vec<String> {
        let mut addresses = Vec::new();
        for slice in self.store.list() {
            let labels = slice.metadata.labels.as_ref();
            if labels.and_then(|it| it.get(SERVICE)) != Some(&self.service) {
                continue;
            }
            let Some(port) = slice.ports.iter().flatten().find_map(|it| it.port) else { continue };
            // An endpoint that does not say is ready: so the API defines it.
            let ready =
                slice.endpoints.iter().filter(|it| it.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true));
            addresses.extend(ready.flat_map(|it| it.addresses.iter().map(|it| format!("{it}:{port}"))));
        }
        addresses.sort();
        addresses
    }
}
