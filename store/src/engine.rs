//! What the engines of our own share: reads and watches from the live map. They differ in how a write gets there.
//!
//! In: a live map, and an engine's two ways to change it. Out: a [`Store`]. It does not know what makes a write durable.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;

use crate::live::Live;
use crate::{Commit, Entry, Page, Revision, Store, StoreError, Watch};

/// An engine that holds everything in a live map.
pub(crate) trait Engine: Send + Sync + 'static {
    fn live(&self) -> &Arc<Live>;

    /// As [`Store::commit`].
    fn write(&self, commit: Commit) -> impl Future<Output = Result<Revision, StoreError>> + Send;

    /// As [`Store::compact`], for a revision that has been reached.
    fn forget(&self, before: Revision) -> impl Future<Output = Result<(), StoreError>> + Send;
}

#[async_trait]
impl<E: Engine> Store for E {
    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.live().current())
    }

    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        Ok(self.live().read(|mvcc| (mvcc.get(key).cloned(), mvcc.current())))
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        self.live().page(prefix, after, limit, at)
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, StoreError> {
        self.write(commit).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.live().watch(prefix, after)
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let current = self.live().current();
        if before > current {
            return Err(StoreError::Future { asked: before, current });
        }
        self.forget(before).await
    }
}
