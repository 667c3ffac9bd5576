//! What etcd's errors mean to us.
//!
//! In: the client's errors. Out: [`StoreError`]s, and for a commit the truth about whether it may have taken effect: it has
//! not when etcd itself refused it or when there was nobody to send it to; in all other cases nobody knows.

use std::io;

use etcd_client::Error;

use crate::{Revision, StoreError};

/// The gRPC codes that matter here (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const FAILED_PRECONDITION: i32 = 9;
const OUT_OF_RANGE: i32 = 11;
const UNAUTHENTICATED: i32 = 16;

/// What etcd says of a revision that is gone or to come (`rpctypes.ErrCompacted`, `ErrFutureRev`).
const COMPACTED: &str = "required revision has been compacted";
const FUTURE: &str = "required revision is a future revision";
/// What etcd says when it has no leader to propose to (`rpctypes.ErrNoLeader`).
const NO_LEADER: &str = "etcdserver: no leader";

/// What an answer of etcd says about the revision that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    Compacted,
    Future,
    Other,
}

/// Reads what an error says about the revision asked for.
pub(crate) fn asked(error: &Error) -> Asked {
    match error {
        Error::GRpcStatus(status) if status.message().contains(COMPACTED) => Asked::Compacted,
        Error::GRpcStatus(status) if status.message().contains(FUTURE) => Asked::Future,
        _ => Asked::Other,
    }
}

/// The error of a read: nothing can have been done by it.
pub(crate) fn of_read(error: &Error) -> StoreError {
    StoreError::Unavailable { reason: reason(error), unknown: false }
}

/// The error of a write.
pub(crate) fn of_write(error: &Error) -> StoreError {
    StoreError::Unavailable { reason: reason(error), unknown: !surely_refused(error) }
}

/// Compaction as a user of the store sees it. etcd does not say what the oldest revision is when a range asks for one that
/// is gone; it is at least the next, and `known` where we have heard more.
pub(crate) fn compacted(asked: Revision, known: Revision) -> StoreError {
    StoreError::Compacted { asked, oldest: known.max(Revision(asked.0 + 1)) }
}

/// What a user may read of it.
pub(crate) fn reason(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) if connection_refused(status) => "etcd: connection refused".to_owned(),
        Error::GRpcStatus(status) => format!("etcd: {}", status.message()),
        other => format!("etcd: {other}"),
    }
}

/// Whether the request surely had no effect.
fn surely_refused(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => {
            matches!(
                i32::from(status.code()),
                INVALID_ARGUMENT
                    | PERMISSION_DENIED
                    | RESOURCE_EXHAUSTED
                    | FAILED_PRECONDITION
                    | OUT_OF_RANGE
                    | UNAUTHENTICATED
            ) || status.message().contains(NO_LEADER)
                || connection_refused(status)
        }
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => true,
        _ => false,
    }
}

/// Whether nobody listened: the request was not sent.
fn connection_refused(status: &(impl std::error::Error + 'static)) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_refused_is_unknown() {
        let unknown = |error: Error| match of_write(&error) {
            StoreError::Unavailable { unknown, .. } => unknown,
            other => panic!("{other}"),
        };
        assert!(unknown(Error::IoError(io::Error::from(io::ErrorKind::ConnectionReset))));
        assert!(unknown(Error::Internal("gone".to_owned())));
        assert!(!unknown(Error::InvalidArgs("no".to_owned())));
    }

    #[test]
    fn the_oldest_revision_is_the_best_we_know() {
        let oldest = |known| match compacted(Revision(5), Revision(known)) {
            StoreError::Compacted { oldest, .. } => oldest.0,
            other => panic!("{other}"),
        };
        assert_eq!((oldest(0), oldest(9)), (6, 9));
    }
}
