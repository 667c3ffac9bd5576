//! A pod's volumes are filled, and filled anew when what they show has changed.
//!
//! One filling at a time: of two beside each other the one that read first might write last, and what it read would stay. What changes meanwhile
//! is read by another one after it. One that fails is tried again also where containers use the volumes as they are: the tokens in them end.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use orlop_client::clock;
use tokio::time::Instant;

use super::{Outcome, Worker, tokens};
use crate::aside;
use crate::machine::{Failure, VolumeState};
use crate::volumes::claims;

/// What the worker knows of it.
#[derive(Debug, Default)]
pub(super) struct Filling {
    under_way: bool,
    /// What the volumes show has changed since it began.
    again: bool,
    /// Why volumes that are in use could not be brought up to date.
    failure: Option<Failure>,
    /// When tokens must be written anew, or what failed is tried again.
    due: Option<Instant>,
}

impl Filling {
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    pub(super) fn forget_due(&mut self) {
        self.due = None;
    }

    /// Whether to begin now. Where one is under way, another follows it.
    fn begin(&mut self) -> bool {
        self.forget_due();
        self.again = self.under_way;
        !std::mem::replace(&mut self.under_way, true)
    }

    /// Notes an end. Whether another follows at once.
    fn end(&mut self) -> bool {
        self.under_way = false;
        std::mem::take(&mut self.again)
    }

    /// It went well, and its tokens last so long.
    fn went_well(&mut self, refresh: Option<Instant>) {
        self.failure = None;
        self.due = refresh;
    }

    /// It failed, and what was there stays for now.
    fn failed(&mut self, message: String, now: Timestamp) {
        let failure = Failure::after(self.failure.as_ref(), "FailedMount", message, now);
        self.due = Some(Instant::now() + clock::until(failure.retry_at, now));
        self.failure = Some(failure);
    }
}

impl Worker {
    /// Fills the volumes, beside the worker.
    pub(super) fn fill_volumes(&mut self) {
        let Some(pod) = self.pod.clone() else { return };
        let failed_before = match &self.memory.volumes {
            VolumeState::Failed(it) => Some(it.clone()),
            _ => None,
        };
        if !matches!(self.memory.volumes, VolumeState::Ready | VolumeState::Mounting { .. }) {
            self.memory.volumes = VolumeState::Mounting { failed_before };
        }
        if !self.filling.begin() {
            return;
        }
        let (host, address) = (Arc::clone(&self.host), self.address());
        self.tasks.spawn(async move {
            let mounted = async {
                if host.runtime.runs_nothing() {
                    // Nobody reads the volumes of a pod without containers; thousands of tokens would be issued for nothing.
                    return Ok(None);
                }
                let found = host.references.snapshot(&pod).await.map_err(|it| it.to_string())?;
                let disks = claims::find(&host.client, &host.node_name, &host.volumes, &pod).await?;
                let (tokens, refresh) = tokens::issue(&host.client, &pod).await?;
                let (volumes, place) = (host.volumes.clone(), host.place(address));
                let mounting = move || volumes.mount(&pod, &found, &disks, &place, &tokens);
                let mounted = aside::run(mounting).await;
                mounted.map_err(|it| it.to_string())?.map_err(|it| it.to_string())?;
                Ok(refresh)
            };
            Outcome::Volumes(mounted.await)
        });
    }

    /// Takes in the end of a filling.
    pub(super) fn filled(&mut self, outcome: Result<Option<Instant>, String>) {
        let again = self.filling.end();
        match outcome {
            Ok(refresh) => {
                self.filling.went_well(refresh);
                self.memory.volumes = VolumeState::Ready;
            }
            Err(message) => {
                if let Some(pod) = &self.pod {
                    self.host.teller.warning(pod, None, "FailedMount", &message);
                }
                let now = clock::now();
                match &self.memory.volumes {
                    // Volumes that are in use stay as they are while they cannot be brought up to date.
                    VolumeState::Ready => self.filling.failed(message, now),
                    VolumeState::Mounting { failed_before } => {
                        let failure = Failure::after(failed_before.as_ref(), "FailedMount", message, now);
                        self.memory.volumes = VolumeState::Failed(failure);
                    }
                    _ => self.memory.volumes = VolumeState::Failed(Failure::after(None, "FailedMount", message, now)),
                }
            }
        }
        if again {
            self.fill_volumes();
        }
    }

    /// Waits for the end of a filling, which would make again what is to be removed.
    pub(super) async fn settle_volumes(&mut self) {
        while self.filling.under_way {
            self.filling.again = false;
            let Some(it) = self.tasks.join_next().await else { return };
            self.ended(it);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn one_at_a_time_and_another_for_what_changed_meanwhile() {
        let mut filling = Filling::default();
        assert!(filling.begin());
        assert!(!filling.end(), "nothing has changed");
        assert!(filling.begin());
        assert!(!filling.begin() && !filling.begin(), "one is under way");
        assert!(filling.end(), "one more, however often it has changed");
        assert!(filling.begin());
        assert!(!filling.end());
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_tried_again_later_and_later() {
        let mut filling = Filling::default();
        let now = clock::now();
        let wait = |it: &Filling| it.due().map(|it| it - Instant::now());
        for seconds in [1, 2, 4] {
            assert!(filling.begin() && filling.due().is_none());
            assert!(!filling.end());
            filling.failed("the API server is away".into(), now);
            assert_eq!(wait(&filling), Some(Duration::from_secs(seconds)));
        }
        let refresh = Duration::from_secs(3000);
        filling.went_well(Some(Instant::now() + refresh));
        assert_eq!(wait(&filling), Some(refresh));
        filling.failed("it is away again".into(), now);
        assert_eq!(wait(&filling), Some(Duration::from_secs(1)));
    }
}
