//! The engine for many API servers over one etcd cluster, 3.4 and later.
//!
//! In: commits, as transactions that compare the key's revision. Out: etcd's answers in the store's words. Keys lie in etcd
//! as they are given, so that Kubernetes' own tools find them. Watches, reads and writes have a connection each: a large
//! range does not delay a commit, nor a burst of events a read. It starts with nothing and keeps nothing but the recent
//! events; objects are cached by whoever lists them.

mod backoff;
mod fault;
mod revision;
mod stream;
mod tail;
mod tls;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Client, Compare, CompareOp, ConnectOptions, Error, GetOptions, KeyValue, KvClient, Txn, TxnOp, TxnOpResponse,
    WatchClient,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use self::backoff::Backoff;
use self::fault::Asked;
use self::revision::RevisionReader;
use self::tail::Tail;
pub use self::tls::Tls;
use crate::{Commit, Entry, Expect, Page, Revision, Store, StoreError, Watch};

/// How long a request may take: etcd's own bound for a proposal is 7 s (5 s and two elections' ticks).
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a read is tried again while etcd is away, before its caller hears of it: a restart of a member, or an election.
const READ_PATIENCE: Duration = Duration::from_secs(3);

/// How long etcd may take to be there when the store is opened: members that start with their API servers elect a leader first.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A peer that does not answer a ping for this long is given up. etcd refuses pings more often than every 5 s.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The largest answer: etcd's own client takes as much (`math.MaxInt32`); gRPC's default of 4 MB is less than a thousand pods.
const ANSWER_BYTES_MAX: usize = i32::MAX as usize;

/// A store in etcd.
pub struct Etcd {
    reads: KvClient,
    writes: KvClient,
    watches: WatchClient,
    revisions: RevisionReader,
    tail: Arc<Tail>,
    following: JoinHandle<()>,
    /// The latest compaction that we have heard of.
    compacted: AtomicU64,
}

impl Etcd {
    /// Connects to a cluster by the URLs of some of its members. Waits a little for a cluster that is only starting.
    pub async fn connect(urls: &[String]) -> Result<Self, StoreError> {
        Self::connect_with(urls, &Tls::default()).await
    }

    /// As [`connect`](Self::connect), showing these certificates.
    pub async fn connect_with(urls: &[String], tls: &Tls) -> Result<Self, StoreError> {
        let tls = tls.read()?;
        let until = Instant::now() + CONNECT_PATIENCE;
        let connect = || async {
            let options = ConnectOptions::new()
                .with_connect_timeout(CONNECT_TIMEOUT)
                .with_keep_alive(KEEP_ALIVE_INTERVAL, KEEP_ALIVE_TIMEOUT)
                .with_keep_alive_while_idle(true)
                // Without it a watch on a member that lost the others would stay silent for ever.
                .with_require_leader(true);
            let options = match &tls {
                Some(it) => options.with_tls(it.clone()),
                None => options,
            };
            Client::connect(urls, Some(options)).await.map_err(|error| fault::of_read(&error))
        };
        let reads = connect().await?.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let writes = connect().await?.kv_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let watches = connect().await?.watch_client().max_decoding_message_size(ANSWER_BYTES_MAX);
        let revision = patiently(until, || {
            let mut client = reads.clone();
            async move { revision::read(&mut client).await }
        })
        .await
        .map_err(|failure| failure.into_read_error())?;
        let revisions = RevisionReader::start(reads.clone());
        let tail = Tail::new(revision);
        let following = tokio::spawn(tail.clone().follow(watches.clone(), revisions.clone()));
        Ok(Self { reads, writes, watches, revisions, tail, following, compacted: AtomicU64::new(0) })
    }

    fn heard_of_compaction(&self, revision: Revision) -> Revision {
        Revision(self.compacted.fetch_max(revision.0, Ordering::Relaxed).max(revision.0))
    }

