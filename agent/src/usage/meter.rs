//! The last look at what is used, shared by all who ask.
//!
//! Looks are made when somebody asks and the last one is old: CPU and memory are read at once, the disk is measured beside and told as soon as it is
//! known. One look at a time, whoever asks.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::disk::{self, DiskSample};
use super::sample::{self, Sample};
use crate::host::Host;
use crate::machine::world::host_network;
use crate::runtime::RuntimeError;

/// How old a sample of CPU and memory may be that is told again: who asks twice in a row gets one look.
const FRESH: Duration = Duration::from_secs(1);
/// How old a measurement of the disk may be, as the kubelet's `volumeStatsAggPeriod`: it costs as much as there are files.
const DISK_FRESH: Duration = Duration::from_secs(60);
/// How long an asker waits for the disk to be measured. What takes longer is told to the next.
const DISK_WITHIN: Duration = Duration::from_secs(5);
/// How long a look at CPU and memory may take.
const LOOK_WITHIN: Duration = Duration::from_secs(15);

type Kept<T> = Option<(Instant, Arc<T>)>;

/// The last of each look.
#[derive(Debug, Default)]
pub struct Meter {
    /// Held while somebody looks; the others wait for what it finds.
    sample: tokio::sync::Mutex<Kept<Sample>>,
    measuring: Arc<tokio::sync::Mutex<()>>,
    disk: Arc<Mutex<Kept<DiskSample>>>,
}

impl Meter {
    /// CPU, memory, processes and network now, with rates since the last time.
    ///
    /// # Errors
    /// The runtime does not say what runs.
    pub async fn sample(&self, host: &Arc<Host>) -> Result<Arc<Sample>, RuntimeError> {
        let late = || RuntimeError::Timeout("looking at what containers use".to_owned());
        let looking = async {
            let mut kept = self.sample.lock().await;
            if let Some((at, it)) = kept.as_ref()
                && at.elapsed() < FRESH
            {
                return Ok(Arc::clone(it));
            }
            let inventory = host.runtime.inventory().await?;
            let (pods, memory_bytes) = (host.pods.list(), host.memory_bytes);
            let on_host =
                move |uid: &str| pods.iter().any(|it| it.metadata.uid.as_deref() == Some(uid) && host_network(it));
            let taking = tokio::task::spawn_blocking(move || sample::take(&inventory, memory_bytes, on_host));
            let taken = taking.await.map_err(|it| RuntimeError::Other(it.to_string()))?;
            // A node that runs nothing is not its machine.
            let taken = if host.runtime.runs_nothing() { taken.without_machine() } else { taken };
            let taken = Arc::new(taken.since(kept.as_ref().map(|it| &it.1)));
            *kept = Some((Instant::now(), Arc::clone(&taken)));
            Ok(taken)
        };
        tokio::time::timeout(LOOK_WITHIN, looking).await.unwrap_or_else(|_| Err(late()))
    }

    /// What pods take of the disk, a minute old at the most; none where measuring takes long and has never come to an end.
    pub async fn disk(&self, host: &Arc<Host>) -> Option<Arc<DiskSample>> {
        let known = self.disk.lock().clone();
        if let Some((at, it)) = &known
            && at.elapsed() < DISK_FRESH
        {
            return Some(Arc::clone(it));
        }
        let waiting = async {
            let Ok(alone) = Arc::clone(&self.measuring).try_lock_owned() else {
                // Somebody measures already.
                drop(self.measuring.lock().await);
                return;
            };
            let (kept, host) = (Arc::clone(&self.disk), Arc::clone(host));
            // It goes on when the asker has gone.
            let work = tokio::spawn(async move {
                let _alone = alone;
                if let Some(it) = disk::take(&host).await {
                    *kept.lock() = Some((Instant::now(), Arc::new(it)));
                }
            });
            let _ = work.await;
        };
        let _ = tokio::time::timeout(DISK_WITHIN, waiting).await;
        self.disk.lock().as_ref().map(|it| Arc::clone(&it.1))
    }
}
