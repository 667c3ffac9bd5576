//! Where objects live: revisioned keys, compare-and-set, ranges, watches.
//!
//! The store knows bytes and revisions, not kinds. [`Store`] is the whole contract; `memory`, `embedded` and `etcd` are its
//! engines and [`conformance`] holds them to one meaning. [`open()`] picks the engine a user named with `--store`; [`history`]
//! forgets what is old. A wait here has a time limit of its own only where it is for a peer or a disk: a caller bounds
//! its wait by dropping the future, and a commit dropped half-way may still take effect.

pub mod conformance;
pub mod embedded;
mod engine;
pub mod etcd;
pub mod history;
mod live;
pub mod memory;
mod mvcc;
pub mod open;

pub use open::{OpenError, is_shared, open};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// The store's logical time: every committed write has its own, larger than all before it. 0 stands before the first.
/// An object's `resourceVersion` is the revision of its last write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A key as Kubernetes lays it out: `/registry/pods/default/web`.
pub type Key = Arc<str>;

/// One key's value at some revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub value: Bytes,
    /// When the key came to be (again).
    pub created: Revision,
    /// When it was last written.
    pub modified: Revision,
}

/// A part of the keys that begin with a prefix, in key order, all seen at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub entries: Vec<Entry>,
    /// The revision at which the page was taken.
    pub revision: Revision,
    /// Whether keys follow after the last entry.
    pub more: bool,
}

/// What a commit expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The key must not exist.
    Absent,
    /// The key must exist, last written at this revision.
    At(Revision),
}

/// One compare-and-set.
#[derive(Clone, Debug)]
pub struct Commit {
    pub key: Key,
    pub expect: Expect,
    /// The new value; none deletes the key.
    pub value: Option<Bytes>,
}

/// One committed write, as watchers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub key: Key,
    pub revision: Revision,
    /// Whether the key did not exist before.
    pub created: bool,
    /// The value written; none for a deletion.
    pub value: Option<Bytes>,
}

/// What has happened since the last batch. Batches come in order, and no batch splits a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The watch has delivered everything up to and including this revision. A batch without events is progress.
    pub revision: Revision,
    pub events: Vec<Event>,
}

/// A watch: batches in order, without gap or repeat, until it ends with an error or its stream is dropped.
pub type Watch = BoxStream<'static, Result<Batch, StoreError>>;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The key is not as the commit expected it; here is what stands there.
    #[error("the key is not as expected")]
    Mismatch { current: Option<Entry> },
    /// The history before `oldest` is gone.
    #[error("revision {asked} is compacted away; the oldest kept is {oldest}")]
    Compacted { asked: Revision, oldest: Revision },
    /// A revision that has not been reached.
    #[error("revision {asked} is in the future; the store is at {current}")]
    Future { asked: Revision, current: Revision },
    /// A watcher so slow that its queue ran over: it must start again from its last revision.
    #[error("the watcher fell behind and was cut off at revision {0}")]
    Lagged(Revision),
    /// The store is away, or full, or shutting down. Whether a commit took effect is unknown when `unknown` is set.
    #[error("the store is unavailable: {reason}")]
    Unavailable { reason: String, unknown: bool },
    /// The value is larger than the store takes.
    #[error("a value of {size_bytes} bytes is larger than the {limit_bytes} that the store takes")]
    TooLarge { size_bytes: usize, limit_bytes: usize },
    /// The value under a key is kept in a form that cannot be read, for instance encrypted with a key that is not at hand.
    #[error("unable to transform key {key:?}: {why}")]
    Unreadable { key: String, why: String },
    /// The data on disk are not what was written.
    #[error("the store is damaged: {0}")]
    Damaged(String),
}

/// Where objects live.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// A revision not older than any commit that was answered before this call. Cheap in the embedded engines.
    async fn revision(&self) -> Result<Revision, StoreError>;

    /// The entry under `key` now, and the revision of the look.
    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError>;

    /// At most `limit` entries (0: all) whose keys begin with `prefix`, after the key `after` if given, as they were `at`
    /// a revision (none: now). [`StoreError::Compacted`] if that is forgotten, [`StoreError::Future`] if it is to come.
    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError>;

    /// Writes one key if it is as expected; answered when durable. To delete what is expected absent changes nothing and
    /// answers the current revision. [`StoreError::Mismatch`] otherwise says what stands there.
    async fn commit(&self, commit: Commit) -> Result<Revision, StoreError>;

    /// Everything committed to keys that begin with `prefix` after revision `after`: first from history, then live.
    /// [`StoreError::Compacted`] or [`StoreError::Future`] come as the answer or as the stream's first item.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;

    /// Forgets what only revisions before `before` can see. Ranges at, and watches after, `before` and later still work;
    /// earlier ones are [`StoreError::Compacted`]. To forget again what is forgotten is no error.
    async fn compact(&self, before: Revision) -> Result<(), StoreError>;

    /// Whether the value that was read under `key`, last written `at` a revision, would be kept in another form if it were written now, so that
    /// a write which changes nothing has to be made all the same. Engines keep bytes as they are: only what transforms them says yes.
    fn is_stale(&self, _key: &str, _at: Revision) -> bool {
        false
    }
}