    /// A read, tried again while etcd is away; `asked` is the revision it is for.
    async fn read(
        &self,
        key: impl Into<Vec<u8>>,
        options: GetOptions,
        at: Option<Revision>,
    ) -> Result<etcd_client::GetResponse, StoreError> {
        let key = key.into();
        let outcome = patiently(Instant::now() + READ_PATIENCE, || {
            let (mut client, key, options) = (self.reads.clone(), key.clone(), options.clone());
            async move { client.get(key, Some(options)).await }
        })
        .await;
        match (outcome, at) {
            (Ok(response), _) => Ok(response),
            (Err(Failure::Error(error)), Some(at)) => match fault::asked(&error) {
                Asked::Compacted => Err(fault::compacted(at, self.heard_of_compaction(Revision(0)))),
                Asked::Future => Err(StoreError::Future { asked: at, current: self.revisions.read().await? }),
                Asked::Other => Err(fault::of_read(&error)),
            },
            (Err(failure), _) => Err(failure.into_read_error()),
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.following.abort();
        self.tail.close();
    }
}

#[async_trait]
impl Store for Etcd {
    async fn revision(&self) -> Result<Revision, StoreError> {
        let until = Instant::now() + READ_PATIENCE;
        let mut backoff = Backoff::default();
        loop {
            match self.revisions.read().await {
                Err(StoreError::Unavailable { .. }) if Instant::now() < until => sleep(backoff.next()).await,
                outcome => return outcome,
            }
        }
    }

    async fn get(&self, key: &str) -> Result<(Option<Entry>, Revision), StoreError> {
        let mut response = self.read(key, GetOptions::new(), None).await?;
        let at = header_revision(response.header())?;
        let entry = response.take_kvs().into_iter().next().map(entry).transpose()?;
        Ok((entry, at))
    }

    async fn range(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        at: Option<Revision>,
    ) -> Result<Page, StoreError> {
        let (start, end) = bounds(prefix, after);
        let mut options = GetOptions::new().with_range(end).with_limit(i64::try_from(limit).unwrap_or(i64::MAX));
        if let Some(at) = at {
            // To etcd 0 means now. Its own first revision is 1, and empty.
            options = options.with_revision(i64::try_from(at.0.max(1)).unwrap_or(i64::MAX));
        }
        let mut response = self.read(start, options, at).await?;
        let revision = match at {
            Some(at) => at,
            None => header_revision(response.header())?,
        };
        let more = response.more();
        let entries = response.take_kvs().into_iter().map(entry).collect::<Result<_, _>>()?;
        Ok(Page { entries, revision, more })
    }

