//! Encryption at rest: a store whose values are ciphertext below, and plain above.
//!
//! In: any [`Store`] and the [`Configuration`] that says which resources are encrypted with what. Out: the same store, in which a value is encrypted
//! on its way down and decrypted on its way up, so that commits, the feed, lists at a revision and admission need not know of it. Each value is
//! bound to its key: one that was copied to another key does not open there. A value in an older form (plain, or under a key that is no
//! longer the first) is read, and counts as stale, so that its next write, even one that changes nothing, writes it anew.
//! What cannot be opened is handed on as it is where many values come together, so that one bad value costs no other
//! object; the feed then reports it as unreadable. Asked for alone, it is an error that says why.
//!
//! The cache above holds plain objects: who can read the server's memory can read Secrets, as in Kubernetes.

pub mod configuration;
pub mod transform;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use orlop_store::{Batch, Commit, Entry, Page, Revision, Store, StoreError, Watch};
use parking_lot::Mutex;

use configuration::Configuration;

/// How many stale values are remembered: a key has some 60 bytes, so this is 6 MiB at the utmost. Beyond it a write that changes nothing
/// leaves a stale value as it is; one that changes something encrypts it like any other.
const STALE_MAX: usize = 50_000;

/// A store that keeps some of its values encrypted.
pub struct Sealed {
    inner: Arc<dyn Store>,
    eye: Arc<Eye>,
}

/// What opens values, and remembers those in an older form.
struct Eye {
    configuration: Configuration,
    /// The keys of stale values, with the revision at which they are.
    stale: Mutex<HashMap<Arc<str>, Revision>>,
}

impl Sealed {
    /// Encrypts what `configuration` says of what goes into `inner`.
    pub fn new(inner: Arc<dyn Store>, configuration: Configuration) -> Self {
        Sealed { inner, eye: Arc::new(Eye { configuration, stale: Mutex::default() }) }
    }

    /// The entry in its plain form.
    fn opened(&self, mut entry: Entry) -> Result<Entry, StoreError> {
        self.eye.open(&entry.key, entry.modified, &mut entry.value).map_err(|why| unreadable(&entry.key, &why))?;
        Ok(entry)
    }
}

fn unreadable(key: &str, why: &str) -> StoreError {
    StoreError::Unreadable { key: key.to_owned(), why: why.to_owned() }
}

impl Eye {
    fn open(&self, key: &Arc<str>, revision: Revision, value: &mut Bytes) -> Result<(), String> {
        let Some(transformers) = self.configuration.of(key) else { return Ok(()) };
        let opened = transformers.open(key, value)?;
        if let Some(plain) = opened.plain {
            *value = plain.into();
        }
        let mut stale = self.stale.lock();
        if opened.stale {
            if stale.len() < STALE_MAX || stale.contains_key(key) {
                stale.insert(key.clone(), revision);
            }
        } else if !stale.is_empty() && stale.get(key).is_some_and(|it| *it < revision) {
            stale.remove(key);
        }
        Ok(())
    }

    /// Opens what can be opened; the rest stays as it is, and the log says why.
    fn open_or_leave(&self, key: &Arc<str>, revision: Revision, value: &mut Bytes) {
        if let Err(why) = self.open(key, revision, value) {
            tracing::error!(%key, %why, "a stored value cannot be decrypted; restore its key in the encryption configuration");
        }
    }

    fn open_batch(&self, batch: &mut Batch) {
        for event in &mut batch.events {
            match &mut event.value {
                Some(value) => self.open_or_leave(&event.key, event.revision, value),
                None => self.forget(&event.key),
            }
        }
    }

    fn forget(&self, key: &str) {
        if self.configuration.of(key).is_some() {
            self.stale.lock().remove(key);
        }
    }
}

#[async_trait]
impl Store for Sealed {
    async fn revision(&self) -> Result<Revision, StoreError> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        let (entry, revision) = self.inner.get(key).await?;
        Ok((entry.map(|it| self.opened(it)).transpose()?, revision))
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let mut page = self.inner.range(prefix, after, limit, at).await?;
        for entry in &mut page.entries {
            self.eye.open_or_leave(&entry.key, entry.modified, &mut entry.value);
        }
        Ok(page)
    }

    async fn commit(&self, mut commit: Commit) -> Result<Revision, StoreError> {
        if let Some(value) = &commit.value
            && let Some(transformers) = self.eye.configuration.of(&commit.key)
            && let Some(sealed) = transformers.seal(&commit.key, value).map_err(|why| unreadable(&commit.key, &why))?
        {
            commit.value = Some(sealed.into());
        }
        match self.inner.commit(commit).await {
            // Where it cannot be opened, the caller finds that it is no object.
            Err(StoreError::Mismatch { current: Some(mut entry) }) => {
                self.eye.open_or_leave(&entry.key, entry.modified, &mut entry.value);
                Err(StoreError::Mismatch { current: Some(entry) })
            }
            other => other,
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let eye = self.eye.clone();
        let batches = self.inner.watch(prefix, after).await?;
        let opened = batches.map(move |it| {
            it.map(|mut batch| {
                eye.open_batch(&mut batch);
                batch
            })
        });
        Ok(opened.boxed())
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.inner.compact(before).await
    }

    fn is_stale(&self, key: &str, at: Revision) -> bool {
        self.eye.configuration.of(key).is_some() && self.eye.stale.lock().get(key) == Some(&at)
    }
}

#[cfg(test)]
mod tests;
