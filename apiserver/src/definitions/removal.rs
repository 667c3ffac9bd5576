//! The end of all objects of a definition that is deleted.
//!
//! They are deleted below admission, as in Kubernetes: who may delete the definition may delete what it defines. What has finalizers is only
//! marked, and goes when they are taken away.

use std::sync::Arc;

use futures::StreamExt;
use orlop_api::kind::Kind;
use orlop_api::status;
use orlop_client::clock;
use orlop_store::{Commit, Expect, Revision, StoreError};
use serde_json::Value;

use crate::cache::Object;
use crate::core::{Core, unavailable};
use crate::verbs::delete::decide::{Options, Outcome, decide};

/// How many deletions are under way at once: enough for the store to write them together.
const AT_ONCE: usize = 32;

/// Deletes all objects of a kind, in the form in which they are stored; how many are left.
///
/// # Errors
/// When the store is away.
pub async fn remove_all(core: &Core, kind: &'static Kind) -> status::Result<usize> {
    // Creations that were let in before the definition was marked have come in by now.
    core.catch_up().await?;
    let objects: Vec<Arc<Object>> = core.cache.table(kind).snapshot().iter().cloned().collect();
    let mut deletions =
        futures::stream::iter(objects).map(|it| async move { remove(core, kind, &it).await }).buffer_unordered(AT_ONCE);
    while let Some(outcome) = deletions.next().await {
        outcome?;
    }
    core.catch_up().await?;
    Ok(core.cache.table(kind).len())
}

async fn remove(core: &Core, kind: &Kind, object: &Object) -> status::Result<()> {
    let now = orlop_api::meta::whole_seconds(clock::now());
    let value: Option<Value> = match decide(kind, object.value(), None, false, &Options::default(), now)? {
        Outcome::Nothing => return Ok(()),
        Outcome::Remove => None,
        Outcome::Mark(value) => Some(value),
    };
    let value = value.map(|it| it.to_string().into_bytes().into());
    let commit = Commit { key: object.key.clone(), expect: Expect::At(Revision(object.revision)), value };
    match core.store.commit(commit).await {
        // Who was faster is seen in the next look.
        Ok(_) | Err(StoreError::Mismatch { .. }) => Ok(()),
        Err(error) => Err(unavailable(error)),
    }
}