    async fn commit(&self, commit: Commit) -> Result<Revision, StoreError> {
        let key = commit.key.as_bytes();
        let compare = match commit.expect {
            Expect::Absent => Compare::create_revision(key, CompareOp::Equal, 0),
            // To etcd a key that does not exist was modified at 0; to us it was not modified.
            Expect::At(Revision(0)) => {
                return Err(StoreError::Mismatch { current: self.get(&commit.key).await?.0 });
            }
            Expect::At(revision) => {
                Compare::mod_revision(key, CompareOp::Equal, i64::try_from(revision.0).unwrap_or(i64::MAX))
            }
        };
        let write = match commit.value {
            Some(value) => TxnOp::put(key, value, None),
            None => TxnOp::delete(key, None),
        };
        let txn = Txn::new().when([compare]).and_then([write]).or_else([TxnOp::get(key, None)]);
        let mut client = self.writes.clone();
        let response = match timeout(REQUEST_TIMEOUT, client.txn(txn)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(fault::of_write(&error)),
            Err(_) => return Err(StoreError::Unavailable { reason: too_late(), unknown: true }),
        };
        if response.succeeded() {
            return header_revision(response.header());
        }
        let Some(TxnOpResponse::Get(mut found)) = response.op_responses().into_iter().next() else {
            return Err(StoreError::Unavailable {
                reason: "etcd: an answer without its read".to_owned(),
                unknown: false,
            });
        };
        Err(StoreError::Mismatch { current: found.take_kvs().into_iter().next().map(entry).transpose()? })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        if after > self.tail.current() {
            // The tail may be behind.
            let current = self.revision().await?;
            if after > current {
                return Err(StoreError::Future { asked: after, current });
            }
        }
        Ok(self.tail.watch(self.watches.clone(), prefix, after))
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let revision = i64::try_from(before.0).unwrap_or(i64::MAX);
        let mut client = self.writes.clone();
        match timeout(REQUEST_TIMEOUT, client.compact(revision, None)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => match fault::asked(&error) {
                Asked::Compacted => {}
                Asked::Future => {
                    return Err(StoreError::Future { asked: before, current: self.revision().await? });
                }
                Asked::Other => return Err(fault::of_write(&error)),
            },
            Err(_) => return Err(StoreError::Unavailable { reason: too_late(), unknown: true }),
        }
        self.heard_of_compaction(before);
        self.tail.forget(before);
        Ok(())
    }
}

/// Why a read failed for good.
enum Failure {
    Error(Error),
    Late,
}

impl Failure {
    fn into_read_error(self) -> StoreError {
        match self {
            Self::Error(error) => fault::of_read(&error),
            Self::Late => StoreError::Unavailable { reason: too_late(), unknown: false },
        }
    }
}

/// Tries a read again, with back-off, while etcd is away and it is not yet `until`.
async fn patiently<T, F>(until: Instant, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Error>>,
{
    /// gRPC's code for a peer that is away.
    const UNAVAILABLE: i32 = 14;
    let mut backoff = Backoff::default();
    loop {
        let error = match timeout(REQUEST_TIMEOUT, attempt()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(_) => return Err(Failure::Late),
        };
        let away = match &error {
            Error::GRpcStatus(status) => i32::from(status.code()) == UNAVAILABLE,
            Error::TransportError(_) | Error::IoError(_) => true,
            _ => false,
        };
        let delay = backoff.next();
        if !away || Instant::now() + delay >= until {
            return Err(Failure::Error(error));
        }
        sleep(delay).await;
    }
}

fn too_late() -> String {
    format!("etcd did not answer within {} s", REQUEST_TIMEOUT.as_secs())
}

/// etcd's revisions are signed and never negative.
pub(crate) fn revision(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Result<Revision, StoreError> {
    let header = header.ok_or_else(|| StoreError::Damaged("etcd gave an answer without a header".to_owned()))?;
    Ok(revision(header.revision()))
}

fn entry(kv: KeyValue) -> Result<Entry, StoreError> {
    let (created, modified) = (revision(kv.create_revision()), revision(kv.mod_revision()));
    let (key, value) = kv.into_key_value();
    let key = String::from_utf8(key).map_err(|error| {
        let key = String::from_utf8_lossy(error.as_bytes()).into_owned();
        StoreError::Damaged(format!("etcd has a key that is not UTF-8: {key:?}"))
    })?;
    Ok(Entry { key: key.into(), value: Bytes::from(value), created, modified })
}

/// The half-open range of the keys under `prefix` that follow `after`. etcd writes "all" as a zero byte.
fn bounds(prefix: &str, after: Option<&str>) -> (Vec<u8>, Vec<u8>) {
    let mut end = prefix.as_bytes().to_vec();
    // UTF-8 has no byte 0xff, so the last byte can always be raised.
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0),
    }
    let start = match after {
        Some(after) if after >= prefix => [after.as_bytes(), &[0]].concat(),
        _ if prefix.is_empty() => vec![0],
        _ => prefix.as_bytes().to_vec(),
    };
    (start, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(prefix: &str, after: Option<&str>, start: &[u8], end: &[u8]) {
        assert_eq!(bounds(prefix, after), (start.to_vec(), end.to_vec()));
    }

    #[test]
    fn bounds_hold_the_prefix_and_what_follows() {
        check("/a/", None, b"/a/", b"/a0");
        check("/a/", Some("/a/x"), b"/a/x\0", b"/a0");
        check("/a/", Some("/0"), b"/a/", b"/a0");
        check("", None, b"\0", b"\0");
        check("", Some("/z"), b"/z\0", b"\0");
    }
}
