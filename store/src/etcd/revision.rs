//! The store's revision, read once for all who ask at the same time.
//!
//! In: askers. Out: a linearizable read that began after each of them asked. While one read is under way the next askers
//! gather for the one after it, so that any number of consistent reads costs etcd one request a round trip.

use etcd_client::{Error, GetOptions, KvClient};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{REQUEST_TIMEOUT, fault};
use crate::live::closed;
use crate::{Revision, StoreError};

/// How many may ask while a read is under way; who comes later waits to be let in.
const ASKERS_MAX: usize = 1024;

type Answer = oneshot::Sender<Result<Revision, String>>;

/// Where to ask for the revision.
#[derive(Clone, Debug)]
pub(crate) struct RevisionReader {
    askers: mpsc::Sender<Answer>,
}

impl RevisionReader {
    /// Starts the reading task; it ends when the last reader is dropped.
    pub fn start(client: KvClient) -> Self {
        let (askers, waiting) = mpsc::channel(ASKERS_MAX);
        tokio::spawn(serve(client, waiting));
        Self { askers }
    }

    pub async fn read(&self) -> Result<Revision, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.askers.send(answer).await.map_err(|_| closed())?;
        let outcome = answered.await.map_err(|_| closed())?;
        outcome.map_err(|reason| StoreError::Unavailable { reason, unknown: false })
    }
}

async fn serve(mut client: KvClient, mut waiting: mpsc::Receiver<Answer>) {
    let mut askers = Vec::new();
    while waiting.recv_many(&mut askers, ASKERS_MAX).await > 0 {
        let outcome = match timeout(REQUEST_TIMEOUT, read(&mut client)).await {
            Ok(Ok(revision)) => Ok(revision),
            Ok(Err(error)) => Err(fault::reason(&error)),
            Err(_) => Err(format!("etcd did not answer within {} s", REQUEST_TIMEOUT.as_secs())),
        };
        for asker in askers.drain(..) {
            // An asker that no longer waits does not need the answer.
            let _ = asker.send(outcome.clone());
        }
    }
}

/// One linearizable read of nothing: every answer carries the revision.
pub(crate) async fn read(client: &mut KvClient) -> Result<Revision, Error> {
    let options = GetOptions::new().with_count_only();
    let response = client.get("/", Some(options)).await?;
    let header = response.header().ok_or_else(|| Error::Internal("an answer without a header".to_owned()))?;
    Ok(super::revision(header.revision()))
}
