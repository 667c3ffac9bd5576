//! What a node does before its machine goes down: it takes no more pods, says so on its Node, and ends those that it has, the less important first.
//!
//! A command of this machine or SIGPWR asks for it ([`PowerOff::ask`]); [`keeper`] does it within the times of [`periods`], and the outcome goes to whoever
//! asked. It holds until the agent ends: one that starts anew knows nothing of it. Source: KEP-2000, KEP-2712 and `pkg/kubelet/nodeshutdown`; logind is not
//! asked, so that a unit or an init script has to call the command.

pub mod keeper;
pub mod periods;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::machine::Rejection;
use periods::Periods;

/// The reason of a pod that was ended because its machine goes down, as the kubelet's.
pub const TERMINATED: &str = "Terminated";
/// What such a pod says.
pub const TERMINATED_MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";
/// What the Node says.
pub const NODE_MESSAGE: &str = "node is shutting down";

/// How long an agent may take to begin: one that has just started has yet to learn which pods are its own.
const BEGIN_WITHIN: Duration = Duration::from_secs(10);
/// What the outcome may take longer than all periods together: the last statuses are written then.
const SLACK: Duration = Duration::from_secs(10);

/// Whether the machine goes down, and how far that is. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct PowerOff {
    periods: Arc<Periods>,
    state: Arc<watch::Sender<State>>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// When it was asked for.
    asked: Option<Instant>,
    /// Somebody sees to it.
    begun: bool,
    /// The Node says so.
    told: bool,
    outcome: Option<Arc<Outcome>>,
}

/// What became of a node's pods.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    pub node: String,
    pub pods: Vec<Ended>,
    pub took_ms: u64,
}

/// What became of one of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    pub namespace: String,
    pub name: String,
    pub priority: i32,
    /// How long it took; none where its time was up first.
    pub took_ms: Option<u64>,
}

impl PowerOff {
    /// Of a node whose pods have these times. Without any it is as the kubelet has it: the node does nothing.
    pub fn new(periods: Periods) -> Self {
        PowerOff { periods: Arc::new(periods), state: Arc::default() }
    }

    /// How long pods have.
    pub fn periods(&self) -> &Periods {
        &self.periods
    }

    /// The machine goes down. Said once more it changes nothing.
    pub fn ask(&self) {
        self.state.send_if_modified(|it| it.asked.is_none() && it.asked.replace(Instant::now()).is_none());
    }

    /// Has SIGPWR ask, which without any periods ends the process as ever.
    pub fn heed_signal(&self, shutdown: &CancellationToken) {
        if self.periods.is_empty() {
            return;
        }
        let kind = tokio::signal::unix::SignalKind::from_raw(libc::SIGPWR);
        match tokio::signal::unix::signal(kind) {
            Ok(mut signals) => {
                let (of, shutdown) = (self.clone(), shutdown.clone());
                tokio::spawn(async move {
                    while let Some(Some(())) = shutdown.run_until_cancelled(signals.recv()).await {
                        tracing::warn!("SIGPWR: the machine goes down");
                        of.ask();
                    }
                });
            }
            Err(error) => tracing::warn!(%error, "SIGPWR cannot be heard"),
        }
    }

    /// Whether the machine goes down.
    pub fn is_asked(&self) -> bool {
        self.state.borrow().asked.is_some()
    }

    /// Why the node does not take a pod that is new to it.
    pub fn refuses(&self) -> Option<Rejection> {
        self.is_asked().then(|| Rejection {
            reason: "NodeShutdown".into(),
            message: "Pod was rejected as the node is shutting down.".into(),
        })
    }

    /// Resolves when the machine goes down, with the time from which that holds.
    async fn asked(&self) -> Instant {
        let mut state = self.state.subscribe();
        match state.wait_for(|it| it.asked.is_some()).await.map(|it| it.asked) {
            Ok(Some(it)) => it,
            _ => std::future::pending().await,
        }
    }

    /// Resolves when the Node has to say that the machine goes down, and does not yet.
    pub async fn untold(&self) {
        if self.state.subscribe().wait_for(|it| it.asked.is_some() && !it.told).await.is_err() {
            std::future::pending().await
        }
    }

    /// The Node says it now.
    pub fn tell(&self) {
        self.state.send_modify(|it| it.told = true);
    }

    async fn told(&self) {
        // The sender is ours: it does not go.
        let _ = self.state.subscribe().wait_for(|it| it.told).await;
    }

    fn begin(&self) {
        self.state.send_modify(|it| it.begun = true);
    }

    fn finish(&self, outcome: Outcome) {
        self.state.send_modify(|it| it.outcome = Some(Arc::new(outcome)));
    }

    /// Waits for what becomes of the pods.
    ///
    /// # Errors
    /// In words, why that cannot be said in time.
    pub async fn outcome(&self) -> Result<Arc<Outcome>, String> {
        let mut state = self.state.subscribe();
        if tokio::time::timeout(BEGIN_WITHIN, state.wait_for(|it| it.begun)).await.is_err() {
            return Err("the agent has yet to learn which pods are its own; the API server is waited for".into());
        }
        let within = self.periods.total() + SLACK;
        let waited = tokio::time::timeout(within, state.wait_for(|it| it.outcome.is_some())).await;
        let outcome = waited.ok().and_then(Result::ok).and_then(|it| it.outcome.clone());
        outcome.ok_or_else(|| format!("it took longer than {} s", within.as_secs()))
    }
}

/// Whether the status of a pod that lies in a file says only that its machine went down. When that is up again, the pod runs anew.
pub fn was_terminated(status: &PodStatus) -> bool {
    status.phase.as_deref() == Some("Failed") && status.reason.as_deref() == Some(TERMINATED)
}

/// What a pod's worker shows of it: the pod, and how far its end is.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// None before it was looked at, and when nothing of it is left.
    pub pod: Option<Arc<Pod>>,
    /// It was told to end, and nothing of it runs.
    pub ended: bool,
    /// The API has been told of its end.
    pub reported: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asks_hears_of_the_outcome_or_why_there_is_none() {
        let off = PowerOff::new(Periods::of(Duration::from_secs(30), Duration::from_secs(10)).unwrap());
        assert!(off.refuses().is_none());
        off.ask();
        assert_eq!(off.refuses().unwrap().reason, "NodeShutdown");
        assert!(off.outcome().await.unwrap_err().contains("has yet to learn"));
        let first = off.asked().await;
        off.ask();
        assert_eq!(off.asked().await, first, "it counts from the first time");
        off.begin();
        let began = Instant::now();
        assert_eq!(off.outcome().await.unwrap_err(), "it took longer than 40 s");
        assert_eq!(began.elapsed().as_secs(), 40);
        off.finish(Outcome { node: "n".into(), ..Outcome::default() });
        assert_eq!(off.outcome().await.unwrap().node, "n");
    }

    #[tokio::test(start_paused = true)]
    async fn the_node_is_told_once() {
        let off = PowerOff::default();
        let waits = |it: &PowerOff| tokio::time::timeout(Duration::from_secs(1), it.clone().untold_owned());
        assert!(waits(&off).await.is_err());
        off.ask();
        assert!(waits(&off).await.is_ok());
        off.tell();
        assert!(waits(&off).await.is_err());
    }

    impl PowerOff {
        async fn untold_owned(self) {
            self.untold().await;
        }
    }
}
